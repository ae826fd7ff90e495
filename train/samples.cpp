#include "train/samples.h"

#include "base/text.h"
#include "nn/sampler.h"
#include "text/tokenizer.h"

namespace wellspring {

std::vector<Sample> write_samples(const Decoder& model, const std::string& tokenizer_folder,
                                  const std::vector<std::string>& prompts, int64_t tokens,
                                  uint64_t seed) {
  const Tokenizer tokenizer = Tokenizer::load(tokenizer_folder);
  const int32_t separator = model.config().end_of_text();
  SamplingOptions sampling;
  sampling.temperature = 0.7, sampling.top_k = 40, sampling.seed = seed;
  std::vector<Sample> samples;
  for (const std::string& prompt : prompts) {
    std::vector<int32_t> ids = {separator};
    tokenizer.encode_to(prompt, ids, {.add_special = false, .parse_special = false});
    std::unique_ptr<KvCache> cache = model.make_cache();
    std::vector<int32_t> made, next = ids;
    while (static_cast<int64_t>(made.size()) < tokens &&
           cache->length() + static_cast<int64_t>(next.size()) <= model.config().context) {
      Tensor input =
          Tensor::from(std::span<const int32_t>(next), {1, static_cast<int64_t>(next.size())});
      std::vector<float> logits = model.step(input, *cache).to_vector<float>();
      logits.resize(
          static_cast<size_t>(std::min<int64_t>(model.config().vocab, tokenizer.vocab_size())));
      int32_t token = sample(logits, sampling, static_cast<uint64_t>(cache->length()));
      if (token == separator) break;
      made.push_back(token);
      next = {token};
    }
    samples.push_back({prompt, utf8_repair(tokenizer.decode(made, /*skip_special=*/true))});
  }
  return samples;
}

}  // namespace wellspring
