#pragma once
// OpenAI's HTTP API over engines: /v1/completions, /v1/chat/completions, /v1/responses (all also as
// server-sent events), /v1/models, /health; /tokenize, /detokenize, /metrics for Prometheus, and the
// chat page at /.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "serve/request_figures.h"

namespace wellspring {

struct Adapter;
class Access;
class Engine;
class HttpServer;
class Models;
class ModelText;

struct ServedModel {
  std::string name;
  Engine* engine = nullptr;
  const ModelText* text = nullptr;
  int64_t context = 0;
  std::shared_ptr<const Adapter> adapter = {};  // that the request chose; may be null
  /// Called before anything that the model made is given away, from any thread; may be empty. ApiError 503 when it is
  /// not to be trusted: its file was changed on disk.
  std::function<void()> check = {};
  /// What decides the bits of answers beside the model's values and the request; empty: not known.
  std::string fingerprint = {};
  int64_t width = 0;  // of embeddings
};

/// What answers requests, and for whom.
struct ApiFront {
  std::shared_ptr<Models> models;
  std::shared_ptr<Access> access;
  double request_seconds = 0;  // an answer that takes longer ends with an error (504); 0: any time
  bool share_prompts = false;  // kept beginnings of prompts are those of all keys, not of one
  std::shared_ptr<RequestFigures> figures = std::make_shared<RequestFigures>();
};

/// Before server.start(): the routes and the filter. Handlers wait on connection threads while the
/// engine works; a client that goes away cancels its request.
void add_api_routes(HttpServer& server, const ApiFront& front);
/// For one model, on the loopback and without keys; its parts must outlive the server.
void add_api_routes(HttpServer& server, const ServedModel& model);

}  // namespace wellspring
