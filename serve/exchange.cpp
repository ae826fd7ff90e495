#include "serve/exchange.h"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <ctime>
#include <numeric>

#include "base/error.h"
#include "base/http.h"
#include "base/json.h"
#include "base/text.h"
#include "serve/api.h"
#include "serve/api_error.h"
#include "serve/generation.h"
#include "serve/model_text.h"
#include "text/tokenizer.h"

namespace wellspring {
namespace {

using News = Generation::News;

// The bytes say what is no character by itself.
Json probability_json(const ModelText& model, const TokenProbability& p) {
  const std::string text = model.tokenizer().decode({&p.token, 1});
  Json bytes = Json::array();
  for (const char c : text) bytes.push_back(static_cast<uint8_t>(c));
  return {{"token", utf8_repair(text)}, {"logprob", p.log_probability}, {"bytes", std::move(bytes)}};
}

class Exchange {
 public:
  Exchange(const ServedModel& model, ApiRequest request, HttpResponse& response)
      : model_(model), response_(response), generation_(model, std::move(request)), api_(generation_.request()), chat_(api_.chat) {
    static std::atomic<int64_t> next{0};
    created_ = std::time(nullptr);
    id_ = str(chat_ ? "chatcmpl-" : "cmpl-", created_, "-", ++next);
    if (!chat_) places_.assign(generation_.answers(), Place(model.text->tokenizer()));
  }

  void whole() {
    struct Answer {
      News all;
      Json calls = Json::array();
    };
    std::vector<Answer> answers(generation_.answers());
    std::vector<News> news;
    for (bool more = true; more;) {
      more = generation_.take(news);
      generation_.check();
      for (size_t i = 0; i < answers.size(); ++i) {
        Answer& a = answers[i];
        for (ToolCallDelta& d : news[i].calls) add_call(a.calls, std::move(d));
        news[i].calls.clear();
        a.all.add(std::move(news[i]));
      }
      if (more && response_.client_gone()) return;
    }
    Json choices = Json::array();
    for (size_t first = 0; first < answers.size(); first += generation_.answers_per_prompt())
      for (const size_t i : best(first))
        choices.push_back(choice(i, static_cast<int64_t>(choices.size()), answers[i].all, answers[i].calls));
    Json body = head(chat_ ? "chat.completion" : "text_completion");
    body["choices"] = std::move(choices);
    body["usage"] = usage();
    response_.send(200, "application/json", to_text(body));
  }

  void stream() {
    response_.header("Cache-Control", "no-cache");
    bool open = false;
    std::vector<News> news;
    for (bool more = true; more;) {
      try {
        more = generation_.take(news);
        if (!open) generation_.check();  // an error before the first piece is answered as an error
      } catch (const Error& e) {
        if (!open) throw;
        event(api_error_json(e));
        return response_.end();
      }
      for (size_t i = 0; i < news.size(); ++i) {
        if (news[i].empty() && !news[i].ended) continue;
        if (!open) begin(), open = true;
        if (!news[i].empty() && !event(delta(i, news[i], Json()))) return;
        if (news[i].ended && !end_of(i)) return;
      }
      if (more && response_.client_gone()) return;
    }
    if (api_.include_usage) {
      Json last = head(chat_ ? "chat.completion.chunk" : "text_completion");
      last["choices"] = Json::array();
      last["usage"] = usage();
      event(last);
    }
    response_.write("data: [DONE]\n\n");
    response_.end();
  }

 private:
  // How far the text has come, token by token, in characters. Special tokens are text in an echoed prompt alone.
  struct Place {
    explicit Place(const Tokenizer& tokenizer) : prompt(tokenizer, false, true), answer(tokenizer, true, true) {}
    int64_t before(int32_t token, bool special) {
      const int64_t at = characters;
      for (const char c : (special ? prompt : answer).push(token)) characters += (static_cast<uint8_t>(c) & 0xc0) != 0x80;
      return at;
    }
    StreamDecoder prompt, answer;
    int64_t characters = 0;
  };

  // Of a prompt's answers the `n` of the highest log-probability a token; beams come in their order.
  std::vector<size_t> best(size_t first) const {
    std::vector<size_t> all(generation_.answers_per_prompt());
    std::iota(all.begin(), all.end(), first);
    if (api_.best_of == api_.n) return all;
    if (!api_.generate.beams)
      std::stable_sort(all.begin(), all.end(), [&](size_t a, size_t b) {
        return generation_.mean_log_probability(a) > generation_.mean_log_probability(b);
      });
    all.resize(static_cast<size_t>(api_.n));
    return all;
  }

  static void add_call(Json& calls, ToolCallDelta d) {
    while (static_cast<int64_t>(calls.size()) <= d.index)
      calls.push_back({{"id", d.id}, {"type", "function"}, {"function", {{"name", d.name}, {"arguments", ""}}}});
    Json& arguments = calls[static_cast<size_t>(d.index)]["function"]["arguments"];
    arguments = arguments.get<std::string>() + d.arguments;
  }

  Json choice(size_t i, int64_t index, const News& all, const Json& calls) {
    Json c = {{"index", index}};
    if (chat_) {
      c["message"] = {{"role", "assistant"}, {"content", all.content}};
      if (!calls.empty()) {
        if (all.content.empty()) c["message"]["content"] = nullptr;
        c["message"]["tool_calls"] = calls;
      }
    } else {
      c["text"] = api_.echo ? echoed(i) + all.content : all.content;
    }
    c["finish_reason"] = generation_.finish_reason(i);
    c["logprobs"] = api_.generate.top_logprobs >= 0 ? logprobs(i, all) : Json();
    return c;
  }

  // Whether the tokenizer put a token before a text that does not begin with it.
  bool put_before(int32_t token, const std::string& text) const {
    const Tokenizer& t = model_.text->tokenizer();
    return t.is_special(token) && !starts_with(text, t.decode({&token, 1}));
  }

  std::string echoed(size_t i) const {
    const ApiRequest::Prompt& p = api_.prompts[i / generation_.answers_per_prompt()];
    return p.ids.empty() ? p.text : utf8_repair(model_.text->tokenizer().decode(p.ids));
  }

  bool end_of(size_t i) {
    try {
      generation_.check();
    } catch (const Error& e) {  // the head is sent: what is left is to say it in the stream
      return event(api_error_json(e));
    }
    return event(delta(i, {}, generation_.finish_reason(i)));
  }

  void begin() {
    response_.begin_stream(200, "text/event-stream");
    if (!chat_ && !api_.echo) return;
    for (size_t i = 0; i < generation_.answers(); ++i) {
      News news;
      if (!chat_) news.content = echoed(i);
      Json body = delta(i, news, Json());
      if (chat_) body["choices"][0]["delta"] = {{"role", "assistant"}, {"content", ""}};
      event(body);
    }
  }

  Json delta(size_t i, const News& news, const Json& reason) {
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
    c["logprobs"] = logprobs(i, news);
    c["finish_reason"] = reason;
    Json body = head(chat_ ? "chat.completion.chunk" : "text_completion");
    body["choices"] = Json::array({c});
    return body;
  }

  Json logprobs(size_t i, const News& news) {
    if (news.logprobs.empty() && news.prompt_logprobs.empty()) return nullptr;
    if (!chat_) return completion_logprobs(i, news);
    Json content = Json::array();
    for (const auto& token : news.logprobs) content.push_back(token_logprobs_json(*model_.text, token));
    return {{"content", std::move(content)}};
  }

  // The likeliest by their texts, and the token itself, which need not be one of them.
  Json completion_logprobs(size_t i, const News& news) {
    const std::string prompt = api_.echo ? echoed(i) : "";
    Place& place = places_[i];
    Json tokens = Json::array(), values = Json::array(), tops = Json::array(), offsets = Json::array();
    for (const auto* list : {&news.prompt_logprobs, &news.logprobs})
      for (const auto& token : *list) {
        const Json one = token_logprobs_json(*model_.text, token);
        Json by_text = Json::object();
        for (const Json& top : one["top_logprobs"])
          by_text.emplace(top["token"].get<std::string>(), top["logprob"].get<double>());  // of one text the likeliest
        by_text.emplace(one["token"].get<std::string>(), one["logprob"].get<double>());
        const bool first = std::isnan(token[0].log_probability);  // of the prompt: nothing stands before it
        tokens.push_back(one["token"]), values.push_back(first ? Json() : one["logprob"]);
        tops.push_back(first ? Json() : std::move(by_text));
        const bool special = list == &news.prompt_logprobs && !(first && put_before(token[0].token, prompt));
        offsets.push_back(place.before(token[0].token, special));
      }
    return {{"tokens", std::move(tokens)},
            {"token_logprobs", std::move(values)},
            {"top_logprobs", std::move(tops)},
            {"text_offset", std::move(offsets)}};
  }

  bool event(const Json& body) { return response_.write(str("data: ", to_text(body), "\n\n")); }

  Json head(const char* object) const {
    const std::string& bits = model_.fingerprint;
    return {{"id", id_},
            {"object", object},
            {"created", created_},
            {"model", model_.name},
            {"system_fingerprint", bits.empty() ? Json() : Json(bits)}};
  }
  Json usage() const {
    const Generation::Usage u = generation_.usage();
    return {{"prompt_tokens", u.prompt},
            {"completion_tokens", u.made},
            {"total_tokens", u.prompt + u.made},
            {"prompt_tokens_details", {{"cached_tokens", u.cached}}}};
  }

  const ServedModel& model_;
  HttpResponse& response_;
  Generation generation_;
  const ApiRequest& api_;
  const bool chat_;
  std::string id_;
  int64_t created_ = 0;
  std::vector<Place> places_;  // of a completion's answers
};

}  // namespace

Json token_logprobs_json(const ModelText& text, const std::vector<TokenProbability>& token) {
  Json one = probability_json(text, token[0]), top = Json::array();
  for (size_t i = 1; i < token.size(); ++i) top.push_back(probability_json(text, token[i]));
  one["top_logprobs"] = std::move(top);
  return one;
}

void answer_completion(const ServedModel& model, ApiRequest request, HttpResponse& response) {
  check_ids(request, model.text->vocab());
  const bool stream = request.stream;
  Exchange exchange(model, std::move(request), response);
  stream ? exchange.stream() : exchange.whole();
}

}  // namespace wellspring
