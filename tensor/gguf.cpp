#include "tensor/gguf.h"

#include <algorithm>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "tensor/gguf_content.h"

namespace wellspring {
namespace {

constexpr uint64_t kLongestKey = 65535, kLongestName = 255;
constexpr uint64_t kMostAlignment = uint64_t{1} << 30;
constexpr uint32_t kMostGgufDims = 4;
constexpr int kDeepestArray = 4;
// Least bytes that an entry takes: they bound the counts of the header.
constexpr uint64_t kLeastValue = 8 + 4 + 1, kLeastTensor = 8 + 4 + 4 + 8;

}  // namespace

// Reads forward; every read is checked against the end of the file.
class GgufCursor {
 public:
  GgufCursor(const char* data, uint64_t size, const std::string& where)
      : data_(data), size_(size), where_(where) {}

  uint64_t at() const { return at_; }
  uint64_t left() const { return size_ - at_; }
  const char* here() const { return data_ + at_; }
  // What the entry being read is called in errors.
  void name(std::string entry) { entry_ = std::move(entry); }

  [[noreturn]] void bad(uint64_t offset, const std::string& why) const {
    throw Error(Fault::data,
                str(where_, ": byte ", offset, ": ", entry_, entry_.empty() ? "" : ": ", why));
  }
  const char* skip(uint64_t bytes, const char* what) {
    if (bytes > left())
      bad(at_, str(what, " takes ", bytes, " bytes, but ", left(), " are left (truncated?)"));
    const char* p = here();
    at_ += bytes;
    return p;
  }
  uint32_t u32(const char* what) {
    return static_cast<uint32_t>(gguf_little_endian(skip(4, what), 4));
  }
  uint64_t u64(const char* what) { return gguf_little_endian(skip(8, what), 8); }
  std::string_view text(const char* what, uint64_t most) {
    const uint64_t begin = at_, length = u64(what);
    if (length > most)
      bad(begin, str(what, " has ", length, " bytes; at most ", most, " are allowed"));
    return {skip(length, what), length};
  }
  GgufKind kind(const char* what) {
    const uint64_t begin = at_;
    const uint32_t number = u32(what);
    if (number > static_cast<uint32_t>(GgufKind::f64))
      bad(begin, str(what, " ", number, " does not exist"));
    return static_cast<GgufKind>(number);
  }
  GgufValue value(GgufKind kind, int depth);

 private:
  void elements(GgufKind kind, uint64_t count, int depth);

  const char* data_;
  uint64_t size_, at_ = 0;
  const std::string& where_;
  std::string entry_;
};

GgufValue GgufCursor::value(GgufKind kind, int depth) {
  GgufValue v;
  v.kind = kind;
  v.offset = at_;
  if (kind == GgufKind::array) {
    if (depth == kDeepestArray) bad(at_, str("arrays are nested deeper than ", kDeepestArray));
    v.element = this->kind("the type of the elements");
    v.count = u64("the length of the array");
  }
  v.data = here();
  const uint64_t begin = at_;
  elements(kind == GgufKind::array ? v.element : kind, v.count, depth + 1);
  v.bytes = at_ - begin;
  return v;
}

void GgufCursor::elements(GgufKind kind, uint64_t count, int depth) {
  // Of texts and arrays each takes 8 bytes at least.
  const uint64_t each = gguf_kind_size(kind), least = each ? each : 8;
  if (count > left() / least)
    bad(at_, str(count, count == 1 ? " value" : " values", " of type ", name_of(kind),
                 " take more than the ", left(), " bytes that are left (truncated?)"));
  if (kind == GgufKind::boolean) {
    for (uint64_t i = 0; i < count; ++i)
      if (static_cast<uint8_t>(here()[i]) > 1) bad(at_ + i, "a boolean is neither 0 nor 1");
  }
  if (each) {
    at_ += count * each;
  } else if (kind == GgufKind::text) {
    for (uint64_t i = 0; i < count; ++i) text("a text", ~uint64_t{0});
  } else {
    for (uint64_t i = 0; i < count; ++i) value(kind, depth);
  }
}

namespace {

GgufTensor read_tensor_entry(GgufCursor& in, uint64_t* offset) {
  GgufTensor t;
  t.name = in.text("the name", kLongestName);
  if (t.name.empty()) in.bad(in.at(), "the name is empty");
  in.name(str("tensor ", gguf_quoted(t.name)));
  const uint64_t begin = in.at();
  const uint32_t dims = in.u32("the number of dimensions");
  if (dims > kMostGgufDims)
    in.bad(begin, str("it has ", dims, " dimensions; at most ", kMostGgufDims, " are allowed"));
  uint64_t numel = 1, widest = 1;  // the product without zeros: so that none of rows overflows
  t.shape.resize(dims);
  for (uint32_t i = 0; i < dims; ++i) {
    const uint64_t extent = in.u64("a dimension");
    if (__builtin_mul_overflow(widest, std::max<uint64_t>(1, extent), &widest) || widest >> 62)
      in.bad(begin, "its shape overflows");
    numel *= extent;
    t.shape[dims - 1 - i] = static_cast<int64_t>(extent);
  }
  const uint64_t type_at = in.at();
  const uint32_t type = in.u32("the type");
  t.type = gguf_type_info(type);
  if (!t.type) in.bad(type_at, str("type ", type, " is not known"));
  if (t.row_size() % t.type->block)
    in.bad(begin, str("rows of ", t.row_size(), " values are not whole blocks of ", t.type->block,
                      " (type ", t.type->name, ")"));
  if (__builtin_mul_overflow(numel / static_cast<uint64_t>(t.type->block),
                             static_cast<uint64_t>(t.type->bytes), &t.bytes))
    in.bad(begin, "its size overflows");
  *offset = in.u64("the offset of the data");
  return t;
}

}  // namespace

void Gguf::Content::read_metadata(GgufCursor& in, uint64_t count) {
  values.reserve(count);
  keys.reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    in.name(str("metadata entry ", i));
    const uint64_t begin = in.at();
    const std::string_view key = in.text("the key", kLongestKey);
    if (key.empty()) in.bad(begin, "the key is empty");
    in.name(str("key ", gguf_quoted(key)));
    if (!keys.emplace(key, i).second) in.bad(begin, "it stands twice");
    const GgufKind kind = in.kind("the type of the value");
    values.emplace_back(key, in.value(kind, 0));
  }
}

void Gguf::Content::read_alignment(GgufCursor& in) {
  auto found = keys.find("general.alignment");
  if (found == keys.end()) return;
  const GgufValue& v = values[found->second].second;
  in.name("key 'general.alignment'");
  if (v.kind != GgufKind::u32) in.bad(v.offset, str("it must be u32, not ", name_of(v.kind)));
  alignment = gguf_little_endian(v.data, 4);
  if (alignment == 0 || (alignment & (alignment - 1)) || alignment > kMostAlignment)
    in.bad(v.offset, str(alignment, " is not a power of two of at most 2^30"));
}

void Gguf::Content::read_tensors(GgufCursor& in, uint64_t count) {
  std::vector<uint64_t> offsets(count);
  tensors.reserve(count);
  names.reserve(count);
  for (uint64_t i = 0; i < count; ++i) {
    in.name(str("tensor entry ", i));
    const uint64_t begin = in.at();
    tensors.push_back(read_tensor_entry(in, &offsets[i]));
    if (!names.emplace(tensors[i].name, i).second) in.bad(begin, "it stands twice");
    if (offsets[i] % alignment)
      in.bad(in.at() - 8, str("its data begin at ", offsets[i], ", which is not aligned to ",
                              alignment, " bytes"));
  }
  if (count) place(in, offsets);
}

// Data begin at the next aligned byte after the list; no two tensors share bytes.
void Gguf::Content::place(GgufCursor& in, const std::vector<uint64_t>& offsets) {
  in.name("");
  const uint64_t padding = (alignment - in.at() % alignment) % alignment;
  in.skip(padding, "the padding before the data");
  const uint64_t begin = in.at(), bytes = in.left();
  std::vector<size_t> order(tensors.size());
  for (size_t i = 0; i < order.size(); ++i) {
    order[i] = i;
    GgufTensor& t = tensors[i];
    if (offsets[i] > bytes || t.bytes > bytes - offsets[i]) {
      in.name(str("tensor ", gguf_quoted(t.name)));
      in.bad(begin, str("its ", t.bytes, " bytes at ", offsets[i], " lie outside the ", bytes,
                        " bytes of data that begin here (truncated?)"));
    }
    t.data = reinterpret_cast<const uint8_t*>(in.here()) + offsets[i];
  }
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    return offsets[a] != offsets[b] ? offsets[a] < offsets[b] : tensors[a].bytes < tensors[b].bytes;
  });
  for (size_t i = 1; i < order.size(); ++i) {
    const GgufTensor &before = tensors[order[i - 1]], &t = tensors[order[i]];
    if (offsets[order[i]] - offsets[order[i - 1]] >= before.bytes) continue;
    in.name(str("tensor ", gguf_quoted(t.name)));
    in.bad(begin + offsets[order[i]], str("its data overlap those of ", gguf_quoted(before.name)));
  }
}

Gguf::Gguf(const char* data, size_t size, std::shared_ptr<const void> owner,
           const std::string& where) {
  auto content = std::make_shared<Content>();
  Content& c = *content;
  c.where = where;
  c.owner = std::move(owner);
  GgufCursor in(data, size, where);
  if (size < 4 || std::memcmp(data, "GGUF", 4) != 0)
    in.bad(0, "not a GGUF file: it does not begin with 'GGUF'");
  in.skip(4, "the magic");
  c.version = in.u32("the version");
  if (c.version && !(c.version & 0xffff))
    in.bad(4, "it is big-endian, which is not supported; convert it to little-endian");
  if (c.version < 2 || c.version > 3)
    in.bad(4,
           str("version ", c.version, " is not supported (only 2 and 3); convert the model anew"));
  const uint64_t tensors = in.u64("the number of tensors");
  const uint64_t values = in.u64("the number of metadata entries");
  if (tensors > in.left() / kLeastTensor)
    in.bad(8, str(tensors, " tensors do not fit into the file (truncated?)"));
  if (values > in.left() / kLeastValue)
    in.bad(16, str(values, " metadata entries do not fit into the file (truncated?)"));
  c.read_metadata(in, values);
  c.read_alignment(in);
  c.read_tensors(in, tensors);
  content_ = std::move(content);
}

namespace {
Gguf map_gguf(const std::string& path) {
  auto file = std::make_shared<MappedFile>(path);
  return Gguf(file->data(), file->size(), file, path);
}
}  // namespace

Gguf::Gguf(const std::string& path) : Gguf(map_gguf(path)) {}

}  // namespace wellspring
