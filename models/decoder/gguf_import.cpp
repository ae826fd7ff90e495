// GGUF files as model folders: converted once, one matrix at a time, into a cache that is shared.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "base/crypto.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/progress.h"
#include "base/text.h"
#include "models/decoder/folder_parts.h"
#include "models/decoder/gguf_model.h"
#include "models/decoder/model.h"
#include "tensor/host_copy.h"

namespace wellspring {
namespace {

constexpr int kVersion = 1;  // of the conversion

std::string cache_folder() {
  if (const char* own = std::getenv("WELLSPRING_CACHE")) return join_path(own, "gguf");
  if (const char* xdg = std::getenv("XDG_CACHE_HOME"); xdg && *xdg) return join_path(xdg, "wellspring/gguf");
  const char* home = std::getenv("HOME");
  if (!home || !*home) throw Error(Fault::usage, "GGUF files are converted into a cache: say where by WELLSPRING_CACHE, as HOME is not set");
  return join_path(home, ".cache/wellspring/gguf");
}

// Of each file the time of its last change, its size, its ends, and pieces spread over it: reading all of a large one
// would take longer than to use it.
void add_file(Sha256& sum, const std::string& path) {
  constexpr size_t kEnd = 1 << 20, kPiece = 64 << 10, kPieces = 64;
  const MappedFile file(path);
  const std::string_view all = file.view();
  struct stat s{};
  if (::stat(path.c_str(), &s) != 0) throw Error(Fault::io, str("cannot read ", path));
  sum.add(str(all.size(), " ", s.st_mtim.tv_sec, ".", s.st_mtim.tv_nsec, "\n"));
  sum.add(all.substr(0, kEnd));
  for (size_t i = 0; i < kPieces && all.size() > 2 * kEnd; ++i)
    sum.add(all.substr(all.size() / kPieces * i, std::min(kPiece, all.size() / kPieces)));
  sum.add(all.substr(all.size() - std::min(all.size(), kEnd)));
}

std::string key_of(const std::string& path) {
  Sha256 sum;
  sum.add(str(kVersion, "\n"));
  for (const std::string& file : gguf_files(path)) add_file(sum, file);
  return hex(sum.finish()).substr(0, 32);
}

// The form that keeps what the file has: 16 bits as they are, 4 bits in 4, all others in 8.
WeightFormat format_of(const GgufModel& file, const Parameter& p) {
  double most = 0;
  for (const ParameterPart& part : p.parts) {
    const GgufTypeInfo& t = *file.weight(part.name).tensor->type;
    most = std::max(most, 8.0 * static_cast<double>(t.bytes) / static_cast<double>(t.block));
  }
  return most >= 16 ? WeightFormat::bf16 : most < 5 ? WeightFormat::q4 : WeightFormat::q8_groups;
}

void convert(const std::string& path, const std::string& folder) {
  const GgufModel file = read_gguf_model(path);
  Decoder model(DecoderConfig::from_json(file.config(), path), DType::bf16, Decoder::Use::inference);
  const auto value_of = [&](const Parameter& p, const Shape& shape) {
    const Tensor all = Tensor::empty(shape);
    for (const ParameterPart& part : p.parts) {
      if (!file.contains(part.name)) throw Error(Fault::data, str(file.file_of(part.name), ": no tensor for ", part.name));
      merge_part(p, part, file.tensor(part.name), all, file.file_of(part.name));
    }
    return all;
  };
  std::vector<std::pair<const Parameter*, Shape>> parameters;
  for (const Parameter* p : model.parameters()) parameters.emplace_back(p, p->shape());
  const auto find = [&](const std::string& name) {
    return *std::find_if(parameters.begin(), parameters.end(), [&](const auto& p) { return p.first->name == name; });
  };
  Progress progress(str("converting ", base_name(path)), static_cast<int64_t>(parameters.size()), "tensors");
  int64_t done = 0;
  model.take_packed([&](const std::string& name, int64_t, int64_t) {
    const auto [p, shape] = find(name);
    progress.update(done++);
    return quantize(value_of(*p, shape), format_of(file, *p), str(path, ": ", name));
  });
  for (const auto& [p, shape] : parameters)  // vectors and position embeddings
    if (p->compute.defined()) {
      progress.update(done++);
      host_copy(p->compute.view(), value_of(*p, shape).view());
    }
  progress.finish();
  save_quantized(model, folder, "");
  if (const std::string text = file.tokenizer_json(); !text.empty()) {
    write_file_atomic(join_path(folder, "tokenizer.json"), text);
    write_file_atomic(join_path(folder, "tokenizer_config.json"), to_text(file.tokenizer_config(), 1) + "\n");
  }
}

int64_t bytes_of(const std::string& folder) {
  int64_t sum = 0;
  for (const std::string& name : list_directory(folder)) {
    struct stat s{};
    if (::stat(join_path(folder, name).c_str(), &s) == 0) sum += s.st_size;
  }
  return sum;
}

// The ones used the longest ago go, until the rest fits.
void bound(const std::string& cache, const std::string& but) {
  const char* asked = std::getenv("WELLSPRING_CACHE_GB");
  const double most = (asked ? std::max(0.0, std::atof(asked)) : 100) * 1e9;
  std::vector<std::pair<int64_t, std::string>> folders;  // last use, name
  double sum = 0;
  for (const std::string& name : list_directory(cache)) {
    struct stat s{};
    const std::string folder = join_path(cache, name);
    if (::stat(folder.c_str(), &s) != 0 || !S_ISDIR(s.st_mode) || ends_with(name, ".new")) continue;  // .new: in the making
    sum += static_cast<double>(bytes_of(folder));
    if (name != but) folders.emplace_back(s.st_mtime, folder);
  }
  std::sort(folders.begin(), folders.end());
  for (const auto& [used, folder] : folders) {
    if (sum <= most) return;
    sum -= static_cast<double>(bytes_of(folder));
    remove_all(folder);  // who has it mapped keeps it
  }
}

}  // namespace

std::string import_gguf(const std::string& path) {
  const std::string cache = cache_folder(), key = key_of(path), folder = join_path(cache, key);
  if (exists(join_path(folder, "config.json"))) {
    ::utimensat(AT_FDCWD, folder.c_str(), nullptr, 0);
    return folder;
  }
  make_directories(cache);
  std::vector<MappedFile> files;
  for (const std::string& file : gguf_files(path)) files.push_back(MappedFile::watched(file));
  const std::string fresh = str(folder, ".", ::getpid(), ".new");
  remove_all(fresh);
  try {
    convert(path, fresh);
    for (const MappedFile& file : files) file.check_unchanged();
  } catch (...) {
    remove_all(fresh);
    throw;
  }
  if (::rename(fresh.c_str(), folder.c_str()) != 0) remove_all(fresh);  // another one was first
  bound(cache, key);
  return folder;
}

}  // namespace wellspring
