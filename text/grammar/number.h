#pragma once
// Numbers of JSON schemas: exact decimal bounds, and the numerals between them. Internal to this
// folder.

#include <cstdint>
#include <optional>
#include <string>

#include "base/json_fwd.h"
#include "text/grammar/builder.h"

namespace wellspring::grammar {

/// A decimal number: whole has no leading zero (0 is ""), fraction no trailing one.
struct Decimal {
  bool negative = false;
  std::string whole, fraction;
  bool zero() const { return whole.empty() && fraction.empty(); }
};

/// The shortest decimal that is this JSON number.
Decimal to_decimal(const Json& number);
/// -1, 0 or 1.
int compare(const Decimal& a, const Decimal& b);

struct Bound {
  Decimal value;
  bool exclusive = false;
};

struct NumberShape {
  bool fractions = true;  ///< false: whole numbers only
  std::optional<Bound> low, high;
  uint32_t multiple = 1;       ///< of which a whole number must be a multiple, at most kMaxMultiple
  uint32_t max_fraction = 15;  ///< digits after the point
  static constexpr uint32_t kMaxMultiple = 1000;
  bool bounded() const { return low || high || multiple > 1 || max_fraction < 15; }
};

/// Draws the numerals of `shape`. Without bounds: up to 16 digits before and after the point and an
/// exponent of two digits; with bounds no exponent, and at most 18 digits before the point.
void draw_number(Draft& draft, int from, int to, const NumberShape& shape);

}  // namespace wellspring::grammar
