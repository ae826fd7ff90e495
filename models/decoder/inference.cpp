// Passes over rows of several sequences, and weights in fewer bits. N rows, D width, H heads, Hk key heads, W head
// width, V vocabulary.

#include "base/error.h"
#include "base/text.h"
#include "models/decoder/model.h"
#include "nn/paged_cache.h"
#include "ops/index.h"
#include "ops/inference.h"
#include "ops/pointwise.h"
#include "ops/rotary.h"
#include "ops/shape.h"
#include "tensor/autograd.h"

namespace wellspring {

Tensor Decoder::step(const DecodeBatch& b, PagedCache& cache) const {
  NoGrad no_grad;
  const int64_t N = static_cast<int64_t>(b.ids.size()), sequences = static_cast<int64_t>(b.segments.size()) / 3;
  if (N == 0) throw Error(Fault::usage, "no tokens to go on from");
  for (const int32_t p : b.positions)
    if (p < 0 || p >= config_.context)
      throw Error(Fault::usage, str("position ", p, " exceeds the model's context of ", config_.context));
  const auto of = [](const std::vector<int32_t>& v, const Shape& shape) { return Tensor::from(std::span<const int32_t>(v), shape); };
  const Tensor ids = of(b.ids, {1, N}), positions = of(b.positions, {1, N}), slots = of(b.slots, {N});
  const Tensor tables = of(b.tables, {sequences, b.table_width}), segments = of(b.segments, {sequences, 3});
  const int64_t H = config_.heads, Hk = config_.kv_heads, W = config_.head_width;
  Dropout none;
  Tensor x = through_blocks(embedded(ids, positions), none, [&](int64_t i, Tensor normed) {
    const Block& block = blocks_[static_cast<size_t>(i)];
    Tensor qkv = view(block.qkv(normed), {1, N, H + 2 * Hk, W});
    normed = {};
    if (table_.cos.defined()) rotary_(qkv, table_.cos, table_.sin, positions, H + Hk);
    const Tensor rows = view(qkv, {N, H + 2 * Hk, W});
    const LayerPages& p = cache.layer(i);
    kv_put_(p.keys, p.values, p.key_scales, p.value_scales, narrow(rows, 1, H, Hk), narrow(rows, 1, H + Hk, Hk), slots);
    const Tensor mixed = attention_paged(narrow(rows, 1, 0, H), p.keys, p.values, p.key_scales, p.value_scales, tables,
                                         segments, config_.attention_scale);
    return block.out(view(mixed, {1, N, H * W}));
  });
  if (b.wanted.empty()) return {};
  const int64_t wanted = static_cast<int64_t>(b.wanted.size());
  x = view(x, {N, config_.width});
  if (wanted < N) x = index_select(x, 0, of(b.wanted, {wanted}));
  Tensor out = linear_f32(x, head());
  see("logits", out);
  return config_.logit_scale() == 1 ? out : mul(out, config_.logit_scale());
}

std::vector<std::pair<Parameter*, Weight*>> Decoder::matrices() {
  std::vector<std::pair<Parameter*, Weight*>> out = {{&embed_.weight, &embed_.packed}};
  for (Block& b : blocks_)
    for (Linear* l : {&b.qkv, &b.out, &b.up, &b.down}) out.emplace_back(&l->weight, &l->packed);
  if (!config_.tied) out.emplace_back(&head_.weight, &head_.packed);
  return out;
}

void Decoder::quantize(WeightFormat format, WeightFormat tables,
                       const std::function<Tensor(const std::string&)>& importance) {
  if (use_ != Use::inference) throw Error(Fault::usage, "only a model that was loaded for inference is quantised");
  if (quantized()) throw Error(Fault::usage, "the model is quantised already");
  for (auto& [p, w] : matrices()) {
    const bool table = w == &embed_.packed || w == &head_.packed;
    *w = wellspring::quantize(p->compute, table ? tables : format, p->name, importance ? importance(p->name) : Tensor());
    p->master = p->compute = {};
    packed_.emplace_back(p->name, w);
  }
}

void Decoder::take_packed(const std::function<Weight(const std::string&, int64_t, int64_t)>& get) {
  WS_CHECK(use_ == Use::inference && !quantized(), "weights of fewer bits belong to a fresh model for inference");
  for (auto& [p, w] : matrices()) {
    *w = get(p->name, p->shape()[0], p->shape()[1]);
    p->master = p->compute = {};
    packed_.emplace_back(p->name, w);
  }
}

}  // namespace wellspring
