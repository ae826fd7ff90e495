#include "nn/sampler.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "base/error.h"
#include "base/random.h"
#include "base/text.h"
#include "ops/pointwise.h"
#include "ops/softmax.h"
#include "tensor/autograd.h"

namespace wellspring {
namespace {

using Options = SamplingOptions;
constexpr SamplingRange kRanges[] = {
    {"temperature", &Options::temperature, 0, 100, false, "0 to 100"},
    {"top_p", &Options::top_p, 0, 1, false, "0 to 1"},
    {"min_p", &Options::min_p, 0, 1, false, "0 to 1"},
    {"typical_p", &Options::typical_p, 0, 1, true, "above 0, up to 1"},
    {"repetition_penalty", &Options::repetition_penalty, 0, 100, true, "above 0, up to 100"},
    {"frequency_penalty", &Options::frequency_penalty, -2, 2, false, "-2 to 2"},
    {"presence_penalty", &Options::presence_penalty, -2, 2, false, "-2 to 2"},
};

int64_t highest(std::span<const float> logits) {
  // By pieces whose lanes are compared side by side; the lowest id among equals.
  constexpr size_t kLanes = 16, kPiece = 1024;
  float best = -std::numeric_limits<float>::infinity();
  size_t where = 0;
  for (size_t begin = 0; begin < logits.size(); begin += kPiece) {
    const size_t end = std::min(logits.size(), begin + kPiece);
    float lanes[kLanes];
    std::fill(lanes, lanes + kLanes, best);
    bool numbers = true;
    size_t i = begin;
    for (; i + kLanes <= end; i += kLanes)
      for (size_t k = 0; k < kLanes; ++k) {
        const float x = logits[i + k];
        lanes[k] = x > lanes[k] ? x : lanes[k];
        numbers &= x == x;
      }
    for (; i < end; ++i) lanes[0] = std::max(lanes[0], logits[i]), numbers &= !std::isnan(logits[i]);
    if (!numbers)
      for (i = begin; i < end; ++i)
        if (std::isnan(logits[i]))
          throw Error(Fault::data, str("the model gave NaN for token ", i, ": its weights are damaged"));
    const float top = *std::max_element(lanes, lanes + kLanes);
    if (top > best) best = top, where = begin;
  }
  if (std::isinf(best))
    throw Error(Fault::data, "the model gave no finite logit: its weights are damaged");
  while (logits[where] != best) ++where;
  return static_cast<int64_t>(where);
}

// Tokens that may be drawn, with their weights: whole distributions or the most likely in falling order.
struct Candidates {
  std::vector<int32_t> ids;
  std::vector<double> weights;
  bool sorted = false;
  double total() const { return std::accumulate(weights.begin(), weights.end(), 0.0); }
  void keep(size_t n) { ids.resize(n), weights.resize(n); }
};

// The most likely `n`, in falling order; ties by id, so that there is one order.
Candidates most_likely(std::span<const float> p, size_t n) {
  Candidates c;
  c.ids.resize(p.size());
  std::iota(c.ids.begin(), c.ids.end(), 0);
  const auto before = [&](int32_t a, int32_t b) {
    const float x = p[static_cast<size_t>(a)], y = p[static_cast<size_t>(b)];
    return x != y ? x > y : a < b;
  };
  if (n < c.ids.size()) {
    std::nth_element(c.ids.begin(), c.ids.begin() + static_cast<int64_t>(n), c.ids.end(), before);
    c.ids.resize(n);
  }
  std::sort(c.ids.begin(), c.ids.end(), before);
  for (const int32_t i : c.ids) c.weights.push_back(p[static_cast<size_t>(i)]);
  c.sorted = true;
  return c;
}

// So many of the first that their weights reach `share` of `total`.
size_t reaching(const Candidates& c, double share, double total) {
  double sum = 0;
  size_t n = 0;
  while (n < c.weights.size() && (n == 0 || sum < share * total)) sum += c.weights[n++];
  return n;
}

// Those whose surprise is nearest to the mean surprise.
void keep_typical(Candidates& c, double share) {
  const double total = c.total();
  double entropy = 0;
  for (const double w : c.weights)
    if (w > 0) entropy -= w / total * std::log(w / total);
  std::vector<size_t> order(c.ids.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::vector<double> distance;
  for (const double w : c.weights)
    distance.push_back(w > 0 ? std::fabs(-std::log(w / total) - entropy) : std::numeric_limits<double>::infinity());
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return distance[a] != distance[b] ? distance[a] < distance[b] : a < b; });
  double sum = 0;
  std::vector<size_t> kept;
  for (const size_t i : order) {
    if (!kept.empty() && sum >= share * total) break;
    sum += c.weights[i], kept.push_back(i);
  }
  std::sort(kept.begin(), kept.end());
  Candidates out;
  out.sorted = c.sorted;
  for (const size_t i : kept) out.ids.push_back(c.ids[i]), out.weights.push_back(c.weights[i]);
  c = std::move(out);
}

Candidates candidates(std::span<const float> p, const SamplingOptions& o) {
  constexpr size_t kFirst = 512;  // of which the most likely nearly always are
  const bool typical = o.typical_p < 1;
  if (o.top_k > 0 && o.top_k < static_cast<int64_t>(p.size())) {
    Candidates c = most_likely(p, static_cast<size_t>(o.top_k));
    if (typical) keep_typical(c, o.typical_p);
    if (o.top_p < 1) c.keep(reaching(c, o.top_p, c.total()));
    return c;
  }
  if (typical) {
    Candidates c = most_likely(p, p.size());
    keep_typical(c, o.typical_p);
    if (o.top_p < 1) c.keep(reaching(c, o.top_p, c.total()));
    return c;
  }
  if (o.top_p < 1) {
    double total = 0;
    for (const float x : p) total += x;
    for (size_t n = kFirst;; n *= 8) {
      Candidates c = most_likely(p, std::min(n, p.size()));
      const size_t reach = reaching(c, o.top_p, total);
      if (reach == c.ids.size() && n < p.size()) continue;
      c.keep(reach);
      return c;
    }
  }
  std::vector<int32_t> ids(p.size());
  std::iota(ids.begin(), ids.end(), 0);
  return {std::move(ids), {p.begin(), p.end()}};
}

// Where `share` of the sum of all weights lies; the last that can be drawn where rounding left a little; -1: none can.
template <class Weights>
int64_t draw(const Weights& weights, double share) {
  double at = share * std::accumulate(weights.begin(), weights.end(), 0.0);
  const auto n = static_cast<int64_t>(weights.size());
  for (int64_t i = 0; i < n; ++i) {
    at -= weights[static_cast<size_t>(i)];
    if (at < 0) return i;
  }
  for (int64_t i = n; i-- > 0;)
    if (weights[static_cast<size_t>(i)] > 0) return i;
  return -1;
}

// What has no bit becomes -infinity. False: nothing else is left.
bool keep_allowed(std::span<float> logits, const uint64_t* allowed) {
  constexpr float kNone = -std::numeric_limits<float>::infinity();
  bool any = false;
  for (size_t begin = 0; begin < logits.size(); begin += 64) {
    const uint64_t word = allowed[begin / 64];
    float* x = logits.data() + begin;
    const size_t n = std::min<size_t>(64, logits.size() - begin);
    for (size_t i = 0; i < n; ++i) {  // without a branch: bits can be anything
      x[i] = word >> i & 1 ? x[i] : kNone;
      any |= x[i] != kNone;
    }
  }
  return any;
}

}  // namespace

std::span<const SamplingRange> sampling_ranges() { return kRanges; }

void SamplingOptions::check() const {
  const auto refuse = [](const char* name, double value, const char* range) {
    throw Error(Fault::usage, str(name, " is ", value, "; expected ", range));
  };
  if (top_k < 0) refuse("top_k", static_cast<double>(top_k), "0 or more");
  for (const SamplingRange& r : kRanges)
    if (const double v = this->*r.value; !r.holds(v)) refuse(r.name, v, r.expected);
}

int32_t sample(std::span<const float> logits, const SamplingOptions& o, uint64_t position) {
  const int64_t best = highest(logits);
  if (o.temperature == 0) return static_cast<int32_t>(best);
  NoGrad no_grad;
  const auto n = static_cast<int64_t>(logits.size());
  Tensor scaled = Tensor::empty({1, n});
  const float top = logits[static_cast<size_t>(best)];
  const double inverse = 1 / o.temperature;
  float* s = scaled.data_as<float>();
  for (int64_t i = 0; i < n; ++i) s[i] = static_cast<float>((static_cast<double>(logits[static_cast<size_t>(i)]) - top) * inverse);
  const Tensor probabilities = softmax(scaled, -1);
  const std::span<const float> p{probabilities.data_as<float>(), static_cast<size_t>(n)};
  const double share = Random(o.seed, 0x73616d70, position * 2).uniform();
  const bool all = o.min_p == 0 && o.top_p >= 1 && o.typical_p >= 1 && (o.top_k == 0 || o.top_k >= n);
  if (all) {
    const int64_t at = draw(p, share);
    return static_cast<int32_t>(at < 0 ? best : at);
  }
  Candidates c = candidates(p, o);
  if (o.min_p > 0) {
    const double least = o.min_p * *std::max_element(c.weights.begin(), c.weights.end());
    size_t kept = 0;
    for (size_t i = 0; i < c.ids.size(); ++i)
      if (c.weights[i] >= least) c.ids[kept] = c.ids[i], c.weights[kept++] = c.weights[i];
    c.keep(kept);
  }
  const int64_t at = draw(c.weights, share);
  return at < 0 ? static_cast<int32_t>(best) : c.ids[static_cast<size_t>(at)];
}

Sampler::Sampler(const SamplingOptions& options, std::span<const int32_t> prompt) : options_(options) {
  if (options_.repetition_penalty == 1) return;
  prompt_.assign(prompt.begin(), prompt.end());
  std::sort(prompt_.begin(), prompt_.end());
  prompt_.erase(std::unique(prompt_.begin(), prompt_.end()), prompt_.end());
}

int32_t Sampler::next(std::span<float> logits, uint64_t position, const uint64_t* allowed) const {
  const auto at = [&](int32_t token) -> float* {
    return token >= 0 && static_cast<size_t>(token) < logits.size() ? &logits[static_cast<size_t>(token)] : nullptr;
  };
  for (const auto& [token, bias] : options_.bias)
    if (float* x = at(token)) *x += bias;
  if (options_.repetition_penalty != 1) {
    const auto divide = [&](int32_t token) {
      if (float* x = at(token)) *x = static_cast<float>(*x > 0 ? *x / options_.repetition_penalty : *x * options_.repetition_penalty);
    };
    for (const int32_t token : prompt_) divide(token);
    for (const auto& [token, count] : made_)
      if (!std::binary_search(prompt_.begin(), prompt_.end(), token)) divide(token);
  }
  if (options_.frequency_penalty != 0 || options_.presence_penalty != 0)
    for (const auto& [token, count] : made_)
      if (float* x = at(token)) *x -= static_cast<float>(options_.frequency_penalty * count + options_.presence_penalty);
  if (allowed && !keep_allowed(logits, allowed))
    throw Error(Fault::data, "no token may stand here: the grammar does not fit the model's vocabulary");
  return sample(logits, options_, position);
}

std::vector<TokenProbability> log_probabilities(std::span<const float> logits, int32_t token, int64_t most) {
  NoGrad no_grad;
  const auto n = static_cast<int64_t>(logits.size());
  Tensor x = Tensor::from(logits, {1, n});
  const Tensor all = log_softmax(x, -1);
  const std::span<const float> p{all.data_as<float>(), logits.size()};
  std::vector<TokenProbability> out = {{token, p[static_cast<size_t>(token)]}};
  if (most > 0) {
    const Candidates c = most_likely(p, static_cast<size_t>(std::min(most, n)));
    for (const int32_t id : c.ids) out.push_back({id, p[static_cast<size_t>(id)]});
  }
  return out;
}

}  // namespace wellspring
