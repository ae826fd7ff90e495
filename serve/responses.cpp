#include "serve/responses.h"

#include <algorithm>
#include <ctime>
#include <optional>

#include "base/error.h"
#include "base/http.h"
#include "base/json.h"
#include "base/text.h"
#include "serve/api.h"
#include "serve/api_error.h"
#include "serve/exchange.h"
#include "serve/generation.h"
#include "serve/model_text.h"
#include "serve/response_store.h"

namespace wellspring {
namespace {

// One response, whole or as events: the same steps make both, so they agree.
class ResponseExchange {
 public:
  ResponseExchange(const ServedModel& model, ResponseRequest request, const std::string& owner,
                   ResponseStore& store, HttpResponse& http)
      : model_(model),
        request_(std::move(request)),
        owner_(owner),
        store_(store),
        http_(http),
        id_(new_item_id("resp_")),
        created_(std::time(nullptr)),
        generation_(model, std::move(request_.api)),
        stream_(generation_.request().stream) {}

  void run() {
    std::vector<Generation::News> news;
    for (bool more = true; more;) {
      try {
        more = generation_.take(news);
        if (!begun_) generation_.check();
      } catch (const Error& e) {
        if (!begun_) throw;  // before the first piece it is answered as an error
        return fail(e.what());
      }
      Generation::News& n = news[0];
      if (stream_ && !begun_ && (!n.empty() || n.ended)) begin();
      add_logprobs(n);
      if (!n.content.empty()) add_text(n.content);
      for (ToolCallDelta& d : n.calls) add_call(d);
      if (gone_ || (more && http_.client_gone())) return;
    }
    try {
      generation_.check();
    } catch (const Error& e) {
      if (!begun_) throw;
      return fail(e.what());
    }
    end();
  }

 private:
  void begin() {
    begun_ = true;
    http_.header("Cache-Control", "no-cache");
    http_.begin_stream(200, "text/event-stream");
    for (const char* type : {"response.created", "response.in_progress"})
      event(type, {{"response", body("in_progress")}});
  }

  // What an open item of the output was is known when it closes.
  void open(Json item) {
    close("completed");
    output_.push_back(std::move(item));
    open_ = true;
    event("response.output_item.added", {{"output_index", index()}, {"item", output_.back()}});
  }
  void open_message() {
    open({{"id", new_item_id("msg_")},
          {"type", "message"},
          {"status", "in_progress"},
          {"role", "assistant"},
          {"content", Json::array()}});
    Json part = {{"type", "output_text"},
                 {"text", ""},
                 {"annotations", Json::array()},
                 {"logprobs", Json::array()}};
    event("response.content_part.added", of_text({{"part", part}}));
    output_.back()["content"].push_back(std::move(part));
  }

  void add_text(const std::string& text) {
    if (!open_ || output_.back()["type"] != "message") open_message();
    Json& part = output_.back()["content"][0];
    part["text"].get_ref<std::string&>() += text;
    event("response.output_text.delta", of_text({{"delta", text}, {"logprobs", logprobs_}}));
    keep_logprobs(part);
  }

  void add_call(const ToolCallDelta& d) {
    if (!d.id.empty())
      open({{"id", new_item_id("fc_")},
            {"type", "function_call"},
            {"status", "in_progress"},
            {"call_id", d.id},
            {"name", d.name},
            {"arguments", ""}});
    if (d.arguments.empty()) return;
    output_.back()["arguments"].get_ref<std::string&>() += d.arguments;
    event("response.function_call_arguments.delta", of_item({{"delta", d.arguments}}));
  }

  // Those of tokens whose text is held back go with the next text.
  void add_logprobs(const Generation::News& n) {
    if (generation_.request().generate.top_logprobs < 0) return;
    for (const auto& token : n.logprobs)
      logprobs_.push_back(token_logprobs_json(*model_.text, token));
  }
  void keep_logprobs(Json& part) {
    for (Json& one : logprobs_) part["logprobs"].push_back(std::move(one));
    logprobs_ = Json::array();
  }

  void close(const char* status) {
    if (!open_) return;
    open_ = false;
    Json& item = output_.back();
    item["status"] = status;
    if (item["type"] == "message") {
      Json& part = item["content"][0];
      keep_logprobs(part);
      event("response.output_text.done",
            of_text({{"text", part["text"]}, {"logprobs", part["logprobs"]}}));
      event("response.content_part.done", of_text({{"part", part}}));
    } else {
      event("response.function_call_arguments.done",
            of_item({{"name", item["name"]}, {"arguments", item["arguments"]}}));
    }
    event("response.output_item.done", {{"output_index", index()}, {"item", item}});
  }

  void end() {
    const bool cut = std::string_view(generation_.finish_reason(0)) == "length";
    const char* status = cut ? "incomplete" : "completed";
    if (output_.empty()) open_message();  // it had nothing to say
    close(status);
    Json answer = body(status);
    if (cut) answer["incomplete_details"] = {{"reason", "max_output_tokens"}};
    if (!cut) answer["completed_at"] = std::time(nullptr);
    answer["usage"] = usage();
    if (gone_) return;
    if (request_.store)
      store_.put(owner_, {id_, to_text(answer), to_text(*request_.conversation)});
    if (!stream_) return http_.send(200, "application/json", to_text(answer));
    event(cut ? "response.incomplete" : "response.completed", {{"response", std::move(answer)}});
    http_.end();
  }

  // The head is sent: what is left is to say it in the stream.
  void fail(const std::string& message) {
    close("incomplete");
    Json answer = body("failed");
    answer["error"] = {{"code", "server_error"}, {"message", message}};
    event("response.failed", {{"response", std::move(answer)}});
    http_.end();
  }

  Json body(const char* status) const {
    Json answer = {{"id", id_},          {"object", "response"}, {"created_at", created_},
                   {"status", status},   {"background", false},  {"error", nullptr},
                   {"usage", nullptr},   {"model", model_.name}, {"incomplete_details", nullptr},
                   {"output", output_}};
    answer.update(*request_.settings);
    return answer;
  }
  Json usage() const {
    const Generation::Usage u = generation_.usage();
    return {{"input_tokens", u.prompt},
            {"input_tokens_details", {{"cached_tokens", u.cached}, {"cache_write_tokens", 0}}},
            {"output_tokens", u.made},
            {"output_tokens_details", {{"reasoning_tokens", 0}}},
            {"total_tokens", u.prompt + u.made}};
  }

  size_t index() const { return output_.size() - 1; }
  Json of_item(Json fields) const {
    fields["item_id"] = output_.back()["id"];
    fields["output_index"] = index();
    return fields;
  }
  Json of_text(Json fields) const {
    fields["content_index"] = 0;
    return of_item(std::move(fields));
  }
  void event(const char* type, const Json& fields) {
    if (!stream_ || gone_) return;
    Json all = {{"type", type}, {"sequence_number", sequence_++}};
    all.update(fields);
    gone_ = !http_.write(str("event: ", type, "\ndata: ", to_text(all), "\n\n"));
  }

  const ServedModel& model_;
  ResponseRequest request_;
  const std::string owner_;
  ResponseStore& store_;
  HttpResponse& http_;
  const std::string id_;
  const int64_t created_;
  Generation generation_;
  const bool stream_;
  Json output_ = Json::array(), logprobs_ = Json::array();
  bool begun_ = false, open_ = false, gone_ = false;
  int64_t sequence_ = 0;
};

// A conversation without what was said before message `first`, instructions aside.
Json cut_before(const Json& context, size_t first) {
  Json cut = context;
  Json& messages = cut["messages"] = Json::array();
  const Json& all = context["messages"];
  for (size_t i = 0; i < all.size(); ++i)
    if (i >= first || all[i]["role"] == "system") messages.push_back(all[i]);
  return cut;
}

// Cuts at turns of the user, as few as let the prompt and an answer into the context. The last one
// stays: when it does not fit alone, the engine says so.
void cut_to_context(const ServedModel& model, ApiRequest& api) {
  std::vector<size_t> turns = {0};
  const Json& all = (*api.context)["messages"];
  for (size_t i = 1; i < all.size(); ++i)
    if (all[i]["role"] == "user") turns.push_back(i);
  const int64_t answer = std::min(api.generate.max_tokens, model.context / 2);
  const auto fits = [&](size_t turn) {
    const Json cut = cut_before(*api.context, turns[turn]);
    return static_cast<int64_t>(model.text->chat(cut, model.text->tool_format().begin).size()) +
               answer <= model.context;
  };
  size_t low = 0, high = turns.size() - 1;  // the first that fits is in [low, high]
  if (fits(0)) return;
  while (low < high) {
    const size_t middle = (low + high) / 2;
    fits(middle) ? high = middle : low = middle + 1;
  }
  *api.context = cut_before(*api.context, turns[high]);
}

std::shared_ptr<const StoredResponse> find_response(ResponseStore& store, const std::string& owner,
                                                    const std::string& id, const char* code) {
  auto found = store.find(owner, id);
  if (!found)
    throw ApiError(404, code,
                   str("no response '", utf8_repair(id.substr(0, 80)),
                       "' is kept for this key: it was not stored, was deleted, or is too old"),
                   0, std::string_view(code).starts_with("previous") ? "previous_response_id" : "");
  return found;
}

std::shared_ptr<const StoredResponse> find_response(ResponseStore& store, const HttpRequest& q) {
  return find_response(store, q.user, std::string(q.part("id")), "response_not_found");
}

}  // namespace

void answer_response(const ServedModel& model, ResponseRequest request, const std::string& owner,
                     ResponseStore& store, HttpResponse& response) {
  check_ids(request.api, model.text->vocab());
  if (request.truncate) cut_to_context(model, request.api);
  ResponseExchange(model, std::move(request), owner, store, response).run();
}

void count_input_tokens(const ServedModel& model, ResponseRequest request, HttpResponse& response) {
  if (request.truncate) cut_to_context(model, request.api);
  response.send(200, "application/json",
                to_text({{"object", "response.input_tokens"},
                         {"input_tokens", prompt_tokens(*model.text, request.api, 0).size()}}));
}

Json stored_conversation(ResponseStore& store, const std::string& owner, const std::string& id) {
  const auto found = find_response(store, owner, id, "previous_response_not_found");
  Json items = parse_json(found->input, "stored input");
  Json response = parse_json(found->response, "stored response");
  for (Json& item : response["output"]) {
    if (item["type"] == "message") item["content"][0].erase("logprobs");
    items.push_back(std::move(item));
  }
  return items;
}

void send_response(ResponseStore& store, const HttpRequest& q, HttpResponse& a) {
  if (q.parameter("stream") == "true")
    refused_field("stream", "a stored response comes whole");
  a.send(200, "application/json", find_response(store, q)->response);
}

void delete_response(ResponseStore& store, const HttpRequest& q, HttpResponse& a) {
  const std::string id = find_response(store, q)->id;
  store.erase(q.user, id);
  a.send(200, "application/json",
         to_text({{"id", id}, {"object", "response"}, {"deleted", true}}));
}

void list_input_items(ResponseStore& store, const HttpRequest& q, HttpResponse& a) {
  const auto found = find_response(store, q);
  const std::string_view order = q.parameter("order"), after = q.parameter("after");
  const std::string_view limit = q.parameter("limit");
  const std::optional<int64_t> most = limit.empty() ? 20 : parse_int(limit);
  if (!most || *most < 1 || *most > 100) wrong_field("limit", "1 to 100");
  if (!order.empty() && order != "asc" && order != "desc")
    wrong_field("order", "asc or desc");
  Json all = parse_json(found->input, "stored input");
  if (order != "asc") std::reverse(all.begin(), all.end());
  auto from = all.begin();
  if (!after.empty()) {
    from = std::find_if(all.begin(), all.end(), [&](const Json& i) {
      return i["id"].get_ref<const std::string&>() == after;
    });
    if (from == all.end()) wrong_field("after", "the id of one of the items");
    ++from;
  }
  Json data = Json::array();
  for (; from != all.end() && static_cast<int64_t>(data.size()) < *most; ++from)
    data.push_back(*from);
  const Json first = data.empty() ? Json() : data.front()["id"],
             last = data.empty() ? Json() : data.back()["id"];
  a.send(200, "application/json",
         to_text({{"object", "list"},
                  {"data", std::move(data)},
                  {"first_id", first},
                  {"last_id", last},
                  {"has_more", from != all.end()}}));
}

}  // namespace wellspring
