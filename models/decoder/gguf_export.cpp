#include "models/decoder/gguf_export.h"

#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "models/decoder/gguf_config.h"
#include "models/decoder/gguf_names.h"
#include "models/decoder/gguf_tokenizer.h"
#include "models/decoder/model.h"
#include "tensor/gguf.h"
#include "tensor/safetensors.h"

namespace wellspring {
namespace {

// llama.cpp's numbers of general.file_type.
uint32_t file_type(GgufType type) {
  switch (type) {
    case GgufType::f32:
      return 0;
    case GgufType::f16:
      return 1;
    case GgufType::q4_0:
      return 2;
    case GgufType::q8_0:
      return 7;
    case GgufType::q4_k:
      return 14;
    case GgufType::bf16:
      return 32;
    default:
      throw Error(Fault::usage, str("models are written as GGUF of type F32, F16, BF16, Q8_0, Q4_0 "
                                    "or Q4_K, not ",
                                    gguf_type_info(type).name));
  }
}

bool is_quantised(GgufType type) { return gguf_type_info(type).block > 1; }

GgufType gguf_type_for(const std::string& name, const std::vector<int64_t>& shape, GgufType wanted,
                       bool tied) {
  if (shape.size() < 2 || name == "position_embd.weight") return GgufType::f32;
  const bool head = name == (tied ? "token_embd.weight" : "output.weight");
  if (head && is_quantised(wanted)) wanted = GgufType::q8_0;
  const int64_t width = shape.back();
  if (width % gguf_type_info(wanted).block == 0) return wanted;
  return width % 32 == 0 ? GgufType::q8_0 : GgufType::f16;
}

// Element i of a host tensor's data, as f32.
float float_at(const Tensor& t, int64_t i) {
  switch (t.dtype()) {
    case DType::f32:
      return t.data_as<float>()[i];
    case DType::bf16:
      return to_float(t.data_as<bf16_t>()[i]);
    case DType::f16:
      return to_float(t.data_as<f16_t>()[i]);
    default:
      return static_cast<float>(t.data_as<double>()[i]);
  }
}

// Rows in the order of GGUF from a tensor in Hugging Face's.
GgufRows gguf_rows_of(const Tensor& t, GgufLayout layout, int64_t heads) {
  return [t, layout, heads](int64_t first, int64_t count, float* to) {
    const bool matrix = t.dims() > 1;
    const bool turned = layout == GgufLayout::transposed;
    const int64_t width = matrix ? t.size(turned ? 0 : 1) : t.numel();
    const int64_t rows = matrix ? t.size(turned ? 1 : 0) : 1;
    const bool rotary = layout == GgufLayout::rotary || layout == GgufLayout::rotary_kv;
    for (int64_t r = first; r < first + count; ++r, to += width) {
      for (int64_t c = 0; c < width; ++c) {
        int64_t at = turned ? c * rows + r : r * width + c;
        if (rotary)
          at = matrix ? rotary_row(r, rows, heads) * width + c : rotary_row(c, width, heads);
        to[c] = float_at(t, at);
      }
    }
  };
}

void add_weight(GgufWriter& writer, const GgufMatch& match, const Tensor& t,
                const DecoderConfig& config, GgufType wanted, const std::string& where) {
  std::vector<int64_t> shape(t.shape().begin(), t.shape().end());
  if (!is_float(t.dtype()))
    throw Error(Fault::data, str(where, ": tensor for '", match.name, "' is ", name_of(t.dtype()),
                                 ", not of floats"));
  if (match.layout == GgufLayout::transposed) {
    if (shape.size() != 2)
      throw Error(Fault::data, str(where, ": tensor for '", match.name, "' is no matrix"));
    std::swap(shape[0], shape[1]);
  }
  int64_t heads = 0;
  if (match.layout == GgufLayout::rotary) heads = config.heads;
  if (match.layout == GgufLayout::rotary_kv) heads = config.kv_heads;
  if (heads && (shape.empty() || shape[0] != heads * config.head_width || config.head_width % 2))
    throw Error(Fault::data,
                str(where, ": tensor for '", match.name, "' of shape ", t.shape().text(),
                    " does not hold ", heads, " heads of ", config.head_width));
  const GgufType type = gguf_type_for(match.name, shape, wanted, config.tied);
  writer.add(match.name, shape, type, gguf_rows_of(t, match.layout, heads));
}

// The default template of a tokenizer_config.json, or chat_template.jinja.
std::string chat_template_of(const std::string& folder) {
  const std::string file = join_path(folder, "chat_template.jinja");
  if (exists(file)) return read_file(file);
  const std::string config = join_path(folder, "tokenizer_config.json");
  if (!exists(config)) return {};
  const Json json = read_json(config);
  if (!json.is_object() || !json.contains("chat_template")) return {};
  const Json& value = json["chat_template"];
  if (value.is_string()) return value.get<std::string>();
  if (value.is_array())
    for (const Json& one : value)
      if (one.is_object() && one.value("name", "") == "default" && one.contains("template") &&
          one["template"].is_string())
        return one["template"].get<std::string>();
  return {};
}

bool holds_no_weights(const std::string& name) {
  return ends_with(name, ".rotary_emb.inv_freq") || ends_with(name, ".attn.bias") ||
         ends_with(name, ".attn.masked_bias");
}

}  // namespace

void export_gguf(const std::string& folder, const std::string& path,
                 const GgufExportOptions& options) {
  const DecoderConfig config = read_decoder_config(folder);
  const GgufFamily* family = gguf_family(name_of(config.family));
  if (!family)
    throw Error(Fault::usage, str(folder, ": llama.cpp has no family ", name_of(config.family),
                                  "; export the model as Llama first"));
  GgufWriter writer;
  writer.set_text("general.architecture", family->architecture);
  writer.set_text("general.type", "model");
  writer.set_text("general.name", options.name.empty() ? base_name(folder) : options.name);
  writer.set_u32("general.file_type", file_type(options.type));
  if (is_quantised(options.type)) writer.set_u32("general.quantization_version", 2);
  set_gguf_config(writer, config, *family);
  const std::string tokenizer = join_path(folder, "tokenizer.json");
  if (exists(tokenizer))
    set_gguf_tokenizer(writer, read_file(tokenizer), tokenizer, config);
  else
    writer.set_text("tokenizer.ggml.model", "none");
  if (const std::string chat = chat_template_of(folder); !chat.empty())
    writer.set_text("tokenizer.chat_template", chat);
  if (config.rope_scaling) {
    const auto factors =
        llama3_rope_factors(*config.rope_scaling, config.rope_theta, config.head_width);
    writer.add("rope_freqs.weight", {static_cast<int64_t>(factors.size())}, GgufType::f32,
               [factors](int64_t, int64_t, float* to) {
                 std::memcpy(to, factors.data(), factors.size() * sizeof(float));
               });
  }
  SafetensorsFolder files(folder);
  for (const std::string& name : files.names()) {
    if (holds_no_weights(name) || (config.tied && name == "lm_head.weight")) continue;
    auto match = gguf_name(*family, name);
    if (!match) match = gguf_name(*family, str(family->top, name));  // GPT-2's first files
    if (!match)
      throw Error(Fault::data, str(files.file_of(name), ": tensor '", name, "' is not part of a ",
                                   family->architecture, " model"));
    add_weight(writer, *match, files.tensor(name), config, options.type, files.file_of(name));
  }
  writer.write(path);
}

}  // namespace wellspring
