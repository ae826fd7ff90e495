#include "data/loader.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "data/dataset.h"
#include "data/permutation.h"

namespace wellspring {
namespace {

constexpr int kVersion = 2;

// One source as an endless sequence of rows. Its documents, EOS after each, make one circle of
// tokens that begins anew at another place every epoch; rows are the circle's pieces of T tokens,
// shuffled.
struct Stream {
  std::string name;
  std::vector<Shard> shards;
  std::vector<int64_t> before;  // tokens of the circle before each shard, then all
  int64_t documents = 0, length = 0;
  double share = 0;
  uint64_t seed = 0;
  int32_t eos = 0;

  int64_t rows = 0;    // given so far
  int64_t epoch = -1;  // that `order` and `start` belong to
  Permutation order;
  int64_t start = 0;

  int64_t tokens() const { return before.back(); }
  int64_t rows_of_epoch() const { return (tokens() + length - 1) / length; }

  struct Place {
    const Shard* shard;
    int64_t document, offset;  // in the shard; offset counts tokens, its length is EOS
  };
  Place place_of(int64_t position) const {
    const size_t i = static_cast<size_t>(std::upper_bound(before.begin(), before.end(), position) -
                                         before.begin()) -
                     1;
    const Shard& shard = shards[i];
    position -= before[i];
    int64_t low = 0, high = shard.documents();  // the document lies in [low, high)
    while (high - low > 1) {
      const int64_t middle = low + (high - low) / 2;
      (shard.first(middle) + middle <= position ? low : high) = middle;
    }
    return {&shard, low, position - shard.first(low) - low};
  }
  // Where the next row begins.
  int64_t next_position() {
    if (const int64_t now = rows / rows_of_epoch(); now != epoch) {
      epoch = now;
      order =
          Permutation(static_cast<uint64_t>(rows_of_epoch()), seed, static_cast<uint64_t>(epoch));
      start =
          static_cast<int64_t>(hash128(str(epoch), seed).high % static_cast<uint64_t>(tokens()));
    }
    const int64_t row = static_cast<int64_t>(order(static_cast<uint64_t>(rows % rows_of_epoch())));
    return (start + row * length) % tokens();
  }
  // `count` tokens from a place on, around the circle; ordinals of their documents.
  void copy(int64_t position, int64_t count, int32_t* out, int32_t* ordinal) const {
    int32_t number = 0;
    while (count > 0) {
      const Place p = place_of(position);
      const int64_t here = p.shard->length(p.document) + 1 - p.offset, step = std::min(count, here);
      const int64_t plain = std::min(step, here - 1);
      p.shard->copy(p.document, p.offset, plain, out);
      if (plain < step) out[plain] = eos;
      if (ordinal) {
        std::fill_n(ordinal, step, number++);
        ordinal += step;
      }
      out += step;
      count -= step;
      position = (position + step) % tokens();
    }
  }
};

void check(bool ok, const std::string& message) {
  if (!ok) throw Error(Fault::config, message);
}

}  // namespace

struct Loader::Impl {
  LoaderOptions options;
  std::vector<Stream> streams;
  int64_t rows = 0, vocab_size = 0, epoch_tokens = 0;
  int32_t eos = -1;
  struct Begin {
    const Stream* stream = nullptr;
    Stream::Place place{};
  };
  std::vector<Begin> begins;  // of the rows of the last batch

  void add(const Dataset& dataset, const std::string& source) {
    const DatasetInfo& info = dataset.info();
    if (streams.empty()) {
      vocab_size = info.vocab_size;
      eos = info.eos;
    }
    Stream s;
    s.name = str(source, "@", base_name(dataset.folder()));
    s.shards = dataset.shards(options.split, source);
    std::erase_if(s.shards, [](const Shard& shard) { return shard.documents() == 0; });
    s.before.push_back(0);
    for (const Shard& shard : s.shards) {
      s.documents += shard.documents();
      s.before.push_back(s.before.back() + shard.tokens() + shard.documents());
    }
    if (s.documents == 0) return;
    s.length = options.length;
    s.eos = eos;
    // By name, so that a source keeps its order when others are added.
    s.seed = hash128(source, options.seed).low;
    epoch_tokens += s.tokens();
    streams.push_back(std::move(s));
  }

  // The stream that lags most behind its share of the rows.
  Stream& pick() {
    Stream* best = nullptr;
    double most = 0;
    for (Stream& s : streams) {
      double lag = s.share * static_cast<double>(rows + 1) - static_cast<double>(s.rows);
      if (!best || lag > most) best = &s, most = lag;
    }
    ++rows;
    return *best;
  }
};

Loader::Loader(const std::vector<MixPart>& parts, const LoaderOptions& options)
    : impl_(std::make_unique<Impl>()) {
  Impl& m = *impl_;
  m.options = options;
  check(!parts.empty(),
        "training needs at least one dataset: name a folder made by "
        "'wellspring data prepare'");
  check(options.batch >= 1, str("batch is ", options.batch, ", expected 1 or more"));
  check(options.length >= 1, str("length is ", options.length, ", expected 1 or more"));
  check(options.world >= 1 && options.rank >= 0 && options.rank < options.world,
        str("rank ", options.rank, " of world ", options.world, ": expected 0 <= rank < world"));
  check(options.split == "train" || options.split == "eval",
        str("split is '", options.split, "', expected train or eval"));
  bool weighted = parts[0].weight != 0;
  std::string tokenizer;
  for (const MixPart& part : parts) {
    check(std::isfinite(part.weight) && part.weight >= 0 && (part.weight != 0) == weighted,
          str("weight of ", part.dataset, " ", part.source, " is ", part.weight,
              ": give every part a positive weight, or none"));
    Dataset dataset(part.dataset);
    const DatasetInfo& info = dataset.info();
    if (info.eos < 0)
      throw Error(Fault::data,
                  str(part.dataset,
                      ": its tokenizer has no token that ends documents, such as <|endoftext|>: ",
                      "make it anew with 'wellspring text train', and prepare the data with it"));
    if (tokenizer.empty()) tokenizer = info.tokenizer_hash;
    if (tokenizer != info.tokenizer_hash)
      throw Error(Fault::data, str(part.dataset, " was prepared with another tokenizer than ",
                                   parts[0].dataset, ". Prepare both with the same one"));
    std::vector<std::string> names;
    for (const SourceInfo& s : info.sources)
      if (part.source.empty() || s.name == part.source) names.push_back(s.name);
    if (names.empty()) {
      std::vector<std::string> known;
      for (const SourceInfo& s : info.sources) known.push_back(s.name);
      throw Error(Fault::config, str(part.dataset, " has no source '", part.source, "'; it has ",
                                     join(known, ", ")));
    }
    const size_t begin = m.streams.size();
    for (const std::string& name : names) m.add(dataset, name);
    int64_t sum = 0;
    for (size_t i = begin; i < m.streams.size(); ++i) sum += m.streams[i].tokens();
    if (sum == 0)
      throw Error(Fault::data,
                  str(part.dataset, part.source.empty() ? "" : " source " + part.source,
                      ": no documents in split '", options.split, "'"));
    for (size_t i = begin; i < m.streams.size(); ++i)
      m.streams[i].share = (weighted ? part.weight / static_cast<double>(sum) : 1.0) *
                           static_cast<double>(m.streams[i].tokens());
  }
  double total = 0;
  std::set<std::string> seen;
  for (Stream& s : m.streams) {
    total += s.share;
    check(seen.insert(s.name).second, str("source ", s.name, " stands twice in the mixture"));
  }
  for (Stream& s : m.streams) s.share /= total;
  m.begins.resize(static_cast<size_t>(options.batch));
}

Loader::~Loader() = default;
Loader::Loader(Loader&&) noexcept = default;

void Loader::next(int32_t* out, int32_t* document) {
  Impl& m = *impl_;
  const int64_t batch = m.options.batch, length = m.options.length;
  for (int64_t r = 0; r < batch * m.options.world; ++r) {
    Stream& s = m.pick();
    if (r / batch == m.options.rank) {
      const int64_t position = s.next_position();
      m.begins[static_cast<size_t>(r % batch)] = {&s, s.place_of(position)};
      s.copy(position, length + 1, out, document);
      out += length + 1;
      if (document) document += length + 1;
    }
    ++s.rows;
  }
}

std::vector<Loader::RowPlace> Loader::last_rows() const {
  std::vector<RowPlace> rows;
  for (const Impl::Begin& b : impl_->begins)
    if (b.stream)
      rows.push_back({b.stream->name, b.place.shard->path(), b.place.document, b.place.offset});
  return rows;
}

Json Loader::position() const {
  const Impl& m = *impl_;
  Json json = {{"version", kVersion},
               {"rows", m.rows},
               {"length", m.options.length},
               {"seed", m.options.seed}};
  json["sources"] = Json::array();
  for (const Stream& s : m.streams)
    json["sources"].push_back(
        {{"name", s.name}, {"documents", s.documents}, {"tokens", s.tokens()}, {"rows", s.rows}});
  return json;
}

void Loader::restore(const Json& position) {
  Impl& m = *impl_;
  const std::string where = "saved data position";
  auto number = [&](const Json& json, const char* key) -> int64_t {
    if (!json.is_object() || !json.contains(key) || !json.at(key).is_number_integer())
      throw Error(Fault::data, str(where, ": field '", key, "' is missing or not an integer"));
    int64_t n = json.at(key).get<int64_t>();
    if (n < 0 && std::string(key) != "seed")
      throw Error(Fault::data, str(where, ": field '", key, "' is ", n));
    return n;
  };
  if (number(position, "version") != kVersion)
    throw Error(Fault::data, str(where, ": version ", number(position, "version"),
                                 ", this program reads ", kVersion));
  if (static_cast<uint64_t>(number(position, "seed")) != m.options.seed)
    throw Error(Fault::data,
                str(where, ": its seed is ", number(position, "seed"), ", this run's is ",
                    m.options.seed, ". Use the same seed, or start anew"));
  if (number(position, "length") != m.options.length)
    throw Error(Fault::data,
                str(where, ": its rows have ", number(position, "length"), " tokens, this run's ",
                    m.options.length, ". Use the same sequence length, or start anew"));
  const int64_t rows = number(position, "rows");
  if (!position.contains("sources") || !position.at("sources").is_array() ||
      position.at("sources").size() != m.streams.size())
    throw Error(Fault::data, str(where, ": it belongs to another list of sources than this run's ",
                                 m.streams.size()));
  std::vector<int64_t> given;
  for (size_t i = 0; i < m.streams.size(); ++i) {
    const Json& j = position.at("sources").at(i);
    const Stream& s = m.streams[i];
    bool same = j.is_object() && j.contains("name") && j.at("name").is_string() &&
                j.at("name").get<std::string>() == s.name &&
                number(j, "documents") == s.documents && number(j, "tokens") == s.tokens();
    if (!same)
      throw Error(Fault::data, str(where, ": source ", i, " is ", to_text(j), ", this run has ",
                                   s.name, " with ", s.documents, " documents and ", s.tokens(),
                                   " tokens. Prepare the same data, or start anew"));
    given.push_back(number(j, "rows"));
  }
  for (size_t i = 0; i < m.streams.size(); ++i) m.streams[i].rows = given[i];
  m.rows = rows;
}

int64_t Loader::vocab_size() const { return impl_->vocab_size; }
int32_t Loader::eos() const { return impl_->eos; }
int64_t Loader::epoch_tokens() const { return impl_->epoch_tokens; }
int64_t Loader::rows() const { return impl_->rows; }
double Loader::epochs() const {
  return static_cast<double>(impl_->rows) * static_cast<double>(impl_->options.length) /
         static_cast<double>(impl_->epoch_tokens);
}

}  // namespace wellspring
