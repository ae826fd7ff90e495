#include "text/template/text_ops.h"

#include <algorithm>
#include <cstdlib>

#include "base/text.h"

namespace wellspring::jinja {
namespace {

size_t character_size(std::string_view s, size_t at) {
  return static_cast<size_t>(std::max(1, utf8_length(s.substr(at))));
}

size_t character_before(std::string_view s, size_t end) {
  do --end;
  while (end > 0 && (s[end] & 0xC0) == 0x80);
  return end;
}

// f(out, code) appends what becomes of each character, which keeps its mark.
template <class F>
MarkedText map_characters(const MarkedText& t, F&& f) {
  MarkedText out;
  t.each_run(0, t.size(), [&](std::string_view run, bool marked) {
    std::string changed;
    for (size_t at = 0; at < run.size(); at += character_size(run, at))
      f(changed, utf8_decode(run.substr(at)));
    out.append(changed, marked);
  });
  return out;
}

void cut(std::vector<Value>& out, const MarkedText& t, size_t begin, size_t end, Meter& meter) {
  meter.work(end - begin + 32);
  out.push_back(t.part(begin, end));
}

std::vector<Value> split_at_space(const MarkedText& t, int64_t most, bool from_right,
                                  Meter& meter) {
  const std::string_view s = t.view();
  std::vector<Value> out;
  auto space = [&](size_t at) { return is_space(utf8_decode(s.substr(at))); };
  if (from_right) {
    size_t end = s.size();
    for (;;) {
      while (end > 0 && space(character_before(s, end))) end = character_before(s, end);
      if (end == 0) break;
      size_t begin = end;
      if (most >= 0 && static_cast<int64_t>(out.size()) == most) begin = 0;
      while (begin > 0 && !space(character_before(s, begin))) begin = character_before(s, begin);
      cut(out, t, begin, end, meter);
      end = begin;
    }
    std::reverse(out.begin(), out.end());
    return out;
  }
  size_t at = 0;
  for (;;) {
    while (at < s.size() && space(at)) at += character_size(s, at);
    if (at >= s.size()) break;
    size_t end = at;
    if (most >= 0 && static_cast<int64_t>(out.size()) == most) end = s.size();
    while (end < s.size() && !space(end)) end += character_size(s, end);
    cut(out, t, at, end, meter);
    at = end;
  }
  return out;
}

}  // namespace

MarkedText strip(const MarkedText& t, const MarkedText* chars, bool left, bool right,
                 Meter* meter) {
  const std::string_view s = t.view();
  size_t begin = 0, end = s.size();
  auto goes = [&](size_t at, size_t n) {
    if (!chars) return is_space(utf8_decode(s.substr(at)));
    meter->work(chars->size());
    return chars->view().find(s.substr(at, n)) != std::string_view::npos;
  };
  while (left && begin < end && goes(begin, character_size(s, begin)))
    begin += character_size(s, begin);
  while (right && begin < end) {
    const size_t before = character_before(s, end);
    if (!goes(before, end - before)) break;
    end = before;
  }
  if (meter) meter->work(t.size());
  return t.part(begin, end);
}

MarkedText in_case(const MarkedText& t, Case to) {
  return map_characters(t, [&](std::string& out, char32_t c) { append_in_case(out, c, to); });
}

MarkedText capitalize(const MarkedText& t) {
  bool first = true;
  return map_characters(t, [&](std::string& out, char32_t c) {
    append_in_case(out, c, first ? Case::title : Case::lower);
    first = false;
  });
}

MarkedText title(const MarkedText& t) {
  bool inside = false;
  return map_characters(t, [&](std::string& out, char32_t c) {
    append_in_case(out, c, inside ? Case::lower : Case::title);
    inside = is_cased(c);
  });
}

MarkedText title_words(const MarkedText& t) {
  bool begins = true;
  return map_characters(t, [&](std::string& out, char32_t c) {
    append_in_case(out, c, begins ? Case::upper : Case::lower);
    begins = is_space(c) || c == '-' || c == '(' || c == '{' || c == '[' || c == '<';
  });
}

MarkedText swap_case(const MarkedText& t) {
  return map_characters(t, [&](std::string& out, char32_t c) {
    if (is_upper(c))
      append_in_case(out, c, Case::lower);
    else if (is_lower(c))
      append_in_case(out, c, Case::upper);
    else
      utf8_append(out, c);
  });
}

MarkedText replace(const MarkedText& t, const MarkedText& from, const MarkedText& to, int64_t count,
                   Meter& meter) {
  const std::string_view s = t.view();
  MarkedText out;
  size_t done = 0, at = 0;
  meter.work(t.size());
  for (; count != 0; --count) {
    const size_t found = find_text(s, from.view(), at);
    if (found == s.npos) break;
    meter.check(out.size() + to.size());
    meter.work(to.size());
    out.append(t, done, found);
    out.append(to);
    done = found + from.size();
    at = done;
    if (!from.empty()) continue;
    if (found >= s.size()) break;
    at = found + character_size(s, found);  // between all characters
  }
  out.append(t, done, t.size());
  meter.make(out.size());
  return out;
}

std::vector<Value> split(const MarkedText& t, const MarkedText* separator, int64_t most,
                         bool from_right, Meter& meter) {
  meter.work(t.size());
  if (!separator) return split_at_space(t, most, from_right, meter);
  if (separator->empty()) fail("split() needs a separator that is not empty");
  const std::string_view s = t.view(), by = separator->view();
  std::vector<Value> out;
  if (from_right) {
    meter.work(t.size() * by.size());  // what a search from the right may take
    size_t end = s.size();
    while (most < 0 || static_cast<int64_t>(out.size()) < most) {
      if (end < by.size()) break;
      const size_t found = s.rfind(by, end - by.size());
      if (found == s.npos) break;
      cut(out, t, found + by.size(), end, meter);
      end = found;
    }
    cut(out, t, 0, end, meter);
    std::reverse(out.begin(), out.end());
    return out;
  }
  size_t begin = 0;
  while (most < 0 || static_cast<int64_t>(out.size()) < most) {
    const size_t found = find_text(s, by, begin);
    if (found == s.npos) break;
    cut(out, t, begin, found, meter);
    begin = found + by.size();
  }
  cut(out, t, begin, s.size(), meter);
  return out;
}

std::vector<Value> split_lines(const MarkedText& t, bool keep_ends, Meter& meter) {
  const std::string_view s = t.view();
  std::vector<Value> out;
  meter.work(t.size());
  size_t begin = 0;
  for (size_t at = 0; at < s.size();) {
    const size_t n = character_size(s, at);
    if (!is_line_end(utf8_decode(s.substr(at)))) {
      at += n;
      continue;
    }
    const size_t end = at + n + (s[at] == '\r' && at + 1 < s.size() && s[at + 1] == '\n');
    cut(out, t, begin, keep_ends ? end : at, meter);
    begin = at = end;
  }
  if (begin < s.size()) cut(out, t, begin, s.size(), meter);
  return out;
}

MarkedText join(const MarkedText& separator, const std::vector<Value>& all, bool only_text,
                Meter& meter) {
  MarkedText out;
  for (size_t i = 0; i < all.size(); ++i) {
    if (i) out.append(separator);
    if (const MarkedText* t = all[i].text()) {
      meter.make(t->size() + separator.size());
      out.append(*t);
    } else if (only_text) {
      need_defined(all[i]);
      fail(str("join() takes strings, not a ", type_name(all[i])));
    } else {
      out.append(to_text(all[i], meter));
    }
    meter.check(out.size());
  }
  return out;
}

MarkedText repeat(const MarkedText& t, Int times, Meter& meter) {
  MarkedText out;
  if (times <= 0 || t.empty()) return out;
  if (times > (Int(1) << 40)) meter.check(size_t(1) << 62);
  meter.make(t.size() * static_cast<size_t>(times));
  for (Int i = 0; i < times; ++i) out.append(t);
  return out;
}

MarkedText justify(const MarkedText& t, int64_t width, int side, const MarkedText& fill,
                   Meter& meter) {
  if (count_characters(fill.view()) != 1) fail("the character to fill with must be exactly one");
  const auto size = static_cast<int64_t>(count_characters(t.view()));
  meter.work(t.size());
  if (width <= size) return t;
  const int64_t room = width - size;
  // As Python's center(): the odd one goes left when the width is odd, too.
  const int64_t left = side < 0 ? 0 : side > 0 ? room : room / 2 + (room & width & 1);
  MarkedText out = repeat(fill, left, meter);
  out.append(t);
  out.append(repeat(fill, room - left, meter));
  meter.check(out.size());
  return out;
}

std::pair<size_t, size_t> byte_range(const MarkedText& t, std::optional<Int> begin,
                                     std::optional<Int> end) {
  const Int size = static_cast<Int>(count_characters(t.view()));
  auto place = [&](std::optional<Int> i, Int otherwise) {
    if (!i) return otherwise;
    return std::clamp<Int>(*i < 0 ? *i + size : *i, 0, size);
  };
  const Int from = place(begin, 0), to = std::max(place(end, size), from);
  const size_t first = byte_of(t.view(), static_cast<size_t>(from));
  return {first, first + byte_of(t.view().substr(first), static_cast<size_t>(to - from))};
}

std::optional<Int> parse_integer(std::string_view s, int base) {
  const MarkedText cleared = strip(MarkedText(std::string(s)), nullptr, true, true, nullptr);
  std::string_view t = cleared.view();
  bool negative = false;
  if (!t.empty() && (t[0] == '-' || t[0] == '+')) negative = t[0] == '-', t.remove_prefix(1);
  const char mark = t.size() > 1 && t[0] == '0' ? static_cast<char>(t[1] | 32) : '\0';
  const int marked = mark == 'x' ? 16 : mark == 'o' ? 8 : mark == 'b' ? 2 : 0;
  if (marked && (base == 0 || base == marked)) {
    base = marked;
    t.remove_prefix(2);
    if (!t.empty() && t[0] == '_') t.remove_prefix(1);
  } else if (base == 0) {
    base = 10;
    if (t.size() > 1 && t[0] == '0' && t.find_first_not_of("0_") != t.npos) return {};
  }
  Int value = 0;
  bool digit_before = false;
  for (char c : t) {
    if (c == '_' && digit_before) {
      digit_before = false;
      continue;
    }
    const int v = c >= '0' && c <= '9'                 ? c - '0'
                  : (c | 32) >= 'a' && (c | 32) <= 'z' ? (c | 32) - 'a' + 10
                                                       : 99;
    if (v >= base) return {};
    if (value > (Int(1) << 120)) fail("this number is too large");
    value = value * base + v;
    digit_before = true;
  }
  if (!digit_before) return {};
  return negative ? -value : value;
}

std::optional<double> parse_real(std::string_view s) {
  const MarkedText cleared = strip(MarkedText(std::string(s)), nullptr, true, true, nullptr);
  std::string t;
  for (size_t i = 0; i < cleared.size(); ++i) {
    const char c = cleared.bytes()[i];
    auto digit = [&](size_t at) {
      return at < cleared.size() && cleared.bytes()[at] >= '0' && cleared.bytes()[at] <= '9';
    };
    if (c != '_')
      t += c;
    else if (!i || !digit(i - 1) || !digit(i + 1))
      return {};
  }
  std::string_view digits = t;
  bool negative = false;
  if (!digits.empty() && (digits[0] == '+' || digits[0] == '-'))
    negative = digits[0] == '-', digits.remove_prefix(1);
  const std::string word = to_lower(digits);
  double value = 0;
  if (word == "inf" || word == "infinity")
    value = __builtin_inf();
  else if (word == "nan")
    value = __builtin_nan("");
  else {
    if (word.empty() || word.find_first_not_of("0123456789.e+-") != word.npos || word[0] == '+' ||
        word[0] == '-')
      return {};
    char* end = nullptr;
    value = std::strtod(word.c_str(), &end);
    if (end != word.c_str() + word.size()) return {};
  }
  return negative ? -value : value;
}

bool all_characters(const MarkedText& t, bool (*is)(char32_t)) {
  const std::string_view s = t.view();
  for (size_t at = 0; at < s.size(); at += character_size(s, at))
    if (!is(utf8_decode(s.substr(at)))) return false;
  return !s.empty();
}

}  // namespace wellspring::jinja
