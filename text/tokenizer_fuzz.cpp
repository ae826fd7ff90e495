// Any bytes as a tokenizer.json, then as text for it and for a whole tokenizer.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "text/bpe_trainer.h"
#include "text/tokenizer.h"

namespace {

using namespace wellspring;

void use(const Tokenizer& t, std::string_view text) {
  try {
    const auto ids = t.encode(text);
    StreamDecoder stream(t, false);
    std::string streamed;
    for (int32_t id : ids) streamed += stream.push(id);
    if (streamed + stream.finish() != t.decode(ids)) std::abort();
    Tokenizer::parse(t.to_json(), "saved");
  } catch (const Error& e) {
    if (e.fault() != Fault::data) std::abort();
  }
}

Tokenizer whole() {
  BpeTrainer trainer({.vocab_size = 300, .pattern = SplitPattern::llama3});
  std::string_view text = "the theme of them there, it's 123 泉水泉水";
  trainer.add({&text, 1});
  return trainer.train();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  static const Tokenizer kWhole = whole();
  if (kWhole.decode(kWhole.encode(input)) != input) std::abort();
  try {
    use(Tokenizer::parse(input, "input"), "a b <s> ▁x\xFF 12");
  } catch (const Error& e) {
    if (e.fault() != Fault::data) std::abort();
  }
  return 0;
}
