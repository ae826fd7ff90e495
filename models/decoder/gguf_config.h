#pragma once
// Settings of a GGUF file as config.json, and back. For the sources beside it.

#include <optional>
#include <string_view>
#include <vector>

#include "base/json_fwd.h"
#include "models/decoder/config.h"
#include "models/decoder/gguf_names.h"
#include "tensor/gguf.h"

namespace wellspring {

/// All but what the tensors tell (tied heads, biases). Error(Fault::data) naming file and key.
Json gguf_config(const Gguf& file, const GgufFamily& family);
/// The metadata of `config`. Error(Fault::usage) for what GGUF files of its family cannot say.
void set_gguf_config(GgufWriter& writer, const DecoderConfig& config, const GgufFamily& family);

/// By how much llama.cpp divides each pair's frequency (rope_freqs.weight): its form of Llama 3's
/// scaling.
std::vector<float> llama3_rope_factors(const RopeScaling& scaling, double theta,
                                       int64_t head_width);
/// A scaling that gives these factors; nullopt when none does. Files do not keep the settings
/// themselves, so ranges that make no difference may come out otherwise than they were.
std::optional<RopeScaling> llama3_rope_scaling(const std::vector<float>& factors, double theta);

}  // namespace wellspring
