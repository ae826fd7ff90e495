#include "cluster/job/ignore.h"

#include <cctype>
#include <utility>

#include "base/text.h"

namespace wellspring::cluster {
namespace {

bool in_class(std::string_view name, int c) {
  constexpr std::pair<std::string_view, int (*)(int)> kClasses[] = {
      {"alnum", std::isalnum}, {"alpha", std::isalpha}, {"blank", std::isblank},
      {"cntrl", std::iscntrl}, {"digit", std::isdigit}, {"graph", std::isgraph},
      {"lower", std::islower}, {"print", std::isprint}, {"punct", std::ispunct},
      {"space", std::isspace}, {"upper", std::isupper}, {"xdigit", std::isxdigit}};
  for (const auto& [known, test] : kClasses)
    if (name == known) return c < 128 && test(c);
  return false;
}

// Reads "[...]" at `at` (behind the bracket) into 256 flags; false when it does not end.
bool parse_set(std::string_view text, size_t& at, std::string& members) {
  members.assign(256, '\0');
  const bool negated = at < text.size() && (text[at] == '!' || text[at] == '^');
  if (negated) ++at;
  for (bool first = true;; first = false) {
    if (at >= text.size()) return false;
    if (text[at] == ']' && !first) break;
    if (text.substr(at, 2) == "[:") {
      const size_t end = text.find(":]", at + 2);
      if (end == text.npos) return false;
      for (int c = 0; c < 256; ++c)
        if (in_class(text.substr(at + 2, end - at - 2), c)) members[static_cast<size_t>(c)] = 1;
      at = end + 2;
      continue;
    }
    const auto character = [&](unsigned char& c) {
      if (text[at] == '\\' && ++at >= text.size()) return false;
      c = static_cast<unsigned char>(text[at++]);
      return true;
    };
    unsigned char low = 0, high = 0;
    if (!character(low)) return false;
    high = low;
    if (at + 1 < text.size() && text[at] == '-' && text[at + 1] != ']') {
      ++at;
      if (!character(high)) return false;
    }
    for (int c = low; c <= high; ++c) members[static_cast<size_t>(c)] = 1;
  }
  ++at;
  if (negated)
    for (char& m : members) m = !m;
  members['/'] = 0;
  return true;
}

}  // namespace

bool IgnoreRules::parse(std::string_view line, Rule& rule) {
  if (line.ends_with('\r')) line.remove_suffix(1);
  while (line.ends_with(' ') && !(line.size() > 1 && line[line.size() - 2] == '\\'))
    line.remove_suffix(1);
  if (line.empty() || line[0] == '#') return false;
  if (line[0] == '!') {
    rule.negated = true;
    line.remove_prefix(1);
  }
  if (line.ends_with('/')) {
    rule.folders_only = true;
    line.remove_suffix(1);
  }
  rule.whole_path = line.find('/') != line.npos;
  if (line.starts_with('/')) line.remove_prefix(1);
  if (line.empty()) return false;

  using Kind = Token::Kind;
  for (size_t i = 0; i < line.size();) {
    Token token;
    const bool at_start = i == 0 || line[i - 1] == '/';
    if (line[i] == '*') {
      size_t end = line.find_first_not_of('*', i);
      if (end == line.npos) end = line.size();
      const bool two = end - i >= 2 && at_start && rule.whole_path;
      if (two && end == line.size()) {
        token.kind = Kind::rest;
      } else if (two && line[end] == '/') {
        rule.tokens.push_back({Kind::folders_at, 0, {}});
        token.kind = Kind::folders_in;
        ++end;
      } else {
        token.kind = Kind::star;
      }
      i = end;
    } else if (line[i] == '?') {
      token.kind = Kind::any;
      ++i;
    } else if (line[i] == '[') {
      token.kind = Kind::set;
      if (!parse_set(line, ++i, token.members)) return false;
    } else {
      if (line[i] == '\\' && ++i == line.size()) return false;
      token.character = line[i++];
    }
    rule.tokens.push_back(std::move(token));
  }
  return true;
}

// All places of the pattern that the text read so far may have reached, together: no pattern takes
// longer than its length times the text's.
bool IgnoreRules::matches(const std::vector<Token>& tokens, std::string_view text) {
  using Kind = Token::Kind;
  const size_t n = tokens.size();
  std::vector<char> now(n + 1), next(n + 1);
  const auto skip = [&](std::vector<char>& at) {  // what may match nothing
    for (size_t i = 0; i < n; ++i) {
      if (!at[i]) continue;
      if (tokens[i].kind == Kind::star) at[i + 1] = 1;
      if (tokens[i].kind == Kind::folders_at) at[i + 2] = 1;
    }
  };
  now[0] = 1;
  skip(now);
  for (char c : text) {
    next.assign(n + 1, 0);
    for (size_t i = 0; i < n; ++i) {
      if (!now[i]) continue;
      switch (tokens[i].kind) {
        case Kind::character:
          next[i + 1] |= c == tokens[i].character;
          break;
        case Kind::any:
          next[i + 1] |= c != '/';
          break;
        case Kind::set:
          next[i + 1] |= tokens[i].members[static_cast<unsigned char>(c)] != 0;
          break;
        case Kind::star:
          next[i] |= c != '/';
          break;
        case Kind::folders_at:
          next[i + 1] |= c != '/';
          break;
        case Kind::folders_in:
          next[c == '/' ? i - 1 : i] = 1;
          break;
        case Kind::rest:
          next[i] = next[i + 1] = 1;
          break;
      }
    }
    skip(next);
    now.swap(next);
  }
  return now[n];
}

void IgnoreRules::add(std::string_view text) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  for (const std::string& line : split(text, '\n')) {
    Rule rule;
    if (parse(line, rule)) rules_.push_back(std::move(rule));
  }
}

bool IgnoreRules::ignored(std::string_view path, bool is_folder) const {
  const std::string_view name = path.substr(path.rfind('/') + 1);  // npos + 1 = 0
  for (auto rule = rules_.rbegin(); rule != rules_.rend(); ++rule) {
    if (rule->folders_only && !is_folder) continue;
    if (matches(rule->tokens, rule->whole_path ? path : name)) return !rule->negated;
  }
  return false;
}

}  // namespace wellspring::cluster
