// B batch, T queries, S keys, H heads, Hk key heads, D head width.
#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "ops/reference/reference.h"

namespace wellspring::reference {
namespace {

struct Problem {
  Values q, k, v, lengths;
  int64_t B, T, S, H, Hk, D;
  bool causal;
  double scale;
  std::optional<int64_t> reach;  // of the first query

  Problem(const View& q_, const View& k_, const View& v_, const View& lengths_, const Call& call)
      : q(q_),
        k(k_),
        v(v_),
        lengths(lengths_),
        B(q.extent(0)),
        T(q.extent(1)),
        S(k.extent(1)),
        H(q.extent(2)),
        Hk(k.extent(2)),
        D(q.extent(3)),
        causal(call.attr[0].i != 0),
        scale(call.attr[1].f != 0 ? call.attr[1].f : 1 / std::sqrt(static_cast<double>(D))) {
    if (call.attrs > 2) reach = call.attr[2].i;
  }

  int64_t query(int64_t b, int64_t t, int64_t h) const { return ((b * T + t) * H + h) * D; }
  int64_t key(int64_t b, int64_t s, int64_t h) const {
    return ((b * S + s) * Hk + h / (H / Hk)) * D;
  }
  int64_t seen(int64_t b, int64_t t) const {
    const int64_t valid =
        lengths.size() ? std::clamp<int64_t>(static_cast<int64_t>(lengths[b]), 0, S) : S;
    return std::max<int64_t>(0,
                             causal ? std::min(valid, t + 1 + reach.value_or(valid - T)) : valid);
  }
  // The probabilities of the keys that one query sees; lse by the way.
  std::vector<double> probabilities(int64_t b, int64_t t, int64_t h, double* lse) const {
    std::vector<double> p(seen(b, t));
    double top = -std::numeric_limits<double>::infinity(), sum = 0;
    for (size_t s = 0; s < p.size(); ++s) {
      for (int64_t d = 0; d < D; ++d) p[s] += q[query(b, t, h) + d] * k[key(b, s, h) + d];
      p[s] *= scale;
      top = std::max(top, p[s]);
    }
    for (double& x : p) sum += x = std::exp(x - top);
    for (double& x : p) x /= sum;
    *lse = p.empty() ? top : top + std::log(sum);
    return p;
  }
};

void attention(const Call& call) {
  const Problem p(call.in[0], call.in[1], call.in[2], call.in[3], call);
  Values o(p.q.shape), lse({p.B, p.H, p.T});
  for (int64_t b = 0; b < p.B; ++b)
    for (int64_t h = 0; h < p.H; ++h)
      for (int64_t t = 0; t < p.T; ++t) {
        const auto weights = p.probabilities(b, t, h, &lse[(b * p.H + h) * p.T + t]);
        for (size_t s = 0; s < weights.size(); ++s)
          for (int64_t d = 0; d < p.D; ++d)
            o[p.query(b, t, h) + d] += weights[s] * p.v[p.key(b, s, h) + d];
      }
  o.write(call.out[0]);
  if (call.outs > 1 && call.out[1].defined()) lse.write(call.out[1]);
}
WS_REFERENCE("attention", attention);

void attention_backward(const Call& call) {
  const Values grad(call.in[0]), o(call.in[4]);
  const Problem p(call.in[1], call.in[2], call.in[3], View(), call);
  Values dq(p.q.shape), dk(p.k.shape), dv(p.v.shape);
  for (int64_t b = 0; b < p.B; ++b)
    for (int64_t h = 0; h < p.H; ++h)
      for (int64_t t = 0; t < p.T; ++t) {
        double lse, delta = 0;
        const auto weights = p.probabilities(b, t, h, &lse);
        const int64_t row = p.query(b, t, h);
        for (int64_t d = 0; d < p.D; ++d) delta += grad[row + d] * o[row + d];
        for (size_t s = 0; s < weights.size(); ++s) {
          const int64_t at = p.key(b, s, h);
          double change = 0;
          for (int64_t d = 0; d < p.D; ++d) change += grad[row + d] * p.v[at + d];
          change = weights[s] * (change - delta) * p.scale;
          for (int64_t d = 0; d < p.D; ++d) {
            dq[row + d] += change * p.k[at + d];
            dk[at + d] += change * p.q[row + d];
            dv[at + d] += weights[s] * grad[row + d];
          }
        }
      }
  dq.write(call.out[0]), dk.write(call.out[1]), dv.write(call.out[2]);
}
WS_REFERENCE("attention_backward", attention_backward);

}  // namespace
}  // namespace wellspring::reference
