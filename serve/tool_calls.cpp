#include "serve/tool_calls.h"

#include <algorithm>
#include <cstring>
#include <random>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "serve/api_error.h"
#include "serve/api_messages.h"
#include "text/template/chat_template.h"

namespace wellspring {
namespace {

const char* const kSaid = "ws said";
const char* const kNames[] = {"ws_call_one", "ws_call_two"};

// Templates of the Mistral family refuse ids of another length.
constexpr size_t kIdLength = 9;

bool is_blank(char c) { return c == ' ' || c == '\n' || c == '\t' || c == '\r'; }

std::string new_id() {
  constexpr std::string_view kLetters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
  std::random_device device;
  std::string id;
  while (id.size() < kIdLength) id += kLetters[device() % kLetters.size()];
  return id;
}

Json message(const char* role, const char* content) { return {{"role", role}, {"content", content}}; }

// A conversation whose answer calls `calls` functions.
Json conversation(int calls) {
  Json list = Json::array();
  for (int i = 0; i < calls; ++i)
    list.push_back({{"id", std::string(kIdLength, static_cast<char>('a' + i))},
                    {"type", "function"},
                    {"function", {{"name", kNames[i]}, {"arguments", {{"ws_argument", "ws_value"}}}}}});
  Json answer = message("assistant", kSaid);
  answer["tool_calls"] = std::move(list);
  const Json tools = Json::array({{{"type", "function"},
                                   {"function",
                                    {{"name", "ws_tool"},
                                     {"description", "d"},
                                     {"parameters", {{"type", "object"}, {"properties", Json::object()}}}}}}});
  return {{"messages", Json::array({message("user", "ws question"), std::move(answer)})}, {"tools", tools}};
}

// Behind the '}' that belongs to the '{' at `begin`; npos: there is none.
size_t object_end(std::string_view s, size_t begin) {
  int depth = 0;
  bool text = false;
  for (size_t i = begin; i < s.size(); ++i) {
    if (text) {
      if (s[i] == '\\') ++i;
      else if (s[i] == '"') text = false;
    } else if (s[i] == '"') {
      text = true;
    } else if (s[i] == '{') {
      ++depth;
    } else if (s[i] == '}' && --depth == 0) {
      return i + 1;
    }
  }
  return s.npos;
}

struct Found {
  size_t begin = 0, end = 0;
  std::string name_key, arguments_key;
};

// The object that calls `name`, if there is one.
bool find_call(std::string_view s, const char* name, Found& found) {
  const size_t at = s.find(str('"', name, '"'));
  if (at == s.npos) return false;
  size_t begin = at;
  for (int tries = 0; tries < 4 && begin > 0; ++tries) {
    begin = s.rfind('{', begin - 1);
    if (begin == s.npos) return false;
    const size_t end = object_end(s, begin);
    if (end == s.npos || end <= at) continue;
    const Json object = Json::parse(s.substr(begin, end - begin), nullptr, false);
    if (!object.is_object()) continue;
    found = {begin, end, "", ""};
    for (const auto& [key, value] : object.items()) {
      if (value == name) found.name_key = key;
      if (value.is_object() && value.contains("ws_argument")) found.arguments_key = key;
    }
    if (!found.name_key.empty() && !found.arguments_key.empty()) return true;
  }
  return false;
}

size_t common_prefix(std::string_view a, std::string_view b) {
  const size_t n = std::min(a.size(), b.size());
  return static_cast<size_t>(std::mismatch(a.begin(), a.begin() + static_cast<int64_t>(n), b.begin()).first - a.begin());
}

ToolFormat format_of(const ChatTemplate& t, const Json& own, int calls) {
  const Json whole = conversation(calls);
  Json question = whole, answer = whole;
  question["messages"].erase(1);
  question["add_generation_prompt"] = true;
  answer["messages"][1] = message("assistant", "ws answer");
  const std::string text = t.render(whole, own);
  Found first, last;
  if (!find_call(text, kNames[0], first) || !find_call(text, kNames[calls - 1], last))
    throw Error(Fault::data, str(t.where(), ": calls of tools are not written as JSON objects"));
  ToolFormat f;
  f.in_template = true, f.several = calls > 1;
  f.name_key = first.name_key, f.arguments_key = first.arguments_key;
  // Behind what is said besides, when that is written; else behind what both begin with.
  size_t from = text.rfind(kSaid, first.begin);
  if (from != text.npos)
    from = std::min(text.find_first_not_of(" \n", from + std::strlen(kSaid)), first.begin);
  else
    from = std::min(common_prefix(text, t.render(question, own)), first.begin);
  f.begin = text.substr(from, first.begin - from);
  f.between = calls > 1 ? text.substr(first.end, last.begin - first.end) : "";
  f.end = text.substr(last.end);
  std::string plain = t.render(answer, own);
  if (const size_t at = plain.rfind("ws answer"); at != plain.npos) {
    const std::string tail = plain.substr(at + 9);
    if (ends_with(f.end, tail)) f.end.resize(f.end.size() - tail.size());
  }
  return f;
}

std::string call_text(const ToolFormat& f, const Json& call) {
  const Json& function = call.contains("function") ? call["function"] : call;
  return to_text({{f.name_key, function.value("name", Json())}, {f.arguments_key, function.value("arguments", Json())}});
}

std::string tools_text(const Json& tools, const ToolFormat& f) {
  std::string out = "You may call these functions:\n<tools>\n";
  for (const Json& t : tools) out += to_text(t) + "\n";
  return out + str("</tools>\nTo call one, answer with its name and its arguments as JSON, like this:\n", f.begin, "{\"",
                   f.name_key, "\": \"NAME\", \"", f.arguments_key, "\": {\"ARGUMENT\": \"VALUE\"}}", f.end);
}

}  // namespace

std::string_view ToolFormat::trigger() const {
  const std::string_view all = trim(begin);
  if (all.empty() || (all[0] != '<' && all[0] != '[')) return all;
  return all.substr(0, std::min(all.find_first_of(" \n\t"), all.size()));
}

ToolFormat find_tool_format(const ChatTemplate& t, const Json& own) {
  if (!t.reads("tools")) return {};
  for (const int calls : {2, 1}) try {
      return format_of(t, own, calls);
    } catch (const Error&) {  // it takes one call alone, or writes none
    }
  return {};
}

Json with_tools_as_text(const Json& context, const ToolFormat& f) {
  Json out = context;
  out.erase("tools");
  Json messages = Json::array();
  for (const Json& m : context["messages"]) {
    if (m.value("role", "") == "tool") {
      const std::string result = str("<tool_response>\n", m.value("content", ""), "\n</tool_response>");
      if (!messages.empty() && messages.back().contains("tool_result")) {  // roles alternate in many templates
        messages.back()["content"] = str(messages.back()["content"].get<std::string>(), "\n", result);
      } else {
        messages.push_back(message("user", result.c_str()));
        messages.back()["tool_result"] = true;
      }
    } else {
      Json copy = m;
      if (m.contains("tool_calls")) {
        std::string calls;
        for (const Json& c : m["tool_calls"]) calls += str(calls.empty() ? f.begin : f.between, call_text(f, c));
        const std::string said = m.value("content", "");
        copy["content"] = str(said, said.empty() ? "" : "\n", calls, f.end);
        copy.erase("tool_calls");
      }
      messages.push_back(std::move(copy));
    }
  }
  if (context.contains("tools")) {
    const std::string text = tools_text(context["tools"], f);
    if (!messages.empty() && messages[0].value("role", "") == "system")
      messages[0]["content"] = str(messages[0]["content"].get<std::string>(), "\n\n", text);
    else
      messages.insert(messages.begin(), message("system", text.c_str()));
  }
  for (Json& m : messages) m.erase("tool_result");
  out["messages"] = std::move(messages);
  return out;
}

std::string tool_call_schema(const ToolFormat& f, const Json& tools, JsonGrammarOptions& options) {
  Json any = Json::array();
  for (size_t i = 0; i < tools.size(); ++i) {
    const Json& function = tools[i]["function"];
    Json arguments = function.value("parameters", Json{{"type", "object"}});
    if (!arguments.is_object()) wrong_type(str("tools[", i, "].function.parameters"), "a JSON schema");
    if (!arguments.contains("type")) arguments["type"] = "object";
    if (arguments["type"] != "object") wrong_field(str("tools[", i, "].function.parameters.type"), "\"object\"");
    if (const Json* strict = find_field(function, "strict"); strict && !strict->is_boolean())
      wrong_type(str("tools[", i, "].function.strict"), "true or false");
    options.parts.push_back({(Json::json_pointer("/anyOf") / i / "properties" / f.arguments_key).to_string(),
                             str("parameters of '", function["name"].get<std::string>(), "'"), function.value("strict", Json()) != true});
    any.push_back({{"type", "object"},
                   {"properties", {{f.name_key, {{"const", function["name"]}}}, {f.arguments_key, std::move(arguments)}}},
                   {"required", {f.name_key, f.arguments_key}},
                   {"additionalProperties", false}});
  }
  return to_text({{"anyOf", std::move(any)}});
}

ToolCallReader::ToolCallReader(const ToolFormat& f, bool begun)
    : trigger_(f.trigger()), name_key_(f.name_key), arguments_key_(f.arguments_key) {
  if (begun) state_ = State::around;
}

void ToolCallReader::push(std::string_view text, std::string& content, std::vector<ToolCallDelta>& calls) {
  if (state_ == State::around || state_ == State::call) {
    for (const char c : text) take(c, calls);
    return;
  }
  held_ += text;
  if (trigger_.empty()) {  // only a '{' that begins the answer
    const size_t first = held_.find_first_not_of(" \n\t");
    if (state_ == State::start && first == held_.npos) return;
    const bool call = state_ == State::start && held_[first] == '{';
    state_ = call ? State::around : State::content;
    const std::string all = std::move(held_);
    held_.clear();
    return call ? push(all, content, calls) : void(content += all);
  }
  if (const size_t at = held_.find(trigger_); at != held_.npos) {
    size_t shown = at;
    while (shown && is_blank(held_[shown - 1])) --shown;
    content += held_.substr(0, shown);
    const std::string rest = held_.substr(at + trigger_.size());
    held_.clear();
    state_ = State::around;
    return push(rest, content, calls);
  }
  // What may be the trigger's beginning stays, and the blanks before it, which belong to it.
  size_t keep = std::min(trigger_.size() - 1, held_.size());
  while (keep && std::string_view(held_).substr(held_.size() - keep) != std::string_view(trigger_).substr(0, keep)) --keep;
  size_t shown = held_.size() - keep;
  while (shown && is_blank(held_[shown - 1])) --shown;
  content += held_.substr(0, shown);
  held_.erase(0, shown);
}

void ToolCallReader::finish(std::string& content) {
  content += held_;
  held_.clear();
}

// The call that is being read, as it stands in this batch.
ToolCallDelta& ToolCallReader::delta(std::vector<ToolCallDelta>& out) const {
  if (out.empty() || out.back().index != calls_ - 1) out.push_back({calls_ - 1, "", "", ""});
  return out.back();
}

void ToolCallReader::take(char c, std::vector<ToolCallDelta>& out) {
  if (state_ == State::around) {  // between calls nothing counts
    if (c != '{') return;
    state_ = State::call;
    depth_ = 1, in_text_ = escaped_ = value_ = named_ = false;
    key_.clear(), text_.clear(), early_.clear();
    return;
  }
  const bool inside = value_ && key_ == arguments_key_;  // of the arguments' value
  const bool was_text = in_text_;
  if (in_text_) {
    if (!escaped_ && c == '"') in_text_ = false;
    escaped_ = !escaped_ && c == '\\';
    text_ += c;
  } else if (c == '"') {
    in_text_ = true;
    text_ = "\"";
  } else if (c == '{' || c == '[') {
    ++depth_;
  } else if (c == '}' || c == ']') {
    --depth_;
  }
  const bool value_ends = depth_ == 0 || (depth_ == 1 && c == ',' && !was_text);
  const bool blank_around = depth_ == 1 && !was_text && is_blank(c);
  if (inside && !value_ends && !blank_around) {
    if (named_)
      delta(out).arguments += c;
    else
      early_ += c;  // the name comes first
  }
  if (depth_ == 1 && was_text && !in_text_) {  // a text of the call itself has ended
    const Json read = Json::parse(text_, nullptr, false);
    const std::string text = read.is_string() ? read.get<std::string>() : "";
    if (!value_) {
      key_ = text;
    } else if (key_ == name_key_) {
      calls_ += !named_;
      ToolCallDelta& d = delta(out);
      d.id = new_id(), d.name = text, d.arguments = std::move(early_);
      named_ = true;
      early_.clear();
    }
  }
  if (depth_ == 1 && c == ':' && !was_text) value_ = true;
  if (value_ends) value_ = false, key_.clear();
  if (depth_ == 0) state_ = State::around, complete_ += named_;
}

}  // namespace wellspring
