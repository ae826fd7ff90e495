#pragma once
// What reading and writing model folders share.

#include <string>

#include "base/json_fwd.h"

namespace wellspring {

class Decoder;

/// Whether the weights are in our own layouts of 8 or 4 bits.
bool is_quantized_config(const Json& config);
/// Fills a fresh model for inference from such a folder; errors as load_decoder.
void load_quantized(Decoder& model, const std::string& folder);
/// The model folder of a GGUF file: converted at the first use into $WELLSPRING_CACHE (else the user's cache), by the
/// file's content; the cache is bounded by WELLSPRING_CACHE_GB (100).
std::string import_gguf(const std::string& path);
/// Copies the tokenizer's and generation's files of a model folder; "": none.
void copy_companions(const std::string& from, const std::string& to);

}  // namespace wellspring
