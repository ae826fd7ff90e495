#include "text/text_table.h"

#include <functional>
#include <limits>

#include "base/error.h"

namespace wellspring {

void TextTable::reserve(size_t texts, size_t bytes) { ends_.reserve(texts), bytes_.reserve(bytes); }

void TextTable::push_back(std::string_view text) {
  if (text.size() > std::numeric_limits<uint32_t>::max() - bytes_.size())
    throw Error(Fault::data, "a vocabulary has more than 4 GiB of text");
  bytes_.append(text);
  ends_.push_back(static_cast<uint32_t>(bytes_.size()));
}

void TextIndex::reserve(size_t texts) {
  size_t size = 4;
  while (size < texts + texts / 2 + 2) size *= 2;
  slots_.assign(size, -1);
}

int32_t TextIndex::insert(const TextTable& table, int32_t i) {
  int32_t& slot = slots_[slot_of(table, table[static_cast<size_t>(i)])];
  if (slot < 0) slot = i;
  return slot;
}

size_t TextIndex::slot_of(const TextTable& table, std::string_view text) const {
  const size_t mask = slots_.size() - 1;
  size_t i = std::hash<std::string_view>()(text) & mask;
  while (slots_[i] >= 0 && table[static_cast<size_t>(slots_[i])] != text) i = (i + 1) & mask;
  return i;
}

}  // namespace wellspring
