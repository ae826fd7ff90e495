#pragma once
// A prepared dataset: the folder that `wellspring data prepare` writes.
//   dataset.json        sources, counts, tokenizer, options (DatasetInfo)
//   inputs.json         what it was made from: tells whether it is up to date
//   train-00000.tokens  shards (data/shard.h), each of one source
//   eval-00000.tokens
//   eval.jsonl          the held-out documents' text, in the order of the eval shards

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/json_fwd.h"
#include "data/shard.h"

namespace wellspring {

/// What one split ("train" or "eval") of one source holds.
struct SplitCounts {
  int64_t documents = 0, bytes = 0, tokens = 0;
};

struct SourceInfo {
  std::string name, path;
  int64_t files = 0;              ///< files read
  int64_t skipped = 0;            ///< files left out: of no known format
  int64_t bytes = 0;              ///< of the files, decompressed
  int64_t duplicates = 0;         ///< documents dropped because an equal one came before
  int64_t empty = 0;              ///< documents without text
  int64_t invalid_utf8 = 0;       ///< invalid sequences found
  int64_t invalid_documents = 0;  ///< documents that had any
  int64_t dropped = 0;            ///< documents dropped because of them (--invalid-utf8 drop)
  int64_t cut = 0;                ///< documents cut out of larger ones (longer than the limit)
  SplitCounts train, eval;
};

struct ShardFile {
  std::string file, source, split;
  SplitCounts counts;
};

struct DatasetInfo {
  int64_t vocab_size = 0;
  int32_t eos = -1;
  std::string tokenizer_hash;  ///< 32 hexadecimal digits
  std::string tokenizer_path;
  double eval_share = 0;
  uint64_t seed = 0;
  std::vector<SourceInfo> sources;
  std::vector<ShardFile> shards;
};

Json to_json(const DatasetInfo& info);
/// Error(Fault::data) names `where` and the field.
DatasetInfo dataset_from_json(const Json& json, const std::string& where);

/// An opened dataset: dataset.json read, its shards mapped and checked against it.
class Dataset {
 public:
  explicit Dataset(const std::string& folder);
  const std::string& folder() const { return folder_; }
  const DatasetInfo& info() const { return info_; }
  /// Shards of one source and split, in order; all sources when `source` is empty.
  std::vector<Shard> shards(const std::string& split, const std::string& source = "") const;
  /// Error(Fault::data) when a checksum or a count is wrong; `step` is called with the bytes done.
  void verify(const std::function<void(int64_t)>& step = {}) const;

 private:
  std::string folder_;
  DatasetInfo info_;
  std::vector<Shard> shards_;
};

/// One held-out document of eval.jsonl.
struct EvalDocument {
  std::string source, text;  ///< text is byte-exact
  Language language = Language::other;
  int64_t tokens = 0;
};

std::string language_name(Language language);  ///< "en", "zh", "other"
Language parse_language(const std::string& name, const std::string& where);

/// Calls `use` with each held-out document in order. Error(Fault::data) names file and line.
void read_eval_documents(const std::string& folder,
                         const std::function<void(const EvalDocument&)>& use);
std::string eval_line(const EvalDocument& document);  ///< one line of eval.jsonl, without newline

}  // namespace wellspring
