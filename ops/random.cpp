// Checks of the random operators. Results have no gradient; what is overwritten gets none either.

#include "ops/random.h"

#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/text.h"
#include "ops/generator.h"
#include "ops/packed.h"
#include "ops/pointwise.h"
#include "ops/reduce.h"
#include "ops/scan.h"
#include "ops/shape.h"
#include "ops/sort.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace wellspring {
namespace {

KernelRef kUniform("random_uniform"), kNormal("random_normal"), kExponential("random_exponential"),
    kBernoulli("random_bernoulli"), kIntegers("random_integers"), kMultinomial("multinomial");

void check_float(const char* op, DType dtype) {
  if (!is_float(dtype))
    throw Error(Fault::usage, str(op, ": the dtype must be floating, not ", name_of(dtype)));
}

void check_std(const char* op, double std) {
  if (!(std >= 0))
    throw Error(Fault::usage, str(op, ": the deviation must not be negative, but is ", std));
}

using Seed = std::optional<uint64_t>;

// A place for `count` elements of `words` words each.
RandomPlace place_for(Seed seed, uint64_t offset, int64_t count, int words) {
  return random_place(seed, offset, static_cast<uint64_t>(count) * static_cast<uint64_t>(words));
}

int words_of(DType dtype) { return dtype == DType::f64 ? 2 : 1; }

// Draws into x, of any strides, by a kernel with two attributes of its own.
void draw_into(const KernelRef& kernel, const Tensor& x, RandomPlace at, Attr a, Attr b) {
  if (x.numel() == 0) return;
  if (x.is_contiguous()) return launch(kernel, {x}, {}, {at.seed, at.offset, a, b});
  const Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  launch(kernel, {y}, {}, {at.seed, at.offset, a, b});
  NoGrad none;
  copy_(x.detach(), y);
}

Tensor drawn(const KernelRef& kernel, const Shape& shape, DType dtype, Device device, Seed seed,
             uint64_t offset, Attr a, Attr b) {
  const Tensor y = Tensor::empty(shape, dtype, device);
  draw_into(kernel, y, place_for(seed, offset, y.numel(), words_of(dtype)), a, b);
  return y;
}

// The form in place: nothing flows back to what x was.
const Tensor& overwrite(const char* op, const KernelRef& kernel, const Tensor& x, int words,
                        Seed seed, uint64_t offset, Attr a, Attr b) {
  for (int i = 0; i < x.dims(); ++i)
    if (x.strides()[i] == 0 && x.shape()[i] > 1)
      throw Error(Fault::usage,
                  str(op, " in place on ", x.text(), ": elements share memory; clone() it first"));
  const bool recorded = should_record({&x});
  mark_in_place(op, x, recorded);
  draw_into(kernel, x, place_for(seed, offset, x.numel(), words), a, b);
  if (recorded) record(op, {x}, {x}, [](BackwardContext&) -> Tensors { return {Tensor()}; });
  return x;
}

// The whole numbers that a dtype holds without rounding.
std::pair<int64_t, int64_t> whole_range(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return {-(int64_t{1} << 53), int64_t{1} << 53};
    case DType::f32:
      return {-(1 << 24), 1 << 24};
    case DType::f16:
      return {-2048, 2048};
    case DType::bf16:
      return {-256, 256};
    case DType::i32:
      return {INT32_MIN, INT32_MAX};
    case DType::i16:
      return {INT16_MIN, INT16_MAX};
    case DType::i8:
      return {INT8_MIN, INT8_MAX};
    case DType::u8:
      return {0, UINT8_MAX};
    case DType::boolean:
      return {0, 1};
    default:
      return {INT64_MIN, INT64_MAX};
  }
}

// How many values [low, high) has; checked against the dtype.
uint64_t values_between(const char* op, int64_t low, int64_t high, DType dtype) {
  if (low >= high)
    throw Error(Fault::usage, str(op, ": no whole number is in [", low, ", ", high, ")"));
  const auto [least, most] = whole_range(dtype);
  if (is_complex(dtype) || low < least || high - 1 > most)
    throw Error(Fault::usage,
                str(op, ": ", name_of(dtype), " does not hold all of [", low, ", ", high, ")"));
  return static_cast<uint64_t>(high) - static_cast<uint64_t>(low);
}

int integer_words(uint64_t values) { return values > uint64_t{1} << 32 ? 2 : 1; }

void check_probabilities(const char* op, const Tensor& p) {
  check_float(op, p.dtype());
  if (p.numel() == 0) return;
  NoGrad none;
  const double low = amin(p).item(), high = amax(p).item();
  if (!(low >= 0 && high <= 1))
    throw Error(Fault::usage,
                str(op, ": probabilities from ", low, " to ", high, " are not all in [0, 1]"));
}

}  // namespace

Tensor rand(const Shape& shape, DType dtype, Device device, Seed seed, uint64_t offset) {
  check_float("rand", dtype);
  return drawn(kUniform, shape, dtype, device, seed, offset, 0.0, 1.0);
}
Tensor rand_like(const Tensor& x, std::optional<DType> dtype, Seed seed, uint64_t offset) {
  return rand(x.shape(), dtype.value_or(x.dtype()), x.device(), seed, offset);
}
const Tensor& uniform_(const Tensor& x, double from, double to, Seed seed, uint64_t offset) {
  check_float("uniform_", x.dtype());
  if (!(from <= to) || !std::isfinite(to - from))
    throw Error(Fault::usage, str("uniform_: [", from, ", ", to, ") is no finite interval"));
  return overwrite("uniform_", kUniform, x, words_of(x.dtype()), seed, offset, from, to);
}

Tensor randn(const Shape& shape, DType dtype, Device device, Seed seed, uint64_t offset) {
  check_float("randn", dtype);
  return drawn(kNormal, shape, dtype, device, seed, offset, 0.0, 1.0);
}
Tensor randn_like(const Tensor& x, std::optional<DType> dtype, Seed seed, uint64_t offset) {
  return randn(x.shape(), dtype.value_or(x.dtype()), x.device(), seed, offset);
}

Tensor normal(const Tensor& mean, const Tensor& std, Seed seed, uint64_t offset) {
  check_float("normal", std.dtype());
  NoGrad none;
  if (std.numel()) check_std("normal", amin(std).item());
  // addcmul broadcasts and promotes: the draws take the shape that both have together.
  const Tensor like = add(mean, std);
  check_float("normal", like.dtype());
  return addcmul(mean, randn(like.shape(), like.dtype(), like.device(), seed, offset), std);
}
Tensor normal(const Tensor& mean, double std, Seed seed, uint64_t offset) {
  check_float("normal", mean.dtype());
  check_std("normal", std);
  NoGrad none;
  return add(mean,
             drawn(kNormal, mean.shape(), mean.dtype(), mean.device(), seed, offset, 0.0, std));
}
Tensor normal(double mean, const Tensor& std, Seed seed, uint64_t offset) {
  check_float("normal", std.dtype());
  NoGrad none;
  if (std.numel()) check_std("normal", amin(std).item());
  const Tensor z = randn(std.shape(), std.dtype(), std.device(), seed, offset);
  return add(mul(z, std), mean);
}
Tensor normal(double mean, double std, const Shape& shape, DType dtype, Device device, Seed seed,
              uint64_t offset) {
  check_float("normal", dtype);
  check_std("normal", std);
  return drawn(kNormal, shape, dtype, device, seed, offset, mean, std);
}
const Tensor& normal_(const Tensor& x, double mean, double std, Seed seed, uint64_t offset) {
  check_float("normal_", x.dtype());
  check_std("normal_", std);
  return overwrite("normal_", kNormal, x, words_of(x.dtype()), seed, offset, mean, std);
}
const Tensor& log_normal_(const Tensor& x, double mean, double std, Seed seed, uint64_t offset) {
  check_float("log_normal_", x.dtype());
  check_std("log_normal_", std);
  overwrite("log_normal_", kNormal, x, words_of(x.dtype()), seed, offset, mean, std);
  NoGrad none;
  const Tensor target = x.detach();
  exp_(target);
  return x;
}

const Tensor& exponential_(const Tensor& x, double rate, Seed seed, uint64_t offset) {
  check_float("exponential_", x.dtype());
  if (!(rate > 0))
    throw Error(Fault::usage, str("exponential_: the rate must be above 0, but is ", rate));
  return overwrite("exponential_", kExponential, x, words_of(x.dtype()), seed, offset, rate, 0.0);
}

const Tensor& cauchy_(const Tensor& x, double median, double sigma, Seed seed, uint64_t offset) {
  check_float("cauchy_", x.dtype());
  if (!(sigma > 0))
    throw Error(Fault::usage, str("cauchy_: sigma must be above 0, but is ", sigma));
  const DType wide = x.dtype() == DType::f64 ? DType::f64 : DType::f32;
  Tensor y;
  {
    NoGrad none;
    // The tangent of an angle in (-pi / 2, pi / 2).
    const Tensor u = rand(x.shape(), wide, x.device(), seed, offset);
    const Tensor angle = mul(sub(u, 0.5), 3.141592653589793);
    y = add(mul(div(sin(angle), cos(angle)), sigma), median);
  }
  return copy_(x, y);
}

const Tensor& geometric_(const Tensor& x, double p, Seed seed, uint64_t offset) {
  if (!(p > 0 && p < 1))
    throw Error(Fault::usage, str("geometric_: p must be in (0, 1), but is ", p));
  if (is_complex(x.dtype()))
    throw Error(Fault::usage, str("geometric_ of ", x.text(), ": complex tensors are not drawn"));
  Tensor y;
  {
    NoGrad none;
    y = Tensor::empty(x.shape(), x.dtype() == DType::f64 ? DType::f64 : DType::f32, x.device());
    exponential_(y, -std::log1p(-p), seed, offset);
    ceil_(y);
  }
  return copy_(x, y);
}

Tensor bernoulli(const Tensor& p, Seed seed, uint64_t offset) {
  check_probabilities("bernoulli", p);
  NoGrad none;
  const DType wide = p.dtype() == DType::f64 ? DType::f64 : DType::f32;
  const Tensor u = rand(p.shape(), wide, p.device(), seed, offset);
  const Tensor y = Tensor::empty(p.shape(), p.dtype(), p.device());
  copy_(y, lt(u, to(p.detach(), wide)));
  return y;
}
const Tensor& bernoulli_(const Tensor& x, double p, Seed seed, uint64_t offset) {
  if (!(p >= 0 && p <= 1))
    throw Error(Fault::usage, str("bernoulli_: p must be in [0, 1], but is ", p));
  if (is_complex(x.dtype()))
    throw Error(Fault::usage, str("bernoulli_ of ", x.text(), ": complex tensors are not drawn"));
  return overwrite("bernoulli_", kBernoulli, x, 1, seed, offset, p, 0.0);
}
const Tensor& bernoulli_(const Tensor& x, const Tensor& p, Seed seed, uint64_t offset) {
  check_probabilities("bernoulli_", p);
  const Tensor spread = expand(p.detach(), x.shape());
  const DType wide = p.dtype() == DType::f64 ? DType::f64 : DType::f32;
  Tensor hit;
  {
    NoGrad none;
    hit = lt(rand(x.shape(), wide, x.device(), seed, offset), to(spread, wide));
  }
  return copy_(x, hit);
}

Tensor randint(int64_t low, int64_t high, const Shape& shape, DType dtype, Device device, Seed seed,
               uint64_t offset) {
  const uint64_t values = values_between("randint", low, high, dtype);
  const Tensor y = Tensor::empty(shape, dtype, device);
  draw_into(kIntegers, y, place_for(seed, offset, y.numel(), integer_words(values)), low, values);
  return y;
}
Tensor randint(int64_t high, const Shape& shape, DType dtype, Device device, Seed seed,
               uint64_t offset) {
  return randint(0, high, shape, dtype, device, seed, offset);
}
const Tensor& random_(const Tensor& x, int64_t from, int64_t to, Seed seed, uint64_t offset) {
  const uint64_t values = values_between("random_", from, to, x.dtype());
  return overwrite("random_", kIntegers, x, integer_words(values), seed, offset, from, values);
}

Tensor randperm(int64_t n, DType dtype, Device device, Seed seed, uint64_t offset) {
  if (n < 0) throw Error(Fault::usage, str("randperm: n must not be negative, but is ", n));
  if (n > 1) values_between("randperm", 0, n, dtype);
  const Tensor words = Tensor::empty({n}, DType::i64, device);
  draw_into(kIntegers, words, place_for(seed, offset, n, 2), INT64_MIN, uint64_t{0});
  return to(std::get<1>(sort(words)), dtype);
}

Tensor multinomial(const Tensor& weights, int64_t draws, bool replacement, Seed seed,
                   uint64_t offset) {
  const auto fail = [&](const std::string& why) {
    throw Error(Fault::usage, str("multinomial of ", weights.text(), ", ", draws, " draws: ", why));
  };
  if (!is_float(weights.dtype())) fail("weights must be floating");
  if (weights.dims() != 1 && weights.dims() != 2) fail("weights must be [N] or [rows, N]");
  const int64_t n = weights.shape()[weights.dims() - 1];
  if (draws < 1) fail("at least one must be drawn");
  if (n < 1) fail("there is nothing to draw from");
  if (!replacement && draws > n) fail(str("without replacement there are only ", n));
  NoGrad none;
  const Tensor rows = view(packed(weights), {weights.dims() == 2 ? weights.shape()[0] : 1, n});
  Shape shape = weights.shape();
  shape[shape.size() - 1] = draws;
  if (rows.shape()[0] == 0) return Tensor::empty(shape, DType::i64, weights.device());
  const Tensor tops = amax(rows, {1});
  if (const double low = amin(rows).item(), high = amax(tops).item();
      !(low >= 0 && high <= std::numeric_limits<double>::max()))
    fail(str("weights from ", low, " to ", high, " are not all finite and 0 or more"));
  if (amin(tops).item() <= 0) fail("the weights of a row are all 0");
  Tensor places;
  if (replacement) {
    places = Tensor::empty({rows.shape()[0], draws}, DType::i64, weights.device());
    const RandomPlace at = place_for(seed, offset, places.numel(), 2);
    launch(kMultinomial, {places}, {rows}, {at.seed, at.offset});
  } else {
    const int64_t most = static_cast<int64_t>(amin(sum(gt(rows, 0), {1})).item());
    if (draws > most) fail(str("without replacement, a row has only ", most, " weights above 0"));
    const Tensor q = Tensor::empty(rows.shape(), DType::f64, weights.device());
    exponential_(q, 1, seed, offset);
    places = std::get<1>(topk(div(to(rows, DType::f64), q), draws, 1));
  }
  return view(places, shape);
}

}  // namespace wellspring
