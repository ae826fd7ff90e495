#pragma once
// The parts that all JSON grammars are drawn of: blanks, texts, names, values. Internal to this
// folder. Not thread-safe.

#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "text/grammar/grammar.h"
#include "text/grammar/schema_shape.h"

namespace wellspring::grammar {

class JsonParts {
 public:
  JsonParts(Builder& builder, JsonBlanks blanks) : builder_(builder), blanks_(blanks) {}

  /// Blanks inside brackets.
  void gap(Draft& d, int from, int to);
  /// A comma and the blanks after it.
  void comma(Draft& d, int from, int to);
  /// A colon and the blanks after it.
  int colon(Draft& d, int from);
  /// What stands before an element: blanks for the first one, else a comma.
  int separated(Draft& d, int from, bool first);
  /// min to max further elements with commas, then blanks, then `close`.
  void more(Draft& d, int from, int close, uint32_t min, uint32_t max,
            const std::function<void(Draft&, int, int)>& element);
  /// One value exactly; objects with their names in its order.
  int value(Draft& d, int from, const Json& value);

  /// A text of min to max characters.
  int string_rule(uint32_t min, uint32_t max);
  int number_rule(bool fractions);
  /// A name of an object that is none of `except`.
  int key_rule(const std::vector<std::string>& except);

 private:
  int line_rule();
  Builder& builder_;
  JsonBlanks blanks_;
  int line_ = -1, numbers_[2] = {-1, -1};
  std::map<std::pair<uint32_t, uint32_t>, int> strings_;
  std::map<std::vector<std::string>, int> keys_;
};

}  // namespace wellspring::grammar
