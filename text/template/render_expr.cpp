#include <algorithm>

#include "base/text.h"
#include "text/template/render.h"

namespace wellspring::jinja {

Value Renderer::eval(const Expr& e) {
  Meter::Deeper deeper(meter_);
  meter_.step();
  at_ = e.at;
  switch (e.kind) {
    case Expr::constant:
      return e.value;
    case Expr::name:
      return eval_name(e);
    case Expr::list:
    case Expr::tuple:
      return eval_list(e);
    case Expr::dict:
      return eval_dict(e);
    case Expr::attribute: {
      const Value v = eval(*e.a);
      at_ = e.at;
      return get_attribute(v, e.word, meter_);
    }
    case Expr::item:
      return eval_item(e);
    case Expr::slice:
      fail("a slice can only stand alone in brackets");
    case Expr::call:
      return eval_call(e);
    case Expr::filter:
      return eval_filter(e);
    case Expr::test:
      return eval_test(e);
    case Expr::not_:
      return !truth(eval(*e.a));
    case Expr::minus:
      return negative(eval(*e.a));
    case Expr::plus:
      return negative(negative(eval(*e.a)));
    case Expr::and_: {
      Value v = eval(*e.a);
      return truth(v) ? eval(*e.b) : v;
    }
    case Expr::or_: {
      Value v = eval(*e.a);
      return truth(v) ? v : eval(*e.b);
    }
    case Expr::choice:
      if (truth(eval(*e.b))) return eval(*e.a);
      return e.items[0] ? eval(*e.items[0])
                        : Value::undefined("an 'if' without 'else' has no value here");
    case Expr::binary:
      return eval_binary(e);
    case Expr::compare:
      return eval_compare(e);
    case Expr::concat:
      return eval_concat(e);
    case Expr::member:
      fail("a member of a namespace cannot be read so");
  }
  return {};
}

Value Renderer::eval_name(const Expr& e) {
  for (const Scope* s = scope_.get(); s; s = s->parent.get())
    for (const auto& [key, value] : s->all)
      if (key == e.word) return value;
  for (const Value* v : {&own_, &context_})
    if (v->dict())
      if (const Value* found = v->dict()->find(e.word)) return *found;
  Value global = find_global(e.word);
  return global.is_undefined() ? Value::undefined(str("'", e.word, "' is undefined")) : global;
}

Value Renderer::eval_list(const Expr& e) {
  std::vector<Value> all;
  all.reserve(e.items.size());
  for (const ExprPtr& item : e.items) all.push_back(eval(*item));
  return make_list(std::move(all), meter_, e.kind == Expr::list ? List::list : List::tuple);
}

Value Renderer::eval_dict(const Expr& e) {
  Dict out;
  for (size_t i = 0; i + 1 < e.items.size(); i += 2) {
    Value key = eval(*e.items[i]);
    out.set(std::move(key), eval(*e.items[i + 1]), meter_);
  }
  return make_dict(std::move(out), meter_);
}

Value Renderer::eval_item(const Expr& e) {
  const Value v = eval(*e.a);
  if (e.b->kind != Expr::slice) {
    const Value key = eval(*e.b);
    at_ = e.at;
    return get_item(v, key, meter_);
  }
  Value part[3];
  for (size_t i = 0; i < 3; ++i) part[i] = e.b->items[i] ? eval(*e.b->items[i]) : Value(None{});
  at_ = e.at;
  return get_slice(v, part[0], part[1], part[2], meter_);
}

Args Renderer::eval_arguments(const Expr& e) {
  Args args;
  args.all.reserve(e.items.size());
  for (const ExprPtr& item : e.items) args.all.push_back(eval(*item));
  if (e.star)
    for (Value& v : items_of(eval(*e.star), meter_)) args.all.push_back(std::move(v));
  for (const auto& [key, value] : e.named) args.named.emplace_back(key, eval(*value));
  if (e.star_star) {
    const Value more = eval(*e.star_star);
    if (!more.dict()) fail(str("'**' needs a mapping, not a ", type_name(more)));
    for (const auto& [key, value] : more.dict()->all) {
      if (!key.text()) fail("'**' needs a mapping with strings as keys");
      args.named.emplace_back(key.text()->bytes(), value);
    }
  }
  return args;
}

Value Renderer::eval_call(const Expr& e, const Value* caller) {
  Value result;
  if (e.a->kind == Expr::attribute) {  // a method, called without making an object of it
    const Value self = eval(*e.a->a);
    at_ = e.a->at;
    if (find_method(self, e.a->word) == Method::here && !caller) {
      Args args = eval_arguments(e);
      at_ = e.at;
      return call_method({e.a->word, self, std::move(args), meter_});
    }
    result = get_attribute(self, e.a->word, meter_);
  } else {
    result = eval(*e.a);
  }
  Args args = eval_arguments(e);
  if (caller) args.named.emplace_back("caller", *caller);
  at_ = e.at;
  return call(result, std::move(args));
}

Value Renderer::call(const Value& callee, Args args) {
  need_defined(callee);
  const ObjectPtr object = callee.object();
  if (auto* macro = dynamic_cast<Macro*>(object.get())) return call_macro(*macro, std::move(args));
  if (auto* loop = dynamic_cast<Loop*>(object.get())) return call_loop(*loop, std::move(args));
  auto* function = dynamic_cast<Function*>(object.get());
  if (!function) fail(str("a ", type_name(callee), " cannot be called"));
  Value result = function->call(std::move(args), meter_);
  if (auto made = std::dynamic_pointer_cast<Namespace>(result.object()))
    namespaces_.push_back(std::move(made));
  return result;
}

Value Renderer::eval_filter(const Expr& e) {
  Value self = e.a ? eval(*e.a) : head_;
  Args args = eval_arguments(e);
  at_ = e.at;
  return call_filter({e.word, std::move(self), std::move(args), meter_});
}

Value Renderer::eval_test(const Expr& e) {
  Value self = eval(*e.a);
  Args args = eval_arguments(e);
  at_ = e.at;
  return call_test({e.word, std::move(self), std::move(args), meter_});
}

Value Renderer::eval_binary(const Expr& e) {
  const Value a = eval(*e.a), b = eval(*e.b);
  at_ = e.at;
  return binary(e.word, a, b, meter_);
}

Value Renderer::eval_compare(const Expr& e) {
  Value left = eval(*e.a);
  for (size_t i = 0; i < e.words.size(); ++i) {
    Value right = eval(*e.items[i]);
    at_ = e.at;
    if (!compare(e.words[i], left, right, meter_)) return false;
    left = std::move(right);
  }
  return true;
}

Value Renderer::eval_concat(const Expr& e) {
  MarkedText out;
  for (const ExprPtr& item : e.items) {
    const Value v = eval(*item);
    at_ = e.at;
    if (!v.text()) {
      out.append(to_text(v, meter_));
      continue;
    }
    meter_.make(v.text()->size());
    meter_.check(out.size() + v.text()->size());
    out.append(*v.text());
  }
  return out;
}

Value Macro::attribute(std::string_view name) {
  if (name == "name") return Value::text(def->word);
  return {};
}

void Renderer::bind_parameters(const Stmt& def, Scope& scope, Args& args) {
  const size_t count = def.parameters.size();
  if (args.all.size() > count && !def.takes_args)
    fail(str("the macro '", def.word, "' takes at most ", count, " arguments"));
  for (size_t i = 0; i < count; ++i) {
    const auto& [name, otherwise] = def.parameters[i];
    if (i < args.all.size()) {
      scope.set(name->word, args.all[i]);
      continue;
    }
    auto named = std::find_if(args.named.begin(), args.named.end(),
                              [&](const auto& a) { return a.first == name->word; });
    if (named != args.named.end()) {
      scope.set(name->word, std::move(named->second));
      args.named.erase(named);
    } else if (otherwise) {
      scope.set(name->word, eval(*otherwise));
    } else {
      scope.set(name->word, Value::undefined(str("parameter '", name->word, "' was not provided")));
    }
  }
}

Value Renderer::call_macro(const Macro& macro, Args args) {
  const Stmt& def = *macro.def;
  Meter::Deeper deeper(meter_);
  auto scope = std::make_shared<Scope>(macro.scope);
  const ScopePtr before = std::exchange(scope_, scope);
  MarkedText out;
  MarkedText* const out_before = std::exchange(out_, &out);
  struct Back {
    Renderer& r;
    const ScopePtr& scope;
    MarkedText* out;
    ~Back() { r.scope_ = scope, r.out_ = out; }
  } back{*this, before, out_before};
  bind_parameters(def, *scope, args);
  if (def.takes_caller) {
    auto caller = std::find_if(args.named.begin(), args.named.end(),
                               [](const auto& a) { return a.first == "caller"; });
    scope->set("caller", caller == args.named.end() ? Value::undefined("there is no caller")
                                                    : caller->second);
    if (caller != args.named.end()) args.named.erase(caller);
  }
  if (def.takes_named) {
    Dict named;
    for (auto& [key, value] : args.named) named.set(Value::text(key), std::move(value), meter_);
    scope->set("kwargs", make_dict(std::move(named), meter_));
  } else if (!args.named.empty()) {
    fail(str("the macro '", def.word, "' has no argument '", args.named[0].first, "'"));
  }
  if (def.takes_args) {
    std::vector<Value> rest;
    for (size_t i = def.parameters.size(); i < args.all.size(); ++i) rest.push_back(args.all[i]);
    scope->set("varargs", make_list(std::move(rest), meter_, List::tuple));
  }
  exec(def.body);
  return out;
}

Value Renderer::call_loop(Loop& loop, Args args) {
  if (!loop.outer) fail("only a loop with 'recursive' can be called");
  if (args.all.size() != 1 || !args.named.empty()) fail("loop() takes one list");
  MarkedText out;
  MarkedText* const before = std::exchange(out_, &out);
  struct Back {
    MarkedText*& place;
    MarkedText* before;
    ~Back() { place = before; }
  } back{out_, before};
  exec_for(*loop.def, args.all[0], loop.outer, loop.depth0 + 1);
  return out;
}

}  // namespace wellspring::jinja
