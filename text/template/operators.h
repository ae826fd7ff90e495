#pragma once
// What operators, subscripts, calls, filters and tests do to values. Inside of text/template.

#include <initializer_list>
#include <optional>
#include <string_view>
#include <vector>

#include "text/template/value.h"

namespace wellspring::jinja {

/// One call of a filter, a test, a method or a function.
struct Call {
  std::string_view name;
  Value self;  // what it is applied to; undefined for a function
  Args args;
  Meter& meter;

  /// The arguments under their names; fails for unknown ones and for too many.
  std::vector<std::optional<Value>> bind(std::initializer_list<const char*> names) const;
  [[noreturn]] void refuse(std::string_view why) const;
  /// Of an argument: fails unless it is text, or a whole number that fits.
  const MarkedText& text(const std::optional<Value>& v) const;
  int64_t whole(const std::optional<Value>& v) const;
};

/// + - * / // % **
Value binary(std::string_view op, const Value& a, const Value& b, Meter& meter);
Value negative(const Value& v);
/// == != < <= > >= in, not in
bool compare(std::string_view op, const Value& a, const Value& b, Meter& meter);

/// a.name and a[key], as Jinja has them: attribute first, or item first.
Value get_attribute(const Value& v, std::string_view name, Meter& meter);
Value get_item(const Value& v, const Value& key, Meter& meter);
Value get_slice(const Value& v, const Value& begin, const Value& end, const Value& step,
                Meter& meter);
/// "a.b.0" of |map(attribute=...), |sort, |selectattr; `otherwise` stands for each undefined step.
Value get_path(const Value& v, const Value& path, Meter& meter, const Value& otherwise = Value());

Value call_filter(Call call);
bool call_test(Call call);
/// Methods of strings, lists and mappings.
enum class Method { none, here, forbidden };  // forbidden: it would change its object
Method find_method(const Value& v, std::string_view name);
Value call_method(Call call);
/// A global (range, dict, namespace, raise_exception, strftime_now, joiner, cycler), or undefined.
Value find_global(std::string_view name);

struct Function : Object {
  bool callable() const override { return true; }
  virtual Value call(Args args, Meter& meter) = 0;
};

}  // namespace wellspring::jinja
