#pragma once
// The tree of a template. Inside of text/template.

#include <memory>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/template/lexer.h"

namespace wellspring::jinja {

constexpr int kSyntaxDepth = 200;  // nodes inside one another

struct Expr;
using ExprPtr = std::unique_ptr<Expr>;

struct Expr {
  enum Kind {
    constant,   // value
    name,       // word
    list,       // items
    tuple,      // items
    dict,       // items: key, value, key, value ...
    attribute,  // a.word
    item,       // a[b]
    slice,      // items: begin, end, step; null where left out
    call,       // a(...)
    filter,     // a | word(...); a is null at the head of a filter block
    test,       // a is word(...)
    not_,
    minus,
    plus,
    and_,
    or_,
    choice,   // a if b else items[0]
    binary,   // a word b
    compare,  // a words[0] items[0] words[1] items[1] ...
    concat,   // items
    member    // word.words[0], a place of a namespace to assign to
  };
  Kind kind = constant;
  Place at;
  int depth = 1;
  std::string word;
  Value value;
  ExprPtr a, b;
  std::vector<ExprPtr> items;
  std::vector<std::string> words;
  // Of calls, filters and tests; `items` are the arguments by place.
  std::vector<std::pair<std::string, ExprPtr>> named;
  ExprPtr star, star_star;
};

struct Stmt;
using StmtPtr = std::unique_ptr<Stmt>;
using Body = std::vector<StmtPtr>;

struct Stmt {
  enum Kind {
    text,          // value
    print,         // a
    if_,           // a, body, orelse
    for_,          // target in a if b; body, orelse
    set,           // target = a
    set_block,     // target, body, a: filters of it, or null
    macro,         // word, parameters, body
    call_block,    // a: a call, parameters, body
    filter_block,  // a: filters, body
    with,          // parameters, body
    scope,         // body
    break_,
    continue_
  };
  Kind kind = text;
  Place at;
  std::string word;
  Value value;
  ExprPtr target, a, b;
  Body body, orelse;
  /// Names with defaults (macro; may be null) or values (with).
  std::vector<std::pair<ExprPtr, ExprPtr>> parameters;
  bool recursive = false;                                              // for
  bool takes_caller = false, takes_args = false, takes_named = false;  // macro
};

struct Syntax {
  Body body;
  std::set<std::string, std::less<>> names;  // that are read somewhere
};

/// Throws SyntaxFault.
Syntax parse_template(std::string_view source);

/// What exists: filters_*.cpp, is_tests.cpp.
bool filter_exists(std::string_view name);
bool test_exists(std::string_view name);

}  // namespace wellspring::jinja
