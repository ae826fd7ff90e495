#pragma once
// Pages that ended and running sequences left behind, by the tokens that they hold: a tree whose nodes are one
// page each. Of a new prompt the pages of its longest known beginning are shared; a page of which only a part
// fits is copied (copy on write).

#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "nn/paged_cache.h"

namespace wellspring {

/// One thread (the engine's). Holds a reference to each of its pages.
class PrefixTree {
 public:
  explicit PrefixTree(PagedCache& cache);
  ~PrefixTree();
  PrefixTree(const PrefixTree&) = delete;
  PrefixTree& operator=(const PrefixTree&) = delete;

  struct Match {
    std::vector<int32_t> pages;  // whole ones, shared: the caller has a reference to each
    int32_t part = -1;           // a page whose first `part_tokens` fit, not shared; -1: none
    int64_t part_tokens = 0;
    int64_t tokens() const { return static_cast<int64_t>(pages.size()) * PagedCache::kPage + part_tokens; }
  };
  /// The longest beginning of `tokens` that is known among those of `owner`, who sees nobody else's.
  Match find(const std::string& owner, std::span<const int32_t> tokens);
  /// Keeps the pages of `tokens` (all computed; the last one may be a part).
  void keep(const std::string& owner, std::span<const int32_t> tokens, std::span<const int32_t> pages);
  /// Gives up the page that nobody else holds and was used the longest ago; false: there is none.
  bool evict();
  int64_t pages() const { return static_cast<int64_t>(used_.size()); }

 private:
  struct Node {
    Node* parent = nullptr;
    std::vector<int32_t> tokens;  // of the page; fewer than a page's in a leaf
    int32_t page = -1;
    std::map<std::vector<int32_t>, std::unique_ptr<Node>> children;
    std::list<Node*>::iterator place;  // in used_
  };
  void touch(Node* node);
  void remove(Node* node);

  PagedCache& cache_;
  std::map<std::string, Node> roots_;
  std::list<Node*> used_;  // the last used first
};

}  // namespace wellspring
