#include "serve/api_request.h"

#include <algorithm>
#include <cmath>
#include <random>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "serve/api_error.h"
#include "serve/api_fields.h"
#include "serve/api_messages.h"

namespace wellspring {
namespace {

double number(const Json& body, const char* key, double otherwise) {
  const Json* v = find_field(body, key);
  if (!v) return otherwise;
  if (!v->is_number()) wrong_type(key, "a number");
  return v->get<double>();
}

int64_t integer(const Json& body, const char* key, int64_t otherwise) {
  const Json* v = find_field(body, key);
  if (!v) return otherwise;
  if (!v->is_number_integer()) wrong_type(key, "an integer");
  return v->get<int64_t>();
}

bool boolean(const Json& body, const char* key, bool otherwise = false) {
  const Json* v = find_field(body, key);
  if (!v) return otherwise;
  if (!v->is_boolean()) wrong_type(key, "true or false");
  return v->get<bool>();
}

// Grammars have many names: OpenAI's, llama.cpp's and vLLM's.
struct GrammarField {
  const char* name;
  GrammarText::Kind kind;
};
constexpr GrammarField kGrammarFields[] = {
    {"json_schema", GrammarText::Kind::json_schema}, {"guided_json", GrammarText::Kind::json_schema},
    {"regex", GrammarText::Kind::regex},             {"guided_regex", GrammarText::Kind::regex},
    {"grammar", GrammarText::Kind::gbnf},            {"guided_grammar", GrammarText::Kind::gbnf},
};

std::string schema_text(const Json& v) { return v.is_string() ? v.get<std::string>() : to_text(v); }

void set_grammar(ApiRequest& r, const char* field, GrammarText g) {
  if (r.grammar) bad_field(field, str("'", field, "' is given beside another grammar: one is possible"));
  r.grammar = std::move(g);
  r.grammar->field = field;
}

void read_response_format(const Json& body, ApiRequest& r) {
  const Json* f = find_field(body, "response_format");
  if (!f || (f->is_object() && f->empty())) return;
  const Json type = f->is_object() ? f->value("type", Json()) : Json();
  if (type == "text") return;
  if (type == "json_object") {  // llama.cpp takes a schema with it
    const Json* schema = find_field(*f, "schema");
    return schema ? set_grammar(r, "response_format", {GrammarText::Kind::json_schema, schema_text(*schema), {}})
                  : set_grammar(r, "response_format", {GrammarText::Kind::json_object, "", {}});
  }
  if (type != "json_schema") wrong_field("response_format.type", "text, json_object or json_schema");
  const Json* inner = find_field(*f, "json_schema");
  const Json* schema = inner && inner->is_object() ? find_field(*inner, "schema") : nullptr;
  if (!schema || !schema->is_object()) wrong_field("response_format.json_schema.schema", "a JSON schema");
  set_grammar(r, "response_format", {GrammarText::Kind::json_schema, to_text(*schema), {}});
}

void read_grammar_fields(const Json& body, ApiRequest& r) {
  for (const GrammarField& f : kGrammarFields) {
    const Json* v = find_field(body, f.name);
    if (!v || (v->is_string() && v->get_ref<const std::string&>().empty())) continue;
    const bool schema = f.kind == GrammarText::Kind::json_schema;
    if (!v->is_string() && !(schema && (v->is_object() || v->is_boolean())))
      wrong_type(f.name, schema ? "a JSON schema" : "text");
    set_grammar(r, f.name, {f.kind, schema_text(*v), {}});
  }
  if (boolean(body, "guided_json_object")) set_grammar(r, "guided_json_object", {GrammarText::Kind::json_object, "", {}});
  if (const Json* v = find_field(body, "guided_choice")) {
    if (!v->is_array() || v->empty()) wrong_field("guided_choice", "a list of texts");
    std::string rule;  // of GBNF, where a text is spelled as in JSON
    for (const Json& c : *v) {
      if (!c.is_string()) wrong_field("guided_choice", "a list of texts");
      rule += str(rule.empty() ? "root ::= " : " | ", to_text(c));
    }
    set_grammar(r, "guided_choice", {GrammarText::Kind::gbnf, std::move(rule), {}});
  }
}

// vLLM's later name for all of them.
void read_structured_outputs(const Json& body, ApiRequest& r) {
  const Json* forms = find_field(body, "structured_outputs");
  if (!forms) return;
  if (!forms->is_object()) wrong_field("structured_outputs", "an object with json, regex, grammar or choice");
  Json old = Json::object();
  for (const auto& [key, value] : forms->items()) {
    if (value.is_null()) continue;
    if (key != "json" && key != "regex" && key != "grammar" && key != "choice" && key != "json_object")
      wrong_field(str("structured_outputs.", utf8_repair(key.substr(0, 80))),
                  "left out: known are json, json_object, regex, grammar and choice");
    old["guided_" + key] = value;
  }
  const bool before = r.grammar.has_value();
  try {
    read_grammar_fields(old, r);
    if (r.grammar && !before) r.grammar->field = "structured_outputs";
  } catch (const ApiError& e) {
    throw ApiError(e.status, e.code, e.what(), 0, "structured_outputs");
  }
}

void read_grammar(const Json& body, ApiRequest& r) {
  read_response_format(body, r);
  read_structured_outputs(body, r);
  read_grammar_fields(body, r);
  if (r.grammar && r.tool_choice != ApiRequest::ToolChoice::none)
    bad_field(r.grammar->field, "a grammar for the answer is given beside tools: set 'tool_choice' to \"none\", or leave one out");
}

// As vLLM has it: the width is best_of (n without one).
void read_beams(const Json& body, ApiRequest& r) {
  if (!boolean(body, "use_beam_search")) return;
  const bool plain = !r.grammar && r.stops.empty() && r.tool_choice == ApiRequest::ToolChoice::none && !r.stream && r.generate.top_logprobs < 0;
  if (!plain) wrong_field("use_beam_search", "left out with 'stream', 'stop', 'logprobs', tools and grammars");
  for (const char* key : {"logit_bias", "repetition_penalty", "frequency_penalty", "presence_penalty", "min_tokens", "top_k", "top_p",
                          "min_p", "typical_p", "allowed_token_ids"})
    if (find_field(body, key)) wrong_field(key, "left out with 'use_beam_search': nothing is drawn");
  if (number(body, "temperature", 0) != 0) wrong_field("temperature", "0 or left out with 'use_beam_search': nothing is drawn");
  r.generate.beams = r.best_of;
  r.generate.length_penalty = number(body, "length_penalty", 1);
  if (!(std::abs(r.generate.length_penalty) <= 10)) wrong_field("length_penalty", "-10 to 10");
}

void read_counts(const Json& body, ApiRequest& r) {
  constexpr int64_t kMost = 64;
  r.n = integer(body, "n", 1);
  if (r.n < 1 || r.n > kMost) wrong_field("n", str("1 to ", kMost));
  r.best_of = integer(body, "best_of", r.n);
  if (r.best_of < r.n || r.best_of > kMost) wrong_field("best_of", str("n to ", kMost));
  if (r.best_of > r.n && r.stream) wrong_field("best_of", "as 'n' in a stream: the best are known at the end");
  r.echo = boolean(body, "echo");
  if (r.echo && r.chat) wrong_field("echo", "left out in chats");
  r.generate.prompt_logprobs = r.echo && r.generate.top_logprobs >= 0;
  if (r.generate.prompt_logprobs && r.stream) wrong_field("stream", "left out with 'echo' and 'logprobs'");
}

// OpenAI's names, and llama.cpp's, which says -1 for any number.
int64_t most_tokens(const Json& body, const ApiRequest& r) {
  for (const char* key : {"max_completion_tokens", "max_tokens", "n_predict"}) {
    if (!find_field(body, key)) continue;
    const int64_t n = integer(body, key, 0);
    if (n == -1 && std::string_view(key) == "n_predict") return INT32_MAX;
    if (n < !r.generate.prompt_logprobs) wrong_field(key, "1 or more; 0 with 'echo' and 'logprobs'");
    return n;
  }
  return r.chat ? 1024 : 16;
}

void read_lengths(const Json& body, ApiRequest& r) {
  GenerateRequest& g = r.generate;
  g.max_tokens = most_tokens(body, r);
  g.min_tokens = integer(body, "min_tokens", 0);
  if (g.min_tokens < 0 || g.min_tokens > g.max_tokens)
    wrong_field("min_tokens", str("0 to ", g.max_tokens, ", the most tokens that the answer may have"));
}

void read_bias(const Json& body, SamplingOptions& o) {
  const Json* bias = find_field(body, "logit_bias");
  if (!bias) return;
  if (!bias->is_object()) wrong_field("logit_bias", "an object from token ids to numbers");
  if (bias->size() > 4096) wrong_field("logit_bias", "at most 4096 tokens");
  for (const auto& [key, value] : bias->items()) {
    const auto id = parse_int(key);
    if (!id || *id < 0 || *id > INT32_MAX || !value.is_number())
      wrong_field(str("logit_bias.", key.substr(0, 40)), "a number, by a token's id");
    const double v = value.get<double>();
    if (!(v >= -100 && v <= 100)) wrong_field(str("logit_bias.", key), "-100 to 100");
    o.bias.emplace_back(static_cast<int32_t>(*id), static_cast<float>(v));
  }
}

// A number for completions; for chats whether, and how many in a field of its own.
int64_t wanted_logprobs(const Json& body, bool chat) {
  constexpr int64_t kMost = 20;
  const Json* v = find_field(body, "logprobs");
  int64_t most = -1;
  if (chat) {
    if (boolean(body, "logprobs")) most = integer(body, "top_logprobs", 0);
    if (most < 0 && integer(body, "top_logprobs", 0) != 0) wrong_field("top_logprobs", "given with 'logprobs': true");
  } else if (v) {
    most = integer(body, "logprobs", -1);
  }
  if (most > kMost || (v && !chat && most < 0)) wrong_field(chat ? "top_logprobs" : "logprobs", "0 to 20");
  return most;
}

void read_sampling(const Json& body, SamplingOptions& o) {
  for (const SamplingRange& r : sampling_ranges()) {
    double& value = o.*r.value;
    value = number(body, r.name, value);
    if (!r.holds(value)) wrong_field(r.name, r.expected);
  }
  o.top_k = integer(body, "top_k", 0);
  if (o.top_k == -1) o.top_k = 0;  // as some clients say all
  if (o.top_k < 0) wrong_field("top_k", "0 or more");
  read_bias(body, o);
}

ApiRequest::Prompt read_prompt(const Json& p) {
  ApiRequest::Prompt out;
  constexpr const char* kForm = "a text, a list of token ids, or a list of such";
  if (p.is_string()) {
    out.text = p.get<std::string>();
  } else if (p.is_array() && !p.empty()) {
    for (const Json& id : p) {
      if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() > INT32_MAX) wrong_field("prompt", kForm);
      out.ids.push_back(id.get<int32_t>());
    }
  } else {
    wrong_field("prompt", kForm);
  }
  return out;
}

void read_prompts(const Json& body, ApiRequest& r) {
  constexpr size_t kMost = 1024;
  const Json* p = find_field(body, "prompt");
  if (!p) missing_field("prompt");
  if (!p->is_array() || p->empty() || (*p)[0].is_number()) {
    r.prompts.push_back(read_prompt(*p));
    return;
  }
  if (p->size() > kMost) wrong_field("prompt", str("at most ", kMost, " prompts"));
  for (const Json& one : *p) r.prompts.push_back(read_prompt(one));
}

std::vector<int32_t> read_ids(const Json& body, const char* key, size_t most) {
  const Json* list = find_field(body, key);
  std::vector<int32_t> ids;
  if (!list) return ids;
  const std::string form = str("a list of at most ", most, " token ids");
  if (!list->is_array() || list->size() > most) wrong_field(key, form);
  for (const Json& id : *list) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() > INT32_MAX) wrong_field(key, form);
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

void read_allowed(const Json& body, ApiRequest& r) {
  if (!find_field(body, "allowed_token_ids")) return;
  r.allowed = read_ids(body, "allowed_token_ids", 1 << 20);
  if (r.allowed.empty()) wrong_field("allowed_token_ids", "a list of at least one token id");
  if (r.grammar || r.tool_choice != ApiRequest::ToolChoice::none)
    wrong_field("allowed_token_ids", "left out beside a grammar and tools");
}

void read_stops(const Json& body, ApiRequest& r) {
  const Json* stop = find_field(body, "stop");
  if (!stop) return;
  std::vector<Json> list =
      stop->is_array() ? stop->get<std::vector<Json>>() : std::vector<Json>{*stop};
  constexpr size_t kMost = 16, kMostBytes = 64 << 10;
  if (list.size() > kMost) wrong_field("stop", str("at most ", kMost, " texts"));
  size_t bytes = 0;
  for (const Json& s : list) {
    if (!s.is_string() || s.get_ref<const std::string&>().empty())
      wrong_field("stop", "a text or a list of texts, none of them empty");
    r.stops.push_back(s.get<std::string>());
    if ((bytes += r.stops.back().size()) > kMostBytes) wrong_field("stop", str("at most ", kMostBytes >> 10, " kB of text"));
  }
}

// Who shares what is kept of prompts; the client's name comes before it.
void read_salt(const Json& body, GenerateRequest& g) {
  const Json* salt = find_field(body, "cache_salt");
  if (!salt) return;
  if (!salt->is_string() || salt->get_ref<const std::string&>().empty() || salt->get_ref<const std::string&>().size() > 1024)
    wrong_field("cache_salt", "a text of 1 to 1024 bytes");
  g.owner = "/" + salt->get<std::string>();
}

uint64_t random_seed() {
  std::random_device device;
  return static_cast<uint64_t>(device()) << 32 | device();
}

}  // namespace

Json parse_body(std::string_view text) {
  Json body;
  try {
    body = parse_json(text, "request body");
  } catch (const Error& e) {
    throw ApiError(400, "invalid_json", e.what());
  }
  if (!body.is_object()) throw ApiError(400, "invalid_type", "the request body must be a JSON object");
  return body;
}

ApiRequest read_api_request(std::string_view text, bool chat) {
  const Json body = parse_body(text);
  return read_api_json(body, chat);
}

ApiRequest read_api_json(const Json& body, bool chat) {
  ApiRequest r;
  r.chat = chat;
  check_fields(body, chat);
  if (chat) {
    read_messages(body, r);
    read_tools(body, r);
    if (find_field(body, "parallel_tool_calls")) r.parallel_tool_calls &= boolean(body, "parallel_tool_calls");
  } else {
    read_prompts(body, r);
  }
  read_grammar(body, r);
  if (const Json* m = find_field(body, "model")) {
    if (!m->is_string()) wrong_type("model", "text");
    r.model = m->get<std::string>();
  }
  GenerateRequest& g = r.generate;
  g.top_logprobs = wanted_logprobs(body, chat);
  read_sampling(body, g.sampling);
  g.sampling.seed =
      find_field(body, "seed") ? static_cast<uint64_t>(integer(body, "seed", 0)) : random_seed();
  read_stops(body, r);
  r.show_stop = boolean(body, "include_stop_str_in_output");
  g.stop_tokens = read_ids(body, "stop_token_ids", 1024);
  read_allowed(body, r);
  read_salt(body, g);
  r.add_special = boolean(body, "add_special_tokens", !chat);
  if (chat && r.add_special) refused_field("add_special_tokens", "the chat template makes them");
  r.stream = boolean(body, "stream");
  r.ignore_eos = boolean(body, "ignore_eos");
  read_counts(body, r);
  read_lengths(body, r);
  read_beams(body, r);
  if (const Json* o = find_field(body, "stream_options")) {
    if (!o->is_object()) wrong_field("stream_options", "an object");
    r.include_usage = boolean(*o, "include_usage");
  }
  return r;
}

void check_ids(const ApiRequest& r, int64_t vocab) {
  for (const auto& [id, bias] : r.generate.sampling.bias)
    if (id >= vocab) wrong_field(str("logit_bias.", id), str("a token id below ", vocab));
  for (const int32_t id : r.generate.stop_tokens)
    if (id >= vocab) wrong_field("stop_token_ids", str("token ids below ", vocab));
  for (const int32_t id : r.allowed)
    if (id >= vocab) wrong_field("allowed_token_ids", str("token ids below ", vocab));
}

}  // namespace wellspring
