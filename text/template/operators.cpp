#include "text/template/operators.h"

#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "text/template/text_ops.h"

namespace wellspring::jinja {
namespace {

[[noreturn]] void no_operator(std::string_view op, const Value& a, const Value& b) {
  need_defined(a);
  need_defined(b);
  fail(str("'", op, "' does not take a ", type_name(a), " and a ", type_name(b)));
}

// `out` is by reference: it is only there once `overflow` was found out.
Value checked(bool overflow, const Int& out) {
  if (overflow) fail("a number is too large");
  return out;
}

Value power_of(Int base, Int exponent) {
  if (exponent < 0) {
    if (base == 0) fail("0 to a negative power");
    return std::pow(static_cast<double>(base), static_cast<double>(exponent));
  }
  if (base == 0 || base == 1 || base == -1)
    return exponent == 0 ? Int(1) : exponent % 2 ? base : base * base;
  Int out = 1;
  for (; exponent > 0; --exponent)  // ends: it overflows within 127 rounds
    if (__builtin_mul_overflow(out, base, &out)) fail("a number is too large");
  return out;
}

Value whole_numbers(char op, bool twice, Int a, Int b) {
  Int out = 0;
  switch (op) {
    case '+':
      return checked(__builtin_add_overflow(a, b, &out), out);
    case '-':
      return checked(__builtin_sub_overflow(a, b, &out), out);
    case '*':
      if (twice) return power_of(a, b);
      return checked(__builtin_mul_overflow(a, b, &out), out);
    default:
      break;
  }
  if (b == 0) fail("division by zero");
  if (op == '/' && !twice) return static_cast<double>(a) / static_cast<double>(b);
  if (b == -1)
    return op == '%' ? Value(Int(0)) : checked(__builtin_sub_overflow(Int(0), a, &out), out);
  const Int rest = a % b, whole = a / b;
  const bool lower = rest != 0 && (rest < 0) != (b < 0);
  return op == '%' ? Value(lower ? rest + b : rest) : Value(lower ? whole - 1 : whole);
}

Value real_numbers(char op, bool twice, double a, double b) {
  switch (op) {
    case '+':
      return a + b;
    case '-':
      return a - b;
    case '*':
      if (!twice) return a * b;
      if (a == 0 && b < 0) fail("0 to a negative power");
      if (a < 0 && b != std::floor(b)) fail("a negative number to a broken power");
      return std::pow(a, b);
    default:
      break;
  }
  if (b == 0) fail("division by zero");
  if (op == '/' && !twice) return a / b;
  double rest = std::fmod(a, b);
  if (rest != 0 && (rest < 0) != (b < 0))
    rest += b;
  else if (rest == 0)
    rest = std::copysign(0.0, b);
  if (op == '%') return rest;
  const double whole = (a - rest) / b;
  return whole == 0 ? std::copysign(0.0, a / b) : std::floor(whole + 0.5);
}

Value repeated(const Value& v, Int times, Meter& meter) {
  if (const MarkedText* t = v.text()) return repeat(*t, times, meter);
  const List& l = *v.list();
  std::vector<Value> out;
  if (times > 0 && !l.all.empty()) {
    meter.items(times > (Int(1) << 30) ? size_t(1) << 50
                                       : l.all.size() * static_cast<size_t>(times));
    for (Int i = 0; i < times; ++i) out.insert(out.end(), l.all.begin(), l.all.end());
  }
  return make_list(std::move(out), meter, l.kind);
}

bool repeats(const Value& v) {
  return v.text() || (v.list() && (v.list()->kind == List::list || v.list()->kind == List::tuple));
}

Value added(const Value& a, const Value& b, Meter& meter) {
  if (a.text() && b.text()) {
    meter.make(a.text()->size() + b.text()->size());
    MarkedText out = *a.text();
    out.append(*b.text());
    return out;
  }
  if (repeats(a) && repeats(b) && a.list() && b.list() && a.list()->kind == b.list()->kind) {
    meter.items(a.list()->all.size() + b.list()->all.size());
    std::vector<Value> out = a.list()->all;
    out.insert(out.end(), b.list()->all.begin(), b.list()->all.end());
    return make_list(std::move(out), meter, a.list()->kind);
  }
  no_operator("+", a, b);
}

}  // namespace

Value binary(std::string_view op, const Value& a, const Value& b, Meter& meter) {
  Int i, j;
  const bool twice = op.size() == 2;
  if (a.integer_like(&i) && b.integer_like(&j)) return whole_numbers(op[0], twice, i, j);
  double x, y;
  if (a.number_like(&x) && b.number_like(&y)) return real_numbers(op[0], twice, x, y);
  if (op == "+") return added(a, b, meter);
  if (op == "*" && repeats(a) && b.integer_like(&j)) return repeated(a, j, meter);
  if (op == "*" && repeats(b) && a.integer_like(&i)) return repeated(b, i, meter);
  if (op == "%" && a.text()) return percent(*a.text(), b, meter);
  no_operator(op, a, b);
}

Value negative(const Value& v) {
  Int i;
  if (v.integer_like(&i)) return whole_numbers('-', false, 0, i);
  if (v.real()) return -*v.real();
  need_defined(v);
  fail(str("'-' does not take a ", type_name(v)));
}

bool compare(std::string_view op, const Value& a, const Value& b, Meter& meter) {
  if (op == "==") return equal(a, b, meter);
  if (op == "!=") return !equal(a, b, meter);
  if (op == "in") return contains(b, a, meter);
  if (op == "not in") return !contains(b, a, meter);
  if (op == "<") return less(a, b, "<", meter);
  if (op == ">") return less(b, a, ">", meter);
  if (op == "<=") return less(a, b, "<=", meter) || equal(a, b, meter);
  return less(b, a, ">=", meter) || equal(a, b, meter);
}

namespace {

struct BoundMethod final : Function {
  Value self;
  std::string name;
  const char* type() const override { return "method"; }
  Value call(Args args, Meter& meter) override {
    return call_method({name, self, std::move(args), meter});
  }
};

Value bound(const Value& v, std::string_view name) {
  auto method = std::make_shared<BoundMethod>();
  method->self = v;
  method->name = name;
  method->depth = nest_depth(v) + 1;
  check_nest(method->depth);
  return ObjectPtr(std::move(method));
}

// What `v` has under this name besides its items.
std::optional<Value> own_attribute(const Value& v, std::string_view name) {
  if (ObjectPtr o = v.object()) {
    Value found = o->attribute(name);
    if (!found.is_undefined()) return found;
    return {};
  }
  switch (find_method(v, name)) {
    case Method::here:
      return bound(v, name);
    case Method::forbidden:
      return Value::undefined(
          str("'", name, "' would change a ", type_name(v), ": templates may not"));
    default:
      return {};
  }
}

Value nothing(const Value& v, const std::string& name) {
  return Value::undefined(
      str("this ", type_name(v), " has no '", utf8_repair(name.substr(0, 100)), "'"));
}

}  // namespace

Value get_attribute(const Value& v, std::string_view name, Meter& meter) {
  need_defined(v);
  if (auto own = own_attribute(v, name)) return *own;
  if (const Dict* d = v.dict())
    if (const Value* found = d->find(name)) return *found;
  return nothing(v, std::string(name));
}

Value get_item(const Value& v, const Value& key, Meter& meter) {
  need_defined(v);
  if (const Dict* d = v.dict()) {
    const Value* found = hashable(key) ? d->find(key, meter) : nullptr;
    if (found) return *found;
  }
  Int i;
  if (key.integer_like(&i)) {
    if (const MarkedText* t = v.text()) {
      meter.work(t->size());
      const Int size = static_cast<Int>(count_characters(t->view()));
      if (i < 0) i += size;
      if (i >= 0 && i < size) {
        const auto [begin, end] = byte_range(*t, i, i + 1);
        return t->part(begin, end);
      }
    } else if (const List* l = v.list(); l && l->kind <= List::range) {
      if (i < 0) i += static_cast<Int>(l->all.size());
      if (i >= 0 && i < static_cast<Int>(l->all.size())) return l->all[static_cast<size_t>(i)];
    }
    return nothing(v, to_text(i));
  }
  if (const MarkedText* name = key.text()) {
    if (auto own = own_attribute(v, name->view())) return *own;
    return nothing(v, name->bytes());
  }
  return nothing(v, type_name(key));
}

Value get_slice(const Value& v, const Value& begin, const Value& end, const Value& step,
                Meter& meter) {
  need_defined(v);
  const List* l = v.list();
  if (!v.text() && !(l && l->kind <= List::range))
    fail(str("a ", type_name(v), " cannot be sliced"));
  auto part = [&](const Value& at) -> std::optional<Int> {
    Int i;
    if (at.is_none()) return {};
    if (at.integer_like(&i)) return i;
    need_defined(at);
    fail(str("a slice takes whole numbers, not a ", type_name(at)));
  };
  const auto from = part(begin), to = part(end);
  const Int by = part(step).value_or(1);
  if (by == 0) fail("the step of a slice is 0");
  if (v.text() && by == 1) {
    meter.make(v.text()->size());
    const auto [first, last] = byte_range(*v.text(), from, to);
    return v.text()->part(first, last);
  }
  const std::vector<Value> all = items_of(v, meter);
  const Int size = static_cast<Int>(all.size());
  auto place = [&](std::optional<Int> i, Int otherwise) {
    if (!i) return otherwise;
    const Int at = *i < 0 ? *i + size : *i;
    return by > 0 ? std::clamp<Int>(at, 0, size) : std::clamp<Int>(at, -1, size - 1);
  };
  std::vector<Value> out;
  const Int stop = place(to, by > 0 ? size : -1);
  for (Int i = place(from, by > 0 ? 0 : size - 1); by > 0 ? i < stop : i > stop;) {
    out.push_back(all[static_cast<size_t>(i)]);
    if (__builtin_add_overflow(i, by, &i)) break;
  }
  if (v.text()) return join(MarkedText(), out, true, meter);
  return make_list(std::move(out), meter, l->kind == List::tuple ? List::tuple : List::list);
}

Value get_path(const Value& v, const Value& path, Meter& meter, const Value& otherwise) {
  const bool replaces = !otherwise.is_none() && !otherwise.is_undefined();
  auto step = [&](const Value& of, const Value& key) {
    Value found = get_item(of, key, meter);
    return found.is_undefined() && replaces ? otherwise : found;
  };
  if (!path.text()) return step(v, path);
  Value at = v;
  for (const std::string& word : wellspring::split(path.text()->view(), '.')) {
    meter.step();
    const bool number = !word.empty() && word.find_first_not_of("0123456789") == word.npos;
    const auto index = number ? parse_int(word) : std::nullopt;
    at = step(at, index ? Value::integer(*index) : Value::text(word));
  }
  return at;
}

std::vector<std::optional<Value>> Call::bind(std::initializer_list<const char*> names) const {
  std::vector<std::optional<Value>> out(names.size());
  if (args.all.size() > names.size()) refuse(str("takes at most ", names.size(), " arguments"));
  std::copy(args.all.begin(), args.all.end(), out.begin());
  for (const auto& [key, value] : args.named) {
    auto at = std::find(names.begin(), names.end(), key);
    if (at == names.end()) refuse(str("has no argument '", key, "'"));
    auto& place = out[static_cast<size_t>(at - names.begin())];
    if (place) refuse(str("gets '", key, "' twice"));
    place = value;
  }
  return out;
}

void Call::refuse(std::string_view why) const { fail(str("'", name, "' ", why)); }

const MarkedText& Call::text(const std::optional<Value>& v) const {
  if (v) need_defined(*v);
  if (!v || !v->text())
    refuse(str("needs a string", v ? str(", not a ", type_name(*v)) : std::string()));
  return *v->text();
}

int64_t Call::whole(const std::optional<Value>& v) const {
  Int i;
  if (v) need_defined(*v);
  if (!v || !v->integer_like(&i))
    refuse(str("needs a whole number", v ? str(", not a ", type_name(*v)) : std::string()));
  return static_cast<int64_t>(std::clamp<Int>(i, INT64_MIN / 4, INT64_MAX / 4));
}

}  // namespace wellspring::jinja
