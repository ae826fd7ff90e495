#include "serve/exchange.h"

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <ctime>
#include <mutex>
#include <numeric>
#include <optional>

#include "base/error.h"
#include "base/http.h"
#include "base/json.h"
#include "base/random.h"
#include "base/text.h"
#include "serve/api.h"
#include "serve/constraint.h"
#include "serve/engine.h"
#include "serve/model_text.h"
#include "serve/stop_filter.h"
#include "serve/tool_calls.h"
#include "text/tokenizer.h"

namespace wellspring {
namespace {

// What the engine's thread has made for a connection's thread: text, and the log-probabilities of its tokens.
struct Piece {
  std::string text;
  std::vector<std::vector<TokenProbability>> logprobs;
  bool empty() const { return text.empty() && logprobs.empty(); }
  void add(Piece&& more) {
    text += more.text;
    std::move(more.logprobs.begin(), more.logprobs.end(), std::back_inserter(logprobs));
  }
};

// Between the engine's thread and the connection's, for all answers of an exchange.
class Mailbox {
 public:
  explicit Mailbox(size_t answers) : pieces_(answers), results_(answers), running_(0) {}

  void begin() {
    std::lock_guard lock(mutex_);
    ++running_;
  }
  void put(size_t answer, std::string text) {
    std::lock_guard lock(mutex_);
    pieces_[answer].text += text;
    if (!text.empty()) news_ = true, changed_.notify_one();
  }
  void put(size_t answer, const std::vector<TokenProbability>& logprobs) {
    std::lock_guard lock(mutex_);
    pieces_[answer].logprobs.push_back(logprobs);
  }
  void end(size_t answer, const GenerateResult& result, std::exception_ptr error) {
    std::lock_guard lock(mutex_);
    results_[answer] = result;
    if (error && !error_) error_ = error;
    --running_, news_ = true;
    changed_.notify_one();
  }
  // Waits a moment for more; true when there will be no more. `ended`: which of the answers have.
  bool take(std::vector<Piece>& pieces, std::vector<bool>& ended) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::milliseconds(100), [&] { return running_ == 0 || news_ || error_; });
    news_ = false;
    for (Piece& p : pieces) p = {};
    std::swap(pieces, pieces_);
    for (size_t i = 0; i < results_.size(); ++i) ended[i] = results_[i].has_value();
    return running_ == 0;
  }
  void check() {
    std::lock_guard lock(mutex_);
    if (error_) std::rethrow_exception(error_);
  }
  const GenerateResult& result(size_t answer) const { return *results_[answer]; }  // once it has ended

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<Piece> pieces_;
  std::vector<std::optional<GenerateResult>> results_;
  std::exception_ptr error_;
  int64_t running_;
  bool news_ = false;
};

// One of the answers. The decoder and the filter belong to the engine's thread while it runs.
struct Answer {
  Answer(const Tokenizer& tokenizer, bool show_special, std::vector<std::string> stops)
      : stream(tokenizer, !show_special, true), filter(std::move(stops)) {}
  StreamDecoder stream;
  StopFilter filter;
  int64_t ticket = 0;
  // The connection's thread:
  std::optional<ToolCallReader> tools;
  std::string content;
  Json calls = Json::array();
  std::vector<std::vector<TokenProbability>> logprobs;
  double log_probability = 0;  // of all tokens
  bool told = false;           // its end, to a stream
};

class Exchange {
 public:
  Exchange(const ServedModel& model, ApiRequest request, HttpResponse& response)
      : model_(model),
        chat_(request.chat),
        response_(response),
        api_(std::move(request)),
        prompts_(chat_ ? 1 : api_.prompts.size()),
        per_prompt_(static_cast<size_t>(api_.best_of)),
        mailbox_(prompts_ * per_prompt_) {
    static std::atomic<int64_t> next{0};
    created_ = std::time(nullptr);
    id_ = str(chat_ ? "chatcmpl-" : "cmpl-", created_, "-", ++next);
    for (size_t i = 0; i < prompts_ * per_prompt_; ++i) {
      answers_.push_back(std::make_unique<Answer>(model_.text->tokenizer(), calls_tools(), stops()));
      if (calls_tools()) answers_.back()->tools.emplace(model_.text->tool_format(), begun());
    }
  }

  void run() {
    try {
      submit();
      api_.stream ? stream() : whole();
    } catch (...) {  // the engine writes into this object: it must have ended first
      cancel();
      throw;
    }
  }

 private:
  bool calls_tools() const { return api_.tool_choice != ApiRequest::ToolChoice::none; }
  bool begun() const { return api_.tool_choice == ApiRequest::ToolChoice::required; }

  std::vector<std::string> stops() const {
    std::vector<std::string> all = api_.stops;
    if (chat_)
      all.insert(all.end(), model_.text->chat_stops().begin(), model_.text->chat_stops().end());
    return all;
  }

  std::vector<int32_t> prompt(size_t i) const {
    if (chat_) return model_.text->chat(*api_.context, begun() ? model_.text->tool_format().begin : "");
    const ApiRequest::Prompt& p = api_.prompts[i];
    return p.ids.empty() ? model_.text->prompt(p.text) : p.ids;
  }

  std::function<std::shared_ptr<TokenConstraint>()> constraints() const {
    const ModelText& text = *model_.text;
    if (api_.grammar)
      return [&text, g = text.grammar(*api_.grammar)] { return constrain(g, text); };
    if (!calls_tools()) return [] { return nullptr; };
    const ToolFormat& f = text.tool_format();
    const std::string trigger(f.trigger());
    GrammarText g{GrammarText::Kind::json_schema, tool_call_schema(f, *api_.tools), {}};
    g.json.after = f.end;
    if (api_.parallel_tool_calls && f.several) g.json.between = f.between;
    if (begun()) return [&text, g = text.grammar(g)] { return constrain(g, text); };
    g.json.before = f.begin.substr(f.begin.find(trigger) + trigger.size());
    return [&text, trigger, g = text.grammar(g)] { return constrain_after(trigger, g, text); };
  }

  void submit() {
    const auto constraint = constraints();
    if (!api_.ignore_eos)
      for (const int32_t t : model_.text->stop_tokens()) api_.generate.stop_tokens.push_back(t);
    api_.generate.vocab = model_.text->vocab();
    for (size_t p = 0; p < prompts_; ++p) {
      api_.generate.prompt = prompt(p);
      for (size_t k = 0; k < per_prompt_; ++k) submit_one(p * per_prompt_ + k, static_cast<int64_t>(k), constraint());
    }
  }

  void submit_one(size_t i, int64_t k, std::shared_ptr<TokenConstraint> constraint) {
    Answer& a = *answers_[i];
    GenerateRequest g = api_.generate;
    if (api_.best_of > api_.n) g.top_logprobs = std::max<int64_t>(g.top_logprobs, 0);
    if (k) g.sampling.seed = Random(g.sampling.seed, static_cast<uint64_t>(k)).next_u64();  // the first: as alone
    g.constraint = std::move(constraint);
    g.on_token = [this, i, &a](int32_t token) {
      mailbox_.put(i, a.filter.push(a.stream.push(token)));
      return !a.filter.stopped();
    };
    g.on_logprobs = [this, i](const std::vector<TokenProbability>& p) { mailbox_.put(i, p); };
    mailbox_.begin();
    try {
      a.ticket = model_.engine->submit(std::move(g), [this, i, &a](const GenerateResult& r, std::exception_ptr e) {
        if (!e && !a.filter.stopped()) {
          mailbox_.put(i, a.filter.push(a.stream.finish()));
          mailbox_.put(i, a.filter.finish());
        }
        mailbox_.end(i, r, e);
      });
    } catch (...) {
      mailbox_.end(i, {}, nullptr);
      throw;
    }
  }

  void cancel() {
    for (const auto& a : answers_)
      if (a->ticket) model_.engine->cancel(a->ticket);
    std::vector<Piece> dropped(answers_.size());
    std::vector<bool> ended(answers_.size());
    while (!mailbox_.take(dropped, ended)) {
    }
  }

  // Takes what came for an answer; what a stream would show of it.
  struct News {
    std::string content;
    std::vector<ToolCallDelta> calls;
    std::vector<std::vector<TokenProbability>> logprobs;
    bool empty() const { return content.empty() && calls.empty() && logprobs.empty(); }
  };
  News read(Answer& a, Piece&& piece, bool ended) {
    News news;
    if (a.tools) {
      a.tools->push(piece.text, news.content, news.calls);
      if (ended) a.tools->finish(news.content);
    } else {
      news.content = std::move(piece.text);
    }
    for (const auto& p : piece.logprobs) a.log_probability += p[0].log_probability;
    news.logprobs = std::move(piece.logprobs);
    return news;
  }

  void whole() {
    std::vector<Piece> pieces(answers_.size());
    std::vector<bool> ended(answers_.size());
    for (bool all = false; !all;) {
      all = mailbox_.take(pieces, ended);
      mailbox_.check();
      for (size_t i = 0; i < answers_.size(); ++i) {
        Answer& a = *answers_[i];
        News news = read(a, std::move(pieces[i]), ended[i]);
        a.content += news.content;
        for (ToolCallDelta& d : news.calls) add_call(a.calls, std::move(d));
        std::move(news.logprobs.begin(), news.logprobs.end(), std::back_inserter(a.logprobs));
      }
      if (!all && response_.client_gone()) return cancel();
    }
    Json choices = Json::array();
    for (size_t p = 0; p < prompts_; ++p)
      for (const size_t i : best(p)) choices.push_back(choice(i, static_cast<int64_t>(choices.size())));
    Json body = head(chat_ ? "chat.completion" : "text_completion");
    body["choices"] = std::move(choices);
    body["usage"] = usage();
    response_.send(200, "application/json", to_text(body));
  }

  // Of a prompt's answers the `n` of the highest log-probability a token, in their order.
  std::vector<size_t> best(size_t p) const {
    std::vector<size_t> all(per_prompt_);
    std::iota(all.begin(), all.end(), p * per_prompt_);
    if (api_.best_of == api_.n) return all;
    const auto mean = [&](size_t i) {
      return answers_[i]->log_probability / static_cast<double>(std::max<int64_t>(1, mailbox_.result(i).tokens));
    };
    std::stable_sort(all.begin(), all.end(), [&](size_t a, size_t b) { return mean(a) > mean(b); });
    all.resize(static_cast<size_t>(api_.n));
    return all;
  }

  static void add_call(Json& calls, ToolCallDelta d) {
    while (static_cast<int64_t>(calls.size()) <= d.index)
      calls.push_back({{"id", d.id}, {"type", "function"}, {"function", {{"name", d.name}, {"arguments", ""}}}});
    Json& arguments = calls[static_cast<size_t>(d.index)]["function"]["arguments"];
    arguments = arguments.get<std::string>() + d.arguments;
  }

  Json choice(size_t i, int64_t index) const {
    const Answer& a = *answers_[i];
    Json c = {{"index", index}};
    if (chat_) {
      c["message"] = {{"role", "assistant"}, {"content", a.content}};
      if (!a.calls.empty()) {
        if (a.content.empty()) c["message"]["content"] = nullptr;
        c["message"]["tool_calls"] = a.calls;
      }
    } else {
      c["text"] = api_.echo ? echoed(i) + a.content : a.content;
    }
    c["finish_reason"] = finish(i);
    c["logprobs"] = logprobs(api_.generate.top_logprobs >= 0 ? a.logprobs : std::vector<std::vector<TokenProbability>>{});
    return c;
  }

  std::string echoed(size_t i) const {
    const ApiRequest::Prompt& p = api_.prompts[i / per_prompt_];
    return p.ids.empty() ? p.text : utf8_repair(model_.text->tokenizer().decode(p.ids));
  }

  void stream() {
    response_.header("Cache-Control", "no-cache");
    bool open = false, gone = false;
    std::vector<Piece> pieces(answers_.size());
    std::vector<bool> ended(answers_.size());
    for (bool all = false; !all && !gone;) {
      all = mailbox_.take(pieces, ended);
      if (!open) mailbox_.check();  // an error before the first piece is answered as an error
      for (size_t i = 0; i < answers_.size() && !gone; ++i) {
        const bool last = ended[i] && !answers_[i]->told;
        News news = read(*answers_[i], std::move(pieces[i]), last);
        if (news.empty() && !last) continue;
        if (!open) begin(), open = true;
        if (!news.empty()) gone = !event(delta(i, news, Json()));
        if (last && !gone) gone = !end_of(i);
      }
      if (!all && !gone) gone = response_.client_gone();
    }
    if (gone) return cancel();
    if (api_.include_usage) {
      Json last = head(chat_ ? "chat.completion.chunk" : "text_completion");
      last["choices"] = Json::array();
      last["usage"] = usage();
      event(last);
    }
    response_.write("data: [DONE]\n\n");
    response_.end();
  }

  bool end_of(size_t i) {
    answers_[i]->told = true;
    try {
      mailbox_.check();
    } catch (const Error& e) {  // the head is sent: what is left is to say it in the stream
      return event({{"error", {{"message", e.what()}, {"type", "server_error"}}}});
    }
    return event(delta(i, {}, finish(i)));
  }

  void begin() {
    response_.begin_stream(200, "text/event-stream");
    if (!chat_ && !api_.echo) return;
    for (size_t i = 0; i < answers_.size(); ++i) {
      News news;
      if (!chat_) news.content = echoed(i);
      Json body = delta(i, news, Json());
      if (chat_) body["choices"][0]["delta"] = {{"role", "assistant"}, {"content", ""}};
      event(body);
    }
  }

  Json delta(size_t i, const News& news, const Json& reason) const {
    Json c = {{"index", i}};
    if (chat_) {
      c["delta"] = Json::object();
      if (!news.content.empty()) c["delta"]["content"] = news.content;
      for (const ToolCallDelta& d : news.calls) {
        Json call = {{"index", d.index}};
        if (!d.id.empty()) call["id"] = d.id, call["type"] = "function", call["function"]["name"] = d.name;
        call["function"]["arguments"] = d.arguments;
        c["delta"]["tool_calls"].push_back(std::move(call));
      }
    } else {
      c["text"] = news.content;
    }
    c["logprobs"] = logprobs(news.logprobs);
    c["finish_reason"] = reason;
    Json body = head(chat_ ? "chat.completion.chunk" : "text_completion");
    body["choices"] = Json::array({c});
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
  const char* finish(size_t i) const {
    const Answer& a = *answers_[i];
    if (mailbox_.result(i).finish == GenerateResult::Finish::length) return "length";
    return a.tools && a.tools->calls() ? "tool_calls" : "stop";
  }
  Json usage() const {
    int64_t prompt = 0, made = 0, cached = 0;
    for (size_t i = 0; i < answers_.size(); ++i) {
      const GenerateResult& r = mailbox_.result(i);
      made += r.tokens;
      if (i % per_prompt_ == 0) prompt += r.prompt_tokens, cached += r.cached_tokens;  // a prompt counts once
    }
    return {{"prompt_tokens", prompt},
            {"completion_tokens", made},
            {"total_tokens", prompt + made},
            {"prompt_tokens_details", {{"cached_tokens", cached}}}};
  }

  const ServedModel& model_;
  const bool chat_;
  HttpResponse& response_;
  ApiRequest api_;
  const size_t prompts_, per_prompt_;
  Mailbox mailbox_;
  std::vector<std::unique_ptr<Answer>> answers_;
  std::string id_;
  int64_t created_ = 0;
};

}  // namespace

void answer_completion(const ServedModel& model, ApiRequest request, HttpResponse& response) {
  Exchange(model, std::move(request), response).run();
}

}  // namespace wellspring
