#pragma once
// Words to tree. Inside of text/template: expressions in parser.cpp, statements in
// parser_statements.cpp.

#include <initializer_list>

#include "text/template/syntax.h"

namespace wellspring::jinja {

class Parser {
 public:
  explicit Parser(std::vector<Token> tokens) : tokens_(std::move(tokens)) {}
  Syntax run();

 private:
  // Words.
  const Token& now() const { return tokens_[at_]; }
  const Token& ahead() const { return tokens_[std::min(at_ + 1, tokens_.size() - 1)]; }
  bool is_name(std::string_view word) const {
    return now().kind == Token::name && now().word == word;
  }
  bool is_sign(std::string_view sign) const {
    return now().kind == Token::sign && now().word == sign;
  }
  bool take_name(std::string_view word);
  bool take_sign(std::string_view sign);
  void need_sign(std::string_view sign);
  void need_end_block();
  std::string need_name();
  [[noreturn]] void fault(std::string message) const {
    throw SyntaxFault{std::move(message), now().at};
  }
  [[noreturn]] void unexpected(std::string_view wanted) const;

  // Expressions.
  struct Deeper {
    explicit Deeper(Parser& p);
    ~Deeper() { --parser.depth_; }
    Parser& parser;
  };
  ExprPtr make(Expr::Kind kind, Place at, ExprPtr a = nullptr, ExprPtr b = nullptr);
  ExprPtr done(ExprPtr e) const;  // once its children are in: checks the depth
  ExprPtr expression(bool choice = true);
  ExprPtr or_();
  ExprPtr and_();
  ExprPtr not_();
  ExprPtr compare();
  ExprPtr sum();
  ExprPtr concat();
  ExprPtr product();
  ExprPtr power();
  ExprPtr unary(bool filters = true);
  ExprPtr primary(bool assign = false);
  ExprPtr name_or_constant(bool assign);
  ExprPtr list();
  ExprPtr dict();
  ExprPtr postfix(ExprPtr e);
  ExprPtr filters(ExprPtr e);
  ExprPtr filter(ExprPtr e);
  ExprPtr test(ExprPtr e);
  ExprPtr subscript(ExprPtr e);
  ExprPtr subscribed();
  ExprPtr call(ExprPtr e);
  void arguments(Expr& e);
  // One expression, or a tuple of several; `end`: a name that ends it, too.
  ExprPtr tuple(bool choice, std::string_view end = "", bool parentheses = false,
                bool assign = false);
  ExprPtr target(std::string_view end = "", bool members = false);

  // Statements.
  Body body(std::initializer_list<std::string_view> ends);
  StmtPtr statement();
  StmtPtr for_();
  StmtPtr if_();
  StmtPtr set();
  StmtPtr with();
  StmtPtr macro(bool call_block);
  StmtPtr filter_block();
  StmtPtr block(Stmt::Kind kind, std::string_view end, Place at);
  StmtPtr new_stmt(Stmt::Kind kind) const;
  void signature(Stmt& s);

  std::vector<Token> tokens_;
  size_t at_ = 0;
  int depth_ = 0, loops_ = 0, soft_ = 0;  // soft: what may never run
  std::vector<Stmt*> macros_;             // around here
  std::vector<std::string> open_;         // statements around here
  Syntax out_;
};

}  // namespace wellspring::jinja
