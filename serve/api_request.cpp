#include "serve/api_request.h"

#include <random>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"

namespace wellspring {
namespace {

[[noreturn]] void wrong(const std::string& field, const std::string& expected) {
  throw Error(Fault::data, str("'", field, "' must be ", expected));
}

const Json* find(const Json& body, const char* key) {
  auto it = body.find(key);
  return it == body.end() || it->is_null() ? nullptr : &*it;
}

double number(const Json& body, const char* key, double otherwise) {
  const Json* v = find(body, key);
  if (!v) return otherwise;
  if (!v->is_number()) wrong(key, "a number");
  return v->get<double>();
}

int64_t integer(const Json& body, const char* key, int64_t otherwise) {
  const Json* v = find(body, key);
  if (!v) return otherwise;
  if (!v->is_number_integer()) wrong(key, "an integer");
  return v->get<int64_t>();
}

bool boolean(const Json& body, const char* key) {
  const Json* v = find(body, key);
  if (!v) return false;
  if (!v->is_boolean()) wrong(key, "true or false");
  return v->get<bool>();
}

// What is not offered must not be passed over in silence.
void refuse(const Json& body) {
  if (integer(body, "n", 1) != 1) throw Error(Fault::data, "'n' other than 1 is not offered");
  if (integer(body, "best_of", 1) != 1)
    throw Error(Fault::data, "'best_of' other than 1 is not offered");
  for (const char* key : {"tools", "functions", "response_format", "suffix", "echo"}) {
    const Json* v = find(body, key);
    if (!v || *v == false || (v->is_object() && v->empty()) || (v->is_array() && v->empty()) ||
        *v == 0)
      continue;
    if (std::string_view(key) == "response_format" && v->is_object() &&
        v->value("type", Json()) == "text")
      continue;
    throw Error(Fault::data, str("'", key, "' is not offered"));
  }
}

void read_bias(const Json& body, SamplingOptions& o) {
  const Json* bias = find(body, "logit_bias");
  if (!bias) return;
  if (!bias->is_object()) wrong("logit_bias", "an object from token ids to numbers");
  if (bias->size() > 4096) wrong("logit_bias", "at most 4096 tokens");
  for (const auto& [key, value] : bias->items()) {
    const auto id = parse_int(key);
    if (!id || *id < 0 || *id > INT32_MAX || !value.is_number())
      wrong(str("logit_bias.", key.substr(0, 40)), "a number, by a token's id");
    const double v = value.get<double>();
    if (!(v >= -100 && v <= 100)) wrong(str("logit_bias.", key), "-100 to 100");
    o.bias.emplace_back(static_cast<int32_t>(*id), static_cast<float>(v));
  }
}

// A number for completions; for chats whether, and how many in a field of its own.
int64_t wanted_logprobs(const Json& body, bool chat) {
  constexpr int64_t kMost = 20;
  const Json* v = find(body, "logprobs");
  int64_t most = -1;
  if (chat) {
    if (boolean(body, "logprobs")) most = integer(body, "top_logprobs", 0);
    if (most < 0 && find(body, "top_logprobs")) wrong("top_logprobs", "given with 'logprobs': true");
  } else if (v) {
    most = integer(body, "logprobs", -1);
  }
  if (most > kMost || (v && !chat && most < 0)) wrong(chat ? "top_logprobs" : "logprobs", "0 to 20");
  return most;
}

void read_sampling(const Json& body, SamplingOptions& o) {
  o.temperature = number(body, "temperature", 1);
  o.top_p = number(body, "top_p", 1);
  o.top_k = integer(body, "top_k", 0);
  if (o.top_k == -1) o.top_k = 0;  // as some clients say all
  o.min_p = number(body, "min_p", 0);
  o.typical_p = number(body, "typical_p", 1);
  o.repetition_penalty = number(body, "repetition_penalty", 1);
  o.frequency_penalty = number(body, "frequency_penalty", 0);
  o.presence_penalty = number(body, "presence_penalty", 0);
  read_bias(body, o);
}

void read_prompt(const Json& body, ApiRequest& r) {
  const Json* p = find(body, "prompt");
  if (!p) throw Error(Fault::data, "'prompt' is missing");
  const Json* one = p->is_array() && p->size() == 1 && !(*p)[0].is_number() ? &(*p)[0] : p;
  if (one->is_string()) {
    r.prompt = one->get<std::string>();
  } else if (one->is_array() && !one->empty()) {
    for (const Json& id : *one) {
      if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() > INT32_MAX)
        wrong("prompt", "one text or one list of token ids");
      r.ids.push_back(id.get<int32_t>());
    }
  } else {
    wrong("prompt", "one text or one list of token ids");
  }
}

std::string content_of(const Json& message, const std::string& place) {
  const Json* c = find(message, "content");
  if (c && c->is_string()) return c->get<std::string>();
  if (c && c->is_array()) {  // parts, of which only text is understood
    std::string text;
    for (const Json& part : *c) {
      if (!part.is_object() || part.value("type", Json()) != "text" ||
          !part.value("text", Json()).is_string())
        wrong(place + ".content", "text, or parts of type text");
      text += part["text"].get<std::string>();
    }
    return text;
  }
  wrong(place + ".content", "text");
}

void read_messages(const Json& body, ApiRequest& r) {
  const Json* list = find(body, "messages");
  if (!list) throw Error(Fault::data, "'messages' is missing");
  if (!list->is_array() || list->empty()) wrong("messages", "a list of at least one message");
  for (size_t i = 0; i < list->size(); ++i) {
    const Json& m = (*list)[i];
    std::string place = str("messages[", i, "]");
    if (!m.is_object()) wrong(place, "an object with role and content");
    const Json* role = find(m, "role");
    if (!role || !role->is_string()) wrong(place + ".role", "system, user or assistant");
    std::string name = role->get<std::string>();
    if (name == "developer") name = "system";
    if (name != "system" && name != "user" && name != "assistant")
      wrong(place + ".role", str("system, user or assistant, not '", name.substr(0, 40), "'"));
    r.messages.push_back({name, content_of(m, place)});
  }
}

void read_stops(const Json& body, ApiRequest& r) {
  const Json* stop = find(body, "stop");
  if (!stop) return;
  std::vector<Json> list =
      stop->is_array() ? stop->get<std::vector<Json>>() : std::vector<Json>{*stop};
  if (list.size() > 16) wrong("stop", "at most 16 texts");
  for (const Json& s : list) {
    if (!s.is_string() || s.get_ref<const std::string&>().empty())
      wrong("stop", "a text or a list of texts, none of them empty");
    r.stops.push_back(s.get<std::string>());
  }
}

uint64_t random_seed() {
  std::random_device device;
  return static_cast<uint64_t>(device()) << 32 | device();
}

}  // namespace

ApiRequest read_api_request(std::string_view text, bool chat) {
  Json body = parse_json(text, "request body");
  if (!body.is_object()) throw Error(Fault::data, "the request body must be a JSON object");
  ApiRequest r;
  r.chat = chat;
  refuse(body);
  if (chat)
    read_messages(body, r);
  else
    read_prompt(body, r);
  if (const Json* m = find(body, "model")) {
    if (!m->is_string()) wrong("model", "text");
    r.model = m->get<std::string>();
  }
  GenerateRequest& g = r.generate;
  g.max_tokens =
      integer(body, "max_completion_tokens", integer(body, "max_tokens", chat ? 1024 : 16));
  g.min_tokens = integer(body, "min_tokens", 0);
  if (g.min_tokens < 0) wrong("min_tokens", "0 or more");
  g.top_logprobs = wanted_logprobs(body, chat);
  read_sampling(body, g.sampling);
  g.sampling.seed =
      find(body, "seed") ? static_cast<uint64_t>(integer(body, "seed", 0)) : random_seed();
  read_stops(body, r);
  r.stream = boolean(body, "stream");
  r.ignore_eos = boolean(body, "ignore_eos");
  if (const Json* o = find(body, "stream_options")) {
    if (!o->is_object()) wrong("stream_options", "an object");
    r.include_usage = boolean(*o, "include_usage");
  }
  return r;
}

}  // namespace wellspring
