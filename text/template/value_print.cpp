// Values as text: str(), repr() and json.dumps().
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>

#include "base/text.h"
#include "text/template/case_tables.h"
#include "text/template/value.h"

namespace wellspring::jinja {
namespace {

std::string hex(char32_t c, const char* prefix, int digits) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out = prefix;
  for (int i = digits - 1; i >= 0; --i) out += kDigits[c >> (4 * i) & 15];
  return out;
}

// Calls f(character, its bytes, marked) for each character.
template <class F>
void each_character(const MarkedText& t, F&& f) {
  t.each_run(0, t.size(), [&](std::string_view run, bool marked) {
    for (size_t at = 0; at < run.size();) {
      const size_t n = static_cast<size_t>(std::max(1, utf8_length(run.substr(at))));
      f(utf8_decode(run.substr(at)), run.substr(at, n), marked);
      at += n;
    }
  });
}

void represent(const MarkedText& t, MarkedText& out) {
  const bool single = t.view().find('\'') != std::string_view::npos;
  const bool both = single && t.view().find('"') != std::string_view::npos;
  const char quote = single && !both ? '"' : '\'';
  out.append(std::string_view(&quote, 1), false);
  each_character(t, [&](char32_t c, std::string_view bytes, bool marked) {
    std::string escaped;
    if (c == '\\' || c == static_cast<char32_t>(quote))
      escaped = str("\\", bytes);
    else if (c == '\n')
      escaped = "\\n";
    else if (c == '\r')
      escaped = "\\r";
    else if (c == '\t')
      escaped = "\\t";
    else if (c == ' ' || is_printable(c))
      return out.append(bytes, marked);
    else if (c < 0x100)
      escaped = hex(c, "\\x", 2);
    else if (c < 0x10000)
      escaped = hex(c, "\\u", 4);
    else
      escaped = hex(c, "\\U", 8);
    out.append(escaped, marked);
  });
  out.append(std::string_view(&quote, 1), false);
}

class Printer {
 public:
  explicit Printer(Meter& meter) : meter_(meter) {}

  void repr(const Value& v) {
    meter_.items(1);
    if (const MarkedText* t = v.text()) {
      meter_.make(t->size() + 2);
      return represent(*t, out);
    }
    if (const List* l = v.list()) return list(*l);
    if (const Dict* d = v.dict()) return dict(*d);
    if (v.is_undefined()) return put("Undefined");
    if (v.object()) fail(str("a ", type_name(v), " cannot be printed"));
    out.append(to_text(v, meter_));
  }
  MarkedText out;

 private:
  void put(std::string_view s) { out.append(s, false); }
  void list(const List& l) {
    if (l.kind == List::generator) fail("a generator cannot be printed: put |list behind it");
    if (l.kind == List::range) return put(l.shown);
    const bool view = l.kind >= List::keys;
    if (view)
      put(str(l.kind == List::keys     ? "dict_keys"
              : l.kind == List::values ? "dict_values"
                                       : "dict_items",
              "("));
    put(l.kind == List::tuple ? "(" : "[");
    for (size_t i = 0; i < l.all.size(); ++i) {
      if (i) put(", ");
      repr(l.all[i]);
    }
    if (l.kind == List::tuple)
      put(l.all.size() == 1 ? ",)" : ")");
    else
      put("]");
    if (view) put(")");
    meter_.make(0);
  }
  void dict(const Dict& d) {
    put("{");
    bool first = true;
    for (const auto& [k, v] : d.all) {
      if (!first) put(", ");
      first = false;
      repr(k);
      put(": ");
      repr(v);
    }
    put("}");
  }
  Meter& meter_;
};

class JsonPrinter {
 public:
  JsonPrinter(const JsonForm& form, Meter& meter) : form_(form), meter_(meter) {}

  void print(const Value& v, size_t level) {
    meter_.items(1);
    if (const MarkedText* t = v.text()) return quote(*t);
    if (const Dict* d = v.dict()) return dict(*d, level);
    if (const List* l = v.list(); l && (l->kind == List::list || l->kind == List::tuple)) {
      if (l->all.empty()) return put("[]");
      put("[");
      for (size_t i = 0; i < l->all.size(); ++i) {
        if (i) out.append(form_.item_separator);
        line(level + 1);
        print(l->all[i], level + 1);
      }
      line(level);
      return put("]");
    }
    if (v.is_undefined() || v.list() || v.object()) {
      need_defined(v);
      fail(str("a ", type_name(v), " has no form in JSON"));
    }
    put(scalar(v));
  }
  MarkedText out;

 private:
  void put(std::string_view s) { out.append(s, false); }
  void line(size_t level) {
    if (!form_.pretty) return;
    meter_.make(form_.indent.size() * level + 1);
    put("\n");
    for (size_t i = 0; i < level; ++i) out.append(form_.indent);
  }
  std::string scalar(const Value& v) {
    if (v.is_none()) return "null";
    if (const bool* b = v.boolean()) return *b ? "true" : "false";
    if (const double* d = v.real())
      return std::isnan(*d)   ? "NaN"
             : std::isinf(*d) ? (*d > 0 ? "Infinity" : "-Infinity")
                              : to_text(*d);
    return to_text(std::get<Int>(v.any()));
  }
  void dict(const Dict& d, size_t level) {
    if (d.all.empty()) return put("{}");
    std::vector<const std::pair<Value, Value>*> order;
    for (const auto& entry : d.all) order.push_back(&entry);
    if (form_.sorted)
      std::stable_sort(order.begin(), order.end(), [&](const auto* a, const auto* b) {
        return less(a->first, b->first, "<", meter_);
      });
    put("{");
    for (size_t i = 0; i < order.size(); ++i) {
      if (i) out.append(form_.item_separator);
      line(level + 1);
      const Value& key = order[i]->first;
      if (key.text())
        quote(*key.text());
      else if (key.is_undefined() || key.list() || key.object())
        fail(str("a ", type_name(key), " cannot be a key in JSON"));
      else
        put(str("\"", scalar(key), "\""));
      out.append(form_.key_separator);
      print(order[i]->second, level + 1);
    }
    line(level);
    put("}");
  }
  void quote(const MarkedText& t) {
    meter_.make(t.size() + 2);
    put("\"");
    each_character(t, [&](char32_t c, std::string_view bytes, bool marked) {
      switch (c) {
        case '"':
          return out.append("\\\"", marked);
        case '\\':
          return out.append("\\\\", marked);
        case '\n':
          return out.append("\\n", marked);
        case '\r':
          return out.append("\\r", marked);
        case '\t':
          return out.append("\\t", marked);
        case '\f':
          return out.append("\\f", marked);
        case '\b':
          return out.append("\\b", marked);
        default:
          break;
      }
      if (c >= 0x20 && (c < 0x80 || !form_.ascii)) return out.append(bytes, marked);
      if (c < 0x10000) return out.append(hex(c, "\\u", 4), marked);
      c -= 0x10000;
      out.append(hex(0xD800 + (c >> 10), "\\u", 4) + hex(0xDC00 + (c & 0x3FF), "\\u", 4), marked);
    });
    put("\"");
  }
  const JsonForm& form_;
  Meter& meter_;
};

}  // namespace

std::string to_text(Int i) {
  if (i == 0) return "0";
  std::string out;
  const bool negative = i < 0;
  for (; i != 0; i /= 10) out += static_cast<char>('0' + std::abs(static_cast<int>(i % 10)));
  if (negative) out += '-';
  return {out.rbegin(), out.rend()};
}

// The shortest digits that read back, in Python's choice of notation.
std::string to_text(double d) {
  if (std::isnan(d)) return "nan";
  if (std::isinf(d)) return d > 0 ? "inf" : "-inf";
  char buffer[40];
  const double size = std::fabs(d);
  if (size != 0 && (size < 1e-4 || size >= 1e16)) {
    char* end = std::to_chars(buffer, buffer + 40, d, std::chars_format::scientific).ptr;
    return {buffer, end};
  }
  char* end = std::to_chars(buffer, buffer + 40, d, std::chars_format::fixed).ptr;
  std::string out(buffer, end);
  return out.find('.') == std::string::npos ? out + ".0" : out;
}

MarkedText representation(const Value& v, Meter& meter) {
  Printer p(meter);
  p.repr(v);
  meter.make(p.out.size());
  return std::move(p.out);
}

MarkedText to_text(const Value& v, Meter& meter) {
  switch (v.any().index()) {
    case 0:
      return MarkedText();
    case 1:
      return MarkedText("None");
    case 2:
      return MarkedText(*v.boolean() ? "True" : "False");
    case 3:
      return MarkedText(to_text(std::get<Int>(v.any())));
    case 4:
      return MarkedText(to_text(*v.real()));
    case 5:
      meter.make(v.text()->size());
      return *v.text();
    default:
      return representation(v, meter);
  }
}

MarkedText to_json(const Value& v, const JsonForm& form, Meter& meter) {
  JsonPrinter p(form, meter);
  p.print(v, 0);
  meter.make(p.out.size());
  return std::move(p.out);
}

}  // namespace wellspring::jinja
