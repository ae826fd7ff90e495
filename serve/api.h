#pragma once
// OpenAI's HTTP API over an Engine: /v1/completions, /v1/chat/completions (both also as server-sent
// events), /v1/models, /health; /tokenize, /detokenize, and /metrics for Prometheus.

#include <string>

namespace wellspring {

class Engine;
class HttpServer;
class ModelText;

struct ServedModel {
  std::string name;
  Engine* engine = nullptr;
  const ModelText* text = nullptr;
  int64_t context = 0;
};

/// Before server.start(). `model` must outlive the server. Handlers wait on connection threads
/// while the engine works; a client that goes away cancels its request.
void add_api_routes(HttpServer& server, const ServedModel& model);

}  // namespace wellspring
