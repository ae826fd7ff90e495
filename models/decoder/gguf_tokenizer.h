#pragma once
// The tokenizer of a GGUF file as a tokenizer.json, and back. For the sources beside it.

#include <string>

#include "base/json_fwd.h"
#include "models/decoder/config.h"
#include "models/decoder/gguf_names.h"
#include "tensor/gguf.h"

namespace wellspring {

/// tokenizer.ggml.model "gpt2" (byte-level BPE with one of the known pre-tokenisers) and "llama"
/// (SentencePiece's BPE with scores, from which the merges are made); empty when there is none.
/// Error(Fault::data) naming file and key for others and for lists that do not fit together.
std::string gguf_tokenizer_json(const Gguf& file, const GgufFamily& family);

/// bos_token, eos_token and chat_template, where present.
Json gguf_tokenizer_config(const Gguf& file);

/// Writes a byte-level tokenizer.json; ids up to `config.vocab` that it does not use are marked
/// unused. llama.cpp knows pre-tokenisers by name and no normaliser, so NFC is lost on it (we read
/// it back for qwen2). Error(Fault::data) naming `where` for tokenizers that GGUF files cannot
/// hold.
void set_gguf_tokenizer(GgufWriter& writer, const std::string& json, const std::string& where,
                        const DecoderConfig& config);

}  // namespace wellspring
