#include <charconv>
#include <cstring>

#include "base/error.h"
#include "base/text.h"
#include "tensor/gguf_content.h"

namespace wellspring {

std::string gguf_quoted(std::string_view name) {
  return str("'", utf8_repair(name.substr(0, 120)), name.size() > 120 ? "...'" : "'");
}

std::string_view name_of(GgufKind kind) {
  constexpr std::string_view names[] = {"u8",      "i8",   "u16",   "i16", "u32", "i32", "f32",
                                        "boolean", "text", "array", "u64", "i64", "f64"};
  return names[static_cast<uint32_t>(kind)];
}

int64_t GgufTensor::numel() const {
  int64_t n = 1;
  for (int64_t d : shape) n *= d;
  return n;
}

int64_t GgufTensor::row_size() const { return shape.empty() ? 1 : shape.back(); }

int64_t GgufTensor::rows() const {
  int64_t n = 1;
  for (size_t i = 0; i + 1 < shape.size(); ++i) n *= shape[i];
  return n;
}

void GgufTensor::read_rows(int64_t first, int64_t count, float* to) const {
  if (first < 0 || count < 0 || first > rows() || count > rows() - first)
    throw Error(Fault::usage, str("tensor ", gguf_quoted(name), " has ", rows(), " rows; rows ",
                                  first, " to ", first + count, " were asked for"));
  const int64_t row_bytes = row_size() / type->block * type->bytes;
  gguf_decode(*type, data + first * row_bytes, count * row_size(), to);
}

const std::string& Gguf::where() const { return content_->where; }
uint32_t Gguf::version() const { return content_->version; }
uint64_t Gguf::alignment() const { return content_->alignment; }
const std::vector<GgufTensor>& Gguf::tensors() const { return content_->tensors; }
const std::vector<std::pair<std::string_view, GgufValue>>& Gguf::metadata() const {
  return content_->values;
}

const GgufTensor* Gguf::find(std::string_view name) const {
  auto found = content_->names.find(name);
  return found == content_->names.end() ? nullptr : &content_->tensors[found->second];
}

const GgufTensor& Gguf::tensor(std::string_view name) const {
  const GgufTensor* t = find(name);
  if (!t) throw Error(Fault::data, str(where(), ": no tensor ", gguf_quoted(name)));
  return *t;
}

const GgufValue* Gguf::value(std::string_view key) const {
  auto found = content_->keys.find(key);
  return found == content_->keys.end() ? nullptr : &content_->values[found->second].second;
}

void Gguf::bad_value(std::string_view key, const std::string& why) const {
  const GgufValue* v = value(key);
  throw Error(Fault::data, str(where(), ": ", v ? str("byte ", v->offset, ": ") : "", "key ",
                               gguf_quoted(key), ": ", why));
}

void Gguf::bad_tensor(std::string_view name, const std::string& why) const {
  throw Error(Fault::data, str(where(), ": tensor ", gguf_quoted(name), ": ", why));
}

void Gguf::Content::mistyped(std::string_view key, const GgufValue& v, const char* wanted) const {
  const bool array = v.kind == GgufKind::array;
  throw Error(Fault::data,
              str(where, ": byte ", v.offset, ": key ", gguf_quoted(key), ": expected ", wanted,
                  ", not ", array ? "an array of " : "", name_of(array ? v.element : v.kind)));
}

int64_t Gguf::Content::integer_at(std::string_view key, const GgufValue& v, GgufKind kind,
                                  const char* p) const {
  const uint64_t bytes = gguf_kind_size(kind);
  switch (kind) {
    case GgufKind::u8:
    case GgufKind::u16:
    case GgufKind::u32:
    case GgufKind::u64: {
      const uint64_t u = gguf_little_endian(p, bytes);
      if (u >> 63) mistyped(key, v, "an integer below 2^63");
      return static_cast<int64_t>(u);
    }
    case GgufKind::i8:
    case GgufKind::i16:
    case GgufKind::i32:
    case GgufKind::i64: {
      const int unused = static_cast<int>(64 - 8 * bytes);
      return static_cast<int64_t>(gguf_little_endian(p, bytes) << unused) >> unused;
    }
    default:
      mistyped(key, v, v.kind == GgufKind::array ? "an array of integers" : "an integer");
  }
}

double Gguf::Content::number_at(std::string_view key, const GgufValue& v, GgufKind kind,
                                const char* p) const {
  if (kind == GgufKind::f32) {
    const auto bits = static_cast<uint32_t>(gguf_little_endian(p, 4));
    float f;
    std::memcpy(&f, &bits, 4);
    char text[40];
    double d = static_cast<double>(f);
    std::from_chars(text, std::to_chars(text, text + sizeof text, f).ptr, d);
    return d;
  }
  if (kind == GgufKind::f64) {
    const uint64_t bits = gguf_little_endian(p, 8);
    double d;
    std::memcpy(&d, &bits, 8);
    return d;
  }
  if (kind == GgufKind::boolean || kind == GgufKind::text || kind == GgufKind::array)
    mistyped(key, v, v.kind == GgufKind::array ? "an array of numbers" : "a number");
  return static_cast<double>(integer_at(key, v, kind, p));
}

std::optional<int64_t> Gguf::integer(std::string_view key) const {
  const GgufValue* v = value(key);
  if (!v) return std::nullopt;
  return content_->integer_at(key, *v, v->kind, v->data);
}

std::optional<double> Gguf::number(std::string_view key) const {
  const GgufValue* v = value(key);
  if (!v) return std::nullopt;
  return content_->number_at(key, *v, v->kind, v->data);
}

std::optional<bool> Gguf::boolean(std::string_view key) const {
  const GgufValue* v = value(key);
  if (!v) return std::nullopt;
  if (v->kind != GgufKind::boolean) content_->mistyped(key, *v, "a boolean");
  return *v->data != 0;
}

std::optional<std::string_view> Gguf::text(std::string_view key) const {
  const GgufValue* v = value(key);
  if (!v) return std::nullopt;
  if (v->kind != GgufKind::text) content_->mistyped(key, *v, "a text");
  return std::string_view(v->data + 8, gguf_little_endian(v->data, 8));
}

const GgufValue* Gguf::Content::array(std::string_view key) const {
  auto found = keys.find(key);
  if (found == keys.end()) return nullptr;
  const GgufValue& v = values[found->second].second;
  if (v.kind != GgufKind::array) mistyped(key, v, "an array");
  return &v;
}

std::vector<std::string_view> Gguf::texts(std::string_view key) const {
  std::vector<std::string_view> out;
  const GgufValue* v = content_->array(key);
  if (!v) return out;
  if (v->element != GgufKind::text) content_->mistyped(key, *v, "an array of texts");
  out.reserve(v->count);
  const char* p = v->data;
  for (uint64_t i = 0; i < v->count; ++i) {
    const uint64_t length = gguf_little_endian(p, 8);
    out.emplace_back(p + 8, length);
    p += 8 + length;
  }
  return out;
}

std::vector<int64_t> Gguf::integers(std::string_view key) const {
  std::vector<int64_t> out;
  const GgufValue* v = content_->array(key);
  if (!v) return out;
  const uint64_t each = gguf_kind_size(v->element);
  out.reserve(each ? v->count : 0);
  for (uint64_t i = 0; i < v->count; ++i)
    out.push_back(content_->integer_at(key, *v, v->element, v->data + i * each));
  return out;
}

std::vector<double> Gguf::numbers(std::string_view key) const {
  std::vector<double> out;
  const GgufValue* v = content_->array(key);
  if (!v) return out;
  const uint64_t each = gguf_kind_size(v->element);
  out.reserve(each ? v->count : 0);
  for (uint64_t i = 0; i < v->count; ++i)
    out.push_back(content_->number_at(key, *v, v->element, v->data + i * each));
  return out;
}

}  // namespace wellspring
