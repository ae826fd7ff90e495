#include "serve/api_fields.h"

#include <algorithm>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/text.h"
#include "serve/api_error.h"

namespace wellspring {
namespace {

// What changes an answer and is not offered must not be passed over in silence, unless it asks for nothing.
struct Refused {
  const char* name;
  const char* neutral;  // a JSON list of values that ask for nothing; null always does
  const char* instead = "";
};
constexpr Refused kRefused[] = {
    // OpenAI's
    {"functions", "[[]]", "use 'tools'"},
    {"function_call", R"(["none"])", "use 'tools'"},
    {"suffix", R"([""])"},
    {"audio", "[]"},
    {"modalities", R"([["text"]])", "answers are text"},
    {"web_search_options", "[]"},
    // vLLM's
    {"chat_template", R"([""])", "whoever starts the server gives one (--chat-template)"},
    {"bad_words", "[[]]", "'logit_bias' bars tokens"},
    {"truncate_prompt_tokens", "[]"},
    {"skip_special_tokens", "[true]"},
    {"spaces_between_special_tokens", "[true]"},
    {"return_tokens_as_token_ids", "[false]"},
    {"return_token_ids", "[false]"},
    {"prompt_logprobs", "[false]", "use 'echo' and 'logprobs' of /v1/completions"},
    {"documents", "[[]]", "'chat_template_kwargs' can hold them"},
    {"logits_processors", "[[]]"},
    // llama.cpp's
    {"mirostat", "[0]"},
    {"dry_multiplier", "[0]"},
    {"xtc_probability", "[0]"},
    {"dynatemp_range", "[0]"},
    {"top_n_sigma", "[-1, 0]"},
    {"repeat_penalty", "[1]", "use 'repetition_penalty'"},
    {"n_probs", "[0]", "use 'logprobs'"},
    {"samplers", "[[]]"},
    {"response_fields", "[[]]"},
    {"lora", "[[]]", "'model' names an adapter"},
};

const std::vector<std::string> kKnown = {
    "model", "messages", "prompt", "max_tokens", "max_completion_tokens", "n_predict", "min_tokens", "temperature", "top_p",
    "top_k", "min_p", "typical_p", "repetition_penalty", "frequency_penalty", "presence_penalty", "logit_bias",
    "allowed_token_ids", "logprobs", "top_logprobs", "seed", "stop", "stop_token_ids", "include_stop_str_in_output", "n",
    "best_of", "echo", "stream", "stream_options", "ignore_eos", "add_special_tokens", "tools", "tool_choice",
    "parallel_tool_calls", "response_format", "json_schema", "regex", "grammar", "guided_json", "guided_regex",
    "guided_grammar", "guided_choice", "guided_json_object", "structured_outputs", "reasoning_format", "use_beam_search", "length_penalty", "chat_template_kwargs",
    "add_generation_prompt", "continue_final_message", "reasoning_effort", "verbosity", "cache_salt", "user", "metadata",
    "store"};

void check_name(const std::string& key, const std::vector<std::string>& names) {
  if (std::find(names.begin(), names.end(), key) != names.end()) return;
  if (const auto near = nearest(key, names)) {
    const std::string name = utf8_repair(key.substr(0, 80));
    bad_field(name, str("'", name, "' is not known: did you mean '", *near, "'?"), "unknown_parameter");
  }
}

// False: it is none of these.
bool check_refused(const std::string& key, const Json& value) {
  for (const Refused& r : kRefused) {
    if (key != r.name) continue;
    const Json neutral = Json::parse(r.neutral);
    if (!value.is_null() && std::find(neutral.begin(), neutral.end(), value) == neutral.end())
      refused_field(key, r.instead);
    return true;
  }
  return false;
}

}  // namespace

void check_fields(const Json& body, bool chat) {
  constexpr size_t kMostFields = 1000;
  if (body.size() > kMostFields)
    throw ApiError(400, "invalid_request",
                   str("the request has ", body.size(), " fields; at most ", kMostFields, " are read"));
  for (const char* key : {"prompt", "messages", "tools", "tool_choice", "top_logprobs", "chat_template_kwargs",
                          "continue_final_message"}) {
    const auto v = body.find(key);
    if (v == body.end() || chat != (std::string_view(key) == "prompt")) continue;
    if (!v->is_null() && *v != "none" && *v != false && *v != 0 && !(v->is_structured() && v->empty()))
      bad_field(key, str("'", key, "' belongs to /v1/", chat ? "completions" : "chat/completions"),
                "unsupported_parameter");
  }
  for (const auto& [key, value] : body.items()) {
    if (check_refused(key, value) || std::find(kKnown.begin(), kKnown.end(), key) != kKnown.end()) continue;
    check_name(key, kKnown);
  }
}

void check_spelling(const Json& body, const std::vector<std::string>& names) {
  for (const auto& [key, value] : body.items())
    if (std::find(kKnown.begin(), kKnown.end(), key) == kKnown.end()) check_name(key, names);
}

}  // namespace wellspring
