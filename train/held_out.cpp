#include "train/held_out.h"

#include <algorithm>
#include <map>
#include <numbers>

#include "data/dataset.h"
#include "tensor/autograd.h"

namespace wellspring {
namespace {

// The first `columns` of each row.
Tensor cut(const std::vector<int32_t>& values, int64_t rows, int64_t length, int64_t columns) {
  Tensor out = Tensor::empty({rows, columns}, DType::i32);
  for (int64_t r = 0; r < rows; ++r)
    std::copy_n(values.data() + r * length, columns, out.data_as<int32_t>() + r * columns);
  return out;
}

// Nats of all targets of one set of windows.
double nats_of(const Decoder& model, EvalWindows& windows, int64_t batch, int64_t length,
               const std::function<bool()>& stop) {
  std::vector<int32_t> ids(static_cast<size_t>(batch * length)), targets(ids.size());
  std::vector<int64_t> documents(static_cast<size_t>(batch));
  double nats = 0;
  windows.rewind();
  while (int64_t rows = windows.next(ids.data(), targets.data(), documents.data())) {
    // Most documents are shorter than a window: nothing is computed beyond the longest of a batch.
    int64_t scored = 0, columns = 0;
    for (int64_t i = 0; i < rows * length; ++i)
      if (targets[static_cast<size_t>(i)] != EvalWindows::kIgnore)
        ++scored, columns = std::max(columns, i % length + 1);
    Tensor x = cut(ids, rows, length, columns), y = cut(targets, rows, length, columns);
    nats += model.loss(x, y).item() * static_cast<double>(scored);
    if (stop && stop()) break;
  }
  return nats;
}

}  // namespace

double HeldOutScore::bits_per_byte() const {
  return nats / std::numbers::ln2 / static_cast<double>(bytes);
}

HeldOut::HeldOut(const std::vector<MixPart>& parts, int64_t length, int64_t batch,
                 int64_t most_tokens)
    : length_(length), batch_(batch) {
  std::map<std::string, Group> groups;
  int64_t total = 0;
  for (const MixPart& part : parts) {
    EvalOptions options;
    options.source = part.source;
    total += EvalWindows(part.dataset, options).total_tokens();
  }
  for (const MixPart& part : parts)
    for (Language language : {Language::en, Language::other, Language::zh}) {
      EvalOptions options;
      options.batch = batch, options.length = length;
      options.source = part.source;
      const EvalWindows all(part.dataset, options);
      int64_t tokens = 0;
      for (const EvalWindows::Document& d : all.documents())
        if (d.language == language) tokens += d.tokens;
      if (tokens == 0) continue;
      options.language = language_name(language);
      options.by_length = true;
      if (most_tokens > 0 && most_tokens < total)
        options.most_tokens = std::max<int64_t>(1, most_tokens * tokens / total);
      Group& group = groups[options.language];
      group.name = options.language;
      group.windows.emplace_back(part.dataset, options);
    }
  for (auto& [name, group] : groups) groups_.push_back(std::move(group));
}

HeldOut::~HeldOut() = default;

int64_t HeldOut::tokens() const {
  int64_t n = 0;
  for (const Group& g : groups_)
    for (const EvalWindows& w : g.windows) n += w.total_tokens();
  return n;
}

std::vector<HeldOutScore> HeldOut::score(const Decoder& model, const std::function<bool()>& stop) {
  NoGrad no_grad;
  std::vector<HeldOutScore> scores;
  HeldOutScore all;
  all.name = "all";
  for (Group& group : groups_) {
    HeldOutScore s;
    s.name = group.name;
    for (EvalWindows& w : group.windows) {
      s.documents += static_cast<int64_t>(w.documents().size());
      s.tokens += w.total_tokens();
      s.bytes += w.total_bytes();
      s.nats += nats_of(model, w, batch_, length_, stop);
      if (stop && stop()) return {};
    }
    all.documents += s.documents, all.tokens += s.tokens, all.bytes += s.bytes, all.nats += s.nats;
    scores.push_back(s);
  }
  if (!scores.empty()) scores.push_back(all);
  return scores;
}

}  // namespace wellspring
