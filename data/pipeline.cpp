#include "data/pipeline.h"

#include <algorithm>
#include <deque>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "base/text.h"
#include "base/threads.h"

namespace wellspring {
namespace {

constexpr size_t kBatchFiles = 64;
constexpr int64_t kBatchBytes = 16 << 20;

struct OpenFile {
  const InputFile* file;
  std::unique_ptr<DocumentReader> reader;
  std::vector<PipelineDocument> documents;
  bool done = false;
};

// Reads up to `budget` bytes of text, one document at least.
void drain(OpenFile& open, const PipelineOptions& options, int64_t budget) {
  if (!open.reader) open.reader = std::make_unique<DocumentReader>(*open.file, options.read);
  for (int64_t bytes = 0; bytes < budget;) {
    PipelineDocument d;
    if (!open.reader->next(&d.document)) {
      open.done = true;
      return;
    }
    d.eval = held_out(d.document.hash, options.eval_share, options.seed);
    bytes += static_cast<int64_t>(d.document.text.size());
    open.documents.push_back(std::move(d));
  }
}

void add_counts(SourceInfo& sum, const SourceInfo& c) {
  sum.bytes += c.bytes;
  sum.empty += c.empty;
  sum.invalid_utf8 += c.invalid_utf8;
  sum.invalid_documents += c.invalid_documents;
  sum.dropped += c.dropped;
  sum.cut += c.cut;
}

}  // namespace

std::vector<Source> name_sources(const std::vector<std::string>& paths,
                                 const std::vector<std::string>& names) {
  if (names.size() > paths.size())
    throw Error(Fault::usage, str(names.size(), " names for ", paths.size(),
                                  " sources: give --name once per source, in their order"));
  std::vector<Source> out;
  std::set<std::string> seen, seen_paths;
  for (size_t i = 0; i < paths.size(); ++i) {
    std::string path = paths[i];
    while (path.size() > 1 && path.back() == '/') path.pop_back();
    std::string name = i < names.size() ? names[i] : base_name(path);
    if (name.empty()) throw Error(Fault::usage, str("source ", path, " needs a --name"));
    if (!seen_paths.insert(path).second)
      throw Error(Fault::usage, str("source ", path, " is given twice"));
    if (!seen.insert(name).second)
      throw Error(Fault::usage, str("two sources are named '", name,
                                    "': tell them apart with --name, once per source"));
    out.push_back({name, path});
  }
  return out;
}

std::vector<SourceFiles> list_sources(const std::vector<Source>& sources) {
  std::vector<SourceFiles> out;
  for (const Source& s : sources) {
    SourceFiles files{s, {}, 0};
    files.files = list_inputs(s.path, &files.skipped);
    out.push_back(std::move(files));
  }
  return out;
}

bool held_out(const Hash128& content, double eval_share, uint64_t seed) {
  if (eval_share <= 0) return false;
  Hasher hasher(seed, 0x6576616cull);
  hasher.update(content.low);
  hasher.update(content.high);
  return static_cast<double>(hasher.finish().low >> 11) * 0x1p-53 < eval_share;
}

std::vector<SourceInfo> run_pipeline(
    const std::vector<SourceFiles>& sources, const PipelineOptions& options,
    const std::function<void(size_t, std::vector<PipelineDocument>&)>& consume,
    const std::function<void(int64_t)>& progress) {
  if (!(options.eval_share >= 0 && options.eval_share < 1))
    throw Error(Fault::usage,
                str("--eval-share is ", options.eval_share, ", expected 0 to below 1"));
  if (options.read.longest < 1024)
    throw Error(Fault::usage, str("the longest document is ", options.read.longest,
                                  " bytes, expected 1024 or more"));
  HashSet seen;
  std::vector<SourceInfo> out;
  int64_t done = 0;
  for (size_t s = 0; s < sources.size(); ++s) {
    const SourceFiles& source = sources[s];
    SourceInfo info;
    info.name = source.source.name;
    info.path = source.source.path;
    info.files = static_cast<int64_t>(source.files.size());
    info.skipped = source.skipped;
    std::deque<OpenFile> open;
    size_t next = 0;
    std::vector<PipelineDocument> batch;
    while (next < source.files.size() || !open.empty()) {
      if (stop_requested())
        throw Error(Fault::try_again, "stopped on request; run the same command to begin again");
      int64_t bytes = 0;
      for (const OpenFile& o : open) bytes += o.file->size;
      while (next < source.files.size() && open.size() < kBatchFiles && bytes < kBatchBytes) {
        open.push_back({&source.files[next], nullptr, {}, false});
        bytes += source.files[next++].size;
      }
      const int64_t budget =
          std::max<int64_t>(1 << 20, kBatchBytes / static_cast<int64_t>(open.size()));
      parallel_for(static_cast<int64_t>(open.size()),
                   [&](int64_t i) { drain(open[static_cast<size_t>(i)], options, budget); });
      batch.clear();
      for (OpenFile& o : open) {
        for (PipelineDocument& d : o.documents) {
          if (!seen.insert(d.document.hash)) {
            ++info.duplicates;
            continue;
          }
          SplitCounts& split = d.eval ? info.eval : info.train;
          ++split.documents;
          split.bytes += static_cast<int64_t>(d.document.text.size());
          batch.push_back(std::move(d));
        }
        o.documents.clear();
        if (o.done) {
          add_counts(info, o.reader->counts());
          done += o.file->size;
        }
      }
      std::erase_if(open, [](const OpenFile& o) { return o.done; });
      if (!batch.empty()) consume(s, batch);
      if (progress) progress(done);
    }
    out.push_back(std::move(info));
  }
  return out;
}

bool HashSet::insert(const Hash128& hash) {
  if (hash == Hash128{}) {
    bool fresh = !has_zero_;
    has_zero_ = true;
    size_ += fresh;
    return fresh;
  }
  if (static_cast<uint64_t>(size_ + 1) * 8 > slots_.size() * 7) grow();
  const size_t mask = slots_.size() - 1;
  size_t i = hash.high & mask;
  while (slots_[i] != Hash128{}) {
    if (slots_[i] == hash) return false;
    i = (i + 1) & mask;
  }
  slots_[i] = hash;
  ++size_;
  return true;
}

void HashSet::grow() {
  std::vector<Hash128> old(slots_.size() * 2);
  old.swap(slots_);
  const size_t mask = slots_.size() - 1;
  for (const Hash128& hash : old) {
    if (hash == Hash128{}) continue;
    size_t i = hash.high & mask;
    while (slots_[i] != Hash128{}) i = (i + 1) & mask;
    slots_[i] = hash;
  }
}

}  // namespace wellspring
