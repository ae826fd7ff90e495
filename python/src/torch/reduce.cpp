// sum, mean, amax and amin over dimensions.

#include "python/src/torch/use.h"

namespace wellspring::python {
namespace {

struct Use {
  KernelRef kernel;
  bool has_dtype;
  int out;  // argument, or -1
};

// self, dim, keepdim[, dtype][, out]
bool reduce(Frame& f) {
  const Use& use = *static_cast<const Use*>(f.data);
  const TensorArg* x = taken(f.args[0]);
  if (!x || x->numel == 0 || !is_float(dtype_of(*x))) return false;
  if (use.has_dtype && !is_none(f.args[3]) && f.args[3].i != x->type) return false;
  const Arg& dims = f.args[1];
  if (!is_none(dims) && dims.kind != Kind::ints) return false;
  bool gone[kMaxDims + 1] = {};
  const bool all = is_none(dims) || dims.count == 0;
  for (int64_t i = 0; !all && i < dims.count; ++i) {
    const int64_t d = dims.ints[i] < 0 ? dims.ints[i] + x->dims : dims.ints[i];
    if (d < 0 || d >= x->dims || gone[d]) return false;
    gone[d] = true;
  }
  const bool keepdim = f.args[2].i != 0;
  OwnView kept;
  int64_t sizes[kMaxDims];
  int n = 0;
  kept.dtype = dtype_of(*x);
  for (int d = 0; d < x->dims; ++d) {
    const bool reduced = all || gone[d];
    kept.add(reduced ? 1 : x->sizes[d], 1);
    if (!reduced || keepdim) sizes[n++] = kept.sizes[d];
  }
  for (int d = kept.dims - 2; d >= 0; --d)
    kept.strides[d] = kept.strides[d + 1] * kept.sizes[d + 1];
  if (use.out >= 0) {
    const TensorArg* out = taken(f.args[use.out]);
    if (!out || out->type != x->type || out->dims != n ||
        !std::equal(sizes, sizes + n, out->sizes) || !is_contiguous(*out) || may_overlap(*out, *x))
      return false;
    kept.data = out->data;
    give_back(f, use.out);
  } else {
    // PyTorch orders the result's dimensions as those of its operand.
    if (!is_contiguous(*x) && n > 1) return false;
    kept.data = make_result(f, {sizes, static_cast<size_t>(n)}, x->type).data;
  }
  run_kernel(use.kernel, {kept.view()}, {view_of(*x)});
  return true;
}

const Use kSum{KernelRef("reduce_sum"), true, -1}, kSumOut{KernelRef("reduce_sum"), true, 4},
    kMean{KernelRef("reduce_mean"), true, -1}, kMeanOut{KernelRef("reduce_mean"), true, 4},
    kAmax{KernelRef("reduce_amax"), false, -1}, kAmin{KernelRef("reduce_amin"), false, -1};

}  // namespace

void add_reduce(std::vector<Entry>* all) {
  all->insert(all->end(), {{"aten::sum.dim_IntList", 4, reduce, &kSum},
                           {"aten::sum.IntList_out", 5, reduce, &kSumOut},
                           {"aten::mean.dim", 4, reduce, &kMean},
                           {"aten::mean.out", 5, reduce, &kMeanOut},
                           {"aten::amax", 3, reduce, &kAmax},
                           {"aten::amin", 3, reduce, &kAmin}});
}

}  // namespace wellspring::python
