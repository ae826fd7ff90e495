#include <algorithm>

#include "base/text.h"
#include "text/template/parser.h"

namespace wellspring::jinja {

Syntax Parser::run() {
  out_.body = body({});
  if (now().kind != Token::end) unexpected("the end of the template");
  return std::move(out_);
}

Syntax parse_template(std::string_view source) { return Parser(tokens_of(source)).run(); }

StmtPtr Parser::new_stmt(Stmt::Kind kind) const {
  auto s = std::make_unique<Stmt>();
  s->kind = kind;
  s->at = now().at;
  return s;
}

void Parser::need_end_block() {
  if (now().kind != Token::end_block) unexpected("'%}'");
  ++at_;
}

// Up to "{% END", which is taken up to END; with no ends, up to the end of the template.
Body Parser::body(std::initializer_list<std::string_view> ends) {
  Deeper deeper(*this);
  Body all;
  for (;;) {
    const Token& t = now();
    if (t.kind == Token::data) {
      all.push_back(new_stmt(Stmt::text));
      all.back()->value = MarkedText(tokens_[at_++].word);
    } else if (t.kind == Token::begin_print) {
      ++at_;
      all.push_back(new_stmt(Stmt::print));
      all.back()->a = tuple(true);
      if (now().kind != Token::end_print) unexpected("'}}'");
      ++at_;
    } else if (t.kind == Token::begin_block) {
      ++at_;
      if (now().kind == Token::name &&
          std::find(ends.begin(), ends.end(), now().word) != ends.end())
        return all;
      if (StmtPtr s = statement()) all.push_back(std::move(s));
      need_end_block();
    } else {
      if (ends.size() == 0) return all;
      fault(str("the template ends inside '", open_.empty() ? "" : open_.back(), "': '{% ",
                *std::prev(ends.end()), " %}' is missing"));
    }
  }
}

StmtPtr Parser::statement() {
  if (now().kind != Token::name) unexpected("the name of a tag");
  const std::string word = now().word;
  const Place at = now().at;
  open_.push_back(word);
  StmtPtr s;
  if (word == "for")
    s = for_();
  else if (word == "if")
    s = if_();
  else if (word == "set")
    s = set();
  else if (word == "with")
    s = with();
  else if (word == "macro" || word == "call")
    s = macro(word == "call");
  else if (word == "filter")
    s = filter_block();
  else if (word == "generation")
    ++at_, s = block(Stmt::scope, "endgeneration", at);
  else if (word == "print") {
    ++at_;
    s = new_stmt(Stmt::print);
    s->a = make(Expr::concat, at);
    do s->a->items.push_back(expression());
    while (take_sign(","));
    s->a = done(std::move(s->a));
  } else if (word == "break" || word == "continue") {
    if (!loops_) fault(str("'", word, "' outside of a loop"));
    s = new_stmt(word == "break" ? Stmt::break_ : Stmt::continue_);
    ++at_;
  } else if (word == "include" || word == "import" || word == "extends" || word == "from" ||
             word == "block" || word == "autoescape") {
    fault(str("'", word, "' has no use in a chat template and is not supported"));
  } else {
    open_.pop_back();
    fault(str("there is no tag '", word, "'",
              open_.empty() ? std::string() : str(" here, inside '", open_.back(), "'")));
  }
  open_.pop_back();
  return s;
}

ExprPtr Parser::target(std::string_view end, bool members) {
  ExprPtr e = tuple(false, end, false, true);
  auto check = [&](const Expr& t, auto& self) -> void {
    if (t.kind == Expr::tuple) {
      for (const auto& item : t.items) self(*item, self);
    } else if (t.kind != Expr::name && !(members && t.kind == Expr::member)) {
      throw SyntaxFault{"nothing can be assigned to this: expected a name", t.at};
    }
  };
  check(*e, check);
  return e;
}

StmtPtr Parser::for_() {
  StmtPtr s = new_stmt(Stmt::for_);
  ++at_;
  s->target = target("in");
  if (!take_name("in")) unexpected("'in'");
  s->a = tuple(false, "recursive");
  if (take_name("if")) s->b = expression();
  s->recursive = take_name("recursive");
  take_sign(":");
  need_end_block();
  ++loops_;
  s->body = body({"else", "endfor"});
  --loops_;
  if (take_name("else")) {
    take_sign(":");
    need_end_block();
    s->orelse = body({"endfor"});
  }
  ++at_;
  return s;
}

StmtPtr Parser::if_() {
  StmtPtr first;
  Stmt* last = nullptr;
  ++soft_;
  while (true) {
    StmtPtr s = new_stmt(Stmt::if_);
    ++at_;
    s->a = tuple(false);
    take_sign(":");
    need_end_block();
    s->body = body({"elif", "else", "endif"});
    Stmt* here = s.get();
    // A long chain of elif is a list, not a tree: each is the next one's neighbour.
    if (!first)
      first = std::move(s);
    else
      last->orelse.push_back(std::move(s));
    last = first.get();
    if (is_name("elif")) continue;
    if (take_name("else")) {
      take_sign(":");
      need_end_block();
      StmtPtr rest = std::make_unique<Stmt>();
      rest->kind = Stmt::if_;  // without a condition: the last choice
      rest->at = here->at;
      rest->body = body({"endif"});
      first->orelse.push_back(std::move(rest));
    }
    ++at_;
    --soft_;
    return first;
  }
}

StmtPtr Parser::set() {
  StmtPtr s = new_stmt(Stmt::set);
  ++at_;
  s->target = target("", true);
  if (take_sign("=")) {
    s->a = tuple(true);
    return s;
  }
  s->kind = Stmt::set_block;
  while (take_sign("|")) s->a = filter(std::move(s->a));
  take_sign(":");
  need_end_block();
  s->body = body({"endset"});
  ++at_;
  return s;
}

StmtPtr Parser::with() {
  StmtPtr s = new_stmt(Stmt::with);
  ++at_;
  while (now().kind != Token::end_block && !is_sign(":")) {
    if (!s->parameters.empty()) need_sign(",");
    ExprPtr to = target();
    need_sign("=");
    s->parameters.emplace_back(std::move(to), expression());
  }
  take_sign(":");
  need_end_block();
  s->body = body({"endwith"});
  ++at_;
  return s;
}

void Parser::signature(Stmt& s) {
  need_sign("(");
  while (!is_sign(")")) {
    if (!s.parameters.empty()) need_sign(",");
    ExprPtr name = make(Expr::name, now().at);
    name->word = need_name();
    ExprPtr otherwise;
    if (take_sign("="))
      otherwise = expression();
    else if (!s.parameters.empty() && s.parameters.back().second)
      fault("a parameter without a default stands behind one with a default");
    s.parameters.emplace_back(std::move(name), std::move(otherwise));
  }
  need_sign(")");
}

StmtPtr Parser::macro(bool call_block) {
  StmtPtr s = new_stmt(call_block ? Stmt::call_block : Stmt::macro);
  ++at_;
  if (!call_block) s->word = need_name();
  if (!call_block || is_sign("(")) signature(*s);
  if (call_block) {
    s->a = expression();
    if (s->a->kind != Expr::call) throw SyntaxFault{"expected the call of a macro", s->at};
  }
  take_sign(":");
  need_end_block();
  macros_.push_back(s.get());
  const int loops = std::exchange(loops_, 0);
  s->body = body({call_block ? "endcall" : "endmacro"});
  loops_ = loops;
  macros_.pop_back();
  ++at_;
  return s;
}

StmtPtr Parser::filter_block() {
  StmtPtr s = new_stmt(Stmt::filter_block);
  ++at_;
  s->a = filter(nullptr);
  while (take_sign("|")) s->a = filter(std::move(s->a));
  take_sign(":");
  need_end_block();
  s->body = body({"endfilter"});
  ++at_;
  return s;
}

StmtPtr Parser::block(Stmt::Kind kind, std::string_view end, Place at) {
  StmtPtr s = new_stmt(kind);
  s->at = at;
  take_sign(":");
  need_end_block();
  const int loops = std::exchange(loops_, 0);
  s->body = body({end});
  loops_ = loops;
  ++at_;
  return s;
}

}  // namespace wellspring::jinja
