// native_layer_norm and its derivative. The kernels' weights, statistics and their gradients are
// f32; PyTorch's may be bf16, and are converted, a row of them at most.

#include "python/src/torch/rows.h"

namespace wellspring::python {
namespace {

KernelRef kLayer("layer_norm"), kLayerBackward("layer_norm_backward");

// A weight or bias that is none, or fits rows of x.
bool fits(const Arg& a, const Rows& rows, const TensorArg& x) {
  return is_none(a) || is_vector(taken(a), rows.width, x);
}
// Its values; of none `value`, as often as a row is wide.
std::vector<float> values_or(const Arg& a, const Rows& rows, float value) {
  return is_none(a) ? std::vector<float>(static_cast<size_t>(rows.width), value)
                    : values_of(*taken(a));
}

bool forward(Frame& f) {  // input, normalized_shape, weight, bias, eps
  const TensorArg *x = taken(f.args[0]), *weight = taken(f.args[2]), *bias = taken(f.args[3]);
  const auto rows = rows_of(x, f.args[1]);
  if (!rows || !fits(f.args[2], *rows, *x) || !fits(f.args[3], *rows, *x) ||
      (weight && bias && weight->type != bias->type))
    return false;
  const int8_t statistics = weight ? weight->type : bias ? bias->type : x->type;
  const TensorArg y = make_like(f, *x);
  int64_t sizes[kMaxDims];
  for (int d = 0; d < x->dims; ++d) sizes[d] = d < rows->leading ? x->sizes[d] : 1;
  const std::span<const int64_t> shape(sizes, static_cast<size_t>(x->dims));
  const TensorArg mean = make_result(f, shape, statistics),
                  rstd = make_result(f, shape, statistics);
  std::vector<float> both(static_cast<size_t>(2 * rows->count)), w = values_or(f.args[2], *rows, 1),
                                                                 b = values_or(f.args[3], *rows, 0);
  const OwnView in = packed_view(x->data, dtype_of(*x), {rows->count, rows->width}),
                out = packed_view(y.data, dtype_of(y), {rows->count, rows->width}),
                stats = packed_view(both.data(), DType::f32, {rows->count, 2});
  const OwnView scale = floats(w), shift = floats(b);
  run_kernel(kLayer, {out.view(), stats.view(), View{}},
             {in.view(), scale.view(), shift.view(), View{}}, {*number_of(f.args[4])});
  for (int64_t i = 0; i < rows->count; ++i) {
    put(mean, i, both[static_cast<size_t>(2 * i)]);
    put(rstd, i, both[static_cast<size_t>(2 * i + 1)]);
  }
  return true;
}

// grad_out, input, normalized_shape, mean, rstd, weight, bias, output_mask
bool backward(Frame& f) {
  const TensorArg *dy = taken(f.args[0]), *x = taken(f.args[1]), *mean = taken(f.args[3]),
                  *rstd = taken(f.args[4]), *weight = taken(f.args[5]), *bias = taken(f.args[6]);
  const auto rows = rows_of(x, f.args[2]);
  const Arg& mask = f.args[7];
  if (!rows || !dy || dy->type != x->type || !is_contiguous(*dy) || !fits(f.args[5], *rows, *x) ||
      !fits(f.args[6], *rows, *x) || !is_vector(mean, rows->count, *x) ||
      !is_vector(rstd, rows->count, *x) || mask.kind != Kind::ints || mask.count != 3 ||
      !mask.ints[0] || dy->numel != x->numel)
    return false;
  std::vector<float> both(static_cast<size_t>(2 * rows->count)), w = values_or(f.args[5], *rows, 1),
                                                                 sums[2];
  for (int64_t i = 0; i < rows->count; ++i) {
    both[static_cast<size_t>(2 * i)] = value_at(*mean, i);
    both[static_cast<size_t>(2 * i + 1)] = value_at(*rstd, i);
  }
  const auto matrix = [&](const TensorArg& t) {
    return packed_view(t.data, dtype_of(t), {rows->count, rows->width});
  };
  const TensorArg dx = make_like(f, *x);
  TensorArg grads[2];
  OwnView targets[2];
  for (int i : {0, 1}) {
    const TensorArg* vector = i ? bias : weight;
    if (!mask.ints[1 + i] || !vector) {
      give_back(f, -1);
      continue;
    }
    grads[i] = make_like(f, *vector);
    sums[i].resize(static_cast<size_t>(rows->width));
    targets[i] = floats(sums[i]);
  }
  const auto target = [&](int i) { return grads[i].handle ? targets[i].view() : View{}; };
  const OwnView in = matrix(*x), out = matrix(dx), gradient = matrix(*dy),
                stats = packed_view(both.data(), DType::f32, {rows->count, 2}), scale = floats(w);
  run_kernel(kLayerBackward, {out.view(), View{}, target(0), target(1)},
             {gradient.view(), in.view(), scale.view(), stats.view(), View{}});
  for (int i : {0, 1})
    for (int64_t k = 0; grads[i].handle && k < rows->width; ++k)
      put(grads[i], k, sums[i][static_cast<size_t>(k)]);
  return true;
}

}  // namespace

void add_norm(std::vector<Entry>* all) {
  all->push_back({"aten::native_layer_norm", 5, forward});
  all->push_back({"aten::native_layer_norm_backward", 8, backward});
}

}  // namespace wellspring::python
