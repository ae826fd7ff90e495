#include "text/split.h"

#include <array>

#include "text/scan.h"

namespace wellspring {
namespace {

struct Known {
  SplitPattern pattern;
  const char* name;
  const char* regex;  // the form written into tokenizer.json
};

const std::array<Known, 5>& known() {
  static const std::array<Known, 5> kKnown = {{
      {SplitPattern::gpt2, "gpt2",
       R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)"},
      {SplitPattern::llama3, "llama3",
       R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
      {SplitPattern::qwen2, "qwen2",
       R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
      {SplitPattern::cl100k, "cl100k",
       R"('(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]|\s+(?!\S)|\s)"},
      {SplitPattern::o200k, "o200k",
       R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)"},
  }};
  return kKnown;
}

}  // namespace

std::optional<SplitPattern> split_pattern_named(std::string_view name) {
  for (const Known& k : known())
    if (k.name == name) return k.pattern;
  return std::nullopt;
}

std::string split_pattern_name(SplitPattern pattern) {
  return known()[static_cast<size_t>(pattern)].name;
}

std::string split_regex(SplitPattern pattern) {
  return known()[static_cast<size_t>(pattern)].regex;
}

std::optional<SplitPattern> split_pattern_of_regex(std::string_view regex) {
  for (const Known& k : known())
    if (k.regex == regex) return k.pattern;
  // Other spellings of the same language.
  if (regex ==
          R"('(?:[sdmt]|ll|ve|re)| ?\p{L}++| ?\p{N}++| ?[^\s\p{L}\p{N}]++|\s++$|\s+(?!\S)|\s)" ||
      regex == R"('(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)" ||
      regex == R"('s|'t|'re|'ve|'m|'ll|'d| ?[\p{L}]+| ?[\p{N}]+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)")
    return SplitPattern::gpt2;
  if (regex ==
      R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+)")
    return SplitPattern::llama3;
  return std::nullopt;
}

SplitFunction split_function(SplitPattern pattern) {
  switch (pattern) {
    case SplitPattern::gpt2:
      return [](const char* p, const char* e) { return scan::gpt2(p, e); };
    case SplitPattern::llama3:
      return [](const char* p, const char* e) { return scan::llama3<3, false>(p, e); };
    case SplitPattern::qwen2:
      return [](const char* p, const char* e) { return scan::llama3<1, false>(p, e); };
    case SplitPattern::cl100k:
      return [](const char* p, const char* e) { return scan::llama3<3, true>(p, e); };
    case SplitPattern::o200k:
      break;
  }
  return [](const char* p, const char* e) { return scan::o200k(p, e); };
}

}  // namespace wellspring
