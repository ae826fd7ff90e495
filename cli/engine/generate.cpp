// wellspring generate: continue a prompt.

#include <unistd.h>

#include <cstdio>
#include <random>

#include "base/args.h"
#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/engine/threads_option.h"
#include "models/decoder/model.h"
#include "serve/engine.h"
#include "serve/model_text.h"
#include "serve/stop_filter.h"
#include "tensor/safetensors.h"
#include "text/tokenizer.h"

namespace wellspring {
namespace {

struct GenerateOptions {
  std::string model, prompt, ids, dtype = "bf16", dump;
  std::vector<std::string> stops;
  SamplingOptions sampling;
  int64_t max_tokens = 128, top_k = 0, seed = 0;
  bool greedy = false, json = false;
};

std::vector<int32_t> read_ids(const std::string& text) {
  std::vector<int32_t> ids;
  for (const std::string& part : split(text, ',')) {
    auto v = parse_int(trim(part));
    if (!v || *v < 0 || *v > INT32_MAX)
      throw Error(Fault::usage, str("--ids: '", part, "' is not a token id; write them as 1,2,3"));
    ids.push_back(static_cast<int32_t>(*v));
  }
  return ids;
}

void dump_logits(const Decoder& model, const std::vector<int32_t>& prompt,
                 const std::string& path) {
  const auto n = static_cast<int64_t>(prompt.size());
  Tensor ids = Tensor::from(std::span<const int32_t>(prompt), {1, n});
  write_safetensors(path, {{"ids", ids}, {"logits", model.logits(ids)}});
}

int generate(const GenerateOptions& o) {
  const std::string folder = find_model_folder(o.model);
  std::unique_ptr<Decoder> loaded = load_decoder(folder, *parse_dtype(o.dtype));
  if (loaded->dtype() == DType::bf16 && !loaded->quantized())  // rows side by side: a token is as fast as memory
    loaded->quantize(WeightFormat::bf16, WeightFormat::bf16);
  std::shared_ptr<const Decoder> model = std::move(loaded);
  std::unique_ptr<ModelText> text;
  if (ModelText::present(folder)) text = std::make_unique<ModelText>(folder, model->config());
  if (o.ids.empty() && !text)
    throw Error(Fault::usage,
                str(folder, " holds no tokenizer.json: give the prompt as --ids 1,2,3"));
  if (text == nullptr && !o.stops.empty())
    throw Error(Fault::usage, str("--stop needs text, but ", folder, " holds no tokenizer.json"));

  GenerateRequest request;
  request.prompt = o.ids.empty() ? text->prompt(o.prompt) : read_ids(o.ids);
  request.sampling = o.sampling;
  request.stop_tokens = text ? text->stop_tokens() : model->config().eos;
  request.max_tokens = o.max_tokens;
  if (text) request.vocab = text->vocab();
  const std::vector<int32_t> prompt = request.prompt;
  if (!o.dump.empty()) dump_logits(*model, prompt, o.dump);
  if (o.max_tokens == 0) return 0;

  std::vector<int32_t> made;
  std::string all;
  StopFilter filter(o.stops);
  std::unique_ptr<StreamDecoder> stream;
  if (text) stream = std::make_unique<StreamDecoder>(text->tokenizer(), true, true);
  auto show = [&](const std::string& piece) {
    all += piece;
    if (o.json || piece.empty()) return;
    std::fwrite(piece.data(), 1, piece.size(), stdout);
    std::fflush(stdout);
  };
  request.on_token = [&](int32_t token) {
    made.push_back(token);
    show(stream ? filter.push(stream->push(token)) : str(made.size() > 1 ? "," : "", token));
    return !filter.stopped();
  };
  if (!o.json && text && o.ids.empty()) std::fwrite(o.prompt.data(), 1, o.prompt.size(), stdout);
  std::unique_ptr<Engine> engine = make_engine(model);
  GenerateResult result = engine->generate(std::move(request));
  engine.reset();
  if (stream && !filter.stopped()) {
    show(filter.push(stream->finish()));
    show(filter.finish());
  }
  double rate = result.seconds > 0 ? static_cast<double>(result.tokens) / result.seconds : 0;
  double prompt_rate = result.prompt_seconds > 0
                           ? static_cast<double>(result.prompt_tokens) / result.prompt_seconds
                           : 0;
  const char* finish = result.finish == GenerateResult::Finish::length ? "length" : "stop";
  if (o.json) {
    Json out = {{"text", text ? Json(all) : Json()},
                {"ids", made},
                {"prompt_ids", prompt},
                {"finish", finish},
                {"prompt_tokens", result.prompt_tokens},
                {"tokens", result.tokens},
                {"prompt_tokens_per_second", prompt_rate},
                {"tokens_per_second", rate}};
    std::printf("%s\n", to_text(out, 2).c_str());
  } else {
    std::printf("\n");
    if (::isatty(2))
      std::fprintf(stderr, "%ld tokens, %.1f tokens/s (prompt: %ld tokens, %.1f tokens/s)\n",
                   static_cast<long>(result.tokens), rate, static_cast<long>(result.prompt_tokens),
                   prompt_rate);
  }
  return 0;
}

}  // namespace
}  // namespace wellspring

extern "C" int wellspring_command_generate(int argc, char** argv) {
  using namespace wellspring;
  GenerateOptions o;
  Args args("wellspring generate", "Continue a prompt with a model.");
  args.positional("MODEL", &o.model, "model folder, or run folder (its newest checkpoint)");
  args.option("--prompt", &o.prompt, "TEXT", "what to continue");
  args.option("--ids", &o.ids, "1,2,3", "what to continue, as token ids");
  args.option("--max-tokens", &o.max_tokens, "N",
              "most tokens to make (128; none with --dump-logits when not given)");
  args.option("--dtype", &o.dtype, "f32|bf16", "computation (bf16)");
  args.flag("--greedy", &o.greedy, "always the most likely token");
  args.option("--temperature", &o.sampling.temperature, "X",
              "1 as the model says, below 1 more certain, 0 greedy (1)");
  args.option("--top-k", &o.top_k, "K", "only the K most likely tokens (0: all)");
  args.option("--top-p", &o.sampling.top_p, "P",
              "only the most likely tokens that together reach P (1)");
  args.option("--seed", &o.seed, "N", "same seed, same text (drawn when not given)");
  args.option("--stop", &o.stops, "TEXT", "end before this text");
  ThreadsOption threads(args);
  args.option("--dump-logits", &o.dump, "FILE.safetensors",
              "write ids [1, T] and logits f32 [1, T, V] of the prompt");
  args.flag("--json", &o.json, "print JSON");
  args.example(
      "wellspring generate runs/demo/run --prompt \"The Debian project is\" --max-tokens 40");
  if (!args.parse(argc, argv)) return 0;
  threads.apply();
  if (o.dtype != "f32" && o.dtype != "bf16")
    throw Error(Fault::usage, str("--dtype is '", o.dtype, "'; expected f32 or bf16"));
  if (args.given("--ids") && args.given("--prompt"))
    throw Error(Fault::usage, "give --prompt or --ids, not both");
  if (!args.given("--ids") && !args.given("--prompt"))
    throw Error(Fault::usage, "give a prompt: --prompt TEXT, or --ids 1,2,3");
  if (o.max_tokens < 0 || (o.max_tokens == 0 && o.dump.empty()))
    throw Error(Fault::usage, str("--max-tokens is ", o.max_tokens, "; expected at least 1"));
  for (const std::string& stop : o.stops)
    if (stop.empty()) throw Error(Fault::usage, "--stop is empty; expected the text to end before");
  if (!o.dump.empty() && !args.given("--max-tokens")) o.max_tokens = 0;
  if (o.greedy) o.sampling.temperature = 0;
  o.sampling.top_k = o.top_k;
  o.sampling.seed = args.given("--seed") ? static_cast<uint64_t>(o.seed) : std::random_device()();
  o.sampling.check();
  return generate(o);
}
