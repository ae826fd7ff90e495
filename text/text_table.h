#pragma once
// Many short texts in few pieces of memory: for the sources of text/ alone.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace wellspring {

/// Texts by number, their bytes one after the other. Reading is thread-safe; a view holds until the next push_back.
class TextTable {
 public:
  void reserve(size_t texts, size_t bytes);
  /// Error(Fault::data) beyond 4 GiB.
  void push_back(std::string_view text);
  size_t size() const { return ends_.size(); }
  size_t bytes() const { return bytes_.size(); }
  std::string_view operator[](size_t i) const {
    const size_t begin = i ? ends_[i - 1] : 0;
    return {bytes_.data() + begin, ends_[i] - begin};
  }

 private:
  std::string bytes_;
  std::vector<uint32_t> ends_;
};

/// Which number a text of a table has. The table is given with each call, and does not change meanwhile.
class TextIndex {
 public:
  /// Room for so many texts, before the first is inserted.
  void reserve(size_t texts);
  /// Number `i` of the table; returns the number that the same text has already, or `i`.
  int32_t insert(const TextTable& table, int32_t i);
  /// -1: not there.
  int32_t find(const TextTable& table, std::string_view text) const {
    return slots_.empty() ? -1 : slots_[slot_of(table, text)];
  }

 private:
  // Where the text stands, or would.
  size_t slot_of(const TextTable& table, std::string_view text) const;
  std::vector<int32_t> slots_;  // a power of two, a third of them free at least; -1: free
};

}  // namespace wellspring
