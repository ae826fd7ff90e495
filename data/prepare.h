#pragma once
// Making datasets: `wellspring data prepare` and `wellspring data clean`.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json_fwd.h"
#include "data/dataset.h"
#include "data/pipeline.h"

namespace wellspring {

/// The tokenizer as the data pipeline sees it.
struct Encoder {
  /// Appends the ids of a document's text, without special tokens. Called on several threads.
  std::function<void(std::string_view, std::vector<int32_t>&)> encode;
  int64_t vocab_size = 0;
  int32_t eos = -1;
  Hash128 hash;      ///< of what defines the tokenizer (its file)
  std::string path;  ///< for people
};

struct PrepareOptions {
  PipelineOptions pipeline;
  int64_t shard_tokens = 16 << 20;  ///< a shard is closed when it holds that many
  bool force = false;               ///< replace a complete dataset of other inputs
};

struct PrepareResult {
  DatasetInfo info;
  bool up_to_date = false;  ///< the folder held this very dataset; nothing was done
  double seconds = 0;
};

/// What is done of how much, in bytes on disk.
using PrepareProgress = std::function<void(int64_t done, int64_t total)>;

/// Writes the dataset to `folder` (data/dataset.h). It is built in "folder.partial" and renamed
/// when complete, so that `folder` is whole or absent; a partial one left by a kill is replaced.
/// The same sources, options and tokenizer give the same bytes in every file but inputs.json (which
/// holds times of change). Error(Fault::usage) when `folder` holds something else, or a dataset of
/// other inputs and not `force`; Error(Fault::data) when no document is left.
PrepareResult prepare_dataset(const std::vector<Source>& sources, const std::string& folder,
                              const Encoder& encoder, const PrepareOptions& options,
                              const PrepareProgress& progress = {});

/// Writes the cleaned documents as plain text, each ended by a blank line: train.txt, eval-en.txt,
/// eval-zh.txt and eval-other.txt (those that have documents) and report.json; the split is that of
/// prepare_dataset. For training tokenizers, for compressors, for looking at.
PrepareResult clean_sources(const std::vector<Source>& sources, const std::string& folder,
                            const PrepareOptions& options, const PrepareProgress& progress = {});

/// Counts per source and their sum, for people.
std::string report_table(const DatasetInfo& info);

}  // namespace wellspring
