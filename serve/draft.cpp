#include "serve/draft.h"

#include <algorithm>

#include "nn/sampler.h"

namespace wellspring {

std::vector<int32_t> look_up(std::span<const int32_t> tokens, int64_t most) {
  constexpr int64_t kSame = 3;
  const auto n = static_cast<int64_t>(tokens.size());
  for (int64_t end = n - 1; end >= kSame; --end)  // where the earlier place ends
    if (std::equal(tokens.begin() + end - kSame, tokens.begin() + end, tokens.end() - kSame))
      return {tokens.begin() + end, tokens.begin() + std::min(n, end + most)};
  return {};
}

DraftModel::DraftModel(std::shared_ptr<const Decoder> model, int64_t pages, int64_t rows, DType cache)
    : model_(std::move(model)), pool_(model_->config(), pages, cache), rows_(rows) {}

void DraftModel::guess(std::vector<Wish>& wishes) {
  const int64_t context = model_->config().context;
  std::vector<Wish*> open;
  for (Wish& w : wishes) {
    Sequence& s = w.known;
    w.guess.clear();
    const auto n = static_cast<int64_t>(w.tokens.size());
    w.count = std::min(w.count, context - n);
    if (w.count < 1) continue;
    if (s.held.pages.empty()) {
      pool_.begin(w.owner, w.tokens.first(w.tokens.size() - 1), s.held);
    } else {  // guesses that were wrong go
      const auto same = std::mismatch(s.tokens.begin(), s.tokens.end(), w.tokens.begin(), w.tokens.end() - 1).first - s.tokens.begin();
      s.held.tokens = std::min<int64_t>(s.held.tokens, same);
    }
    s.tokens.assign(w.tokens.begin(), w.tokens.end());
    if (pool_.reserve(s.held, n + w.count - 1)) open.push_back(&w);
  }
  // What is new comes first, the next guesses after it, one for each sequence in a pass.
  while (!open.empty()) {
    BatchBuilder batch;
    int64_t room = rows_;
    std::vector<std::pair<Wish*, int64_t>> parts;
    std::vector<Wish*> asked;
    for (Wish* w : open) {
      Sequence& s = w->known;
      const int64_t wanted = static_cast<int64_t>(s.tokens.size()) - s.held.tokens, n = std::min(wanted, room);
      if (!n) continue;
      const int32_t first = batch.add(s.held, std::span(s.tokens).subspan(static_cast<size_t>(s.held.tokens), static_cast<size_t>(n)));
      if (n == wanted) batch.want(first + static_cast<int32_t>(n) - 1), asked.push_back(w);
      parts.emplace_back(w, n), room -= n;
    }
    const Tensor logits = model_->step(batch.finish(), pool_.cache());
    for (const auto& [w, n] : parts) w->known.held.tokens += n;
    for (size_t i = 0; i < asked.size(); ++i) {
      Wish& w = *asked[i];
      const int64_t width = std::min(w.vocab, logits.size(1));
      float* row = logits.data_as<float>() + static_cast<int64_t>(i) * logits.size(1);
      const int32_t token = w.sampler.next({row, static_cast<size_t>(width)}, w.known.tokens.size());
      w.guess.push_back(token);
      w.known.tokens.push_back(token);
      if (static_cast<int64_t>(w.guess.size()) == w.count) std::erase(open, &w);
    }
  }
  for (Wish& w : wishes)
    if (!w.known.tokens.empty()) w.known.tokens.resize(static_cast<size_t>(w.known.held.tokens));
}

void DraftModel::forget(Sequence& s, const std::string& owner) {
  pool_.keep(owner, s.tokens, s.held);
  pool_.give_back(s.held);
  s.tokens.clear();
}

}  // namespace wellspring
