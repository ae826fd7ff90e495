#include "serve/prefix_tree.h"

#include <algorithm>

namespace wellspring {
namespace {

constexpr size_t kPageTokens = static_cast<size_t>(PagedCache::kPage);

size_t common(std::span<const int32_t> a, std::span<const int32_t> b) {
  const size_t n = std::min(a.size(), b.size());
  return static_cast<size_t>(std::mismatch(a.begin(), a.begin() + static_cast<int64_t>(n), b.begin()).first - a.begin());
}

}  // namespace

PrefixTree::PrefixTree(PagedCache& cache) : cache_(cache) {}

PrefixTree::~PrefixTree() {
  for (Node* n : used_) cache_.release(n->page);
}

void PrefixTree::touch(Node* node) { used_.splice(used_.begin(), used_, node->place); }

PrefixTree::Match PrefixTree::find(const std::string& owner, std::span<const int32_t> tokens) {
  Match m;
  const auto root = roots_.find(owner);
  if (root == roots_.end()) return m;
  Node* node = &root->second;
  while (true) {
    const std::span<const int32_t> rest = tokens.subspan(std::min(tokens.size(), m.pages.size() * kPageTokens));
    Node* next = nullptr;
    if (rest.size() >= kPageTokens) {
      const auto it = node->children.find(std::vector<int32_t>(rest.begin(), rest.begin() + kPageTokens));
      if (it != node->children.end()) next = it->second.get();
    }
    if (next) {
      node = next;
      touch(node);
      cache_.share(node->page);
      m.pages.push_back(node->page);
      continue;
    }
    // The children's tokens are sorted, so the best partial one stands beside where `rest` would.
    const std::vector<int32_t> key(rest.begin(), rest.begin() + static_cast<int64_t>(std::min(rest.size(), kPageTokens)));
    auto at = node->children.lower_bound(key);
    Node* best = nullptr;
    for (int side = 0; side < 2; ++side) {
      if (side == 1 && at == node->children.begin()) break;
      if (side == 1) --at;
      if (at == node->children.end()) continue;
      const size_t n = common(at->first, rest);
      if (n > static_cast<size_t>(m.part_tokens)) best = at->second.get(), m.part_tokens = static_cast<int64_t>(n);
    }
    if (best) touch(best), m.part = best->page;
    return m;
  }
}

void PrefixTree::keep(const std::string& owner, std::span<const int32_t> tokens, std::span<const int32_t> pages) {
  Node* node = &roots_[owner];
  for (size_t i = 0; i * kPageTokens < tokens.size(); ++i) {
    const std::span<const int32_t> part = tokens.subspan(i * kPageTokens, std::min(kPageTokens, tokens.size() - i * kPageTokens));
    const std::vector<int32_t> key(part.begin(), part.end());
    const auto it = node->children.find(key);
    if (it != node->children.end()) {
      node = it->second.get();
      touch(node);
      continue;
    }
    // What only begins like one that is there brings nothing new; one that is only the beginning of this goes.
    const auto next = node->children.lower_bound(key);
    if (next != node->children.end() && common(next->first, part) == part.size()) return touch(next->second.get());
    if (next != node->children.begin()) {
      const auto before = std::prev(next);
      if (before->first.size() < part.size() && common(before->first, part) == before->first.size()) remove(before->second.get());
    }
    auto fresh = std::make_unique<Node>();
    fresh->parent = node, fresh->tokens = key, fresh->page = pages[i];
    cache_.share(pages[i]);
    used_.push_front(fresh.get());
    fresh->place = used_.begin();
    node = node->children.emplace(key, std::move(fresh)).first->second.get();
  }
}

void PrefixTree::remove(Node* node) {
  cache_.release(node->page);
  used_.erase(node->place);
  Node* parent = node->parent;
  parent->children.erase(parent->children.find(node->tokens));
}

bool PrefixTree::evict() {
  for (auto it = used_.rbegin(); it != used_.rend(); ++it)
    if ((*it)->children.empty() && cache_.references((*it)->page) == 1) return remove(*it), true;
  return false;
}

}  // namespace wellspring
