#include "tensor/safetensors.h"

#include <simdjson.h>

#include <algorithm>
#include <cstring>
#include <unordered_set>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

namespace wellspring {
namespace {

// As the format's reference reader has it; it also bounds the number of tensors.
constexpr uint64_t kMostHeader = 100'000'000;

struct FileType {
  std::string_view name;
  size_t bytes;
  int dtype;  // -1: tensors do not have it
};
constexpr FileType kTypes[] = {{"F64", 8, int(DType::f64)},
                               {"F32", 4, int(DType::f32)},
                               {"BF16", 2, int(DType::bf16)},
                               {"F16", 2, int(DType::f16)},
                               {"I64", 8, int(DType::i64)},
                               {"I32", 4, int(DType::i32)},
                               {"I16", 2, int(DType::i16)},
                               {"I8", 1, int(DType::i8)},
                               {"U8", 1, int(DType::u8)},
                               {"BOOL", 1, int(DType::boolean)},
                               {"C64", 8, int(DType::c64)},
                               {"U16", 2, -1},
                               {"U32", 4, -1},
                               {"U64", 8, -1},
                               {"F8_E4M3", 1, -1},
                               {"F8_E5M2", 1, -1}};

const FileType* type_named(std::string_view name) {
  for (const FileType& t : kTypes)
    if (t.name == name) return &t;
  return nullptr;
}

struct Entry {
  const FileType* type = nullptr;
  Shape shape;
  uint64_t begin = 0, end = 0;
};

[[noreturn]] void bad(const std::string& where, const std::string& why) {
  throw Error(Fault::data, str(where, ": not a valid safetensors file: ", why));
}

// Names come from the file: long or broken ones are cut and repaired for messages.
std::string shown(std::string_view name) {
  return str("'", utf8_repair(name.substr(0, 120)), name.size() > 120 ? "...'" : "'");
}

uint64_t unsigned_of(const std::string& where, std::string_view name, const char* field,
                     simdjson::dom::element e) {
  uint64_t v;
  if (e.get_uint64().get(v))
    bad(where, str("tensor ", shown(name), ": ", field, " must hold non-negative integers"));
  return v;
}

Entry read_entry(const std::string& where, std::string_view name, simdjson::dom::element value) {
  simdjson::dom::object fields;
  if (value.get_object().get(fields))
    bad(where, str("tensor ", shown(name), " is not described by an object"));
  Entry e;
  bool shape = false, offsets = false;
  for (auto field : fields) {
    if (field.key == "dtype") {
      std::string_view text;
      if (e.type) bad(where, str("tensor ", shown(name), ": dtype stands twice"));
      if (field.value.get_string().get(text) || !(e.type = type_named(text)))
        bad(where, str("tensor ", shown(name), ": unknown dtype ", shown(text)));
    } else if (field.key == "shape") {
      simdjson::dom::array dims;
      if (shape || field.value.get_array().get(dims))
        bad(where, str("tensor ", shown(name), ": shape is not one list"));
      shape = true;
      for (auto d : dims) {
        if (e.shape.size() == kMaxDims)
          bad(where, str("tensor ", shown(name), " has more than ", kMaxDims, " dimensions"));
        uint64_t extent = unsigned_of(where, name, "shape", d);
        if (extent > uint64_t{1} << 62)
          bad(where, str("tensor ", shown(name), ": shape overflows"));
        e.shape.push_back(static_cast<int64_t>(extent));
      }
    } else if (field.key == "data_offsets") {
      simdjson::dom::array pair;
      if (offsets || field.value.get_array().get(pair) || pair.size() != 2)
        bad(where, str("tensor ", shown(name), ": data_offsets is not one pair"));
      offsets = true;
      e.begin = unsigned_of(where, name, "data_offsets", pair.at(0).value());
      e.end = unsigned_of(where, name, "data_offsets", pair.at(1).value());
    } else {
      bad(where, str("tensor ", shown(name), " has an unknown field ", shown(field.key)));
    }
  }
  if (!e.type || !shape || !offsets)
    bad(where, str("tensor ", shown(name), " lacks ",
                   !e.type  ? "dtype"
                   : !shape ? "shape"
                            : "data_offsets"));
  return e;
}

}  // namespace

struct Safetensors::Content {
  std::string where;
  std::shared_ptr<const void> owner;
  const char* data = nullptr;  // after the header
  std::vector<std::string> names;
  std::vector<Entry> entries;
  std::unordered_map<std::string_view, size_t> index;
  SafetensorsMetadata metadata;

  const Entry& at(std::string_view name) const {
    auto found = index.find(name);
    if (found == index.end()) throw Error(Fault::data, str(where, ": no tensor ", shown(name)));
    return entries[found->second];
  }
};

Safetensors::Safetensors(const char* data, size_t size, std::shared_ptr<const void> owner,
                         const std::string& where) {
  auto content = std::make_shared<Content>();
  content->where = where;
  content->owner = std::move(owner);
  if (size < 8) bad(where, str("it has ", size, " bytes; the length of the header alone takes 8"));
  uint64_t header = 0;
  for (int i = 7; i >= 0; --i) header = header << 8 | static_cast<uint8_t>(data[i]);
  if (header > kMostHeader)
    bad(where, str("the header claims ", header, " bytes; at most ", kMostHeader, " are allowed"));
  if (header > size - 8)
    bad(where, str("the header claims ", header, " bytes, but ", size - 8, " follow (truncated?)"));
  simdjson::dom::parser parser;
  simdjson::padded_string text(data + 8, header);
  simdjson::dom::object top;
  simdjson::dom::element root;
  auto code = parser.parse(text).get(root);
  if (code) bad(where, str("the header is not JSON: ", simdjson::error_message(code)));
  if (root.get_object().get(top)) bad(where, "the header is not a JSON object");
  for (auto field : top) {
    if (field.key == "__metadata__") {
      simdjson::dom::object pairs;
      if (field.value.get_object().get(pairs)) bad(where, "__metadata__ is not an object");
      for (auto pair : pairs) {
        std::string_view value;
        if (pair.value.get_string().get(value))
          bad(where, str("__metadata__ ", shown(pair.key), " is not text"));
        content->metadata.emplace_back(pair.key, value);
      }
      continue;
    }
    content->entries.push_back(read_entry(where, field.key, field.value));
    content->names.emplace_back(field.key);
  }
  const uint64_t bytes = size - 8 - header;
  content->data = data + 8 + header;
  std::vector<size_t> order(content->entries.size());
  for (size_t i = 0; i < order.size(); ++i) {
    order[i] = i;
    const Entry& e = content->entries[i];
    const std::string& name = content->names[i];
    if (!content->index.emplace(name, i).second)
      bad(where, str("tensor ", shown(name), " stands twice"));
    if (e.begin > e.end || e.end > bytes)
      bad(where, str("tensor ", shown(name), ": data_offsets [", e.begin, ", ", e.end,
                     "] lie outside the ", bytes, " bytes of data (truncated?)"));
    uint64_t wanted = e.type->bytes;
    for (int64_t d : e.shape) {
      if (__builtin_mul_overflow(wanted, static_cast<uint64_t>(d), &wanted))
        bad(where, str("tensor ", shown(name), ": shape ", e.shape.text(), " overflows"));
    }
    if (wanted != e.end - e.begin)
      bad(where, str("tensor ", shown(name), ": ", e.type->name, e.shape.text(), " takes ", wanted,
                     " bytes, but data_offsets hold ", e.end - e.begin));
  }
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) {
    const Entry &x = content->entries[a], &y = content->entries[b];
    return x.begin != y.begin ? x.begin < y.begin : x.end < y.end;
  });
  uint64_t at = 0;
  for (size_t i : order) {
    const Entry& e = content->entries[i];
    if (e.begin != at)
      bad(where, str("tensor ", shown(content->names[i]),
                     e.begin < at ? " overlaps" : " leaves a hole after",
                     " the one before it (begins at ", e.begin, ", expected ", at, ")"));
    at = e.end;
  }
  if (at != bytes) bad(where, str(bytes - at, " bytes at the end belong to no tensor"));
  content_ = std::move(content);
}

Safetensors::Safetensors(const MappedFile& file)
    : Safetensors(file.data(), file.size(), std::make_shared<MappedFile>(file), file.path()) {
  file_ = file;
}
Safetensors::Safetensors(const std::string& path) : Safetensors(MappedFile::watched(path)) {}

const std::string& Safetensors::where() const { return content_->where; }
const std::vector<std::string>& Safetensors::names() const { return content_->names; }
bool Safetensors::contains(std::string_view name) const { return content_->index.count(name) != 0; }
Shape Safetensors::shape(std::string_view name) const { return content_->at(name).shape; }
const SafetensorsMetadata& Safetensors::metadata() const { return content_->metadata; }

Tensor Safetensors::tensor(std::string_view name) const {
  const Entry& e = content_->at(name);
  if (e.type->dtype < 0)
    throw Error(Fault::data, str(content_->where, ": tensor ", shown(name), " is ", e.type->name,
                                 ", which is not supported"));
  auto dtype = static_cast<DType>(e.type->dtype);
  const char* data = content_->data + e.begin;
  if (reinterpret_cast<uintptr_t>(data) % e.type->bytes) {
    Tensor copy = Tensor::empty(e.shape, dtype);
    if (e.end > e.begin) std::memcpy(copy.data(), data, e.end - e.begin);
    return copy;
  }
  return Tensor::wrap(const_cast<char*>(data), e.shape, dtype, content_);
}

SafetensorsFolder::SafetensorsFolder(const std::string& folder, const std::string& stem)
    : folder_(folder) {
  std::string single = join_path(folder, stem + ".safetensors");
  std::string index = single + ".index.json";
  if (exists(single)) {
    files_.emplace_back(single);
    for (const std::string& name : files_[0].names()) file_of_[name] = 0;
    names_ = files_[0].names();
    return;
  }
  if (!exists(index))
    throw Error(Fault::io, str(folder, " holds neither ", stem, ".safetensors nor ", stem,
                               ".safetensors.index.json"));
  std::string text = read_file(index);
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  simdjson::dom::object map;
  if (auto code = parser.parse(text).get(root))
    throw Error(Fault::data, str(index, ": not JSON: ", simdjson::error_message(code)));
  if (root["weight_map"].get_object().get(map))
    throw Error(Fault::data, str(index, ": no 'weight_map' object of tensor names and files"));
  std::unordered_map<std::string, size_t> shards;
  for (auto field : map) {
    std::string name(field.key);
    std::string_view shard;
    if (field.value.get_string().get(shard) || shard.empty() || shard.find('/') != shard.npos ||
        shard == "..")
      throw Error(Fault::data, str(index, ": weight_map of ", shown(name), " is not a file name"));
    auto [found, fresh] = shards.emplace(std::string(shard), files_.size());
    if (fresh) files_.emplace_back(join_path(folder, shard));
    if (!files_[found->second].contains(name))
      throw Error(Fault::data, str(index, ": tensor ", shown(name), " is not in ", shard));
    if (!file_of_.emplace(name, found->second).second)
      throw Error(Fault::data, str(index, ": tensor ", shown(name), " stands twice"));
    names_.push_back(std::move(name));
  }
}

Tensor SafetensorsFolder::tensor(const std::string& name) const {
  auto found = file_of_.find(name);
  if (found == file_of_.end())
    throw Error(Fault::data, str(file_of(name), ": no tensor ", shown(name)));
  return files_[found->second].tensor(name);
}

std::vector<MappedFile> SafetensorsFolder::mapped() const {
  std::vector<MappedFile> all;
  for (const Safetensors& f : files_) all.push_back(f.file());
  return all;
}

void SafetensorsFolder::check_unchanged() const {
  for (const Safetensors& f : files_) f.file().check_unchanged();
}

std::string SafetensorsFolder::file_of(const std::string& name) const {
  auto found = file_of_.find(name);
  if (found != file_of_.end()) return files_[found->second].where();
  return files_.size() == 1 ? files_[0].where() : folder_;
}

}  // namespace wellspring
