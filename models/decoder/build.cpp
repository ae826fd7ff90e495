// Parameters of a decoder: names, parts in files, initial values, learning rates.

#include <cmath>

#include "base/error.h"
#include "base/text.h"
#include "models/decoder/model.h"
#include "nn/init.h"

namespace wellspring {
namespace {

using Family = DecoderConfig::Family;

// Names in files under one block.
struct Names {
  std::string norm1, norm2, out, down;
  std::vector<std::string> qkv, up;
};

Names names_of(Family family, int64_t layer) {
  if (family == Family::gpt2) {
    std::string h = str("transformer.h.", layer, ".");
    return {h + "ln_1",       h + "ln_2",          h + "attn.c_proj",
            h + "mlp.c_proj", {h + "attn.c_attn"}, {h + "mlp.c_fc"}};
  }
  std::string h = str("model.layers.", layer, ".");
  return {h + "input_layernorm",
          h + "post_attention_layernorm",
          h + "self_attn.o_proj",
          h + "mlp.down_proj",
          {h + "self_attn.q_proj", h + "self_attn.k_proj", h + "self_attn.v_proj"},
          {h + "mlp.gate_proj", h + "mlp.up_proj"}};
}

// Parts of a fused parameter: names with `suffix`, rows each.
std::vector<ParameterPart> parts_of(const std::vector<std::string>& names, const char* suffix,
                                    const std::vector<int64_t>& rows, bool transposed) {
  std::vector<ParameterPart> parts;
  int64_t at = 0;
  for (size_t i = 0; i < names.size(); ++i) {
    parts.push_back({names[i] + suffix, at, rows[i], transposed});
    at += rows[i];
  }
  return parts;
}

}  // namespace

Decoder::Decoder(const DecoderConfig& config, DType dtype, uint64_t seed)
    : Decoder(config, dtype, Use::training) {
  initialise(seed);
}

Decoder::Decoder(const DecoderConfig& config, DType dtype, Use use)
    : config_(config), dtype_(dtype), use_(use) {
  if (dtype != DType::f32 && dtype != DType::bf16)
    throw Error(Fault::usage,
                str("a model computes in f32 or bf16, not ", wellspring::name_of(dtype)));
  config_.check("model");
  build();
}

Parameter Decoder::make_parameter(const std::string& name, const Shape& shape,
                                  std::vector<ParameterPart> parts) const {
  Parameter p;
  p.name = name;
  p.parts = std::move(parts);
  const DType wanted = shape.size() > 1 ? dtype_ : DType::f32;  // vectors stay f32
  const bool training = use_ == Use::training;
  if (training || wanted == DType::f32) p.master = Tensor::empty(shape);
  p.compute = wanted == DType::f32 ? p.master : Tensor::empty(shape, wanted);
  if (training) p.compute.set_requires_grad(true);
  p.decay = shape.size() > 1;
  return p;
}

void Decoder::build() {
  const DecoderConfig& c = config_;
  const bool gpt2 = c.family == Family::gpt2;
  const std::string top = gpt2 ? "transformer." : "model.";
  auto make = [&](Parameter& p, const std::string& name, const Shape& shape,
                  std::vector<ParameterPart> parts) {
    p = make_parameter(name, shape, std::move(parts));
    enlist(p);
  };
  auto table = [&](Parameter& p, const std::string& name, const std::string& file_name,
                   int64_t rows) {
    make(p, name, {rows, c.width}, {{file_name, 0, rows, false}});
    p.decay = c.init.decay_embeddings;
  };
  auto norm = [&](Norm& n, const std::string& name, const std::string& file_name) {
    n.layer = c.layer_norm;
    n.eps = c.norm_eps;
    make(n.weight, name + ".weight", {c.width}, {{file_name + ".weight", 0, c.width, false}});
    if (n.layer)
      make(n.bias, name + ".bias", {c.width}, {{file_name + ".bias", 0, c.width, false}});
  };
  // Hidden matrices: in mu-P the rate falls with the fan-in.
  auto linear = [&](Linear& l, const std::string& name, const std::vector<std::string>& file_names,
                    const std::vector<int64_t>& rows, int64_t columns, double base_columns,
                    bool bias) {
    int64_t n = 0;
    for (int64_t r : rows) n += r;
    make(l.weight, name + ".weight", {n, columns}, parts_of(file_names, ".weight", rows, gpt2));
    l.weight.lr_multiplier =
        c.init.matrix_lr * (c.init.mup ? base_columns / static_cast<double>(columns) : 1);
    l.has_bias = bias;
    if (bias) make(l.bias, name + ".bias", {n}, parts_of(file_names, ".bias", rows, false));
  };
  table(embed_.weight, "embedding.weight", top + (gpt2 ? "wte.weight" : "embed_tokens.weight"),
        c.vocab);
  if (c.learned_positions)
    table(positions_.weight, "positions.weight", top + "wpe.weight", c.context);
  // Every width scales with the model width: fan-in over base fan-in is one ratio for all matrices.
  const double shrink =
      c.init.mup ? static_cast<double>(c.init.base_width) / static_cast<double>(c.width) : 1;
  const int64_t q = c.heads * c.head_width, k = c.kv_heads * c.head_width;
  blocks_.resize(c.layers);
  for (int64_t i = 0; i < c.layers; ++i) {
    Block& b = blocks_[i];
    Names names = names_of(c.family, i);
    const std::string at = str("layers.", i, ".");
    norm(b.norm1, at + "norm1", names.norm1);
    linear(b.qkv, at + "qkv", names.qkv,
           gpt2 ? std::vector<int64_t>{q + 2 * k} : std::vector<int64_t>{q, k, k}, c.width,
           shrink * static_cast<double>(c.width), c.qkv_bias);
    linear(b.out, at + "out", {names.out}, {c.width}, q, shrink * static_cast<double>(q),
           c.linear_bias);
    norm(b.norm2, at + "norm2", names.norm2);
    linear(b.up, at + "up", names.up,
           c.gelu ? std::vector<int64_t>{c.ffn} : std::vector<int64_t>{c.ffn, c.ffn}, c.width,
           shrink * static_cast<double>(c.width), c.linear_bias);
    linear(b.down, at + "down", {names.down}, {c.width}, c.ffn, shrink * static_cast<double>(c.ffn),
           c.linear_bias);
  }
  norm(final_, "norm", top + (gpt2 ? "ln_f" : "norm"));
  if (!c.tied) table(head_.weight, "head.weight", "lm_head.weight", c.vocab);
  if (!c.learned_positions)
    table_ = rotary_table(c.context, c.head_width, c.rope_theta,
                          c.rope_scaling ? &*c.rope_scaling : nullptr);
}

void Decoder::move_to(Device device) {
  for (Parameter* p : parameters_) {
    const bool one = p->master.defined() && p->compute.same(p->master);
    const bool trained = p->compute.requires_grad();
    if (p->master.defined()) p->master = p->master.detach().to_device(device);
    p->compute = one ? p->master : p->compute.detach().to_device(device);
    if (trained) p->compute.set_requires_grad(true);
  }
  if (table_.cos.defined()) {
    table_.cos = table_.cos.to_device(device);
    table_.sin = table_.sin.to_device(device);
  }
}

void Decoder::initialise(uint64_t seed) {
  const Parametrisation& how = config_.init;
  const double ratio =
      how.mup ? static_cast<double>(how.base_width) / static_cast<double>(config_.width) : 1;
  const double matrix = how.matrix_std * std::sqrt(ratio);
  const double writer = matrix * (how.scale_residual && !how.mup
                                      ? 1 / std::sqrt(2.0 * static_cast<double>(config_.layers))
                                      : 1);
  auto ends = [](const std::string& s, const char* e) { return ends_with(s, e); };
  for (Parameter* p : parameters_) {
    const std::string& n = p->name;
    if (p->shape().size() == 1)
      init_constant(*p, ends(n, ".bias") ? 0 : 1);
    else if (n == "embedding.weight" || n == "positions.weight" || n == "head.weight")
      init_normal(*p, seed, how.vector_std);
    else
      init_normal(*p, seed, ends(n, ".out.weight") || ends(n, ".down.weight") ? writer : matrix);
  }
}

}  // namespace wellspring
