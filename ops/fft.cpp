// Checks and derivatives of the Fourier transforms. The gradient of a complex number is the pair of
// those of its parts, as in PyTorch.

#include "ops/fft.h"

#include <cmath>

#include "base/error.h"
#include "base/text.h"
#include "ops/complex.h"
#include "ops/dims.h"
#include "ops/shape.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace wellspring {
namespace {

KernelRef kC2c("fft_c2c"), kR2c("fft_r2c"), kC2r("fft_c2r"), kCopy("copy"), kScale("scale");

using Dims = std::vector<int>;

// Dimensions from the front, each once.
Dims named_dims(const char* op, const Tensor& x, const Dims& dims) {
  if (!x.defined() || x.dims() == 0 || dims.empty())
    throw Error(Fault::usage, str(op, ": there is no dimension to transform (x ",
                                  x.defined() ? x.text() : "undefined", ")"));
  Dims result;
  for (int d : dims) {
    const int at = dim_of(op, x, d);
    for (int other : result)
      if (other == at)
        throw Error(Fault::usage, str(op, " of ", x.text(), ": dimension ", d, " is named twice"));
    if (x.shape()[at] == 0)
      throw Error(Fault::usage, str(op, " of ", x.text(), ": dimension ", d, " is empty"));
    result.push_back(at);
  }
  return result;
}

double scale_of(const char* op, int64_t normalization, int64_t elements) {
  const auto n = static_cast<double>(elements);
  if (normalization == 0) return 1;
  if (normalization == 1) return 1 / std::sqrt(n);
  if (normalization == 2) return 1 / n;
  throw Error(Fault::usage, str(op, ": normalization is 0, 1 or 2, not ", normalization));
}

int64_t elements_of(const Shape& shape, const Dims& dims) {
  int64_t n = 1;
  for (int d : dims) n *= shape[d];
  return n;
}

Shape with_extent(Shape shape, int dim, int64_t n) {
  shape[dim] = n;
  return shape;
}

// All without gradient.
Tensor c2c(const Tensor& x, const Dims& dims, double scale, bool forward) {
  Tensor y = x.detach();
  for (size_t i = 0; i < dims.size(); ++i) {
    const Tensor from = y;
    y = Tensor::empty(x.shape(), DType::c64, x.device());
    if (y.numel())
      launch(kC2c, {y}, {from}, {dims[i], i + 1 == dims.size() ? scale : 1.0, forward});
  }
  return dims.empty() ? clone(y) : y;
}
Tensor r2c(const Tensor& x, const Dims& dims, double scale) {
  const int last = dims.back();
  const Dims others(dims.begin(), dims.end() - 1);
  const Tensor y =
      Tensor::empty(with_extent(x.shape(), last, x.shape()[last] / 2 + 1), DType::c64, x.device());
  if (y.numel()) launch(kR2c, {y}, {x.detach()}, {last, others.empty() ? scale : 1.0, true});
  return others.empty() ? y : c2c(y, others, scale, true);
}
Tensor c2r(const Tensor& x, const Dims& dims, double scale, int64_t n) {
  const int last = dims.back();
  const Dims others(dims.begin(), dims.end() - 1);
  const Tensor from = others.empty() ? x.detach() : c2c(x, others, 1, false);
  const Tensor y = Tensor::empty(with_extent(x.shape(), last, n), DType::f32, x.device());
  if (y.numel()) launch(kC2r, {y}, {from}, {last, scale, false});
  return y;
}

Tensor part(const Tensor& x, int dim, int64_t from, int64_t n) {
  return narrow(x.detach(), dim, from, n);
}

// Multiplies in place what stands for two symmetric elements: all but the first and, of an even
// number, the middle one.
void scale_pairs(const Tensor& half, int dim, int64_t n, double by) {
  const int64_t pairs = (n - 1) / 2;
  if (pairs == 0 || half.numel() == 0) return;
  const Tensor inside = part(half, dim, 1, pairs), copy = clone(view_as_real(inside));
  launch(kScale, {copy}, {copy}, {by});
  launch(kCopy, {view_as_real(inside)}, {copy});
}

// The whole of a symmetric transform of real values, from its half.
Tensor mirrored(const Tensor& half, const Dims& dims, int64_t n) {
  const int last = dims.back();
  const Tensor y = Tensor::empty(with_extent(half.shape(), last, n), DType::c64, half.device());
  const int64_t kept = half.shape()[last], rest = n - kept;
  launch(kCopy, {part(y, last, 0, kept)}, {half});
  if (rest == 0) return y;
  // Element k of the rest is the conjugate of -k, in every dimension.
  Tensor from = conj_physical(part(half, last, 1, rest));
  for (int d : dims) {
    const int64_t extent = from.shape()[d];
    Shape strides = from.strides();
    strides[d] = -strides[d];
    if (d == last) {
      from =
          from.as_strided(from.shape(), strides, from.offset() + (extent - 1) * from.strides()[d]);
      continue;
    }
    // 0 stays, the others turn round.
    const Tensor turned = Tensor::empty(from.shape(), DType::c64, from.device());
    launch(kCopy, {part(turned, d, 0, 1)}, {part(from, d, 0, 1)});
    if (extent > 1) {
      const Tensor others = part(from, d, 1, extent - 1);
      launch(kCopy, {part(turned, d, 1, extent - 1)},
             {others.as_strided(others.shape(), strides,
                                others.offset() + (extent - 2) * others.strides()[d])});
    }
    from = turned;
  }
  launch(kCopy, {part(y, last, kept, rest)}, {from});
  return y;
}

Tensor as_real(const char* op, const Tensor& x) {
  if (!x.defined() || is_complex(x.dtype()) || x.dtype() == DType::f64)
    throw Error(Fault::usage, str(op, ": x is real, f64 excepted, but is ",
                                  x.defined() ? x.text() : "undefined"));
  return to(x, DType::f32);
}
Tensor as_complex(const char* op, const Tensor& x) {
  if (x.defined() && is_complex(x.dtype())) return x;
  return to(as_real(op, x), DType::c64);
}
void check_complex(const char* op, const Tensor& x) {
  if (!x.defined() || !is_complex(x.dtype()))
    throw Error(Fault::usage,
                str(op, ": x is complex, not ", x.defined() ? x.text() : "undefined"));
}

int64_t normalization_of(const char* op, std::string_view norm, bool forward) {
  if (norm == "backward" || norm.empty()) return forward ? 0 : 2;
  if (norm == "ortho") return 1;
  if (norm == "forward") return forward ? 2 : 0;
  throw Error(Fault::usage,
              str(op, ": norm is \"backward\", \"ortho\" or \"forward\", not \"", norm, "\""));
}

// x cut or filled with zeros to n elements of a dimension.
Tensor resized(const char* op, const Tensor& x, int dim, int64_t n) {
  if (n < 1) throw Error(Fault::usage, str(op, " of ", x.text(), ": ", n, " elements are too few"));
  const int64_t have = x.shape()[dim];
  if (have == n) return x;
  if (have > n) return narrow(x, dim, 0, n);
  const Tensor parts[] = {
      x, Tensor::zeros(with_extent(x.shape(), dim, n - have), x.dtype(), x.device())};
  return cat(parts, dim);
}

int checked_dim(const char* op, const Tensor& x, int dim) {
  if (!x.defined() || x.dims() == 0)
    throw Error(Fault::usage, str(op, ": there is no dimension to transform"));
  return dim_of(op, x, dim);
}

}  // namespace

Tensor _fft_c2c(const Tensor& x, const Dims& dims, int64_t normalization, bool forward) {
  check_complex("_fft_c2c", x);
  const Dims at = dims.empty() ? Dims{} : named_dims("_fft_c2c", x, dims);
  const double scale = scale_of("_fft_c2c", normalization, elements_of(x.shape(), at));
  const Tensor y = c2c(x, at, scale, forward);
  if (should_record({&x}))
    record("_fft_c2c", {x}, {y}, [at, scale, forward](BackwardContext& c) -> Tensors {
      return {c2c(c.grad(), at, scale, !forward)};
    });
  return y;
}

Tensor _fft_r2c(const Tensor& given, const Dims& dims, int64_t normalization, bool onesided) {
  const Tensor x = as_real("_fft_r2c", given);
  const Dims at = named_dims("_fft_r2c", x, dims);
  const double scale = scale_of("_fft_r2c", normalization, elements_of(x.shape(), at));
  const int last = at.back();
  const int64_t n = x.shape()[last];
  const Tensor half = r2c(x, at, scale), y = onesided ? half : mirrored(half, at, n);
  if (should_record({&x}))
    record("_fft_r2c", {x}, {y}, [at, last, n, scale, onesided](BackwardContext& c) -> Tensors {
      if (!onesided) return {contiguous(real(c2c(c.grad(), at, scale, false)))};
      // The missing half flows nothing back: each element's share is half of a symmetric pair's.
      const Tensor g = clone(c.grad().detach());
      scale_pairs(g, last, n, 0.5);
      return {c2r(g, at, scale, n)};
    });
  return y;
}

Tensor _fft_c2r(const Tensor& x, const Dims& dims, int64_t normalization, int64_t last_dim_size) {
  check_complex("_fft_c2r", x);
  const Dims at = named_dims("_fft_c2r", x, dims);
  const int last = at.back();
  const int64_t n = last_dim_size;
  if (n < 1 || x.shape()[last] != n / 2 + 1)
    throw Error(Fault::usage, str("_fft_c2r of ", x.text(), ": dimension ", last, " has ",
                                  n / 2 + 1, " elements for ", n, " real ones"));
  const double scale =
      scale_of("_fft_c2r", normalization, elements_of(with_extent(x.shape(), last, n), at));
  const Tensor y = c2r(x, at, scale, n);
  if (should_record({&x}))
    record("_fft_c2r", {x}, {y}, [at, last, n, scale](BackwardContext& c) -> Tensors {
      const Tensor g = r2c(c.grad(), at, scale);
      scale_pairs(g, last, n, 2);
      return {g};
    });
  return y;
}

Tensor fft_rfft(const Tensor& given, std::optional<int64_t> n, int dim, std::string_view norm) {
  const Tensor x = as_real("fft_rfft", given);
  const int d = checked_dim("fft_rfft", x, dim);
  return _fft_r2c(resized("fft_rfft", x, d, n.value_or(x.shape()[d])), {d},
                  normalization_of("fft_rfft", norm, true), true);
}

Tensor fft_irfft(const Tensor& given, std::optional<int64_t> n, int dim, std::string_view norm) {
  const Tensor x = as_complex("fft_irfft", given);
  const int d = checked_dim("fft_irfft", x, dim);
  const int64_t length = n.value_or(2 * (x.shape()[d] - 1));
  if (length < 1)
    throw Error(Fault::usage,
                str("fft_irfft of ", x.text(), ": ", length, " elements are too few"));
  return _fft_c2r(resized("fft_irfft", x, d, length / 2 + 1), {d},
                  normalization_of("fft_irfft", norm, false), length);
}

Tensor fft_fft(const Tensor& given, std::optional<int64_t> n, int dim, std::string_view norm) {
  const int d = checked_dim("fft_fft", given, dim);
  const int64_t normalization = normalization_of("fft_fft", norm, true);
  const Tensor x = resized("fft_fft", is_complex(given.dtype()) ? given : as_real("fft_fft", given),
                           d, n.value_or(given.shape()[d]));
  if (!is_complex(x.dtype())) return _fft_r2c(x, {d}, normalization, false);
  return _fft_c2c(x, {d}, normalization, true);
}

Tensor fft_ifft(const Tensor& given, std::optional<int64_t> n, int dim, std::string_view norm) {
  const Tensor x = as_complex("fft_ifft", given);
  const int d = checked_dim("fft_ifft", x, dim);
  return _fft_c2c(resized("fft_ifft", x, d, n.value_or(x.shape()[d])), {d},
                  normalization_of("fft_ifft", norm, false), false);
}

}  // namespace wellspring
