// Training steps for bench/train.py, which talks to it line by line:
//   save FOLDER                         random weights as a model folder (the peer starts from the
//   same) step                                one step on the next batch: "LOSS SECONDS
//   SECONDS_OF_THE_UPDATE" flops | gemm | memory               operations a token; operations a
//   second of a GEMM; peak bytes of tensors
// Arguments: MODEL (gpt2 or llama) DTYPE BATCH LENGTH. Batches are functions of their number, as in
// train.py.

#include <cstdio>
#include <iostream>
#include <string>

#include "base/error.h"
#include "base/text.h"
#include "base/time.h"
#include "tensor/allocator.h"
#include "train/speed.h"
#include "train/trainer.h"

namespace wellspring {
namespace {

DecoderConfig shape(const std::string& name) {
  DecoderConfig c;
  if (name == "gpt2") {
    c.family = DecoderConfig::Family::gpt2;
    c.vocab = 50257, c.width = 768, c.layers = 12, c.heads = c.kv_heads = 12, c.head_width = 64,
    c.ffn = 3072;
    c.context = 1024;
    c.layer_norm = c.gelu = c.learned_positions = c.linear_bias = c.qkv_bias = c.tied = true;
  } else {
    c.vocab = 16384, c.width = 512, c.layers = 8, c.heads = c.kv_heads = 8, c.head_width = 64,
    c.ffn = 1376;
    c.context = 512;
    c.tied = true;
  }
  return c;
}

// Token i of batch n: a hash, skewed towards low ids as words are. The same in train.py.
void fill(Tensor& ids, Tensor& targets, int64_t n, int64_t vocab) {
  const int64_t rows = ids.size(0), length = ids.size(1);
  for (int64_t r = 0; r < rows; ++r)
    for (int64_t t = 0; t <= length; ++t) {
      uint64_t h = static_cast<uint64_t>((n * rows + r) * (length + 1) + t) * 0x9E3779B97F4A7C15ull;
      h ^= h >> 29;
      const uint64_t a =
          (h & 0xffff) * (h >> 16 & 0xffff) >> 16;  // 0 .. 65534, low ones more often
      const auto token = static_cast<int32_t>(a * static_cast<uint64_t>(vocab) >> 16);
      if (t < length) ids.data_as<int32_t>()[r * length + t] = token;
      if (t > 0) targets.data_as<int32_t>()[r * length + t - 1] = token;
    }
  ids.changed(), targets.changed();
}

int run(const std::string& name, const std::string& dtype, int64_t rows, int64_t length) {
  const DecoderConfig config = shape(name);
  Decoder model(config, *parse_dtype(dtype), 1);
  AdamW optimizer(model.parameters(), {});
  Tensor ids = Tensor::empty({rows, length}, DType::i32),
         targets = Tensor::empty({rows, length}, DType::i32);
  int64_t n = 0;
  std::string line;
  while (std::getline(std::cin, line)) {
    const std::vector<std::string> words = split(line, ' ');
    if (words[0] == "save") {
      save_decoder(model, words.at(1));
      std::printf("ok\n");
    } else if (words[0] == "flops") {
      std::printf("%.6g\n", training_flops(config, length));
    } else if (words[0] == "gemm") {
      std::printf("%.6g\n", measure_gemm(*parse_dtype(dtype)));
    } else if (words[0] == "memory") {
      std::printf("%ld\n", static_cast<long>(memory_figures({}).peak));
    } else {
      Stopwatch watch;
      fill(ids, targets, n++, config.vocab);
      const double loss = gradients(model, ids, targets, rows);
      const double before_update = watch.seconds();
      clipped_step(optimizer, 6e-4, 1, optimizer.gradient_norm());
      std::printf("%.8f %.6f %.6f\n", loss, watch.seconds(), watch.seconds() - before_update);
    }
    std::fflush(stdout);
  }
  return 0;
}

}  // namespace
}  // namespace wellspring

int main(int argc, char** argv) try {
  if (argc != 5) {
    std::fprintf(stderr, "usage: train_bench gpt2|llama f32|bf16 BATCH LENGTH\n");
    return 64;
  }
  return wellspring::run(argv[1], argv[2], std::stoll(argv[3]), std::stoll(argv[4]));
} catch (const wellspring::Error& e) {
  std::fprintf(stderr, "error: %s\n", e.what());
  return e.exit_status();
}
