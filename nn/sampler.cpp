#include "nn/sampler.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.h"
#include "base/random.h"
#include "base/text.h"

namespace wellspring {

void SamplingOptions::check() const {
  if (!(temperature >= 0 && temperature <= 100))
    throw Error(Fault::usage, str("temperature is ", temperature, "; expected 0 to 100"));
  if (!(top_p > 0 && top_p <= 1))
    throw Error(Fault::usage, str("top_p is ", top_p, "; expected above 0, up to 1"));
  if (top_k < 0) throw Error(Fault::usage, str("top_k is ", top_k, "; expected 0 or more"));
}

int32_t sample(std::span<const float> logits, const SamplingOptions& o, uint64_t position) {
  int64_t best = -1;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (std::isnan(logits[i]))
      throw Error(Fault::data,
                  str("the model gave NaN for token ", i, ": its weights are damaged"));
    if (best < 0 || logits[i] > logits[best]) best = static_cast<int64_t>(i);
  }
  if (best < 0 || std::isinf(logits[best]))
    throw Error(Fault::data, "the model gave no finite logit: its weights are damaged");
  if (o.temperature == 0) return static_cast<int32_t>(best);

  const float top = logits[best];
  auto weight = [&](int32_t i) {
    return std::exp((static_cast<double>(logits[i]) - top) / o.temperature);
  };
  // Ties are broken by id, so that there is one order.
  auto before = [&](int32_t a, int32_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  };
  std::vector<int32_t> ids(logits.size());
  std::iota(ids.begin(), ids.end(), 0);
  if (o.top_k > 0 && o.top_k < static_cast<int64_t>(ids.size())) {
    std::nth_element(ids.begin(), ids.begin() + o.top_k, ids.end(), before);
    ids.resize(o.top_k);
  }
  if (o.top_p < 1) {
    std::sort(ids.begin(), ids.end(), before);
    double all = 0, kept = 0;
    for (int32_t i : ids) all += weight(i);
    size_t n = 0;
    while (n < ids.size() && (n == 0 || kept < o.top_p * all)) kept += weight(ids[n++]);
    ids.resize(n);
  } else {
    std::sort(ids.begin(), ids.end());
  }
  double total = 0;
  for (int32_t i : ids) total += weight(i);
  double at = Random(o.seed, 0x73616d70, position * 2).uniform() * total;
  for (int32_t i : ids) {
    at -= weight(i);
    if (at < 0) return i;
  }
  return ids.back();
}

}  // namespace wellspring
