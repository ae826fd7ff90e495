#include "text/template/render.h"

#include <algorithm>

#include "base/text.h"

namespace wellspring::jinja {

Value* Scope::find(std::string_view name) {
  for (auto& [key, value] : all)
    if (key == name) return &value;
  return nullptr;
}

void Scope::set(std::string_view name, Value value) {
  if (Value* old = find(name))
    *old = std::move(value);
  else
    all.emplace_back(name, std::move(value));
}

// Makes a scope the current one for a while.
struct Renderer::InScope {
  InScope(Renderer& r, ScopePtr scope)
      : renderer(r), before(std::exchange(r.scope_, std::move(scope))) {}
  ~InScope() { renderer.scope_ = std::move(before); }
  Renderer& renderer;
  ScopePtr before;
};

Renderer::Renderer(const Syntax& syntax, Value context, Value own, Meter& meter)
    : syntax_(syntax),
      context_(std::move(context)),
      own_(std::move(own)),
      meter_(meter),
      scope_(std::make_shared<Scope>(nullptr)) {
  captured_.push_back(scope_);
}

Renderer::~Renderer() {
  for (const auto& n : namespaces_) std::exchange(n->all, {});
  for (const ScopePtr& s : captured_) std::exchange(s->all, {});
}

MarkedText Renderer::run() {
  MarkedText out;
  out_ = &out;
  exec(syntax_.body);
  return out;
}

void Renderer::put(const MarkedText& text) {
  meter_.make(text.size());
  meter_.check(out_->size() + text.size());
  out_->append(text);
}

Renderer::Flow Renderer::exec(const Body& body) {
  for (const StmtPtr& s : body)
    if (Flow flow = exec(*s); flow != Flow::go) return flow;
  return Flow::go;
}

Renderer::Flow Renderer::exec(const Stmt& s) {
  Meter::Deeper deeper(meter_);
  meter_.step();
  at_ = s.at;
  switch (s.kind) {
    case Stmt::text:
      put(*s.value.text());
      break;
    case Stmt::print: {
      const Value v = eval(*s.a);
      if (v.text())
        put(*v.text());
      else
        put(to_text(v, meter_));
      break;
    }
    case Stmt::if_:
      return exec_if(s);
    case Stmt::for_: {
      const Value all = eval(*s.a);
      at_ = s.at;
      return exec_for(s, all, scope_, 0);
    }
    case Stmt::set:
      assign(*s.target, eval(*s.a));
      break;
    case Stmt::set_block:
      return exec_set_block(s);
    case Stmt::macro:
      scope_->set(s.word, make_macro(s));
      break;
    case Stmt::call_block:
      return exec_call_block(s);
    case Stmt::filter_block:
      return exec_filter_block(s);
    case Stmt::with:
      return exec_with(s);
    case Stmt::scope:
      return exec_in_scope(s);
    case Stmt::break_:
      return Flow::break_;
    case Stmt::continue_:
      return Flow::continue_;
  }
  return Flow::go;
}

Renderer::Flow Renderer::exec_if(const Stmt& s) {
  if (truth(eval(*s.a))) return exec(s.body);
  for (const StmtPtr& other : s.orelse) {
    meter_.step();
    if (!other->a || truth(eval(*other->a))) return exec(other->body);
  }
  return Flow::go;
}

Renderer::Flow Renderer::exec_into(const Body& body, MarkedText* out) {
  InScope in(*this, std::make_shared<Scope>(scope_));
  struct Redirect {
    MarkedText*& place;
    MarkedText* before;
    ~Redirect() { place = before; }
  } redirect{out_, std::exchange(out_, out)};
  return exec(body);
}

Renderer::Flow Renderer::exec_set_block(const Stmt& s) {
  MarkedText text;
  if (Flow flow = exec_into(s.body, &text); flow != Flow::go) return flow;
  Value v = std::move(text);
  if (s.a) {
    head_ = std::move(v);
    v = eval(*s.a);
  }
  assign(*s.target, std::move(v));
  return Flow::go;
}

Renderer::Flow Renderer::exec_filter_block(const Stmt& s) {
  MarkedText text;
  if (Flow flow = exec_into(s.body, &text); flow != Flow::go) return flow;
  head_ = std::move(text);
  put(to_text(eval(*s.a), meter_));
  return Flow::go;
}

Renderer::Flow Renderer::exec_in_scope(const Stmt& s) {
  InScope in(*this, std::make_shared<Scope>(scope_));
  return exec(s.body);
}

Renderer::Flow Renderer::exec_with(const Stmt& s) {
  std::vector<Value> values;
  for (const auto& [name, value] : s.parameters) values.push_back(eval(*value));
  InScope in(*this, std::make_shared<Scope>(scope_));
  for (size_t i = 0; i < values.size(); ++i) assign(*s.parameters[i].first, std::move(values[i]));
  return exec(s.body);
}

Value Renderer::make_macro(const Stmt& s) {
  auto macro = std::make_shared<Macro>();
  macro->def = &s;
  macro->scope = scope_;
  if (captured_.back() != scope_) captured_.push_back(scope_);
  meter_.items(4);
  return ObjectPtr(std::move(macro));
}

Renderer::Flow Renderer::exec_call_block(const Stmt& s) {
  const Value caller = make_macro(s);
  put(to_text(eval_call(*s.a, &caller), meter_));
  return Flow::go;
}

void Renderer::assign(const Expr& target, Value value) {
  if (target.kind == Expr::name) return scope_->set(target.word, std::move(value));
  if (target.kind == Expr::member) {
    const Value holder = eval_name(target);
    const ObjectPtr object = holder.object();
    auto* names = dynamic_cast<Namespace*>(object.get());
    if (!names)
      fail(str("'", target.word, ".", target.words[0], " = ...' needs a namespace, not a ",
               type_name(holder)));
    if (target.words[0].starts_with('_')) fail("a namespace takes no names that begin with '_'");
    names->all[target.words[0]] = std::move(value);
    return;
  }
  need_defined(value);
  std::vector<Value> all = items_of(value, meter_);
  if (all.size() != target.items.size())
    fail(str(all.size(), " values for ", target.items.size(), " names"));
  for (size_t i = 0; i < all.size(); ++i) assign(*target.items[i], std::move(all[i]));
}

Renderer::Flow Renderer::exec_for(const Stmt& s, const Value& all, const ScopePtr& outer,
                                  int depth0) {
  auto loop = std::make_shared<Loop>();
  loop->all = items_of(all, meter_);
  loop->depth0 = depth0;
  loop->depth = nest_depth(all) + 1;
  check_nest(loop->depth);
  if (s.b || s.recursive) {
    if (captured_.back() != outer) captured_.push_back(outer);
    loop->def = &s;
    if (s.recursive) loop->outer = outer;
  }
  if (s.b)
    loop->keep = [this, &s, outer](const Value& v) {
      InScope in(*this, std::make_shared<Scope>(outer));
      assign(*s.target, v);
      return truth(eval(*s.b));
    };
  return exec_rounds(s, loop, outer);
}

Renderer::Flow Renderer::exec_rounds(const Stmt& s, const std::shared_ptr<Loop>& loop,
                                     const ScopePtr& outer) {
  ScopePtr scope;
  bool completed = false;
  while (loop->advance()) {
    meter_.step();
    if (scope && scope.use_count() == 1)
      scope->all.clear();
    else
      scope = std::make_shared<Scope>(outer);
    InScope in(*this, scope);
    assign(*s.target, loop->current);
    scope->set("loop", ObjectPtr(loop));
    const Flow flow = exec(s.body);
    completed |= flow == Flow::go;
    if (flow == Flow::break_) break;
  }
  if (completed) return Flow::go;  // 'else' is for when no round came to its end, as in Jinja
  InScope in(*this, std::make_shared<Scope>(outer));
  return exec(s.orelse);
}

bool Loop::peek() {
  while (!has_ahead && next < all.size()) {
    Value v = all[next++];
    if (keep && !keep(v)) continue;
    ahead = std::move(v);
    has_ahead = true;
  }
  return has_ahead;
}

bool Loop::advance() {
  if (!peek()) return false;
  has_ahead = false;
  before = std::exchange(current, std::exchange(ahead, Value()));
  ++index0;
  return true;
}

Int Loop::total() {
  if (length >= 0) return length;
  if (!keep) return length = static_cast<Int>(all.size());
  std::vector<Value> rest;  // what is still to come, tried now
  for (; next < all.size(); ++next)
    if (keep(all[next])) rest.push_back(all[next]);
  all = std::move(rest);
  next = 0;
  keep = nullptr;
  return length = static_cast<Int>(all.size()) + index0 + 1 + has_ahead;
}

namespace {

struct LoopMethod final : Function {
  std::shared_ptr<Loop> loop;
  bool cycle = false;
  const char* type() const override { return "method"; }
  Value call(Args args, Meter& meter) override {
    if (cycle) {
      if (args.all.empty()) fail("loop.cycle() needs items");
      return args.all[static_cast<size_t>(loop->index0 % static_cast<Int>(args.all.size()))];
    }
    std::string now = representation(make_list(std::move(args.all), meter), meter).bytes();
    const bool changed = !std::exchange(loop->changed_once, true) || now != loop->changed_last;
    loop->changed_last = std::move(now);
    return changed;
  }
};

}  // namespace

Value Loop::attribute(std::string_view name) {
  if (name == "index") return index0 + 1;
  if (name == "index0") return index0;
  if (name == "first") return index0 == 0;
  if (name == "last") return !peek();
  if (name == "length") return total();
  if (name == "revindex") return total() - index0;
  if (name == "revindex0") return total() - index0 - 1;
  if (name == "depth") return Int(depth0 + 1);
  if (name == "depth0") return Int(depth0);
  if (name == "previtem")
    return index0 == 0 ? Value::undefined("there is no previous item") : before;
  if (name == "nextitem") return peek() ? ahead : Value::undefined("there is no next item");
  if (name != "cycle" && name != "changed") return Value();
  auto method = std::make_shared<LoopMethod>();
  method->loop = shared_from_this();
  method->cycle = name == "cycle";
  method->depth = depth + 1;
  check_nest(method->depth);
  return ObjectPtr(std::move(method));
}

}  // namespace wellspring::jinja
