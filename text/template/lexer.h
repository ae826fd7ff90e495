#pragma once
// The words of a template. Inside of text/template.

#include <string>
#include <string_view>
#include <vector>

#include "text/template/value.h"

namespace wellspring::jinja {

struct Place {
  uint32_t line = 1, column = 1;  // bytes, from 1
};

/// A fault in the template's text.
struct SyntaxFault {
  std::string message;
  Place at;
};

struct Token {
  enum Kind {
    data,
    begin_print,
    end_print,
    begin_block,
    end_block,
    name,
    text,
    integer,
    real,
    sign,
    end
  };
  Kind kind = end;
  std::string word;  // data, name, text (unescaped), sign
  Int whole = 0;
  double number = 0;
  Place at;
};

/// Ends with a token of kind `end`. Lines end with \n afterwards, tags eat white space as
/// trim_blocks and lstrip_blocks say, one newline at the very end is dropped. Throws SyntaxFault.
std::vector<Token> tokens_of(std::string_view source);

}  // namespace wellspring::jinja
