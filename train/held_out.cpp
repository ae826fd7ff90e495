#include "train/held_out.h"

#include <algorithm>
#include <map>
#include <numbers>

#include "data/dataset.h"
#include "tensor/autograd.h"

namespace wellspring {
namespace {

// Nats of all targets of one set of windows.
double nats_of(const Decoder& model, EvalWindows& windows, int64_t batch, int64_t length,
               const std::function<bool()>& stop) {
  Tensor ids = Tensor::empty({batch, length}, DType::i32);
  Tensor targets = Tensor::empty({batch, length}, DType::i32);
  std::vector<int64_t> documents(static_cast<size_t>(batch));
  double nats = 0;
  windows.rewind();
  while (int64_t rows = windows.next(ids.data_as<int32_t>(), targets.data_as<int32_t>(), documents.data())) {
    const int32_t* t = targets.data_as<int32_t>();
    const int64_t places = rows * length;
    const auto scored = places - std::count(t, t + places, EvalWindows::kIgnore);
    Shape shape{rows, length};
    Tensor x = ids.as_strided(shape, contiguous_strides(shape), 0);
    Tensor y = targets.as_strided(shape, contiguous_strides(shape), 0);
    nats += model.loss(x, y).item() * static_cast<double>(scored);
    if (stop && stop()) break;
  }
  return nats;
}

}  // namespace

double HeldOutScore::bits_per_byte() const {
  return nats / std::numbers::ln2 / static_cast<double>(bytes);
}

HeldOut::HeldOut(const std::vector<MixPart>& parts, int64_t length, int64_t batch, int64_t most_tokens)
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
