#include "serve/response_request.h"

#include <random>
#include <set>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "serve/api_fields.h"
#include "serve/api_messages.h"

namespace wellspring {
namespace {

constexpr size_t kMostItems = 10000;

// What is not offered, or belongs to the chat API, must not be passed over in silence.
struct Foreign {
  const char *name, *instead;
};
constexpr Foreign kForeign[] = {
    {"background", ""},         {"conversation", "previous_response_id"},
    {"prompt", "input"},        {"reasoning_effort", "reasoning.effort"},
    {"max_tool_calls", ""},     {"context_management", "truncation"},
    {"moderation", ""},         {"messages", "input"},
    {"verbosity", "text.verbosity"},
    {"n_predict", "max_output_tokens"},
    {"functions", "tools"},     {"max_tokens", "max_output_tokens"},
    {"n", ""},                  {"max_completion_tokens", "max_output_tokens"},
    {"best_of", ""},            {"response_format", "text.format"},
    {"use_beam_search", ""},    {"logprobs", "top_logprobs"},
    {"echo", ""},
};

// null, false, "none", nothing inside, or members that all are so.
bool asks_nothing(const Json& v) {
  if (!v.is_structured()) return v.is_null() || v == false || v == "none";
  for (const Json& member : v)
    if (!member.is_null() && member != "none") return false;
  return true;
}

const std::string& need_text(const Json& object, const char* key, const std::string& place) {
  const Json* v = find_field(object, key);
  if (!v) missing_field(str(place, ".", key));
  if (!v->is_string()) wrong_type(str(place, ".", key), "text");
  return v->get_ref<const std::string&>();
}

// The item's own id, so that what comes back keeps it; else a new one.
std::string id_of_item(const Json& item, const char* kind) {
  const Json* v = find_field(item, "id");
  const bool good = v && v->is_string() && !v->get_ref<const std::string&>().empty() &&
                    v->get_ref<const std::string&>().size() <= 64;
  return good ? v->get<std::string>() : new_item_id(kind);
}

// Text, or parts that are text; anything else is refused by its type.
std::string text_of_parts(const Json* content, const std::string& place) {
  if (content && content->is_string()) return content->get<std::string>();
  if (!content || !content->is_array()) wrong_field(place, "text or a list of parts");
  std::string text;
  for (size_t i = 0; i < content->size(); ++i) {
    const std::string here = str(place, "[", i, "]");
    if (!(*content)[i].is_object()) wrong_field(here, "an object with type and text");
    const std::string& type = need_text((*content)[i], "type", here);
    if (type != "input_text" && type != "output_text")
      wrong_field(here + ".type", str("input_text or output_text: this model takes text alone, '",
                                      utf8_repair(type.substr(0, 40)), "' is not offered"));
    text += need_text((*content)[i], "text", here);
  }
  return text;
}

Json message_item(const Json& item, const std::string& place) {
  const std::string& role = need_text(item, "role", place);
  if (role != "user" && role != "assistant" && role != "system" && role != "developer")
    wrong_field(place + ".role",
                str("user, assistant, system or developer, not '", role.substr(0, 40), "'"));
  Json part = {{"type", role == "assistant" ? "output_text" : "input_text"},
               {"text", text_of_parts(find_field(item, "content"), place + ".content")}};
  if (role == "assistant") part["annotations"] = Json::array();
  return {{"id", id_of_item(item, "msg_")},
          {"type", "message"},
          {"status", "completed"},
          {"role", role},
          {"content", Json::array({std::move(part)})}};
}

Json read_item(const Json& item, const std::string& place) {
  if (!item.is_object()) wrong_field(place, "an item with a type");
  const Json* type = find_field(item, "type");
  if (!type || *type == "message") return message_item(item, place);
  if (*type == "function_call")
    return {{"id", id_of_item(item, "fc_")},
            {"type", "function_call"},
            {"status", "completed"},
            {"call_id", need_text(item, "call_id", place)},
            {"name", need_text(item, "name", place)},
            {"arguments", need_text(item, "arguments", place)}};
  if (*type == "function_call_output")
    return {{"id", id_of_item(item, "fco_")},
            {"type", "function_call_output"},
            {"status", "completed"},
            {"call_id", need_text(item, "call_id", place)},
            {"output", text_of_parts(find_field(item, "output"), place + ".output")}};
  wrong_field(place + ".type",
              str("message, function_call or function_call_output: ",
                  utf8_repair(to_text(*type).substr(0, 40)), " is not offered",
                  *type == "item_reference" ? " (send the item itself, or 'previous_response_id')" : ""));
}

// Calls join what the assistant said before them: templates know both as one message.
void add_call(Json& messages, const Json& item) {
  if (messages.empty() || messages.back()["role"] != "assistant")
    messages.push_back({{"role", "assistant"}, {"content", nullptr}});
  messages.back()["tool_calls"].push_back(
      {{"id", item["call_id"]},
       {"type", "function"},
       {"function", {{"name", item["name"]}, {"arguments", item["arguments"]}}}});
}

Json messages_of_items(const Json& items, const Json& instructions) {
  Json messages = Json::array();
  if (!instructions.is_null())
    messages.push_back({{"role", "system"}, {"content", instructions}});
  for (const Json& item : items) {
    if (item["type"] == "function_call")
      add_call(messages, item);
    else if (item["type"] == "function_call_output")
      messages.push_back(
          {{"role", "tool"}, {"tool_call_id", item["call_id"]}, {"content", item["output"]}});
    else
      messages.push_back({{"role", item["role"]}, {"content", item["content"][0]["text"]}});
  }
  return messages;
}

// The function inside of an entry of the chat API's list.
Json chat_tool(const Json& tool, const std::string& place) {
  if (!tool.is_object()) wrong_field(place, "an object with a type");
  const std::string& type = need_text(tool, "type", place);
  if (type != "function")
    wrong_field(place + ".type", str("function: '", type.substr(0, 40), "' is not offered"));
  const std::string& name = need_text(tool, "name", place);
  check_tool_name(name, place + ".name");
  const Json* parameters = find_field(tool, "parameters");
  if (parameters && !parameters->is_object()) wrong_field(place + ".parameters", "a JSON schema");
  Json function = Json::object();
  for (const char* key : {"name", "description", "parameters", "strict"})
    if (const Json* v = find_field(tool, key)) function[key] = *v;
  return {{"type", "function"}, {"function", std::move(function)}};
}

void check_metadata(const Json& m) {
  constexpr const char* kForm = "an object of at most 16 texts, with names of at most 64 bytes and "
                                "values of at most 512";
  if (m.is_null()) return;
  if (!m.is_object() || m.size() > 16) wrong_field("metadata", kForm);
  for (const auto& [key, value] : m.items())
    if (key.size() > 64 || !value.is_string() || value.get_ref<const std::string&>().size() > 512)
      wrong_field("metadata", kForm);
}

// Reads one body. Fields that both APIs have stay in it; the others are taken out and come back
// under the chat API's names, whose reader then checks all.
class ResponseReader {
 public:
  explicit ResponseReader(std::string_view text) : body_(parse_body(text)) {}

  ResponseRequest read(const ConversationOf& conversation_of) {
    refuse_foreign();
    check_spelling(body_, {"input", "instructions", "previous_response_id", "text", "reasoning", "max_output_tokens", "truncation",
                           "store", "include", "service_tier", "safety_identifier", "prompt_cache_key"});
    read_conversation(conversation_of);
    read_functions();
    read_text();
    read_reasoning();
    read_rest();
    read_logprobs();
    out_.api = read_api_json(body_, true);
    if (out_.api.generate.top_logprobs >= 0 && out_.api.tools)
      wrong_field("top_logprobs", "left out beside tools that may be called");
    say_sampling();
    out_.settings = std::make_shared<Json>(std::move(said_));
    return std::move(out_);
  }

 private:
  Json take(const char* key) {
    const auto it = body_.find(key);
    if (it == body_.end()) return nullptr;
    Json v = std::move(*it);
    body_.erase(it);
    return v;
  }
  // Text or null, said again in the answer.
  Json take_text(const char* key) {
    Json v = take(key);
    if (!v.is_null() && !v.is_string()) wrong_type(key, "text");
    return said_[key] = std::move(v);
  }

  void refuse_foreign() {
    for (const Foreign& f : kForeign) {
      const Json v = take(f.name);
      const std::string_view name = f.name;
      if (asks_nothing(v) || ((name == "n" || name == "best_of") && v == 1)) continue;
      refused_field(f.name, *f.instead ? str("use '", f.instead, "'") : "");
    }
  }

  void read_conversation(const ConversationOf& conversation_of) {
    const Json instructions = take_text("instructions");
    const Json previous = take_text("previous_response_id");
    Json items = previous.is_null() ? Json::array() : conversation_of(previous);
    const Json input = take("input");
    if (input.is_null()) missing_field("input");
    if (input.is_string()) {
      items.push_back(message_item({{"role", "user"}, {"content", input}}, "input"));
    } else {
      if (!input.is_array() || input.empty() || input.size() > kMostItems)
        wrong_field("input", str("a text, or a list of 1 to ", kMostItems, " items"));
      std::set<std::string> calls;  // that may be answered
      for (const Json& item : items)
        if (item["type"] == "function_call") calls.insert(item["call_id"]);
      for (size_t i = 0; i < input.size(); ++i) {
        const std::string place = str("input[", i, "]");
        // What a model thought comes back with what it said; templates do not take it.
        if (input[i].is_object() && input[i].value("type", Json()) == "reasoning") continue;
        Json item = read_item(input[i], place);
        if (item["type"] == "function_call") calls.insert(item["call_id"]);
        if (item["type"] == "function_call_output" && !calls.count(item["call_id"]))
          wrong_field(place + ".call_id", "that of a function_call before it");
        items.push_back(std::move(item));
      }
    }
    body_["messages"] = messages_of_items(items, instructions);
    out_.conversation = std::make_shared<Json>(std::move(items));
  }

  void read_functions() {
    const Json tools = take("tools"), choice = take("tool_choice");
    said_["tools"] = tools.is_null() ? Json::array() : tools;
    said_["tool_choice"] = choice.is_null() ? Json("auto") : choice;
    if (!tools.is_null()) {
      if (!tools.is_array()) wrong_field("tools", "a list of functions");
      Json& list = body_["tools"] = Json::array();
      for (size_t i = 0; i < tools.size(); ++i)
        list.push_back(chat_tool(tools[i], str("tools[", i, "]")));
    }
    if (!choice.is_object()) {
      body_["tool_choice"] = choice;
      return;
    }
    if (choice.value("type", Json()) != "function")
      wrong_field("tool_choice", "none, auto, required, or a function by its name");
    const std::string& name = need_text(choice, "name", "tool_choice");
    bool known = false;
    for (const Json& tool : said_["tools"]) known |= tool["name"] == name;
    if (!known) wrong_field("tool_choice.name", "the name of one of the tools");
    body_["tool_choice"] = {{"type", "function"}, {"function", {{"name", name}}}};
  }

  void read_text() {
    const Json text = take("text");
    said_["text"] = {{"format", {{"type", "text"}}}};
    if (text.is_null()) return;
    if (!text.is_object()) wrong_field("text", "an object with a format");
    if (const Json* verbosity = find_field(text, "verbosity")) {
      if (!verbosity->is_string()) wrong_type("text.verbosity", "text");
      said_["text"]["verbosity"] = body_["verbosity"] = *verbosity;
    }
    const Json* format = find_field(text, "format");
    if (!format) return;
    const Json type = format->is_object() ? format->value("type", Json()) : Json();
    if (type != "text" && type != "json_object" && type != "json_schema")
      wrong_field("text.format.type", "text, json_object or json_schema");
    said_["text"]["format"] = *format;
    body_["response_format"] = {{"type", type}};
    if (type != "json_schema") return;
    const Json* schema = find_field(*format, "schema");
    if (!schema || !schema->is_object()) wrong_field("text.format.schema", "a JSON schema");
    body_["response_format"]["json_schema"] = {{"schema", *schema}};
  }

  void read_reasoning() {
    const Json reasoning = take("reasoning");
    Json effort;
    if (!reasoning.is_null()) {
      if (!reasoning.is_object()) wrong_type("reasoning", "an object with an effort");
      effort = reasoning.value("effort", Json());
      if (!effort.is_null() && !effort.is_string()) wrong_type("reasoning.effort", "text");
    }
    said_["reasoning"] = {{"effort", effort}, {"summary", nullptr}};
    body_["reasoning_effort"] = std::move(effort);
  }

  void read_rest() {
    const Json most = take("max_output_tokens");
    if (!most.is_null() && (!most.is_number_integer() || most.get<int64_t>() < 1))
      wrong_field("max_output_tokens", "an integer of at least 1");
    body_["max_completion_tokens"] = said_["max_output_tokens"] = most;
    const Json truncation = take("truncation"), store = take("store");
    if (!truncation.is_null() && truncation != "auto" && truncation != "disabled")
      wrong_field("truncation", "auto or disabled");
    out_.truncate = truncation == "auto";
    said_["truncation"] = out_.truncate ? "auto" : "disabled";
    if (!store.is_null() && !store.is_boolean()) wrong_field("store", "true or false");
    said_["store"] = out_.store = store.is_null() || store.get<bool>();
    Json metadata = take("metadata");
    check_metadata(metadata);
    said_["metadata"] = metadata.is_null() ? Json::object() : std::move(metadata);
    take_text("user");
  }

  void read_logprobs() {
    const Json include = take("include"), top = take("top_logprobs");
    if (!include.is_null() && !include.is_array()) wrong_field("include", "a list");
    bool wanted = false;
    for (const Json& what : include) {
      if (what != "message.output_text.logprobs")
        wrong_field("include", str("empty or message.output_text.logprobs: ",
                                   utf8_repair(to_text(what).substr(0, 60)), " is not offered"));
      wanted = true;
    }
    if (!top.is_null() && (!top.is_number_integer() || top < 0 || top > 20))
      wrong_field("top_logprobs", "0 to 20");
    const int64_t n = top.is_null() ? 0 : top.get<int64_t>();
    said_["top_logprobs"] = n;
    if (n > 0 || wanted) body_["logprobs"] = true, body_["top_logprobs"] = n;
  }

  void say_sampling() {
    said_["temperature"] = out_.api.generate.sampling.temperature;
    said_["top_p"] = out_.api.generate.sampling.top_p;
    said_["parallel_tool_calls"] = out_.api.parallel_tool_calls;
  }

  Json body_, said_ = Json::object();
  ResponseRequest out_;
};

}  // namespace

ResponseRequest read_response_request(std::string_view body,
                                      const ConversationOf& conversation_of) {
  return ResponseReader(body).read(conversation_of);
}

// From the system's source of randomness, without the TLS library, which a server may lack.
std::string new_item_id(std::string_view kind) {
  std::random_device device;
  std::string id(kind);
  for (int i = 0; i < 32; ++i) id += "0123456789abcdefghijklmnopqrstuv"[device() & 31];
  return id;
}

}  // namespace wellspring
