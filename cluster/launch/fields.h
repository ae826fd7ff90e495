#pragma once
// The form of what the node daemon and wellspring-launch tell each other: fields of one byte key,
// four bytes length (little endian) and content. No exceptions: the launcher is built without them.

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

namespace wellspring::cluster::launch {

inline void put_field(std::string& out, uint8_t key, std::string_view value) {
  uint32_t n = static_cast<uint32_t>(value.size());
  out += static_cast<char>(key);
  for (int i = 0; i < 4; i++) out += static_cast<char>(n >> (8 * i) & 255);
  out += value;
}

/// Several parts in one field, each ended by a NUL. A part holds no NUL, except the last one of a
/// field that is read with `last_is_free`.
inline std::string join_parts(std::initializer_list<std::string_view> parts) {
  std::string out;
  size_t n = 0;
  for (std::string_view part : parts) {
    out += part;
    if (++n < parts.size()) out += '\0';
  }
  return out;
}

/// At most `most` parts; the last one may hold NULs when there would be more.
inline std::vector<std::string_view> split_parts(std::string_view value, size_t most) {
  std::vector<std::string_view> parts;
  while (parts.size() + 1 < most) {
    size_t end = value.find('\0');
    if (end == std::string_view::npos) break;
    parts.push_back(value.substr(0, end));
    value.remove_prefix(end + 1);
  }
  parts.push_back(value);
  return parts;
}

struct Field {
  uint8_t key = 0;
  std::string_view value;
};

/// Reads fields one after the other. A field that is not complete ends the reading.
class FieldReader {
 public:
  explicit FieldReader(std::string_view data) : data_(data) {}

  bool next(Field* field) {
    if (data_.size() - position_ < 5) return false;
    uint32_t n = 0;
    for (int i = 0; i < 4; i++)
      n |= static_cast<uint32_t>(static_cast<uint8_t>(data_[position_ + 1 + i])) << (8 * i);
    if (data_.size() - position_ - 5 < n) return false;
    field->key = static_cast<uint8_t>(data_[position_]);
    field->value = data_.substr(position_ + 5, n);
    position_ += 5 + static_cast<size_t>(n);
    return true;
  }
  /// Bytes read, all of complete fields.
  size_t position() const { return position_; }
  bool at_end() const { return position_ == data_.size(); }

 private:
  std::string_view data_;
  size_t position_ = 0;
};

/// Whole-text numbers; false when anything is left over or out of range.
inline bool read_number(std::string_view text, int64_t low, int64_t high, int64_t* out) {
  if (text.empty() || text.size() > 20) return false;
  bool negative = text[0] == '-';
  if (negative) text.remove_prefix(1);
  if (text.empty()) return false;
  uint64_t n = 0;
  for (char c : text) {
    if (c < '0' || c > '9' || n > (UINT64_MAX - 9) / 10) return false;
    n = n * 10 + static_cast<uint64_t>(c - '0');
  }
  if (n > static_cast<uint64_t>(INT64_MAX)) return false;
  int64_t value = negative ? -static_cast<int64_t>(n) : static_cast<int64_t>(n);
  if (value < low || value > high) return false;
  *out = value;
  return true;
}

/// Seconds travel as whole microseconds: no locale, no rounding to guess.
inline std::string write_seconds(double seconds) {
  return std::to_string(static_cast<int64_t>(seconds * 1e6));
}
inline bool read_seconds(std::string_view text, double* out) {
  int64_t n = 0;
  if (!read_number(text, 0, INT64_MAX, &n)) return false;
  *out = static_cast<double>(n) * 1e-6;
  return true;
}

}  // namespace wellspring::cluster::launch
