#pragma once
// What a decoder looks like: read from a run file's `model:` map or a Hugging Face config.json.

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json_fwd.h"
#include "nn/module.h"

namespace wellspring {

class Config;

/// How weights are drawn and how learning rates follow the width (maximal update parametrisation,
/// Yang et al. 2022, as Tele-FLM, arXiv 2404.16645, uses it).
struct Parametrisation {
  bool mup = false;
  int64_t base_width = 0;      // width at which the rates and deviations below hold (mup)
  double vector_std = 0.02;    // embeddings, head, positions
  double matrix_std = 0.02;    // hidden matrices at base width; mup: times sqrt(base / fan in)
  bool scale_residual = true;  // standard: matrices that write the residual stream / sqrt(2 layers)
  double matrix_lr = 1;  // learning rate of hidden matrices over that of the rest, at base width
  bool decay_embeddings = true;  // whether weight decay touches embeddings and head
};

struct DecoderConfig {
  enum class Family { llama, qwen2, teleflm, gpt2 };
  Family family = Family::llama;
  int64_t vocab = 0, width = 0, layers = 0, heads = 0, kv_heads = 0, head_width = 0, ffn = 0;
  int64_t context = 2048;                      // most tokens of one sequence
  bool layer_norm = false;                     // else RMSNorm
  bool gelu = false;                           // GELU (tanh) of one projection, else SwiGLU
  bool learned_positions = false;              // else rotary
  bool qkv_bias = false, linear_bias = false;  // linear_bias: of all other projections
  bool tied = false;                           // head = embedding
  double norm_eps = 1e-5;
  double rope_theta = 10000;
  std::optional<RopeScaling> rope_scaling;
  double input_mult = 1;                         // of the embedding's output (Tele-FLM)
  double output_mult = 1, mup_scale_factor = 1;  // logits are times output_mult / mup_scale_factor
  double attention_scale = 0;                    // of q k; 0: 1 / sqrt(head_width)
  double dropout = 0;                            // in training, on embeddings and branches
  int32_t bos = -1;                              // -1: none
  std::vector<int32_t> eos;
  Parametrisation init;

  double logit_scale() const { return output_mult / mup_scale_factor; }
  /// Token that separates documents (the first eos, else bos, else 0): what a document is
  /// conditioned on.
  int32_t end_of_text() const;
  /// Weights that take part in matrix products (the head once, embeddings not).
  int64_t matmul_parameters() const;
  int64_t parameters() const;
  /// Error(Fault::config) naming `where` and the first field that cannot work.
  void check(const std::string& where) const;

  /// From the `model:` map of a run file: family, vocab, width, layers, heads, kv_heads,
  /// head_width, ffn, context, tied, norm_eps, rope_theta, input_mult, output_mult,
  /// mup_scale_factor, dropout, bos, eos and init: {mup, base_width, vector_std, matrix_std,
  /// matrix_lr, attention: sqrt|linear, decay_embeddings}.
  static DecoderConfig read(const Config& model);
  /// From config.json of a Llama, Qwen2, Tele-FLM or GPT-2 model. Error(Fault::data) naming `where`
  /// and the field that is missing, mistyped or not supported.
  static DecoderConfig from_json(const Json& json, const std::string& where);
  /// The config.json of this model; what Hugging Face does not know stands under "wellspring".
  Json to_json() const;
};

std::string name_of(DecoderConfig::Family family);

}  // namespace wellspring
