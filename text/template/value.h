#pragma once
// Values of a template as Python has them: their kinds, comparing, printing. Inside of
// text/template. Lists and dicts do not change once made, and they nest at most kNestLimit deep, so
// that going through them cannot run out of stack.

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <variant>
#include <vector>

#include "base/json_fwd.h"
#include "text/template/chat_template.h"
#include "text/template/marked_text.h"

namespace wellspring::jinja {

using Int = __int128;  // holds what JSON has: int64 and uint64
constexpr int kNestLimit = 600;

/// What goes wrong while rendering; becomes an Error with its place.
struct Failure {
  std::string message;
};
[[noreturn]] void fail(std::string message);

/// What a rendering has used of its limits.
class Meter {
 public:
  explicit Meter(const TemplateLimits& limits) : limits_(limits) {}
  void step() {
    if (++steps_ > limits_.steps) too_much("steps");
  }
  /// Bytes read or made; an item of a list counts as kItemBytes.
  void work(size_t bytes) {
    work_ += bytes;
    if (work_ > limits_.work_bytes) too_much("bytes of work");
  }
  void items(size_t n) { work(n * kItemBytes); }
  /// Before a string of so many bytes is made.
  void make(size_t bytes);
  /// Fails when a string of so many bytes may not be made.
  void check(size_t bytes) const;
  struct Deeper {  // one level
    explicit Deeper(Meter& m);
    ~Deeper() { --meter.depth_; }
    Meter& meter;
  };

 private:
  static constexpr size_t kItemBytes = 64;
  [[noreturn]] void too_much(const char* what) const;
  const TemplateLimits& limits_;
  uint64_t steps_ = 0, work_ = 0;
  int depth_ = 0;
};

class Value;
struct List;
struct Dict;
struct Object;
struct None {};
struct Undefined {
  std::shared_ptr<const std::string> why;  // may be null
};
using TextPtr = std::shared_ptr<const MarkedText>;
using ListPtr = std::shared_ptr<const List>;
using DictPtr = std::shared_ptr<const Dict>;
using ObjectPtr = std::shared_ptr<Object>;

class Value {
 public:
  using Any =
      std::variant<Undefined, None, bool, Int, double, TextPtr, ListPtr, DictPtr, ObjectPtr>;
  Value() = default;  // undefined
  Value(None) : any_(None{}) {}
  Value(bool b) : any_(b) {}
  Value(Int i) : any_(i) {}
  Value(double d) : any_(d) {}
  Value(MarkedText t) : any_(std::make_shared<const MarkedText>(std::move(t))) {}
  Value(ListPtr l) : any_(std::move(l)) {}
  Value(DictPtr d) : any_(std::move(d)) {}
  Value(ObjectPtr o) : any_(std::move(o)) {}
  static Value undefined(std::string why);
  static Value text(std::string_view s) { return MarkedText(std::string(s)); }
  static Value integer(int64_t i) { return Value(static_cast<Int>(i)); }

  bool is_undefined() const { return std::holds_alternative<Undefined>(any_); }
  bool is_none() const { return std::holds_alternative<None>(any_); }
  const bool* boolean() const { return std::get_if<bool>(&any_); }
  const double* real() const { return std::get_if<double>(&any_); }
  const MarkedText* text() const { return get<TextPtr>(); }
  const List* list() const { return get<ListPtr>(); }
  const Dict* dict() const { return get<DictPtr>(); }
  ObjectPtr object() const;
  /// An int, or a bool as Python takes it for one.
  bool integer_like(Int* out) const;
  bool number_like(double* out) const;
  const Any& any() const { return any_; }

 private:
  template <class P>
  auto get() const -> decltype(std::declval<P>().get()) {
    const P* p = std::get_if<P>(&any_);
    return p ? p->get() : nullptr;
  }
  Any any_;
};

struct List {
  enum Kind { list, tuple, range, keys, values, items, generator } kind = list;
  std::vector<Value> all;
  std::string shown;  // of a range
  int depth = 1;
  mutable size_t taken = 0;  // of a generator: given out already
};

struct Dict {
  std::vector<std::pair<Value, Value>> all;
  int depth = 1;
  /// The value of a key, or null.
  const Value* find(const Value& key, Meter& meter) const;
  const Value* find(std::string_view key) const;
  void set(Value key, Value value, Meter& meter);  // while it is being made

 private:
  std::unordered_map<std::string_view, size_t> texts_;  // of keys that are text
};

struct Args {
  std::vector<Value> all;
  std::vector<std::pair<std::string, Value>> named;
};

/// What is neither data nor text: namespaces, macros, functions, methods, loops.
struct Object {
  int depth = 0;  // of the values that it holds, where it may be part of a chain
  virtual ~Object() = default;
  virtual const char* type() const = 0;
  virtual bool callable() const { return false; }
  /// An attribute, or undefined.
  virtual Value attribute(std::string_view) { return Value(); }
};
struct Namespace final : Object {
  std::map<std::string, Value, std::less<>> all;
  const char* type() const override { return "namespace"; }
  Value attribute(std::string_view name) override {
    auto at = all.find(name);
    return at == all.end() ? Value() : at->second;
  }
};

/// How deep lists, dicts and objects nest in it; check_nest fails beyond kNestLimit.
int nest_depth(const Value& v);
void check_nest(int depth);
/// These check kNestLimit, and count what they make.
Value make_list(std::vector<Value> all, Meter& meter, List::Kind kind = List::list);
Value make_dict(Dict dict, Meter& meter);
/// A context's value; its strings are marked when `marked`.
Value from_json(const Json& json, bool marked, Meter& meter, int depth = 0);

/// Whether it may be a key: no list, no mapping, no tuple of such.
bool hashable(const Value& v);
const char* type_name(const Value& v);
bool truth(const Value& v);
bool equal(const Value& a, const Value& b, Meter& meter);
/// a < b; fails where Python has no order.
bool less(const Value& a, const Value& b, const char* op, Meter& meter);
/// `needle in hay`.
bool contains(const Value& hay, const Value& needle, Meter& meter);
/// str(v) and repr(v).
MarkedText to_text(const Value& v, Meter& meter);
MarkedText representation(const Value& v, Meter& meter);
std::string to_text(Int i);
std::string to_text(double d);
/// The items of whatever can be gone through; takes them from a generator.
std::vector<Value> items_of(const Value& v, Meter& meter);
/// len(v).
size_t length_of(const Value& v, Meter& meter);
/// Fails with the reason for what is undefined.
void need_defined(const Value& v);

struct JsonForm {
  bool ascii = false, sorted = false, pretty = false;
  MarkedText indent;
  MarkedText item_separator, key_separator;
};
/// json.dumps.
MarkedText to_json(const Value& v, const JsonForm& form, Meter& meter);

}  // namespace wellspring::jinja
