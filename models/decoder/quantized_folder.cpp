// Model folders with weights of 8 or 4 bits.

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "models/decoder/folder_parts.h"
#include "models/decoder/model.h"
#include "tensor/allocator.h"
#include "tensor/safetensors.h"

namespace wellspring {

bool is_quantized_config(const Json& config) {
  const auto it = config.find("quantization_config");
  return it != config.end() && it->is_object() && it->value("quant_method", "") == "wellspring";
}

std::string packed_format(const std::string& folder) {
  const Json config = read_json(join_path(folder, "config.json"));
  if (!is_quantized_config(config)) return "";
  const Json format = config["quantization_config"].value("format", Json());
  return format.is_string() ? format.get<std::string>() : "unknown";
}

void check_plain(const std::string& folder, const std::string& model, const std::string& asked, const std::string& but) {
  const std::string format = packed_format(folder);
  if (format.empty() || format == but) return;
  throw Error(Fault::usage, str("the weights of ", model, " are packed already (", format,
                                "), as in all GGUF files and in what `quantize` writes: for ", asked,
                                " give a Hugging Face or run folder"));
}

void load_quantized(Decoder& model, const std::string& folder) {
  const SafetensorsFolder files(folder);
  for (const MappedFile& file : files.mapped()) file.fetch();
  const std::string where = join_path(folder, "model.safetensors");
  const auto find = [&](const std::string& name) { return files.contains(name) ? files.tensor(name) : Tensor(); };
  model.take_packed([&](const std::string& name, int64_t rows, int64_t columns) {
    return from_tensors(name, rows, columns, find, where);
  });
  for (Parameter* p : model.parameters()) {
    if (!p->compute.defined()) continue;  // a matrix
    const Tensor t = find(p->name);
    if (!t.defined()) throw Error(Fault::data, str(where, ": no tensor '", p->name, "'"));
    if (t.dtype() != p->compute.dtype() || !(t.shape() == p->shape()))
      throw Error(Fault::data, str(where, ": tensor '", p->name, "' is ", t.text(), "; expected ", p->compute.text()));
    p->compute = t;  // in the mapped file, as the matrices
    p->master = {};
  }
  empty_cache(Device{});  // where plain weights would have stood: what comes next lies close together
  model.keep_files(files.mapped());
  model.check_files();
}

void save_quantized(const Decoder& model, const std::string& folder, const std::string& tokenizer_from) {
  if (!model.quantized()) throw Error(Fault::usage, "the model has plain weights: save_decoder writes those");
  make_directories(folder);
  TensorList list;
  size_t next = 0;
  for (const Parameter* p : model.parameters()) {
    if (p->compute.defined()) {
      list.emplace_back(p->name, p->compute);
      continue;
    }
    for (auto& tensor : to_tensors(p->name, *model.packed()[next].second)) list.push_back(std::move(tensor));
    ++next;
  }
  Json json = model.config().to_json();
  json["torch_dtype"] = model.dtype() == DType::bf16 ? "bfloat16" : "float32";
  json["quantization_config"] = {{"quant_method", "wellspring"}, {"version", 1},
                                 {"format", name_of(model.packed()[1].second->format)},
                                 {"tables", name_of(model.packed()[0].second->format)}};
  write_safetensors_sharded(folder, "model", list, 0, {{"format", "wellspring"}});
  write_file_atomic(join_path(folder, "config.json"), to_text(json, 2) + "\n");
  copy_companions(tokenizer_from, folder);
}

}  // namespace wellspring
