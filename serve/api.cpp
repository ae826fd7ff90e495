#include "serve/api.h"

#include <atomic>
#include <condition_variable>
#include <ctime>
#include <mutex>

#include "base/error.h"
#include "base/http.h"
#include "base/json.h"
#include "base/text.h"
#include "serve/api_request.h"
#include "serve/engine.h"
#include "serve/model_text.h"
#include "serve/stop_filter.h"
#include "text/tokenizer.h"

namespace wellspring {
namespace {

// Text from the engine's thread to a connection's thread.
class Mailbox {
 public:
  void put(std::string text) {
    std::lock_guard lock(mutex_);
    text_ += text;
    changed_.notify_one();
  }
  void end(const GenerateResult& result, std::exception_ptr error) {
    std::lock_guard lock(mutex_);
    result_ = result, error_ = error, ended_ = true;
    changed_.notify_one();
  }
  // Waits a moment for text; true when there will be no more.
  bool take(std::string& text) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::milliseconds(100),
                      [&] { return ended_ || !text_.empty(); });
    text.clear();
    std::swap(text, text_);
    return ended_;
  }
  const GenerateResult& result() const {
    if (error_) std::rethrow_exception(error_);
    return result_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::string text_;
  GenerateResult result_;
  std::exception_ptr error_;
  bool ended_ = false;
};

bool refuse_name(const std::string& asked, const ServedModel& model, HttpResponse& response) {
  if (asked == model.name) return false;
  response.send_error(
      404, str("there is no model '", asked.substr(0, 80), "' here, only '", model.name, "'"));
  return true;
}

// One request from its body to its answer.
class Exchange {
 public:
  Exchange(const ServedModel& model, bool chat, const HttpRequest& request, HttpResponse& response)
      : model_(model),
        chat_(chat),
        response_(response),
        api_(read_api_request(request.body, chat)),
        stream_(model.text->tokenizer(), true, true),
        filter_(stops()) {
    static std::atomic<int64_t> next{0};
    id_ = str(chat ? "chatcmpl-" : "cmpl-", std::time(nullptr), "-", ++next);
    created_ = std::time(nullptr);
  }

  void run() {
    if (!api_.model.empty() && refuse_name(api_.model, model_, response_)) return;
    GenerateRequest& g = api_.generate;
    g.prompt = !api_.ids.empty() ? api_.ids
               : chat_           ? model_.text->chat(api_.messages)
                                 : model_.text->prompt(api_.prompt);
    g.stop_tokens = model_.text->stop_tokens();
    g.vocab = model_.text->vocab();
    g.on_token = [this](int32_t token) {
      mailbox_.put(filter_.push(stream_.push(token)));
      return !filter_.stopped();
    };
    int64_t ticket =
        model_.engine->submit(std::move(g), [this](const GenerateResult& r, std::exception_ptr e) {
          if (!e && !filter_.stopped()) {
            mailbox_.put(filter_.push(stream_.finish()));
            mailbox_.put(filter_.finish());
          }
          mailbox_.end(r, e);
        });
    try {
      api_.stream ? stream(ticket) : whole(ticket);
    } catch (...) {  // the engine writes into this object: it must have ended first
      wait_for_end(ticket);
      throw;
    }
  }

 private:
  std::vector<std::string> stops() const {
    std::vector<std::string> all = api_.stops;
    if (chat_)
      all.insert(all.end(), model_.text->chat_stops().begin(), model_.text->chat_stops().end());
    return all;
  }

  void wait_for_end(int64_t ticket) {
    model_.engine->cancel(ticket);
    std::string dropped;
    while (!mailbox_.take(dropped)) {
    }
  }

  void whole(int64_t ticket) {
    std::string all, piece;
    while (!mailbox_.take(piece)) {
      all += piece;
      if (response_.client_gone()) return wait_for_end(ticket);
    }
    all += piece;
    const GenerateResult& r = mailbox_.result();
    Json choice = {{"index", 0}};
    if (chat_)
      choice["message"] = {{"role", "assistant"}, {"content", all}};
    else
      choice["text"] = all;
    choice["finish_reason"] = finish(r);
    choice["logprobs"] = nullptr;
    Json body = head(chat_ ? "chat.completion" : "text_completion");
    body["choices"] = Json::array({choice});
    body["usage"] = usage(r);
    response_.send(200, "application/json", to_text(body));
  }

  void stream(int64_t ticket) {
    response_.header("Cache-Control", "no-cache");
    bool open = false, gone = false, ended = false;
    std::string piece;
    while (!ended && !gone) {
      ended = mailbox_.take(piece);
      if (ended) mailbox_.result();  // an error before the first piece is answered as an error
      if (!open && !piece.empty()) begin(), open = true;
      if (!piece.empty()) gone = !event(delta(piece, Json()));
      if (!ended && !gone) gone = response_.client_gone();
    }
    if (gone) return wait_for_end_if(!ended, ticket);
    if (!open) begin();
    event(delta("", finish(mailbox_.result())));
    if (api_.include_usage) {
      Json last = head(chat_ ? "chat.completion.chunk" : "text_completion");
      last["choices"] = Json::array();
      last["usage"] = usage(mailbox_.result());
      event(last);
    }
    response_.write("data: [DONE]\n\n");
    response_.end();
  }

  void wait_for_end_if(bool running, int64_t ticket) {
    if (running) wait_for_end(ticket);
  }

  void begin() {
    response_.begin_stream(200, "text/event-stream");
    if (!chat_) return;
    Json first = head("chat.completion.chunk");
    first["choices"] = Json::array({{{"index", 0},
                                     {"delta", {{"role", "assistant"}, {"content", ""}}},
                                     {"finish_reason", nullptr}}});
    event(first);
  }

  Json delta(const std::string& text, const Json& reason) const {
    Json choice = {{"index", 0}};
    if (chat_)
      choice["delta"] = text.empty() ? Json::object() : Json{{"content", text}};
    else
      choice["text"] = text;
    choice["finish_reason"] = reason;
    Json body = head(chat_ ? "chat.completion.chunk" : "text_completion");
    body["choices"] = Json::array({choice});
    return body;
  }

  bool event(const Json& body) { return response_.write(str("data: ", to_text(body), "\n\n")); }

  Json head(const char* object) const {
    return {{"id", id_}, {"object", object}, {"created", created_}, {"model", model_.name}};
  }
  static const char* finish(const GenerateResult& r) {
    return r.finish == GenerateResult::Finish::length ? "length" : "stop";
  }
  static Json usage(const GenerateResult& r) {
    return {{"prompt_tokens", r.prompt_tokens},
            {"completion_tokens", r.tokens},
            {"total_tokens", r.prompt_tokens + r.tokens}};
  }

  const ServedModel& model_;
  bool chat_;
  HttpResponse& response_;
  ApiRequest api_;
  StreamDecoder stream_;
  StopFilter filter_;
  Mailbox mailbox_;
  std::string id_;
  int64_t created_ = 0;
};

}  // namespace

void add_api_routes(HttpServer& server, const ServedModel& model) {
  server.route("POST", "/v1/completions", [&model](const HttpRequest& q, HttpResponse& a) {
    Exchange(model, false, q, a).run();
  });
  server.route("POST", "/v1/chat/completions", [&model](const HttpRequest& q, HttpResponse& a) {
    Exchange(model, true, q, a).run();
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
  server.route("GET", "/health", [&model](const HttpRequest&, HttpResponse& a) {
    a.send(200, "application/json",
           to_text({{"status", "ok"}, {"model", model.name}, {"requests", model.engine->load()}}));
  });
}

}  // namespace wellspring
