#pragma once
// Byte pair encoding of one piece of text: symbols, merges and a cache of words.

#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace wellspring {

/// Appends ids without a check per id; the vector grows by halves.
class IdSink {
 public:
  explicit IdSink(std::vector<int32_t>& out) : out_(out), size_(out.size()) {
    out_.resize(out_.capacity());
  }
  ~IdSink() { out_.resize(size_); }
  IdSink(const IdSink&) = delete;
  IdSink& operator=(const IdSink&) = delete;
  /// Room for n more ids: write there, then advance(k <= n).
  int32_t* room(size_t n) {
    if (out_.size() - size_ < n) [[unlikely]]
      out_.resize(std::max(size_ + n, out_.size() + out_.size() / 2 + 64));
    return out_.data() + size_;
  }
  void advance(size_t n) { size_ += n; }
  size_t size() const { return size_; }
  void push(int32_t id) { *room(1) = id, advance(1); }

 private:
  std::vector<int32_t>& out_;
  size_t size_;
};

/// (left, right) -> rank and merged token. Immutable after building; lookups are thread-safe.
class MergeTable {
 public:
  struct Merge {
    uint32_t left, right;
    uint32_t rank;  ///< kNone: no such merge
    int32_t id;
  };
  static constexpr uint32_t kNone = 0xFFFFFFFF;

  void reserve(size_t merges);
  /// Later calls with the same pair replace earlier ones.
  void insert(int32_t left, int32_t right, uint32_t rank, int32_t id);
  const Merge& find(int32_t left, int32_t right) const {
    const auto l = static_cast<uint32_t>(left), r = static_cast<uint32_t>(right);
    for (size_t i = slot(l, r);; i = (i + 1) & mask_) {
      const Merge& m = slots_[i];
      if ((m.left == l && m.right == r) || m.rank == kNone) return m;
    }
  }

 private:
  size_t slot(uint32_t l, uint32_t r) const {
    return ((static_cast<uint64_t>(l) << 32 | r) * 0x9E3779B97F4A7C15u) >> shift_;
  }
  std::vector<Merge> slots_{4, Merge{0, 0, kNone, 0}};
  size_t mask_ = 3, used_ = 0;
  int shift_ = 62;
};

/// Applies merges to ids[0, n) in place, lowest rank first, leftmost first among equals; returns
/// how many are left. O(n^2) for short pieces, O(n log n) for long ones.
size_t merge_all(const MergeTable& merges, int32_t* ids, size_t n);

/// One thread's memory of how words of up to 15 bytes were encoded, shared by all tokenizers of the
/// process (an entry names its owner) and bounded at 2 MiB.
class WordCache {
 public:
  static constexpr size_t kLongest = 15;
  static constexpr int kIds = 10;
  struct alignas(64) Entry {
    uint64_t key[2];  ///< the bytes, zero-padded; the length in the last byte
    uint32_t owner;
    uint32_t count;
    int32_t ids[kIds];
  };
  static WordCache& of_thread();
  /// The one entry that the word may have. `readable` bytes from p on may be read.
  Entry& at(const char* p, size_t n, size_t readable, uint32_t owner, uint64_t (&key)[2]) {
    if (readable >= 16) {
      std::memcpy(key, p, 16);
      if (n < 8) {
        key[0] &= (uint64_t{1} << (8 * n)) - 1;
        key[1] = 0;
      } else {
        key[1] &= (uint64_t{1} << (8 * (n - 8))) - 1;
      }
    } else {
      key[0] = key[1] = 0;
      std::memcpy(key, p, n);
    }
    key[1] |= static_cast<uint64_t>(n) << 56;
    uint64_t h = (key[0] ^ owner) * 0x9E3779B97F4A7C15u;
    h = (h ^ (h >> 32) ^ key[1]) * 0xD6E8FEB86659FD93u;
    return entries_[h >> (64 - kBits)];
  }

 private:
  static constexpr int kBits = 15;
  WordCache();
  std::vector<Entry> entries_;
};

}  // namespace wellspring
