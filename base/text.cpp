#include "base/text.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

namespace wellspring {

void append(std::string& out, double v) {
  char buffer[40];
  auto end = std::to_chars(buffer, buffer + sizeof buffer, v).ptr;
  out.append(buffer, end);
}

std::vector<std::string> split(std::string_view s, char separator) {
  std::vector<std::string> parts;
  size_t start = 0;
  while (true) {
    size_t at = s.find(separator, start);
    parts.emplace_back(s.substr(start, at - start));
    if (at == s.npos) return parts;
    start = at + 1;
  }
}

std::string_view trim(std::string_view s) {
  constexpr std::string_view kSpace = " \t\r\n\f\v";
  size_t first = s.find_first_not_of(kSpace);
  if (first == s.npos) return {};
  return s.substr(first, s.find_last_not_of(kSpace) - first + 1);
}

std::string join(const std::vector<std::string>& parts, std::string_view separator) {
  std::string out;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (i) out += separator;
    out += parts[i];
  }
  return out;
}

bool starts_with(std::string_view s, std::string_view prefix) { return s.starts_with(prefix); }
bool ends_with(std::string_view s, std::string_view suffix) { return s.ends_with(suffix); }

std::string to_lower(std::string_view ascii) {
  std::string out(ascii);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  return out;
}

namespace {

template <class T>
std::optional<T> parse_whole(std::string_view s) {
  if (s.size() > 1 && s[0] == '+' && s[1] != '-' && s[1] != '+') s.remove_prefix(1);
  T value{};
  auto [end, error] = std::from_chars(s.data(), s.data() + s.size(), value);
  if (s.empty() || error != std::errc() || end != s.data() + s.size()) return std::nullopt;
  return value;
}

// Three significant digits, without trailing zeros: 12.3, 4, 0.5, 999.
std::string three_digits(double v) {
  char buffer[40];
  double size = std::fabs(v);
  int decimals = size >= 99.95 ? 0 : size >= 9.995 ? 1 : 2;
  std::snprintf(buffer, sizeof buffer, "%.*f", decimals, v);
  std::string out = buffer;
  if (out.find('.') != out.npos) {
    while (out.back() == '0') out.pop_back();
    if (out.back() == '.') out.pop_back();
  }
  return out;
}

// Scales by 1000 and appends the unit; steps up early when rounding would print "1000".
std::string scaled(double v, const char* const* units, int count) {
  if (!std::isfinite(v)) return std::isnan(v) ? "nan" : v > 0 ? "inf" : "-inf";
  int unit = 0;
  while (unit + 1 < count && std::fabs(v) >= 999.5) {
    v /= 1000;
    ++unit;
  }
  return three_digits(v) + units[unit];
}

}  // namespace

std::optional<int64_t> parse_int(std::string_view s) { return parse_whole<int64_t>(s); }
std::optional<double> parse_double(std::string_view s) { return parse_whole<double>(s); }

std::optional<int64_t> parse_bytes(std::string_view s) {
  s = trim(s);
  const size_t end = std::min(s.find_first_not_of("0123456789."), s.size());
  auto number = parse_double(s.substr(0, end));
  std::string unit = to_lower(trim(s.substr(end)));
  if (!number) return std::nullopt;
  if (ends_with(unit, "b")) unit.pop_back();
  double base = 1000;
  if (unit.size() == 2 && unit[1] == 'i') {
    base = 1024;
    unit.pop_back();
  }
  const size_t power = unit.empty() ? 0 : std::string_view("?kmgt").find(unit);
  if (unit.size() > 1 || power > 4 || (unit.empty() ? base == 1024 : power == 0))
    return std::nullopt;
  const double bytes = *number * std::pow(base, static_cast<double>(power));
  if (!(bytes >= 0 && bytes <= 0x1p62)) return std::nullopt;
  return static_cast<int64_t>(bytes);
}

namespace {

// "D-HH:MM:SS" or "HH:MM:SS"; minutes and seconds of two digits below 60.
std::optional<double> clock_duration(std::string_view s) {
  const size_t dash = s.find('-');
  auto days = dash == s.npos ? std::optional<int64_t>(0) : parse_int(s.substr(0, dash));
  std::vector<std::string> parts = split(dash == s.npos ? s : s.substr(dash + 1), ':');
  if (!days || *days < 0 || *days > 1'000'000 || parts.size() != 3) return std::nullopt;
  double seconds = static_cast<double>(*days);
  constexpr int kMost[] = {1'000'000, 59, 59}, kUnits[] = {24, 60, 60};
  for (size_t i = 0; i < 3; ++i) {
    const std::string& part = parts[i];
    if (part.find_first_not_of("0123456789") != part.npos) return std::nullopt;
    auto value = parse_int(part);
    if (!value || *value > (i == 0 && dash != s.npos ? 23 : kMost[i]) ||
        (i > 0 && part.size() != 2))
      return std::nullopt;
    seconds = seconds * kUnits[i] + static_cast<double>(*value);
  }
  return seconds;
}

}  // namespace

std::optional<double> parse_duration(std::string_view s) {
  s = trim(s);
  if (s.find(':') != s.npos) return clock_duration(s);
  constexpr std::pair<std::string_view, double> kUnits[] = {
      {"w", 604800}, {"d", 86400}, {"h", 3600}, {"m", 60}, {"s", 1}, {"ms", 0.001}};
  double seconds = 0;
  size_t next = 0;  // of kUnits
  do {
    const size_t end = std::min(s.find_first_not_of("0123456789."), s.size());
    auto number = parse_double(s.substr(0, end));
    if (!number) return std::nullopt;
    s = trim(s.substr(end));
    if (s.empty() && next == 0) return *number;
    const size_t length = std::min(s.find_first_not_of("wdhms"), s.size());
    while (next < std::size(kUnits) && kUnits[next].first != s.substr(0, length)) ++next;
    if (next == std::size(kUnits)) return std::nullopt;
    seconds += *number * kUnits[next++].second;
    s = trim(s.substr(length));
  } while (!s.empty());
  return seconds;
}

std::string human_bytes(double bytes) {
  static const char* const kUnits[] = {" B", " kB", " MB", " GB", " TB", " PB"};
  return scaled(bytes, kUnits, 6);
}

std::string human_count(double n) {
  static const char* const kUnits[] = {"", "k", "M", "G", "T", "P"};
  return scaled(n, kUnits, 6);
}

std::string human_duration(double seconds) {
  if (!std::isfinite(seconds)) return "?";
  if (seconds < 0) return "-" + human_duration(-seconds);
  if (seconds < 1e-3) return three_digits(seconds * 1e6) + " us";
  if (seconds < 1) return three_digits(seconds * 1e3) + " ms";
  if (seconds < 59.95) return three_digits(seconds) + "s";
  if (seconds > 8.64e11) return "?";
  auto whole = static_cast<int64_t>(std::llround(seconds));
  int64_t days = whole / 86400, hours = whole / 3600 % 24, minutes = whole / 60 % 60;
  if (days > 0) return str(days, "d ", hours, "h");
  if (hours > 0) return str(hours, "h ", minutes, "m");
  return str(minutes, "m ", whole % 60, "s");
}

namespace {

// Damerau-Levenshtein distance (adjacent swaps count one), over bytes.
size_t distance(std::string_view a, std::string_view b) {
  std::vector<size_t> before(b.size() + 1), last(b.size() + 1), now(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) last[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    now[0] = i;
    for (size_t j = 1; j <= b.size(); ++j) {
      now[j] = std::min({last[j] + 1, now[j - 1] + 1, last[j - 1] + (a[i - 1] != b[j - 1])});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
        now[j] = std::min(now[j], before[j - 2] + 1);
    }
    before.swap(last);
    last.swap(now);
  }
  return last[b.size()];
}

}  // namespace

std::optional<std::string> nearest(std::string_view word,
                                   const std::vector<std::string>& candidates) {
  const std::string* best = nullptr;
  size_t best_distance = 0;
  if (word.size() > 200) return std::nullopt;
  for (const std::string& candidate : candidates) {
    size_t longer = std::max(word.size(), candidate.size());
    if (longer > 200) continue;
    size_t d = distance(to_lower(word), to_lower(candidate));
    if (d > std::max<size_t>(1, longer / 3) || d >= longer) continue;
    if (!best || d < best_distance) {
      best = &candidate;
      best_distance = d;
    }
  }
  if (!best) return std::nullopt;
  return *best;
}

int utf8_length(std::string_view s) {
  if (s.empty()) return 0;
  auto byte = [&](size_t i) { return static_cast<unsigned char>(s[i]); };
  auto in = [&](size_t i, unsigned low, unsigned high) {
    return i < s.size() && byte(i) >= low && byte(i) <= high;
  };
  unsigned c = byte(0);
  if (c < 0x80) return 1;
  if (c < 0xC2) return 0;
  if (c < 0xE0) return in(1, 0x80, 0xBF) ? 2 : 0;
  if (c < 0xF0) {
    // E0: no overlong forms; ED: no surrogates.
    unsigned low = c == 0xE0 ? 0xA0 : 0x80, high = c == 0xED ? 0x9F : 0xBF;
    return in(1, low, high) && in(2, 0x80, 0xBF) ? 3 : 0;
  }
  if (c > 0xF4) return 0;
  unsigned low = c == 0xF0 ? 0x90 : 0x80, high = c == 0xF4 ? 0x8F : 0xBF;
  return in(1, low, high) && in(2, 0x80, 0xBF) && in(3, 0x80, 0xBF) ? 4 : 0;
}

char32_t utf8_decode(std::string_view s) {
  auto byte = [&](size_t i) { return static_cast<char32_t>(static_cast<unsigned char>(s[i])); };
  switch (utf8_length(s)) {
    case 1:
      return byte(0);
    case 2:
      return (byte(0) & 0x1F) << 6 | (byte(1) & 0x3F);
    case 3:
      return (byte(0) & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F);
    case 4:
      return (byte(0) & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 |
             (byte(3) & 0x3F);
    default:
      return 0xFFFD;
  }
}

void utf8_append(std::string& out, char32_t c) {
  if (c > 0x10FFFF || (c >= 0xD800 && c < 0xE000)) c = 0xFFFD;
  auto put = [&](char32_t byte) { out += static_cast<char>(byte); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | c >> 6);
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | c >> 12);
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | c >> 18);
    put(0x80 | (c >> 12 & 0x3F));
    put(0x80 | (c >> 6 & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

namespace {

// Bytes of the valid prefix of `s`.
size_t valid_prefix(std::string_view s) {
  size_t at = 0;
  while (at < s.size()) {
    if (static_cast<unsigned char>(s[at]) < 0x80) {
      ++at;
      continue;
    }
    int n = utf8_length(s.substr(at, 4));
    if (n == 0) break;
    at += static_cast<size_t>(n);
  }
  return at;
}

// Length of the maximal invalid part at the start of `s` (Unicode 15, section 3.9, "U+FFFD
// substitution of maximal subparts"): a cut but well begun sequence counts as one.
size_t invalid_part(std::string_view s) {
  for (size_t n = std::min<size_t>(s.size(), 3); n > 1; --n) {
    // The part is well begun when some completion makes it valid.
    std::string whole(s.substr(0, n));
    while (whole.size() < 4) {
      whole += '\x80';
      if (utf8_length(whole) == static_cast<int>(whole.size())) return n;
    }
  }
  return 1;
}

}  // namespace

bool utf8_valid(std::string_view s) { return valid_prefix(s) == s.size(); }

std::string utf8_repair(std::string_view s, int64_t* replaced) {
  std::string out;
  out.reserve(s.size());
  int64_t count = 0;
  while (true) {
    size_t good = valid_prefix(s);
    out += s.substr(0, good);
    s.remove_prefix(good);
    if (s.empty()) break;
    s.remove_prefix(invalid_part(s));
    out += "\xEF\xBF\xBD";
    ++count;
  }
  if (replaced) *replaced = count;
  return out;
}

std::string html_escape(std::string_view s) {
  std::string out;
  out.reserve(s.size());
  for (char c : s) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '"':
        out += "&quot;";
        break;
      case '\'':
        out += "&#39;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

}  // namespace wellspring
