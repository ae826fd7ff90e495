// Text generation inside an application: embed_generation MODEL PROMPT. Without arguments a tiny
// model with random weights continues three token ids.
#include <cstdio>
#include <memory>

#include "base/error.h"
#include "models/decoder/model.h"
#include "serve/engine.h"
#include "serve/model_text.h"
#include "text/tokenizer.h"

using namespace wellspring;

static std::shared_ptr<const Decoder> random_model() {
  DecoderConfig config;
  config.vocab = 64, config.width = 64, config.layers = 2, config.heads = 2, config.kv_heads = 2;
  config.head_width = 32, config.ffn = 128, config.context = 64;
  return std::make_shared<const Decoder>(config, DType::f32, /*seed=*/1);
}

int main(int argc, char** argv) try {
  std::shared_ptr<const Decoder> model;
  std::unique_ptr<ModelText> text;
  GenerateRequest request;
  request.max_tokens = 32;
  request.sampling.temperature = 0.8;
  request.sampling.seed = 1;
  if (argc == 3) {
    const std::string folder = find_model_folder(argv[1]);
    model = load_decoder(folder, DType::bf16);
    text = std::make_unique<ModelText>(folder, model->config());
    request.prompt = text->prompt(argv[2]);
    request.stop_tokens = text->stop_tokens();
    request.vocab = text->vocab();
  } else {
    model = random_model();
    request.prompt = {1, 2, 3};
  }
  std::unique_ptr<StreamDecoder> stream;
  if (text) stream = std::make_unique<StreamDecoder>(text->tokenizer(), true, true);
  request.on_token = [&](int32_t token) {
    if (stream)
      std::printf("%s", stream->push(token).c_str());
    else
      std::printf("%d ", token);
    return true;  // false would end it
  };
  std::unique_ptr<Engine> engine = make_engine(model);  // works on a thread of its own
  GenerateResult result = engine->generate(std::move(request));
  std::printf("%s\n%lld tokens\n", stream ? stream->finish().c_str() : "",
              (long long)result.tokens);
  return result.tokens == 32 || text ? 0 : 1;
} catch (const Error& e) {
  std::fprintf(stderr, "error: %s\n", e.what());
  return 1;
}
