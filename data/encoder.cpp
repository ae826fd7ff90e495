#include "data/encoder.h"

#include "text/tokenizer.h"

namespace wellspring {

Encoder byte_encoder() {
  return {[](std::string_view s, std::vector<int32_t>& out) {
            out.reserve(out.size() + s.size());
            for (char c : s) out.push_back(static_cast<unsigned char>(c));
          },
          257, 256, hash128("bytes"), "bytes"};
}

Encoder load_encoder(const std::string& name) {
  if (name == "bytes") return byte_encoder();
  const Tokenizer tokenizer = Tokenizer::load(name);
  const int32_t eos = tokenizer.eos_id().value_or(-1);
  return {[tokenizer](std::string_view s, std::vector<int32_t>& out) {
            // A special token written in a document is text there.
            tokenizer.encode_to(s, out, {.add_special = false, .parse_special = false});
          },
          tokenizer.vocab_size(), eos, hash128(tokenizer.to_json()), tokenizer.source()};
}

}  // namespace wellspring
