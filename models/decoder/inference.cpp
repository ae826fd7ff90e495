// Passes over rows of several sequences, and weights in fewer bits. N rows, D width, H heads, Hk key heads, W head
// width, V vocabulary.

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "models/decoder/adapter.h"
#include "models/decoder/model.h"
#include "nn/paged_cache.h"
#include "ops/index.h"
#include "ops/inference.h"
#include "ops/pointwise.h"
#include "ops/rotary.h"
#include "ops/scatter.h"
#include "ops/shape.h"
#include "tensor/autograd.h"

namespace wellspring {

namespace {

Tensor of(const std::vector<int32_t>& v, const Shape& shape) { return Tensor::from(std::span<const int32_t>(v), shape); }

// Some rows, rising, of x [N, D].
Tensor rows_of(const Tensor& x, const std::vector<int32_t>& rows) {
  const auto n = static_cast<int64_t>(rows.size());
  return n < x.size(0) ? index_select(x, 0, of(rows, {n})) : x;
}

}  // namespace

std::vector<Decoder::AdaptedRows> Decoder::adapted_rows(const DecodeBatch& b) const {
  if (b.adapters.empty()) return {};
  WS_CHECK(b.adapters.size() * 3 == b.segments.size(), "a batch has an adapter, or none, for each sequence");
  std::vector<std::pair<const Adapter*, std::vector<int32_t>>> rows;  // by first use
  for (size_t i = 0; i < b.adapters.size(); ++i) {
    const Adapter* a = b.adapters[i];
    if (!a) continue;
    WS_CHECK(static_cast<int64_t>(a->layers.size()) == config_.layers, "an adapter belongs to another model");
    auto it = std::find_if(rows.begin(), rows.end(), [&](const auto& r) { return r.first == a; });
    if (it == rows.end()) it = rows.insert(it, {a, {}});
    for (int32_t r = 0; r < b.segments[3 * i + 1]; ++r) it->second.push_back(b.segments[3 * i] + r);
  }
  std::vector<AdaptedRows> out;
  for (const auto& [adapter, list] : rows) out.push_back({adapter, of(list, {static_cast<int64_t>(list.size())})});
  return out;
}

// In f32, by products whose rows do not depend on one another (ops/matmul.h).
void Decoder::adapt(const Tensor& y, const Tensor& x, int64_t layer, BlockMatrix matrix, const std::vector<AdaptedRows>& adapted) {
  for (const AdaptedRows& a : adapted) {
    const Adapter::Change& c = a.adapter->change(layer, matrix);
    if (!c.defined() || !a.rows.numel()) continue;
    const Tensor from = view(x, {x.numel() / x.size(-1), x.size(-1)}), to = view(y, {y.numel() / y.size(-1), y.size(-1)});
    const Tensor share = linear_f32(linear_f32(index_select(from, 0, a.rows), c.a), c.b);
    index_copy_(to, 0, a.rows, wellspring::to(add(share, index_select(to, 0, a.rows)), y.dtype()));
  }
}

Tensor Decoder::step(const DecodeBatch& b, PagedCache& cache, Tensor* hidden) const {
  NoGrad no_grad;
  const int64_t N = static_cast<int64_t>(b.ids.size()), sequences = static_cast<int64_t>(b.segments.size()) / 3;
  if (N == 0) throw Error(Fault::usage, "no tokens to go on from");
  for (const int32_t p : b.positions)
    if (p < 0 || p >= config_.context)
      throw Error(Fault::usage, str("position ", p, " exceeds the model's context of ", config_.context));
  const Tensor ids = of(b.ids, {1, N}), positions = of(b.positions, {1, N}), slots = of(b.slots, {N});
  const Tensor tables = of(b.tables, {sequences, b.table_width}), segments = of(b.segments, {sequences, 3});
  const int64_t H = config_.heads, Hk = config_.kv_heads, W = config_.head_width;
  const std::vector<AdaptedRows> adapted = adapted_rows(b);
  const auto attend = [&](int64_t i, Tensor normed) {
    const Block& block = blocks_[static_cast<size_t>(i)];
    Tensor qkv = view(block.qkv(normed), {1, N, H + 2 * Hk, W});
    adapt(view(qkv, {1, N, (H + 2 * Hk) * W}), normed, i, BlockMatrix::qkv, adapted);
    normed = {};
    if (table_.cos.defined()) rotary_(qkv, table_.cos, table_.sin, positions, H + Hk);
    const Tensor rows = view(qkv, {N, H + 2 * Hk, W});
    const LayerPages& p = cache.layer(i);
    kv_put_(p.keys, p.values, p.key_scales, p.value_scales, narrow(rows, 1, H, Hk), narrow(rows, 1, H + Hk, Hk), slots);
    const Tensor mixed = view(attention_paged(narrow(rows, 1, 0, H), p.keys, p.values, p.key_scales, p.value_scales, tables,
                                              segments, config_.attention_scale), {1, N, H * W});
    Tensor out = block.out(mixed);
    adapt(out, mixed, i, BlockMatrix::out, adapted);
    return out;
  };
  Dropout none;
  const Tensor x = view(through_blocks(embedded(ids, positions), none, attend, adapted), {N, config_.width});
  if (hidden) *hidden = b.hidden.empty() ? Tensor() : to(rows_of(x, b.hidden), DType::f32);
  if (b.wanted.empty()) return {};
  Tensor out = linear_f32(rows_of(x, b.wanted), head());
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
                       const std::function<Tensor(const std::string&)>& feedback) {
  if (use_ != Use::inference) throw Error(Fault::usage, "only a model that was loaded for inference is quantised");
  if (quantized()) throw Error(Fault::usage, "the model is quantised already");
  for (auto& [p, w] : matrices()) {
    const bool table = w == &embed_.packed || w == &head_.packed;
    *w = wellspring::quantize(p->compute, table ? tables : format, p->name, feedback && !table ? feedback(p->name) : Tensor());
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
