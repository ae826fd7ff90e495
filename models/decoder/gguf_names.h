#pragma once
// What llama.cpp and Hugging Face call the same things: tensors and settings of the families that
// models/decoder has. Data alone; gguf_model.h reads with it, gguf_export.h writes with it.

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>

namespace wellspring {

/// How a tensor of a GGUF file lies, seen from Hugging Face's.
enum class GgufLayout : uint8_t {
  plain,
  /// Rows of each query head interleaved: row 2 i + p of a head is Hugging Face's row
  /// p (head width / 2) + i, for rotary kernels that turn neighbours.
  rotary,
  rotary_kv,  ///< the same in key heads
  transposed  ///< [out, in] for Hugging Face's [in, out]; biases are plain
};

/// Stems of names ("{}" is the block's number); ".weight" or ".bias" follows both.
struct GgufNameRow {
  std::string_view gguf, hugging_face;
  GgufLayout layout = GgufLayout::plain;
};

/// A setting: its key after "ARCHITECTURE." and its field in config.json.
struct GgufKeyRow {
  std::string_view key, field;
  enum Type : uint8_t { integer, number } type = integer;
  bool needed = true;
};

struct GgufFamily {
  std::string_view architecture;   ///< general.architecture
  std::string_view model_type;     ///< of config.json
  std::string_view model_class;    ///< of config.json's `architectures`
  std::string_view pre_tokenizer;  ///< where tokenizer.ggml.pre is absent
  std::string_view top;            ///< before the names of all tensors but the head
  std::span<const GgufNameRow> names;
  std::span<const GgufKeyRow> keys;
};

/// By general.architecture ("llama", "qwen2", "gpt2") or, equal for these, by model_type; null for
/// others.
const GgufFamily* gguf_family(std::string_view architecture);

struct GgufMatch {
  std::string name;
  GgufLayout layout = GgufLayout::plain;
  int64_t block = -1;  ///< -1: of no block
};
/// From "blk.3.attn_q.weight" to "model.layers.3.self_attn.q_proj.weight"; nullopt when the family
/// has no such tensor.
std::optional<GgufMatch> hugging_face_name(const GgufFamily& family, std::string_view gguf);
/// And back; the layout is that of the GGUF file.
std::optional<GgufMatch> gguf_name(const GgufFamily& family, std::string_view hugging_face);

/// The row of Hugging Face's tensor for a row of the GGUF file: `row` of `rows` that belong to
/// `heads` heads with an even number of rows each.
int64_t rotary_row(int64_t row, int64_t rows, int64_t heads);

}  // namespace wellspring
