// Checks and derivatives of pooling. Windows are described by tables of rows and columns, one line
// for each output: first place, end, and step (max) or the number that a mean divides by (avg).

#include "ops/pool.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "ops/image_call.h"
#include "ops/shape.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace wellspring {
namespace {

KernelRef kMax("max_pool"), kMaxBackward("max_pool_backward"), kAvg("avg_pool"),
    kAvgBackward("avg_pool_backward");

using List = std::vector<int64_t>;

struct Windows {
  std::vector<int64_t> lines;  // three numbers for each output
  int64_t count() const { return static_cast<int64_t>(lines.size()) / 3; }
  Tensor table(Device device) const {
    return Tensor::from(std::span<const int64_t>(lines), {count(), 3}, device);
  }
  // Outputs whose window lies in the padding alone.
  std::vector<int64_t> outside() const {
    std::vector<int64_t> all;
    for (int64_t i = 0; i < count(); ++i)
      if (lines[3 * i] >= lines[3 * i + 1]) all.push_back(i);
    return all;
  }
};

// How one dimension is cut.
struct Cut {
  int64_t kernel, stride, padding, dilation;
};

[[noreturn]] void refuse(const char* op, const std::string& why, const Tensor& x) {
  throw Error(Fault::usage, str(op, ": ", why, " (x ", x.defined() ? x.text() : "undefined", ")"));
}

void check_images(const char* op, const Tensor& x, int spatial) {
  if (!x.defined() || !is_float(x.dtype()) || (x.dims() != spatial + 2 && x.dims() != spatial + 1))
    refuse(op, str("x is floating with ", spatial + 2, " dimensions, or one fewer without a batch"),
           x);
}

int64_t entry(const char* op, const char* name, const List& list, int d, int spatial, int64_t least,
              const Tensor& x) {
  if (list.size() != 1 && static_cast<int>(list.size()) != spatial)
    refuse(op, str(name, " has ", list.size(), " entries"), x);
  const int64_t v = list.size() == 1 ? list[0] : list[d];
  if (v < least) refuse(op, str(name, " is at least ", least, ", not ", v), x);
  return v;
}

Cut cut_of(const char* op, const Tensor& x, int d, int spatial, const List& kernel,
           const List& stride, const List& padding, const List& dilation) {
  Cut c;
  c.kernel = entry(op, "kernel_size", kernel, d, spatial, 1, x);
  c.stride = stride.empty() ? c.kernel : entry(op, "stride", stride, d, spatial, 1, x);
  c.padding = entry(op, "padding", padding, d, spatial, 0, x);
  c.dilation = entry(op, "dilation", dilation, d, spatial, 1, x);
  if (2 * c.padding > c.kernel)
    refuse(op, str("padding ", c.padding, " is more than half of the kernel ", c.kernel), x);
  return c;
}

int64_t outputs_of(const char* op, const Tensor& x, int64_t n, const Cut& c, bool ceil_mode) {
  if (n < 1) refuse(op, "an image has no elements", x);
  const int64_t room = n + 2 * c.padding - c.dilation * (c.kernel - 1) - 1;
  if (room < 0)
    refuse(op, str("the window is longer than the padded extent ", n + 2 * c.padding), x);
  int64_t count = (room + (ceil_mode ? c.stride - 1 : 0)) / c.stride + 1;
  // The last window begins inside.
  if (ceil_mode && (count - 1) * c.stride >= n + c.padding) --count;
  return count;
}

// A window of padding alone begins and ends at the last place.
Windows max_windows(const char* op, const Tensor& x, int64_t n, const Cut& c, bool ceil_mode) {
  Windows w;
  for (int64_t i = 0, count = outputs_of(op, x, n, c, ceil_mode); i < count; ++i) {
    int64_t first = i * c.stride - c.padding;
    const int64_t end = std::min(first + (c.kernel - 1) * c.dilation + 1, n);
    while (first < 0) first += c.dilation;
    w.lines.insert(w.lines.end(), {std::min(first, n - 1), end, c.dilation});
  }
  return w;
}
Windows avg_windows(const char* op, const Tensor& x, int64_t n, const Cut& c, bool ceil_mode,
                    bool with_padding) {
  Windows w;
  for (int64_t i = 0, count = outputs_of(op, x, n, c, ceil_mode); i < count; ++i) {
    const int64_t first = i * c.stride - c.padding, end = std::min(first + c.kernel, n + c.padding);
    const int64_t from = std::max<int64_t>(first, 0), to = std::min(end, n);
    w.lines.insert(w.lines.end(), {from, to, with_padding ? end - first : to - from});
  }
  return w;
}
Windows adaptive_windows(const char* op, const Tensor& x, int64_t n, int64_t m, bool mean) {
  if (m < 1 || n < 1) refuse(op, str("cannot cut ", n, " into ", m, " parts"), x);
  Windows w;
  for (int64_t i = 0; i < m; ++i) {
    const int64_t from = i * n / m, to = ((i + 1) * n + m - 1) / m;
    w.lines.insert(w.lines.end(), {from, to, mean ? to - from : 1});
  }
  return w;
}

// x as images [N, C, H, W], and back.
struct Frame {
  int spatial;
  bool batched;
  Tensor images(const Tensor& t) const {
    const Tensor v = batched ? t : unsqueeze(t, 0);
    return spatial == 1 ? unsqueeze(v, 2) : v;
  }
  Shape given(const Shape& images) const {
    Shape s;
    for (int d = batched ? 0 : 1; d < 4; ++d)
      if (spatial == 2 || d != 2) s.push_back(images[d]);
    return s;
  }
};

Tensor seen_as(const Tensor& t, const Shape& shape) {
  return t.as_strided(shape, contiguous_strides(shape), 0);
}

Shape result_of(const Tensor& images, const Windows& rows, const Windows& columns) {
  return {images.size(0), images.size(1), rows.count(), columns.count()};
}

std::tuple<Tensor, Tensor> pool_max(const char* op, const Tensor& x, int spatial,
                                    const Windows& rows, const Windows& columns) {
  const Frame f{spatial, x.dims() == spatial + 2};
  const Tensor images = f.images(x.detach());
  const Shape shape = result_of(images, rows, columns);
  const Tensor y = Tensor::empty(shape, x.dtype(), x.device()),
               at = Tensor::empty(shape, DType::i64, x.device());
  if (y.numel()) launch(kMax, {y, at}, {images, rows.table(x.device()), columns.table(x.device())});
  const Tensor result = seen_as(y, f.given(shape));
  if (should_record({&x}))
    record(op, {x}, {result},
           [f, at, of = images.shape(), dtype = x.dtype(), no_rows = rows.outside(),
            no_columns = columns.outside()](BackwardContext& c) -> Tensors {
             Tensor dy = f.images(c.grad().detach());
             if (!no_rows.empty() || !no_columns.empty()) dy = clone(dy);
             for (int64_t i : no_rows) zero_(select(dy, 2, i));
             for (int64_t i : no_columns) zero_(select(dy, 3, i));
             const Tensor dx = Tensor::empty(of, dtype, at.device());
             if (dx.numel()) launch(kMaxBackward, {dx}, {dy, at});
             return {seen_as(dx, f.given(of))};
           });
  return {result, seen_as(at, f.given(shape))};
}

// How means are taken of images: where their windows lie.
struct Means {
  Frame frame;
  Tensor rows, columns;
  int64_t divisor;
  Shape images;
  DType dtype;
  Shape results() const { return {images[0], images[1], rows.size(0), columns.size(0)}; }
  Tensor forward(const Tensor& x) const {
    const Tensor y = Tensor::empty(results(), dtype, x.device());
    if (y.numel()) launch(kAvg, {y}, {frame.images(x.detach()), rows, columns}, {divisor});
    return seen_as(y, frame.given(y.shape()));
  }
  Tensor backward(const Tensor& dy) const {
    const Tensor dx = Tensor::empty(images, dtype, dy.device());
    if (dx.numel())
      launch(kAvgBackward, {dx}, {frame.images(dy.detach()), rows, columns}, {divisor});
    return seen_as(dx, frame.given(images));
  }
};
Means means_of(const Tensor& x, int spatial, const Windows& rows, const Windows& columns,
               int64_t divisor) {
  const Frame f{spatial, x.dims() == spatial + 2};
  return {f,       rows.table(x.device()),       columns.table(x.device()),
          divisor, f.images(x.detach()).shape(), x.dtype()};
}

Tensor pool_avg(const char* op, const Tensor& x, const Means& means) {
  const Tensor y = means.forward(x);
  if (should_record({&x}))
    record(op, {x}, {y},
           [means](BackwardContext& b) -> Tensors { return {means.backward(b.grad())}; });
  return y;
}

// The gradient of x, of that of the means.
Tensor gradient_of(const char* op, const Tensor& dy, const Tensor& x, const Means& means) {
  if (!dy.defined() || dy.dtype() != x.dtype() || dy.shape() != means.frame.given(means.results()))
    refuse(op,
           str("the gradient ", dy.defined() ? dy.text() : "undefined", " is not of ",
               means.frame.given(means.results()).text()),
           x);
  return means.backward(dy);
}

// One row that is its own window, for x of one spatial dimension.
Windows one_row() { return {{0, 1, 1}}; }

std::tuple<Tensor, Tensor> max_pool(const char* op, const Tensor& x, int spatial,
                                    const List& kernel, const List& stride, const List& padding,
                                    const List& dilation, bool ceil_mode) {
  check_images(op, x, spatial);
  const auto windows = [&](int d) {
    return max_windows(op, x, x.size(d - spatial),
                       cut_of(op, x, d, spatial, kernel, stride, padding, dilation), ceil_mode);
  };
  return pool_max(op, x, spatial, spatial == 2 ? windows(0) : one_row(), windows(spatial - 1));
}

Means avg_pool(const char* op, const Tensor& x, int spatial, const List& kernel, const List& stride,
               const List& padding, bool ceil_mode, bool with_padding, int64_t divisor) {
  check_images(op, x, spatial);
  const auto windows = [&](int d) {
    return avg_windows(op, x, x.size(d - spatial),
                       cut_of(op, x, d, spatial, kernel, stride, padding, {1}), ceil_mode,
                       with_padding);
  };
  return means_of(x, spatial, spatial == 2 ? windows(0) : one_row(), windows(spatial - 1), divisor);
}

Windows adaptive(const char* op, const Tensor& x, int d, int spatial, const List& size, bool mean) {
  check_images(op, x, spatial);
  return adaptive_windows(op, x, x.size(d - spatial),
                          entry(op, "output_size", size, d, spatial, 1, x), mean);
}
Means adaptive_means(const char* op, const Tensor& x, const List& size) {
  return means_of(x, 2, adaptive(op, x, 0, 2, size, true), adaptive(op, x, 1, 2, size, true), 0);
}

int64_t checked_divisor(const char* op, const Tensor& x, std::optional<int64_t> given) {
  if (given && *given == 0) refuse(op, "divisor_override must not be 0", x);
  return given.value_or(0);
}

}  // namespace

std::tuple<Tensor, Tensor> max_pool2d_with_indices(const Tensor& x, const List& kernel_size,
                                                   const List& stride, const List& padding,
                                                   const List& dilation, bool ceil_mode) {
  return max_pool("max_pool2d_with_indices", x, 2, kernel_size, stride, padding, dilation,
                  ceil_mode);
}
Tensor max_pool2d(const Tensor& x, const List& kernel_size, const List& stride, const List& padding,
                  const List& dilation, bool ceil_mode) {
  return std::get<0>(
      max_pool("max_pool2d", x, 2, kernel_size, stride, padding, dilation, ceil_mode));
}
Tensor max_pool1d(const Tensor& x, const List& kernel_size, const List& stride, const List& padding,
                  const List& dilation, bool ceil_mode) {
  return std::get<0>(
      max_pool("max_pool1d", x, 1, kernel_size, stride, padding, dilation, ceil_mode));
}

Tensor avg_pool2d(const Tensor& x, const List& kernel_size, const List& stride, const List& padding,
                  bool ceil_mode, bool count_include_pad, std::optional<int64_t> divisor_override) {
  const char* op = "avg_pool2d";
  return pool_avg(op, x,
                  avg_pool(op, x, 2, kernel_size, stride, padding, ceil_mode, count_include_pad,
                           checked_divisor(op, x, divisor_override)));
}
Tensor avg_pool2d_backward(const Tensor& dy, const Tensor& x, const List& kernel_size,
                           const List& stride, const List& padding, bool ceil_mode,
                           bool count_include_pad, std::optional<int64_t> divisor_override) {
  const char* op = "avg_pool2d_backward";
  return gradient_of(op, dy, x,
                     avg_pool(op, x, 2, kernel_size, stride, padding, ceil_mode, count_include_pad,
                              checked_divisor(op, x, divisor_override)));
}
Tensor avg_pool1d(const Tensor& x, const List& kernel_size, const List& stride, const List& padding,
                  bool ceil_mode, bool count_include_pad) {
  const char* op = "avg_pool1d";
  return pool_avg(
      op, x, avg_pool(op, x, 1, kernel_size, stride, padding, ceil_mode, count_include_pad, 0));
}

Tensor adaptive_avg_pool2d(const Tensor& x, const List& output_size) {
  const char* op = "adaptive_avg_pool2d";
  return pool_avg(op, x, adaptive_means(op, x, output_size));
}
Tensor adaptive_avg_pool2d_backward(const Tensor& dy, const Tensor& x) {
  const char* op = "adaptive_avg_pool2d_backward";
  if (!dy.defined() || dy.dims() < 2) refuse(op, "the gradient has no images", x);
  return gradient_of(op, dy, x, adaptive_means(op, x, {dy.size(-2), dy.size(-1)}));
}
Tensor adaptive_avg_pool1d(const Tensor& x, const List& output_size) {
  const char* op = "adaptive_avg_pool1d";
  return pool_avg(op, x, means_of(x, 1, one_row(), adaptive(op, x, 0, 1, output_size, true), 0));
}
std::tuple<Tensor, Tensor> adaptive_max_pool2d(const Tensor& x, const List& output_size) {
  const char* op = "adaptive_max_pool2d";
  return pool_max(op, x, 2, adaptive(op, x, 0, 2, output_size, false),
                  adaptive(op, x, 1, 2, output_size, false));
}

}  // namespace wellspring
