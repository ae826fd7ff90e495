#pragma once
// How many bits a model needs for each byte of a text.

#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "models/decoder/model.h"
#include "text/tokenizer.h"

namespace wellspring {

struct BitsPerByteOptions {
  int64_t window = 0;    // tokens that the model sees at once; 0: its context
  int64_t overlap = -1;  // of them seen before and not scored again; -1: a quarter of the window
  int64_t batch = 0;     // windows at once; 0: about 4096 tokens
};

struct BitsPerByte {
  int64_t bytes = 0, tokens = 0;
  double nats = 0;
  bool exact = true;  // the tokens spell the bytes again
  double bits_per_byte() const;
  BitsPerByte& operator+=(const BitsPerByte& o);
};

/// Scores every token of `text` once: the first is predicted from the token that separates
/// documents, each later one from all before it in its window, of which at least `overlap` but the
/// text's beginning has fewer. Nothing is left out, whatever its length. `done` is told the tokens
/// scored so far. Error(Fault::usage) for options that cannot work, Error(Fault::data) when the
/// text is empty or the model has no such token.
BitsPerByte bits_per_byte(const Decoder& model, const Tokenizer& tokenizer, std::string_view text,
                          const BitsPerByteOptions& options = {},
                          const std::function<void(int64_t)>& done = {});

}  // namespace wellspring
