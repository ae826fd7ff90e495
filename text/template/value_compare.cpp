// Equality, order, membership.
#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "text/template/value.h"

namespace wellspring::jinja {
namespace {

bool sequence(const Value& v) {
  return v.list() && (v.list()->kind == List::list || v.list()->kind == List::tuple);
}

// -1, 0, 1, or 2 for numbers of which one is NaN.
int order_of_numbers(const Value& a, const Value& b) {
  Int i, j;
  if (a.integer_like(&i) && b.integer_like(&j)) return i < j ? -1 : i > j;
  long double x, y;  // holds every integer of 64 bits
  auto get = [](const Value& v, long double* out) {
    Int n;
    *out = v.integer_like(&n) ? static_cast<long double>(n) : *v.real();
  };
  get(a, &x), get(b, &y);
  return x < y ? -1 : x > y ? 1 : x == y ? 0 : 2;
}

bool numbers(const Value& a, const Value& b) {
  double d;
  return a.number_like(&d) && b.number_like(&d);
}

bool equal_lists(const List& a, const List& b, Meter& meter) {
  if (&a == &b) return true;
  if (a.kind == List::generator || b.kind == List::generator || a.kind == List::values)
    return false;
  auto set = [](const List& l) { return l.kind == List::keys || l.kind == List::items; };
  if (a.all.size() != b.all.size()) return false;
  if (set(a) && set(b)) {
    return std::all_of(a.all.begin(), a.all.end(), [&](const Value& v) {
      return std::any_of(b.all.begin(), b.all.end(),
                         [&](const Value& w) { return equal(v, w, meter); });
    });
  }
  if (a.kind != b.kind) return false;
  for (size_t i = 0; i < a.all.size(); ++i)
    if (!equal(a.all[i], b.all[i], meter)) return false;
  return true;
}

}  // namespace

bool equal(const Value& a, const Value& b, Meter& meter) {
  meter.items(1);
  if (numbers(a, b)) return order_of_numbers(a, b) == 0;
  if (a.any().index() != b.any().index()) return false;
  if (const MarkedText* t = a.text()) {
    if (t->size() != b.text()->size()) return false;
    meter.work(t->size());
    return t->bytes() == b.text()->bytes();
  }
  if (a.list()) return equal_lists(*a.list(), *b.list(), meter);
  if (const Dict* d = a.dict()) {
    if (d == b.dict()) return true;
    if (d->all.size() != b.dict()->all.size()) return false;
    for (const auto& [k, v] : d->all) {
      const Value* other = b.dict()->find(k, meter);
      if (!other || !equal(v, *other, meter)) return false;
    }
    return true;
  }
  if (a.object()) return a.object() == b.object();
  return true;  // none, or undefined
}

bool less(const Value& a, const Value& b, const char* op, Meter& meter) {
  meter.items(1);
  if (numbers(a, b)) return order_of_numbers(a, b) == -1;
  if (a.text() && b.text()) {
    meter.work(std::min(a.text()->size(), b.text()->size()));
    return a.text()->bytes() < b.text()->bytes();  // UTF-8 sorts as code points do
  }
  if (sequence(a) && sequence(b) && a.list()->kind == b.list()->kind) {
    const auto &x = a.list()->all, &y = b.list()->all;
    for (size_t i = 0; i < x.size() && i < y.size(); ++i)
      if (!equal(x[i], y[i], meter)) return less(x[i], y[i], op, meter);
    return x.size() < y.size();
  }
  need_defined(a);
  need_defined(b);
  fail(str("'", op, "' cannot compare a ", type_name(a), " with a ", type_name(b)));
}

bool contains(const Value& hay, const Value& needle, Meter& meter) {
  if (const MarkedText* t = hay.text()) {
    if (!needle.text()) {
      need_defined(needle);
      fail(str("a ", type_name(needle), " cannot be part of a string"));
    }
    meter.work(t->size() + needle.text()->size());
    return find_text(t->view(), needle.text()->view()) != std::string_view::npos;
  }
  if (const Dict* d = hay.dict()) return d->find(needle, meter) != nullptr;
  if (const List* l = hay.list()) {
    if (l->kind != List::generator)
      return std::any_of(l->all.begin(), l->all.end(),
                         [&](const Value& v) { return equal(v, needle, meter); });
    while (l->taken < l->all.size())
      if (equal(l->all[l->taken++], needle, meter)) return true;
    return false;
  }
  if (hay.is_undefined()) return false;
  fail(str("'in' needs a string, a list or a mapping, not a ", type_name(hay)));
}

}  // namespace wellspring::jinja
