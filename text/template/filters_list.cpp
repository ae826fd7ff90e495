#include <algorithm>

#include "base/text.h"
#include "text/template/filters.h"
#include "text/template/syntax.h"
#include "text/template/text_ops.h"

namespace wellspring::jinja {
namespace {

Value generator(std::vector<Value> all, const Call& c) {
  return make_list(std::move(all), c.meter, List::generator);
}

bool given(const std::optional<Value>& v) { return v && !v->is_none(); }

// Strings in lower case, the rest as it is.
Value ignoring_case(const Value& v, Meter& meter) {
  if (!v.text()) return v;
  meter.make(v.text()->size());
  return in_case(*v.text(), Case::lower);
}

// What to compare: the item, or what `attribute` leads to.
Value key_of(const Value& item, const std::optional<Value>& attribute, bool cased, Meter& meter) {
  Value v = given(attribute) ? get_path(item, *attribute, meter) : item;
  return cased ? v : ignoring_case(v, meter);
}

// Stable; Python's order, which may fail. Own merging: the standard library's sorts want an order
// that is one, and NaN has none.
void merge_sort(std::vector<size_t>& order, const std::vector<Value>& keys, bool reverse,
                Meter& meter) {
  auto before = [&](size_t a, size_t b) {
    meter.step();
    return reverse ? less(keys[b], keys[a], "<", meter) : less(keys[a], keys[b], "<", meter);
  };
  std::vector<size_t> other(order.size());
  for (size_t width = 1; width < order.size(); width *= 2) {
    for (size_t begin = 0; begin < order.size(); begin += 2 * width) {
      const size_t middle = std::min(begin + width, order.size()),
                   end = std::min(begin + 2 * width, order.size());
      size_t a = begin, b = middle;
      for (size_t to = begin; to < end; ++to) {
        const bool second = a == middle || (b < end && before(order[b], order[a]));
        other[to] = second ? order[b++] : order[a++];
      }
    }
    order.swap(other);
  }
}

std::vector<Value> sorted(const std::vector<Value>& all, const std::vector<Value>& keys,
                          bool reverse, Meter& meter) {
  std::vector<size_t> order(all.size());
  for (size_t i = 0; i < order.size(); ++i) order[i] = i;
  merge_sort(order, keys, reverse, meter);
  std::vector<Value> out;
  for (size_t i : order) out.push_back(all[i]);
  return out;
}

Value default_filter(const Call& c) {
  const auto a = c.bind({"default_value", "boolean"});
  const bool takes = c.self.is_undefined() || (a[1] && truth(*a[1]) && !truth(c.self));
  return takes ? a[0].value_or(Value(MarkedText())) : c.self;
}

Value length_filter(const Call& c) {
  c.bind({});
  return static_cast<Int>(length_of(c.self, c.meter));
}

Value first_filter(const Call& c) {
  c.bind({});
  if (const List* l = c.self.list(); l && l->kind == List::generator)
    return l->taken < l->all.size() ? l->all[l->taken++]
                                    : Value::undefined("there is no first item");
  if (c.self.text() && !c.self.text()->empty()) return get_item(c.self, Int(0), c.meter);
  const std::vector<Value> all = items_of(c.self, c.meter);
  return all.empty() ? Value::undefined("there is no first item") : all.front();
}

Value last_filter(const Call& c) {
  c.bind({});
  if (c.self.list() && c.self.list()->kind == List::generator)
    c.refuse("does not take a generator: put |list before it");
  if (c.self.text() && !c.self.text()->empty()) return get_item(c.self, Int(-1), c.meter);
  const std::vector<Value> all = items_of(c.self, c.meter);
  return all.empty() ? Value::undefined("there is no last item") : all.back();
}

Value list_filter(const Call& c) {
  c.bind({});
  return make_list(items_of(c.self, c.meter), c.meter);
}

Value items_filter(const Call& c) {
  c.bind({});
  if (!c.self.dict() && !c.self.is_undefined())
    c.refuse(str("needs a mapping, not a ", type_name(c.self)));
  std::vector<Value> out;
  if (const Dict* d = c.self.dict())
    for (const auto& [key, value] : d->all)
      out.push_back(make_list({key, value}, c.meter, List::tuple));
  return generator(std::move(out), c);
}

Value dictsort_filter(const Call& c) {
  const auto a = c.bind({"case_sensitive", "by", "reverse"});
  const std::string_view by = a[1] ? c.text(a[1]).view() : "key";
  if (by != "key" && by != "value") c.refuse("sorts by 'key' or by 'value'");
  need_defined(c.self);
  if (!c.self.dict()) c.refuse(str("needs a mapping, not a ", type_name(c.self)));
  std::vector<Value> all, keys;
  for (const auto& [key, value] : c.self.dict()->all) {
    all.push_back(make_list({key, value}, c.meter, List::tuple));
    const Value& v = by == "key" ? key : value;
    keys.push_back(a[0] && truth(*a[0]) ? v : ignoring_case(v, c.meter));
  }
  return make_list(sorted(all, keys, a[2] && truth(*a[2]), c.meter), c.meter);
}

Value sort_filter(const Call& c) {
  const auto a = c.bind({"reverse", "case_sensitive", "attribute"});
  const bool cased = a[1] && truth(*a[1]);
  const std::vector<Value> all = items_of(c.self, c.meter);
  std::vector<Value> keys;
  for (const Value& item : all) {
    if (!given(a[2]) || !a[2]->text()) {
      keys.push_back(key_of(item, a[2], cased, c.meter));
      continue;
    }
    std::vector<Value> several;  // "a,b.c"
    for (const std::string& path : wellspring::split(a[2]->text()->view(), ','))
      several.push_back(key_of(item, Value::text(path), cased, c.meter));
    keys.push_back(make_list(std::move(several), c.meter));
  }
  return make_list(sorted(all, keys, a[0] && truth(*a[0]), c.meter), c.meter);
}

Value unique_filter(const Call& c) {
  const auto a = c.bind({"case_sensitive", "attribute"});
  Dict seen;
  std::vector<Value> out;
  for (const Value& item : items_of(c.self, c.meter)) {
    const Value key = key_of(item, a[1], a[0] && truth(*a[0]), c.meter);
    if (seen.find(key, c.meter)) continue;
    seen.set(key, true, c.meter);
    out.push_back(item);
  }
  return generator(std::move(out), c);
}

template <bool kLargest>
Value extreme_filter(const Call& c) {
  const auto a = c.bind({"case_sensitive", "attribute"});
  Value best, best_key;
  bool first = true;
  for (const Value& item : items_of(c.self, c.meter)) {
    Value key = key_of(item, a[1], a[0] && truth(*a[0]), c.meter);
    const bool better = !first && (kLargest ? less(best_key, key, ">", c.meter)
                                            : less(key, best_key, "<", c.meter));
    if (first || better) best = item, best_key = std::move(key);
    first = false;
  }
  return first ? Value::undefined("there is no item") : best;
}

Value sum_filter(const Call& c) {
  const auto a = c.bind({"attribute", "start"});
  Value sum = a[1].value_or(Value(Int(0)));
  if (sum.text()) c.refuse("does not add strings: use |join");
  for (const Value& item : items_of(c.self, c.meter))
    sum = binary("+", sum, key_of(item, a[0], true, c.meter), c.meter);
  return sum;
}

Value join_filter(const Call& c) {
  const auto a = c.bind({"d", "attribute"});
  std::vector<Value> all = items_of(c.self, c.meter);
  if (given(a[1]))
    for (Value& item : all) item = get_path(item, *a[1], c.meter);
  return join(a[0] ? to_text(*a[0], c.meter) : MarkedText(), all, false, c.meter);
}

Value reverse_filter(const Call& c) {
  c.bind({});
  std::vector<Value> all = items_of(c.self, c.meter);
  std::reverse(all.begin(), all.end());
  if (c.self.text()) return join(MarkedText(), all, true, c.meter);
  if (c.self.list() && c.self.list()->kind == List::generator)
    return make_list(std::move(all), c.meter);
  return generator(std::move(all), c);
}

Value attr_filter(const Call& c) {
  const auto a = c.bind({"name"});
  // Attributes, not items.
  if (c.self.dict() && find_method(c.self, c.text(a[0]).view()) == Method::none)
    return Value::undefined(str("there is no attribute '", c.text(a[0]).view(), "'"));
  return get_attribute(c.self, c.text(a[0]).view(), c.meter);
}

Value batch_filter(const Call& c) {
  const auto a = c.bind({"linecount", "fill_with"});
  const int64_t size = c.whole(a[0]);
  std::vector<Value> out, line;
  for (Value& item : items_of(c.self, c.meter)) {
    if (!line.empty() && static_cast<int64_t>(line.size()) == size)
      out.push_back(make_list(std::exchange(line, {}), c.meter));
    line.push_back(std::move(item));
  }
  if (!line.empty()) {
    while (given(a[1]) && static_cast<int64_t>(line.size()) < size) {
      c.meter.items(1);
      line.push_back(*a[1]);
    }
    out.push_back(make_list(std::move(line), c.meter));
  }
  return generator(std::move(out), c);
}

// The arguments behind the first `n`.
Args rest(const Args& args, size_t n, Meter& meter) {
  Args out;
  meter.items(args.all.size() + args.named.size());
  out.all.assign(args.all.begin() + static_cast<ptrdiff_t>(n), args.all.end());
  out.named = args.named;
  return out;
}

Value map_filter(const Call& c) {
  std::vector<Value> out;
  if (!truth(c.self)) return generator(std::move(out), c);
  const std::vector<Value> all = items_of(c.self, c.meter);
  if (c.args.all.empty()) {
    const auto a = c.bind({"attribute", "default"});
    if (!a[0]) c.refuse("needs a filter or an attribute");
    for (const Value& item : all) {
      c.meter.step();
      out.push_back(get_path(item, *a[0], c.meter, a[1].value_or(None{})));
    }
    return generator(std::move(out), c);
  }
  const std::string filter = c.text(c.args.all[0]).bytes();
  for (const Value& item : all)
    out.push_back(call_filter({filter, item, rest(c.args, 1, c.meter), c.meter}));
  return generator(std::move(out), c);
}

template <bool kAttribute, bool kWanted>
Value select_filter(const Call& c) {
  std::vector<Value> out;
  if (!truth(c.self)) return generator(std::move(out), c);
  if (kAttribute && c.args.all.empty()) c.refuse("needs an attribute");
  constexpr size_t kSkip = kAttribute ? 1 : 0;
  const bool has_test = c.args.all.size() > kSkip;
  const std::string test = has_test ? c.text(c.args.all[kSkip]).bytes() : std::string();
  for (Value& item : items_of(c.self, c.meter)) {
    c.meter.step();
    const Value v = kAttribute ? get_path(item, c.args.all[0], c.meter) : item;
    const bool good =
        has_test ? call_test({test, v, rest(c.args, kSkip + 1, c.meter), c.meter}) : truth(v);
    if (good == kWanted) out.push_back(std::move(item));
  }
  return generator(std::move(out), c);
}

}  // namespace

const FilterMap& list_filters() {
  static const FilterMap kAll = {
      {"default", default_filter},
      {"d", default_filter},
      {"length", length_filter},
      {"count", length_filter},
      {"first", first_filter},
      {"last", last_filter},
      {"list", list_filter},
      {"items", items_filter},
      {"dictsort", dictsort_filter},
      {"sort", sort_filter},
      {"unique", unique_filter},
      {"min", extreme_filter<false>},
      {"max", extreme_filter<true>},
      {"sum", sum_filter},
      {"join", join_filter},
      {"reverse", reverse_filter},
      {"attr", attr_filter},
      {"batch", batch_filter},
      {"map", map_filter},
      {"select", select_filter<false, true>},
      {"reject", select_filter<false, false>},
      {"selectattr", select_filter<true, true>},
      {"rejectattr", select_filter<true, false>},
  };
  return kAll;
}

bool filter_exists(std::string_view name) {
  return text_filters().count(name) || list_filters().count(name);
}

Value call_filter(Call call) {
  Meter::Deeper deeper(call.meter);  // |map may call |map
  call.meter.step();
  for (const FilterMap* all : {&text_filters(), &list_filters()})
    if (auto at = all->find(call.name); at != all->end()) return at->second(call);
  fail(str("there is no filter '", call.name, "' here"));
}

}  // namespace wellspring::jinja
