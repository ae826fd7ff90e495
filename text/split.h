#pragma once
// Pre-tokenisation: the known regular expressions as hand-written scanners.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace wellspring {

/// How text is cut into pieces before merging.
enum class SplitPattern : uint8_t {
  gpt2,    ///< GPT-2 (also tiktoken's r50k, p50k)
  llama3,  ///< Llama 3: contractions in any case, numbers by up to three digits
  qwen2,   ///< Qwen2: as llama3, numbers digit by digit
  cl100k,  ///< tiktoken's cl100k_base: as llama3, but white space at the end is one piece
  o200k    ///< tiktoken's o200k_base: cut where upper case begins
};

/// "gpt2", "llama3", ...; nullopt for unknown names.
std::optional<SplitPattern> split_pattern_named(std::string_view name);
std::string split_pattern_name(SplitPattern pattern);
/// The pattern that executes this regular expression; nullopt when it is not one of the known ones.
std::optional<SplitPattern> split_pattern_of_regex(std::string_view regex);
/// The regular expression as tokenizer.json files have it.
std::string split_regex(SplitPattern pattern);

/// End of the piece that begins at p (p < end). Every byte belongs to a piece; a byte that is not
/// valid UTF-8 counts as one character that is no letter, number or space.
using SplitFunction = const char* (*)(const char* p, const char* end);
SplitFunction split_function(SplitPattern pattern);

}  // namespace wellspring
