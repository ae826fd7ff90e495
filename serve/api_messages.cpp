#include "serve/api_messages.h"

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"

namespace wellspring {
namespace {

constexpr size_t kMostTools = 128;

const std::string* text_of(const Json& body, const char* key) {
  const Json* v = find_field(body, key);
  return v && v->is_string() ? v->get_ptr<const std::string*>() : nullptr;
}

std::string content_of(const Json& message, const std::string& place, bool may_lack) {
  const Json* c = find_field(message, "content");
  if (!c && may_lack) return "";
  if (c && c->is_string()) return c->get<std::string>();
  if (c && c->is_array()) {  // parts, of which only text is understood
    std::string text;
    for (size_t i = 0; i < c->size(); ++i) {
      const Json& part = (*c)[i];
      const std::string here = str(place, ".content[", i, "]");
      const std::string* type = part.is_object() ? text_of(part, "type") : nullptr;
      if (type && *type != "text")
        wrong_field(here + ".type", str("text: this model takes text alone, no '", utf8_repair(type->substr(0, 40)), "'"));
      const std::string* t = type ? text_of(part, "text") : nullptr;
      if (!t) wrong_field(here, "a part of type text");
      text += *t;
    }
    return text;
  }
  wrong_type(place + ".content", "text");
}

// Templates write arguments as objects; clients send the text that they were given.
Json calls_of(const Json& list, const std::string& place) {
  if (!list.is_array() || list.empty()) wrong_field(place, "a list of at least one call");
  Json out = Json::array();
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string here = str(place, "[", i, "]");
    const Json* f = list[i].is_object() ? find_field(list[i], "function") : nullptr;
    const std::string* name = f && f->is_object() ? text_of(*f, "name") : nullptr;
    if (!name) wrong_field(here + ".function.name", "text");
    Json arguments = f->value("arguments", Json::object());
    if (arguments.is_string()) {
      Json read = Json::parse(arguments.get<std::string>(), nullptr, false);
      if (read.is_object()) arguments = std::move(read);
    } else if (!arguments.is_object()) {
      wrong_field(here + ".function.arguments", "text or an object");
    }
    const std::string* id = text_of(list[i], "id");
    if (!id) missing_field(here + ".id");
    out.push_back({{"id", *id},
                   {"type", "function"},
                   {"function", {{"name", *name}, {"arguments", std::move(arguments)}}}});
  }
  return out;
}

Json read_message(const Json& m, const std::string& place) {
  if (!m.is_object()) wrong_field(place, "an object with role and content");
  const std::string* role = text_of(m, "role");
  constexpr const char* kRoles = "system, user, assistant or tool";
  if (!role) wrong_field(place + ".role", kRoles);
  const std::string name = *role == "developer" ? "system" : *role == "function" ? "tool" : *role;
  if (name != "system" && name != "user" && name != "assistant" && name != "tool")
    wrong_field(place + ".role", str(kRoles, ", not '", name.substr(0, 40), "'"));
  const Json* calls = name == "assistant" ? find_field(m, "tool_calls") : nullptr;
  if (calls && calls->is_array() && calls->empty()) calls = nullptr;
  Json out = {{"role", name}, {"content", content_of(m, place, calls != nullptr)}};
  if (calls) out["tool_calls"] = calls_of(*calls, place + ".tool_calls");
  for (const char* key : {"name", "tool_call_id", "reasoning_content"})
    if (const std::string* t = text_of(m, key)) out[key] = *t;
  return out;
}

// A tool's answer must be one to a call that stands before it.
void check_answers(const Json& messages, const Json& given) {
  std::set<std::string> calls;
  for (size_t i = 0; i < messages.size(); ++i) {
    if (const Json* list = find_field(messages[i], "tool_calls"))
      for (const Json& call : *list) calls.insert(call["id"].get<std::string>());
    if (given[i]["role"] != "tool") continue;  // nor OpenAI's old role function, which has a name alone
    const std::string* id = text_of(messages[i], "tool_call_id");
    const std::string field = str("messages[", i, "].tool_call_id");
    if (!id) missing_field(field);
    if (!calls.count(*id)) wrong_field(field, "the id of a call in a message before it");
  }
}

// OpenAI's words for how a model thinks and writes, for templates that read them.
void read_manner(const Json& body, Json& context) {
  for (const char* key : {"reasoning_effort", "verbosity"}) {
    const Json* v = find_field(body, key);
    if (!v) continue;
    if (!v->is_string()) wrong_type(key, "text");
    if (!context.contains(key)) context[key] = *v;
  }
  if (const std::string* effort = text_of(body, "reasoning_effort"); effort && !context.contains("enable_thinking"))
    context["enable_thinking"] = *effort != "none";
}

// Where the prompt ends: before the assistant's answer, behind the last message, or within it.
void read_ending(const Json& body, Json& context) {
  for (const char* key : {"add_generation_prompt", "continue_final_message"}) {
    if (const Json* v = find_field(body, key)) context[key] = *v;
    if (context.contains(key) && !context[key].is_boolean()) wrong_type(key, "true or false");
  }
  if (!context.value("continue_final_message", false)) return;
  if (context.value("add_generation_prompt", false))
    wrong_field("add_generation_prompt", "false or left out with 'continue_final_message'");
  context["add_generation_prompt"] = false;
  const Json& last = context["messages"].back();
  if (last["role"] != "assistant" || last.contains("tool_calls") || trim(last["content"].get_ref<const std::string&>()).empty())
    wrong_field(str("messages[", context["messages"].size() - 1, "]"),
                "words of the assistant, which 'continue_final_message' goes on with");
}

}  // namespace

const Json* find_field(const Json& body, const char* key) {
  const auto it = body.find(key);
  return it == body.end() || it->is_null() ? nullptr : &*it;
}

void check_tool_name(const std::string& name, const std::string& place) {
  const bool good = !name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_' || c == '-';
  });
  if (!good) wrong_field(place, "1 to 64 letters, digits, _ and -");
}

void read_messages(const Json& body, ApiRequest& r) {
  const Json* list = find_field(body, "messages");
  if (!list) missing_field("messages");
  if (!list->is_array() || list->empty()) wrong_field("messages", "a list of at least one message");
  Json context = Json::object();
  if (const Json* more = find_field(body, "chat_template_kwargs")) {
    if (!more->is_object()) wrong_type("chat_template_kwargs", "an object");
    context = *more;
  }
  Json messages = Json::array();
  for (size_t i = 0; i < list->size(); ++i) messages.push_back(read_message((*list)[i], str("messages[", i, "]")));
  check_answers(messages, *list);
  context["messages"] = std::move(messages);
  read_manner(body, context);
  read_ending(body, context);
  r.context = std::make_shared<Json>(std::move(context));
}

void read_tools(const Json& body, ApiRequest& r) {
  const Json* tools = find_field(body, "tools");
  const Json* choice = find_field(body, "tool_choice");
  r.context->erase("tools");
  if (!tools || (tools->is_array() && tools->empty())) {
    if (choice && *choice != "none" && *choice != "auto") wrong_field("tool_choice", "given with 'tools'");
    return;
  }
  if (!tools->is_array() || tools->size() > kMostTools) wrong_field("tools", str("a list of at most ", kMostTools, " tools"));
  std::set<std::string> names;
  for (size_t i = 0; i < tools->size(); ++i) {
    const Json& t = (*tools)[i];
    const std::string place = str("tools[", i, "]");
    const Json* f = t.is_object() && t.value("type", Json("function")) == "function" ? find_field(t, "function") : nullptr;
    if (!f || !f->is_object()) wrong_field(place, "of type function, with a 'function'");
    const std::string* name = text_of(*f, "name");
    const std::string field = place + ".function.name";
    if (!name) missing_field(field);
    check_tool_name(*name, field);
    if (!names.insert(*name).second) wrong_field(field, str("another name: there is a tool '", *name, "' before it"));
  }
  if (choice && *choice == "none") return;
  r.tool_choice = ApiRequest::ToolChoice::automatic;
  (*r.context)["tools"] = *tools;
  r.tools = std::make_shared<Json>(*tools);
  if (!choice || *choice == "auto") return;
  r.tool_choice = ApiRequest::ToolChoice::required;
  if (r.context->value("continue_final_message", false))
    wrong_field("tool_choice", "none or auto with 'continue_final_message'");
  if (*choice == "required") return;
  const Json* f = choice->is_object() ? find_field(*choice, "function") : nullptr;
  const std::string* name = f && f->is_object() ? text_of(*f, "name") : nullptr;
  if (!name) wrong_field("tool_choice", "none, auto, required, or a function by its name");
  std::erase_if(r.tools->get_ref<Json::array_t&>(), [&](const Json& t) { return t["function"]["name"] != *name; });
  if (r.tools->empty()) wrong_field("tool_choice.function.name", "the name of one of the tools");
  r.parallel_tool_calls = false;
}

}  // namespace wellspring
