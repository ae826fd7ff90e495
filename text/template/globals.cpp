// What a template finds without being given it.
#include <ctime>
#include <map>

#include "base/text.h"
#include "text/template/operators.h"

namespace wellspring::jinja {
namespace {

constexpr Int kLongestRange = 100000;  // as in Jinja's sandbox

Value range_of(const Call& c) {
  const auto a = c.bind({"start", "stop", "step"});
  Int begin = 0, end = c.whole(a[0]), step = 1;
  if (a[1]) begin = end, end = c.whole(a[1]);
  if (a[2]) step = c.whole(a[2]);
  if (step == 0) c.refuse("needs a step other than 0");
  const Int size = step > 0 ? (end - begin + step - 1) / step : (begin - end - step - 1) / -step;
  if (size > kLongestRange)
    c.refuse(str("gives at most ", static_cast<int>(kLongestRange), " numbers"));
  auto list = std::make_shared<List>();
  list->kind = List::range;
  c.meter.items(static_cast<size_t>(std::max<Int>(size, 0)) + 1);
  for (Int i = 0; i < size; ++i) list->all.push_back(begin + i * step);
  list->shown = str("range(", to_text(begin), ", ", to_text(end),
                    step == 1 ? "" : str(", ", to_text(step)), ")");
  return ListPtr(std::move(list));
}

Value dict_of(const Call& c) {
  Dict out;
  if (c.args.all.size() > 1) c.refuse("takes one mapping or list of pairs");
  if (!c.args.all.empty()) {
    const Value& from = c.args.all[0];
    need_defined(from);
    if (const Dict* d = from.dict()) {
      for (const auto& [key, value] : d->all) out.set(key, value, c.meter);
    } else {
      for (const Value& pair : items_of(from, c.meter)) {
        std::vector<Value> both = items_of(pair, c.meter);
        if (both.size() != 2) c.refuse("needs pairs");
        out.set(both[0], both[1], c.meter);
      }
    }
  }
  for (const auto& [key, value] : c.args.named) out.set(Value::text(key), value, c.meter);
  return make_dict(std::move(out), c.meter);
}

Value namespace_of(const Call& c) {
  const Value start = dict_of(c);
  auto out = std::make_shared<Namespace>();
  for (const auto& [key, value] : start.dict()->all) {
    const std::string& name = c.text(key).bytes();
    if (name.starts_with('_')) c.refuse("takes no names that begin with '_'");
    out->all[name] = value;
  }
  return ObjectPtr(std::move(out));
}

Value raise_exception_of(const Call& c) {
  const auto a = c.bind({"message"});
  if (!a[0]) c.refuse("needs a message");
  fail(str("the chat template refuses this conversation: ", to_text(*a[0], c.meter).view()));
}

Value strftime_now_of(const Call& c) {
  const std::string form =
      c.text(c.bind({"format"})[0]).bytes() + "|";  // the result is never empty
  if (form.size() > 1000) c.refuse("takes a format of at most 1000 bytes");
  const std::time_t now = std::time(nullptr);
  std::tm local{};
  localtime_r(&now, &local);
  std::string out(20000, '\0');
  out.resize(std::strftime(out.data(), out.size(), form.c_str(), &local));
  if (!out.empty()) out.pop_back();
  return Value::text(utf8_repair(out));
}

struct Joiner final : Function {
  Value separator;
  bool used = false;
  const char* type() const override { return "joiner"; }
  Value call(Args, Meter&) override {
    return std::exchange(used, true) ? separator : Value(MarkedText());
  }
};

Value joiner_of(const Call& c) {
  const auto a = c.bind({"sep"});
  auto out = std::make_shared<Joiner>();
  out->separator = a[0].value_or(Value::text(", "));
  out->depth = nest_depth(out->separator) + 1;
  check_nest(out->depth);
  return ObjectPtr(std::move(out));
}

struct Global final : Function {
  Global(std::string_view n, Value (*f)(const Call&)) : name(n), function(f) {}
  std::string_view name;
  Value (*function)(const Call&);
  const char* type() const override { return "function"; }
  Value call(Args args, Meter& meter) override {
    return function({name, Value(), std::move(args), meter});
  }
};

}  // namespace

Value find_global(std::string_view name) {
  static const std::map<std::string_view, Value (*)(const Call&)> kAll = {
      {"range", range_of},         {"dict", dict_of},
      {"namespace", namespace_of}, {"raise_exception", raise_exception_of},
      {"joiner", joiner_of},       {"strftime_now", strftime_now_of},
  };
  auto at = kAll.find(name);
  if (at == kAll.end()) return Value();
  return ObjectPtr(std::make_shared<Global>(at->first, at->second));
}

}  // namespace wellspring::jinja
