#include "text/bpe_trainer.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "base/threads.h"

namespace wellspring {
namespace {

std::string golden_text() {  // the first row is what the golden tokenizers were trained on
  const std::string all = read_file("text/testdata/golden.jsonl");
  return parse_json(all.substr(0, all.find('\n')), "golden")["text"].get<std::string>();
}

Json model(const Tokenizer& t) { return parse_json(t.to_json(), "t")["model"]; }

TEST(BpeTrainer, SameMergesAsThePeer) {
  const std::string text = golden_text();
  for (auto [name, pattern, special] :
       {std::tuple{"gpt2", SplitPattern::gpt2, std::vector<std::string>{"<|endoftext|>"}},
        {"o200k", SplitPattern::o200k, {"<|endoftext|>"}},
        {"llama3", SplitPattern::llama3, {"<|begin_of_text|>", "<|end_of_text|>", "<|eot_id|>"}},
        {"qwen2", SplitPattern::qwen2, {"<|endoftext|>", "<|im_start|>", "<|im_end|>"}}}) {
    BpeTrainer trainer({.vocab_size = 420, .pattern = pattern, .special = special});
    const std::string_view document = text;
    trainer.add({&document, 1});
    const Tokenizer ours = trainer.train();
    const Tokenizer peer = Tokenizer::load(str("text/testdata/", name, ".json"));
    EXPECT_EQ(model(ours)["merges"], model(peer)["merges"]) << name;
    EXPECT_EQ(model(ours)["vocab"], model(peer)["vocab"]) << name;
  }
}

TEST(BpeTrainer, SameOnAnyNumberOfThreads) {
  std::vector<std::string> documents;
  const std::string text = golden_text();
  for (size_t i = 0; i < 3000; ++i) documents.push_back(text.substr(i % text.size(), 1 + i % 400));
  std::vector<std::string_view> views(documents.begin(), documents.end());
  const int before = threads();
  std::string first;
  for (int n : {1, 2, 5}) {
    set_threads(n);
    BpeTrainer trainer({.vocab_size = 700});
    trainer.add(std::span(views).first(views.size() / n));
    trainer.add(std::span(views).subspan(views.size() / n));
    const std::string json = trainer.train().to_json();
    if (first.empty()) first = json;
    EXPECT_EQ(json, first) << n << " threads";
  }
  set_threads(before);
}

// A long document is counted in parts; its pieces one by one are the definition.
TEST(BpeTrainer, LongDocuments) {
  const std::string some = golden_text();
  std::string text;
  for (size_t i = 0; text.size() < 1500000; ++i)
    text += str(some.substr(i % some.size(), 1 + i % 90),
                i % 3   ? "\n"
                : i % 2 ? " \n\n"
                        : "\n\u3000",
                i);
  for (const SplitPattern pattern :
       {SplitPattern::gpt2, SplitPattern::llama3, SplitPattern::o200k}) {
    BpeTrainer whole({.vocab_size = 600, .pattern = pattern}),
        pieces({.vocab_size = 600, .pattern = pattern});
    const std::string_view document = text;
    whole.add({&document, 1});
    std::vector<std::string_view> parts;
    const SplitFunction split = split_function(pattern);
    for (const char *p = text.data(), *end = p + text.size(); p < end;) {
      const char* stop = split(p, end);
      parts.emplace_back(p, static_cast<size_t>(stop - p));
      p = stop;
    }
    pieces.add(parts);
    EXPECT_EQ(whole.words(), pieces.words());
    EXPECT_EQ(whole.train().to_json(), pieces.train().to_json());
  }
}

TEST(BpeTrainer, RepeatedCharactersAndFewPairs) {
  BpeTrainer trainer({.vocab_size = 400});
  const std::string text = std::string(1000, 'a') + " " + std::string(77, 'b');
  const std::string_view document = text;
  trainer.add({&document, 1});
  const Tokenizer t = trainer.train();
  EXPECT_LT(t.vocab_size(), 400);  // there are no more pairs
  EXPECT_EQ(t.decode(t.encode(text)), text);
  EXPECT_LT(t.encode(text).size(), 12u);
}

TEST(BpeTrainer, BadOptions) {
  EXPECT_THROW(BpeTrainer({.vocab_size = 255}), Error);
  EXPECT_THROW(BpeTrainer({.vocab_size = 256, .special = {"<s>"}}), Error);
  EXPECT_THROW(BpeTrainer({.vocab_size = 300, .special = {"<s>", "<s>"}}), Error);
  EXPECT_THROW(BpeTrainer({.vocab_size = 300, .special = {""}}), Error);
}

}  // namespace
}  // namespace wellspring
