// Models from folders.

#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <optional>
#include <set>

#include "base/config.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "base/version.h"
#include "models/decoder/adapter.h"
#include "models/decoder/model.h"
#include "nn/paged_cache.h"
#include "nn/weight.h"
#include "serve/api_error.h"
#include "serve/model_text.h"
#include "serve/models.h"
#include "tensor/chip.h"
#include "text/tokenizer.h"

namespace wellspring {
namespace {

constexpr const char* kLookUp = "look-up";

struct FolderModel : LoadedModel {
  std::shared_ptr<const Decoder> decoder, draft;
  std::unique_ptr<ModelText> text;
  std::unique_ptr<Engine> engine;  // goes first
};

// What a plain folder's weights become: by themselves rows of bf16 side by side, which is faster;
// f32 stays.
std::optional<WeightFormat> format_of(const ModelSpec& spec) {
  if (!spec.weights.empty()) return parse_weight_format(spec.weights);
  if (spec.dtype == "bf16") return WeightFormat::bf16;
  return std::nullopt;
}
WeightFormat tables_of(WeightFormat format) {
  return format == WeightFormat::bf16 ? format : WeightFormat::q8;
}

void check(const ModelSpec& spec) {
  if (spec.dtype != "f32" && spec.dtype != "bf16")
    throw Error(Fault::usage, str("--dtype is '", spec.dtype, "'; expected f32 or bf16"));
  if (!spec.cache.empty() && spec.cache != "f32" && spec.cache != "bf16" && spec.cache != "i8")
    throw Error(Fault::usage, str("--cache is '", spec.cache, "'; expected f32, bf16 or i8"));
  if (spec.cache_gb < 0)
    throw Error(Fault::usage, str("--cache-gb is ", spec.cache_gb, "; expected 0 or more"));
  format_of(spec);
}

int64_t weight_bytes(const std::string& folder, const DecoderConfig& c, const ModelSpec& spec) {
  if (!packed_format(folder).empty()) {
    int64_t bytes = 0;
    for (const std::string& name : list_directory(folder))
      if (ends_with(name, ".safetensors")) bytes += file_size(join_path(folder, name));
    return bytes;
  }
  const auto tables = static_cast<double>(c.vocab * c.width * (c.tied ? 1 : 2)),
             all = static_cast<double>(c.parameters());
  const auto format = format_of(spec);
  const double bits =
      format ? (all - tables) * bits_of(*format) + tables * bits_of(tables_of(*format)) : all * 32;
  return static_cast<int64_t>(bits / 8);
}

int64_t weight_bytes(const Decoder& model) {
  int64_t bytes = 0;
  for (const Parameter* p : model.parameters())
    if (p->compute.defined())
      bytes += p->compute.numel() * static_cast<int64_t>(size_of(p->compute.dtype()));
  for (const auto& [name, weight] : model.packed()) bytes += weight->bytes();
  return bytes;
}

// With its cache's bytes set.
EngineOptions options_of(const ModelSpec& spec, const DecoderConfig& c, EngineOptions o,
                         int64_t memory) {
  const std::string dtype = spec.cache.empty() ? spec.dtype : spec.cache;
  o.cache = parse_dtype(dtype);
  const int64_t page = PagedCache(c.layers, c.kv_heads, c.head_width, 1, *o.cache).page_bytes();
  const int64_t whole = (c.context + PagedCache::kPage - 1) / PagedCache::kPage * page;
  if (memory <= 0) memory = int64_t{::sysconf(_SC_PHYS_PAGES)} * ::sysconf(_SC_PAGE_SIZE);
  o.cache_bytes = spec.cache_gb > 0 ? static_cast<int64_t>(spec.cache_gb * 1e9)
                                    : std::min(memory / 4, 64 * whole);
  o.cache_bytes = std::min(o.cache_bytes, o.sequences * whole);
  return o;
}

std::unique_ptr<Decoder> load_decoder(const ModelSpec& spec, const std::string& folder) {
  std::unique_ptr<Decoder> decoder = wellspring::load_decoder(folder, *parse_dtype(spec.dtype));
  if (const auto format = format_of(spec); format && !decoder->quantized())
    decoder->quantize(*format, tables_of(*format));
  return decoder;
}

// A small model that guesses for a large one.
std::shared_ptr<const Decoder> load_draft(const ModelSpec& spec, const Tokenizer& tokens) {
  const std::string folder = find_model_folder(spec.speculate);
  std::shared_ptr<const Decoder> draft = load_decoder(spec, folder);
  const Tokenizer own = Tokenizer::load(folder);
  bool same = own.vocab_size() == tokens.vocab_size();
  for (int32_t id = 0; same && id < own.vocab_size(); ++id) same = own.id_to_token(id) == tokens.id_to_token(id);
  if (!same)
    throw Error(Fault::config, str(folder, " has other tokens than ", tokens.source(), ": it cannot guess for it (--speculate)"));
  return draft;
}

// Refuses a folder in which somebody is writing: what he has not got to yet would be read as it was.
void check_still(const std::string& folder) {
  constexpr double kStill = 2;  // seconds
  for (const std::string& name : list_directory(folder)) {
    const std::string file = join_path(folder, name);
    if (ends_with(name, ".safetensors") && std::fabs(file_age(file)) < kStill)
      throw Error(Fault::try_again, str(file, " was written to a moment ago: it is read when it has been left alone for ",
                                        kStill, " s"));
  }
}

// Throws when a mapped file was changed; `changed` remembers it for the next load.
void check_files(const FolderModel& model, std::atomic<bool>& changed) {
  try {
    model.decoder->check_files();
    if (model.draft) model.draft->check_files();
  } catch (const Error& e) {
    changed = true;
    throw ApiError(503, "model_changed", str("model '", model.served.name, "' is loaded anew: ", e.what()), 2);
  }
}

std::shared_ptr<const LoadedModel> load(const ModelSpec& spec, const std::string& folder, EngineOptions options,
                                        const std::shared_ptr<std::atomic<bool>>& changed) {
  if (*changed) check_still(folder);
  *changed = false;
  auto model = std::make_shared<FolderModel>();
  // What is wrong with tokenizer or template shows before the weights are read.
  model->text = std::make_unique<ModelText>(folder, read_decoder_config(folder), spec.chat_template);
  std::unique_ptr<Decoder> decoder = load_decoder(spec, folder);
  model->bytes = weight_bytes(*decoder) + options.cache_bytes;
  model->decoder = std::move(decoder);
  for (const auto& [name, path] : spec.adapters) {
    model->adapters[name] = load_adapter(path, *model->decoder);
    model->bytes += model->adapters[name]->bytes();
  }
  options.look_up = spec.speculate == kLookUp;
  if (!spec.speculate.empty() && !options.look_up) {
    options.draft = model->draft = load_draft(spec, model->text->tokenizer());
    model->bytes += weight_bytes(*options.draft);
  }
  model->engine = make_engine(model->decoder, options);
  model->chat_format = model->text->chat_format();
  model->served = {spec.name, model->engine.get(), model->text.get(),
                   model->decoder->config().context, nullptr,
                   [m = model.get(), changed] { check_files(*m, *changed); }};
  model->served.fingerprint = fingerprint_of(*model->decoder, *options.cache);
  model->served.width = model->decoder->config().width;
#ifdef __GLIBC__
  ::malloc_trim(0);  // what reading the tokenizer took and gave back: megabytes, of a large vocabulary
#endif
  return model;
}

ModelSpec read_model(const Config& c, const ModelSpec& otherwise) {
  ModelSpec spec = otherwise;
  spec.path = c.text("path");
  spec.name = c.text("name", base_name(spec.path));
  spec.aliases = c.texts("aliases");
  spec.dtype = c.choice("dtype", {"f32", "bf16"}, otherwise.dtype);
  spec.weights = c.text("weights", otherwise.weights);
  spec.cache = c.text("cache", otherwise.cache);
  spec.chat_template = c.text("chat_template", otherwise.chat_template);
  spec.cache_gb = c.number("cache_gb", otherwise.cache_gb);
  spec.speculate = c.text("speculate", otherwise.speculate);
  const Config adapters = c["adapters"];
  for (const std::string& name : adapters.keys()) spec.adapters.emplace_back(name, adapters.text(name));
  try {
    check(spec);
  } catch (const Error& e) {
    throw Error(Fault::config, str(c.place(), ": ", e.what()));
  }
  return spec;
}

}  // namespace

std::string fingerprint_of(const Decoder& model, DType cache) {
  const Chip& cpu = chips()[0];
  std::set<std::string> formats;
  for (const auto& [name, weight] : model.packed()) formats.insert(name_of(weight->format));
  if (formats.empty()) formats.insert(std::string(name_of(model.dtype())));
  return str("ws-", version(), "-", cpu.kernel_set ? cpu.kernel_set() : cpu.name, "-", name_of(model.dtype()), "-",
             join({formats.begin(), formats.end()}, "+"), "-", name_of(cache));
}

std::vector<ModelSpec> read_models_file(const std::string& path, const ModelSpec& otherwise) {
  const Config c = Config::read(path);
  std::vector<ModelSpec> specs;
  for (const Config& item : c.items("models")) specs.push_back(read_model(item, otherwise));
  c.check_all_used();
  if (specs.empty())
    throw Error(
        Fault::config,
        str(path, ": no models: write `models:` and under it `- {name: NAME, path: FOLDER}`"));
  return specs;
}

ModelSource model_source(const ModelSpec& spec, const EngineOptions& engine, int64_t memory) {
  check(spec);
  const std::string folder = find_model_folder(spec.path);
  if (!ModelText::present(folder))
    throw Error(Fault::io, str(folder, " has no tokenizer.json: a server needs it"));
  if (!spec.weights.empty()) check_plain(folder, spec.path, "--weights " + spec.weights, spec.weights);
  const DecoderConfig config = read_decoder_config(folder);
  EngineOptions options = options_of(spec, config, engine, memory);
  int64_t draft = 0;
  if (!spec.speculate.empty() && spec.speculate != kLookUp) {
    const std::string small = find_model_folder(spec.speculate);
    const DecoderConfig c = read_decoder_config(small);
    draft = weight_bytes(small, c, spec);
    const EngineOptions own = options_of(spec, c, engine, memory);
    if (spec.cache_gb == 0) options.cache_bytes += own.cache_bytes * c.context / std::max(c.context, config.context);
  }
  std::vector<std::string> adapters;
  for (const auto& [name, path] : spec.adapters) {
    adapters.push_back(name);
    draft += file_size(join_path(path, "adapter_model.safetensors"));
  }
  return {spec.name, spec.aliases, weight_bytes(folder, config, spec) + draft + options.cache_bytes,
          config.context,
          [spec, folder, options, changed = std::make_shared<std::atomic<bool>>(false)] {
            return load(spec, folder, options, changed);
          },
          adapters};
}

}  // namespace wellspring
