#pragma once
// Pages of keys and values of one model for many sequences: taking, sharing and keeping them.

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "models/decoder/model.h"
#include "nn/paged_cache.h"
#include "serve/prefix_tree.h"

namespace wellspring {

/// What is computed of one sequence: its first `tokens` tokens, in pages that it has a reference to each.
struct Held {
  std::vector<int32_t> pages;
  int64_t tokens = 0;
};

/// One thread.
class PagePool {
 public:
  static constexpr int64_t kPage = PagedCache::kPage;
  PagePool(const DecoderConfig& config, int64_t pages, DType dtype);
  static int64_t page_bytes(const DecoderConfig& config, DType dtype);
  static int64_t pages_for(int64_t tokens) { return (tokens + kPage - 1) / kPage; }

  PagedCache& cache() { return cache_; }
  int64_t kept() const { return kept_.pages(); }

  /// How many tokens of the beginning of `tokens` are known among those of `owner`.
  int64_t known(const std::string& owner, std::span<const int32_t> tokens);
  /// Gives an empty `held` what is known of the beginning of `tokens` among those of `owner`.
  void begin(const std::string& owner, std::span<const int32_t> tokens, Held& held);
  /// Keeps what is computed for those that begin alike. `tokens` are at least those computed.
  void keep(const std::string& owner, std::span<const int32_t> tokens, const Held& held);
  void give_back(Held& held);
  /// Pages for `tokens` tokens in all; those kept the longest go, if need be. False: there are not enough (what could
  /// be had is there).
  bool reserve(Held& held, int64_t tokens);
  /// Whether `pages` are free, after giving up kept ones.
  bool have_free(int64_t pages);
  /// The same tokens again: whole pages are shared, the last one is copied (left out without a free page).
  Held fork(const Held& held);

 private:
  int32_t take();
  PagedCache cache_;
  PrefixTree kept_;
};

/// Puts the rows of one pass together. What is added must live until finish().
class BatchBuilder {
 public:
  /// Rows for `tokens`, which follow what is computed; the index of the first.
  int32_t add(const Held& held, std::span<const int32_t> tokens, const Adapter* adapter = nullptr);
  /// Wants the logits of a row; rows rise.
  void want(int32_t row) { batch_.wanted.push_back(row); }
  void want_hidden(int32_t row) { batch_.hidden.push_back(row); }
  bool empty() const { return held_.empty(); }
  const DecodeBatch& finish();

 private:
  DecodeBatch batch_;
  std::vector<const Held*> held_;
  bool adapted_ = false;
};

}  // namespace wellspring
