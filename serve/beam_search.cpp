#include "serve/beam_search.h"

#include <algorithm>
#include <cmath>

namespace wellspring {

double BeamSearch::score(double log_probability, size_t length) const {
  return log_probability / std::pow(static_cast<double>(length), length_penalty_);
}

void BeamSearch::finish(Beam beam) {
  beam.score = score(beam.log_probability, beam.tokens.size() + beam.ended);
  const auto at = std::upper_bound(found_.begin(), found_.end(), beam, [](const Beam& a, const Beam& b) { return a.score > b.score; });
  found_.insert(at, std::move(beam));
  if (static_cast<int64_t>(found_.size()) > width_) found_.pop_back();
}

std::vector<BeamSearch::Next> BeamSearch::step(const std::vector<Parent>& parents) {
  std::vector<Next> all, next;
  for (size_t p = 0; p < parents.size(); ++p)
    for (const TokenProbability& t : *parents[p].likely)
      all.push_back({p, t.token, parents[p].log_probability + t.log_probability});
  std::stable_sort(all.begin(), all.end(), [](const Next& a, const Next& b) { return a.log_probability > b.log_probability; });
  const size_t length = parents[0].tokens->size() + 1;
  for (size_t rank = 0; rank < all.size() && static_cast<int64_t>(next.size()) < width_; ++rank) {
    const Next& n = all[rank];
    if (std::find(stop_tokens_.begin(), stop_tokens_.end(), n.token) == stop_tokens_.end())
      next.push_back(n);
    else if (static_cast<int64_t>(rank) < width_)
      finish({*parents[n.parent].tokens, n.log_probability, 0, true});
  }
  const bool full = static_cast<int64_t>(found_.size()) == width_;
  if (full && !all.empty() && found_.back().score >= score(all[0].log_probability, length)) next.clear();
  return next;
}

}  // namespace wellspring
