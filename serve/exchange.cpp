#include "serve/exchange.h"

#include <atomic>
#include <condition_variable>
#include <ctime>
#include <mutex>

#include "base/error.h"
#include "base/http.h"
#include "base/json.h"
#include "base/text.h"
#include "serve/api.h"
#include "serve/engine.h"
#include "serve/model_text.h"
#include "serve/stop_filter.h"
#include "text/tokenizer.h"

namespace wellspring {
namespace {

// What the engine's thread has made for a connection's thread: text, and the log-probabilities of its tokens.
struct Piece {
  std::string text;
  std::vector<std::vector<TokenProbability>> logprobs;
  bool empty() const { return text.empty() && logprobs.empty(); }
};

class Mailbox {
 public:
  void put(std::string text) {
    std::lock_guard lock(mutex_);
    piece_.text += text;
    changed_.notify_one();
  }
  void put(const std::vector<TokenProbability>& logprobs) {
    std::lock_guard lock(mutex_);
    piece_.logprobs.push_back(logprobs);
  }
  void end(const GenerateResult& result, std::exception_ptr error) {
    std::lock_guard lock(mutex_);
    result_ = result, error_ = error, ended_ = true;
    changed_.notify_one();
  }
  // Waits a moment for more; true when there will be no more.
  bool take(Piece& piece) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::milliseconds(100),
                      [&] { return ended_ || !piece_.text.empty(); });
    piece = {};
    std::swap(piece, piece_);
    return ended_;
  }
  const GenerateResult& result() const {
    if (error_) std::rethrow_exception(error_);
    return result_;
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  Piece piece_;
  GenerateResult result_;
  std::exception_ptr error_;
  bool ended_ = false;
};

// One request from its body to its answer.
class Exchange {
 public:
  Exchange(const ServedModel& model, ApiRequest request, HttpResponse& response)
      : model_(model),
        chat_(request.chat),
        response_(response),
        api_(std::move(request)),
        stream_(model.text->tokenizer(), true, true),
        filter_(stops()) {
    static std::atomic<int64_t> next{0};
    id_ = str(chat_ ? "chatcmpl-" : "cmpl-", std::time(nullptr), "-", ++next);
    created_ = std::time(nullptr);
  }

  void run() {
    GenerateRequest& g = api_.generate;
    g.prompt = !api_.ids.empty() ? api_.ids
               : chat_           ? model_.text->chat(api_.messages)
                                 : model_.text->prompt(api_.prompt);
    if (!api_.ignore_eos) g.stop_tokens = model_.text->stop_tokens();
    g.vocab = model_.text->vocab();
    g.on_token = [this](int32_t token) {
      mailbox_.put(filter_.push(stream_.push(token)));
      return !filter_.stopped();
    };
    g.on_logprobs = [this](const std::vector<TokenProbability>& p) { mailbox_.put(p); };
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
    Piece dropped;
    while (!mailbox_.take(dropped)) {
    }
  }

  void whole(int64_t ticket) {
    Piece all, piece;
    bool ended = false;
    while (!ended) {
      ended = mailbox_.take(piece);
      all.text += piece.text;
      all.logprobs.insert(all.logprobs.end(), piece.logprobs.begin(), piece.logprobs.end());
      if (!ended && response_.client_gone()) return wait_for_end(ticket);
    }
    const GenerateResult& r = mailbox_.result();
    Json choice = {{"index", 0}};
    if (chat_)
      choice["message"] = {{"role", "assistant"}, {"content", all.text}};
    else
      choice["text"] = all.text;
    choice["finish_reason"] = finish(r);
    choice["logprobs"] = logprobs(all.logprobs);
    Json body = head(chat_ ? "chat.completion" : "text_completion");
    body["choices"] = Json::array({choice});
    body["usage"] = usage(r);
    response_.send(200, "application/json", to_text(body));
  }

  void stream(int64_t ticket) {
    response_.header("Cache-Control", "no-cache");
    bool open = false, gone = false, ended = false;
    Piece piece;
    while (!ended && !gone) {
      ended = mailbox_.take(piece);
      if (ended) mailbox_.result();  // an error before the first piece is answered as an error
      if (!open && !piece.empty()) begin(), open = true;
      if (!piece.empty()) gone = !event(delta(piece, Json()));
      if (!ended && !gone) gone = response_.client_gone();
    }
    if (gone) return wait_for_end_if(!ended, ticket);
    if (!open) begin();
    event(delta({}, finish(mailbox_.result())));
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

  Json delta(const Piece& piece, const Json& reason) const {
    Json choice = {{"index", 0}};
    if (chat_)
      choice["delta"] = piece.text.empty() ? Json::object() : Json{{"content", piece.text}};
    else
      choice["text"] = piece.text;
    choice["logprobs"] = logprobs(piece.logprobs);
    choice["finish_reason"] = reason;
    Json body = head(chat_ ? "chat.completion.chunk" : "text_completion");
    body["choices"] = Json::array({choice});
    return body;
  }

  // A token's text; its bytes say what is no character by itself.
  std::string text_of(int32_t token) const { return model_.text->tokenizer().decode({&token, 1}); }

  Json logprobs(const std::vector<std::vector<TokenProbability>>& list) const {
    if (list.empty()) return nullptr;
    Json content = Json::array(), tokens = Json::array(), values = Json::array(), tops = Json::array();
    for (const auto& token : list) {
      Json top = Json::array(), by_text = Json::object();
      for (size_t i = 1; i < token.size(); ++i) {
        top.push_back(entry(token[i]));
        by_text.emplace(utf8_repair(text_of(token[i].token)), token[i].log_probability);  // of one text the likeliest
      }
      Json one = entry(token[0]);
      tokens.push_back(one["token"]), values.push_back(token[0].log_probability), tops.push_back(by_text);
      one["top_logprobs"] = std::move(top);
      content.push_back(std::move(one));
    }
    if (chat_) return {{"content", std::move(content)}};
    return {{"tokens", std::move(tokens)}, {"token_logprobs", std::move(values)}, {"top_logprobs", std::move(tops)}};
  }

  Json entry(const TokenProbability& p) const {
    const std::string text = text_of(p.token);
    Json bytes = Json::array();
    for (const char c : text) bytes.push_back(static_cast<uint8_t>(c));
    return {{"token", utf8_repair(text)}, {"logprob", p.log_probability}, {"bytes", std::move(bytes)}};
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
            {"total_tokens", r.prompt_tokens + r.tokens},
            {"prompt_tokens_details", {{"cached_tokens", r.cached_tokens}}}};
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

void answer_completion(const ServedModel& model, ApiRequest request, HttpResponse& response) {
  Exchange(model, std::move(request), response).run();
}

}  // namespace wellspring
