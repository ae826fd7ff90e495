#include "base/json.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

namespace wellspring {
namespace {

constexpr int kDepthLimit = 512;

[[noreturn]] void fail_at(std::string_view text, size_t at, const std::string& where,
                          std::string_view what) {
  at = std::min(at, text.size());
  auto before = text.substr(0, at);
  auto line = std::count(before.begin(), before.end(), '\n') + 1;
  size_t start = before.rfind('\n') + 1;  // npos + 1 = 0
  throw Error(Fault::data, str(where, ":", line, ":", at - start + 1, ": ", what));
}

// Position of the first bracket that nests too deep, or npos. Strings are skipped; a text that is
// not JSON gets its message from the parser.
size_t too_deep(std::string_view text) {
  int depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (quoted) {
      if (c == '\\') ++i;
      if (c == '"') quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kDepthLimit) return i;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return text.npos;
}

// nlohmann's message without its tag and position, which we give in our own form.
std::string reason(std::string_view what) {
  if (size_t at = what.find("column "); at != what.npos)
    if (size_t colon = what.find(": ", at); colon != what.npos) what.remove_prefix(colon + 2);
  if (what.starts_with('[')) what.remove_prefix(std::min(what.size(), what.find("] ") + 2));
  return str("not valid JSON: ", utf8_repair(what.substr(0, 300)));
}

}  // namespace

Json parse_json(std::string_view text, const std::string& where) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  if (size_t at = too_deep(text); at != text.npos)
    fail_at(text, at, where, str("nested deeper than ", kDepthLimit, " levels"));
  try {
    return Json::parse(text.begin(), text.end());
  } catch (const Json::parse_error& e) {
    fail_at(text, e.byte > 0 ? e.byte - 1 : 0, where, reason(e.what()));
  } catch (const Json::exception& e) {  // a number beyond double
    throw Error(Fault::data, str(where, ": ", reason(e.what())));
  }
}

Json read_json(const std::string& path) { return parse_json(read_file(path), path); }

std::string to_text(const Json& value, int indent) {
  return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace wellspring
