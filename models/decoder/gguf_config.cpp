#include "models/decoder/gguf_config.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"

namespace wellspring {
namespace {

// Settings that change what a model computes and that the decoder does not have.
constexpr std::string_view kRefusedKeys[] = {"expert_count",
                                             "attn_logit_softcapping",
                                             "final_logit_softcapping",
                                             "logit_scale",
                                             "residual_scale",
                                             "embedding_scale",
                                             "attention.scale",
                                             "attention.max_alibi_bias",
                                             "attention.clamp_kqv",
                                             "attention.output_scale",
                                             "nextn_predict_layers"};

std::string key_of(const GgufFamily& family, std::string_view key) {
  return str(family.architecture, ".", key);
}

// A number, or an array (one for each block) of equal ones.
std::optional<int64_t> common_integer(const Gguf& file, const std::string& key) {
  const GgufValue* v = file.value(key);
  if (!v || v->kind != GgufKind::array) return file.integer(key);
  const std::vector<int64_t> list = file.integers(key);
  if (list.empty()) file.bad_value(key, "an empty list");
  for (int64_t n : list)
    if (n != list[0]) file.bad_value(key, "blocks that differ are not supported");
  return list[0];
}

void read_ends(const Gguf& file, Json& config) {
  auto id = [&](const char* key) -> Json {
    const auto value = file.integer(key);
    if (value && (*value < 0 || *value > INT32_MAX)) return {};  // "none", as some writers put it
    return value ? Json(*value) : Json();
  };
  config["bos_token_id"] = id("tokenizer.ggml.bos_token_id");
  Json ends = Json::array();
  for (const char* key : {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                          "tokenizer.ggml.eom_token_id"}) {
    const Json end = id(key);
    if (!end.is_null() && std::find(ends.begin(), ends.end(), end) == ends.end())
      ends.push_back(end);
  }
  config["eos_token_id"] = ends.empty() ? Json() : ends.size() == 1 ? ends[0] : ends;
}

void read_rotary(const Gguf& file, const GgufFamily& family, Json& config) {
  const int64_t width = config["head_dim"].get<int64_t>();
  for (const char* name : {"attention.value_length", "rope.dimension_count"}) {
    const std::string key = key_of(family, name);
    const auto value = file.integer(key);
    if (value && *value != width)
      file.bad_value(key, str(*value, " differs from the width of heads, ", width,
                              ", which is not supported"));
  }
  const std::string window = key_of(family, "attention.sliding_window");
  if (const auto w = file.integer(window);
      w && *w > 0 && *w < config["max_position_embeddings"].get<int64_t>())
    file.bad_value(window, "sliding windows are not supported");
  const std::string scaling = key_of(family, "rope.scaling.type");
  const auto type = file.text(scaling);
  Json rope;
  if (type && *type != "none") {
    rope["rope_type"] = utf8_repair(*type);
    if (auto v = file.number(key_of(family, "rope.scaling.factor"))) rope["factor"] = *v;
    if (auto v = file.integer(key_of(family, "rope.scaling.original_context_length")))
      rope["original_max_position_embeddings"] = *v;
  } else if (const GgufTensor* freqs = file.find("rope_freqs.weight")) {
    if (freqs->numel() != width / 2 || freqs->shape.size() != 1)
      file.bad_tensor(freqs->name, str("its shape does not fit heads of width ", width));
    std::vector<float> factors(static_cast<size_t>(width / 2));
    freqs->read_rows(0, 1, factors.data());
    const auto s = llama3_rope_scaling(factors, config["rope_theta"].get<double>());
    if (!s)
      file.bad_tensor(freqs->name,
                      "its factors are not those of Llama 3's scaling, the only one "
                      "that is supported");
    if (s->factor != 1)
      rope = {{"rope_type", "llama3"},
              {"factor", s->factor},
              {"low_freq_factor", s->low_frequency},
              {"high_freq_factor", s->high_frequency},
              {"original_max_position_embeddings", s->original_context}};
  }
  if (!rope.is_null()) config["rope_scaling"] = rope;
}

double wave_of(double theta, size_t pair, size_t pairs) {
  constexpr double kPi = 3.14159265358979323846;
  return 2 * kPi * std::pow(theta, static_cast<double>(pair) / static_cast<double>(pairs));
}

bool gives(const RopeScaling& s, const std::vector<float>& factors, double theta) {
  const auto own = llama3_rope_factors(s, theta, static_cast<int64_t>(factors.size()) * 2);
  for (size_t i = 0; i < own.size(); ++i)
    if (!(std::fabs(own[i] - factors[i]) <= 1e-4 * own[i])) return false;
  return true;
}

}  // namespace

Json gguf_config(const Gguf& file, const GgufFamily& family) {
  Json config = {{"architectures", {family.model_class}}, {"model_type", family.model_type}};
  for (const GgufKeyRow& row : family.keys) {
    const std::string key = key_of(family, row.key);
    if (!file.contains(key)) {
      if (row.needed) throw Error(Fault::data, str(file.where(), ": key '", key, "' is missing"));
      continue;
    }
    if (row.type == GgufKeyRow::integer) {
      const int64_t value = *common_integer(file, key);
      if (value < 1 || value > int64_t{1} << 31)
        file.bad_value(key, str(value, " is out of range"));
      config[std::string(row.field)] = value;
    } else {
      const double value = *file.number(key);
      if (!(value > 0) || !std::isfinite(value))
        file.bad_value(key, "a positive number was expected");
      config[std::string(row.field)] = value;
    }
  }
  for (std::string_view name : kRefusedKeys) {
    const std::string key = key_of(family, name);
    if (const auto value = file.number(key); value && *value != 0 && *value != 1)
      file.bad_value(key, "this setting is not supported");
  }
  if (family.architecture != "gpt2") {
    const int64_t heads = config["num_attention_heads"].get<int64_t>();
    if (!config.contains("num_key_value_heads")) config["num_key_value_heads"] = heads;
    if (!config.contains("head_dim"))
      config["head_dim"] = std::max<int64_t>(1, config["hidden_size"].get<int64_t>() / heads);
    if (!config.contains("rope_theta")) config["rope_theta"] = 10000.0;
    config["hidden_act"] = "silu";
    read_rotary(file, family, config);
  } else {
    config["activation_function"] = "gelu_new";
  }
  read_ends(file, config);
  return config;
}

void set_gguf_config(GgufWriter& writer, const DecoderConfig& config, const GgufFamily& family) {
  const Json json = config.to_json();
  auto key = [&](std::string_view name) { return key_of(family, name); };
  for (const GgufKeyRow& row : family.keys) {
    const Json& value = json.at(std::string(row.field));
    if (row.type == GgufKeyRow::integer)
      writer.set_u32(key(row.key), value.get<uint32_t>());
    else
      writer.set_f32(key(row.key), value.get<float>());
  }
  writer.set_u32(key("vocab_size"), static_cast<uint32_t>(config.vocab));
  if (config.attention_scale != 0 || config.logit_scale() != 1 || config.input_mult != 1)
    throw Error(Fault::usage,
                "scales of attention, embeddings or logits cannot be written as "
                "GGUF; export the model as Llama first");
  if (!config.learned_positions) {
    writer.set_u32(key("attention.value_length"), static_cast<uint32_t>(config.head_width));
    writer.set_u32(key("rope.dimension_count"), static_cast<uint32_t>(config.head_width));
  }
  if (config.bos >= 0)
    writer.set_u32("tokenizer.ggml.bos_token_id", static_cast<uint32_t>(config.bos));
  constexpr const char* ends[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                  "tokenizer.ggml.eom_token_id"};
  for (size_t i = 0; i < std::min<size_t>(3, config.eos.size()); ++i)
    writer.set_u32(ends[i], static_cast<uint32_t>(config.eos[i]));
  if (config.eos.size() > std::size(ends))
    log_warning("gguf", "the model has ", config.eos.size(), " tokens that end an answer; GGUF files hold the first ",
                std::size(ends));
}

std::vector<float> llama3_rope_factors(const RopeScaling& scaling, double theta,
                                       int64_t head_width) {
  std::vector<float> factors(static_cast<size_t>(head_width / 2));
  const auto context = static_cast<double>(scaling.original_context);
  for (size_t i = 0; i < factors.size(); ++i) {
    const double turns = context / wave_of(theta, i, factors.size());
    const double smooth = std::clamp(
        (turns - scaling.low_frequency) / (scaling.high_frequency - scaling.low_frequency), 0.0,
        1.0);
    factors[i] = static_cast<float>(1 / ((1 - smooth) / scaling.factor + smooth));
  }
  return factors;
}

std::optional<RopeScaling> llama3_rope_scaling(const std::vector<float>& factors, double theta) {
  if (factors.empty()) return std::nullopt;
  const double whole = factors.back();
  if (!(whole >= 1) || !std::isfinite(whole)) return std::nullopt;
  RopeScaling s;
  s.factor = whole;
  // The published settings first, then others with the usual frequencies.
  for (int power : {13, 5, 6, 7, 8, 9, 10, 11, 12, 14, 15, 16, 17}) {
    s.original_context = int64_t{1} << power;
    if (gives(s, factors, theta)) return s;
  }
  // Else from two pairs in the transition: smooth = (context / wave - low) / (high - low), of
  // which one of the three numbers is free.
  std::vector<std::pair<double, double>> points;  // 1 / wave, smooth
  for (size_t i = 0; i < factors.size(); ++i) {
    const double smooth = (1 / static_cast<double>(factors[i]) - 1 / whole) / (1 - 1 / whole);
    if (smooth > 1e-4 && smooth < 1 - 1e-4)
      points.emplace_back(1 / wave_of(theta, i, factors.size()), smooth);
  }
  if (points.size() < 2) return std::nullopt;
  const auto [x0, y0] = points.front();
  const auto [x1, y1] = points.back();
  const double slope = (y1 - y0) / (x1 - x0), shift = slope * x0 - y0;
  if (!(shift > 0)) return std::nullopt;
  s.high_frequency = 1 + 1 / shift;
  const double context = slope * (s.high_frequency - 1);
  if (!(context >= 1 && context < 1e12)) return std::nullopt;
  s.original_context = std::llround(context);
  if (std::fabs(s.high_frequency - std::round(s.high_frequency)) < 1e-3)
    s.high_frequency = std::round(s.high_frequency);
  if (gives(s, factors, theta)) return s;
  return std::nullopt;
}

}  // namespace wellspring
