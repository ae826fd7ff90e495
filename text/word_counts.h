#pragma once
// How often each word was seen: a hash table over an arena of bytes. Not thread-safe.

#include <cstdint>
#include <cstring>
#include <string_view>
#include <type_traits>
#include <vector>

namespace wellspring {

class WordCounts {
 public:
  void add(std::string_view word, int64_t n) { add(word, n, hash(word)); }
  /// With the hash that each() gave.
  void add(std::string_view word, int64_t n, uint64_t h) {
    if (entries_.size() * 2 >= slots_.size()) grow();
    size_t i = h & (slots_.size() - 1);
    for (; slots_[i].index; i = (i + 1) & (slots_.size() - 1)) {
      if (slots_[i].tag != static_cast<uint32_t>(h >> 32)) continue;
      Entry& e = entries_[slots_[i].index - 1];
      if (e.size == word.size() &&
          std::memcmp(bytes_.data() + e.begin, word.data(), word.size()) == 0) {
        e.count += n;
        return;
      }
    }
    entries_.push_back({bytes_.size(), word.size(), n, h});
    bytes_.insert(bytes_.end(), word.begin(), word.end());
    slots_[i] = {static_cast<uint32_t>(h >> 32), static_cast<uint32_t>(entries_.size())};
  }
  size_t size() const { return entries_.size(); }
  /// fn(word, count) or fn(word, count, hash), in order of first sight.
  template <class F>
  void each(F&& fn) const {
    for (const Entry& e : entries_) {
      const std::string_view word(bytes_.data() + e.begin, e.size);
      if constexpr (std::is_invocable_v<F, std::string_view, int64_t>)
        fn(word, e.count);
      else
        fn(word, e.count, e.hash);
    }
  }

 private:
  struct Entry {
    size_t begin, size;
    int64_t count;
    uint64_t hash;
  };
  struct Slot {
    uint32_t tag = 0, index = 0;  // index + 1 of the entry; 0: free
  };
  static uint64_t hash(std::string_view s) {
    uint64_t h = s.size() * 0x9E3779B97F4A7C15u;
    const char* p = s.data();
    size_t n = s.size();
    for (uint64_t v; n > 0; p += 8, n = n > 8 ? n - 8 : 0) {
      v = 0;
      std::memcpy(&v, p, n < 8 ? n : 8);
      h = (h ^ v) * 0xD6E8FEB86659FD93u;
      h ^= h >> 32;
    }
    return h;
  }
  void grow() {
    slots_.assign(slots_.size() * 2, Slot{});
    for (size_t k = 0; k < entries_.size(); ++k) {
      size_t i = entries_[k].hash & (slots_.size() - 1);
      while (slots_[i].index) i = (i + 1) & (slots_.size() - 1);
      slots_[i] = {static_cast<uint32_t>(entries_[k].hash >> 32), static_cast<uint32_t>(k + 1)};
    }
  }
  std::vector<Slot> slots_ = std::vector<Slot>(1 << 12);
  std::vector<Entry> entries_;
  std::vector<char> bytes_;
};

}  // namespace wellspring
