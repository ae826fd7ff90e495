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
  std::string model, dtype = "bf16", name;
  HttpServerOptions http;
  int64_t port = 8080;
  Args args("wellspring serve",
            "Serve a model with OpenAI's API: /v1/completions, /v1/chat/completions, /v1/models, "
            "/health. Requests are answered one after another. SIGTERM lets running ones end.");
  args.positional("MODEL", &model, "model folder, or run folder (its newest checkpoint)");
  args.option("--host", &http.address, "ADDRESS", "where to listen (127.0.0.1)");
  args.option("--port", &port, "N", "port (8080; 0: any free one)");
  args.option("--dtype", &dtype, "f32|bf16", "computation (bf16)");
  args.option("--name", &name, "NAME", "the model's name in the API (the folder's)");
  args.flag("--log", &http.access_log, "one line per request");
  args.example("wellspring serve runs/demo/run --port 8080");
  if (!args.parse(argc, argv)) return 0;
  if (dtype != "f32" && dtype != "bf16")
    throw Error(Fault::usage, str("--dtype is '", dtype, "'; expected f32 or bf16"));
  if (port < 0 || port > 65535)
    throw Error(Fault::usage, str("--port is ", port, "; expected 0 to 65535"));

  // Before any thread is made, so that all of them leave the signals to sigwait below.
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);

  const std::string folder = find_model_folder(model);
  std::shared_ptr<const Decoder> decoder = load_decoder(folder, *parse_dtype(dtype));
  ModelText text(folder, decoder->config());
  std::unique_ptr<Engine> engine = make_engine(decoder);
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
