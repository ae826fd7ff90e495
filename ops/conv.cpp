// Checks and derivatives of the convolutions. The kernels know images of two dimensions: of one
// dimension are those of one row.

#include "ops/conv.h"

#include "base/error.h"
#include "base/text.h"
#include "ops/packed.h"
#include "ops/reduce.h"
#include "ops/shape.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace wellspring {
namespace {

KernelRef kConv("conv"), kConvInput("conv_input"), kConvWeight("conv_weight");

using List = std::vector<int64_t>;

// An image's elements that a kernel addresses with 32 bits from a neighbouring one.
constexpr int64_t kMostElements = int64_t{1} << 26;

// One call with everything for two dimensions.
struct Problem {
  const char* op;
  Tensor x, weight, bias;  // detached, [N, C, H, W] and [O, C / groups, R, S]
  int64_t stride[2], padding[2], dilation[2], output_padding[2], groups;
  bool transposed;
  int spatial;
  bool batched;

  std::vector<Attr> attrs() const {
    return {stride[0], stride[1], padding[0], padding[1], dilation[0], dilation[1], groups};
  }
};

[[noreturn]] void refuse(const char* op, const std::string& why, const Tensor& x, const Tensor& w) {
  throw Error(Fault::usage, str(op, ": ", why, " (x ", x.text(), ", weight ", w.text(), ")"));
}

// A list's entry for each of two dimensions; `missing` for the rows of one-dimensional data.
void spread_list(const char* op, const char* name, const List& list, int spatial, int64_t missing,
                 int64_t least, int64_t (&out)[2]) {
  if (list.size() != 1 && static_cast<int>(list.size()) != spatial)
    throw Error(Fault::usage, str(op, ": ", name, " has ", list.size(), " entries, but there are ",
                                  spatial, " spatial dimensions"));
  for (int64_t v : list)
    if (v < least)
      throw Error(Fault::usage, str(op, ": ", name, " is at least ", least, ", but is ", v));
  out[0] = spatial == 1 ? missing : list[0];
  out[1] = list.size() == 1 ? list[0] : list.back();
}

bool takes(DType t) { return t == DType::f32 || t == DType::bf16 || t == DType::f64; }

void check_operands(const char* op, const Tensor& x, const Tensor& w, const Tensor& bias,
                    bool transposed, int64_t groups) {
  if (!x.defined() || !w.defined())
    throw Error(Fault::usage, str(op, ": x or weight is undefined"));
  if (w.dims() != 3 && w.dims() != 4)
    refuse(op, "weight has 3 or 4 dimensions, for one or two of space", x, w);
  if (x.dims() != w.dims() && x.dims() != w.dims() - 1)
    refuse(op, str("x has ", w.dims(), " dimensions, or ", w.dims() - 1, " without a batch"), x, w);
  if (x.dtype() != w.dtype()) refuse(op, "the dtypes must be the same", x, w);
  if (groups < 1) refuse(op, str("groups must be positive, not ", groups), x, w);
  const int64_t channels = x.size(1 - w.dims());
  if (transposed ? w.size(0) != channels || channels % groups
                 : w.size(1) * groups != channels || w.size(0) % groups)
    refuse(op, str("the channels do not fit with ", groups, " groups"), x, w);
  for (int d = 2; d < w.dims(); ++d)
    if (w.size(d) == 0) refuse(op, "weight has no taps", x, w);
  if (!bias.defined()) return;
  const int64_t filters = transposed ? w.size(1) * groups : w.size(0);
  const bool fits =
      bias.dtype() == x.dtype() || (x.dtype() == DType::bf16 && bias.dtype() == DType::f32);
  if (bias.dims() != 1 || bias.size(0) != filters || !fits)
    throw Error(Fault::usage, str(op, ": bias must be ", name_of(x.dtype()), "[", filters,
                                  "], but is ", bias.text()));
}

// Geometry alone: a view with an image of one row where space has one dimension, and a batch.
Tensor as_images(const Tensor& t, int spatial, bool batched) {
  Tensor v = t.detach();
  if (!batched) v = unsqueeze(v, 0);
  return spatial == 1 ? unsqueeze(v, 2) : v;
}
Tensor as_given(const Tensor& images, int spatial, bool batched) {
  Tensor v = spatial == 1 ? squeeze(images, 2) : images;
  return batched ? v : squeeze(v, 0);
}

// The images that come out of x.
Shape result_of(const Problem& p) {
  Shape shape{p.x.size(0), p.transposed ? p.weight.size(1) * p.groups : p.weight.size(0)};
  for (int d = 0; d < 2; ++d) {
    const int64_t n = p.x.size(2 + d), reach = p.dilation[d] * (p.weight.size(2 + d) - 1) + 1;
    int64_t out = 0;
    if (p.transposed)
      out = n ? (n - 1) * p.stride[d] - 2 * p.padding[d] + reach + p.output_padding[d] : 0;
    else
      out = (n + 2 * p.padding[d] - reach) < 0 ? -1
                                               : (n + 2 * p.padding[d] - reach) / p.stride[d] + 1;
    if (out < 0 || (p.transposed && out == 0))
      refuse(p.op,
             str("the patch is ", reach, " long, longer than the padded extent ",
                 n + 2 * p.padding[d]),
             p.x, p.weight);
    shape.push_back(out);
  }
  for (int64_t elements : {p.x.numel() / std::max<int64_t>(1, p.x.size(0)),
                           shape.numel() / std::max<int64_t>(1, shape[0])})
    if (elements > kMostElements)
      refuse(p.op, "an image has more than 2^26 elements", p.x, p.weight);
  return shape;
}

// y = conv(x), or x = its transpose of y.
Tensor forward(const Problem& p, const Tensor& x, const Shape& shape, bool transposed,
               const Tensor& bias) {
  const Tensor y = Tensor::empty(shape, x.dtype(), x.device());
  if (y.numel())
    launch(transposed ? kConvInput : kConv, std::span(&y, 1),
           std::initializer_list<Tensor>{x, p.weight, bias}, p.attrs());
  return y;
}

Tensor weight_gradient(const Problem& p, const Tensor& x, const Tensor& y) {
  const DType wide = x.dtype() == DType::f64 ? DType::f64 : DType::f32;
  if (x.numel() == 0 || y.numel() == 0) return Tensor::zeros(p.weight.shape(), wide, x.device());
  const Tensor dw = Tensor::empty(p.weight.shape(), wide, x.device());
  launch(kConvWeight, std::span(&dw, 1), std::initializer_list<Tensor>{x, y}, p.attrs());
  return dw;
}

Tensor run(Problem p, const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const Shape shape = result_of(p);
  const Tensor y = as_given(forward(p, p.x, shape, p.transposed, p.bias), p.spatial, p.batched);
  if (!should_record({&x, &weight, &bias})) return y;
  const bool with_bias = bias.defined();
  Tensors inputs = {x, weight};
  if (with_bias) inputs.push_back(bias);
  p.x = p.weight = p.bias = Tensor();
  record(p.op, inputs, {y},
         [p, x = Saved(x), w = Saved(weight), with_bias](BackwardContext& c) -> Tensors {
           Problem q = p;
           const Tensor in = c.saved(x);
           const Tensor images = as_images(in, p.spatial, p.batched);
           const Tensor given = c.saved(w), taps = packed(given);
           q.weight = p.spatial == 1 ? unsqueeze(taps, 2) : taps;
           const Tensor dy =
               as_images(c.grad().dtype() == in.dtype() ? c.grad() : to(c.grad(), in.dtype()),
                         p.spatial, p.batched);
           Tensor dx, dw, db;
           if (c.needs(0))
             dx = as_given(forward(q, dy, images.shape(), !p.transposed, Tensor()), p.spatial,
                           p.batched);
           if (c.needs(1)) {
             dw = p.transposed ? weight_gradient(q, dy, images) : weight_gradient(q, images, dy);
             dw = dw.as_strided(given.shape(), contiguous_strides(given.shape()), 0);
           }
           if (!with_bias) return {dx, dw};
           if (c.needs(2))
             db = sum(dy, {0, 2, 3}, false, dy.dtype() == DType::f64 ? DType::f64 : DType::f32);
           return {dx, dw, db};
         });
  return y;
}

Tensor convolve(const char* op, const Tensor& x, const Tensor& weight, const Tensor& bias,
                const List& stride, const List& padding, const List& dilation, bool transposed,
                const List& output_padding, int64_t groups) {
  check_operands(op, x, weight, bias, transposed, groups);
  if (x.dtype() == DType::f16)  // computed in f32
    return to(convolve(op, to(x, DType::f32), to(weight, DType::f32),
                       bias.defined() ? to(bias, DType::f32) : bias, stride, padding, dilation,
                       transposed, output_padding, groups),
              DType::f16);
  if (!takes(x.dtype())) refuse(op, "the dtype must be f32, bf16, f16 or f64", x, weight);
  Problem p;
  p.op = op, p.groups = groups, p.transposed = transposed;
  p.spatial = weight.dims() - 2, p.batched = x.dims() == weight.dims();
  spread_list(op, "stride", stride, p.spatial, 1, 1, p.stride);
  spread_list(op, "padding", padding, p.spatial, 0, 0, p.padding);
  spread_list(op, "dilation", dilation, p.spatial, 1, 1, p.dilation);
  spread_list(op, "output_padding", output_padding, p.spatial, 0, 0, p.output_padding);
  for (int d = 0; transposed && d < 2; ++d)
    if (p.output_padding[d] >= std::max(p.stride[d], p.dilation[d]))
      refuse(op, "output_padding must be less than stride or dilation", x, weight);
  p.x = as_images(x, p.spatial, p.batched);
  p.weight = packed(weight);
  if (p.spatial == 1) p.weight = unsqueeze(p.weight, 2);
  p.bias = bias.defined() ? bias.detach() : Tensor();
  return run(std::move(p), x, weight, bias);
}

void check_spatial(const char* op, const Tensor& x, const Tensor& weight, int spatial) {
  if (weight.defined() && weight.dims() != 2 + spatial)
    refuse(op, str("weight has ", 2 + spatial, " dimensions"), x, weight);
}

// "same" in numbers, once x is padded where an uneven rest needs it on the right.
List padding_of(const char* op, std::string_view name, Tensor& x, const Tensor& weight,
                const List& stride, const List& dilation, int spatial) {
  check_spatial(op, x, weight, spatial);
  if (name == "valid") return {0};
  if (name != "same")
    throw Error(Fault::usage,
                str(op, ": padding is \"same\", \"valid\" or numbers, not \"", name, "\""));
  for (int64_t v : stride)
    if (v != 1) throw Error(Fault::usage, str(op, ": padding \"same\" needs a stride of 1"));
  List result;
  for (int d = 0; d < spatial; ++d) {
    const int64_t step = dilation.size() == 1 ? dilation[0] : dilation.at(d);
    const int64_t total = step * (weight.size(2 + d) - 1);
    result.push_back(total / 2);
    if (total % 2 == 0) continue;
    Shape extra = x.shape();
    const int at = x.dims() - spatial + d;
    extra[at] = 1;
    const Tensor parts[] = {x, Tensor::zeros(extra, x.dtype(), x.device())};
    x = cat(parts, at);
  }
  return result;
}

}  // namespace

Tensor convolution(const Tensor& x, const Tensor& weight, const Tensor& bias, const List& stride,
                   const List& padding, const List& dilation, bool transposed,
                   const List& output_padding, int64_t groups) {
  return convolve("convolution", x, weight, bias, stride, padding, dilation, transposed,
                  output_padding, groups);
}

Tensor _convolution(const Tensor& x, const Tensor& weight, const Tensor& bias, const List& stride,
                    const List& padding, const List& dilation, bool transposed,
                    const List& output_padding, int64_t groups, bool, bool, bool, bool) {
  return convolve("_convolution", x, weight, bias, stride, padding, dilation, transposed,
                  output_padding, groups);
}

Tensor conv1d(const Tensor& x, const Tensor& weight, const Tensor& bias, const List& stride,
              const List& padding, const List& dilation, int64_t groups) {
  check_spatial("conv1d", x, weight, 1);
  return convolve("conv1d", x, weight, bias, stride, padding, dilation, false, {0}, groups);
}
Tensor conv1d_padded(const Tensor& x, const Tensor& weight, const Tensor& bias, const List& stride,
                     std::string_view padding, const List& dilation, int64_t groups) {
  Tensor padded = x;
  const List amount = padding_of("conv1d_padded", padding, padded, weight, stride, dilation, 1);
  return conv1d(padded, weight, bias, stride, amount, dilation, groups);
}

Tensor conv2d(const Tensor& x, const Tensor& weight, const Tensor& bias, const List& stride,
              const List& padding, const List& dilation, int64_t groups) {
  check_spatial("conv2d", x, weight, 2);
  return convolve("conv2d", x, weight, bias, stride, padding, dilation, false, {0}, groups);
}
Tensor conv2d_padded(const Tensor& x, const Tensor& weight, const Tensor& bias, const List& stride,
                     std::string_view padding, const List& dilation, int64_t groups) {
  Tensor padded = x;
  const List amount = padding_of("conv2d_padded", padding, padded, weight, stride, dilation, 2);
  return conv2d(padded, weight, bias, stride, amount, dilation, groups);
}

Tensor conv_transpose1d(const Tensor& x, const Tensor& weight, const Tensor& bias,
                        const List& stride, const List& padding, const List& output_padding,
                        int64_t groups, const List& dilation) {
  check_spatial("conv_transpose1d", x, weight, 1);
  return convolve("conv_transpose1d", x, weight, bias, stride, padding, dilation, true,
                  output_padding, groups);
}
Tensor conv_transpose2d(const Tensor& x, const Tensor& weight, const Tensor& bias,
                        const List& stride, const List& padding, const List& output_padding,
                        int64_t groups, const List& dilation) {
  check_spatial("conv_transpose2d", x, weight, 2);
  return convolve("conv_transpose2d", x, weight, bias, stride, padding, dilation, true,
                  output_padding, groups);
}

Tensor _conv_depthwise2d(const Tensor& x, const Tensor& weight, const List& kernel_size,
                         const Tensor& bias, const List& stride, const List& padding,
                         const List& dilation) {
  const char* op = "_conv_depthwise2d";
  check_spatial(op, x, weight, 2);
  if (x.dims() < 3) refuse(op, "x is [N, C, H, W]", x, weight);
  for (size_t d = 0; d < 2; ++d)
    if (kernel_size.size() != 2 || kernel_size[d] != weight.size(2 + static_cast<int>(d)))
      refuse(op, "kernel_size must be the taps of weight", x, weight);
  return convolve(op, x, weight, bias, stride, padding, dilation, false, {0}, x.size(-3));
}

Tensor cudnn_convolution(const Tensor& x, const Tensor& weight, const List& padding,
                         const List& stride, const List& dilation, int64_t groups, bool, bool,
                         bool) {
  return convolve("cudnn_convolution", x, weight, {}, stride, padding, dilation, false, {0},
                  groups);
}

}  // namespace wellspring
