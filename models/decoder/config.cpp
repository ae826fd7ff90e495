#include "models/decoder/config.h"

#include "base/config.h"
#include "base/error.h"
#include "base/json.h"
#include "base/text.h"

namespace wellspring {

std::string name_of(DecoderConfig::Family family) {
  static constexpr const char* kNames[] = {"llama", "qwen2", "teleflm", "gpt2"};
  return kNames[static_cast<int>(family)];
}

int32_t DecoderConfig::end_of_text() const { return !eos.empty() ? eos[0] : bos >= 0 ? bos : 0; }

int64_t DecoderConfig::matmul_parameters() const {
  int64_t block = width * (heads + 2 * kv_heads) * head_width + heads * head_width * width +
                  width * ffn * (gelu ? 2 : 3);
  return layers * block + vocab * width;
}

int64_t DecoderConfig::parameters() const {
  int64_t qkv = (heads + 2 * kv_heads) * head_width;
  int64_t n = matmul_parameters() + (tied ? 0 : vocab * width);
  if (learned_positions) n += context * width;
  n += (2 * layers + 1) * width * (layer_norm ? 2 : 1);
  if (qkv_bias) n += layers * qkv;
  if (linear_bias) n += layers * (2 * width + (gelu ? 1 : 2) * ffn);
  return n;
}

void DecoderConfig::check(const std::string& where) const {
  auto fail = [&](const std::string& why) { throw Error(Fault::config, str(where, ": ", why)); };
  auto positive = [&](const char* name, int64_t v, int64_t most) {
    if (v < 1 || v > most) fail(str(name, " is ", v, "; expected 1 to ", most));
  };
  positive("vocab", vocab, int64_t{1} << 31);
  positive("width", width, 1 << 20);
  positive("layers", layers, 1 << 16);
  positive("heads", heads, 1 << 16);
  positive("kv_heads", kv_heads, heads);
  positive("head_width", head_width, 256);
  positive("ffn", ffn, 1 << 24);
  positive("context", context, 1 << 26);
  if (heads % kv_heads)
    fail(str("heads (", heads, ") must be a multiple of kv_heads (", kv_heads, ")"));
  if (!learned_positions && head_width % 2)
    fail(str("head_width ", head_width, " must be even for rotary positions"));
  if (!(norm_eps >= 0) || !(rope_theta > 0))
    fail("norm_eps must be at least 0 and rope_theta above 0");
  if (!(mup_scale_factor > 0)) fail("mup_scale_factor must be above 0");
  if (!(dropout >= 0 && dropout < 1)) fail(str("dropout is ", dropout, "; expected 0 to below 1"));
  if (init.mup && init.base_width < 1) fail("init.base_width must be given with init.mup");
  if (family != Family::teleflm && (input_mult != 1 || logit_scale() != 1))
    fail(str("input_mult, output_mult and mup_scale_factor belong to family teleflm, not ",
             name_of(family)));
}

DecoderConfig DecoderConfig::read(const Config& m) {
  DecoderConfig c;
  std::string family = m.choice("family", {"llama", "qwen2", "teleflm", "gpt2"}, "llama");
  c.family = family == "qwen2"     ? Family::qwen2
             : family == "teleflm" ? Family::teleflm
             : family == "gpt2"    ? Family::gpt2
                                   : Family::llama;
  const bool gpt2 = c.family == Family::gpt2;
  c.vocab = m.integer("vocab");
  c.width = m.integer("width");
  c.layers = m.integer("layers");
  c.heads = m.integer("heads", std::max<int64_t>(1, c.width / 64));
  c.kv_heads = m.integer("kv_heads", c.heads);
  if (!m.has("head_width") && (c.heads < 1 || c.width % c.heads))
    throw Error(Fault::config, str(m.place("heads"), ": width ", c.width,
                                   " is not a multiple of heads ", c.heads));
  c.head_width = m.integer("head_width", c.width / c.heads);
  c.ffn = m.integer("ffn", gpt2 ? 4 * c.width : (c.width * 8 / 3 + 31) / 32 * 32);
  c.context = m.integer("context", 2048);
  c.layer_norm = c.gelu = c.learned_positions = c.linear_bias = gpt2;
  c.qkv_bias = gpt2 || c.family == Family::qwen2;
  c.tied = m.boolean("tied", gpt2);
  c.norm_eps = m.number("norm_eps", 1e-5);
  if (!gpt2) c.rope_theta = m.number("rope_theta", 10000);
  c.dropout = m.number("dropout", 0);
  c.bos = static_cast<int32_t>(m.integer("bos", -1));
  if (int64_t eos = m.integer("eos", -1); eos >= 0) c.eos = {static_cast<int32_t>(eos)};
  Config init = m["init"];
  c.init.mup = init.boolean("mup", false);
  c.init.base_width = init.integer("base_width", c.width);
  c.init.vector_std = init.number("vector_std", 0.02);
  c.init.matrix_std = init.number("matrix_std", 0.02);
  c.init.matrix_lr = init.number("matrix_lr", 1);
  c.init.decay_embeddings = init.boolean("decay_embeddings", true);
  if (init.choice("attention", {"sqrt", "linear"}, "sqrt") == "linear")
    c.attention_scale = 8.0 / static_cast<double>(c.head_width);
  if (c.family == Family::teleflm) {
    c.input_mult = m.number("input_mult", 1);
    c.output_mult = m.number("output_mult", 1);
    c.mup_scale_factor = m.number(
        "mup_scale_factor",
        c.init.mup ? static_cast<double>(c.width) / static_cast<double>(c.init.base_width) : 1);
  } else if (c.init.mup) {
    throw Error(Fault::config, str(init.place("mup"),
                                   ": mu-P scales the logits, which only family teleflm can "
                                   "express; write family: teleflm (it can be exported as Llama)"));
  }
  c.check(m.place());
  return c;
}

}  // namespace wellspring
