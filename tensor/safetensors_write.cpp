// Writing safetensors: one file, or shards with an index.

#include <cstdio>
#include <unordered_set>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "tensor/host_copy.h"
#include "tensor/safetensors.h"

namespace wellspring {
namespace {

constexpr size_t kAlignment = 64;

const char* file_name_of(DType t) {
  static constexpr const char* kNames[kDTypeCount] = {"F64", "F32", "BF16", "F16",  "I64", "I32",
                                                      "I16", "I8",  "U8",   "BOOL", "C64"};
  return kNames[static_cast<int>(t)];
}

int64_t bytes_of(const Tensor& t) { return t.numel() * static_cast<int64_t>(size_of(t.dtype())); }

std::string header_of(const TensorList& tensors, const SafetensorsMetadata& metadata) {
  std::unordered_set<std::string_view> seen;
  std::string out = "{";
  auto quote = [](const std::string& s) { return to_text(Json(s)); };
  if (!metadata.empty()) {
    out += "\"__metadata__\":{";
    for (size_t i = 0; i < metadata.size(); ++i)
      out += str(i ? "," : "", quote(metadata[i].first), ":", quote(metadata[i].second));
    out += "}";
  }
  int64_t at = 0;
  for (const auto& [name, tensor] : tensors) {
    if (name == "__metadata__" || !seen.insert(name).second)
      throw Error(Fault::usage,
                  str("cannot write two tensors named '", name, "' into one safetensors file"));
    if (!tensor.defined())
      throw Error(Fault::usage, str("tensor '", name, "' to be written is undefined"));
    if (out.size() > 1) out += ",";
    out += str(quote(name), ":{\"dtype\":\"", file_name_of(tensor.dtype()), "\",\"shape\":[");
    for (int i = 0; i < tensor.dims(); ++i) out += str(i ? "," : "", tensor.shape()[i]);
    out += str("],\"data_offsets\":[", at, ",", at + bytes_of(tensor), "]}");
    at += bytes_of(tensor);
  }
  out += "}";
  while ((out.size() + 8) % kAlignment) out += ' ';
  return out;
}

}  // namespace

void write_safetensors(const std::string& path, const TensorList& tensors,
                       const SafetensorsMetadata& metadata) {
  std::string header = header_of(tensors, metadata);
  char length[8];
  for (int i = 0; i < 8; ++i) length[i] = static_cast<char>(header.size() >> (8 * i));
  AtomicWriter file(path);
  file.write(length, 8);
  file.write(header.data(), header.size());
  for (const auto& entry : tensors) {
    Tensor t = entry.second;
    if (t.device() != Device{}) t = t.to_device(Device{});
    if (!t.is_contiguous()) {
      Tensor packed = Tensor::empty(t.shape(), t.dtype());
      host_copy(packed.view(), t.view());
      t = packed;
    }
    if (t.numel()) file.write(t.data(), static_cast<size_t>(bytes_of(t)));
  }
  file.commit();
}

void write_safetensors_sharded(const std::string& folder, const std::string& stem,
                               const TensorList& tensors, int64_t shard_bytes,
                               const SafetensorsMetadata& metadata) {
  std::vector<TensorList> shards(1);
  int64_t filled = 0, total = 0;
  for (const auto& entry : tensors) {
    int64_t bytes = bytes_of(entry.second);
    if (shard_bytes > 0 && filled > 0 && filled + bytes > shard_bytes) {
      shards.emplace_back();
      filled = 0;
    }
    shards.back().push_back(entry);
    filled += bytes, total += bytes;
  }
  if (shards.size() == 1) {
    write_safetensors(join_path(folder, stem + ".safetensors"), tensors, metadata);
    return;
  }
  Json map = Json::object();
  std::string entries;
  for (size_t i = 0; i < shards.size(); ++i) {
    char number[40];
    std::snprintf(number, sizeof number, "-%05zu-of-%05zu", i + 1, shards.size());
    std::string name = stem + number + ".safetensors";
    write_safetensors(join_path(folder, name), shards[i], metadata);
    for (const auto& entry : shards[i])
      entries += str(entries.empty() ? "" : ",", "\n    ", to_text(Json(entry.first)), ": ",
                     to_text(Json(name)));
  }
  write_file_atomic(join_path(folder, stem + ".safetensors.index.json"),
                    str("{\n  \"metadata\": {\"total_size\": ", total, "},\n  \"weight_map\": {",
                        entries, "\n  }\n}\n"));
}

}  // namespace wellspring
