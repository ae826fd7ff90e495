#pragma once
// GGUF, the model files of llama.cpp: a header, metadata (keys with typed values), a list of
// tensors, and their data, aligned. Little-endian, versions 2 and 3. Every malformed file is
// Error(Fault::data) naming file, offset and key or tensor. Format: docs/gguf.md of
// github.com/ggml-org/ggml. The element types are in tensor/gguf_types.h.

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tensor/gguf_types.h"

namespace wellspring {

/// Types of metadata values, numbered as in files.
enum class GgufKind : uint32_t {
  u8,
  i8,
  u16,
  i16,
  u32,
  i32,
  f32,
  boolean,
  text,
  array,
  u64,
  i64,
  f64
};
/// "u8", "text", ...
std::string_view name_of(GgufKind kind);

/// A value as it lies in the file; nothing is decoded before it is asked for.
struct GgufValue {
  GgufKind kind = GgufKind::u8;
  GgufKind element = GgufKind::u8;  ///< of an array
  uint64_t count = 1;               ///< elements of an array
  const char* data = nullptr;       ///< the value, or the first element
  uint64_t bytes = 0;
  uint64_t offset = 0;  ///< in the file
};

struct GgufTensor {
  std::string_view name;
  const GgufTypeInfo* type = nullptr;
  std::vector<int64_t> shape;  ///< row-major, the last dimension contiguous (files: reversed)
  const uint8_t* data = nullptr;
  uint64_t bytes = 0;

  int64_t numel() const;
  /// Values of a row (of all when it has fewer than two dimensions), and how many rows there are.
  int64_t row_size() const;
  int64_t rows() const;
  /// Decodes `count` rows from row `first` on to f32. Error(Fault::usage) out of range, and as
  /// gguf_decode. Thread-safe.
  void read_rows(int64_t first, int64_t count, float* to) const;
};

/// One file, validated as a whole when opened: lengths, overflow, alignment, overlaps, duplicates,
/// sizes of strings and arrays (time and memory in proportion to the file). A copyable handle that
/// keeps the mapping alive; reading is thread-safe. Pointers and views live as long as a handle.
class Gguf {
 public:
  /// Error(Fault::io) when unreadable, Error(Fault::data) when malformed.
  explicit Gguf(const std::string& path);
  /// Of bytes in memory that `owner` keeps alive; `where` names them in errors.
  Gguf(const char* data, size_t size, std::shared_ptr<const void> owner, const std::string& where);

  const std::string& where() const;
  uint32_t version() const;
  uint64_t alignment() const;

  /// In file order.
  const std::vector<GgufTensor>& tensors() const;
  /// Null when there is none of this name.
  const GgufTensor* find(std::string_view name) const;
  /// Error(Fault::data) when there is none of this name.
  const GgufTensor& tensor(std::string_view name) const;

  /// In file order.
  const std::vector<std::pair<std::string_view, GgufValue>>& metadata() const;
  /// Null when absent.
  const GgufValue* value(std::string_view key) const;
  bool contains(std::string_view key) const { return value(key) != nullptr; }
  // Typed values: nullopt when the key is absent, Error(Fault::data) naming file, offset and key
  // when its value has another type.
  /// Of any integer type; u64 above 2^63 - 1 is an error.
  std::optional<int64_t> integer(std::string_view key) const;
  /// Of any number type. An f32 becomes the double that its shortest decimal form means: 1e-5f is
  /// 1e-5.
  std::optional<double> number(std::string_view key) const;
  std::optional<bool> boolean(std::string_view key) const;
  /// Any bytes; UTF-8 if the writer kept to the rules.
  std::optional<std::string_view> text(std::string_view key) const;
  // Arrays, decoded at each call: empty when the key is absent, else errors as above.
  std::vector<std::string_view> texts(std::string_view key) const;
  std::vector<int64_t> integers(std::string_view key) const;
  std::vector<double> numbers(std::string_view key) const;
  /// What to throw for a value that is well-formed but makes no sense: names file, offset and key.
  [[noreturn]] void bad_value(std::string_view key, const std::string& why) const;
  [[noreturn]] void bad_tensor(std::string_view name, const std::string& why) const;

 private:
  struct Content;
  std::shared_ptr<const Content> content_;
};

/// Fills `to` with `count` rows of a tensor from row `first` on. Called from one thread.
using GgufRows = std::function<void(int64_t first, int64_t count, float* to)>;

/// Writes one file (version 3), tensor after tensor: memory holds a few rows. Not thread-safe.
/// Error(Fault::usage) for keys or tensors that stand twice, names that readers refuse (empty, or
/// tensors' longer than 63 bytes), more than 4 dimensions, rows that are not whole blocks, types
/// that cannot be written.
class GgufWriter {
 public:
  void set_u32(std::string_view key, uint32_t value);
  void set_u64(std::string_view key, uint64_t value);
  void set_f32(std::string_view key, float value);
  void set_boolean(std::string_view key, bool value);
  void set_text(std::string_view key, std::string_view value);
  void set_texts(std::string_view key, const std::vector<std::string>& values);
  void set_i32s(std::string_view key, const std::vector<int32_t>& values);
  void set_f32s(std::string_view key, const std::vector<float>& values);
  /// A value of any type, in the bytes of the file.
  void set_raw(std::string_view key, GgufKind kind, std::string_view bytes);
  /// `rows` is called while writing.
  void add(std::string_view name, const std::vector<int64_t>& shape, GgufType type, GgufRows rows);
  /// Atomic. Error(Fault::io) when the disk refuses; errors of rows and of gguf_encode (with the
  /// tensor's name before them) pass, and no file appears.
  void write(const std::string& path) const;

 private:
  struct Output {
    std::string name;
    std::vector<int64_t> shape;
    const GgufTypeInfo* type;
    GgufRows rows;
  };
  std::string header(uint64_t* data_bytes) const;
  std::vector<std::pair<std::string, std::string>> values_;  // key, type and value as in the file
  std::vector<Output> outputs_;
};

}  // namespace wellspring
