#pragma once
// Sources to unique documents, in batches: read and cleaned on all threads, in an order that
// depends on the sources alone.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "data/documents.h"

namespace wellspring {

struct Source {
  std::string name, path;
};

/// Names for paths: the given ones in order, then the last part of each path. Error(Fault::usage)
/// when two would be the same or a path is given twice.
std::vector<Source> name_sources(const std::vector<std::string>& paths,
                                 const std::vector<std::string>& names);

struct PipelineOptions {
  ReadOptions read;
  double eval_share = 0.01;
  uint64_t seed = 0;
};

struct SourceFiles {
  Source source;
  std::vector<InputFile> files;
  int64_t skipped = 0;
};

/// Lists all sources' files.
std::vector<SourceFiles> list_sources(const std::vector<Source>& sources);

/// Whether a document is held out: by its content and the seed alone, so that a document stays on
/// its side when sources are added, removed or renamed.
bool held_out(const Hash128& content, double eval_share, uint64_t seed);

struct PipelineDocument {
  Document document;
  bool eval = false;
};

/// Calls `consume` with batches of one source's new documents (an equal one seen before, in any
/// source, is dropped), in order, on the calling thread. `progress` gets the bytes on disk done.
/// Memory: one batch (about 16 MB of text) and 18 to 37 bytes per document for the duplicates.
/// Returns the counters of each source, train and eval filled with documents and bytes.
/// Error(Fault::try_again) when stop_requested().
std::vector<SourceInfo> run_pipeline(
    const std::vector<SourceFiles>& sources, const PipelineOptions& options,
    const std::function<void(size_t source, std::vector<PipelineDocument>& batch)>& consume,
    const std::function<void(int64_t)>& progress);

/// A set of hashes in one array with open addressing: 16 bytes per slot, 7/16 to 7/8 full.
class HashSet {
 public:
  HashSet() : slots_(1024) {}
  /// False when it was there already.
  bool insert(const Hash128& hash);
  int64_t size() const { return size_; }

 private:
  void grow();
  std::vector<Hash128> slots_;  // {0, 0} is free; that hash itself is kept apart
  int64_t size_ = 0;
  bool has_zero_ = false;
};

}  // namespace wellspring
