// wellspring serve: models over HTTP.

#include <csignal>
#include <cstdio>
#include <cstdlib>

#include "base/args.h"
#include "base/error.h"
#include "base/file.h"
#include "base/http.h"
#include "base/log.h"
#include "base/text.h"
#include "cli/engine/threads_option.h"
#include "serve/access.h"
#include "serve/api.h"
#include "serve/models.h"

namespace wellspring {
namespace {

struct ServeOptions {
  std::vector<std::string> models, adapters;
  std::string models_file, name, key_file;
  ModelSpec spec;  // what all models begin with
  EngineOptions engine;
  AccessOptions access;
  HttpServerOptions http;
  int64_t port = 8080, body_mb = 16;
  double memory_gb = 0, request_seconds = 0, drain_seconds = 60;
  bool share_prompts = false;
};

bool parse(ServeOptions& o, int argc, char** argv) {
  Args args("wellspring serve",
            "Serve models with OpenAI's API (/v1/completions, /v1/chat/completions, "
            "/v1/responses, /v1/models, /health, /metrics, /tokenize) and a "
            "chat page. Requests run together; each gets the tokens that it would get alone. "
            "SIGTERM lets running ones end.");
  args.positionals(
      "MODEL", &o.models,
      "model folders, or run folders (their newest checkpoint); the first is loaded at the start, "
      "others on first use",
      false);
  args.option("--models", &o.models_file, "FILE.yaml",
              "models by a file: name, path, aliases, weights, dtype, cache, cache_gb, chat_template, adapters, speculate");
  args.option("--name", &o.name, "NAME", "the model's name in the API (the folder's)");
  args.option("--memory-gb", &o.memory_gb, "GB",
              "memory of all loaded models: those longest unused go (any)");
  args.option("--dtype", &o.spec.dtype, "f32|bf16", "computation (bf16)");
  args.option("--weights", &o.spec.weights, "q8|q4",
              "weights of 8 or 4 bits, made when loading (`wellspring quantize` keeps them)");
  args.option("--cache", &o.spec.cache, "f32|bf16|i8", "keys and values (as the computation)");
  args.option("--cache-gb", &o.spec.cache_gb, "GB",
              "memory for those of a model (a quarter of the memory at most)");
  args.option("--chat-template", &o.spec.chat_template, "FILE",
              "Jinja template of chats (the model folder's)");
  args.option("--adapter", &o.adapters, "NAME=FOLDER",
              "LoRA adapter (PEFT's folder) of a single MODEL: requests name it as their model; may be repeated");
  args.option("--speculate", &o.spec.speculate, "look-up|MODEL",
              "guess what comes next, by what came before in the text or by a small model: the same answers, sooner");
  args.option("--draft-tokens", &o.engine.draft_tokens, "N", "most tokens to guess at a time (4)");
  args.option("--sequences", &o.engine.sequences, "N", "requests that run together (64)");
  args.option("--batch-tokens", &o.engine.rows, "N", "tokens of one pass (512)");
  args.option("--waiting", &o.engine.waiting, "N",
              "requests of a model that may wait; more get status 429 (256)");
  ThreadsOption threads(args);
  args.option("--host", &o.http.address, "ADDRESS",
              "where to listen (127.0.0.1); others need keys");
  args.option("--port", &o.port, "N", "port (8080; 0: any free one)");
  args.option("--tls-cert", &o.http.certificate, "FILE", "PEM certificate: speak https");
  args.option("--tls-key", &o.http.key, "FILE", "its key");
  args.option("--api-key-file", &o.key_file, "FILE",
              "keys, a line each: NAME KEY or NAME sha256:HEX (WELLSPRING_API_KEY: one key)");
  args.option("--key-requests", &o.access.key_requests, "N",
              "requests of one key at once; more get status 429 (any number)");
  args.flag("--share-prompts", &o.share_prompts,
            "kept beginnings of prompts are shared by all keys");
  args.flag("--open-metrics", &o.access.open_metrics, "/metrics without a key");
  args.option("--allow-host", &o.access.hosts, "NAME",
              "another name of this server; may be repeated");
  args.option("--allow-origin", &o.access.origins, "ORIGIN",
              "pages of it may ask (https://chat.example.org; *: all); may be repeated");
  args.option("--max-body-mb", &o.body_mb, "MB", "most of one request (16)");
  args.option("--request-seconds", &o.request_seconds, "S",
              "an answer that takes longer ends with an error (any time)");
  args.option("--drain-seconds", &o.drain_seconds, "S",
              "that running requests get after SIGTERM (60)");
  args.flag("--log", &o.http.access_log, "one line per request");
  args.example("wellspring serve runs/demo/run --port 8080");
  if (!args.parse(argc, argv)) return false;
  threads.apply();
  return true;
}

void check(const ServeOptions& o) {
  if (o.engine.sequences < 1 || o.engine.rows < 1 || o.engine.waiting < 1)
    throw Error(Fault::usage, "--sequences, --batch-tokens and --waiting are above 0");
  if (o.spec.cache_gb < 0 || o.memory_gb < 0 || o.request_seconds < 0 || o.drain_seconds < 0 ||
      o.access.key_requests < 0)
    throw Error(Fault::usage,
                "--cache-gb, --memory-gb, --request-seconds, --drain-seconds and --key-requests "
                "are not below 0");
  if (o.port < 0 || o.port > 65535)
    throw Error(Fault::usage, str("--port is ", o.port, "; expected 0 to 65535"));
  if (o.body_mb < 1 || o.body_mb > 1024)
    throw Error(Fault::usage, str("--max-body-mb is ", o.body_mb, "; expected 1 to 1024"));
  if (o.http.certificate.empty() != o.http.key.empty())
    throw Error(Fault::usage,
                "--tls-cert and --tls-key belong together: give both, or none for http");
  if (o.models.empty() == o.models_file.empty())
    throw Error(Fault::usage, "give model folders, or --models FILE.yaml");
  if (!o.name.empty() && o.models.size() != 1)
    throw Error(Fault::usage, "--name is for a single MODEL; --models FILE.yaml names several");
  if (!o.adapters.empty() && o.models.size() != 1)
    throw Error(Fault::usage, "--adapter is for a single MODEL; --models FILE.yaml has adapters for each");
  if (o.engine.draft_tokens < 1 || o.engine.draft_tokens > 64)
    throw Error(Fault::usage, str("--draft-tokens is ", o.engine.draft_tokens, "; expected 1 to 64"));
}

std::shared_ptr<Models> find_models(const ServeOptions& o) {
  std::vector<ModelSpec> specs;
  if (!o.models_file.empty()) specs = read_models_file(o.models_file, o.spec);
  for (std::string path : o.models) {
    while (path.size() > 1 && path.back() == '/') path.pop_back();
    ModelSpec spec = o.spec;
    spec.path = path, spec.name = o.name.empty() ? base_name(path) : o.name;
    for (const std::string& a : o.adapters) {
      const size_t at = a.find('=');
      if (at == 0 || at == a.npos || at + 1 == a.size())
        throw Error(Fault::usage, str("--adapter is '", a, "'; expected NAME=FOLDER"));
      spec.adapters.emplace_back(a.substr(0, at), a.substr(at + 1));
    }
    specs.push_back(spec);
  }
  const auto memory = static_cast<int64_t>(o.memory_gb * 1e9);
  std::vector<ModelSource> sources;
  for (const ModelSpec& spec : specs) sources.push_back(model_source(spec, o.engine, memory));
  return std::make_shared<Models>(std::move(sources), memory);
}

std::shared_ptr<Access> read_access(ServeOptions& o) {
  constexpr int64_t kMost = 1 << 20;
  if (!o.key_file.empty()) {
    if (file_size(o.key_file) > kMost)
      throw Error(Fault::data, str(o.key_file, ": more than a megabyte is no file of keys"));
    o.access.keys = parse_api_keys(read_file(o.key_file), o.key_file);
  }
  if (const char* key = std::getenv("WELLSPRING_API_KEY"); key && *key)
    o.access.keys.push_back(single_api_key(key));
  o.access.address = o.http.address;
  auto access = std::make_shared<Access>(o.access);
  if (!is_loopback(o.http.address) && o.http.key.empty())
    log_warning("serve", "keys and texts can be read on the way to ", o.http.address,
                ": --tls-cert and --tls-key encrypt them");
  return access;
}

void run(ServeOptions& o) {
  // Before any thread is made, so that all of them leave the signals to sigwait below.
  sigset_t ends;
  sigemptyset(&ends);
  sigaddset(&ends, SIGTERM);
  sigaddset(&ends, SIGINT);
  pthread_sigmask(SIG_BLOCK, &ends, nullptr);

  survive_lost_pages();
  const std::shared_ptr<Access> access = read_access(o);
  o.http.port = static_cast<int>(o.port);
  o.http.max_body = o.body_mb << 20;
  o.http.request_ids = true;
  o.http.drain_timeout = 5;  // for the errors that end late answers
  // Who is refused is told so by the engine: a thread for each that may wait there.
  o.http.max_connections =
      static_cast<int>(std::min<int64_t>(o.engine.sequences + o.engine.waiting + 64, 4096));
  o.http.stack_size = 1 << 20;
  HttpServer server(o.http);
  server.bind();  // port, certificate and the file of models are checked before a model is converted or loaded
  const std::shared_ptr<Models> models = find_models(o);
  add_api_routes(server, {models, access, o.request_seconds, o.share_prompts});
  const std::string format = models->get("")->chat_format, name = models->name_of("");
  server.start();
  const std::string host = o.http.address.find(':') == std::string::npos
                               ? o.http.address
                               : str("[", o.http.address, "]");
  std::printf("serving %s on %s://%s:%d (chat format: %s)\n", name.c_str(),
              o.http.key.empty() ? "http" : "https", host.c_str(), server.port(), format.c_str());
  std::fflush(stdout);
  int signal = 0;
  sigwait(&ends, &signal);
  std::printf("stopping: waiting for running requests\n");
  std::fflush(stdout);
  pthread_sigmask(SIG_UNBLOCK, &ends, nullptr);  // a second signal ends at once
  if (!access->drain(o.drain_seconds)) {
    log_warning("serve", "requests still run after --drain-seconds: they end now, with an error");
    server.make_late();
  }
  server.stop();
}

}  // namespace
}  // namespace wellspring

extern "C" int wellspring_command_serve(int argc, char** argv) {
  wellspring::ServeOptions options;
  options.engine.waiting = 256;
  if (!wellspring::parse(options, argc, argv)) return 0;
  wellspring::check(options);
  wellspring::run(options);
  return 0;
}
