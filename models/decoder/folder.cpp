// Model folders: Hugging Face layout, both ways.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <unordered_map>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "models/decoder/folder_parts.h"
#include "models/decoder/model.h"
#include "tensor/host_copy.h"
#include "tensor/safetensors.h"

namespace wellspring {
namespace {

using Family = DecoderConfig::Family;

// Tensors that some writers add and that hold no weights.
bool is_buffer(const std::string& name) {
  return ends_with(name, ".rotary_emb.inv_freq") || ends_with(name, ".attn.bias") ||
         ends_with(name, ".attn.masked_bias");
}

// GPT-2's first files lack the prefix "transformer.".
std::string name_in(const SafetensorsFolder& files, const std::string& name) {
  static const std::string kPrefix = "transformer.";
  if (!files.contains(name) && starts_with(name, kPrefix) &&
      files.contains(name.substr(kPrefix.size())))
    return name.substr(kPrefix.size());
  return name;
}

Tensor converted(const Tensor& t, DType dtype, double factor) {
  if (t.dtype() == dtype && factor == 1) return t;
  Tensor out = Tensor::empty(t.shape(), dtype);
  if (factor == 1) {
    host_copy(out.view(), t.view());
    return out;
  }
  Tensor wide = Tensor::empty(t.shape());
  host_copy(wide.view(), t.view());
  float* v = wide.data_as<float>();
  for (int64_t i = 0; i < wide.numel(); ++i) v[i] = static_cast<float>(v[i] * factor);
  host_copy(out.view(), wide.view());
  return out;
}

// Where chats end is often said here alone.
void add_generation_ends(DecoderConfig& config, const std::string& folder) {
  const std::string place = join_path(folder, "generation_config.json");
  if (!exists(place)) return;
  const Json json = read_json(place);
  if (!json.is_object()) throw Error(Fault::data, str(place, ": expected a JSON object"));
  const Json ends = json.value("eos_token_id", Json());
  if (ends.is_null()) return;
  for (const Json& end : ends.is_array() ? ends : Json::array({ends})) {
    if (!end.is_number_integer() || end < 0 || end > INT32_MAX)
      throw Error(Fault::data, str(place, ": field 'eos_token_id' must be a token id or a list of such, not ",
                                   to_text(ends).substr(0, 80)));
    const auto id = end.get<int32_t>();
    if (std::find(config.eos.begin(), config.eos.end(), id) == config.eos.end()) config.eos.push_back(id);
  }
}

}  // namespace

void copy_companions(const std::string& from, const std::string& to) {
  if (from.empty()) return;
  for (const char* name :
       {"tokenizer.json", "tokenizer_config.json", "special_tokens_map.json",
        "generation_config.json", "chat_template.jinja", "vocab.json", "merges.txt"}) {
    std::string path = join_path(from, name);
    if (exists(path) && parent_path(path) != to)
      write_file_atomic(join_path(to, name), read_file(path));
  }
}

std::string find_model_folder(const std::string& path) {
  if (ends_with(path, ".gguf") && exists(path) && !is_directory(path)) return import_gguf(path);
  if (exists(join_path(path, "config.json"))) return path;
  std::string checkpoints = join_path(path, "checkpoints"), newest;
  int64_t best = -1;
  if (is_directory(checkpoints))
    for (const std::string& name : list_directory(checkpoints))
      if (starts_with(name, "step-"))
        if (auto step = parse_int(name.substr(5)); step && *step > best)
          best = *step, newest = name;
  if (best >= 0) return join_path(checkpoints, newest);
  const std::string inner = join_path(path, "run");  // where the demo leaves its run
  const bool holds_run = is_directory(join_path(inner, "checkpoints"));
  throw Error(Fault::io,
              str(path,
                  " is not a model folder (it must hold config.json and model.safetensors), nor a "
                  "run folder with checkpoints",
                  holds_run ? str(": did you mean ", inner, "?") : "; models are not downloaded"));
}

std::unique_ptr<Decoder> load_decoder(const std::string& folder, DType dtype, bool training) {
  if (!is_directory(folder))
    throw Error(
        Fault::io,
        str(folder, " is not a model folder (it must hold config.json and model.safetensors)"));
  auto model =
      std::make_unique<Decoder>(read_decoder_config(folder), dtype,
                                training ? Decoder::Use::training : Decoder::Use::inference);
  if (!packed_format(folder).empty()) {
    if (training)
      throw Error(Fault::usage, str(folder, " holds weights of few bits: training goes on from the plain ones"));
    load_quantized(*model, folder);
  } else {
    load_weights(*model, folder);
  }
  return model;
}

DecoderConfig read_decoder_config(const std::string& folder) {
  const std::string place = join_path(folder, "config.json");
  DecoderConfig config = DecoderConfig::from_json(read_json(place), place);
  add_generation_ends(config, folder);
  return config;
}

void load_weights(const Decoder& model, const std::string& folder) {
  const std::string place = join_path(folder, "config.json");
  const DecoderConfig& config = model.config();
  SafetensorsFolder files(folder);
  // Some writers store the head of a tied model again; others leave a tied head out without saying
  // so.
  if (!config.tied && config.family != Family::gpt2 && !files.contains("lm_head.weight"))
    throw Error(Fault::data,
                str(files.file_of("lm_head.weight"), ": no tensor 'lm_head.weight', but ", place,
                    " does not set tie_word_embeddings"));
  std::unordered_map<std::string, bool> used;
  for (Parameter* p : model.parameters()) {
    const Tensor& to = p->master.defined() ? p->master : p->compute;
    for (const ParameterPart& part : p->parts) {
      std::string name = name_in(files, part.name);
      merge_part(*p, part, files.tensor(name), to, files.file_of(name));
      used[name] = true;
    }
    refresh_compute(*p);
  }
  for (const std::string& name : files.names())
    if (!used.count(name) && !is_buffer(name) && !(config.tied && name == "lm_head.weight"))
      throw Error(Fault::data,
                  str(files.file_of(name), ": tensor '", name, "' is not part of a ",
                      wellspring::name_of(config.family), " model with this configuration"));
  files.check_unchanged();
}

void save_decoder(const Decoder& model, const std::string& folder, const SaveOptions& options) {
  DecoderConfig config = model.config();
  double embedding = 1, head = 1, query = 1;
  if (options.as_llama) {
    if (config.family != Family::teleflm)
      throw Error(Fault::usage, str("only Tele-FLM is exported as Llama; this is a ",
                                    wellspring::name_of(config.family), " model"));
    embedding = config.input_mult;
    head = config.logit_scale();
    if (config.attention_scale != 0)
      query = config.attention_scale * std::sqrt(static_cast<double>(config.head_width));
    if (embedding != 1 || head != 1) config.tied = false;
    config.family = Family::llama;
    config.input_mult = config.output_mult = config.mup_scale_factor = 1;
    config.attention_scale = 0;
    config.init = {};
  }
  make_directories(folder);
  TensorList list;
  for (const Parameter* p : model.parameters()) {
    const Tensor& value = p->master.defined() ? p->master : p->compute;
    for (auto& [name, piece] : split_parts(*p, value)) {
      double factor = name == "model.embed_tokens.weight" ? embedding
                      : name == "lm_head.weight"          ? head
                      : ends_with(name, ".q_proj.weight") ? query
                                                          : 1;
      list.emplace_back(name, converted(piece, options.dtype, factor));
      if (name == "model.embed_tokens.weight" && model.config().tied && !config.tied)
        list.emplace_back("lm_head.weight", converted(piece, options.dtype, head));
    }
  }
  Json json = config.to_json();
  json["torch_dtype"] = options.dtype == DType::bf16  ? "bfloat16"
                        : options.dtype == DType::f16 ? "float16"
                                                      : "float32";
  write_safetensors_sharded(folder, "model", list, options.shard_bytes, {{"format", "pt"}});
  write_file_atomic(join_path(folder, "config.json"), to_text(json, 2) + "\n");
  copy_companions(options.tokenizer_from, folder);
}

}  // namespace wellspring
