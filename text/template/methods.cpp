// Methods of strings, lists and mappings.
#include <algorithm>
#include <map>

#include "base/text.h"
#include "text/template/operators.h"
#include "text/template/text_ops.h"

namespace wellspring::jinja {
namespace {

using TextMethod = Value (*)(const MarkedText&, const Call&);

template <bool kLeft, bool kRight>
Value strip_method(const MarkedText& t, const Call& c) {
  const auto a = c.bind({"chars"});
  return strip(t, a[0] && !a[0]->is_none() ? &c.text(a[0]) : nullptr, kLeft, kRight, &c.meter);
}

template <bool kRight>
Value split_method(const MarkedText& t, const Call& c) {
  const auto a = c.bind({"sep", "maxsplit"});
  return make_list(split(t, a[0] && !a[0]->is_none() ? &c.text(a[0]) : nullptr,
                         a[1] ? c.whole(a[1]) : -1, kRight, c.meter),
                   c.meter);
}

template <MarkedText (*kChange)(const MarkedText&)>
Value change_method(const MarkedText& t, const Call& c) {
  c.bind({});
  c.meter.make(t.size());
  return kChange(t);
}

template <Case kCase>
Value case_method(const MarkedText& t, const Call& c) {
  c.bind({});
  c.meter.make(t.size());
  return in_case(t, kCase);
}

// [begin, end) of the arguments "start" and "end".
std::pair<size_t, size_t> window(const MarkedText& t, const Call& c,
                                 const std::optional<Value>& from, const std::optional<Value>& to,
                                 bool* out_of_text) {
  auto place = [&](const std::optional<Value>& v) -> std::optional<Int> {
    if (!v || v->is_none()) return {};
    return c.whole(v);
  };
  c.meter.work(t.size());
  const auto begin = place(from);
  *out_of_text = begin && *begin > static_cast<Int>(count_characters(t.view()));
  return byte_range(t, begin, place(to));
}

template <bool kEnd>
Value starts_method(const MarkedText& t, const Call& c) {
  const auto a = c.bind({"prefix", "start", "end"});
  bool out = false;
  const auto [begin, end] = window(t, c, a[1], a[2], &out);
  const std::string_view part = t.view().substr(begin, end - begin);
  auto fits = [&](const std::optional<Value>& v) {
    const std::string_view s = c.text(v).view();
    return kEnd ? part.ends_with(s) : part.starts_with(s);
  };
  if (a[0] && a[0]->list() && a[0]->list()->kind == List::tuple) {
    const auto& all = a[0]->list()->all;
    return !out && std::any_of(all.begin(), all.end(), [&](const Value& v) { return fits(v); });
  }
  return fits(a[0]) && !out;
}

template <bool kRight, bool kMust>
Value find_method_of(const MarkedText& t, const Call& c) {
  const auto a = c.bind({"sub", "start", "end"});
  bool out = false;
  const auto [begin, end] = window(t, c, a[1], a[2], &out);
  const std::string_view part = t.view().substr(begin, end - begin), sub = c.text(a[0]).view();
  if (kRight) c.meter.work(part.size() * (sub.size() + 1));
  const size_t at = out ? part.npos : kRight ? part.rfind(sub) : find_text(part, sub);
  if (at == part.npos && kMust) c.refuse("does not find it");
  if (at == part.npos) return Int(-1);
  return static_cast<Int>(count_characters(t.view().substr(0, begin + at)));
}

Value count_method(const MarkedText& t, const Call& c) {
  const auto a = c.bind({"sub", "start", "end"});
  bool out = false;
  const auto [begin, end] = window(t, c, a[1], a[2], &out);
  const std::string_view part = t.view().substr(begin, end - begin), sub = c.text(a[0]).view();
  if (out) return Int(0);
  if (sub.empty()) return static_cast<Int>(count_characters(part) + 1);
  Int n = 0;
  for (size_t at = 0; (at = find_text(part, sub, at)) != part.npos; at += sub.size()) ++n;
  return n;
}

Value replace_method(const MarkedText& t, const Call& c) {
  const auto a = c.bind({"old", "new", "count"});
  return replace(t, c.text(a[0]), c.text(a[1]), a[2] ? c.whole(a[2]) : -1, c.meter);
}

template <bool kSuffix>
Value remove_method(const MarkedText& t, const Call& c) {
  const auto a = c.bind({"prefix"});
  const std::string_view s = c.text(a[0]).view();
  c.meter.make(t.size());
  if (kSuffix ? !t.view().ends_with(s) : !t.view().starts_with(s)) return t;
  return kSuffix ? t.part(0, t.size() - s.size()) : t.part(s.size(), t.size());
}

template <bool kRight>
Value partition_method(const MarkedText& t, const Call& c) {
  const MarkedText& by = c.text(c.bind({"sep"})[0]);
  std::vector<Value> parts = split(t, &by, 1, kRight, c.meter);
  if (parts.size() == 2)
    parts.insert(parts.begin() + 1, by);
  else
    parts.insert(kRight ? parts.begin() : parts.end(), 2, Value(MarkedText()));
  return make_list(std::move(parts), c.meter, List::tuple);
}

template <int kSide>
Value justify_method(const MarkedText& t, const Call& c) {
  const auto a = c.bind({"width", "fillchar"});
  return justify(t, c.whole(a[0]), kSide, a[1] ? c.text(a[1]) : MarkedText(" "), c.meter);
}

Value zfill_method(const MarkedText& t, const Call& c) {
  const int64_t width = c.whole(c.bind({"width"})[0]);
  const bool sign = !t.empty() && (t.view()[0] == '-' || t.view()[0] == '+');
  MarkedText out = t.part(0, sign);
  out.append(justify(t.part(sign, t.size()), width - sign, 1, MarkedText("0"), c.meter));
  return out;
}

Value lines_method(const MarkedText& t, const Call& c) {
  const auto a = c.bind({"keepends"});
  return make_list(split_lines(t, a[0] && truth(*a[0]), c.meter), c.meter);
}

Value join_method(const MarkedText& t, const Call& c) {
  const auto a = c.bind({"iterable"});
  if (!a[0]) c.refuse("needs a list");
  return join(t, items_of(*a[0], c.meter), true, c.meter);
}

Value format_method(const MarkedText& t, const Call& c) { return format(t, c.args, c.meter); }

template <bool (*kIs)(char32_t)>
Value all_method(const MarkedText& t, const Call& c) {
  c.bind({});
  c.meter.work(t.size());
  return all_characters(t, kIs);
}

bool alphanumeric(char32_t c) {
  return is_alpha(c) || is_decimal(c) || is_digit(c) || is_numeric(c);
}
bool ascii(char32_t c) { return c < 128; }

// No character of the other case, and one of this.
template <bool (*kIs)(char32_t), bool (*kIsNot)(char32_t)>
Value cased_method(const MarkedText& t, const Call& c) {
  c.bind({});
  c.meter.work(t.size());
  bool some = false, wrong = false;
  for (const Value& v : items_of(t, c.meter)) {
    const char32_t code = utf8_decode(v.text()->view());
    some |= kIs(code);
    wrong |= kIsNot(code);
  }
  return some && !wrong;
}

Value ascii_method(const MarkedText& t, const Call& c) {
  return t.empty() || all_characters(t, ascii);
}
Value printable_method(const MarkedText& t, const Call& c) {
  return t.empty() || all_characters(t, is_printable);
}

const std::map<std::string_view, TextMethod>& text_methods() {
  static const std::map<std::string_view, TextMethod> kAll = {
      {"strip", strip_method<true, true>},
      {"lstrip", strip_method<true, false>},
      {"rstrip", strip_method<false, true>},
      {"split", split_method<false>},
      {"rsplit", split_method<true>},
      {"splitlines", lines_method},
      {"partition", partition_method<false>},
      {"rpartition", partition_method<true>},
      {"upper", case_method<Case::upper>},
      {"lower", case_method<Case::lower>},
      {"casefold", case_method<Case::lower>},
      {"title", change_method<title>},
      {"capitalize", change_method<capitalize>},
      {"swapcase", change_method<swap_case>},
      {"startswith", starts_method<false>},
      {"endswith", starts_method<true>},
      {"find", find_method_of<false, false>},
      {"rfind", find_method_of<true, false>},
      {"index", find_method_of<false, true>},
      {"rindex", find_method_of<true, true>},
      {"count", count_method},
      {"replace", replace_method},
      {"removeprefix", remove_method<false>},
      {"removesuffix", remove_method<true>},
      {"ljust", justify_method<-1>},
      {"center", justify_method<0>},
      {"rjust", justify_method<1>},
      {"zfill", zfill_method},
      {"join", join_method},
      {"format", format_method},
      {"isalpha", all_method<is_alpha>},
      {"isdigit", all_method<is_digit>},
      {"isdecimal", all_method<is_decimal>},
      {"isnumeric", all_method<is_numeric>},
      {"isalnum", all_method<alphanumeric>},
      {"isspace", all_method<is_space>},
      {"isascii", ascii_method},
      {"isprintable", printable_method},
      {"isupper", cased_method<is_upper, is_lower>},
      {"islower", cased_method<is_lower, is_upper>},
  };
  return kAll;
}

Value list_method(const List& l, const Call& c) {
  if (c.name == "copy") return make_list(l.all, c.meter);
  const auto a = c.bind({"value"});
  if (!a[0]) c.refuse("needs a value");
  Int n = 0;
  for (size_t i = 0; i < l.all.size(); ++i) {
    if (!equal(l.all[i], *a[0], c.meter)) continue;
    if (c.name == "index") return static_cast<Int>(i);
    ++n;
  }
  if (c.name == "index") c.refuse("does not find it");
  return n;
}

Value dict_method(const Value& self, const Call& c) {
  const Dict& d = *self.dict();
  if (c.name == "get") {
    const auto a = c.bind({"key", "default"});
    if (!a[0]) c.refuse("needs a key");
    const Value* found = d.find(*a[0], c.meter);
    return found ? *found : a[1].value_or(None{});
  }
  c.bind({});
  if (c.name == "copy") return self;
  std::vector<Value> out;
  for (const auto& [key, value] : d.all) {
    if (c.name == "items")
      out.push_back(make_list({key, value}, c.meter, List::tuple));
    else
      out.push_back(c.name == "keys" ? key : value);
  }
  return make_list(std::move(out), c.meter,
                   c.name == "items"  ? List::items
                   : c.name == "keys" ? List::keys
                                      : List::values);
}

bool any_of(std::string_view name, std::initializer_list<std::string_view> all) {
  return std::find(all.begin(), all.end(), name) != all.end();
}

}  // namespace

Method find_method(const Value& v, std::string_view name) {
  if (v.text()) return text_methods().count(name) ? Method::here : Method::none;
  if (v.dict()) {
    if (any_of(name, {"get", "items", "keys", "values", "copy"})) return Method::here;
    if (any_of(name, {"clear", "pop", "popitem", "setdefault", "update"})) return Method::forbidden;
  }
  if (const List* l = v.list(); l && l->kind <= List::range) {
    if (any_of(name, {"index", "count"})) return Method::here;
    if (l->kind == List::list && name == "copy") return Method::here;
    if (l->kind == List::list &&
        any_of(name, {"append", "clear", "extend", "insert", "pop", "remove", "reverse", "sort"}))
      return Method::forbidden;
  }
  return Method::none;
}

Value call_method(Call call) {
  if (const MarkedText* t = call.self.text()) return text_methods().at(call.name)(*t, call);
  if (const List* l = call.self.list()) return list_method(*l, call);
  return dict_method(call.self, call);
}

}  // namespace wellspring::jinja
