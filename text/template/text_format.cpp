// "..." % values and "...".format(values).
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/text.h"
#include "text/template/text_ops.h"

namespace wellspring::jinja {
namespace {

struct Spec {
  bool left = false, zero = false, plus = false, space = false, alternate = false;
  int64_t width = 0, precision = -1;
  char kind = 0;
};

class PercentFormat {
 public:
  PercentFormat(const MarkedText& t, const Value& value, Meter& meter)
      : t_(t), s_(t.view()), value_(value), meter_(meter) {
    const List* l = value.list();
    tuple_ = l && l->kind == List::tuple ? l : nullptr;
  }

  MarkedText run() {
    size_t done = 0;
    while ((at_ = s_.find('%', at_)) != s_.npos) {
      out_.append(t_, done, at_);
      ++at_;
      one();
      done = at_;
      meter_.check(out_.size());
    }
    out_.append(t_, done, t_.size());
    const bool all_used =
        tuple_ ? used_ == tuple_->all.size()
               : used_ || by_name_ || value_.dict() || value_.list() || value_.is_undefined();
    if (!all_used) fail("'%' has more values than places for them");
    meter_.make(out_.size());
    return std::move(out_);
  }

 private:
  char take() {
    if (at_ >= s_.size()) fail("a format ends behind '%'");
    return s_[at_++];
  }
  const Value& next_value() {
    if (tuple_) {
      if (used_ >= tuple_->all.size()) fail("'%' has fewer values than places for them");
      return tuple_->all[used_++];
    }
    if (used_++) fail("'%' has fewer values than places for them");
    return value_;
  }

  void one() {
    const Value* named = nullptr;
    if (at_ < s_.size() && s_[at_] == '(') {
      const size_t end = s_.find(')', at_);
      if (end == s_.npos || !value_.dict()) fail("'%(name)' needs a mapping");
      named = value_.dict()->find(s_.substr(at_ + 1, end - at_ - 1));
      if (!named) fail(str("'%' has no value '", s_.substr(at_ + 1, end - at_ - 1), "'"));
      at_ = end + 1;
      by_name_ = true;
    }
    Spec spec;
    for (;;) {
      const char c = take();
      if (c == '-')
        spec.left = true;
      else if (c == '0')
        spec.zero = true;
      else if (c == '+')
        spec.plus = true;
      else if (c == ' ')
        spec.space = true;
      else if (c == '#')
        spec.alternate = true;
      else {
        --at_;
        break;
      }
    }
    spec.width = digits();
    if (at_ < s_.size() && s_[at_] == '.') ++at_, spec.precision = digits();
    spec.kind = take();
    if (spec.kind == '%') return out_.append("%", false);
    write(spec, named ? *named : next_value());
  }

  int64_t digits() {
    int64_t n = 0;
    while (at_ < s_.size() && s_[at_] >= '0' && s_[at_] <= '9') {
      n = n * 10 + (s_[at_++] - '0');
      if (n > 1000000) fail("a width in a format is too large");
    }
    return n;
  }

  void write(const Spec& spec, const Value& v) {
    MarkedText text;
    if (spec.kind == 's' || spec.kind == 'r') {
      text = spec.kind == 's' ? to_text(v, meter_) : representation(v, meter_);
      if (spec.precision >= 0)
        text = text.part(0, byte_of(text.view(), static_cast<size_t>(spec.precision)));
    } else {
      text = MarkedText(number(spec, v));
    }
    const auto size = static_cast<int64_t>(count_characters(text.view()));
    if (spec.width <= size) return out_.append(text);
    MarkedText fill(std::string(static_cast<size_t>(spec.width - size), ' '));
    if (!spec.left) out_.append(fill);
    out_.append(text);
    if (spec.left) out_.append(fill);
  }

  std::string number(const Spec& spec, const Value& v) {
    double d = 0;
    need_defined(v);
    if (!v.number_like(&d)) fail(str("'%", spec.kind, "' needs a number, not a ", type_name(v)));
    std::string body;
    bool negative = false;
    if (std::string_view("diuxXo").find(spec.kind) != std::string_view::npos) {
      Int i = 0;
      if (!v.integer_like(&i)) {
        if (!(std::fabs(d) < 1e30)) fail("this number is too large");
        i = static_cast<Int>(d);
      }
      negative = i < 0;
      body = in_base(negative ? -i : i, spec.kind);
      while (spec.precision > static_cast<int64_t>(body.size())) body.insert(0, "0");
    } else if (std::string_view("feEgGF").find(spec.kind) != std::string_view::npos) {
      char buffer[512];
      const int precision =
          static_cast<int>(std::min<int64_t>(spec.precision < 0 ? 6 : spec.precision, 100));
      const char form[] = {'%', '.', '*', spec.kind, 0};
      negative = std::signbit(d);
      body.assign(buffer, static_cast<size_t>(
                              std::snprintf(buffer, sizeof buffer, form, precision, std::fabs(d))));
    } else {
      fail(str("'%", utf8_repair(std::string(1, spec.kind)), "' is no format"));
    }
    std::string sign = negative ? "-" : spec.plus ? "+" : spec.space ? " " : "";
    if (spec.zero && !spec.left)
      while (static_cast<int64_t>(sign.size() + body.size()) < spec.width) body.insert(0, "0");
    return sign + body;
  }

  static std::string in_base(Int i, char kind) {
    const int base = kind == 'o' ? 8 : (kind | 32) == 'x' ? 16 : 10;
    // Named: GCC 12's undefined-behaviour check evaluates the index of a conditional literal wrongly.
    const std::string_view digits = kind == 'X' ? "0123456789ABCDEF" : "0123456789abcdef";
    std::string out;
    do
      out += digits[static_cast<size_t>(i % base)];
    while ((i /= base) != 0);
    return {out.rbegin(), out.rend()};
  }

  const MarkedText& t_;
  std::string_view s_;
  const Value& value_;
  Meter& meter_;
  const List* tuple_ = nullptr;
  size_t used_ = 0, at_ = 0;
  bool by_name_ = false;
  MarkedText out_;
};

}  // namespace

MarkedText percent(const MarkedText& t, const Value& value, Meter& meter) {
  return PercentFormat(t, value, meter).run();
}

MarkedText format(const MarkedText& t, const Args& args, Meter& meter) {
  const std::string_view s = t.view();
  MarkedText out;
  size_t next = 0, done = 0;
  for (size_t at = 0; at < s.size(); ++at) {
    if (s[at] != '{' && s[at] != '}') continue;
    out.append(t, done, at);
    if (at + 1 < s.size() && s[at + 1] == s[at]) {
      out.append(t, at, at + 1);
      done = ++at + 1;
      continue;
    }
    const size_t end = s.find('}', at);
    if (s[at] == '}' || end == s.npos) fail("format(): a single brace");
    const std::string_view field = s.substr(at + 1, end - at - 1);
    if (field.find_first_of(".[!:{") != field.npos)
      fail(str("format(): only {}, {0} and {name} are supported, not {", field, "}"));
    const Value* value = nullptr;
    if (auto index = field.empty() ? std::optional<int64_t>(static_cast<int64_t>(next++))
                                   : parse_int(field)) {
      if (*index >= 0 && static_cast<size_t>(*index) < args.all.size())
        value = &args.all[static_cast<size_t>(*index)];
    } else {
      for (const auto& [name, v] : args.named)
        if (name == field) value = &v;
    }
    if (!value) fail(str("format(): no value for {", field, "}"));
    out.append(to_text(*value, meter));
    meter.check(out.size());
    at = end;
    done = end + 1;
  }
  if (done < t.size()) out.append(t, done, t.size());
  meter.make(out.size());
  return out;
}

}  // namespace wellspring::jinja
