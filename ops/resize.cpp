// Checks and derivative of resizing by the nearest element.

#include "ops/resize.h"

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/text.h"
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

Tensor nearest(const char* op, const Tensor& x, int spatial, const List& size,
               const std::vector<double>& scales, bool exact) {
  const auto refuse = [&](const std::string& why) {
    throw Error(Fault::usage,
                str(op, ": ", why, " (x ", x.defined() ? x.text() : "undefined", ")"));
  };
  if (!x.defined() || x.dims() != 2 + spatial || (!is_float(x.dtype()) && x.dtype() != DType::u8))
    refuse(str("x is floating or u8 with ", 2 + spatial, " dimensions"));
  const bool by_scale = size.empty();
  if ((by_scale || !scales.empty()) && static_cast<int>(scales.size()) != spatial)
    refuse(str("scales has an entry for each of ", spatial, " dimensions"));
  if (!by_scale && static_cast<int>(size.size()) != spatial)
    refuse(str("output_size has an entry for each of ", spatial, " dimensions"));
  int64_t out[2] = {1, 1}, in[2] = {1, 1};
  double scale[2] = {0, 0};
  for (int d = 0; d < spatial; ++d) {
    const int at = 2 - spatial + d;
    in[at] = x.size(2 + d);
    if (!scales.empty()) {
      scale[at] = scales[d];
      if (!(scales[d] > 0) || !std::isfinite(scales[d])) refuse("scales are positive");
    }
    out[at] = by_scale ? static_cast<int64_t>(std::floor(static_cast<double>(in[at]) * scales[d]))
                       : size[d];
    if (out[at] < 1 || in[at] < 1) refuse(str("cannot resize ", in[at], " to ", out[at]));
  }
  Shape shape = x.shape();
  for (int d = 0; d < spatial; ++d) shape[2 + d] = out[2 - spatial + d];
  const Tensor y = Tensor::empty(shape, x.dtype(), x.device());
  const auto images = [spatial](const Tensor& t) { return spatial == 1 ? unsqueeze(t, 2) : t; };
  const Tensor rows = sources(in[0], out[0], scale[0], exact, x.device()),
               columns = sources(in[1], out[1], scale[1], exact, x.device());
  if (y.numel()) launch(kNearest, {images(y)}, {images(x.detach()), rows, columns});
  if (is_float(x.dtype()) && should_record({&x}))
    record(
        op, {x}, {y},
        [rows, columns, images, of = x.shape(), dtype = x.dtype()](BackwardContext& c) -> Tensors {
          const Tensor g = c.grad().detach(), dx = Tensor::empty(of, dtype, g.device());
          if (dx.numel()) launch(kNearestBackward, {images(dx)}, {images(g), rows, columns});
          return {dx};
        });
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

}  // namespace wellspring
