// convolution and convolution_backward, of one and two dimensions. Images of one dimension are
// those of one row.

#include <algorithm>

#include "python/src/torch/use.h"

namespace wellspring::python {
namespace {

KernelRef kConv("conv"), kConvInput("conv_input"), kConvWeight("conv_weight"), kSum("reduce_sum"),
    kCopy("copy");

// What both directions share; places of arguments differ by one.
struct Geometry {
  int64_t stride[2] = {1, 1}, padding[2] = {0, 0}, dilation[2] = {1, 1}, extra[2] = {0, 0};
  int64_t groups = 1;
  bool transposed = false;

  std::array<Attr, 7> attrs() const {
    return {Attr(stride[0]),   Attr(stride[1]),   Attr(padding[0]), Attr(padding[1]),
            Attr(dilation[0]), Attr(dilation[1]), Attr(groups)};
  }
};

bool read_list(const Arg& a, int spatial, int64_t least, int64_t (&out)[2]) {
  if (a.kind != Kind::ints || (a.count != 1 && a.count != spatial)) return false;
  for (int64_t i = 0; i < a.count; ++i)
    if (a.ints[i] < least) return false;
  if (spatial == 2) out[0] = a.ints[0];
  out[1] = a.ints[a.count - 1];
  return true;
}

// stride, padding, dilation, transposed, output_padding, groups from argument `first` on
std::optional<Geometry> geometry(const Frame& f, int first, int spatial) {
  const Arg* a = f.args + first;
  Geometry g;
  g.transposed = a[3].i != 0, g.groups = a[5].i;
  if (!read_list(a[0], spatial, 1, g.stride) || !read_list(a[1], spatial, 0, g.padding) ||
      !read_list(a[2], spatial, 1, g.dilation) || !read_list(a[4], spatial, 0, g.extra) ||
      g.groups < 1)
    return std::nullopt;
  for (int d = 0; g.transposed && d < 2; ++d)
    if (g.extra[d] >= std::max(g.stride[d], g.dilation[d])) return std::nullopt;
  return g;
}

OwnView images(const TensorArg& t) {
  OwnView v;
  v.data = t.data, v.dtype = dtype_of(t);
  for (int d = 0; d < t.dims; ++d) {
    if (d == 2 && t.dims == 3) v.add(1, t.sizes[2] * t.strides[2]);
    v.add(t.sizes[d], t.strides[d]);
  }
  return v;
}

// Without gaps, in one of the two orders.
bool is_dense(const TensorArg& t) {
  if (!channels_last(t)) return is_contiguous(t);
  int64_t expected = 1;
  for (const int d : {1, 3, 2, 0}) {
    if (t.sizes[d] != 1 && t.strides[d] != expected) return false;
    expected *= t.sizes[d];
  }
  return true;
}

TensorArg make_images(Frame& f, std::span<const int64_t> sizes, int8_t type, bool last) {
  if (!last) return make_result(f, sizes, type);
  const int64_t strides[] = {sizes[1] * sizes[2] * sizes[3], 1, sizes[1] * sizes[3], sizes[1]};
  return make_result(f, sizes, type, strides);
}

// The weight as its kernels want it, row-major.
OwnView packed_taps(const TensorArg& w, std::vector<char>& memory) {
  OwnView v = images(w);
  if (is_contiguous(w)) return v;
  memory.resize(static_cast<size_t>(w.numel) * size_of(v.dtype));
  const View from = v.view();
  OwnView to =
      packed_view(memory.data(), v.dtype, {v.sizes[0], v.sizes[1], v.sizes[2], v.sizes[3]});
  run_kernel(kCopy, {to.view()}, {from});
  return to;
}

// Images in an order that the result has, too, and of dtypes that fit.
bool fits(const TensorArg* x, const TensorArg* w, int64_t groups, bool transposed) {
  if (!x || !w || x->type != w->type || (w->dims != 3 && w->dims != 4) || x->dims != w->dims ||
      x->numel == 0 || w->numel == 0 || !is_dense(*x) || !is_dense(*w))
    return false;
  const DType t = dtype_of(*x);
  if (t != DType::f32 && t != DType::bf16 && t != DType::f64) return false;
  constexpr int64_t kMostElements = int64_t{1} << 26;  // of an image
  return x->numel / x->sizes[0] <= kMostElements &&
         (transposed ? w->sizes[0] == x->sizes[1] && x->sizes[1] % groups == 0
                     : w->sizes[1] * groups == x->sizes[1] && w->sizes[0] % groups == 0);
}

int64_t extent(const Geometry& g, int d, int64_t n, int64_t taps) {
  const int64_t reach = g.dilation[d] * (taps - 1) + 1;
  if (g.transposed) return (n - 1) * g.stride[d] - 2 * g.padding[d] + reach + g.extra[d];
  return n + 2 * g.padding[d] < reach ? 0 : (n + 2 * g.padding[d] - reach) / g.stride[d] + 1;
}

// PyTorch's own (oneDNN's) f32 kernels are faster with channels last and with groups of several.
bool is_faster(const TensorArg& x, const TensorArg& w, int64_t groups) {
  if (dtype_of(x) != DType::f32) return true;
  const bool several = groups > 1 && (w.sizes[1] > 1 || x.sizes[1] != groups);
  return !several && !channels_last(x) && !channels_last(w);
}

// input, weight, bias, stride, padding, dilation, transposed, output_padding, groups
bool forward(Frame& f) {
  const TensorArg *x = taken(f.args[0]), *w = taken(f.args[1]), *b = taken(f.args[2]);
  const auto g = w ? geometry(f, 3, w->dims - 2) : std::nullopt;
  if (!g || !fits(x, w, g->groups, g->transposed) || !is_faster(*x, *w, g->groups)) return false;
  const int64_t filters = g->transposed ? w->sizes[1] * g->groups : w->sizes[0];
  if (!b && !is_none(f.args[2])) return false;
  if (b && (b->type != x->type || b->dims != 1 || b->numel != filters)) return false;
  int64_t sizes[4] = {x->sizes[0], filters};
  for (int d = 2; d < x->dims; ++d) {
    sizes[d] = extent(*g, d - x->dims + 2, x->sizes[d], w->sizes[d]);
    if (sizes[d] <= 0) return false;
  }
  const bool last = channels_last(*x) || channels_last(*w);
  const TensorArg y = make_images(f, {sizes, static_cast<size_t>(x->dims)}, x->type, last);
  std::vector<char> memory;
  const OwnView from = images(*x), taps = packed_taps(*w, memory), to = images(y);
  const View out = to.view(), in[] = {from.view(), taps.view(), b ? view_of(*b) : View{}};
  run_kernel(g->transposed ? kConvInput : kConv, {&out, 1}, in, g->attrs());
  return true;
}

// grad_output, input, weight, bias_sizes, stride, padding, dilation, transposed, output_padding,
// groups, output_mask
bool backward(Frame& f) {
  const TensorArg *dy = taken(f.args[0]), *x = taken(f.args[1]), *w = taken(f.args[2]);
  const auto g = w ? geometry(f, 4, w->dims - 2) : std::nullopt;
  const Arg& mask = f.args[10];
  if (!g || !fits(x, w, g->groups, g->transposed) || !is_faster(*x, *w, g->groups) || !dy ||
      dy->type != x->type || dy->dims != x->dims || dy->numel == 0 || mask.kind != Kind::ints ||
      mask.count != 3)
    return false;
  const bool last = channels_last(*x) || channels_last(*w);
  std::vector<char> memory;
  const OwnView taps = packed_taps(*w, memory), from = images(*x), grad = images(*dy);
  const auto like = [&](const TensorArg& t) {
    return make_images(f, {t.sizes, static_cast<size_t>(t.dims)}, t.type, last);
  };
  const auto attrs = g->attrs();
  TensorArg dx, dw, db;
  if (mask.ints[0])
    dx = like(*x);
  else
    give_back(f, -1);
  if (mask.ints[1])
    dw = like(*w);
  else
    give_back(f, -1);
  if (mask.ints[2])
    db = make_result(f, {dy->sizes + 1, 1}, dy->type);
  else
    give_back(f, -1);
  if (dx.handle) {
    const OwnView to = images(dx);
    const View out = to.view(), in[] = {grad.view(), taps.view(), View{}};
    run_kernel(g->transposed ? kConv : kConvInput, {&out, 1}, in, attrs);
  }
  if (dw.handle) {
    OwnView to = images(dw);
    std::vector<char> wide;
    if (dtype_of(dw) == DType::bf16 || !is_contiguous(dw)) {  // the kernel's is wide and row-major
      const DType type = dtype_of(dw) == DType::f64 ? DType::f64 : DType::f32;
      wide.resize(static_cast<size_t>(dw.numel) * size_of(type));
      to = packed_view(wide.data(), type, {to.sizes[0], to.sizes[1], to.sizes[2], to.sizes[3]});
    }
    const View out = to.view(), a = g->transposed ? grad.view() : from.view(),
               b = g->transposed ? from.view() : grad.view(), in[] = {a, b};
    run_kernel(kConvWeight, {&out, 1}, in, attrs);
    if (!wide.empty()) {
      const OwnView result = images(dw);
      run_kernel(kCopy, {result.view()}, {out});
    }
  }
  if (db.handle) {
    const OwnView to = packed_view(db.data, dtype_of(db), {1, db.sizes[0], 1, 1});
    run_kernel(kSum, {to.view()}, {grad.view()});
  }
  return true;
}

}  // namespace

void add_conv(std::vector<Entry>* all) {
  all->push_back({"aten::convolution", 9, forward});
  all->push_back({"aten::convolution_backward", 11, backward});
}

}  // namespace wellspring::python
