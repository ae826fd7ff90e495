#include "serve/api.h"

#include <algorithm>
#include <ctime>
#include <functional>
#include <optional>

#include "base/error.h"
#include "base/http.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "serve/access.h"
#include "serve/api_error.h"
#include "serve/api_messages.h"
#include "serve/chat_files.h"
#include "serve/embeddings.h"
#include "serve/engine.h"
#include "serve/exchange.h"
#include "serve/generation.h"
#include "serve/metrics.h"
#include "serve/model_text.h"
#include "serve/models.h"
#include "serve/request_figures.h"
#include "serve/response_store.h"
#include "serve/responses.h"
#include "text/tokenizer.h"

namespace wellspring {
namespace {

using Handler = std::function<void(const ApiFront&, const HttpRequest&, HttpResponse&)>;

// The model that a request means, loaded. Null: nobody waits for it any more.
std::shared_ptr<const LoadedModel> model_for(const ApiFront& front, const std::string& name,
                                             const HttpResponse& response) {
  try {
    return front.models->get(name, [&] { return response.client_gone(); });
  } catch (const ApiError&) {
    throw;
  } catch (const Error& e) {  // not the client's fault, whatever it is
    const std::string why =
        str("model '", front.models->name_of(name), "' cannot be loaded: ", e.what());
    log_error("serve", why);
    throw ApiError(503, "model_unavailable", why, e.fault() == Fault::try_again ? 2 : 0);
  }
}

// An answer that was left because it took too long, or because the server stops, ends with an error. The others that
// are left are those whose client has gone: nobody reads their status but the log and /metrics.
void end_unfinished(const ApiFront& front, HttpResponse& response) {
  if (response.ended()) return;
  if (!response.late()) {
    front.figures->count_left();
    if (!response.begun()) send_api_error(ApiError(499, "client_closed_request", "the client has gone"), response);
    return;
  }
  const ApiError error =
      front.access->draining()
          ? ApiError(503, "stopping",
                     "the server is stopping and the answer is not whole: ask another one, or again later", 5)
          : ApiError(504, "request_timeout",
                     str("the answer took longer than the ", human_duration(front.request_seconds),
                         " that it may (--request-seconds): ask for fewer tokens"));
  if (!response.begun()) return send_api_error(error, response);
  response.write(str("data: ", to_text(api_error_json(error)), "\n\n"));
  response.end();
}

// The model that answers a request, with an engine that measures.
struct MeasuredModel {
  MeasuredModel(const ApiFront& front, const LoadedModel& loaded, const std::string& name) : model(loaded.as(name)) {
    engine = front.figures->measured(*model.engine, loaded.served.name, model.adapter ? model.name : "");
    model.engine = engine.get();
  }
  ServedModel model;
  std::unique_ptr<Engine> engine;
};

void complete(const ApiFront& front, const HttpRequest& q, HttpResponse& a, bool chat) {
  ApiRequest request = read_api_request(q.body, chat);
  if (!front.share_prompts) request.generate.owner.insert(0, q.user);
  a.late_after(front.request_seconds);
  if (const auto model = model_for(front, request.model, a)) {
    const MeasuredModel served(front, *model, request.model);
    answer_completion(served.model, std::move(request), a);
  }
  end_unfinished(front, a);
}

ResponseRequest response_request(const HttpRequest& q, ResponseStore& store) {
  return read_response_request(q.body, [&](const std::string& id) { return stored_conversation(store, q.user, id); });
}

void count_input(const ApiFront& front, const HttpRequest& q, HttpResponse& a, ResponseStore& store) {
  ResponseRequest request = response_request(q, store);
  if (const auto model = model_for(front, request.api.model, a)) count_input_tokens(model->served, std::move(request), a);
}

void respond(const ApiFront& front, const HttpRequest& q, HttpResponse& a, ResponseStore& store) {
  ResponseRequest request = response_request(q, store);
  if (!front.share_prompts) request.api.generate.owner.insert(0, q.user);
  a.late_after(front.request_seconds);
  const std::string name = request.api.model;
  if (const auto model = model_for(front, name, a)) {
    const MeasuredModel served(front, *model, name);
    answer_response(served.model, std::move(request), q.user, store, a);
  }
  end_unfinished(front, a);
}

Json model_json(const ModelState& m, int64_t started) {
  Json json = {{"id", m.name},         {"object", "model"},
               {"created", started},   {"owned_by", "wellspring"},
               {"context", m.context}, {"max_model_len", m.context},
               {"loaded", m.loaded}};
  if (!m.aliases.empty()) json["aliases"] = m.aliases;
  if (!m.adapters.empty()) json["adapters"] = m.adapters;
  return json;
}

// The model and its adapters.
std::vector<Json> model_jsons(const ModelState& m, int64_t started) {
  std::vector<Json> out = {model_json(m, started)};
  for (const std::string& name : m.adapters) {
    out.push_back(out[0]);
    out.back()["id"] = name, out.back()["parent"] = m.name;
    out.back().erase("adapters"), out.back().erase("aliases");
  }
  return out;
}

void list_models(const ApiFront& front, HttpResponse& a, int64_t started) {
  Json data = Json::array();
  for (const ModelState& m : front.models->list())
    for (const Json& one : model_jsons(m, started)) data.push_back(one);
  a.send(200, "application/json", to_text({{"object", "list"}, {"data", std::move(data)}}));
}

void show_model(const ApiFront& front, const HttpRequest& q, HttpResponse& a, int64_t started) {
  const std::string asked(q.part("id")), name = front.models->name_of(asked);
  for (const ModelState& m : front.models->list()) {
    if (m.name != name) continue;
    const std::vector<Json> all = model_jsons(m, started);
    const auto it = std::find_if(all.begin(), all.end(), [&](const Json& one) { return one["id"] == asked; });
    return a.send(200, "application/json", to_text(it == all.end() ? all[0] : *it));
  }
}

void health(const ApiFront& front, HttpResponse& a, bool ready) {
  const bool draining = front.access->draining();
  a.send(ready && draining ? 503 : 200, "application/json",
         to_text({{"status", draining ? "draining" : "ok"}, {"requests", front.models->load()}}));
}

std::string model_of(const Json& body) {
  const Json* name = find_field(body, "model");
  if (name && !name->is_string()) wrong_type("model", "text");
  return name ? name->get<std::string>() : "";
}

// A text, or the body of a chat request, counted as it would be asked.
ApiRequest request_to_count(const Json& body) {
  if (find_field(body, "messages")) return read_api_json(body, true);
  const Json* text = find_field(body, find_field(body, "prompt") ? "prompt" : "content");
  if (!text) missing_field("prompt");
  if (!text->is_string()) wrong_type("prompt", "text");
  ApiRequest r;
  r.prompts = {{{}, text->get<std::string>()}};
  for (const char* name : {"add_special_tokens", "add_special"})  // vLLM's and llama.cpp's
    if (const Json* special = find_field(body, name)) {
      if (!special->is_boolean()) wrong_type(name, "true or false");
      r.add_special = special->get<bool>();
    }
  return r;
}

void tokenize(const ApiFront& front, const HttpRequest& q, HttpResponse& a) {
  const Json body = parse_body(q.body);
  const ApiRequest request = request_to_count(body);
  const auto model = model_for(front, model_of(body), a);
  if (!model) return;
  const std::vector<int32_t> ids = prompt_tokens(*model->served.text, request, 0);
  a.send(
      200, "application/json",
      to_text({{"tokens", ids}, {"count", ids.size()}, {"max_model_len", model->served.context}}));
}

void embed(const ApiFront& front, const HttpRequest& q, HttpResponse& a) {
  const Json body = parse_body(q.body);
  a.late_after(front.request_seconds);
  const std::string name = model_of(body);
  if (const auto model = model_for(front, name, a)) {
    const ServedModel served = model->as(name);
    answer_embeddings(served, body, front.share_prompts ? "" : q.user, a);
  }
  end_unfinished(front, a);
}

void detokenize(const ApiFront& front, const HttpRequest& q, HttpResponse& a) {
  const Json body = parse_body(q.body);
  const Json* list = find_field(body, "tokens");
  if (!list) missing_field("tokens");
  if (!list->is_array()) wrong_type("tokens", "a list of token ids");
  const auto model = model_for(front, model_of(body), a);
  if (!model) return;
  const ModelText& text = *model->served.text;
  std::vector<int32_t> ids;
  for (const Json& id : *list) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() >= text.vocab())
      wrong_field("tokens", str("token ids below ", text.vocab()));
    ids.push_back(id.get<int32_t>());
  }
  a.send(200, "application/json", to_text({{"prompt", utf8_repair(text.tokenizer().decode(ids))}}));
}

std::string content_type(std::string_view path) {
  return path.ends_with(".js")    ? "text/javascript; charset=utf-8"
         : path.ends_with(".css") ? "text/css; charset=utf-8"
         : path.ends_with(".svg") ? "image/svg+xml"
                                  : "text/html; charset=utf-8";
}

void send_file(const ChatFile& file, HttpResponse& a) {
  a.header("Content-Security-Policy",
           "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src "
           "'self'; "
           "form-action 'none'; base-uri 'none'; frame-ancestors 'none'");
  a.header("Referrer-Policy", "no-referrer");
  a.header("Cross-Origin-Opener-Policy", "same-origin");
  a.header("Cache-Control", "no-cache");
  a.send(200, content_type(file.path), file.text);
}

}  // namespace

void add_api_routes(HttpServer& server, const ApiFront& front) {
  server.observer([figures = front.figures](int status) { figures->count_status(status); });
  server.filter([front](HttpRequest& q, HttpResponse& a) {
    a.header("X-Content-Type-Options", "nosniff");
    front.access->check(q, a);
  });
  const auto route = [&](const char* method, const std::string& path, const Handler& handler) {
    const bool counts = std::string_view(method) == "POST";
    const char* prompt = path == "/v1/completions"                                 ? "prompt"
                         : path == "/v1/chat/completions" || path == "/tokenize" ? "messages"
                                                                                 : "input";
    server.route(method, path, [front, handler, counts, prompt](const HttpRequest& q, HttpResponse& a) {
      with_api_errors(a, prompt, [&] {
        std::optional<Access::Slot> slot;
        if (counts) slot.emplace(front.access->enter(q.user));
        handler(front, q, a);
      });
    });
  };
  const int64_t started = std::time(nullptr);
  route("POST", "/v1/completions",
        [](const ApiFront& f, const HttpRequest& q, HttpResponse& a) { complete(f, q, a, false); });
  route("POST", "/v1/chat/completions",
        [](const ApiFront& f, const HttpRequest& q, HttpResponse& a) { complete(f, q, a, true); });
  const auto responses = std::make_shared<ResponseStore>();
  route("POST", "/v1/responses",
        [responses](const ApiFront& f, const HttpRequest& q, HttpResponse& a) {
          respond(f, q, a, *responses);
        });
  route("POST", "/v1/responses/input_tokens",
        [responses](const ApiFront& f, const HttpRequest& q, HttpResponse& a) {
          count_input(f, q, a, *responses);
        });
  const auto stored = [&](const char* method, const char* path, auto* answer) {
    route(method, path,
          [responses, answer](const ApiFront&, const HttpRequest& q, HttpResponse& a) {
            answer(*responses, q, a);
          });
  };
  stored("GET", "/v1/responses/{id}", send_response);
  stored("DELETE", "/v1/responses/{id}", delete_response);
  stored("GET", "/v1/responses/{id}/input_items", list_input_items);
  route("GET", "/v1/models", [started](const ApiFront& f, const HttpRequest&, HttpResponse& a) {
    list_models(f, a, started);
  });
  route("GET", "/v1/models/{id*}",
        [started](const ApiFront& f, const HttpRequest& q, HttpResponse& a) {
          show_model(f, q, a, started);
        });
  for (const std::string path : {"/health", "/health/live", "/health/ready"})
    route("GET", path,
          [ready = path == "/health/ready"](const ApiFront& f, const HttpRequest&,
                                            HttpResponse& a) { health(f, a, ready); });
  route("GET", "/metrics", [](const ApiFront& f, const HttpRequest&, HttpResponse& a) {
    a.send(200, "text/plain; version=0.0.4", metrics_text(*f.models, *f.access, *f.figures));
  });
  route("POST", "/v1/embeddings", embed);
  route("POST", "/tokenize", tokenize);
  route("POST", "/detokenize", detokenize);
  for (const ChatFile& file : chat_files()) {
    const std::string path(file.path == "/chat/index.html" ? "/" : file.path);
    front.access->open(path);
    route("GET", path,
          [&file](const ApiFront&, const HttpRequest&, HttpResponse& a) { send_file(file, a); });
  }
}

void add_api_routes(HttpServer& server, const ServedModel& model) {
  add_api_routes(server, {std::make_shared<Models>(std::vector{loaded_source(model)}, 0),
                          std::make_shared<Access>(AccessOptions{})});
}

}  // namespace wellspring
