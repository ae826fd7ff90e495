#include "models/decoder/model.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "models/decoder/adapter.h"
#include "ops/activation.h"
#include "ops/attention.h"
#include "ops/embedding.h"
#include "ops/loss.h"
#include "ops/pointwise.h"
#include "ops/rotary.h"
#include "ops/shape.h"
#include "tensor/autograd.h"

namespace wellspring {

void Decoder::see_input(int64_t layer, const char* matrix, const Tensor& value) const {
  if (hook_) hook_(str("layers.", layer, ".", matrix, ".input"), value);
}

void Decoder::check_ids(const Tensor& ids, int64_t before) const {
  if (ids.dims() != 2 || ids.dtype() != DType::i32)
    throw Error(Fault::usage, str("token ids must be i32 [batch, time], not ", ids.text()));
  if (before + ids.size(1) > config_.context)
    throw Error(Fault::usage, str("a sequence of ", before + ids.size(1),
                                  " tokens exceeds the model's context of ", config_.context));
}

Tensor Decoder::attend(const Block& block, Tensor normed, int64_t layer, KvCache* cache,
                       const Tensor& positions, const Tensor& lengths) const {
  const int64_t B = normed.size(0), T = normed.size(1);
  const int64_t H = config_.heads, Hk = config_.kv_heads, W = config_.head_width;
  see_input(layer, "qkv", normed);
  // Only the view stays, so that it may be rotated in place.
  Tensor qkv = view(block.qkv(normed), {B, T, H + 2 * Hk, W});
  normed = {};
  if (table_.cos.defined()) rotary_(qkv, table_.cos, table_.sin, positions, H + Hk);
  Tensor mixed;
  if (cache) {
    KvCache::Views held = cache->put(layer, narrow(qkv, 2, H, Hk), narrow(qkv, 2, H + Hk, Hk));
    mixed = attention_cached(narrow(qkv, 2, 0, H), held.keys, held.values, lengths, true,
                             config_.attention_scale);
  } else {
    mixed = attention_qkv(qkv, H, Hk, true, config_.attention_scale);
  }
  qkv = {};
  mixed = view(mixed, {B, T, H * W});
  see_input(layer, "out", mixed);
  return block.out(mixed);
}

Tensor Decoder::feed(const Block& block, Tensor normed, int64_t layer, const std::vector<AdaptedRows>& adapted) const {
  see_input(layer, "up", normed);
  Tensor active;
  if (config_.gelu || !adapted.empty()) {
    Tensor up = block.up(normed);
    adapt(up, normed, layer, BlockMatrix::up, adapted);
    normed = {};
    active = config_.gelu ? gelu(up, "tanh") : swiglu(up);
  } else {
    active = block.up.swiglu(std::move(normed));
  }
  see_input(layer, "down", active);
  Tensor down = block.down(active);
  adapt(down, active, layer, BlockMatrix::down, adapted);
  return down;
}

Tensor Decoder::embedded(const Tensor& ids, const Tensor& positions) const {
  Tensor residual = embed_(ids);
  if (config_.input_mult != 1) residual = mul(residual, config_.input_mult);
  if (config_.learned_positions) residual = add(residual, positions_(positions));
  return residual;
}

Tensor Decoder::through_blocks(Tensor residual, Dropout& drop,
                               const std::function<Tensor(int64_t, Tensor)>& attend,
                               const std::vector<AdaptedRows>& adapted) const {
  if (drop.active()) residual = drop(residual);
  see("embedding", residual);
  Tensor normed = blocks_[0].norm1(residual, dtype_);
  for (size_t i = 0; i < blocks_.size(); ++i) {
    const Block& block = blocks_[i];
    const Norm& next = i + 1 < blocks_.size() ? blocks_[i + 1].norm1 : final_;
    Tensor branch = attend(static_cast<int64_t>(i), std::move(normed));
    see(str("layers.", i, ".attention"), branch);
    if (drop.active()) branch = drop(branch);
    normed = block.norm2.add(residual, branch, dtype_);
    branch = {};
    branch = feed(block, std::move(normed), static_cast<int64_t>(i), adapted);
    see(str("layers.", i, ".mlp"), branch);
    if (drop.active()) branch = drop(branch);
    normed = next.add(residual, branch, dtype_);
  }
  see("final", normed);
  return normed;
}

Tensor Decoder::forward(const Tensor& given_ids, KvCache* cache, Dropout* dropout) const {
  const Tensor ids = given_ids.to_device(device());
  const int64_t B = ids.size(0), T = ids.size(1), before = cache ? cache->length() : 0;
  Dropout none;
  Tensor positions, lengths;
  if (cache || config_.learned_positions) {
    positions = Tensor::empty({B, T}, DType::i32);
    int32_t* p = positions.data_as<int32_t>();
    for (int64_t i = 0; i < B * T; ++i) p[i] = static_cast<int32_t>(before + i % T);
    positions = positions.to_device(device());
  }
  if (cache) {
    std::vector<int32_t> valid(B, static_cast<int32_t>(before + T));
    lengths = Tensor::from(std::span<const int32_t>(valid), {B}, device());
  }
  const Tensor normed = through_blocks(embedded(ids, positions), dropout ? *dropout : none, [&](int64_t i, Tensor x) {
    return attend(blocks_[static_cast<size_t>(i)], std::move(x), i, cache, positions, lengths);
  });
  if (cache) cache->advance(T);
  return normed;
}

Tensor Decoder::loss(const Tensor& ids, const Tensor& targets, double loss_scale,
                     Dropout* dropout) const {
  check_ids(ids, 0);
  if (!(targets.shape() == ids.shape()) || targets.dtype() != DType::i32)
    throw Error(Fault::usage, str("targets must be i32 of the shape of ids, not ", targets.text()));
  Tensor x = view(forward(ids, nullptr, dropout), {ids.numel(), config_.width});
  if (head().packed.defined()) {  // no gradient, so no need to save memory
    Tensor out = linear_f32(x, head());
    if (config_.logit_scale() != 1) out = mul(out, config_.logit_scale());
    return mul(cross_entropy(out, view(targets, {ids.numel()}).to_device(device())), loss_scale);
  }
  return linear_cross_entropy(x, head().weight.compute, view(targets, {ids.numel()}).to_device(device()),
                              config_.logit_scale(), loss_scale);
}

Tensor Decoder::logits(const Tensor& ids) const {
  NoGrad no_grad;
  check_ids(ids, 0);
  Tensor out = linear_f32(forward(ids, nullptr, nullptr), head());
  return config_.logit_scale() == 1 ? out : mul(out, config_.logit_scale());
}

Tensor Decoder::step(const Tensor& ids, KvCache& cache) const {
  NoGrad no_grad;
  check_ids(ids, cache.length());
  if (ids.numel() == 0) throw Error(Fault::usage, "no tokens to go on from");
  const int64_t B = ids.size(0), T = ids.size(1);
  Tensor x = contiguous(narrow(forward(ids, &cache, nullptr), 1, T - 1, 1));
  Tensor out = linear_f32(view(x, {B, config_.width}), head());
  see("logits", out);
  return config_.logit_scale() == 1 ? out : mul(out, config_.logit_scale());
}

std::unique_ptr<KvCache> Decoder::make_cache(int64_t batch) const {
  return make_contiguous_cache(config_.layers, batch, config_.kv_heads, config_.head_width,
                               config_.context, dtype_);
}

}  // namespace wellspring
