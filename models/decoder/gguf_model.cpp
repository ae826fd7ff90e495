#include "models/decoder/gguf_model.h"

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <unordered_map>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "base/threads.h"
#include "models/decoder/gguf_config.h"
#include "models/decoder/gguf_tokenizer.h"

namespace wellspring {
namespace {

constexpr int64_t kTileValues = 1 << 16;
constexpr int64_t kMostParts = 10'000;

// Tensors that hold settings, which the configuration has.
bool is_setting(std::string_view name) {
  return name == "rope_freqs.weight" || ends_with(name, ".attn_rot_embd.weight");
}

struct GgufPlace {
  size_t file = 0;
  GgufWeight weight;
};

// Tiles of rows of the file, decoded and handed on: use(first row, rows, values).
template <class F>
void each_tile(const GgufTensor& t, F use) {
  const int64_t width = t.row_size(), rows = t.rows();
  if (!width || !rows) return;
  const int64_t tile = std::clamp<int64_t>(kTileValues / width, 1, rows);
  parallel_for((rows + tile - 1) / tile, [&](int64_t i) {
    const int64_t first = i * tile, count = std::min(tile, rows - first);
    std::vector<float> values(static_cast<size_t>(count * width));
    t.read_rows(first, count, values.data());
    use(first, count, values.data());
  });
}

void store_values(const float* from, int64_t n, float* to) {
  std::memcpy(to, from, static_cast<size_t>(n) * sizeof(float));
}
void store_values(const float* from, int64_t n, bf16_t* to) {
  for (int64_t i = 0; i < n; ++i) to[i] = to_bf16(from[i]);
}

// All of a weight in Hugging Face's layout.
template <class T>
void decode_weight(const GgufWeight& w, T* to) {
  const GgufTensor& t = *w.tensor;
  const int64_t width = t.row_size(), rows = t.rows();
  const bool rotary = w.layout == GgufLayout::rotary || w.layout == GgufLayout::rotary_kv;
  each_tile(t, [&](int64_t first, int64_t count, const float* values) {
    if (w.layout == GgufLayout::transposed) {
      for (int64_t c = 0; c < width; ++c)
        for (int64_t r = 0; r < count; ++r)
          store_values(values + r * width + c, 1, to + c * rows + first + r);
    } else if (rotary && t.shape.size() < 2) {
      for (int64_t c = 0; c < width; ++c)
        store_values(values + c, 1, to + rotary_row(c, width, w.heads));
    } else {
      for (int64_t r = 0; r < count; ++r)
        store_values(values + r * width, width,
                     to + (rotary ? rotary_row(first + r, rows, w.heads) : first + r) * width);
    }
  });
}

Shape shape_of(const GgufWeight& w) {
  std::vector<int64_t> shape = w.tensor->shape;
  if (w.layout == GgufLayout::transposed) std::swap(shape[0], shape[1]);
  return Shape(shape);
}

}  // namespace

struct GgufModel::Content {
  std::vector<Gguf> files;
  const GgufFamily* family = nullptr;
  Json config;
  std::vector<std::string> names;
  std::unordered_map<std::string, GgufPlace> places;

  void enlist(size_t file, const GgufTensor& t);
  void check_tensors();
  void finish_config();
  const GgufPlace& at(const std::string& name) const;
  const GgufTensor* find(const std::string& name) const;
};

const GgufTensor* GgufModel::Content::find(const std::string& name) const {
  auto found = places.find(name);
  return found == places.end() ? nullptr : found->second.weight.tensor;
}

void GgufModel::Content::enlist(size_t file, const GgufTensor& t) {
  if (is_setting(t.name)) return;
  const auto match = hugging_face_name(*family, t.name);
  const Gguf& from = files[file];
  if (!match) from.bad_tensor(t.name, str("not part of a ", family->architecture, " model"));
  GgufPlace place{file, {&t, match->layout, 0}};
  const bool rotary = match->layout == GgufLayout::rotary;
  if (rotary || match->layout == GgufLayout::rotary_kv) {
    const Json& heads = config[rotary ? "num_attention_heads" : "num_key_value_heads"];
    place.weight.heads = heads.get<int64_t>();
    const int64_t width = config["head_dim"].get<int64_t>();
    if (t.shape.empty() || t.shape[0] != place.weight.heads * width || width % 2)
      from.bad_tensor(t.name, str("it does not hold ", place.weight.heads, " heads of ", width));
  }
  if (match->layout == GgufLayout::transposed && t.shape.size() != 2)
    from.bad_tensor(t.name, "it is no matrix");
  if (!places.emplace(match->name, place).second)
    from.bad_tensor(t.name, "it stands in two files of the model");
  names.push_back(match->name);
}

// Each block must be there, and no other: so the number of blocks is no larger than the file.
void GgufModel::Content::check_tensors() {
  const Gguf& first = files[0];
  const int64_t blocks =
      config[family->architecture == "gpt2" ? "n_layer" : "num_hidden_layers"].get<int64_t>();
  std::vector<bool> seen(
      static_cast<size_t>(std::min<int64_t>(blocks, static_cast<int64_t>(places.size()) + 1)));
  for (const auto& [name, place] : places) {
    const GgufTensor& t = *place.weight.tensor;
    const int64_t block = hugging_face_name(*family, t.name)->block;
    if (block >= blocks)
      files[place.file].bad_tensor(t.name, str("the model has ", blocks, " blocks"));
    if (block >= 0 && block < static_cast<int64_t>(seen.size()))
      seen[static_cast<size_t>(block)] = true;
  }
  for (size_t i = 0; i < seen.size(); ++i)
    if (!seen[i])
      first.bad_value(str(family->architecture, ".block_count"),
                      str(blocks, ", but there are no tensors of block ", i));
}

void GgufModel::Content::finish_config() {
  const Gguf& first = files[0];
  const std::string embedding(family->names[0].hugging_face), embed = embedding + ".weight";
  const GgufTensor* table = find(embed);
  if (!table) first.bad_tensor("token_embd.weight", "it is missing");
  if (table->shape.size() != 2) first.bad_tensor(table->name, "it is no matrix");
  const int64_t vocab = table->shape[0];
  const std::string key = str(family->architecture, ".vocab_size");
  if (const auto said = first.integer(key); said && *said != vocab)
    first.bad_value(key, str(*said, ", but token_embd.weight has ", vocab, " rows"));
  config["vocab_size"] = vocab;
  const GgufTensor* head = find("lm_head.weight");
  // Some writers store_values the head of a tied model again.
  const bool tied = !head || (head->type == table->type && head->shape == table->shape &&
                              std::memcmp(head->data, table->data, head->bytes) == 0);
  if (tied && head) {
    places.erase("lm_head.weight");
    names.erase(std::find(names.begin(), names.end(), "lm_head.weight"));
  }
  config["tie_word_embeddings"] = tied;
  if (family->architecture == "llama") {
    config["attention_bias"] = find("model.layers.0.self_attn.q_proj.bias") != nullptr;
    config["mlp_bias"] = find("model.layers.0.mlp.up_proj.bias") != nullptr;
  }
}

const GgufPlace& GgufModel::Content::at(const std::string& name) const {
  auto found = places.find(name);
  if (found == places.end())
    throw Error(Fault::data, str(files[0].where(), ": no tensor for '", name, "'"));
  return found->second;
}

const Json& GgufModel::config() const { return content_->config; }
const std::vector<std::string>& GgufModel::names() const { return content_->names; }
bool GgufModel::contains(const std::string& name) const { return content_->find(name) != nullptr; }
Shape GgufModel::shape(const std::string& name) const { return shape_of(weight(name)); }
GgufWeight GgufModel::weight(const std::string& name) const { return content_->at(name).weight; }
const Gguf& GgufModel::file() const { return content_->files[0]; }

const std::string& GgufModel::file_of(const std::string& name) const {
  auto found = content_->places.find(name);
  return content_->files[found == content_->places.end() ? 0 : found->second.file].where();
}

std::string GgufModel::tokenizer_json() const {
  return gguf_tokenizer_json(file(), *content_->family);
}

Json GgufModel::tokenizer_config() const { return gguf_tokenizer_config(file()); }

std::string GgufModel::chat_template() const {
  return std::string(file().text("tokenizer.chat_template").value_or(""));
}

Tensor GgufModel::tensor(const std::string& name, DType dtype) const {
  if (dtype != DType::f32 && dtype != DType::bf16)
    throw Error(Fault::usage,
                str("weights of GGUF files come as f32 or bf16, not ", name_of(dtype)));
  const GgufPlace& place = content_->at(name);
  const GgufWeight& w = place.weight;
  const GgufTensor& t = *w.tensor;
  if (!t.type->decode)
    content_->files[place.file].bad_tensor(t.name,
                                           str("type ", t.type->name,
                                               " is not supported; "
                                               "convert the model to Q8_0, Q6_K, Q5_K or Q4_K"));
  const bool same = t.type->type == (dtype == DType::f32 ? GgufType::f32 : GgufType::bf16);
  if (same && w.layout == GgufLayout::plain &&
      reinterpret_cast<uintptr_t>(t.data) % size_of(dtype) == 0)
    return Tensor::wrap(const_cast<uint8_t*>(t.data), shape_of(w), dtype, content_);
  Tensor out = Tensor::empty(shape_of(w), dtype);
  if (dtype == DType::f32)
    decode_weight(w, out.data_as<float>());
  else
    decode_weight(w, out.data_as<bf16_t>());
  return out;
}

GgufModel read_gguf_model(std::vector<Gguf> files) {
  WS_CHECK(!files.empty(), "a model has a file");
  auto content = std::make_shared<GgufModel::Content>();
  content->files = std::move(files);
  const Gguf& first = content->files[0];
  const char* key = "general.architecture";
  const auto architecture = first.text(key);
  if (!architecture) first.bad_value(key, "it is missing: is this a model?");
  content->family = gguf_family(*architecture);
  if (!content->family)
    first.bad_value(key, str("'", utf8_repair(architecture->substr(0, 80)),
                             "' is not supported (only llama, qwen2, gpt2)"));
  content->config = gguf_config(first, *content->family);
  for (size_t i = 0; i < content->files.size(); ++i)
    for (const GgufTensor& t : content->files[i].tensors()) content->enlist(i, t);
  content->check_tensors();
  content->finish_config();
  GgufModel model;
  model.content_ = std::move(content);
  return model;
}

std::vector<std::string> gguf_files(const std::string& path) {
  const Gguf first(path);
  const char* key = "split.count";
  const int64_t parts = first.integer(key).value_or(1);
  if (parts < 0 || parts > kMostParts) first.bad_value(key, str(parts, " is out of range"));
  if (parts <= 1) return {path};
  const auto ending = [&](int64_t i) {
    char text[40];
    std::snprintf(text, sizeof text, "-%05d-of-%05d.gguf", static_cast<int>(i), static_cast<int>(parts));
    return std::string(text);
  };
  if (!ends_with(path, ending(1)))
    first.bad_value(key, str("one of ", parts, " files: open the first, NAME", ending(1)));
  const std::string stem = path.substr(0, path.size() - ending(1).size());
  std::vector<std::string> files;
  for (int64_t i = 1; i <= parts; ++i) files.push_back(stem + ending(i));
  return files;
}

GgufModel read_gguf_model(const std::string& path) {
  std::vector<Gguf> files;
  for (const std::string& file : gguf_files(path)) files.emplace_back(file);
  return read_gguf_model(std::move(files));
}

}  // namespace wellspring
