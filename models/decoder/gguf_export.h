#pragma once
// A Hugging Face folder as a GGUF file that llama.cpp and the Python package `gguf` read.

#include <string>

#include "tensor/gguf_types.h"

namespace wellspring {

struct GgufExportOptions {
  /// Of matrices: f32, f16, bf16, q8_0, q4_0 or q4_k. Vectors and position embeddings stay f32.
  /// With the 4-bit types the head (or the embedding that a tied head is) is q8_0, and so is, with
  /// q4_k, a matrix whose rows are no multiple of 256; where rows are no multiple of 32, f16.
  GgufType type = GgufType::f16;
  std::string name = {};  ///< general.name; empty: the folder's
};

/// Reads `folder` (config.json, weights, tokenizer.json and chat template where present) and writes
/// `path`, atomically, a few rows at a time. Families llama, qwen2 and gpt2. Errors as of
/// DecoderConfig, SafetensorsFolder and GgufWriter, each naming the file; Error(Fault::usage) for a
/// family or setting that GGUF has not.
void export_gguf(const std::string& folder, const std::string& path,
                 const GgufExportOptions& options = {});

}  // namespace wellspring
