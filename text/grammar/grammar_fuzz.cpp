// Any bytes as a schema, a regular expression or a grammar; when it compiles, the rest drives it:
// what the mask allows is what accept() takes.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <string_view>
#include <vector>

#include "base/error.h"
#include "text/grammar/grammar.h"

namespace {

using namespace wellspring;

GrammarVocabulary tokens() {
  std::vector<std::string> all;
  for (int i = 0; i < 256; ++i) all.emplace_back(1, static_cast<char>(i));
  for (const char* t :
       {"{\"", "\":", "}]", "[[", "ab", "\xE6\xB3", "12", "aaaaaaaaaaaaaaaaaaaa", "<end>"})
    all.emplace_back(t);
  const std::vector<int32_t> end{static_cast<int32_t>(all.size()) - 1};
  return GrammarVocabulary(all, end);
}

void drive(const Grammar& g, std::string_view choices) {
  static const GrammarVocabulary kTokens = tokens();
  GrammarMatcher m(g, kTokens);
  std::vector<uint64_t> bits;
  for (const char c : choices.substr(0, 60)) {
    if (!m.mask(bits)) {
      if (m.ended()) return;
      std::abort();  // every byte has a token, so something must be able to follow
    }
    int32_t id = static_cast<unsigned char>(c) % kTokens.size();
    for (int32_t i = 0; i < kTokens.size(); ++i) {
      const bool allowed = bits[static_cast<size_t>(id) >> 6] >> (id & 63) & 1;
      GrammarMatcher copy = m;
      if (copy.accept(id) != allowed) std::abort();
      if (allowed) break;
      id = (id + 1) % kTokens.size();
    }
    if (!m.accept(id)) std::abort();
    if (c & 1) {
      m.rollback(1);
      if (!m.accept(id)) std::abort();
    }
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size < 2) return 0;
  const std::string_view all(reinterpret_cast<const char*>(data + 1), size - 1);
  const std::string_view text = all.substr(0, all.rfind('\0'));
  try {
    switch (data[0] % 3) {
      case 0:
        drive(grammar_from_json_schema(text), all);
        break;
      case 1:
        drive(grammar_from_regex(text), all);
        break;
      default:
        drive(grammar_from_gbnf(text), all);
    }
  } catch (const Error& e) {
    if (e.fault() != Fault::data) std::abort();
  }
  return 0;
}
