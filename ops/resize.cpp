// Checks and derivative of resizing by the nearest element.

#include "ops/resize.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/text.h"
#include "ops/image_call.h"
#include "ops/shape.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace wellspring {
namespace {

KernelRef kNearest("resize_nearest"), kNearestBackward("resize_nearest_backward");

using List = std::vector<int64_t>;

// The source of each place of an extent, in the arithmetic of PyTorch.
Tensor sources(int64_t in, int64_t out, double scale, bool exact, Device device) {
  std::vector<int64_t> from(out);
  const float step = scale > 0 ? static_cast<float>(1.0 / scale)
                               : static_cast<float>(in) / static_cast<float>(out);
  for (int64_t i = 0; i < out; ++i) {
    int64_t at = 0;
    if (exact)
      at = static_cast<int64_t>(std::floor((static_cast<float>(i) + 0.5f) * step));
    else if (out == in)
      at = i;
    else if (out == 2 * in)
      at = i / 2;
    else
      at = static_cast<int64_t>(std::floor(static_cast<float>(i) * step));
    from[i] = std::clamp<int64_t>(at, 0, in - 1);
  }
  return Tensor::from(std::span<const int64_t>(from), {out}, device);
}

// How an image becomes one of another extent.
struct Resize {
  Shape from, to;
  Tensor rows, columns;  // the source of each
  // As one with rows and columns.
  Tensor images(const Tensor& t) const { return t.dims() == 3 ? unsqueeze(t, 2) : t; }
  Tensor forward(const Tensor& x) const {
    const Tensor y = Tensor::empty(to, x.dtype(), x.device());
    if (y.numel()) launch(kNearest, {images(y)}, {images(x.detach()), rows, columns});
    return y;
  }
  Tensor backward(const Tensor& dy) const {
    const Tensor dx = Tensor::empty(from, dy.dtype(), dy.device());
    if (dx.numel()) launch(kNearestBackward, {images(dx)}, {images(dy.detach()), rows, columns});
    return dx;
  }
};

Resize resize_of(const char* op, const Shape& from, DType dtype, int spatial, const List& size,
                 const std::vector<double>& scales, bool exact, Device device) {
  const auto refuse = [&](const std::string& why) {
    throw Error(Fault::usage, str(op, ": ", why, " (x ", name_of(dtype), from.text(), ")"));
  };
  if (from.size() != 2 + spatial) refuse(str("x has ", 2 + spatial, " dimensions"));
  const bool by_scale = size.empty();
  if ((by_scale || !scales.empty()) && static_cast<int>(scales.size()) != spatial)
    refuse(str("scales has an entry for each of ", spatial, " dimensions"));
  if (!by_scale && static_cast<int>(size.size()) != spatial)
    refuse(str("output_size has an entry for each of ", spatial, " dimensions"));
  Resize r{from, from, {}, {}};
  Tensor places[2] = {Tensor::zeros({1}, DType::i64, device)};
  for (int d = 0; d < spatial; ++d) {
    const int64_t in = from[2 + d];
    const double scale = scales.empty() ? 0 : scales[d];
    if (!scales.empty() && (!(scale > 0) || !std::isfinite(scale))) refuse("scales are positive");
    const int64_t out =
        by_scale ? static_cast<int64_t>(std::floor(static_cast<double>(in) * scale)) : size[d];
    if (out < 1 || in < 1) refuse(str("cannot resize ", in, " to ", out));
    r.to[2 + d] = out;
    places[2 - spatial + d] = sources(in, out, scale, exact, device);
  }
  r.rows = places[0], r.columns = places[1];
  return r;
}

Tensor nearest(const char* op, const Tensor& x, int spatial, const List& size,
               const std::vector<double>& scales, bool exact) {
  if (!x.defined() || (!is_float(x.dtype()) && x.dtype() != DType::u8))
    throw Error(Fault::usage,
                str(op, ": x is floating or u8, not ", x.defined() ? x.text() : "undefined"));
  const Resize r = resize_of(op, x.shape(), x.dtype(), spatial, size, scales, exact, x.device());
  const Tensor y = r.forward(x);
  if (is_float(x.dtype()) && should_record({&x}))
    record(op, {x}, {y}, [r](BackwardContext& c) -> Tensors { return {r.backward(c.grad())}; });
  return y;
}

}  // namespace

Tensor upsample_nearest1d(const Tensor& x, const List& output_size,
                          const std::vector<double>& scales) {
  return nearest("upsample_nearest1d", x, 1, output_size, scales, false);
}
Tensor upsample_nearest2d(const Tensor& x, const List& output_size,
                          const std::vector<double>& scales) {
  return nearest("upsample_nearest2d", x, 2, output_size, scales, false);
}
Tensor _upsample_nearest_exact1d(const Tensor& x, const List& output_size,
                                 const std::vector<double>& scales) {
  return nearest("_upsample_nearest_exact1d", x, 1, output_size, scales, true);
}
Tensor _upsample_nearest_exact2d(const Tensor& x, const List& output_size,
                                 const std::vector<double>& scales) {
  return nearest("_upsample_nearest_exact2d", x, 2, output_size, scales, true);
}

Tensor upsample_nearest_backward(const Tensor& dy, const List& output_size, const List& input_size,
                                 const std::vector<double>& scales, bool exact) {
  const char* op = "upsample_nearest_backward";
  const Resize r =
      resize_of(op, Shape(input_size), dy.dtype(), static_cast<int>(output_size.size()),
                output_size, scales, exact, dy.device());
  if (!is_float(dy.dtype()) || dy.shape() != r.to)
    throw Error(Fault::usage,
                str(op, ": the gradient ", dy.text(), " is not floating of ", r.to.text()));
  return r.backward(dy);
}

}  // namespace wellspring
