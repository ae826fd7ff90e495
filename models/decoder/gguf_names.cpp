#include "models/decoder/gguf_names.h"

#include "base/text.h"

namespace wellspring {
namespace {

constexpr GgufNameRow kQwen2Names[] = {
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
    {"blk.{}.attn_norm", "model.layers.{}.input_layernorm"},
    {"blk.{}.attn_q", "model.layers.{}.self_attn.q_proj"},
    {"blk.{}.attn_k", "model.layers.{}.self_attn.k_proj"},
    {"blk.{}.attn_v", "model.layers.{}.self_attn.v_proj"},
    {"blk.{}.attn_output", "model.layers.{}.self_attn.o_proj"},
    {"blk.{}.ffn_norm", "model.layers.{}.post_attention_layernorm"},
    {"blk.{}.ffn_gate", "model.layers.{}.mlp.gate_proj"},
    {"blk.{}.ffn_up", "model.layers.{}.mlp.up_proj"},
    {"blk.{}.ffn_down", "model.layers.{}.mlp.down_proj"}};

// As qwen2, but for the rows of queries and keys.
constexpr GgufNameRow kLlamaNames[] = {
    {"token_embd", "model.embed_tokens"},
    {"output_norm", "model.norm"},
    {"output", "lm_head"},
    {"blk.{}.attn_norm", "model.layers.{}.input_layernorm"},
    {"blk.{}.attn_q", "model.layers.{}.self_attn.q_proj", GgufLayout::rotary},
    {"blk.{}.attn_k", "model.layers.{}.self_attn.k_proj", GgufLayout::rotary_kv},
    {"blk.{}.attn_v", "model.layers.{}.self_attn.v_proj"},
    {"blk.{}.attn_output", "model.layers.{}.self_attn.o_proj"},
    {"blk.{}.ffn_norm", "model.layers.{}.post_attention_layernorm"},
    {"blk.{}.ffn_gate", "model.layers.{}.mlp.gate_proj"},
    {"blk.{}.ffn_up", "model.layers.{}.mlp.up_proj"},
    {"blk.{}.ffn_down", "model.layers.{}.mlp.down_proj"}};

constexpr GgufNameRow kGpt2Names[] = {
    {"token_embd", "transformer.wte"},
    {"position_embd", "transformer.wpe"},
    {"output_norm", "transformer.ln_f"},
    {"output", "lm_head"},
    {"blk.{}.attn_norm", "transformer.h.{}.ln_1"},
    {"blk.{}.attn_qkv", "transformer.h.{}.attn.c_attn", GgufLayout::transposed},
    {"blk.{}.attn_output", "transformer.h.{}.attn.c_proj", GgufLayout::transposed},
    {"blk.{}.ffn_norm", "transformer.h.{}.ln_2"},
    {"blk.{}.ffn_up", "transformer.h.{}.mlp.c_fc", GgufLayout::transposed},
    {"blk.{}.ffn_down", "transformer.h.{}.mlp.c_proj", GgufLayout::transposed}};

constexpr GgufKeyRow kLlamaKeys[] = {
    {"context_length", "max_position_embeddings"},
    {"embedding_length", "hidden_size"},
    {"block_count", "num_hidden_layers"},
    {"feed_forward_length", "intermediate_size"},
    {"attention.head_count", "num_attention_heads"},
    {"attention.head_count_kv", "num_key_value_heads", GgufKeyRow::integer, false},
    {"attention.key_length", "head_dim", GgufKeyRow::integer, false},
    {"attention.layer_norm_rms_epsilon", "rms_norm_eps", GgufKeyRow::number},
    {"rope.freq_base", "rope_theta", GgufKeyRow::number, false}};

constexpr GgufKeyRow kGpt2Keys[] = {
    {"context_length", "n_positions"},
    {"embedding_length", "n_embd"},
    {"block_count", "n_layer"},
    {"feed_forward_length", "n_inner"},
    {"attention.head_count", "n_head"},
    {"attention.layer_norm_epsilon", "layer_norm_epsilon", GgufKeyRow::number}};

constexpr GgufFamily kFamilies[] = {
    {"llama", "llama", "LlamaForCausalLM", "llama-bpe", "model.", kLlamaNames, kLlamaKeys},
    {"qwen2", "qwen2", "Qwen2ForCausalLM", "qwen2", "model.", kQwen2Names, kLlamaKeys},
    {"gpt2", "gpt2", "GPT2LMHeadModel", "gpt-2", "transformer.", kGpt2Names, kGpt2Keys}};

// Fits a name to a stem with "{}"; the block's number must be written as numbers are.
std::optional<int64_t> match_stem(std::string_view stem, std::string_view name) {
  const size_t hole = stem.find("{}");
  if (hole == stem.npos) return stem == name ? std::optional<int64_t>(-1) : std::nullopt;
  const std::string_view before = stem.substr(0, hole), after = stem.substr(hole + 2);
  if (name.size() <= before.size() + after.size() || !starts_with(name, before) ||
      !ends_with(name, after))
    return std::nullopt;
  name.remove_prefix(before.size());
  name.remove_suffix(after.size());
  const auto block = parse_int(name);
  if (!block || *block < 0 || std::to_string(*block) != name) return std::nullopt;
  return block;
}

std::optional<GgufMatch> matched(const GgufFamily& family, std::string_view name, bool to_gguf) {
  const std::string_view ending = ends_with(name, ".weight") ? ".weight" : ".bias";
  if (!ends_with(name, ending)) return std::nullopt;
  name.remove_suffix(ending.size());
  for (const GgufNameRow& row : family.names) {
    const auto block = match_stem(to_gguf ? row.hugging_face : row.gguf, name);
    if (!block) continue;
    GgufMatch m{std::string(to_gguf ? row.gguf : row.hugging_face), row.layout, *block};
    if (*block >= 0) m.name.replace(m.name.find("{}"), 2, std::to_string(*block));
    m.name += ending;
    if (ending == ".bias" && m.layout == GgufLayout::transposed) m.layout = GgufLayout::plain;
    return m;
  }
  return std::nullopt;
}

}  // namespace

const GgufFamily* gguf_family(std::string_view architecture) {
  for (const GgufFamily& f : kFamilies)
    if (f.architecture == architecture) return &f;
  return nullptr;
}

std::optional<GgufMatch> hugging_face_name(const GgufFamily& family, std::string_view gguf) {
  return matched(family, gguf, false);
}

std::optional<GgufMatch> gguf_name(const GgufFamily& family, std::string_view hugging_face) {
  return matched(family, hugging_face, true);
}

int64_t rotary_row(int64_t row, int64_t rows, int64_t heads) {
  const int64_t width = rows / heads, in_head = row % width;
  return row - in_head + in_head % 2 * (width / 2) + in_head / 2;
}

}  // namespace wellspring
