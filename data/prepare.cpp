#include "data/prepare.h"

#include <cstdio>
#include <ctime>
#include <map>
#include <memory>
#include <span>
#include <utility>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/progress.h"
#include "base/text.h"
#include "base/threads.h"
#include "data/output_folder.h"

namespace wellspring {
namespace {

constexpr int kPipelineVersion = 1;  // raised when the same input would give other output

double now() {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

// What decides the output: options, tokenizer, and each file's name, size and time of last change.
Json inputs_json(const std::vector<SourceFiles>& sources, const PrepareOptions& o,
                 const Encoder* encoder) {
  const ReadOptions& r = o.pipeline.read;
  Json json = {{"version", kPipelineVersion},
               {"tokenizer", encoder ? to_hex(encoder->hash) : ""},
               {"eval_share", o.pipeline.eval_share},
               {"seed", o.pipeline.seed},
               {"invalid_utf8", static_cast<int>(r.invalid)},
               {"field", r.field},
               {"longest", r.longest},
               {"raw", r.raw},
               {"shard_tokens", o.shard_tokens}};
  json["sources"] = Json::array();
  for (const SourceFiles& s : sources) {
    Hasher hasher;
    int64_t bytes = 0;
    for (const InputFile& f : s.files) {
      hasher.update(f.path);
      hasher.update(static_cast<uint64_t>(f.size));
      hasher.update(static_cast<uint64_t>(f.changed));
      bytes += f.size;
    }
    json["sources"].push_back({{"name", s.source.name},
                               {"path", s.source.path},
                               {"files", s.files.size()},
                               {"bytes", bytes},
                               {"hash", to_hex(hasher.finish())}});
  }
  return json;
}

bool same_inputs(const std::string& folder, const Json& inputs) {
  const std::string path = join_path(folder, "inputs.json");
  if (!exists(path)) return false;
  try {
    return read_json(path) == inputs;
  } catch (const Error&) {
    return false;  // broken: not known to be the same, so it is made anew or refused
  }
}

int64_t total_bytes(const std::vector<SourceFiles>& sources) {
  int64_t n = 0;
  for (const SourceFiles& s : sources)
    for (const InputFile& f : s.files) n += f.size;
  return n;
}

// Encodes a batch, several documents per tile: a tile per document would be uneven for short ones.
std::vector<std::vector<int32_t>> encode_batch(const std::vector<PipelineDocument>& batch,
                                               const Encoder& encoder) {
  std::vector<std::vector<int32_t>> out(batch.size());
  std::vector<size_t> begins{0};
  size_t bytes = 0;
  for (size_t i = 0; i < batch.size(); ++i) {
    bytes += batch[i].document.text.size();
    if (bytes > (128 << 10) || i + 1 == batch.size()) {
      begins.push_back(i + 1);
      bytes = 0;
    }
  }
  parallel_for(static_cast<int64_t>(begins.size()) - 1, [&](int64_t tile) {
    auto t = static_cast<size_t>(tile);
    for (size_t i = begins[t]; i < begins[t + 1]; ++i)
      encoder.encode(batch[i].document.text, out[i]);
  });
  return out;
}

// Writes one split's shards, closing one when it is full or the source changes.
class SplitWriter {
 public:
  SplitWriter(std::string split, const OutputFolder& folder, const Encoder& encoder, int64_t most,
              std::vector<ShardFile>& files)
      : split_(std::move(split)), folder_(folder), encoder_(encoder), most_(most), files_(files) {}

  void add(const std::string& source, std::span<const int32_t> tokens, const DocumentInfo& info) {
    if (writer_ && (source != source_ || writer_->tokens() >= most_)) close();
    if (!writer_) {
      source_ = source;
      writer_ =
          std::make_unique<ShardWriter>(source, encoder_.vocab_size, encoder_.eos, encoder_.hash);
    }
    writer_->add(tokens, info);
  }

  void close() {
    if (!writer_) return;
    char name[64];
    std::snprintf(name, sizeof(name), "%s-%05d.tokens", split_.c_str(), number_++);
    files_.push_back(
        {name, source_, split_, {writer_->documents(), writer_->bytes(), writer_->tokens()}});
    writer_->write(folder_.path(name));
    writer_.reset();
  }

 private:
  std::string split_, source_;
  const OutputFolder& folder_;
  const Encoder& encoder_;
  int64_t most_;
  std::vector<ShardFile>& files_;
  int number_ = 0;
  std::unique_ptr<ShardWriter> writer_;
};

void require_documents(const DatasetInfo& info) {
  int64_t documents = 0;
  for (const SourceInfo& s : info.sources) documents += s.train.documents + s.eval.documents;
  if (documents == 0)
    throw Error(Fault::data, "no documents are left of the sources: all are empty or were dropped");
}

}  // namespace

PrepareResult prepare_dataset(const std::vector<Source>& named, const std::string& folder,
                              const Encoder& encoder, const PrepareOptions& options,
                              const PrepareProgress& progress) {
  const double began = now();
  if (options.shard_tokens < 1)
    throw Error(Fault::usage,
                str("a shard of ", options.shard_tokens, " tokens: expected 1 or more"));
  const std::vector<SourceFiles> sources = list_sources(named);
  const Json inputs = inputs_json(sources, options, &encoder);
  PrepareResult result;
  if (exists(join_path(folder, "dataset.json")) && same_inputs(folder, inputs)) {
    result.info = Dataset(folder).info();
    result.up_to_date = true;
    return result;
  }
  OutputFolder out(folder, "dataset.json", options.force);
  DatasetInfo& info = result.info;
  info.vocab_size = encoder.vocab_size;
  info.eos = encoder.eos;
  info.tokenizer_hash = to_hex(encoder.hash);
  info.tokenizer_path = encoder.path;
  info.eval_share = options.pipeline.eval_share;
  info.seed = options.pipeline.seed;
  SplitWriter train("train", out, encoder, options.shard_tokens, info.shards);
  SplitWriter eval("eval", out, encoder, options.shard_tokens, info.shards);
  AtomicWriter eval_text(out.path("eval.jsonl"));
  std::vector<std::pair<int64_t, int64_t>> tokens(sources.size());
  const int64_t total = total_bytes(sources);
  auto consume = [&](size_t source, std::vector<PipelineDocument>& batch) {
    const std::string& name = sources[source].source.name;
    auto ids = encode_batch(batch, encoder);
    for (size_t i = 0; i < batch.size(); ++i) {
      const Document& d = batch[i].document;
      DocumentInfo about{static_cast<uint32_t>(d.text.size()), d.language, {}};
      auto count = static_cast<int64_t>(ids[i].size());
      if (batch[i].eval) {
        eval.add(name, ids[i], about);
        std::string line = eval_line({name, d.text, d.language, count}) + "\n";
        eval_text.write(line.data(), line.size());
        tokens[source].second += count;
      } else {
        train.add(name, ids[i], about);
        tokens[source].first += count;
      }
      std::vector<int32_t>().swap(ids[i]);
    }
  };
  info.sources = run_pipeline(sources, options.pipeline, consume, [&](int64_t done) {
    if (progress) progress(done, total);
  });
  train.close();
  eval.close();
  eval_text.commit();
  for (size_t s = 0; s < sources.size(); ++s) {
    info.sources[s].train.tokens = tokens[s].first;
    info.sources[s].eval.tokens = tokens[s].second;
  }
  require_documents(info);
  write_file_atomic(out.path("dataset.json"), to_text(to_json(info), 2) + "\n");
  write_file_atomic(out.path("inputs.json"), to_text(inputs, 2) + "\n");
  out.commit();
  result.seconds = now() - began;
  return result;
}

PrepareResult clean_sources(const std::vector<Source>& named, const std::string& folder,
                            const PrepareOptions& options, const PrepareProgress& progress) {
  const double began = now();
  const std::vector<SourceFiles> sources = list_sources(named);
  const Json inputs = inputs_json(sources, options, nullptr);
  PrepareResult result;
  const std::string report = join_path(folder, "report.json");
  if (exists(report) && same_inputs(folder, inputs)) {
    result.info = dataset_from_json(read_json(report), report);
    result.up_to_date = true;
    return result;
  }
  OutputFolder out(folder, "report.json", options.force);
  result.info.eval_share = options.pipeline.eval_share;
  result.info.seed = options.pipeline.seed;
  std::map<std::string, std::unique_ptr<AtomicWriter>> files;
  const int64_t total = total_bytes(sources);
  auto consume = [&](size_t, std::vector<PipelineDocument>& batch) {
    for (const PipelineDocument& d : batch) {
      std::string name =
          d.eval ? str("eval-", language_name(d.document.language), ".txt") : "train.txt";
      auto& file = files[name];
      if (!file) file = std::make_unique<AtomicWriter>(out.path(name));
      file->write(d.document.text.data(), d.document.text.size());
      file->write("\n\n", 2);
    }
  };
  result.info.sources = run_pipeline(sources, options.pipeline, consume, [&](int64_t done) {
    if (progress) progress(done, total);
  });
  require_documents(result.info);
  for (auto& [name, file] : files) file->commit();
  write_file_atomic(out.path("report.json"), to_text(to_json(result.info), 2) + "\n");
  write_file_atomic(out.path("inputs.json"), to_text(inputs, 2) + "\n");
  out.commit();
  result.seconds = now() - began;
  return result;
}

std::string report_table(const DatasetInfo& info) {
  auto count = [](int64_t n) { return str(n); };
  auto bytes = [](int64_t n) { return human_bytes(static_cast<double>(n)); };
  Table table({"source", "files", "read", "documents", "text", "tokens", "held out", "duplicates",
               "empty", "invalid UTF-8", "skipped files"});
  SourceInfo sum;
  auto row = [&](const SourceInfo& s) {
    table.row(
        {s.name, count(s.files), bytes(s.bytes), count(s.train.documents), bytes(s.train.bytes),
         human_count(static_cast<double>(s.train.tokens)),
         str(s.eval.documents, " (", bytes(s.eval.bytes), ")"), count(s.duplicates), count(s.empty),
         str(s.invalid_utf8, s.dropped > 0 ? str(" (", s.dropped, " documents dropped)") : ""),
         count(s.skipped)});
  };
  for (const SourceInfo& s : info.sources) {
    row(s);
    sum.files += s.files;
    sum.skipped += s.skipped;
    sum.bytes += s.bytes;
    sum.duplicates += s.duplicates;
    sum.empty += s.empty;
    sum.invalid_utf8 += s.invalid_utf8;
    sum.dropped += s.dropped;
    for (auto [to, from] : {std::pair{&sum.train, &s.train}, std::pair{&sum.eval, &s.eval}}) {
      to->documents += from->documents;
      to->bytes += from->bytes;
      to->tokens += from->tokens;
    }
  }
  sum.name = "all";
  if (info.sources.size() > 1) row(sum);
  return table.text();
}

}  // namespace wellspring
