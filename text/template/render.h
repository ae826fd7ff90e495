#pragma once
// Walks the tree of a template. Inside of text/template: statements in render.cpp, expressions in
// render_expr.cpp.

#include <functional>
#include <memory>
#include <string_view>
#include <utility>
#include <vector>

#include "text/template/operators.h"
#include "text/template/syntax.h"

namespace wellspring::jinja {

struct Scope;
using ScopePtr = std::shared_ptr<Scope>;

/// Names and their values; the names live in the tree.
struct Scope {
  explicit Scope(ScopePtr p) : parent(std::move(p)) {}
  ScopePtr parent;
  std::vector<std::pair<std::string_view, Value>> all;
  Value* find(std::string_view name);
  void set(std::string_view name, Value value);
};

struct Macro final : Object {
  const Stmt* def = nullptr;
  ScopePtr scope;  // where it was defined
  const char* type() const override { return "macro"; }
  bool callable() const override { return true; }
  Value attribute(std::string_view name) override;
};

/// A running loop. It gives items only when asked, for its condition may depend on its body.
struct Loop final : Object, std::enable_shared_from_this<Loop> {
  std::vector<Value> all;
  size_t next = 0;
  std::function<bool(const Value&)> keep;  // may be empty
  bool has_ahead = false;
  Value current, before, ahead;
  std::string changed_last;  // as it is printed: an object here might own this loop
  bool changed_once = false;
  Int index0 = -1, length = -1;
  int depth0 = 0;
  const Stmt* def = nullptr;
  ScopePtr outer;  // of a recursive loop
  const char* type() const override { return "loop"; }
  Value attribute(std::string_view name) override;
  bool advance();  // to the next item
  bool peek();     // whether there is one; it is `ahead` then
  Int total();
};

class Renderer {
 public:
  Renderer(const Syntax& syntax, Value context, Value own, Meter& meter);
  ~Renderer();
  MarkedText run();
  Place at() const { return at_; }  // the node that was last begun

 private:
  enum class Flow { go, break_, continue_ };
  Flow exec(const Body& body);
  Flow exec(const Stmt& s);
  Flow exec_if(const Stmt& s);
  Flow exec_for(const Stmt& s, const Value& all, const ScopePtr& outer, int depth0);
  Flow exec_rounds(const Stmt& s, const std::shared_ptr<Loop>& loop, const ScopePtr& outer);
  Flow exec_set_block(const Stmt& s);
  Flow exec_filter_block(const Stmt& s);
  Flow exec_with(const Stmt& s);
  Flow exec_call_block(const Stmt& s);
  Flow exec_in_scope(const Stmt& s);
  Flow exec_into(const Body& body, MarkedText* out);  // in a scope of its own
  void put(const MarkedText& text);
  void assign(const Expr& target, Value value);
  Value make_macro(const Stmt& s);

  Value eval(const Expr& e);
  Value eval_name(const Expr& e);
  Value eval_list(const Expr& e);
  Value eval_dict(const Expr& e);
  Value eval_item(const Expr& e);
  Value eval_call(const Expr& e, const Value* caller = nullptr);
  Value eval_filter(const Expr& e);
  Value eval_test(const Expr& e);
  Value eval_binary(const Expr& e);
  Value eval_compare(const Expr& e);
  Value eval_concat(const Expr& e);
  Args eval_arguments(const Expr& e);
  Value call(const Value& callee, Args args);
  Value call_macro(const Macro& macro, Args args);
  Value call_loop(Loop& loop, Args args);
  void bind_parameters(const Stmt& def, Scope& scope, Args& args);

  struct InScope;
  const Syntax& syntax_;
  Value context_, own_;
  Meter& meter_;
  ScopePtr scope_;
  MarkedText* out_ = nullptr;
  Value head_;  // what a filter block filters
  Place at_;
  // What may be part of a ring or of a long chain of owners; taken apart at the end.
  std::vector<ScopePtr> captured_;
  std::vector<std::shared_ptr<Namespace>> namespaces_;
};

}  // namespace wellspring::jinja
