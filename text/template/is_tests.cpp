// What stands behind "is".
#include <map>

#include "base/text.h"
#include "text/template/operators.h"
#include "text/template/syntax.h"
#include "text/template/text_ops.h"

namespace wellspring::jinja {
namespace {

using IsTest = bool (*)(const Call&);

Value other(const Call& c) {
  const auto a = c.bind({"other"});
  if (!a[0]) c.refuse("needs something to compare with");
  return *a[0];
}

template <bool (*kIs)(const Value&)>
bool kind_test(const Call& c) {
  c.bind({});
  return kIs(c.self);
}

bool is_true(const Value& v) { return v.boolean() && *v.boolean(); }
bool is_false(const Value& v) { return v.boolean() && !*v.boolean(); }
bool is_defined(const Value& v) { return !v.is_undefined(); }
bool is_undefined(const Value& v) { return v.is_undefined(); }
bool is_none(const Value& v) { return v.is_none(); }
bool is_boolean(const Value& v) { return v.boolean(); }
bool is_string(const Value& v) { return v.text(); }
bool is_mapping(const Value& v) { return v.dict(); }
bool is_float(const Value& v) { return v.real(); }
bool is_callable(const Value& v) {
  return v.is_undefined() || (v.object() && v.object()->callable());
}
bool is_number(const Value& v) {
  double d;
  return v.number_like(&d);
}
bool is_integer(const Value& v) {
  Int i;
  return !v.boolean() && v.integer_like(&i);
}
bool is_iterable(const Value& v) {
  return v.is_undefined() || v.text() || v.list() || v.dict() ||
         (v.object() && v.object()->type() == std::string_view("loop"));
}
bool is_sequence(const Value& v) {
  return v.is_undefined() || v.text() || v.dict() || (v.list() && v.list()->kind <= List::range);
}
bool is_never(const Value&) { return false; }

template <int kRest>
bool parity_test(const Call& c) {
  c.bind({});
  return equal(binary("%", c.self, Int(2), c.meter), Int(kRest), c.meter);
}

bool divisible_test(const Call& c) {
  return equal(binary("%", c.self, other(c), c.meter), Int(0), c.meter);
}

// The same object; of what has no identity here, the same value of the same kind.
bool same_test(const Call& c) {
  const Value b = other(c);
  if (c.self.any().index() != b.any().index()) return false;
  if (c.self.list()) return c.self.list() == b.list();
  if (c.self.dict()) return c.self.dict() == b.dict();
  return equal(c.self, b, c.meter);
}

template <bool kUpper>
bool case_test(const Call& c) {
  c.bind({});
  return truth(
      call_method({kUpper ? "isupper" : "islower", to_text(c.self, c.meter), {}, c.meter}));
}

bool filter_test(const Call& c) { return c.self.text() && filter_exists(c.self.text()->view()); }
bool test_test(const Call& c) { return c.self.text() && test_exists(c.self.text()->view()); }

template <char kFirst, char kSecond = 0>
bool compare_test(const Call& c) {
  static constexpr char kOp[] = {kFirst, kSecond, 0};
  return compare(kOp, c.self, other(c), c.meter);
}

const std::map<std::string_view, IsTest>& tests() {
  static const std::map<std::string_view, IsTest> kAll = {
      {"defined", kind_test<is_defined>},
      {"undefined", kind_test<is_undefined>},
      {"none", kind_test<is_none>},
      {"boolean", kind_test<is_boolean>},
      {"true", kind_test<is_true>},
      {"false", kind_test<is_false>},
      {"string", kind_test<is_string>},
      {"mapping", kind_test<is_mapping>},
      {"number", kind_test<is_number>},
      {"integer", kind_test<is_integer>},
      {"float", kind_test<is_float>},
      {"iterable", kind_test<is_iterable>},
      {"sequence", kind_test<is_sequence>},
      {"callable", kind_test<is_callable>},
      {"escaped", kind_test<is_never>},
      {"odd", parity_test<1>},
      {"even", parity_test<0>},
      {"divisibleby", divisible_test},
      {"sameas", same_test},
      {"upper", case_test<true>},
      {"lower", case_test<false>},
      {"filter", filter_test},
      {"test", test_test},
      {"in", compare_test<'i', 'n'>},
      {"==", compare_test<'=', '='>},
      {"eq", compare_test<'=', '='>},
      {"equalto", compare_test<'=', '='>},
      {"!=", compare_test<'!', '='>},
      {"ne", compare_test<'!', '='>},
      {">", compare_test<'>'>},
      {"gt", compare_test<'>'>},
      {"greaterthan", compare_test<'>'>},
      {">=", compare_test<'>', '='>},
      {"ge", compare_test<'>', '='>},
      {"<", compare_test<'<'>},
      {"lt", compare_test<'<'>},
      {"lessthan", compare_test<'<'>},
      {"<=", compare_test<'<', '='>},
      {"le", compare_test<'<', '='>},
  };
  return kAll;
}

}  // namespace

bool test_exists(std::string_view name) { return tests().count(name) != 0; }

bool call_test(Call call) {
  call.meter.step();
  auto at = tests().find(call.name);
  if (at == tests().end()) fail(str("there is no test '", call.name, "' here"));
  return at->second(call);
}

}  // namespace wellspring::jinja
