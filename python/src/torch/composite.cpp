// Operators that PyTorch composes of others, as one kernel each way: cross_entropy_loss, whose
// probabilities are never stored, and rms_norm.

#include <cmath>
#include <limits>

#include "python/src/torch/rows.h"
#include "python/src/torch/use.h"

namespace wellspring::python {
namespace {

KernelRef kCrossEntropy("cross_entropy"), kCrossEntropyBackward("cross_entropy_backward"),
    kRms("rms_norm"), kRmsBackward("rms_norm_backward");
using torch_bridge::kBF16;
using torch_bridge::kF32;

enum Reduction : int64_t { kKeep = 0, kMean = 1, kSum = 2 };

// self, target, weight, reduction, ignore_index, label_smoothing
struct Loss {
  const TensorArg *x = nullptr, *target = nullptr;
  int64_t reduction = 0, ignored = 0, counted = 0;
};
std::optional<Loss> loss_of(const Arg* a) {
  Loss l{taken(a[0]), taken(a[1]), a[3].i, a[4].i};
  if (!l.x || l.x->dims != 2 || l.x->numel == 0 || !is_contiguous(*l.x) ||
      (l.x->type != kF32 && l.x->type != kBF16) || !is_none(a[2]) || l.reduction == kKeep ||
      number_of(a[5]) != 0.0 || !l.target || l.target->dims != 1 ||
      l.target->type != torch_bridge::kI64 || l.target->sizes[0] != l.x->sizes[0] ||
      !takes_ids(l.target, l.x->sizes[1], l.ignored, &l.counted))
    return std::nullopt;
  return l;
}

bool loss_forward(Frame& f) {
  const auto l = loss_of(f.args);
  if (!l) return false;
  const TensorArg result = make_result(f, {}, l->x->type),
                  lse = make_result(f, {l->x->sizes, 1}, kF32);
  std::vector<float> losses(static_cast<size_t>(l->x->sizes[0]));
  const OwnView to = floats(losses);
  run_kernel(kCrossEntropy, {to.view(), view_of(lse), View{}},
             {view_of(*l->x), view_of(*l->target)}, {1.0, 1.0, l->ignored});
  double sum = 0;
  for (const float v : losses) sum += static_cast<double>(v);
  put(result, 0,
      static_cast<float>(l->reduction == kMean ? sum / static_cast<double>(l->counted) : sum));
  return true;
}

// gradient, the six of the operator, lse, which gradients
bool loss_backward(Frame& f) {
  const TensorArg *g = taken(f.args[0]), *lse = taken(f.args[7]);
  const auto l = loss_of(f.args + 1);
  if (!l || !g || !lse || g->numel != 1 || (g->type != kF32 && g->type != kBF16)) return false;
  const TensorArg dx = make_like(f, *l->x);
  const double gradient = static_cast<double>(value_at(*g, 0));
  run_kernel(
      kCrossEntropyBackward, {view_of(dx)}, {view_of(*l->x), view_of(*l->target), view_of(*lse)},
      {l->reduction == kMean ? gradient / static_cast<double>(l->counted) : gradient, l->ignored});
  return true;
}

// input, normalized_shape, weight, eps
struct Norm {
  const TensorArg *x = nullptr, *weight = nullptr;
  Rows rows;
  double eps = 0;
};
std::optional<Norm> norm_of(const Arg* a) {
  Norm n;
  n.x = taken(a[0]), n.weight = taken(a[2]);
  const auto rows = rows_of(n.x, a[1]);
  if (!rows || !is_vector(n.weight, rows->width, *n.x)) return std::nullopt;
  if (n.weight->type != n.x->type) return std::nullopt;  // the result's type is another one then
  if (is_none(a[3]) && n.x->type != kF32) return std::nullopt;
  n.rows = *rows;
  n.eps = number_of(a[3]).value_or(std::numeric_limits<float>::epsilon());
  return n;
}

bool norm_forward(Frame& f) {
  const auto n = norm_of(f.args);
  if (!n || !(n->eps >= 0) || !std::isfinite(n->eps)) return false;
  const TensorArg y = make_like(f, *n->x), stats = make_result(f, {&n->rows.count, 1}, kF32);
  std::vector<float> w = values_of(*n->weight);
  const OwnView in = as_rows(*n->x, n->rows), out = as_rows(y, n->rows), scale = floats(w),
                rstd = packed_view(stats.data, DType::f32, {n->rows.count, 1});
  run_kernel(kRms, {out.view(), rstd.view(), View{}}, {in.view(), scale.view(), View{}, View{}},
             {n->eps});
  return true;
}

// gradient, the four of the operator, stats, which gradients
bool norm_backward(Frame& f) {
  const TensorArg *dy = taken(f.args[0]), *stats = taken(f.args[5]);
  const auto n = norm_of(f.args + 1);
  if (!n || !dy || !stats || dy->type != n->x->type || dy->numel != n->x->numel ||
      !is_contiguous(*dy))
    return false;
  const bool with_weight = f.args[6].ints[1] != 0;
  const TensorArg dx = make_like(f, *n->x);
  TensorArg dw;
  if (with_weight)
    dw = make_like(f, *n->weight);
  else
    give_back(f, -1);
  std::vector<float> w = values_of(*n->weight), sums(static_cast<size_t>(n->rows.width));
  const OwnView in = as_rows(*n->x, n->rows), gradient = as_rows(*dy, n->rows),
                out = as_rows(dx, n->rows), scale = floats(w), sum = floats(sums),
                rstd = packed_view(stats->data, DType::f32, {n->rows.count, 1});
  run_kernel(kRmsBackward, {out.view(), View{}, with_weight ? sum.view() : View{}, View{}},
             {gradient.view(), in.view(), scale.view(), rstd.view(), View{}});
  for (int64_t i = 0; with_weight && i < n->rows.width; ++i)
    put(dw, i, sums[static_cast<size_t>(i)]);
  return true;
}

Entry composite(const char* name, int arguments, torch_bridge::KernelFunction forward,
                torch_bridge::KernelFunction backward, std::vector<int> differentiable) {
  Entry e{name, arguments, forward};
  // Graphs point at it.
  e.derivative = new Entry{std::string(name) + " backward", arguments, backward};
  e.differentiable = std::move(differentiable);
  return e;
}

}  // namespace

void add_composite(std::vector<Entry>* all) {
  all->push_back(composite("aten::cross_entropy_loss", 6, loss_forward, loss_backward, {0}));
  all->push_back(composite("aten::rms_norm", 4, norm_forward, norm_backward, {0, 2}));
}

}  // namespace wellspring::python
