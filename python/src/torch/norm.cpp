// native_layer_norm and its derivative.

#include "python/src/torch/use.h"

namespace wellspring::python {
namespace {

KernelRef kLayer("layer_norm"), kLayerBackward("layer_norm_backward");
using torch_bridge::kF32;

// x as [rows, width] over the normalised dimensions; nothing when the kernels do not take it.
struct Rows {
  int64_t count = 1, width = 1;
  int leading = 0;  // dimensions before
};
std::optional<Rows> rows_of(const TensorArg* x, const Arg& shape) {
  if (!x || shape.kind != Kind::ints || shape.count < 1 || shape.count > x->dims || x->numel == 0 ||
      !is_contiguous(*x) || (dtype_of(*x) != DType::f32 && dtype_of(*x) != DType::bf16))
    return std::nullopt;
  Rows r;
  r.leading = x->dims - static_cast<int>(shape.count);
  for (int64_t i = 0; i < shape.count; ++i) {
    if (shape.ints[i] != x->sizes[r.leading + i]) return std::nullopt;
    r.width *= shape.ints[i];
  }
  r.count = x->numel / r.width;
  return r;
}

bool is_weight(const TensorArg* w, int64_t width) {
  return w && w->type == kF32 && w->numel == width && is_contiguous(*w);
}

bool forward(Frame& f) {  // input, normalized_shape, weight, bias, eps
  const TensorArg *x = taken(f.args[0]), *weight = taken(f.args[2]), *bias = taken(f.args[3]);
  const auto rows = rows_of(x, f.args[1]);
  if (!rows || !is_weight(weight, rows->width) || !is_weight(bias, rows->width)) return false;
  const TensorArg y = make_like(f, *x);
  int64_t sizes[kMaxDims];
  for (int d = 0; d < x->dims; ++d) sizes[d] = d < rows->leading ? x->sizes[d] : 1;
  const std::span<const int64_t> shape(sizes, static_cast<size_t>(x->dims));
  const TensorArg mean = make_result(f, shape, kF32), rstd = make_result(f, shape, kF32);
  std::vector<float> both(static_cast<size_t>(2 * rows->count));
  const OwnView in = packed_view(x->data, dtype_of(*x), {rows->count, rows->width}),
                out = packed_view(y.data, dtype_of(y), {rows->count, rows->width}),
                stats = packed_view(both.data(), DType::f32, {rows->count, 2}),
                w = packed_view(weight->data, DType::f32, {rows->width}),
                b = packed_view(bias->data, DType::f32, {rows->width});
  run_kernel(kLayer, {out.view(), stats.view(), View{}}, {in.view(), w.view(), b.view(), View{}},
             {*number_of(f.args[4])});
  for (int64_t i = 0; i < rows->count; ++i) {
    static_cast<float*>(mean.data)[i] = both[static_cast<size_t>(2 * i)];
    static_cast<float*>(rstd.data)[i] = both[static_cast<size_t>(2 * i + 1)];
  }
  return true;
}

// grad_out, input, normalized_shape, mean, rstd, weight, bias, output_mask
bool backward(Frame& f) {
  const TensorArg *dy = taken(f.args[0]), *x = taken(f.args[1]), *mean = taken(f.args[3]),
                  *rstd = taken(f.args[4]), *weight = taken(f.args[5]);
  const auto rows = rows_of(x, f.args[2]);
  const Arg& mask = f.args[7];
  if (!rows || !dy || dy->type != x->type || !is_contiguous(*dy) ||
      !is_weight(weight, rows->width) || !is_weight(mean, rows->count) ||
      !is_weight(rstd, rows->count) || mask.kind != Kind::ints || mask.count != 3 || !mask.ints[0])
    return false;
  std::vector<float> both(static_cast<size_t>(2 * rows->count));
  for (int64_t i = 0; i < rows->count; ++i) {
    both[static_cast<size_t>(2 * i)] = static_cast<const float*>(mean->data)[i];
    both[static_cast<size_t>(2 * i + 1)] = static_cast<const float*>(rstd->data)[i];
  }
  const TensorArg dx = make_like(f, *x);
  View grads[2];
  OwnView kept[2];
  for (int i : {0, 1}) {
    if (!mask.ints[1 + i]) {
      give_back(f, -1);
      continue;
    }
    const TensorArg g = make_like(f, *weight);
    kept[i] = packed_view(g.data, DType::f32, {rows->width});
    grads[i] = kept[i].view();
  }
  const auto matrix = [&](const TensorArg& t) {
    return packed_view(t.data, dtype_of(t), {rows->count, rows->width});
  };
  const OwnView in = matrix(*x), out = matrix(dx), gradient = matrix(*dy),
                stats = packed_view(both.data(), DType::f32, {rows->count, 2}),
                w = packed_view(weight->data, DType::f32, {rows->width});
  run_kernel(kLayerBackward, {out.view(), View{}, grads[0], grads[1]},
             {gradient.view(), in.view(), w.view(), stats.view(), View{}});
  return true;
}

}  // namespace

void add_norm(std::vector<Entry>* all) {
  all->push_back({"aten::native_layer_norm", 5, forward});
  all->push_back({"aten::native_layer_norm_backward", 8, backward});
}

}  // namespace wellspring::python
