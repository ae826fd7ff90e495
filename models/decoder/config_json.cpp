// config.json of Hugging Face's Llama, Qwen2 and GPT-2 and of Tele-FLM, both ways.

#include <cmath>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "models/decoder/config.h"
#include "models/decoder/folder_parts.h"

namespace wellspring {
namespace {

using Family = DecoderConfig::Family;

// Typed fields of one JSON object with errors that name file and field. null counts as absent.
class Fields {
 public:
  Fields(const Json& json, const std::string& where) : json_(json), where_(where) {
    if (!json.is_object()) throw Error(Fault::data, str(where, ": expected a JSON object"));
  }
  bool has(const char* key) const { return json_.contains(key) && !json_[key].is_null(); }
  int64_t integer(const char* key) const { return need(key), integer(key, 0); }
  int64_t integer(const char* key, int64_t otherwise) const {
    if (!has(key)) return otherwise;
    if (!json_[key].is_number_integer()) wrong(key, "an integer");
    return json_[key].get<int64_t>();
  }
  double number(const char* key, double otherwise) const {
    if (!has(key)) return otherwise;
    if (!json_[key].is_number()) wrong(key, "a number");
    return json_[key].get<double>();
  }
  bool boolean(const char* key, bool otherwise) const {
    if (!has(key)) return otherwise;
    if (!json_[key].is_boolean()) wrong(key, "true or false");
    return json_[key].get<bool>();
  }
  std::string text(const char* key, const std::string& otherwise) const {
    if (!has(key)) return otherwise;
    if (!json_[key].is_string()) wrong(key, "text");
    return json_[key].get<std::string>();
  }
  // Refuses a value that the decoder does not implement.
  void only(const char* key, const std::string& value, const std::vector<std::string>& good) const {
    for (const std::string& g : good)
      if (g == value) return;
    throw Error(Fault::data, str(where_, ": ", key, " '", value, "' is not supported (only ",
                                 join(good, ", "), ")"));
  }
  void refuse(const char* key, bool is) const {
    if (is)
      throw Error(Fault::data, str(where_, ": ", key, " = ", to_text(json_.value(key, Json())),
                                   " is not supported"));
  }
  Json raw(const char* key) const { return has(key) ? json_[key] : Json(); }
  const std::string& where() const { return where_; }

 private:
  void need(const char* key) const {
    if (!has(key)) throw Error(Fault::data, str(where_, ": field '", key, "' is missing"));
  }
  [[noreturn]] void wrong(const char* key, const char* expected) const {
    throw Error(Fault::data, str(where_, ": field '", key, "' must be ", expected, ", not ",
                                 to_text(json_[key]).substr(0, 80)));
  }
  const Json& json_;
  std::string where_;
};

void read_tokens(DecoderConfig& c, const Fields& f) {
  c.bos = static_cast<int32_t>(f.integer("bos_token_id", -1));
  Json eos = f.raw("eos_token_id");
  if (eos.is_number_integer()) c.eos = {eos.get<int32_t>()};
  if (eos.is_array())
    for (const Json& e : eos)
      if (e.is_number_integer()) c.eos.push_back(e.get<int32_t>());
}

// Older files have rope_theta and rope_scaling, newer ones both in rope_parameters.
void read_rope(DecoderConfig& c, const Fields& f) {
  Json rope = f.raw("rope_parameters");
  if (rope.is_null()) rope = f.raw("rope_scaling");
  c.rope_theta = f.number("rope_theta", 10000);
  if (rope.is_null()) return;
  Fields r(rope, str(f.where(), ": rope_parameters"));
  c.rope_theta = r.number("rope_theta", c.rope_theta);
  std::string type = r.text("rope_type", r.text("type", "default"));
  r.only("rope_type", type, {"default", "llama3"});
  if (type == "default") return;
  RopeScaling s;
  s.factor = r.number("factor", 8);
  s.low_frequency = r.number("low_freq_factor", 1);
  s.high_frequency = r.number("high_freq_factor", 4);
  s.original_context = r.integer("original_max_position_embeddings", 8192);
  if (!(s.factor > 0 && s.low_frequency > 0 && s.high_frequency > s.low_frequency &&
        s.original_context > 0))
    throw Error(Fault::data, str(r.where(), ": the llama3 factors do not fit together"));
  c.rope_scaling = s;
}

void read_llama(DecoderConfig& c, const Fields& f) {
  c.vocab = f.integer("vocab_size");
  c.width = f.integer("hidden_size");
  c.layers = f.integer("num_hidden_layers");
  c.heads = f.integer("num_attention_heads");
  c.kv_heads = f.integer("num_key_value_heads", c.heads);
  c.head_width = f.integer("head_dim", c.heads > 0 ? c.width / c.heads : 0);
  c.ffn = f.integer("intermediate_size");
  c.context = f.integer("max_position_embeddings", 2048);
  c.norm_eps = f.number("rms_norm_eps", 1e-6);
  c.tied = f.boolean("tie_word_embeddings", false);
  f.only("hidden_act", f.text("hidden_act", "silu"), {"silu", "swish"});
  c.dropout = f.number("hidden_dropout", 0);
  c.qkv_bias = c.family == Family::qwen2;
  f.refuse("attention_bias", c.family != Family::qwen2 && f.boolean("attention_bias", false));
  f.refuse("mlp_bias", f.boolean("mlp_bias", false));
  f.refuse("use_sliding_window", f.boolean("use_sliding_window", false));
  f.refuse("pretraining_tp", f.integer("pretraining_tp", 1) != 1);
  read_rope(c, f);
  if (c.family == Family::teleflm) {
    const bool mup = f.boolean("use_mup", true);
    c.input_mult = mup ? f.number("input_mult", 1) : 1;
    c.output_mult = mup ? f.number("output_mult", 1) : 1;
    c.mup_scale_factor = mup ? f.number("mup_scale_factor", 1) : 1;
  }
}

void read_gpt2(DecoderConfig& c, const Fields& f) {
  c.vocab = f.integer("vocab_size");
  c.width = f.integer("n_embd");
  c.layers = f.integer("n_layer");
  c.heads = c.kv_heads = f.integer("n_head");
  c.head_width = c.heads > 0 ? c.width / c.heads : 0;
  c.ffn = f.integer("n_inner", 4 * c.width);
  c.context = f.integer("n_positions", 1024);
  c.norm_eps = f.number("layer_norm_epsilon", 1e-5);
  c.tied = f.boolean("tie_word_embeddings", true);
  c.layer_norm = c.gelu = c.learned_positions = c.qkv_bias = c.linear_bias = true;
  f.only("activation_function", f.text("activation_function", "gelu_new"),
         {"gelu_new", "gelu_pytorch_tanh"});
  f.refuse("scale_attn_weights", !f.boolean("scale_attn_weights", true));
  f.refuse("scale_attn_by_inverse_layer_idx", f.boolean("scale_attn_by_inverse_layer_idx", false));
  f.refuse("add_cross_attention", f.boolean("add_cross_attention", false));
}

}  // namespace

DecoderConfig DecoderConfig::from_json(const Json& json, const std::string& where) {
  Fields f(json, where);
  DecoderConfig c;
  std::string type = f.text("model_type", "");
  f.only("model_type", type, {"llama", "qwen2", "gpt2", "TeleFLM", "teleflm"});
  c.family = type == "llama"   ? Family::llama
             : type == "qwen2" ? Family::qwen2
             : type == "gpt2"  ? Family::gpt2
                               : Family::teleflm;
  f.refuse("quantization_config", f.has("quantization_config") && !is_quantized_config(json));
  if (c.family == Family::gpt2)
    read_gpt2(c, f);
  else
    read_llama(c, f);
  if (c.heads < 1 || (!f.has("head_dim") && c.width % c.heads))
    throw Error(Fault::data, str(where, ": the width ", c.width,
                                 " is not a multiple of the number of heads ", c.heads));
  read_tokens(c, f);
  if (Json own = f.raw("wellspring"); !own.is_null()) {
    Fields w(own, str(where, ": wellspring"));
    c.attention_scale = w.number("attention_scale", 0);
    c.dropout = w.number("dropout", 0);
    c.init.mup = w.boolean("mup", false);
    c.init.base_width = w.integer("base_width", 0);
    c.init.vector_std = w.number("vector_std", 0.02);
    c.init.matrix_std = w.number("matrix_std", 0.02);
    c.init.matrix_lr = w.number("matrix_lr", 1);
    c.init.decay_embeddings = w.boolean("decay_embeddings", true);
  }
  try {
    c.check(where);
  } catch (const Error& e) {
    throw Error(Fault::data, e.what());
  }
  return c;
}

Json DecoderConfig::to_json() const {
  static constexpr const char* kClasses[] = {"LlamaForCausalLM", "Qwen2ForCausalLM",
                                             "TeleFLMForCausalLM", "GPT2LMHeadModel"};
  static constexpr const char* kTypes[] = {"llama", "qwen2", "TeleFLM", "gpt2"};
  const int kind = static_cast<int>(family);
  Json j = {{"architectures", {kClasses[kind]}}, {"model_type", kTypes[kind]}};
  j["vocab_size"] = vocab;
  if (family == Family::gpt2) {
    j.update({{"n_embd", width},
              {"n_layer", layers},
              {"n_head", heads},
              {"n_inner", ffn},
              {"n_positions", context},
              {"n_ctx", context},
              {"layer_norm_epsilon", norm_eps},
              {"activation_function", "gelu_new"},
              {"attn_pdrop", 0.0},
              {"embd_pdrop", dropout},
              {"resid_pdrop", dropout}});
  } else {
    j.update({{"hidden_size", width},
              {"num_hidden_layers", layers},
              {"num_attention_heads", heads},
              {"num_key_value_heads", kv_heads},
              {"head_dim", head_width},
              {"intermediate_size", ffn},
              {"max_position_embeddings", context},
              {"rms_norm_eps", norm_eps},
              {"hidden_act", "silu"},
              {"rope_theta", rope_theta}});
    if (family != Family::qwen2) j["attention_bias"] = false, j["mlp_bias"] = false;
    // Readers before transformers 5 take rope_theta and rope_scaling, later ones rope_parameters.
    Json rope = {{"rope_type", "default"}};
    if (rope_scaling) {
      rope = {{"rope_type", "llama3"},
              {"factor", rope_scaling->factor},
              {"low_freq_factor", rope_scaling->low_frequency},
              {"high_freq_factor", rope_scaling->high_frequency},
              {"original_max_position_embeddings", rope_scaling->original_context}};
      j["rope_scaling"] = rope;
    }
    rope["rope_theta"] = rope_theta;
    j["rope_parameters"] = rope;
    if (family == Family::teleflm)
      j.update({{"use_mup", true},
                {"input_mult", input_mult},
                {"output_mult", output_mult},
                {"mup_scale_factor", mup_scale_factor}});
  }
  j["tie_word_embeddings"] = tied;
  j["bos_token_id"] = bos >= 0 ? Json(bos) : Json();
  j["eos_token_id"] = eos.empty() ? Json() : eos.size() == 1 ? Json(eos[0]) : Json(eos);
  j["wellspring"] = {{"attention_scale", attention_scale},
                     {"dropout", dropout},
                     {"mup", init.mup},
                     {"base_width", init.base_width},
                     {"vector_std", init.vector_std},
                     {"matrix_std", init.matrix_std},
                     {"matrix_lr", init.matrix_lr},
                     {"decay_embeddings", init.decay_embeddings}};
  return j;
}

}  // namespace wellspring
