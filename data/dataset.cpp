#include "data/dataset.h"

#include <map>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"

namespace wellspring {
namespace {

constexpr int kVersion = 1;

// Reads fields of one object of dataset.json, naming the place in errors.
struct Fields {
  const Json& json;
  std::string where;

  const Json& at(const char* key) const {
    if (!json.is_object() || !json.contains(key))
      throw Error(Fault::data,
                  str(where, ": field '", key, "' is missing. Prepare the data again"));
    return json.at(key);
  }
  [[noreturn]] void mistyped(const char* key, const char* wanted) const {
    throw Error(Fault::data, str(where, ": field '", key, "' is ", to_text(at(key)), ", expected ",
                                 wanted, ". Prepare the data again"));
  }
  int64_t integer(const char* key) const {
    if (!at(key).is_number_integer()) mistyped(key, "an integer");
    return at(key).get<int64_t>();
  }
  int64_t count(const char* key) const {
    int64_t n = integer(key);
    if (n < 0) mistyped(key, "a count, zero or more");
    return n;
  }
  double number(const char* key) const {
    if (!at(key).is_number()) mistyped(key, "a number");
    return at(key).get<double>();
  }
  std::string text(const char* key) const {
    if (!at(key).is_string()) mistyped(key, "a string");
    return at(key).get<std::string>();
  }
  const Json& list(const char* key) const {
    if (!at(key).is_array()) mistyped(key, "a list");
    return at(key);
  }
  Fields item(const char* key, size_t i) const {
    return {at(key).at(i), str(where, ": ", key, "[", i, "]")};
  }
};

Json counts_json(const SplitCounts& c) {
  return {{"documents", c.documents}, {"bytes", c.bytes}, {"tokens", c.tokens}};
}

SplitCounts counts_from(const Fields& f) {
  return {f.count("documents"), f.count("bytes"), f.count("tokens")};
}

// The counters of a source, once for both directions.
template <class Source, class Use>
void each_counter(Source& s, Use use) {
  use("files", s.files);
  use("skipped", s.skipped);
  use("bytes", s.bytes);
  use("duplicates", s.duplicates);
  use("empty", s.empty);
  use("invalid_utf8", s.invalid_utf8);
  use("invalid_documents", s.invalid_documents);
  use("dropped", s.dropped);
  use("cut", s.cut);
}

}  // namespace

Json to_json(const DatasetInfo& info) {
  Json json = {{"version", kVersion},
               {"vocab_size", info.vocab_size},
               {"eos", info.eos},
               {"tokenizer_hash", info.tokenizer_hash},
               {"tokenizer", info.tokenizer_path},
               {"eval_share", info.eval_share},
               {"seed", info.seed}};
  json["sources"] = Json::array();
  for (const SourceInfo& s : info.sources) {
    Json j = {{"name", s.name}, {"path", s.path}};
    each_counter(s, [&](const char* key, int64_t n) { j[key] = n; });
    j["train"] = counts_json(s.train);
    j["eval"] = counts_json(s.eval);
    json["sources"].push_back(std::move(j));
  }
  json["shards"] = Json::array();
  for (const ShardFile& s : info.shards) {
    Json j = {{"file", s.file}, {"source", s.source}, {"split", s.split}};
    j.update(counts_json(s.counts));
    json["shards"].push_back(std::move(j));
  }
  return json;
}

DatasetInfo dataset_from_json(const Json& json, const std::string& where) {
  Fields f{json, where};
  if (f.integer("version") != kVersion)
    throw Error(Fault::data, str(where, ": field 'version' is ", f.integer("version"),
                                 ", this program reads version ", kVersion));
  DatasetInfo info;
  info.vocab_size = f.count("vocab_size");
  info.eos = static_cast<int32_t>(f.integer("eos"));
  info.tokenizer_hash = f.text("tokenizer_hash");
  info.tokenizer_path = f.text("tokenizer");
  info.eval_share = f.number("eval_share");
  info.seed = static_cast<uint64_t>(f.at("seed").is_number() ? f.at("seed").get<uint64_t>()
                                                             : f.integer("seed"));
  for (size_t i = 0; i < f.list("sources").size(); ++i) {
    Fields g = f.item("sources", i);
    SourceInfo s;
    s.name = g.text("name");
    s.path = g.text("path");
    each_counter(s, [&](const char* key, int64_t& n) { n = g.count(key); });
    s.train = counts_from({g.at("train"), g.where + ".train"});
    s.eval = counts_from({g.at("eval"), g.where + ".eval"});
    info.sources.push_back(std::move(s));
  }
  for (size_t i = 0; i < f.list("shards").size(); ++i) {
    Fields g = f.item("shards", i);
    ShardFile s{g.text("file"), g.text("source"), g.text("split"), counts_from(g)};
    if (s.file.find('/') != std::string::npos)
      throw Error(Fault::data, str(g.where, ": file '", s.file, "' must be a plain name"));
    info.shards.push_back(std::move(s));
  }
  return info;
}

Dataset::Dataset(const std::string& folder) : folder_(folder) {
  const std::string path = join_path(folder, "dataset.json");
  if (!exists(path))
    throw Error(
        exists(folder) ? Fault::data : Fault::io,
        str(folder, exists(folder) ? " holds no dataset.json" : " does not exist",
            ". Make a dataset with 'wellspring data prepare SOURCES... --out ", folder, "'"));
  info_ = dataset_from_json(read_json(path), path);
  for (const ShardFile& file : info_.shards) {
    shards_.emplace_back(join_path(folder, file.file));
    const Shard& shard = shards_.back();
    auto expect = [&](const char* field, auto found, auto wanted) {
      if (found != wanted)
        throw Error(Fault::data, str("shard ", shard.path(), ": field ", field, " is ", found,
                                     ", dataset.json says ", wanted, ". Prepare the data again"));
    };
    const ShardHeader& h = shard.header();
    expect("documents", shard.documents(), file.counts.documents);
    expect("tokens", shard.tokens(), file.counts.tokens);
    expect("bytes", shard.bytes(), file.counts.bytes);
    expect("vocab_size", int64_t{h.vocab_size}, info_.vocab_size);
    expect("eos", h.eos, info_.eos);
    expect("tokenizer", to_hex({h.tokenizer[0], h.tokenizer[1]}), info_.tokenizer_hash);
    expect("source", to_hex({h.source[0], h.source[1]}), to_hex(hash128(file.source)));
  }
}

std::vector<Shard> Dataset::shards(const std::string& split, const std::string& source) const {
  std::vector<Shard> out;
  for (size_t i = 0; i < shards_.size(); ++i)
    if (info_.shards[i].split == split && (source.empty() || info_.shards[i].source == source))
      out.push_back(shards_[i]);
  return out;
}

void Dataset::verify(const std::function<void(int64_t)>& step) const {
  int64_t done = 0;
  std::map<std::pair<std::string, std::string>, SplitCounts> sums;
  for (size_t i = 0; i < shards_.size(); ++i) {
    shards_[i].verify();
    SplitCounts& sum = sums[{info_.shards[i].source, info_.shards[i].split}];
    sum.documents += shards_[i].documents();
    sum.tokens += shards_[i].tokens();
    sum.bytes += shards_[i].bytes();
    done += static_cast<int64_t>(shards_[i].header().file_size);
    if (step) step(done);
  }
  int64_t held_out = 0;
  for (const SourceInfo& s : info_.sources) {
    for (const char* split : {"train", "eval"}) {
      const SplitCounts& said = std::string(split) == "train" ? s.train : s.eval;
      const SplitCounts& sum = sums[{s.name, split}];
      if (sum.documents != said.documents || sum.tokens != said.tokens || sum.bytes != said.bytes)
        throw Error(Fault::data,
                    str(folder_, "/dataset.json: the counts of source '", s.name,
                        "' do not match its ", split, " shards. Prepare the data again"));
    }
    held_out += s.eval.documents;
  }
  int64_t found = 0;
  std::vector<Shard> eval = shards("eval");
  size_t shard = 0;
  int64_t document = 0;
  read_eval_documents(folder_, [&](const EvalDocument& d) {
    while (shard < eval.size() && document == eval[shard].documents()) ++shard, document = 0;
    if (shard == eval.size() || eval[shard].info(document).bytes != d.text.size() ||
        eval[shard].length(document) != d.tokens)
      throw Error(Fault::data, str(folder_, "/eval.jsonl:", found + 1,
                                   ": does not match the eval shards. Prepare the data again"));
    ++document, ++found;
  });
  if (found != held_out)
    throw Error(Fault::data, str(folder_, "/eval.jsonl: holds ", found, " documents, dataset.json ",
                                 "says ", held_out, ". Prepare the data again"));
}

}  // namespace wellspring
