// sum, mean, amax, amin, var, argmax and argmin over dimensions.

#include <algorithm>

#include "python/src/torch/use.h"

namespace wellspring::python {
namespace {

enum Integers : uint8_t { kNot, kKeep, kWiden };  // taken, and given as they are or as i64
struct Use {
  KernelRef kernel;
  bool has_dtype;
  int out;  // argument, or -1
  Integers integers = kNot;
};

// The result's geometry: for the kernel with extents of 1 where x is reduced, and as PyTorch wants
// it.
struct Reduced {
  OwnView kept;
  int64_t sizes[kMaxDims];
  int dims = 0;
};

// `wanted`: ints or nothing (all dimensions).
std::optional<Reduced> reduced(const TensorArg& x, const Arg& wanted, bool keepdim) {
  const int64_t one = wanted.i, *list = wanted.kind == Kind::integer ? &one : wanted.ints;
  const int64_t count = is_none(wanted) ? 0 : wanted.kind == Kind::integer ? 1 : wanted.count;
  if (!is_none(wanted) && wanted.kind != Kind::ints && wanted.kind != Kind::integer)
    return std::nullopt;
  bool gone[kMaxDims] = {};
  for (int64_t i = 0; i < count; ++i) {
    const int64_t d = list[i] < 0 ? list[i] + x.dims : list[i];
    if (d < 0 || d >= x.dims || gone[d]) return std::nullopt;
    gone[d] = true;
  }
  Reduced r;
  for (int d = 0; d < x.dims; ++d) {
    const bool reduce = count == 0 || gone[d];
    r.kept.add(reduce ? 1 : x.sizes[d], 1);
    if (!reduce || keepdim) r.sizes[r.dims++] = r.kept.sizes[d];
  }
  for (int d = r.kept.dims - 2; d >= 0; --d)
    r.kept.strides[d] = r.kept.strides[d + 1] * r.kept.sizes[d + 1];
  return r;
}

// Memory for the result; false where PyTorch has to order its dimensions, or out= does not fit.
bool place(Frame& f, const TensorArg& x, Reduced& r, DType type, int out) {
  r.kept.dtype = type;
  if (out < 0) {
    if (!is_contiguous(x) && r.dims > 1) return false;  // ordered as those of its operand
    r.kept.data = make_result(f, {r.sizes, static_cast<size_t>(r.dims)}, torch_type(type)).data;
    return true;
  }
  const TensorArg* to = taken(f.args[out]);
  if (!to || dtype_of(*to) != type || to->dims != r.dims ||
      !std::equal(r.sizes, r.sizes + r.dims, to->sizes) || !is_contiguous(*to) ||
      may_overlap(*to, x))
    return false;
  r.kept.data = to->data;
  give_back(f, out);
  return true;
}

// self, dim, keepdim[, dtype][, out]
bool reduce(Frame& f) {
  const Use& use = *static_cast<const Use*>(f.data);
  const TensorArg* x = taken(f.args[0]);
  if (!x || x->numel == 0) return false;
  DType type = dtype_of(*x);
  if (!is_float(type)) {
    if (use.integers == kNot) return false;
    if (use.integers == kWiden) type = DType::i64;
  }
  if (use.has_dtype && !is_none(f.args[3])) {
    const auto wanted = dtype_of(static_cast<int8_t>(f.args[3].i));
    if (!wanted || is_float(*wanted) != is_float(dtype_of(*x))) return false;
    if (size_of(*wanted) < size_of(type) || *wanted == DType::f64) return false;
    type = *wanted;
  }
  auto r = reduced(*x, f.args[1], f.args[2].i != 0);
  if (!r || !place(f, *x, *r, type, use.out)) return false;
  run_kernel(use.kernel, {r->kept.view()}, {view_of(*x)});
  return true;
}

// self, dim, correction, keepdim
bool variance(Frame& f) {
  static KernelRef kernel("reduce_var");
  const TensorArg* x = taken(f.args[0]);
  const double correction = is_none(f.args[2]) ? 1 : number_of(f.args[2]).value_or(-1);
  if (!x || x->numel == 0 || !is_float(dtype_of(*x)) || correction < 0 ||
      correction != static_cast<double>(static_cast<int64_t>(correction)))
    return false;
  auto r = reduced(*x, f.args[1], f.args[3].i != 0);
  int64_t results = 1;
  for (int d = 0; r && d < r->dims; ++d) results *= r->sizes[d];
  // Too few elements: PyTorch warns.
  if (!r || static_cast<double>(x->numel / results) <= correction) return false;
  if (!place(f, *x, *r, dtype_of(*x), -1)) return false;
  run_kernel(kernel, {r->kept.view()}, {view_of(*x)}, {static_cast<int64_t>(correction)});
  return true;
}

// self, dim, keepdim
bool place_of_best(Frame& f) {
  const Use& use = *static_cast<const Use*>(f.data);
  const TensorArg* x = taken(f.args[0]);
  if (!x || x->numel == 0 || !is_float(dtype_of(*x)) || x->dims == 0) return false;
  if (is_none(f.args[1])) {
    if (!is_contiguous(*x) || f.args[2].i) return false;
    const OwnView row = packed_view(x->data, dtype_of(*x), {x->numel}),
                  to = packed_view(make_result(f, {}, torch_bridge::kI64).data, DType::i64, {1});
    run_kernel(use.kernel, {to.view()}, {row.view()});
    return true;
  }
  auto r = reduced(*x, f.args[1], f.args[2].i != 0);
  if (!r || !place(f, *x, *r, DType::i64, -1)) return false;
  run_kernel(use.kernel, {r->kept.view()}, {view_of(*x)});
  return true;
}

const Use kSum{KernelRef("reduce_sum"), true, -1, kWiden},
    kSumOut{KernelRef("reduce_sum"), true, 4, kWiden}, kMean{KernelRef("reduce_mean"), true, -1},
    kMeanOut{KernelRef("reduce_mean"), true, 4}, kAmax{KernelRef("reduce_amax"), false, -1, kKeep},
    kAmin{KernelRef("reduce_amin"), false, -1, kKeep},
    kArgmax{KernelRef("reduce_argmax"), false, -1}, kArgmin{KernelRef("reduce_argmin"), false, -1};

}  // namespace

void add_reduce(std::vector<Entry>* all) {
  all->insert(all->end(), {{"aten::sum.dim_IntList", 4, reduce, &kSum},
                           {"aten::sum.IntList_out", 5, reduce, &kSumOut},
                           {"aten::mean.dim", 4, reduce, &kMean},
                           {"aten::mean.out", 5, reduce, &kMeanOut},
                           {"aten::amax", 3, reduce, &kAmax},
                           {"aten::amin", 3, reduce, &kAmin},
                           {"aten::var.correction", 4, variance},
                           {"aten::argmax", 3, place_of_best, &kArgmax},
                           {"aten::argmin", 3, place_of_best, &kArgmin}});
}

}  // namespace wellspring::python
