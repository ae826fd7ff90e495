// Train a small model: train_small [FILE]. Its tokens are bytes; it learns FILE (or a rhyme) by
// heart and then writes what follows the first words.
#include <cstdio>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/random.h"
#include "nn/sampler.h"
#include "train/trainer.h"

using namespace wellspring;

constexpr int64_t kRows = 8, kLength = 32;

int main(int argc, char** argv) try {
  const std::string text = argc > 1 ? read_file(argv[1])
                                    : "Twinkle, twinkle, little star, how I wonder what you are! "
                                      "Up above the world so high, like a diamond in the sky.\n";
  if (text.size() <= kLength) throw Error(Fault::data, "the text is too short to learn from");
  DecoderConfig config;
  config.vocab = 256, config.width = 64, config.layers = 2, config.heads = config.kv_heads = 2;
  config.head_width = 32, config.ffn = 128, config.context = 128;
  Decoder model(config, DType::f32, /*seed=*/1);
  AdamW optimizer(model.parameters(), {});
  Random random(1);
  Tensor ids = Tensor::empty({kRows, kLength}, DType::i32),
         targets = Tensor::empty({kRows, kLength}, DType::i32);
  double loss = 0;
  for (int step = 0; step < 200; ++step) {
    for (int64_t row = 0; row < kRows; ++row) {
      const uint64_t begin = random.below(text.size() - kLength);
      for (int64_t t = 0; t < kLength; ++t) {
        ids.data_as<int32_t>()[row * kLength + t] = static_cast<uint8_t>(text[begin + t]);
        targets.data_as<int32_t>()[row * kLength + t] = static_cast<uint8_t>(text[begin + t + 1]);
      }
    }
    loss = gradients(model, ids, targets, /*micro_batch=*/kRows);
    clipped_step(optimizer, /*rate=*/3e-3, /*clip=*/1, optimizer.gradient_norm());
    if (step % 50 == 49) std::printf("step %d: %.3f nats a byte\n", step + 1, loss);
  }
  std::vector<int32_t> next;
  for (char c : text.substr(0, 10)) next.push_back(static_cast<uint8_t>(c));
  std::unique_ptr<KvCache> cache = model.make_cache();
  std::string written = text.substr(0, 10);
  while (cache->length() + static_cast<int64_t>(next.size()) < config.context) {
    Tensor input = Tensor::from(std::span<const int32_t>(next), {1, std::ssize(next)});
    const int32_t byte =
        sample(model.step(input, *cache).to_vector<float>(), {.temperature = 0}, 0);
    written += static_cast<char>(byte);
    next = {byte};
  }
  std::puts(written.c_str());
  return argc > 1 || loss < 1 ? 0 : 1;
} catch (const Error& e) {
  std::fprintf(stderr, "error: %s\n", e.what());
  return 1;
}
