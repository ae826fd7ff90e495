// Writing GGUF: the header as a whole, then the tensors, a few rows at a time.

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "base/threads.h"
#include "tensor/gguf.h"

namespace wellspring {
namespace {

constexpr uint64_t kWriteAlignment = 32;  // the format's default: needs no key
constexpr int64_t kChunkValues = int64_t{1} << 20;
constexpr size_t kLongestWritten = 63;  // ggml's limit for names of tensors

void put_little_endian(std::string& out, uint64_t v, int bytes) {
  for (int i = 0; i < bytes; ++i) out += static_cast<char>(v >> (8 * i));
}

void put_gguf_text(std::string& out, std::string_view text) {
  put_little_endian(out, text.size(), 8);
  out += text;
}

uint32_t float_bits(float v) {
  uint32_t bits;
  std::memcpy(&bits, &v, 4);
  return bits;
}

std::string array_head(GgufKind element, size_t count) {
  std::string out;
  put_little_endian(out, static_cast<uint64_t>(element), 4);
  put_little_endian(out, count, 8);
  return out;
}

int64_t last_extent(const std::vector<int64_t>& shape) { return shape.empty() ? 1 : shape.back(); }

uint64_t encoded_bytes(const std::vector<int64_t>& shape, const GgufTypeInfo& type) {
  auto bytes = static_cast<uint64_t>(type.bytes);
  for (size_t i = 0; i < shape.size(); ++i) {
    const int64_t extent = i + 1 == shape.size() ? shape[i] / type.block : shape[i];
    if (extent < 0 || __builtin_mul_overflow(bytes, static_cast<uint64_t>(extent), &bytes) ||
        bytes >> 62)
      throw Error(Fault::usage, "the shape of a tensor to be written overflows");
  }
  return bytes;
}

uint64_t gguf_padded(uint64_t bytes) {
  return (bytes + kWriteAlignment - 1) / kWriteAlignment * kWriteAlignment;
}

}  // namespace

void GgufWriter::set_raw(std::string_view key, GgufKind kind, std::string_view bytes) {
  if (key.empty() || key.size() > 65535)
    throw Error(Fault::usage, "a GGUF key has 1 to 65535 bytes");
  for (const auto& entry : values_)
    if (entry.first == key) throw Error(Fault::usage, str("GGUF key '", key, "' is set twice"));
  std::string value;
  put_little_endian(value, static_cast<uint64_t>(kind), 4);
  value += bytes;
  values_.emplace_back(key, std::move(value));
}

void GgufWriter::set_u32(std::string_view key, uint32_t value) {
  std::string bytes;
  put_little_endian(bytes, value, 4);
  set_raw(key, GgufKind::u32, bytes);
}

void GgufWriter::set_u64(std::string_view key, uint64_t value) {
  std::string bytes;
  put_little_endian(bytes, value, 8);
  set_raw(key, GgufKind::u64, bytes);
}

void GgufWriter::set_f32(std::string_view key, float value) {
  std::string bytes;
  put_little_endian(bytes, float_bits(value), 4);
  set_raw(key, GgufKind::f32, bytes);
}

void GgufWriter::set_boolean(std::string_view key, bool value) {
  set_raw(key, GgufKind::boolean, std::string(1, value ? '\1' : '\0'));
}

void GgufWriter::set_text(std::string_view key, std::string_view value) {
  std::string bytes;
  put_gguf_text(bytes, value);
  set_raw(key, GgufKind::text, bytes);
}

void GgufWriter::set_texts(std::string_view key, const std::vector<std::string>& values) {
  std::string bytes = array_head(GgufKind::text, values.size());
  for (const std::string& v : values) put_gguf_text(bytes, v);
  set_raw(key, GgufKind::array, bytes);
}

void GgufWriter::set_i32s(std::string_view key, const std::vector<int32_t>& values) {
  std::string bytes = array_head(GgufKind::i32, values.size());
  for (int32_t v : values) put_little_endian(bytes, static_cast<uint32_t>(v), 4);
  set_raw(key, GgufKind::array, bytes);
}

void GgufWriter::set_f32s(std::string_view key, const std::vector<float>& values) {
  std::string bytes = array_head(GgufKind::f32, values.size());
  for (float v : values) put_little_endian(bytes, float_bits(v), 4);
  set_raw(key, GgufKind::array, bytes);
}

void GgufWriter::add(std::string_view name, const std::vector<int64_t>& shape, GgufType type,
                     GgufRows rows) {
  auto refuse = [&](const std::string& why) {
    throw Error(Fault::usage, str("tensor '", name, "' to be written as GGUF: ", why));
  };
  if (name.empty() || name.size() > kLongestWritten) refuse("its name must have 1 to 63 bytes");
  for (const Output& o : outputs_)
    if (o.name == name) refuse("it stands twice");
  if (shape.size() > 4) refuse("it has more than 4 dimensions");
  const GgufTypeInfo& info = gguf_type_info(type);
  if (!info.encode) refuse(str("type ", info.name, " cannot be written"));
  if (last_extent(shape) % info.block)
    refuse(str("rows of ", last_extent(shape), " values are not whole blocks of ", info.block,
               " (type ", info.name, ")"));
  encoded_bytes(shape, info);
  outputs_.push_back({std::string(name), shape, &info, std::move(rows)});
}

std::string GgufWriter::header(uint64_t* data_bytes) const {
  std::string out = "GGUF";
  put_little_endian(out, 3, 4);
  put_little_endian(out, outputs_.size(), 8);
  put_little_endian(out, values_.size(), 8);
  for (const auto& [key, value] : values_) {
    put_gguf_text(out, key);
    out += value;
  }
  *data_bytes = 0;
  for (const Output& o : outputs_) {
    put_gguf_text(out, o.name);
    put_little_endian(out, o.shape.size(), 4);
    for (size_t i = o.shape.size(); i-- > 0;)
      put_little_endian(out, static_cast<uint64_t>(o.shape[i]), 8);
    put_little_endian(out, static_cast<uint64_t>(o.type->type), 4);
    put_little_endian(out, *data_bytes, 8);
    *data_bytes += gguf_padded(encoded_bytes(o.shape, *o.type));
  }
  out.resize(gguf_padded(out.size()), '\0');
  return out;
}

void GgufWriter::write(const std::string& path) const {
  uint64_t data_bytes = 0;
  const std::string head = header(&data_bytes);
  AtomicWriter file(path);
  file.write(head.data(), head.size());
  std::vector<float> values;
  std::vector<uint8_t> bytes;
  for (const Output& o : outputs_) {
    const uint64_t whole = encoded_bytes(o.shape, *o.type);
    const int64_t width = last_extent(o.shape);
    const auto row_bytes = static_cast<uint64_t>(width / o.type->block * o.type->bytes);
    const int64_t rows = row_bytes ? static_cast<int64_t>(whole / row_bytes) : 0;
    const int64_t chunk = std::max<int64_t>(1, kChunkValues / std::max<int64_t>(1, width));
    for (int64_t first = 0; first < rows; first += chunk) {
      const int64_t count = std::min(chunk, rows - first);
      values.resize(static_cast<size_t>(count * width));
      bytes.resize(static_cast<size_t>(count) * row_bytes);
      o.rows(first, count, values.data());
      try {
        parallel_for(count, [&](int64_t row) {
          gguf_encode(*o.type, values.data() + row * width, width,
                      bytes.data() + static_cast<uint64_t>(row) * row_bytes);
        });
      } catch (const Error& e) {
        throw Error(e.fault(), str("tensor '", o.name, "', rows ", first, " to ", first + count,
                                   ": ", e.what()));
      }
      file.write(bytes.data(), bytes.size());
    }
    const std::string padding(gguf_padded(whole) - whole, '\0');
    file.write(padding.data(), padding.size());
  }
  file.commit();
}

}  // namespace wellspring
