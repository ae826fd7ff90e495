// wellspring serve: a model over HTTP.

#include <csignal>
#include <cstdio>

#include "base/args.h"
#include "base/error.h"
#include "base/file.h"
#include "base/http.h"
#include "base/text.h"
#include "models/decoder/model.h"
#include "serve/api.h"
#include "serve/engine.h"
#include "serve/model_text.h"

extern "C" int wellspring_command_serve(int argc, char** argv) {
  using namespace wellspring;
  std::string model, dtype = "bf16", name, weights, cache;
  EngineOptions engine_options;
  double cache_gb = 0;
  HttpServerOptions http;
  int64_t port = 8080;
  Args args("wellspring serve",
            "Serve a model with OpenAI's API: /v1/completions, /v1/chat/completions, /v1/models, "
            "/health, /metrics, /tokenize. Requests run together; each gets the tokens that it would get alone. SIGTERM lets "
            "running ones end.");
  args.positional("MODEL", &model, "model folder, or run folder (its newest checkpoint)");
  args.option("--host", &http.address, "ADDRESS", "where to listen (127.0.0.1)");
  args.option("--port", &port, "N", "port (8080; 0: any free one)");
  args.option("--dtype", &dtype, "f32|bf16", "computation (bf16)");
  args.option("--weights", &weights, "q8|q4", "weights of 8 or 4 bits, made at the start (`wellspring quantize` keeps them)");
  args.option("--cache", &cache, "f32|bf16|i8", "keys and values (as the computation)");
  args.option("--cache-gb", &cache_gb, "GB", "memory for them (a quarter of the machine's at most)");
  args.option("--sequences", &engine_options.sequences, "N", "requests that run together (64)");
  args.option("--batch-tokens", &engine_options.rows, "N", "tokens of one pass (512)");
  args.option("--waiting", &engine_options.waiting, "N", "requests that may wait; more get status 503");
  args.option("--name", &name, "NAME", "the model's name in the API (the folder's)");
  args.flag("--log", &http.access_log, "one line per request");
  args.example("wellspring serve runs/demo/run --port 8080");
  if (!args.parse(argc, argv)) return 0;
  if (dtype != "f32" && dtype != "bf16")
    throw Error(Fault::usage, str("--dtype is '", dtype, "'; expected f32 or bf16"));
  if (!cache.empty()) {
    engine_options.cache = parse_dtype(cache);
    if (cache != "f32" && cache != "bf16" && cache != "i8")
      throw Error(Fault::usage, str("--cache is '", cache, "'; expected f32, bf16 or i8"));
  }
  engine_options.cache_bytes = static_cast<int64_t>(cache_gb * 1e9);
  if (engine_options.sequences < 1 || engine_options.rows < 1 || engine_options.waiting < 1 || cache_gb < 0)
    throw Error(Fault::usage, "--sequences, --batch-tokens, --waiting and --cache-gb are above 0");
  if (port < 0 || port > 65535)
    throw Error(Fault::usage, str("--port is ", port, "; expected 0 to 65535"));

  // Before any thread is made, so that all of them leave the signals to sigwait below.
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);

  const std::string folder = find_model_folder(model);
  std::unique_ptr<Decoder> loaded = load_decoder(folder, *parse_dtype(dtype));
  if (!loaded->quantized()) {  // by itself the rows of bf16 side by side, which is faster
    const bool plain = weights.empty();
    if (!plain || *parse_dtype(dtype) == DType::bf16)
      loaded->quantize(plain ? WeightFormat::bf16 : parse_weight_format(weights), plain ? WeightFormat::bf16 : WeightFormat::q8);
  }
  std::shared_ptr<const Decoder> decoder = std::move(loaded);
  ModelText text(folder, decoder->config());
  std::unique_ptr<Engine> engine = make_engine(decoder, engine_options);
  std::string given = model;
  while (given.size() > 1 && given.back() == '/') given.pop_back();
  ServedModel served{name.empty() ? base_name(given) : name, engine.get(), &text,
                     decoder->config().context};
  http.port = static_cast<int>(port);
  http.drain_timeout = 60;
  HttpServer server(http);
  add_api_routes(server, served);
  server.start();
  std::printf("serving %s on http://%s:%d (chat format: %s)\n", served.name.c_str(),
              http.address.c_str(), server.port(), text.chat_format().c_str());
  std::fflush(stdout);
  int signal = 0;
  sigwait(&ends, &signal);
  std::printf("stopping: waiting for running requests\n");
  std::fflush(stdout);
  pthread_sigmask(SIG_UNBLOCK, &ends, nullptr);  // a second signal ends at once
  server.stop();
  return 0;
}
