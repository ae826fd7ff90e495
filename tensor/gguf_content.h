#pragma once
// What an open file is made of. For gguf.cpp (opening) and gguf_values.cpp (access).

#include <unordered_map>

#include "tensor/gguf.h"

namespace wellspring {

class GgufCursor;

// Bytes of a scalar; 0: of its own length.
inline uint64_t gguf_kind_size(GgufKind kind) {
  constexpr uint8_t sizes[] = {1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8};
  return sizes[static_cast<uint32_t>(kind)];
}

inline uint64_t gguf_little_endian(const char* p, uint64_t bytes) {
  uint64_t v = 0;
  for (uint64_t i = bytes; i-- > 0;) v = v << 8 | static_cast<uint8_t>(p[i]);
  return v;
}

/// A name from the file for messages: long or broken ones are cut and repaired.
std::string gguf_quoted(std::string_view name);

struct Gguf::Content {
  std::string where;
  std::shared_ptr<const void> owner;
  uint32_t version = 0;
  uint64_t alignment = 32;  // the default of the format
  std::vector<std::pair<std::string_view, GgufValue>> values;
  std::unordered_map<std::string_view, size_t> keys;
  std::vector<GgufTensor> tensors;
  std::unordered_map<std::string_view, size_t> names;

  void read_metadata(GgufCursor& in, uint64_t count);
  void read_alignment(GgufCursor& in);
  void read_tensors(GgufCursor& in, uint64_t count);
  void place(GgufCursor& in, const std::vector<uint64_t>& offsets);
  [[noreturn]] void mistyped(std::string_view key, const GgufValue& v, const char* wanted) const;
  // A scalar that must be a number; texts and arrays are errors.
  double number_at(std::string_view key, const GgufValue& v, GgufKind kind, const char* p) const;
  int64_t integer_at(std::string_view key, const GgufValue& v, GgufKind kind, const char* p) const;
  const GgufValue* array(std::string_view key) const;
};

}  // namespace wellspring
