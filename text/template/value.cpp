#include "text/template/value.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"

namespace wellspring::jinja {

void fail(std::string message) { throw Failure{std::move(message)}; }

void Meter::too_much(const char* what) const {
  fail(str("the template takes more than ", what[0] == 's' ? limits_.steps : limits_.work_bytes,
           " ", what, ": it may loop without end, or the conversation is too long"));
}

void Meter::check(size_t bytes) const {
  if (bytes > limits_.output_bytes)
    fail(str("the template makes a text of more than ", limits_.output_bytes, " bytes"));
}

void Meter::make(size_t bytes) {
  check(bytes);
  work(bytes);
}

Meter::Deeper::Deeper(Meter& m) : meter(m) {
  if (++m.depth_ > m.limits_.depth) {
    --m.depth_;
    fail(str("calls and blocks are more than ", m.limits_.depth, " levels deep"));
  }
}

Value Value::undefined(std::string why) {
  Value v;
  v.any_ = Undefined{std::make_shared<const std::string>(std::move(why))};
  return v;
}

ObjectPtr Value::object() const {
  const ObjectPtr* p = std::get_if<ObjectPtr>(&any_);
  return p ? *p : nullptr;
}

bool Value::integer_like(Int* out) const {
  if (const bool* b = boolean()) return *out = *b, true;
  const Int* i = std::get_if<Int>(&any_);
  return i && (*out = *i, true);
}

bool Value::number_like(double* out) const {
  Int i;
  if (integer_like(&i)) return *out = static_cast<double>(i), true;
  return real() && (*out = *real(), true);
}

const Value* Dict::find(std::string_view key) const {
  auto at = texts_.find(key);
  return at == texts_.end() ? nullptr : &all[at->second].second;
}

bool hashable(const Value& v) {
  const List* l = v.list();
  if (!l) return !v.dict();
  if (l->kind != List::tuple) return l->kind > List::tuple;
  return std::all_of(l->all.begin(), l->all.end(), hashable);
}

const Value* Dict::find(const Value& key, Meter& meter) const {
  if (const MarkedText* t = key.text()) {
    meter.work(t->size());
    return find(t->view());
  }
  if (!hashable(key)) fail(str("a ", type_name(key), " cannot be a key"));
  meter.items(all.size());
  for (const auto& [k, v] : all)
    if (!k.text() && equal(k, key, meter)) return &v;
  return nullptr;
}

void Dict::set(Value key, Value value, Meter& meter) {
  if (const Value* old = find(key, meter)) {
    const_cast<Value&>(*old) = std::move(value);
    return;
  }
  meter.items(2);
  all.emplace_back(std::move(key), std::move(value));
  // The view is of the shared text, which stays where it is.
  if (const MarkedText* t = all.back().first.text()) texts_.emplace(t->view(), all.size() - 1);
}

int nest_depth(const Value& v) {
  if (const List* l = v.list()) return l->depth;
  if (const Dict* d = v.dict()) return d->depth;
  if (ObjectPtr o = v.object()) return o->depth;
  return 0;
}

void check_nest(int depth) {
  if (depth > kNestLimit) fail(str("lists or objects nest more than ", kNestLimit, " levels deep"));
}

namespace {

void nest(int* depth, const Value& v) { *depth = std::max(*depth, nest_depth(v) + 1); }

}  // namespace

Value make_list(std::vector<Value> all, Meter& meter, List::Kind kind) {
  auto list = std::make_shared<List>();
  list->kind = kind;
  meter.items(all.size() + 1);
  for (const Value& v : all) nest(&list->depth, v);
  check_nest(list->depth);
  list->all = std::move(all);
  return ListPtr(std::move(list));
}

Value make_dict(Dict dict, Meter& meter) {
  meter.items(1);
  for (const auto& [k, v] : dict.all) nest(&dict.depth, k), nest(&dict.depth, v);
  check_nest(dict.depth);
  return DictPtr(std::make_shared<const Dict>(std::move(dict)));
}

Value from_json(const Json& json, bool marked, Meter& meter, int depth) {
  check_nest(depth);
  auto text = [&](const std::string& s) {
    return Value(MarkedText(utf8_valid(s) ? s : utf8_repair(s), marked));
  };
  switch (json.type()) {
    case Json::value_t::boolean:
      return json.get<bool>();
    case Json::value_t::number_integer:
      return Value::integer(json.get<int64_t>());
    case Json::value_t::number_unsigned:
      return Value(static_cast<Int>(json.get<uint64_t>()));
    case Json::value_t::number_float:
      return json.get<double>();
    case Json::value_t::string:
      return text(json.get_ref<const std::string&>());
    case Json::value_t::array: {
      std::vector<Value> all;
      all.reserve(json.size());
      for (const Json& item : json) all.push_back(from_json(item, marked, meter, depth + 1));
      return make_list(std::move(all), meter);
    }
    case Json::value_t::object: {
      Dict dict;
      for (const auto& [key, item] : json.items())
        dict.set(text(key), from_json(item, marked, meter, depth + 1), meter);
      return make_dict(std::move(dict), meter);
    }
    default:
      return None{};
  }
}

const char* type_name(const Value& v) {
  static constexpr const char* kLists[] = {"list",        "tuple",      "range",    "dict_keys",
                                           "dict_values", "dict_items", "generator"};
  switch (v.any().index()) {
    case 0:
      return "undefined";
    case 1:
      return "none";
    case 2:
      return "boolean";
    case 3:
      return "integer";
    case 4:
      return "float";
    case 5:
      return "string";
    case 6:
      return kLists[v.list()->kind];
    case 7:
      return "mapping";
    default:
      return v.object()->type();
  }
}

void need_defined(const Value& v) {
  if (const Undefined* u = std::get_if<Undefined>(&v.any()))
    fail(u->why ? *u->why : "a value that is undefined is used");
}

bool truth(const Value& v) {
  switch (v.any().index()) {
    case 0:
    case 1:
      return false;
    case 2:
      return *v.boolean();
    case 3:
      return std::get<Int>(v.any()) != 0;
    case 4:
      return *v.real() != 0;
    case 5:
      return !v.text()->empty();
    case 6:
      return v.list()->kind == List::generator || !v.list()->all.empty();
    case 7:
      return !v.dict()->all.empty();
    default:
      return true;
  }
}

size_t length_of(const Value& v, Meter& meter) {
  if (v.is_undefined()) return 0;
  if (const MarkedText* t = v.text()) {
    meter.work(t->size());
    return count_characters(t->view());
  }
  if (const List* l = v.list(); l && l->kind != List::generator) return l->all.size();
  if (const Dict* d = v.dict()) return d->all.size();
  if (v.list()) fail("a generator has no length: put |list before |length");
  fail(str("a ", type_name(v), " has no length"));
}

std::vector<Value> items_of(const Value& v, Meter& meter) {
  std::vector<Value> out;
  if (v.is_undefined()) return out;
  if (const MarkedText* t = v.text()) {
    meter.work(t->size());
    for (size_t at = 0; at < t->size();) {
      const size_t n = static_cast<size_t>(std::max(1, utf8_length(t->view().substr(at))));
      meter.items(1);
      out.push_back(t->part(at, at + n));
      at += n;
    }
  } else if (const List* l = v.list()) {
    const size_t from = l->kind == List::generator ? l->taken : 0;
    meter.items(l->all.size() - from);
    out.assign(l->all.begin() + static_cast<ptrdiff_t>(from), l->all.end());
    if (l->kind == List::generator) l->taken = l->all.size();
  } else if (const Dict* d = v.dict()) {
    meter.items(d->all.size());
    for (const auto& entry : d->all) out.push_back(entry.first);
  } else {
    fail(str("a ", type_name(v), " cannot be gone through item by item"));
  }
  return out;
}

}  // namespace wellspring::jinja
