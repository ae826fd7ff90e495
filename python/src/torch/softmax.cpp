// _softmax, _log_softmax and their derivatives.

#include "python/src/torch/use.h"

namespace wellspring::python {
namespace {

struct Use {
  KernelRef forward, backward;
};
Use kSoftmax{KernelRef("softmax"), KernelRef("softmax_backward")},
    kLogSoftmax{KernelRef("log_softmax"), KernelRef("log_softmax_backward")};

std::optional<int64_t> dim_of(const TensorArg& x, const Arg& a) {
  if (a.kind != Kind::integer) return std::nullopt;
  const int64_t dim = a.i < 0 ? a.i + x.dims : a.i;
  if (dim < 0 || dim >= x.dims || x.numel == 0 || !is_contiguous(x)) return std::nullopt;
  return dim;
}

bool forward(Frame& f) {  // self, dim, half_to_float
  const TensorArg* x = taken(f.args[0]);
  if (!x || !is_float(dtype_of(*x)) || f.args[2].i) return false;
  const auto dim = dim_of(*x, f.args[1]);
  if (!dim) return false;
  const TensorArg y = make_like(f, *x);
  run_kernel(static_cast<const Use*>(f.data)->forward, {view_of(y)}, {view_of(*x)}, {*dim});
  return true;
}

bool backward(Frame& f) {  // grad_output, output, dim, input_dtype
  const TensorArg *g = taken(f.args[0]), *y = taken(f.args[1]);
  if (!g || !y || g->type != y->type || !same_sizes(*g, *y) || !is_float(dtype_of(*y)) ||
      f.args[3].kind != Kind::integer || f.args[3].i != y->type || !is_contiguous(*g))
    return false;
  const auto dim = dim_of(*y, f.args[2]);
  if (!dim) return false;
  const TensorArg dx = make_like(f, *y);
  run_kernel(static_cast<const Use*>(f.data)->backward, {view_of(dx)}, {view_of(*y), view_of(*g)},
             {*dim});
  return true;
}

}  // namespace

void add_softmax(std::vector<Entry>* all) {
  all->push_back({"aten::_softmax", 3, forward, &kSoftmax});
  all->push_back({"aten::_softmax_backward_data", 4, backward, &kSoftmax});
  all->push_back({"aten::_log_softmax", 3, forward, &kLogSoftmax});
  all->push_back({"aten::_log_softmax_backward_data", 4, backward, &kLogSoftmax});
}

}  // namespace wellspring::python
