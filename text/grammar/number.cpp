#include "text/grammar/number.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <tuple>

#include "base/json.h"

namespace wellspring::grammar {

namespace {

constexpr size_t kUsualDigits = 16, kMostDigits = 18;

int compare_size(const Decimal& a, const Decimal& b) {
  if (a.whole.size() != b.whole.size()) return a.whole.size() < b.whole.size() ? -1 : 1;
  if (int c = a.whole.compare(b.whole)) return c < 0 ? -1 : 1;
  const int c = a.fraction.compare(b.fraction);  // no trailing zeros: as texts
  return c < 0 ? -1 : c > 0;
}

/// Numerals without sign between two bounds >= 0.
class RangeDrawer {
 public:
  RangeDrawer(Draft& draft, int to, const Bound& low, const Bound& high, const NumberShape& shape)
      : draft_(draft),
        to_(to),
        low_(low),
        high_(high),
        shape_(shape),
        low_whole_(low.value.whole.empty() ? "0" : low.value.whole),
        high_whole_(high.value.whole.empty() ? "0" : high.value.whole) {}

  void draw(int from) {
    for (size_t n = low_whole_.size(); n <= high_whole_.size(); ++n) {
      const bool low = n == low_whole_.size(), high = n == high_whole_.size();
      digits(from, n, low, high, 0, n > 1 ? '1' : '0');
    }
  }

 private:
  struct Key {
    int kind;
    size_t left;
    bool low, high;
    uint32_t rest;
    auto operator<=>(const Key&) const = default;
  };

  /// Edges for the next of `left` digits; low, high: all before it were those of the bound.
  void digits(int from, size_t left, bool low, bool high, uint32_t rest, char first) {
    const char a = low ? low_whole_[low_whole_.size() - left] : '0';
    const char b = high ? high_whole_[high_whole_.size() - left] : '9';
    for (char d = std::max(a, first); d <= b; ++d) {
      const uint32_t r = (rest * 10 + static_cast<uint32_t>(d - '0')) % shape_.multiple;
      draft_.bytes(from, d, d, after(left - 1, low && d == a, high && d == b, r));
    }
  }
  int after(size_t left, bool low, bool high, uint32_t rest) {
    auto [it, added] = nodes_.try_emplace({0, left, low, high, rest}, 0);
    if (!added) return it->second;
    const int n = it->second = draft_.node();
    if (left) {
      digits(n, left, low, high, rest, '0');
      return n;
    }
    if (may_end(0, low, high) && rest == 0) draft_.epsilon(n, to_);
    if (shape_.fractions && shape_.max_fraction) {
      const int point = draft_.node();
      draft_.bytes(n, '.', '.', point);
      fraction(point, 0, low, high);
    }
    return n;
  }
  /// Whether a number with `count` digits after the point, equal to the bounds so far, is inside.
  bool may_end(size_t count, bool low, bool high) const {
    if (low && (low_.value.fraction.size() > count || low_.exclusive)) return false;
    return !(high && high_.value.fraction.size() <= count && high_.exclusive);
  }
  void fraction(int from, size_t at, bool low, bool high) {
    auto digit = [&](const Bound& b) {
      return at < b.value.fraction.size() ? b.value.fraction[at] : '0';
    };
    const char a = low ? digit(low_) : '0', b = high ? digit(high_) : '9';
    for (char d = a; d <= b; ++d)
      draft_.bytes(from, d, d, after_point(at + 1, low && d == a, high && d == b));
  }
  int after_point(size_t count, bool low, bool high) {
    auto [it, added] = nodes_.try_emplace({1, count, low, high, 0}, 0);
    if (!added) return it->second;
    const int n = it->second = draft_.node();
    if (may_end(count, low, high)) draft_.epsilon(n, to_);
    if (count < shape_.max_fraction) fraction(n, count, low, high);
    return n;
  }

  Draft& draft_;
  int to_;
  const Bound &low_, &high_;
  const NumberShape& shape_;
  std::string low_whole_, high_whole_;
  std::map<Key, int> nodes_;
};

int digit_run(Draft& draft, int from, int to, char first, size_t most) {
  for (size_t i = 0; i < most; ++i) {
    const int next = draft.node();
    draft.bytes(from, i ? '0' : first, '9', next);
    draft.epsilon(next, to);
    from = next;
  }
  return to;
}

void draw_any_number(Draft& draft, int from, int to, bool fractions) {
  const int sign = draft.node(), whole = draft.node();
  draft.epsilon(from, sign);
  if (!fractions) {  // no "-0"
    draft.bytes(from, '0', '0', to);
    const int minus = draft.node();
    draft.bytes(from, '-', '-', minus);
    digit_run(draft, from, to, '1', kUsualDigits);
    digit_run(draft, minus, to, '1', kUsualDigits);
    return;
  }
  const int unsigned_part = draft.node();
  draft.bytes(sign, '-', '-', unsigned_part);
  draft.epsilon(sign, unsigned_part);
  draft.bytes(unsigned_part, '0', '0', whole);
  digit_run(draft, unsigned_part, whole, '1', kUsualDigits);
  const int point = draft.node(), mantissa = draft.node(), e = draft.node(),
            signed_e = draft.node();
  draft.epsilon(whole, mantissa);
  draft.bytes(whole, '.', '.', point);
  digit_run(draft, point, mantissa, '0', kUsualDigits);
  draft.epsilon(mantissa, to);
  draft.bytes(mantissa, 'e', 'e', e);
  draft.bytes(mantissa, 'E', 'E', e);
  draft.epsilon(e, signed_e);
  draft.bytes(e, '+', '+', signed_e);
  draft.bytes(e, '-', '-', signed_e);
  digit_run(draft, signed_e, to, '0', 2);
}

}  // namespace

Decimal to_decimal(const Json& number) {
  char text[400];
  std::to_chars_result end;
  if (number.is_number_unsigned())
    end = std::to_chars(text, text + sizeof text, number.get<uint64_t>());
  else if (number.is_number_integer())
    end = std::to_chars(text, text + sizeof text, number.get<int64_t>());
  else
    end = std::to_chars(text, text + sizeof text, number.get<double>(), std::chars_format::fixed);
  std::string_view s(text, static_cast<size_t>(end.ptr - text));
  Decimal d;
  if (s.starts_with('-')) d.negative = true, s.remove_prefix(1);
  const size_t point = std::min(s.find('.'), s.size());
  d.whole = s.substr(0, point);
  if (point < s.size()) d.fraction = s.substr(point + 1);
  d.whole.erase(0, std::min(d.whole.find_first_not_of('0'), d.whole.size()));
  while (d.fraction.ends_with('0')) d.fraction.pop_back();
  if (d.zero()) d.negative = false;
  return d;
}

int compare(const Decimal& a, const Decimal& b) {
  if (a.negative != b.negative) return a.negative ? -1 : 1;
  return a.negative ? compare_size(b, a) : compare_size(a, b);
}

void draw_number(Draft& draft, int from, int to, const NumberShape& given) {
  if (!given.bounded()) return draw_any_number(draft, from, to, given.fractions);
  NumberShape shape = given;
  // Close to an exclusive bound a number must not round to it as a double.
  for (const auto& b : {shape.low, shape.high})
    if (b && b->exclusive && shape.fractions)
      shape.max_fraction = std::min<uint32_t>(
          shape.max_fraction,
          static_cast<uint32_t>(15 - std::min<size_t>(b->value.whole.size(), 15)));
  // Multiples only as long as a double holds them exactly.
  const size_t usual = shape.multiple > 1 ? kUsualDigits - 1 : kUsualDigits;
  auto outer = [usual](const std::optional<Bound>& near, const std::optional<Bound>& far) {
    const size_t digits =
        near && near->value.whole.size() >= usual ? kMostDigits : usual;
    Bound most{{false, std::string(digits, '9'), ""}, false};
    if (!far) return most;
    most.value.whole.assign(kMostDigits, '9');
    Bound b = *far;
    b.value.negative = false;
    return compare(b.value, most.value) > 0 ? most : b;
  };
  const Bound zero;
  const Decimal nought;
  // Zero and above.
  if (!shape.high || compare(shape.high->value, nought) >= 0) {
    const bool above = shape.low && !shape.low->value.negative;
    const Bound low = above ? *shape.low : zero,
                high = outer(above ? shape.low : std::nullopt, shape.high);
    if (compare(low.value, high.value) <= 0) RangeDrawer(draft, to, low, high, shape).draw(from);
  }
  // Below zero: a minus and what is above it mirrored.
  if (!shape.low || shape.low->value.negative) {
    const bool below = shape.high && shape.high->value.negative;
    Bound low = below ? *shape.high : zero;
    low.value.negative = false;
    if (!below) low.exclusive = true;
    const Bound high = outer(below ? shape.high : std::nullopt, shape.low);
    const int minus = draft.node();
    draft.bytes(from, '-', '-', minus);
    if (compare(low.value, high.value) <= 0) RangeDrawer(draft, to, low, high, shape).draw(minus);
  }
}

}  // namespace wellspring::grammar
