#pragma once
// A GGUF file as a Hugging Face model: configuration, tokenizer and weights under Hugging Face's
// names, one at a time. Families: llama, qwen2, gpt2.

#include <memory>
#include <string>
#include <vector>

#include "base/json_fwd.h"
#include "models/decoder/gguf_names.h"
#include "tensor/gguf.h"
#include "tensor/tensor.h"

namespace wellspring {

/// Where a weight lies, for who converts blocks without decoding them.
struct GgufWeight {
  const GgufTensor* tensor = nullptr;
  GgufLayout layout = GgufLayout::plain;
  int64_t heads = 0;  ///< of a rotary layout
};

/// A copyable handle that keeps the files mapped; thread-safe.
class GgufModel {
 public:
  /// As config.json has it (DecoderConfig::from_json takes it, and says what it does not support).
  const Json& config() const;
  /// The text of a tokenizer.json; empty when the file has no tokenizer. Made anew at each call (a
  /// few hundred milliseconds for 10^5 tokens). Error(Fault::data) for a kind of tokenizer or
  /// pre-tokeniser that text/ does not have.
  std::string tokenizer_json() const;
  /// As tokenizer_config.json has it: bos_token, eos_token, chat_template.
  Json tokenizer_config() const;
  /// Empty when there is none.
  std::string chat_template() const;

  /// Hugging Face's names, in file order. The head of a tied model is not among them.
  const std::vector<std::string>& names() const;
  bool contains(const std::string& name) const;
  Shape shape(const std::string& name) const;
  /// Hugging Face's values as f32 or bf16, decoded on all threads; a view of the file where it
  /// holds just these. Error(Fault::data) when absent or of a type that is not supported,
  /// Error(Fault::usage) for other dtypes.
  Tensor tensor(const std::string& name, DType dtype = DType::f32) const;
  GgufWeight weight(const std::string& name) const;
  /// The file that holds a tensor (or would): for errors.
  const std::string& file_of(const std::string& name) const;
  /// The first file.
  const Gguf& file() const;

 private:
  friend GgufModel read_gguf_model(const std::string& path);
  friend GgufModel read_gguf_model(std::vector<Gguf> files);
  struct Content;
  std::shared_ptr<const Content> content_;
};

/// Opens a model; of one that is split (NAME-00001-of-0000N.gguf) the first file, and the others
/// beside it. Error(Fault::io) when unreadable; Error(Fault::data) naming file and key or tensor
/// when malformed, of another family, or incomplete.
GgufModel read_gguf_model(const std::string& path);
/// Of files that are open, the first with the metadata.
GgufModel read_gguf_model(std::vector<Gguf> files);
/// The files of a model of which `path` is the first, or the only one. Errors as read_gguf_model.
std::vector<std::string> gguf_files(const std::string& path);

}  // namespace wellspring
