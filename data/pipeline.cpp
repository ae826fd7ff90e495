#include "data/pipeline.h"

#include <algorithm>
#include <deque>
#include <iterator>
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
constexpr size_t kTileBytes = 128 << 10;

struct OpenFile {
  const InputFile* file;
  std::unique_ptr<DocumentReader> reader;
  std::vector<RawDocument> raws;
  bool done = false;
};

// Reads up to `budget` bytes, one document at least.
void read_some(OpenFile& open, const ReadOptions& options, int64_t budget) {
  if (!open.reader) open.reader = std::make_unique<DocumentReader>(*open.file, options);
  for (int64_t bytes = 0; bytes < budget;) {
    RawDocument raw;
    if (!open.reader->next_raw(&raw)) {
      open.done = true;
      return;
    }
    bytes += static_cast<int64_t>(raw.content.size());
    open.raws.push_back(std::move(raw));
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

// Parses and cleans on all threads; documents in order, what is left of them.
std::vector<PipelineDocument> make_all(std::vector<RawDocument>& raws,
                                       const PipelineOptions& options, SourceInfo& info) {
  struct Tile {
    size_t begin, end;
    SourceInfo counts;
    std::vector<PipelineDocument> documents;
  };
  std::vector<Tile> tiles;
  size_t begin = 0, bytes = 0;
  for (size_t i = 0; i < raws.size(); ++i) {
    bytes += raws[i].content.size();
    if (bytes > kTileBytes || i + 1 == raws.size()) {
      tiles.push_back({begin, i + 1, {}, {}});
      begin = i + 1;
      bytes = 0;
    }
  }
  parallel_for(static_cast<int64_t>(tiles.size()), [&](int64_t t) {
    Tile& tile = tiles[static_cast<size_t>(t)];
    for (size_t i = tile.begin; i < tile.end; ++i) {
      PipelineDocument d;
      if (make_document(raws[i], options.read, &d.document, &tile.counts)) {
        d.eval = held_out(d.document.hash, options.eval_share, options.seed);
        tile.documents.push_back(std::move(d));
      }
      std::string().swap(raws[i].content);
    }
  });
  std::vector<PipelineDocument> out;
  for (Tile& tile : tiles) {
    add_counts(info, tile.counts);
    std::move(tile.documents.begin(), tile.documents.end(), std::back_inserter(out));
  }
  return out;
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
      parallel_for(static_cast<int64_t>(open.size()), [&](int64_t i) {
        read_some(open[static_cast<size_t>(i)], options.read, budget);
      });
      std::vector<RawDocument> raws;
      for (OpenFile& o : open) {
        std::move(o.raws.begin(), o.raws.end(), std::back_inserter(raws));
        o.raws.clear();
        if (o.done) {
          add_counts(info, o.reader->counts());
          done += o.file->size;
        }
      }
      batch.clear();
      for (PipelineDocument& d : make_all(raws, options, info)) {
        if (!seen.insert(d.document.hash)) {
          ++info.duplicates;
          continue;
        }
        SplitCounts& split = d.eval ? info.eval : info.train;
        ++split.documents;
        split.bytes += static_cast<int64_t>(d.document.text.size());
        batch.push_back(std::move(d));
      }
      std::erase_if(open, [](const OpenFile& o) { return o.done; });
      if (!batch.empty()) consume(s, batch);
      int64_t part = 0;
      for (const OpenFile& o : open) part += o.reader->position();
      if (progress) progress(done + part);
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
