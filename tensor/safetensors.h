#pragma once
// safetensors: u64 length of the header, a JSON header {name: {dtype, shape, data_offsets}}, then
// the data. Reading maps the file; every malformed file is Error(Fault::data) naming file and
// tensor. Format: github.com/huggingface/safetensors.

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/file.h"
#include "tensor/tensor.h"

namespace wellspring {

using SafetensorsMetadata = std::vector<std::pair<std::string, std::string>>;

/// One file, validated as a whole when opened (lengths, shapes, overlaps, holes, duplicates).
/// Copyable handle; reading is thread-safe.
class Safetensors {
 public:
  /// Error(Fault::io) when unreadable, Error(Fault::data) when malformed.
  explicit Safetensors(const std::string& path);
  /// Of bytes in memory that `owner` keeps alive; `where` names them in errors.
  Safetensors(const char* data, size_t size, std::shared_ptr<const void> owner,
              const std::string& where);

  const std::string& where() const;
  /// In file order.
  const std::vector<std::string>& names() const;
  bool contains(std::string_view name) const;
  /// A read-only view that keeps the mapping alive (a copy when the file is not aligned to the
  /// dtype). Error(Fault::data) when absent or of a dtype that tensors do not have (8-bit floats,
  /// u16 ...).
  Tensor tensor(std::string_view name) const;
  Shape shape(std::string_view name) const;
  const SafetensorsMetadata& metadata() const;
  /// The mapped file, watched; none when it was made of bytes.
  const MappedFile& file() const { return file_; }

 private:
  explicit Safetensors(const MappedFile& file);
  struct Content;
  std::shared_ptr<const Content> content_;
  MappedFile file_;
};

/// The weights of a model folder: STEM.safetensors, or the shards that STEM.safetensors.index.json
/// names.
class SafetensorsFolder {
 public:
  /// Error(Fault::io) when neither file exists; Error(Fault::data) when index and shards disagree.
  explicit SafetensorsFolder(const std::string& folder, const std::string& stem = "model");
  const std::vector<std::string>& names() const { return names_; }
  bool contains(const std::string& name) const { return file_of_.count(name) != 0; }
  Tensor tensor(const std::string& name) const;
  /// The file that holds a tensor (or would): for errors.
  std::string file_of(const std::string& name) const;
  /// The mapped files, watched.
  std::vector<MappedFile> mapped() const;
  /// After reading: Error(Fault::io) when one of them was changed meanwhile.
  void check_unchanged() const;

 private:
  std::string folder_;
  std::vector<Safetensors> files_;
  std::vector<std::string> names_;
  std::unordered_map<std::string, size_t> file_of_;
};

/// Tensors with names; strided ones are packed while writing.
using TensorList = std::vector<std::pair<std::string, Tensor>>;

/// Writes one file atomically, in the given order, data aligned to 64 bytes. Error(Fault::usage)
/// for a name that stands twice or is "__metadata__", Error(Fault::io) when the disk refuses.
void write_safetensors(const std::string& path, const TensorList& tensors,
                       const SafetensorsMetadata& metadata = {});
/// Shards STEM-00001-of-0000N.safetensors of at most `shard_bytes` (one tensor at least) and the
/// index, written last; one plain STEM.safetensors when it all fits.
void write_safetensors_sharded(const std::string& folder, const std::string& stem,
                               const TensorList& tensors, int64_t shard_bytes,
                               const SafetensorsMetadata& metadata = {});

}  // namespace wellspring
