#include "cli/load_answer.h"

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"

namespace wellspring {
namespace {

constexpr size_t kMost = 16 << 20;

int64_t count_in(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && it->is_number_integer() ? it->get<int64_t>() : 0;
}

bool has_text(const Json& object, const char* key) {
  const auto it = object.find(key);
  return it != object.end() && ((it->is_string() && !it->get_ref<const std::string&>().empty()) ||
                                (it->is_array() && !it->empty()));
}

const Json* object_in(const Json& body, const char* key) {
  if (!body.is_object()) return nullptr;
  const auto it = body.find(key);
  return it != body.end() && it->is_object() ? &*it : nullptr;
}

// A piece of the answer itself, not of what stands around it.
bool is_content(const Json& choice) {
  if (!choice.is_object()) return false;
  const Json* delta = object_in(choice, "delta");
  const Json& from = delta ? *delta : choice;
  for (const char* key : {"text", "content", "reasoning_content", "reasoning", "tool_calls"})
    if (has_text(from, key)) return true;
  return false;
}

std::string message_in(const Json& body) {
  const auto error = body.is_object() ? body.find("error") : body.end();
  if (error == body.end()) return {};
  if (error->is_object() && has_text(*error, "message")) return (*error)["message"];
  return to_text(*error);
}

}  // namespace

bool LoadAnswer::feed(std::string_view bytes, double now) {
  begun_ = true;
  rest_ += bytes;
  if (!whole_) {
    size_t begin = 0, end;
    while ((end = rest_.find('\n', begin)) != rest_.npos) {
      line(trim(std::string_view(rest_).substr(begin, end - begin)), now);
      begin = end + 1;
    }
    rest_.erase(0, begin);
  }
  malformed_ |= rest_.size() + plain_.size() > kMost;
  return !malformed_;
}

void LoadAnswer::line(std::string_view text, double now) {
  if (text.starts_with("data:"))
    event(trim(text.substr(5)), now);
  else if (plain_.size() < (1 << 16))
    append(plain_, text);
}

void LoadAnswer::event(std::string_view text, double now) {
  if (text == "[DONE]") {
    ended_ = true;
    return;
  }
  try {
    const Json body = parse_json(text, "event");
    if (std::string why = message_in(body); !why.empty()) error_ = true, message_ = why;
    const auto choices = body.is_object() ? body.find("choices") : body.end();
    if (choices != body.end() && choices->is_array())
      for (const Json& choice : *choices) {
        if (is_content(choice)) times.push_back(now);
        ended_ |= choice.is_object() && has_text(choice, "finish_reason");
      }
    usage(body);
  } catch (const Error& e) {
    malformed_ = true, message_ = e.what();
  }
}

void LoadAnswer::usage(const Json& body) {
  const Json* u = object_in(body, "usage");
  if (!u) return;
  prompt_tokens = count_in(*u, "prompt_tokens"), output_tokens = count_in(*u, "completion_tokens");
  if (const Json* d = object_in(*u, "prompt_tokens_details"))
    cached_tokens = count_in(*d, "cached_tokens");
}

std::string LoadAnswer::judge(int status) {
  if (!whole_) line(trim(rest_), 0), rest_.clear();
  const std::string& plain = whole_ ? rest_ : plain_;
  if (status != 200 || whole_) {
    try {
      const Json body = parse_json(plain, "answer");
      message_ = message_in(body);
      usage(body);
      ended_ = body.is_object() && body.contains("choices");
    } catch (const Error&) {
      malformed_ |= status == 200;
      message_ = utf8_repair(std::string_view(plain).substr(0, 200));
    }
  }
  if (status != 200) return std::to_string(status);
  if (error_ || (whole_ && !message_.empty())) return "error in stream";
  if (malformed_) return "malformed";
  if (!output_tokens) output_tokens = static_cast<int64_t>(times.size());
  return ended_ ? "" : "broken off";
}

}  // namespace wellspring
