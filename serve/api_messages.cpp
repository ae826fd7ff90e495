#include "serve/api_messages.h"

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
    for (const Json& part : *c) {
      const std::string* t = part.is_object() && part.value("type", Json()) == "text" ? text_of(part, "text") : nullptr;
      if (!t) wrong_field(place + ".content", "text, or parts of type text");
      text += *t;
    }
    return text;
  }
  wrong_field(place + ".content", "text");
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
    out.push_back({{"id", id ? *id : ""},
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

}  // namespace

const Json* find_field(const Json& body, const char* key) {
  const auto it = body.find(key);
  return it == body.end() || it->is_null() ? nullptr : &*it;
}

void wrong_field(const std::string& field, const std::string& expected) {
  throw Error(Fault::data, str("'", field, "' must be ", expected));
}

void read_messages(const Json& body, ApiRequest& r) {
  const Json* list = find_field(body, "messages");
  if (!list) throw Error(Fault::data, "'messages' is missing");
  if (!list->is_array() || list->empty()) wrong_field("messages", "a list of at least one message");
  Json context = Json::object();
  if (const Json* more = find_field(body, "chat_template_kwargs")) {
    if (!more->is_object()) wrong_field("chat_template_kwargs", "an object");
    context = *more;
  }
  Json messages = Json::array();
  for (size_t i = 0; i < list->size(); ++i) messages.push_back(read_message((*list)[i], str("messages[", i, "]")));
  context["messages"] = std::move(messages);
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
  for (size_t i = 0; i < tools->size(); ++i) {
    const Json& t = (*tools)[i];
    const std::string place = str("tools[", i, "]");
    const Json* f = t.is_object() && t.value("type", Json("function")) == "function" ? find_field(t, "function") : nullptr;
    if (!f || !f->is_object()) wrong_field(place, "of type function, with a 'function'");
    const std::string* name = text_of(*f, "name");
    if (!name || name->empty() || name->size() > 64) wrong_field(place + ".function.name", "a text of 1 to 64 bytes");
  }
  if (choice && *choice == "none") return;
  r.tool_choice = ApiRequest::ToolChoice::automatic;
  (*r.context)["tools"] = *tools;
  r.tools = std::make_shared<Json>(*tools);
  if (!choice || *choice == "auto") return;
  r.tool_choice = ApiRequest::ToolChoice::required;
  if (*choice == "required") return;
  const Json* f = choice->is_object() ? find_field(*choice, "function") : nullptr;
  const std::string* name = f && f->is_object() ? text_of(*f, "name") : nullptr;
  if (!name) wrong_field("tool_choice", "none, auto, required, or a function by its name");
  std::erase_if(r.tools->get_ref<Json::array_t&>(), [&](const Json& t) { return t["function"]["name"] != *name; });
  if (r.tools->empty()) wrong_field("tool_choice.function.name", "the name of one of the tools");
  r.parallel_tool_calls = false;
}

}  // namespace wellspring
