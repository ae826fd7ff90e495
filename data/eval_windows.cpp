#include <algorithm>
#include <numeric>

#include "base/error.h"
#include "base/text.h"
#include "data/dataset.h"
#include "data/loader.h"

namespace wellspring {

struct EvalWindows::Impl {
  struct Place {
    int32_t shard;
    int64_t document;
  };
  EvalOptions options;
  std::vector<Shard> shards;
  std::vector<Place> places;
  std::vector<Document> documents;
  int32_t eos = -1;
  int64_t tokens = 0, bytes = 0;
  size_t at = 0;       // document
  int64_t scored = 0;  // tokens of it that were targets

  void sort() {
    std::vector<size_t> order(places.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return documents[a].tokens < documents[b].tokens; });
    std::vector<Place> sorted_places;
    std::vector<Document> sorted;
    for (size_t i : order) sorted_places.push_back(places[i]), sorted.push_back(documents[i]);
    places = std::move(sorted_places);
    documents = std::move(sorted);
  }

  // Keeps documents spread evenly over all of them (the shortest, when all are too long).
  void thin(int64_t most) {
    const double share = static_cast<double>(most) / static_cast<double>(tokens);
    std::vector<Place> kept_places;
    std::vector<Document> kept;
    double due = 0;  // tokens that should have been taken so far
    int64_t taken = 0;
    size_t shortest = 0;
    auto keep = [&](size_t i) {
      kept_places.push_back(places[i]);
      kept.push_back(documents[i]);
      taken += documents[i].tokens;
    };
    for (size_t i = 0; i < places.size(); ++i) {
      due += share * static_cast<double>(documents[i].tokens);
      if (static_cast<double>(taken + documents[i].tokens) <= due) keep(i);
      if (documents[i].tokens < documents[shortest].tokens) shortest = i;
    }
    if (kept.empty()) keep(shortest);
    places = std::move(kept_places);
    documents = std::move(kept);
    tokens = taken;
    bytes = 0;
    for (const Document& d : documents) bytes += d.bytes;
  }
};

EvalWindows::EvalWindows(const std::string& folder, const EvalOptions& options)
    : impl_(std::make_unique<Impl>()) {
  Impl& m = *impl_;
  m.options = options;
  if (options.batch < 1 || options.length < 1)
    throw Error(Fault::config, str("evaluation with batch ", options.batch, " and length ",
                                   options.length, ": both must be 1 or more"));
  if (options.overlap < 0 || options.overlap >= options.length)
    throw Error(Fault::config,
                str("overlap is ", options.overlap, ", expected 0 to ", options.length - 1));
  Dataset dataset(folder);
  m.eos = dataset.info().eos;
  if (m.eos < 0)
    throw Error(
        Fault::data,
        str(folder, ": its tokenizer has no token that ends documents, such as <|endoftext|>: ",
            "make it anew with 'wellspring text train', and prepare the data with it"));
  const bool any = options.language.empty();
  const Language wanted = any ? Language::other : parse_language(options.language, "evaluation");
  m.shards = dataset.shards(options.split, options.source);
  for (size_t s = 0; s < m.shards.size(); ++s)
    for (int64_t d = 0; d < m.shards[s].documents(); ++d) {
      const DocumentInfo& info = m.shards[s].info(d);
      if (!any && info.language != wanted) continue;
      if (m.shards[s].length(d) == 0) continue;
      if (options.most_documents > 0 &&
          static_cast<int64_t>(m.places.size()) == options.most_documents)
        break;
      m.places.push_back({static_cast<int32_t>(s), d});
      m.documents.push_back({m.shards[s].length(d), info.bytes, info.language});
      m.tokens += m.documents.back().tokens;
      m.bytes += info.bytes;
    }
  if (options.most_tokens > 0 && m.tokens > options.most_tokens) m.thin(options.most_tokens);
  if (options.by_length) m.sort();
  if (m.places.empty())
    throw Error(Fault::data, str(folder, ": no documents to evaluate on in split '", options.split,
                                 "'. Prepare it with a larger --eval-share"));
}

EvalWindows::~EvalWindows() = default;
EvalWindows::EvalWindows(EvalWindows&&) noexcept = default;

int64_t EvalWindows::next(int32_t* inputs, int32_t* targets, int64_t* document) {
  Impl& m = *impl_;
  const int64_t batch = m.options.batch, length = m.options.length;
  int64_t rows = 0;
  for (; rows < batch && m.at < m.places.size(); ++rows) {
    const Impl::Place& place = m.places[m.at];
    const Shard& shard = m.shards[static_cast<size_t>(place.shard)];
    const int64_t total = shard.length(place.document);
    int32_t* in = inputs + rows * length;
    int32_t* target = targets + rows * length;
    // Targets are tokens begin .. begin + n - 1 of the document, inputs the ones before them.
    const int64_t begin = std::max<int64_t>(0, m.scored - m.options.overlap);
    const int64_t n = std::min(length, total - begin);
    if (begin == 0)
      in[0] = m.eos;
    else
      shard.copy(place.document, begin - 1, 1, in);
    shard.copy(place.document, begin, n, target);
    std::copy_n(target, n - 1, in + 1);
    std::fill(in + n, in + length, m.eos);
    std::fill(target + n, target + length, kIgnore);
    std::fill_n(target, m.scored - begin, kIgnore);
    document[rows] = static_cast<int64_t>(m.at);
    m.scored = begin + n;
    if (m.scored == total) {
      ++m.at;
      m.scored = 0;
    }
  }
  for (int64_t r = rows; rows > 0 && r < batch; ++r) {
    std::fill_n(inputs + r * length, length, m.eos);
    std::fill_n(targets + r * length, length, kIgnore);
    document[r] = -1;
  }
  return rows;
}

void EvalWindows::rewind() { impl_->at = 0, impl_->scored = 0; }
const std::vector<EvalWindows::Document>& EvalWindows::documents() const {
  return impl_->documents;
}
int64_t EvalWindows::total_tokens() const { return impl_->tokens; }
int64_t EvalWindows::total_bytes() const { return impl_->bytes; }

}  // namespace wellspring
