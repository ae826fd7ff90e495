#include "eval/bits_per_byte.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "base/text.h"
#include "nn/init.h"
#include "text/bpe_trainer.h"

namespace wellspring {
namespace {

Tokenizer small_tokenizer() {
  BpeTrainerOptions options;
  options.vocab_size = 300;
  options.special = {"<|endoftext|>"};
  BpeTrainer trainer(options);
  const std::string_view text = "the cat sat on the mat and the dog sat on the cat";
  trainer.add(std::span(&text, 1));
  return trainer.train();
}

DecoderConfig small_model(int64_t vocab) {
  DecoderConfig c;
  c.vocab = vocab, c.width = 32, c.layers = 1, c.heads = c.kv_heads = 1, c.head_width = 32;
  c.ffn = 64, c.context = 32;
  c.eos = {0};
  return c;
}

std::string long_text() {
  std::string text;
  for (int i = 0; i < 60; ++i) text += str("the cat ", i, " sat on the 垫子 <|endoftext|>\xff ");
  return text;
}

// A model that knows nothing needs log2(vocab) bits for each token, whatever the windows: every
// token counts once.
TEST(BitsPerByte, UniformModelCountsEveryTokenOnce) {
  const Tokenizer tokenizer = small_tokenizer();
  Decoder model(small_model(tokenizer.vocab_size()), DType::f32, 1);
  for (Parameter* p : model.parameters())
    if (p->name == "head.weight") init_constant(*p, 0);
  const std::string text = long_text();
  const double expected = std::log(static_cast<double>(tokenizer.vocab_size()));
  for (int64_t window : {7, 32})
    for (int64_t overlap : {0, 3, 6})
      for (int64_t batch : {1, 5}) {
        BitsPerByte r = bits_per_byte(model, tokenizer, text, {window, overlap, batch});
        EXPECT_EQ(r.bytes, static_cast<int64_t>(text.size()));
        EXPECT_EQ(r.tokens, static_cast<int64_t>(tokenizer.encode(text, {false, false}).size()));
        EXPECT_NEAR(r.nats, expected * static_cast<double>(r.tokens), 1e-4 * r.nats);
        EXPECT_TRUE(r.exact);
        EXPECT_NEAR(r.bits_per_byte(), r.nats / std::log(2.0) / static_cast<double>(r.bytes),
                    1e-12);
      }
}

// Windows of a model that sees everything at once, and token by token with all the context that
// fits.
TEST(BitsPerByte, WindowsAgreeWithOnePass) {
  const Tokenizer tokenizer = small_tokenizer();
  Decoder model(small_model(tokenizer.vocab_size()), DType::f32, 2);
  const std::string text = "the cat sat on the mat";
  const double once = bits_per_byte(model, tokenizer, text).nats;
  EXPECT_NEAR(bits_per_byte(model, tokenizer, text, {32, 31, 4}).nats, once, 1e-4);
  EXPECT_GT(std::fabs(bits_per_byte(model, tokenizer, text, {2, 0, 4}).nats - once), 1e-3);
}

TEST(BitsPerByte, RefusesWhatCannotWork) {
  const Tokenizer tokenizer = small_tokenizer();
  Decoder model(small_model(tokenizer.vocab_size()), DType::f32, 1),
      narrow(small_model(200), DType::f32, 1);
  EXPECT_THROW(bits_per_byte(model, tokenizer, ""), Error);
  EXPECT_THROW(bits_per_byte(model, tokenizer, "x", {64, 0, 1}), Error);
  EXPECT_THROW(bits_per_byte(model, tokenizer, "x", {32, 32, 1}), Error);
  EXPECT_THROW(bits_per_byte(narrow, tokenizer, "the cat sat on the mat"), Error);
}

}  // namespace
}  // namespace wellspring
