#include "data/pod.h"

#include "base/text.h"
#include "data/html.h"
#include "data/text_builder.h"

namespace wellspring {
namespace {

constexpr int kDeepest = 32;

std::string resolve(std::string_view& s, char code, std::string_view close, int depth);

// What one formatting code stands for.
std::string formatted(char code, std::string inner) {
  switch (code) {
    case 'E': {
      if (inner == "lt") return "<";
      if (inner == "gt") return ">";
      if (inner == "verbar") return "|";
      if (inner == "sol") return "/";
      std::string out;
      if (auto number = parse_int(inner); number && *number > 0 && *number < 0xD800)
        utf8_append(out, static_cast<char32_t>(*number));
      else if (char32_t c = named_entity(inner))
        utf8_append(out, c);
      return out.empty() ? inner : out;
    }
    case 'X':
    case 'Z':
      return "";
    case 'L': {
      size_t bar = inner.find('|');
      if (bar != std::string::npos) return inner.substr(0, bar);
      size_t slash = inner.find('/');
      if (slash == std::string::npos || inner.find("://") != std::string::npos) return inner;
      std::string section(trim(inner.substr(slash + 1)));
      if (starts_with(section, "\"") && ends_with(section, "\"") && section.size() > 1)
        section = section.substr(1, section.size() - 2);
      return slash == 0 ? "\"" + section + "\""
                        : "\"" + section + "\" in " + inner.substr(0, slash);
    }
    default:
      return inner;  // B, I, C, F, S
  }
}

// Reads up to `close` (or to the end), resolving the codes inside.
std::string resolve(std::string_view& s, char code, std::string_view close, int depth) {
  std::string out;
  while (!s.empty()) {
    if (!close.empty() && starts_with(s, close)) {
      s.remove_prefix(close.size());
      break;
    }
    if (s.size() > 1 && s[0] >= 'A' && s[0] <= 'Z' && s[1] == '<' && depth < kDeepest) {
      char inner = s[0];
      s.remove_prefix(1);
      size_t angles = std::min(s.find_first_not_of('<'), s.size());
      bool wide = angles > 1 && angles < s.size() && (s[angles] == ' ' || s[angles] == '\n');
      if (!wide) angles = 1;
      s.remove_prefix(angles);
      std::string end = wide ? " " + std::string(angles, '>') : std::string(">");
      std::string text = resolve(s, inner, end, depth + 1);
      out += formatted(inner, wide ? std::string(trim(text)) : text);
      continue;
    }
    out += s[0];
    s.remove_prefix(1);
  }
  return out;
}

std::string plain(std::string_view s) { return resolve(s, 0, "", 0); }

}  // namespace

std::string pod_text(std::string_view pod) {
  TextBuilder out;
  bool in_pod = false;
  int skipped = 0;  // depth of =begin regions that are not text
  size_t at = 0;
  while (at < pod.size()) {
    // One paragraph: up to a blank line.
    size_t end = at;
    while (end < pod.size()) {
      size_t line = std::min(pod.find('\n', end), pod.size());
      bool blank = trim(pod.substr(end, line - end)).empty();
      if (blank) break;
      end = std::min(line + 1, pod.size());
    }
    std::string_view paragraph = pod.substr(at, end - at);
    size_t line = std::min(pod.find('\n', end), pod.size());
    at = end >= pod.size() ? pod.size() : std::min(line + 1, pod.size());
    if (paragraph.empty()) continue;
    if (paragraph[0] == '=' && paragraph.size() > 1 && (paragraph[1] | 32) >= 'a' &&
        (paragraph[1] | 32) <= 'z') {
      in_pod = true;
      size_t space = std::min(paragraph.find_first_of(" \t\n"), paragraph.size());
      std::string_view command = paragraph.substr(1, space - 1);
      std::string_view rest = trim(paragraph.substr(space));
      if (command == "cut") in_pod = false;
      if (command == "begin" && !starts_with(rest, "text") && !starts_with(rest, ":")) ++skipped;
      if (command == "end" && skipped > 0) --skipped;
      if (skipped > 0) continue;
      if (starts_with(command, "head") && command.size() == 5) {
        out.line_break(2);
        out.marker(std::string(static_cast<size_t>(std::max(1, command[4] - '0')) % 7, '#') + " ");
        out.text(plain(rest));
        out.line_break(2);
      } else if (command == "item") {
        out.line_break(2);
        if (rest.empty() || rest == "*")
          out.marker("- ");
        else
          out.text(starts_with(rest, "* ") ? "- " + plain(rest.substr(2)) : "- " + plain(rest));
        if (!rest.empty() && rest != "*") out.line_break(2);
      }
      continue;
    }
    if (!in_pod || skipped > 0) continue;
    out.line_break(2);
    if (paragraph[0] == ' ' || paragraph[0] == '\t')
      out.verbatim(paragraph);
    else
      out.text(plain(paragraph));
    out.line_break(2);
  }
  return out.take();
}

}  // namespace wellspring
