// wellspring export: write a model as a Hugging Face folder that other programs load.

#include <cstdio>

#include "base/args.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "models/decoder/gguf_export.h"
#include "models/decoder/model.h"

namespace wellspring {
namespace {

struct ExportOptions {
  std::string model, out, dtype = "f32", as = "same", type;
  int64_t shard_mb = 0;
};

void check_export(const ExportOptions& o) {
  const auto dtype = parse_dtype(o.dtype);
  if (dtype != DType::f32 && dtype != DType::bf16 && dtype != DType::f16)
    throw Error(Fault::usage, str("--dtype is '", o.dtype, "'; expected f32, bf16 or f16"));
  if (o.as != "same" && o.as != "llama")
    throw Error(Fault::usage, str("--as is '", o.as, "'; expected same or llama"));
  if (o.shard_mb < 0)
    throw Error(Fault::usage, str("--shard-mb is ", o.shard_mb, "; expected 0 (one file) or more"));
  if (exists(join_path(o.out, "config.json")))
    throw Error(Fault::usage, str(o.out, " already holds a model; give another --out"));
}

int export_as_gguf(const ExportOptions& o, const std::string& folder) {
  if (exists(o.out)) throw Error(Fault::usage, str(o.out, " is there already; give another --out"));
  const GgufTypeInfo* type = gguf_type_named(o.type.empty() ? "bf16" : o.type);
  if (!type || !type->encode) throw Error(Fault::usage, str("--type is '", o.type, "'; expected f32, bf16, f16, q8_0, q4_0 or q4_k"));
  export_gguf(folder, o.out, {.type = type->type, .name = base_name(o.model)});
  std::printf("%s: %s\n", o.out.c_str(), human_bytes(static_cast<double>(file_size(o.out))).c_str());
  return 0;
}

int export_model(const ExportOptions& o) {
  const std::string folder = find_model_folder(o.model);
  check_plain(folder, o.model, "export");
  if (ends_with(o.out, ".gguf")) return export_as_gguf(o, folder);
  check_export(o);
  const auto model = load_decoder(folder, DType::f32);
  SaveOptions save;
  save.dtype = *parse_dtype(o.dtype);
  save.shard_bytes = o.shard_mb << 20;
  save.as_llama = o.as == "llama";
  save.tokenizer_from = folder;
  save_decoder(*model, o.out, save);
  std::printf("%s: %s parameters in %s\n", o.out.c_str(),
              human_count(static_cast<double>(model->config().parameters())).c_str(),
              o.dtype.c_str());
  return 0;
}

}  // namespace
}  // namespace wellspring

extern "C" int wellspring_command_export(int argc, char** argv) {
  using namespace wellspring;
  ExportOptions o;
  Args args("wellspring export",
            "Write a model as a Hugging Face folder, or a GGUF file, that other programs load.");
  args.positional("MODEL", &o.model, "model folder, or run folder (its newest checkpoint)");
  args.option("--out", &o.out, "DIR", "folder to write (it must not hold a model yet), or NAME.gguf");
  args.option("--type", &o.type, "bf16|q8_0|q4_0|q4_k|f16|f32", "of the matrices of a GGUF file (bf16)");
  args.option("--dtype", &o.dtype, "f32|bf16|f16", "of the weights (f32)");
  args.option("--as", &o.as, "same|llama",
              "llama: a Tele-FLM model as plain Llama, its scalars folded into the weights (same)");
  args.option("--shard-mb", &o.shard_mb, "N", "most MiB of one file of weights (0: one file)");
  args.example("wellspring export runs/demo/run --out exported --dtype bf16");
  if (!args.parse(argc, argv)) return 0;
  if (o.out.empty()) throw Error(Fault::usage, "give the folder to write: --out DIR");
  return export_model(o);
}
