// Drawing operands, and comparing kernels with the reference.

#include "ops/random_calls.h"

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <optional>
#include <typeinfo>

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "ops/check.h"
#include "ops/complex.h"
#include "ops/random_entries.h"
#include "ops/reference/reference.h"
#include "tensor/dispatch.h"

namespace wellspring {
namespace {

constexpr int64_t kMostElements = 1000;
constexpr DType kFloating[] = {DType::f32, DType::bf16, DType::f64, DType::f16};
constexpr DType kAll[] = {DType::f32, DType::bf16, DType::i64, DType::f64, DType::f16,
                          DType::i32, DType::i16,  DType::i8,  DType::u8,  DType::boolean};

}  // namespace

uint64_t Choices::seed_of(std::span<const uint8_t> bytes) {
  uint64_t seed = 14695981039346656037u;
  for (uint8_t b : bytes) seed = (seed ^ b) * 1099511628211u;
  return seed;
}

int Choices::below(int n) {
  if (bytes_.empty() || n < 2) return 0;
  const int v = bytes_[0];
  bytes_ = bytes_.subspan(1);
  return v % n;
}

Shape Choices::shape(int least_dims, int most_dims) {
  static constexpr int64_t kExtents[] = {1, 2, 3, 5, 8, 17, 33, 0, 70, 259};
  const int most = rarely(8) ? kMaxDims : most_dims;
  const int n = least_dims + below(std::max(1, most - least_dims + 1));
  Shape shape;
  int64_t count = 1;
  for (int d = 0; d < n; ++d) {
    int64_t extent = of(kExtents);
    if (extent == 0 && !rarely(3)) extent = 4;
    if (std::max<int64_t>(count, 1) * extent > kMostElements) extent = 1;
    shape.push_back(extent), count *= extent;
  }
  return shape;
}

Shape Choices::broadcastable(const Shape& shape) {
  Shape other;
  for (int d = below(3) == 2 ? below(shape.size() + 1) : 0; d < shape.size(); ++d)
    other.push_back(rarely(4) ? 1 : rarely(50) ? shape[d] + 1 : shape[d]);
  return other;
}

DType Choices::floating() { return of(kFloating); }
DType Choices::any_dtype() { return of(kAll); }

int Choices::dim(int n) {
  const int d = rarely(30) ? n + 1 : below(std::max(n, 1));
  return coin() ? d : d - n;
}
std::vector<int> Choices::dims(int n) {
  std::vector<int> all;
  for (int d = 0; d < n; ++d)
    if (below(3) == 0) all.push_back(coin() ? d : d - n);
  if (rarely(40)) all.push_back(dim(n));
  return all;
}

// Dimensions in any order in memory, with gaps, repeated, turned round, behind an offset.
Tensor Choices::lay(const Shape& shape, DType dtype) {
  const int n = shape.size();
  if (coin()) return Tensor::zeros(shape, dtype);
  std::vector<int> order(n);
  for (int i = 0; i < n; ++i) order[i] = i;
  for (int i = n - 1; i > 0; --i) std::swap(order[i], order[below(i + 1)]);
  Shape strides = shape;
  int64_t reach = 1, offset = below(4), back = 0;
  for (int d : order) {
    const int64_t step = reach * (rarely(3) ? 2 : 1);
    strides[d] = rarely(8) ? 0 : rarely(6) ? -step : step;
    if (strides[d] < 0) back += (std::max<int64_t>(shape[d], 1) - 1) * step;
    if (strides[d]) reach = step * std::max<int64_t>(shape[d], 1);
  }
  const Tensor whole = Tensor::zeros({reach + offset + 1}, dtype);
  return whole.as_strided(shape, strides, offset + back);
}

Tensor Choices::tensor(const Shape& shape, DType dtype) {
  const Tensor t = lay(shape, dtype);
  std::vector<float> values(static_cast<size_t>(t.numel()));
  const bool is_unsigned = dtype == DType::u8 || dtype == DType::boolean;
  for (float& v : values) {
    const auto eighths = static_cast<float>(static_cast<int>(values_.below(65)) - 32);
    v = is_float(dtype) ? eighths / 8
        : is_unsigned   ? static_cast<float>(values_.below(dtype == DType::boolean ? 2 : 5))
                        : static_cast<float>(static_cast<int>(values_.below(9)) - 4);
  }
  if (t.numel()) t.copy_from(Tensor::from(values, shape, dtype));
  if (gradient_ && is_float(dtype)) t.set_requires_grad(true), wanting.push_back(t);
  return t;
}

Tensor Choices::ids(const Shape& shape, int64_t low, int64_t high) {
  const Tensor t = lay(shape, coin() ? DType::i64 : DType::i32);
  std::vector<int64_t> values(static_cast<size_t>(t.numel()));
  for (int64_t& v : values)
    v = low + static_cast<int64_t>(
                  values_.below(static_cast<uint64_t>(std::max<int64_t>(1, high - low))));
  if (!values.empty() && rarely(25)) values[values_.below(values.size())] = coin() ? high : low - 1;
  if (t.numel()) t.copy_from(Tensor::from(std::span<const int64_t>(values), shape));
  return t;
}

namespace {

struct Outcome {
  std::string chosen;
  Tensors results;            // of the call, or the gradients of its operands
  std::string refused, kind;  // of an Error: what it says, and its type
};

// Back from a result with a weight for each of its elements.
void walk_back(const Tensor& result) {
  const Tensor root = is_complex(result.dtype()) ? view_as_real(result) : result;
  std::vector<float> weights(static_cast<size_t>(root.numel()));
  for (size_t i = 0; i < weights.size(); ++i) weights[i] = static_cast<float>(i % 7) / 4 - 1;
  backward(root, Tensor::from(weights, root.shape(), root.dtype()), true);
}

Outcome outcome(const RandomFamily& family, std::span<const uint8_t> bytes, bool gradient) {
  Choices choices(bytes, gradient);
  Outcome o;
  try {
    o.results = family.call(choices);
    if (gradient) {
      for (const Tensor& t : o.results)
        if (t.defined() && t.requires_grad()) walk_back(t);
      o.results.clear();
      for (const Tensor& t : choices.wanting) o.results.push_back(t.grad());
    }
  } catch (const Error& e) {
    o.refused = e.what();
    o.kind = str(typeid(e).name(), " ", e.exit_status());
    if (e.fault() == Fault::internal) o.kind += " (a bug)";
  }
  o.chosen = choices.chosen;
  return o;
}

// Empty when kernels and reference gave the same, else what differs.
std::string compared(const Outcome& ours, const Outcome& slow, bool gradient) {
  const char* what = gradient ? "gradient" : "result";
  if (ours.kind != slow.kind)
    return str("kernels: ", ours.refused.empty() ? what : ours.refused,
               "; reference: ", slow.refused.empty() ? what : slow.refused);
  if (ours.results.size() != slow.results.size()) return str("another number of ", what, "s");
  OperatorCase c;
  c.sums(100);
  for (size_t i = 0; i < ours.results.size(); ++i) {
    // Where a processor multiplies bf16 natively, what stands between the two products of a
    // derivative is rounded to bf16, too: gradients of attention's scores reach 16 with operands up
    // to 4, so half a unit of their last place, times a key, is 0.1.
    const bool twice = gradient && ours.results[i].defined() && ours.results[i].dtype() == DType::bf16;
    if (std::string d = difference(ours.results[i], slow.results[i], c, twice ? 8 : 2); !d.empty())
      return str(what, " ", i, ": ", d);
  }
  return "";
}

}  // namespace

std::span<const RandomFamily> random_families() {
  static constexpr RandomFamily kFamilies[] = {
#define WS_FAMILY(name, gradients) {#name, random_calls::call_##name, gradients},
#include "ops/random_families.inc"
#undef WS_FAMILY
  };
  return kFamilies;
}

std::string try_random_call(const RandomFamily& family, std::span<const uint8_t> bytes) {
  for (const bool gradient : {false, true}) {
    const Outcome ours = outcome(family, bytes, gradient);
    std::string differs = ours.kind.ends_with("(a bug)") ? ours.refused : "";
    if (differs.empty() && (!gradient || family.gradients)) {
      UseKernels reference("reference", reference::kernels());
      differs = compared(ours, outcome(family, bytes, gradient), gradient);
    }
    if (!differs.empty()) return str(ours.chosen, ": ", differs);
  }
  return "";
}

void fuzz_random_call(std::string_view family, const uint8_t* data, size_t size) {
  set_log_level(LogLevel::off);
  for (const RandomFamily& f : random_families()) {
    if (f.name != family) continue;
    const std::string differs = try_random_call(f, {data, size});
    if (differs.empty()) return;
    std::fprintf(stderr, "%s: %s\n", f.name, differs.c_str());
    std::abort();
  }
  std::fprintf(stderr, "no family is called %s\n", std::string(family).c_str());
  std::abort();
}

}  // namespace wellspring
