#include "serve/page_pool.h"

#include <algorithm>

namespace wellspring {

PagePool::PagePool(const DecoderConfig& c, int64_t pages, DType dtype)
    : cache_(c.layers, c.kv_heads, c.head_width, pages, dtype), kept_(cache_) {}

int64_t PagePool::page_bytes(const DecoderConfig& c, DType dtype) {
  return PagedCache(c.layers, c.kv_heads, c.head_width, 1, dtype).page_bytes();
}

int32_t PagePool::take() {
  int32_t page = cache_.take();
  while (page < 0 && kept_.evict()) page = cache_.take();
  return page;
}

int64_t PagePool::known(const std::string& owner, std::span<const int32_t> tokens) {
  const PrefixTree::Match m = kept_.find(owner, tokens);
  for (const int32_t p : m.pages) cache_.release(p);
  return m.tokens();
}

void PagePool::begin(const std::string& owner, std::span<const int32_t> tokens, Held& held) {
  PrefixTree::Match m = kept_.find(owner, tokens);
  held.pages = std::move(m.pages);
  held.tokens = static_cast<int64_t>(held.pages.size()) * kPage;
  if (m.part < 0) return;
  cache_.share(m.part);  // lest it is evicted for its own copy
  if (const int32_t copy = take(); copy >= 0) {
    cache_.copy(m.part, copy);
    held.pages.push_back(copy);
    held.tokens += m.part_tokens;
  }
  cache_.release(m.part);
}

void PagePool::keep(const std::string& owner, std::span<const int32_t> tokens, const Held& held) {
  if (held.tokens)
    kept_.keep(owner, tokens.first(static_cast<size_t>(held.tokens)),
               std::span(held.pages).first(static_cast<size_t>(pages_for(held.tokens))));
}

void PagePool::give_back(Held& held) {
  for (const int32_t p : held.pages) cache_.release(p);
  held = {};
}

bool PagePool::reserve(Held& held, int64_t tokens) {
  while (static_cast<int64_t>(held.pages.size()) < pages_for(tokens)) {
    const int32_t page = take();
    if (page < 0) return false;
    held.pages.push_back(page);
  }
  return true;
}

bool PagePool::have_free(int64_t pages) {
  while (cache_.free_pages() < pages)
    if (!kept_.evict()) return false;
  return true;
}

Held PagePool::fork(const Held& held) {
  Held out;
  const auto whole = static_cast<size_t>(held.tokens / kPage);
  out.pages.assign(held.pages.begin(), held.pages.begin() + static_cast<int64_t>(whole));
  for (const int32_t p : out.pages) cache_.share(p);
  out.tokens = static_cast<int64_t>(whole) * kPage;
  if (held.tokens == out.tokens) return out;
  if (const int32_t copy = take(); copy >= 0) {
    cache_.copy(held.pages[whole], copy);
    out.pages.push_back(copy);
    out.tokens = held.tokens;
  }
  return out;
}

int32_t BatchBuilder::add(const Held& held, std::span<const int32_t> tokens, const Adapter* adapter) {
  const auto first = static_cast<int32_t>(batch_.ids.size());
  batch_.segments.insert(batch_.segments.end(), {first, static_cast<int32_t>(tokens.size()), static_cast<int32_t>(held.tokens)});
  batch_.adapters.push_back(adapter);
  adapted_ |= adapter != nullptr;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const int64_t p = held.tokens + static_cast<int64_t>(i);
    batch_.ids.push_back(tokens[i]);
    batch_.positions.push_back(static_cast<int32_t>(p));
    batch_.slots.push_back(static_cast<int32_t>(held.pages[static_cast<size_t>(p / PagedCache::kPage)] * PagedCache::kPage + p % PagedCache::kPage));
  }
  held_.push_back(&held);
  return first;
}

const DecodeBatch& BatchBuilder::finish() {
  for (const Held* h : held_) batch_.table_width = std::max<int64_t>(batch_.table_width, static_cast<int64_t>(h->pages.size()));
  for (const Held* h : held_) {
    batch_.tables.insert(batch_.tables.end(), h->pages.begin(), h->pages.end());
    batch_.tables.resize(batch_.tables.size() + static_cast<size_t>(batch_.table_width) - h->pages.size(), 0);
  }
  if (!adapted_) batch_.adapters.clear();
  return batch_;
}

}  // namespace wellspring
