#pragma once
// JSON schemas as shapes: a shape is a conjunction of constraints without alternatives, a schema a
// list of alternative shapes. Internal to this folder. Not thread-safe.

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/json_fwd.h"
#include "text/grammar/expression.h"
#include "text/grammar/grammar.h"
#include "text/grammar/number.h"

namespace wellspring::grammar {

/// Schemas that must all hold.
using Schemas = std::vector<const Json*>;

enum : unsigned {
  kNull = 1,
  kBoolean = 2,
  kObject = 4,
  kArray = 8,
  kString = 16,
  kInteger = 32,
  kFraction = 64,  ///< numbers that are not integers
  kAllTypes = 127
};

struct Constraint {
  std::string text, place;
  bool operator==(const Constraint& other) const { return text == other.text; }
};

struct Shape {
  unsigned types = kAllTypes;
  bool typed = false;   ///< a type was given
  unsigned hinted = 0;  ///< types that keywords speak of
  bool has_values = false;
  Schemas values;  ///< of enum and const
  std::vector<Constraint> patterns, formats;
  uint32_t min_length = 0, max_length = kUnbounded;
  std::optional<Bound> low, high;
  std::vector<const Json*> multiples;
  std::vector<Schemas> prefix;
  Schemas rest;
  bool has_rest = false;
  uint32_t min_items = 0, max_items = kUnbounded;
  std::vector<std::pair<std::string, Schemas>> properties;
  std::vector<std::string> required;
  Schemas additional;
  bool has_additional = false;
  Schemas names;
  uint32_t min_properties = 0, max_properties = kUnbounded;
  const Json *min_properties_by = nullptr, *max_properties_by = nullptr;  ///< the values of these keywords

  const Schemas* property(std::string_view name) const;
  /// Types that a value may have: where none was given, those that the keywords speak of.
  unsigned usual_types() const;
  /// The schemas of array element i.
  const Schemas& element(size_t i) const { return i < prefix.size() ? prefix[i] : rest; }
};

/// Reads the schemas of one document, which it refers to.
class SchemaReader {
 public:
  /// `parts` must outlive it.
  SchemaReader(const Json& root, const std::vector<SchemaPart>& parts, Budget& budget);
  /// The alternatives of what satisfies all schemas; none when nothing does.
  std::vector<Shape> shapes(const Schemas& schemas);
  /// Whether a value satisfies all.
  bool valid(const Json& value, const Schemas& schemas);
  bool valid(const Json& value, const Shape& shape);
  /// For one of the shape's own values: whether all but its list of them allows it.
  bool fits(const Json& value, const Shape& shape);
  /// JSON pointer of a value of the document ("#" is all of it), in the part that it belongs to.
  std::string place(const Json* value) const;
  [[noreturn]] void fail(const std::string& place, const std::string& what) const;
  /// For what cannot be held exactly, at or under this value of the document: leaves it out with a note where that is
  /// lenient, else fails.
  void leave_out(const Json* value, const std::string& place, const std::string& what);
  /// What was left out, and why.
  const std::map<std::string, std::string>& left_out() const { return left_out_; }
  /// What a number must be. leave_out() for multiples that cannot be held.
  NumberShape number_of(const Shape& shape, bool fractions);
  /// The expressions that a text must match from begin to end.
  std::vector<ExpressionPtr> texts_of(const Shape& shape);

 private:
  std::vector<Shape> read(const Json* schema);
  Shape own(const Json& schema, const std::string& at);
  void read_object(const Json& schema, const std::string& at, Shape& shape);
  void read_array(const Json& schema, const std::string& at, Shape& shape);
  void read_number(const Json& schema, const std::string& at, Shape& shape);
  void read_types(const Json& type, const std::string& at, Shape& shape);
  void leave_out_unsupported(const Json& schema, const std::string& at, Shape& shape);
  void leave_out_pattern(const Json& schema, Shape& shape);
  uint32_t count(const Json& schema, const char* key, const std::string& at, uint32_t otherwise);
  /// Null: it was left out.
  const Json* resolve(const Json& ref, const std::string& at);
  /// The root of the part that a value belongs to, and where the value is in it.
  std::pair<const Json*, std::string> find_part(const Json* value) const;
  std::vector<Shape> cross(const std::vector<Shape>& a, const std::vector<Shape>& b);
  std::vector<Shape> one_of(const std::vector<Shape>& base, const Json& branches,
                            const std::string& at);
  bool merge(Shape& a, const Shape& b);
  bool disjoint(const Shape& a, const Shape& b, int depth);
  bool disjoint_objects(const Shape& a, const Shape& b, int depth);
  bool disjoint_texts(const Shape& a, const Shape& b);
  bool valid_text(const std::string& text, const Shape& shape);

  const Json& root_;
  Budget& budget_;
  std::vector<const Json*> active_;
  std::unordered_map<const Json*, std::pair<const Json*, std::string>> parents_;
  std::unordered_map<const Json*, const SchemaPart*> parts_;  // by their roots
  std::map<std::string, std::string> left_out_;
};

/// The regular expression of a format, or null for one that is not constrained here.
const char* format_pattern(std::string_view format);

}  // namespace wellspring::grammar
