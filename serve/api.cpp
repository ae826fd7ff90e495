#include "serve/api.h"

#include <ctime>

#include "base/error.h"
#include "base/http.h"
#include "base/json.h"
#include "base/text.h"
#include "serve/engine.h"
#include "serve/exchange.h"
#include "serve/model_text.h"
#include "text/tokenizer.h"

namespace wellspring {
namespace {

bool refuse_name(const std::string& asked, const ServedModel& model, HttpResponse& response) {
  if (asked == model.name) return false;
  response.send_error(
      404, str("there is no model '", asked.substr(0, 80), "' here, only '", model.name, "'"));
  return true;
}

// Prometheus' text form.
std::string metrics(const ServedModel& model) {
  const EngineFigures f = model.engine->figures();
  std::string out;
  const auto row = [&](const char* name, const char* type, const char* help, int64_t value) {
    out += str("# HELP wellspring_", name, " ", help, "\n# TYPE wellspring_", name, " ", type, "\nwellspring_", name, " ", value, "\n");
  };
  row("requests_running", "gauge", "requests in the engine", f.running);
  row("requests_waiting", "gauge", "requests that wait for it", f.waiting);
  row("requests_total", "counter", "requests taken", f.requests);
  row("prompt_tokens_total", "counter", "tokens of prompts", f.prompt_tokens);
  row("cached_tokens_total", "counter", "of them, found computed", f.cached_tokens);
  row("generated_tokens_total", "counter", "tokens made", f.tokens);
  row("passes_total", "counter", "passes through the model", f.passes);
  row("preemptions_total", "counter", "requests that had to wait again for pages", f.preemptions);
  row("cache_pages", "gauge", "pages of keys and values", f.pages);
  row("cache_pages_free", "gauge", "of them free", f.free_pages);
  row("cache_pages_kept", "gauge", "of them kept for prompts that begin alike", f.kept_pages);
  return out;
}

}  // namespace

void add_api_routes(HttpServer& server, const ServedModel& model) {
  for (const bool chat : {false, true})
    server.route("POST", chat ? "/v1/chat/completions" : "/v1/completions", [&model, chat](const HttpRequest& q, HttpResponse& a) {
      ApiRequest request = read_api_request(q.body, chat);
      if (request.model.empty() || !refuse_name(request.model, model, a)) answer_completion(model, std::move(request), a);
    });
  const int64_t started = std::time(nullptr);
  auto one = [&model, started] {
    return Json{{"id", model.name},
                {"object", "model"},
                {"created", started},
                {"owned_by", "wellspring"},
                {"context", model.context}};
  };
  server.route("GET", "/v1/models", [one](const HttpRequest&, HttpResponse& a) {
    a.send(200, "application/json", to_text({{"object", "list"}, {"data", Json::array({one()})}}));
  });
  server.route("GET", "/v1/models/{id*}", [&model, one](const HttpRequest& q, HttpResponse& a) {
    if (!refuse_name(std::string(q.part("id")), model, a))
      a.send(200, "application/json", to_text(one()));
  });
  for (const char* path : {"/health", "/health/live", "/health/ready"})
    server.route("GET", path, [&model](const HttpRequest&, HttpResponse& a) {
      a.send(200, "application/json",
             to_text({{"status", "ok"}, {"model", model.name}, {"requests", model.engine->load()}}));
    });
  server.route("GET", "/metrics", [&model](const HttpRequest&, HttpResponse& a) {
    a.send(200, "text/plain; version=0.0.4", metrics(model));
  });
  server.route("POST", "/tokenize", [&model](const HttpRequest& q, HttpResponse& a) {
    const Json body = parse_json(q.body, "request body");
    const auto it = body.is_object() ? body.find(body.contains("prompt") ? "prompt" : "content") : body.end();
    if (!body.is_object() || it == body.end() || !it->is_string())
      throw Error(Fault::data, "'prompt' must be a text");
    const std::vector<int32_t> ids = model.text->prompt(it->get<std::string>());
    a.send(200, "application/json", to_text({{"tokens", ids}, {"count", ids.size()}, {"max_model_len", model.context}}));
  });
  server.route("POST", "/detokenize", [&model](const HttpRequest& q, HttpResponse& a) {
    const Json body = parse_json(q.body, "request body");
    const auto it = body.is_object() ? body.find("tokens") : body.end();
    if (!body.is_object() || it == body.end() || !it->is_array()) throw Error(Fault::data, "'tokens' must be a list of token ids");
    std::vector<int32_t> ids;
    for (const Json& id : *it) {
      if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= model.text->vocab())
        throw Error(Fault::data, str("'tokens' must be token ids below ", model.text->vocab()));
      ids.push_back(id.get<int32_t>());
    }
    a.send(200, "application/json", to_text({{"prompt", utf8_repair(model.text->tokenizer().decode(ids))}}));
  });
}

}  // namespace wellspring
