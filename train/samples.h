#pragma once
#include <string>
#include <vector>

#include "models/decoder/model.h"
#include "train/report.h"

namespace wellspring {

/// What the model writes behind each prompt: `tokens` tokens at temperature 0.7 and top-k 40, ended
/// by the token that separates documents. `tokenizer` is a folder. The same seed gives the same
/// text.
std::vector<Sample> write_samples(const Decoder& model, const std::string& tokenizer,
                                  const std::vector<std::string>& prompts, int64_t tokens,
                                  uint64_t seed);

}  // namespace wellspring
