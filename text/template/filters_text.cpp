#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>

#include "base/text.h"
#include "text/template/filters.h"
#include "text/template/text_ops.h"

namespace wellspring::jinja {
namespace {

MarkedText soft(const Call& c) { return to_text(c.self, c.meter); }

template <Case kCase>
Value case_filter(const Call& c) {
  c.bind({});
  return in_case(soft(c), kCase);
}

template <MarkedText (*kChange)(const MarkedText&)>
Value change_filter(const Call& c) {
  c.bind({});
  return kChange(soft(c));
}

Value string_filter(const Call& c) {
  c.bind({});
  return soft(c);
}

Value trim_filter(const Call& c) {
  const auto a = c.bind({"chars"});
  return strip(soft(c), a[0] && !a[0]->is_none() ? &c.text(a[0]) : nullptr, true, true, &c.meter);
}

Value replace_filter(const Call& c) {
  const auto a = c.bind({"old", "new", "count"});
  if (!a[0] || !a[1]) c.refuse("needs what to replace and by what");
  return replace(soft(c), to_text(*a[0], c.meter), to_text(*a[1], c.meter),
                 a[2] && !a[2]->is_none() ? c.whole(a[2]) : -1, c.meter);
}

Value indent_filter(const Call& c) {
  const auto a = c.bind({"width", "first", "blank"});
  const bool first = a[1] && truth(*a[1]), blank = a[2] && truth(*a[2]);
  MarkedText with;
  if (a[0] && a[0]->text())
    with = *a[0]->text();
  else
    with = repeat(MarkedText(" "), a[0] ? c.whole(a[0]) : 4, c.meter);
  need_defined(c.self);
  MarkedText body = c.text(c.self);
  body.append("\n", false);
  const std::vector<Value> lines = split_lines(body, false, c.meter);
  MarkedText out;
  if (first) out.append(with);
  for (size_t i = 0; i < lines.size(); ++i) {
    const MarkedText& line = *lines[i].text();
    if (i) out.append("\n", false);
    if (i && (blank || !line.empty())) out.append(with);
    out.append(line);
    c.meter.check(out.size());
  }
  c.meter.make(out.size());
  return out;
}

Value center_filter(const Call& c) {
  const auto a = c.bind({"width"});
  return justify(soft(c), a[0] ? c.whole(a[0]) : 80, 0, MarkedText(" "), c.meter);
}

Value format_filter(const Call& c) {
  if (!c.args.all.empty() && !c.args.named.empty())
    c.refuse("takes values by place or by name, not both");
  if (c.args.named.empty())
    return percent(soft(c), make_list(c.args.all, c.meter, List::tuple), c.meter);
  Dict named;
  for (const auto& [key, value] : c.args.named) named.set(Value::text(key), value, c.meter);
  return percent(soft(c), make_dict(std::move(named), c.meter), c.meter);
}

Value escape_filter(const Call& c) {
  c.bind({});
  const MarkedText t = soft(c);
  MarkedText out;
  t.each_run(0, t.size(), [&](std::string_view run, bool marked) {
    std::string escaped;
    for (char x : run) {
      if (x == '&')
        escaped += "&amp;";
      else if (x == '<')
        escaped += "&lt;";
      else if (x == '>')
        escaped += "&gt;";
      else if (x == '"')
        escaped += "&#34;";
      else if (x == '\'')
        escaped += "&#39;";
      else
        escaped += x;
    }
    c.meter.make(escaped.size());
    out.append(escaped, marked);
  });
  return out;
}

Value wordcount_filter(const Call& c) {
  c.bind({});
  Int words = 0;
  bool inside = false;
  for (const Value& v : items_of(soft(c), c.meter)) {
    const char32_t code = utf8_decode(v.text()->view());
    const bool word =
        code == '_' || is_alpha(code) || is_decimal(code) || is_digit(code) || is_numeric(code);
    words += word && !inside;
    inside = word;
  }
  return words;
}

Value tojson_filter(const Call& c) {
  const auto a = c.bind({"ensure_ascii", "indent", "separators", "sort_keys"});
  JsonForm form;
  form.ascii = a[0] && truth(*a[0]);
  form.sorted = a[3] && truth(*a[3]);
  if (a[1] && !a[1]->is_none()) {
    form.pretty = true;
    if (a[1]->text())
      form.indent = *a[1]->text();
    else
      form.indent = repeat(MarkedText(" "), c.whole(a[1]), c.meter);
  }
  form.item_separator = MarkedText(form.pretty ? "," : ", ");
  form.key_separator = MarkedText(": ");
  if (a[2] && !a[2]->is_none()) {
    const std::vector<Value> both = items_of(*a[2], c.meter);
    if (both.size() != 2) c.refuse("needs two separators");
    form.item_separator = c.text(both[0]);
    form.key_separator = c.text(both[1]);
  }
  return to_json(c.self, form, c.meter);
}

std::optional<Int> whole_part(double d) {
  if (!(std::fabs(d) < 1e30)) return {};
  return static_cast<Int>(d);
}

Value int_filter(const Call& c) {
  const auto a = c.bind({"default", "base"});
  const Value otherwise = a[0].value_or(Value(Int(0)));
  need_defined(c.self);
  Int i;
  if (c.self.integer_like(&i)) return i;
  if (c.self.real()) {
    if (std::isinf(*c.self.real())) c.refuse("cannot take infinity");
    const auto whole = whole_part(*c.self.real());
    return whole ? Value(*whole) : otherwise;
  }
  const MarkedText* t = c.self.text();
  if (!t) return otherwise;
  c.meter.work(t->size());
  const int64_t base = a[1] ? c.whole(a[1]) : 10;
  if (base != 0 && (base < 2 || base > 36)) c.refuse("needs a base of 2 to 36, or 0");
  if (auto whole = parse_integer(t->view(), static_cast<int>(base))) return *whole;
  const auto real = parse_real(t->view());
  const auto whole = real ? whole_part(*real) : std::nullopt;
  return whole ? Value(*whole) : otherwise;
}

Value float_filter(const Call& c) {
  const auto a = c.bind({"default"});
  need_defined(c.self);
  double d;
  if (c.self.number_like(&d)) return d;
  if (const MarkedText* t = c.self.text()) {
    c.meter.work(t->size());
    if (auto real = parse_real(t->view())) return *real;
  }
  return a[0].value_or(Value(0.0));
}

double rounded(double d, int64_t precision) {
  if (!std::isfinite(d) || precision > 300) return d;
  if (precision < -300) return 0 * d;
  if (precision < 0) {
    const double unit = std::pow(10.0, static_cast<double>(-precision));
    return std::nearbyint(d / unit) * unit;
  }
  char buffer[700];  // the exact decimal, which printf rounds half to even
  std::snprintf(buffer, sizeof buffer, "%.*f", static_cast<int>(precision), d);
  return std::strtod(buffer, nullptr);
}

Value round_filter(const Call& c) {
  const auto a = c.bind({"precision", "method"});
  const int64_t precision = a[0] ? c.whole(a[0]) : 0;
  const std::string_view method = a[1] ? c.text(a[1]).view() : "common";
  need_defined(c.self);
  double d;
  if (!c.self.number_like(&d)) c.refuse(str("needs a number, not a ", type_name(c.self)));
  Int i;
  if (method == "common") {
    if (!c.self.integer_like(&i) || precision < 0) return rounded(d, precision);
    return i;
  }
  if (method != "ceil" && method != "floor") c.refuse("knows the methods common, ceil and floor");
  const double unit =
      std::pow(10.0, static_cast<double>(std::clamp<int64_t>(precision, -300, 300)));
  return (method == "ceil" ? std::ceil(d * unit) : std::floor(d * unit)) / unit;
}

Value abs_filter(const Call& c) {
  c.bind({});
  Int i;
  if (c.self.integer_like(&i)) return i < 0 ? negative(c.self) : Value(i);
  if (c.self.real()) return std::fabs(*c.self.real());
  need_defined(c.self);
  c.refuse(str("needs a number, not a ", type_name(c.self)));
}

}  // namespace

const FilterMap& text_filters() {
  static const FilterMap kAll = {
      {"upper", case_filter<Case::upper>},
      {"lower", case_filter<Case::lower>},
      {"capitalize", change_filter<capitalize>},
      {"title", change_filter<title_words>},
      {"string", string_filter},
      {"safe", string_filter},  // nothing is escaped anyway
      {"trim", trim_filter},
      {"replace", replace_filter},
      {"indent", indent_filter},
      {"center", center_filter},
      {"format", format_filter},
      {"escape", escape_filter},
      {"e", escape_filter},
      {"wordcount", wordcount_filter},
      {"tojson", tojson_filter},
      {"int", int_filter},
      {"float", float_filter},
      {"round", round_filter},
      {"abs", abs_filter},
  };
  return kAll;
}

}  // namespace wellspring::jinja
