#include "text/template/parser.h"

#include <algorithm>

#include "base/text.h"

namespace wellspring::jinja {

Parser::Deeper::Deeper(Parser& p) : parser(p) {
  if (++p.depth_ > 3 * kSyntaxDepth) {
    --p.depth_;
    p.fault(str("nested more than ", kSyntaxDepth, " levels deep"));
  }
}

bool Parser::take_name(std::string_view word) {
  if (!is_name(word)) return false;
  ++at_;
  return true;
}

bool Parser::take_sign(std::string_view sign) {
  if (!is_sign(sign)) return false;
  ++at_;
  return true;
}

void Parser::unexpected(std::string_view wanted) const {
  std::string found;
  switch (now().kind) {
    case Token::name:
    case Token::sign:
      found = str("'", now().word, "'");
      break;
    case Token::text:
      found = "a string";
      break;
    case Token::integer:
    case Token::real:
      found = "a number";
      break;
    case Token::end_print:
      found = "'}}'";
      break;
    case Token::end_block:
      found = "'%}'";
      break;
    default:
      found = "the end of the template";
      break;
  }
  fault(str("expected ", wanted, ", found ", found));
}

void Parser::need_sign(std::string_view sign) {
  if (!take_sign(sign)) unexpected(str("'", sign, "'"));
}

std::string Parser::need_name() {
  if (now().kind != Token::name) unexpected("a name");
  return tokens_[at_++].word;
}

ExprPtr Parser::make(Expr::Kind kind, Place at, ExprPtr a, ExprPtr b) {
  auto e = std::make_unique<Expr>();
  e->kind = kind;
  e->at = at;
  e->a = std::move(a);
  e->b = std::move(b);
  return done(std::move(e));
}

ExprPtr Parser::done(ExprPtr e) const {
  auto see = [&](const ExprPtr& child) {
    if (child) e->depth = std::max(e->depth, child->depth + 1);
  };
  see(e->a), see(e->b), see(e->star), see(e->star_star);
  for (const auto& item : e->items) see(item);
  for (const auto& [key, value] : e->named) see(value);
  if (e->depth > kSyntaxDepth) fault(str("nested more than ", kSyntaxDepth, " levels deep"));
  return e;
}

ExprPtr Parser::expression(bool choice) {
  Deeper deeper(*this);
  const Place at = now().at;
  ExprPtr e = or_();
  while (choice && take_name("if")) {
    ++soft_;
    ExprPtr condition = or_();
    ExprPtr all = make(Expr::choice, at, std::move(e), std::move(condition));
    all->items.push_back(take_name("else") ? expression() : nullptr);
    --soft_;
    e = done(std::move(all));
  }
  return e;
}

ExprPtr Parser::or_() {
  ExprPtr e = and_();
  while (is_name("or")) {
    const Place at = tokens_[at_++].at;
    e = make(Expr::or_, at, std::move(e), and_());
  }
  return e;
}

ExprPtr Parser::and_() {
  ExprPtr e = not_();
  while (is_name("and")) {
    const Place at = tokens_[at_++].at;
    e = make(Expr::and_, at, std::move(e), not_());
  }
  return e;
}

ExprPtr Parser::not_() {
  if (!is_name("not")) return compare();
  Deeper deeper(*this);
  const Place at = tokens_[at_++].at;
  return make(Expr::not_, at, not_());
}

ExprPtr Parser::compare() {
  ExprPtr e = sum();
  ExprPtr all;
  for (;;) {
    std::string word;
    if (now().kind == Token::sign) {
      for (std::string_view sign : {"==", "!=", "<", "<=", ">", ">="})
        if (now().word == sign) word = sign;
    } else if (is_name("in")) {
      word = "in";
    } else if (is_name("not") && ahead().kind == Token::name && ahead().word == "in") {
      ++at_;
      word = "not in";
    }
    if (word.empty()) return all ? done(std::move(all)) : std::move(e);
    if (!all) all = make(Expr::compare, now().at, std::move(e));
    ++at_;
    all->words.push_back(word);
    all->items.push_back(sum());
  }
}

ExprPtr Parser::sum() {
  ExprPtr e = concat();
  while (is_sign("+") || is_sign("-")) {
    const Token& t = tokens_[at_++];
    ExprPtr all = make(Expr::binary, t.at, std::move(e), concat());
    all->word = t.word;
    e = std::move(all);
  }
  return e;
}

ExprPtr Parser::concat() {
  ExprPtr e = product();
  if (!is_sign("~")) return e;
  ExprPtr all = make(Expr::concat, now().at);
  all->items.push_back(std::move(e));
  while (take_sign("~")) all->items.push_back(product());
  return done(std::move(all));
}

ExprPtr Parser::product() {
  ExprPtr e = power();
  while (is_sign("*") || is_sign("/") || is_sign("//") || is_sign("%")) {
    const Token& t = tokens_[at_++];
    ExprPtr all = make(Expr::binary, t.at, std::move(e), power());
    all->word = t.word;
    e = std::move(all);
  }
  return e;
}

ExprPtr Parser::power() {
  ExprPtr e = unary();
  while (is_sign("**")) {
    const Token& t = tokens_[at_++];
    ExprPtr all = make(Expr::binary, t.at, std::move(e), unary());
    all->word = t.word;
    e = std::move(all);
  }
  return e;
}

ExprPtr Parser::unary(bool with_filters) {
  Deeper deeper(*this);
  ExprPtr e;
  if (is_sign("-") || is_sign("+")) {
    const Token& t = tokens_[at_++];
    e = make(t.word == "-" ? Expr::minus : Expr::plus, t.at, unary(false));
  } else {
    e = primary();
  }
  e = postfix(std::move(e));
  return with_filters ? filters(std::move(e)) : std::move(e);
}

ExprPtr Parser::name_or_constant(bool assign) {
  const Token& t = tokens_[at_++];
  ExprPtr e = make(Expr::constant, t.at);
  if (t.word == "true" || t.word == "True") {
    e->value = true;
  } else if (t.word == "false" || t.word == "False") {
    e->value = false;
  } else if (t.word == "none" || t.word == "None") {
    e->value = None{};
  } else if (assign && is_sign(".")) {
    ++at_;
    e->kind = Expr::member;
    e->word = t.word;
    e->words.push_back(need_name());
    out_.names.insert(t.word);
  } else {
    e->kind = Expr::name;
    e->word = t.word;
    if (!assign) out_.names.insert(t.word);
    for (Stmt* m : macros_) {
      m->takes_caller |= t.word == "caller";
      m->takes_args |= t.word == "varargs";
      m->takes_named |= t.word == "kwargs";
    }
  }
  return e;
}

ExprPtr Parser::primary(bool assign) {
  const Token& t = now();
  if (t.kind == Token::name) return name_or_constant(assign);
  if (t.kind == Token::sign) {
    if (t.word == "[") return list();
    if (t.word == "{") return dict();
    if (t.word != "(") unexpected("an expression");
    ++at_;
    ExprPtr e = tuple(true, "", true);
    need_sign(")");
    return e;
  }
  ExprPtr e = make(Expr::constant, t.at);
  if (t.kind == Token::text) {
    std::string all;
    while (now().kind == Token::text) all += tokens_[at_++].word;
    e->value = MarkedText(std::move(all));
    return e;
  }
  if (t.kind == Token::integer)
    e->value = t.whole;
  else if (t.kind == Token::real)
    e->value = t.number;
  else
    unexpected("an expression");
  ++at_;
  return e;
}

ExprPtr Parser::tuple(bool choice, std::string_view end, bool parentheses, bool assign) {
  Deeper deeper(*this);
  const Place at = now().at;
  std::vector<ExprPtr> all;
  bool comma = false;
  for (;;) {
    if (!all.empty()) need_sign(",");
    const Token::Kind kind = now().kind;
    if (kind == Token::end_print || kind == Token::end_block || is_sign(")") ||
        (!end.empty() && is_name(end)))
      break;
    all.push_back(assign ? primary(true) : expression(choice));
    if (!is_sign(",")) break;
    comma = true;
  }
  if (!comma && !all.empty()) return std::move(all[0]);
  if (!comma && !parentheses) unexpected("an expression");
  ExprPtr e = make(Expr::tuple, at);
  e->items = std::move(all);
  return done(std::move(e));
}

ExprPtr Parser::list() {
  ExprPtr e = make(Expr::list, now().at);
  need_sign("[");
  while (!is_sign("]")) {
    if (!e->items.empty()) need_sign(",");
    if (is_sign("]")) break;
    e->items.push_back(expression());
  }
  need_sign("]");
  return done(std::move(e));
}

ExprPtr Parser::dict() {
  ExprPtr e = make(Expr::dict, now().at);
  need_sign("{");
  while (!is_sign("}")) {
    if (!e->items.empty()) need_sign(",");
    if (is_sign("}")) break;
    e->items.push_back(expression());
    need_sign(":");
    e->items.push_back(expression());
  }
  need_sign("}");
  return done(std::move(e));
}

ExprPtr Parser::postfix(ExprPtr e) {
  for (;;) {
    if (is_sign(".") || is_sign("["))
      e = subscript(std::move(e));
    else if (is_sign("("))
      e = call(std::move(e));
    else
      return e;
  }
}

ExprPtr Parser::filters(ExprPtr e) {
  for (;;) {
    if (is_sign("|")) {
      ++at_;
      e = filter(std::move(e));
    } else if (is_name("is")) {
      e = test(std::move(e));
    } else if (is_sign("(")) {
      e = call(std::move(e));
    } else {
      return e;
    }
  }
}

ExprPtr Parser::filter(ExprPtr of) {
  ExprPtr e = make(Expr::filter, now().at, std::move(of));
  e->word = need_name();
  while (take_sign(".")) e->word += "." + need_name();
  if (!soft_ && !filter_exists(e->word))
    throw SyntaxFault{str("there is no filter '", e->word, "' here"), e->at};
  if (is_sign("(")) arguments(*e);
  return done(std::move(e));
}

ExprPtr Parser::test(ExprPtr of) {
  const Place at = tokens_[at_++].at;
  const bool negated = take_name("not");
  ExprPtr e = make(Expr::test, now().at, std::move(of));
  e->word = need_name();
  while (take_sign(".")) e->word += "." + need_name();
  if (!soft_ && !test_exists(e->word))
    throw SyntaxFault{str("there is no test '", e->word, "' here"), e->at};
  const Token& t = now();
  const bool sign = is_sign("[") || is_sign("{");
  if (is_sign("(")) {
    arguments(*e);
  } else if (sign || t.kind == Token::text || t.kind == Token::integer || t.kind == Token::real ||
             (t.kind == Token::name && !is_name("else") && !is_name("or") && !is_name("and"))) {
    if (is_name("is")) fault("several tests with 'is' in a row: put 'and' between them");
    e->items.push_back(postfix(primary()));
  }
  e = done(std::move(e));
  return negated ? make(Expr::not_, at, std::move(e)) : std::move(e);
}

ExprPtr Parser::subscript(ExprPtr of) {
  const Token& t = tokens_[at_++];
  if (t.word == ".") {
    const Token& word = tokens_[at_++];
    if (word.kind == Token::name) {
      ExprPtr e = make(Expr::attribute, t.at, std::move(of));
      e->word = word.word;
      return e;
    }
    if (word.kind != Token::integer)
      throw SyntaxFault{"expected a name or a number behind '.'", word.at};
    ExprPtr index = make(Expr::constant, word.at);
    index->value = word.whole;
    return make(Expr::item, t.at, std::move(of), std::move(index));
  }
  std::vector<ExprPtr> all;
  while (!is_sign("]")) {
    if (!all.empty()) need_sign(",");
    all.push_back(subscribed());
  }
  need_sign("]");
  if (all.size() == 1) return make(Expr::item, t.at, std::move(of), std::move(all[0]));
  ExprPtr index = make(Expr::tuple, t.at);
  index->items = std::move(all);
  return make(Expr::item, t.at, std::move(of), done(std::move(index)));
}

ExprPtr Parser::subscribed() {
  ExprPtr begin;
  const Place at = now().at;
  if (!is_sign(":")) {
    begin = expression();
    if (!is_sign(":")) return begin;
  }
  need_sign(":");
  auto part = [&]() -> ExprPtr {
    if (is_sign(":") || is_sign("]") || is_sign(",")) return nullptr;
    return expression();
  };
  ExprPtr e = make(Expr::slice, at);
  e->items.push_back(std::move(begin));
  e->items.push_back(part());
  e->items.push_back(take_sign(":") ? part() : nullptr);
  return done(std::move(e));
}

ExprPtr Parser::call(ExprPtr of) {
  ExprPtr e = make(Expr::call, now().at, std::move(of));
  arguments(*e);
  return done(std::move(e));
}

void Parser::arguments(Expr& e) {
  need_sign("(");
  bool first = true;
  while (!is_sign(")")) {
    if (!first) {
      need_sign(",");
      if (is_sign(")")) break;
    }
    first = false;
    const bool by_name =
        now().kind == Token::name && ahead().kind == Token::sign && ahead().word == "=";
    if (e.star_star || (!is_sign("**") && !by_name && (e.star || !e.named.empty())))
      fault("arguments by place stand before those by name, '*' and '**' last");
    if (take_sign("*")) {
      e.star = expression();
    } else if (take_sign("**")) {
      e.star_star = expression();
    } else if (by_name) {
      std::string key = need_name();
      ++at_;
      e.named.emplace_back(std::move(key), expression());
    } else {
      e.items.push_back(expression());
    }
  }
  need_sign(")");
}

}  // namespace wellspring::jinja
