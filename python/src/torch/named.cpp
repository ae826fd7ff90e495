// PyTorch's operators that one of ours answers as it is: reductions, scans, sorting, indexing,
// pooling, padding, resizing.

#include "ops/arrange.h"
#include "ops/creation.h"
#include "ops/dropout.h"
#include "ops/image_call.h"
#include "ops/index.h"
#include "ops/pool.h"
#include "ops/reduce.h"
#include "ops/resize.h"
#include "ops/scan.h"
#include "ops/scatter.h"
#include "ops/shape.h"
#include "ops/sort.h"
#include "python/src/torch/call.h"

namespace wellspring::python {
namespace {

using A = const Arguments&;
using R = Results;
constexpr auto kReal = Named::kReal, kFloats = Named::kFloats, kF32 = Named::kF32;
constexpr bool kStrided = true, kInPlace = true;

// A correction that is a whole number, and leaves something to divide by: else PyTorch warns.
int64_t correction(A a, int at, const Tensor& x, const std::vector<int>& dims) {
  const double c = a.none(at) ? 1 : a.real(at);
  int64_t count = dims.empty() ? x.numel() : 1;
  for (const int d : dims) count *= x.size(d);
  if (c < 0 || c != static_cast<double>(static_cast<int64_t>(c)) || static_cast<double>(count) <= c)
    throw NotTaken();
  return static_cast<int64_t>(c);
}

// A dtype argument that names the result's own one.
void same_dtype(A a, int at, DType dtype) {
  if (const auto wanted = a.dtype(at); wanted && *wanted != dtype) throw NotTaken();
}
DType summed(const Tensor& x) { return is_float(x.dtype()) ? x.dtype() : DType::i64; }

// Overloads of one name as functions of their own.
R maximum_of(A a) { return max(a.tensor(0)); }
R minimum_of(A a) { return min(a.tensor(0)); }

// PyTorch answers about bytes in bytes.
Tensor judged(A a) {
  Tensor x = a.tensor(0);
  if (x.dtype() == DType::u8) throw NotTaken();
  return x;
}

R product(A a, const std::vector<int>& dims, bool keepdim, int dtype) {
  const Tensor x = a.tensor(0);
  same_dtype(a, dtype, summed(x));
  return prod(x, dims, keepdim);
}

template <auto function>  // of (x, dims, correction, keepdim)
R deviation(A a) {
  const Tensor x = a.tensor(0);
  const auto dims = a.dims(1);
  return function(x, dims, correction(a, 2, x, dims), a.flag(3));
}

std::string_view side(A a, int at) { return a.none(at) ? std::string_view() : a.text(at); }

R padded(A a) {
  const auto pad = a.list(1);
  for (const int64_t n : pad)
    if (n < 0) throw NotTaken();  // its result may be a view's copy, in the view's order
  return constant_pad_nd(a.tensor(0), pad, a.number(2));
}

R search(A a) {  // sorted_sequence, self, out_int32, right, side, sorter
  if (!a.none(5)) throw NotTaken();
  const bool right = a.flag(3) || side(a, 4) == "right";
  return searchsorted(a.tensor(0), a.tensor(1), a.flag(2), right);
}

// Factors that scale an image otherwise than its sizes say.
std::vector<double> factors(A a, int first, int count) {
  std::vector<double> all;
  for (int i = first; i < first + count; ++i)
    if (!a.none(i)) all.push_back(a.real(i));
  if (!all.empty() && static_cast<int>(all.size()) != count) throw NotTaken();
  return all;
}

// grad_output, self, ..., indices at the end
R max_pool_backward(A a, int indices) {
  static KernelRef kernel("max_pool_backward");
  const Tensor dy = a.tensor(0), x = a.tensor(1), at = a.tensor(indices);
  if (dy.dtype() != x.dtype() || dy.shape() != at.shape() || dy.dims() != x.dims())
    throw NotTaken();
  const Tensor dx = Tensor::empty(x.shape(), x.dtype());
  const auto images = [](const Tensor& t) { return t.dims() == 3 ? unsqueeze(t, 0) : t; };
  launch(kernel, {images(dx)}, {images(dy), images(at)});
  return dx;
}

std::optional<int64_t> divisor(A a, int at) {
  return a.none(at) ? std::nullopt : std::optional(a.integer(at));
}

template <int spatial, bool exact>  // grad_output, output_size, input_size, scales
R nearest_backward(A a) {
  return upsample_nearest_backward(a.tensor(0), a.list(1), a.list(2), factors(a, 3, spatial),
                                   exact);
}

constexpr Named kReductions[] = {
    {"max", 1, maximum_of},
    {"min", 1, minimum_of},
    {"max.dim", 3, [](A a) -> R { return max(a.tensor(0), a.dim(1), a.flag(2)); }},
    {"min.dim", 3, [](A a) -> R { return min(a.tensor(0), a.dim(1), a.flag(2)); }},
    {"any", 1, [](A a) -> R { return any(judged(a)); }},
    {"any.dim", 3, [](A a) -> R { return any(judged(a), a.dims(1), a.flag(2)); }},
    {"any.dims", 3, [](A a) -> R { return any(judged(a), a.dims(1), a.flag(2)); }},
    {"all", 1, [](A a) -> R { return all(judged(a)); }},
    {"all.dim", 3, [](A a) -> R { return all(judged(a), a.dims(1), a.flag(2)); }},
    {"all.dims", 3, [](A a) -> R { return all(judged(a), a.dims(1), a.flag(2)); }},
    {"prod", 2, [](A a) -> R { return product(a, {}, false, 1); }},
    {"prod.dim_int", 4, [](A a) -> R { return product(a, a.dims(1), a.flag(2), 3); }},
    {"std.correction", 4, deviation<stddev>, kFloats},
    {"std_mean.correction", 4, deviation<std_mean>, kFloats},
    {"var_mean.correction", 4, deviation<var_mean>, kFloats},
    {"logsumexp", 3, [](A a) -> R { return logsumexp(a.tensor(0), a.dims(1), a.flag(2)); },
     kFloats},
    {"count_nonzero.dim_IntList", 2,
     [](A a) -> R { return count_nonzero(a.tensor(0), a.dims(1)); }},
    {"linalg_vector_norm", 5,
     [](A a) -> R { return vector_norm(a.tensor(0), a.real(1), a.dims(2), a.flag(3), a.dtype(4)); },
     kFloats},
    {"trace", 1, [](A a) -> R { return trace(a.tensor(0)); }, kReal, kStrided},
};

constexpr Named kScansAndSorts[] = {
    {"cumsum", 3, [](A a) -> R { return cumsum(a.tensor(0), a.dim(1), a.dtype(2)); }},
    {"cumprod", 3, [](A a) -> R { return cumprod(a.tensor(0), a.dim(1), a.dtype(2)); }},
    {"cummax", 2, [](A a) -> R { return cummax(a.tensor(0), a.dim(1)); }},
    {"cummin", 2, [](A a) -> R { return cummin(a.tensor(0), a.dim(1)); }},
    {"_logcumsumexp", 2, [](A a) -> R { return logcumsumexp(a.tensor(0), a.dim(1)); }, kFloats},
    {"sort.stable", 4, [](A a) -> R { return sort(a.tensor(0), a.dim(2), a.flag(3)); }},
    {"topk", 5,
     [](A a) -> R { return topk(a.tensor(0), a.integer(1), a.dim(2), a.flag(3), a.flag(4)); }},
    {"kthvalue", 4,
     [](A a) -> R { return kthvalue(a.tensor(0), a.integer(1), a.dim(2), a.flag(3)); }},
    {"median", 1, [](A a) -> R { return median(a.tensor(0)); }},
    {"searchsorted.Tensor", 6, search},
    {"bucketize.Tensor", 4,
     [](A a) -> R { return bucketize(a.tensor(0), a.tensor(1), a.flag(2), a.flag(3)); }},
    {"isin.Tensor_Tensor", 4, [](A a) -> R { return isin(a.tensor(0), a.tensor(1), a.flag(3)); }},
    {"bincount", 3,
     [](A a) -> R { return bincount(a.tensor(0), a.tensor_or_none(1), a.integer(2)); }},
};

constexpr Named kIndexing[] = {
    {"index.Tensor", 2, [](A a) -> R { return index(a.tensor(0), a.tensors(1)); }},
    {"_index_put_impl_", 5,
     [](A a) -> R { return index_put_(a.tensor(0), a.tensors(1), a.tensor(2), a.flag(3)), R(); },
     kReal, kStrided, kInPlace},
    {"index_select", 3, [](A a) -> R { return index_select(a.tensor(0), a.dim(1), a.tensor(2)); },
     kReal, kStrided},
    {"index_add", 5,
     [](A a) -> R {
       return index_add(a.tensor(0), a.dim(1), a.tensor(2), a.tensor(3), a.real(4));
     }},
    {"index_add_", 5,
     [](A a) -> R {
       return index_add_(a.tensor(0), a.dim(1), a.tensor(2), a.tensor(3), a.real(4)), R();
     },
     kReal, kStrided, kInPlace},
    {"index_copy", 4,
     [](A a) -> R { return index_copy(a.tensor(0), a.dim(1), a.tensor(2), a.tensor(3)); }},
    {"index_copy_", 4,
     [](A a) -> R { return index_copy_(a.tensor(0), a.dim(1), a.tensor(2), a.tensor(3)), R(); },
     kReal, kStrided, kInPlace},
    {"index_fill_.int_Scalar", 4,
     [](A a) -> R { return index_fill_(a.tensor(0), a.dim(1), a.tensor(2), a.number(3)), R(); },
     kReal, kStrided, kInPlace},
    {"gather", 4, [](A a) -> R { return gather(a.tensor(0), a.dim(1), a.tensor(2)); }, kReal,
     kStrided},
    {"scatter.src", 4,
     [](A a) -> R { return scatter(a.tensor(0), a.dim(1), a.tensor(2), a.tensor(3)); }},
    {"scatter.value", 4,
     [](A a) -> R { return scatter(a.tensor(0), a.dim(1), a.tensor(2), a.number(3)); }},
    {"scatter_.src", 4,
     [](A a) -> R { return scatter_(a.tensor(0), a.dim(1), a.tensor(2), a.tensor(3)), R(); }, kReal,
     kStrided, kInPlace},
    {"scatter_.value", 4,
     [](A a) -> R { return scatter_(a.tensor(0), a.dim(1), a.tensor(2), a.number(3)), R(); }, kReal,
     kStrided, kInPlace},
    {"scatter_add", 4,
     [](A a) -> R { return scatter_add(a.tensor(0), a.dim(1), a.tensor(2), a.tensor(3)); }},
    {"scatter_add_", 4,
     [](A a) -> R { return scatter_add_(a.tensor(0), a.dim(1), a.tensor(2), a.tensor(3)), R(); },
     kReal, kStrided, kInPlace},
    {"scatter_reduce.two", 6,
     [](A a) -> R {
       return scatter_reduce(a.tensor(0), a.dim(1), a.tensor(2), a.tensor(3), a.text(4), a.flag(5));
     }},
    {"scatter_reduce_.two", 6,
     [](A a) -> R {
       return scatter_reduce_(a.tensor(0), a.dim(1), a.tensor(2), a.tensor(3), a.text(4),
                              a.flag(5)),
              R();
     },
     kReal, kStrided, kInPlace},
    {"masked_select", 2, [](A a) -> R { return masked_select(a.tensor(0), a.tensor(1)); }, kReal,
     kStrided},
    {"masked_scatter_", 3,
     [](A a) -> R { return masked_scatter_(a.tensor(0), a.tensor(1), a.tensor(2)), R(); }, kReal,
     kStrided, kInPlace},
    {"native_dropout_backward", 3,
     [](A a) -> R { return native_dropout_backward(a.tensor(0), a.tensor(1), a.real(2)); },
     kFloats},
    {"take", 2, [](A a) -> R { return take(a.tensor(0), a.tensor(1)); }},
    {"put_", 4,
     [](A a) -> R { return put_(a.tensor(0), a.tensor(1), a.tensor(2), a.flag(3)), R(); }, kReal,
     kStrided, kInPlace},
    {"repeat_interleave.Tensor", 2, [](A a) -> R { return repeat_interleave(a.tensor(0)); }},
};

constexpr Named kImages[] = {
    {"max_pool2d_with_indices", 6,
     [](A a) -> R {
       return max_pool2d_with_indices(a.tensor(0), a.list(1), a.list(2), a.list(3), a.list(4),
                                      a.flag(5));
     },
     kFloats},
    {"max_pool2d_with_indices_backward", 8, [](A a) -> R { return max_pool_backward(a, 7); },
     kFloats},
    {"adaptive_max_pool2d_backward", 3, [](A a) -> R { return max_pool_backward(a, 2); }, kFloats},
    {"avg_pool2d", 7,
     [](A a) -> R {
       return avg_pool2d(a.tensor(0), a.list(1), a.list(2), a.list(3), a.flag(4), a.flag(5),
                         divisor(a, 6));
     },
     kFloats},
    {"avg_pool2d_backward", 8,
     [](A a) -> R {
       return avg_pool2d_backward(a.tensor(0), a.packed(1), a.list(2), a.list(3), a.list(4),
                                  a.flag(5), a.flag(6), divisor(a, 7));
     },
     kFloats, kStrided},
    {"_adaptive_avg_pool2d_backward", 2,
     [](A a) -> R { return adaptive_avg_pool2d_backward(a.tensor(0), a.packed(1)); }, kFloats,
     kStrided},
    {"_adaptive_avg_pool2d", 2,
     [](A a) -> R { return adaptive_avg_pool2d(a.tensor(0), a.list(1)); }, kFloats},
    {"adaptive_max_pool2d", 2, [](A a) -> R { return adaptive_max_pool2d(a.tensor(0), a.list(1)); },
     kFloats},
    {"upsample_nearest1d", 3,
     [](A a) -> R { return upsample_nearest1d(a.tensor(0), a.list(1), factors(a, 2, 1)); },
     kFloats},
    {"upsample_nearest2d", 4,
     [](A a) -> R { return upsample_nearest2d(a.tensor(0), a.list(1), factors(a, 2, 2)); },
     kFloats},
    {"_upsample_nearest_exact1d", 3,
     [](A a) -> R { return _upsample_nearest_exact1d(a.tensor(0), a.list(1), factors(a, 2, 1)); },
     kFloats},
    {"_upsample_nearest_exact2d", 4,
     [](A a) -> R { return _upsample_nearest_exact2d(a.tensor(0), a.list(1), factors(a, 2, 2)); },
     kFloats},
    {"upsample_nearest1d_backward", 4, nearest_backward<1, false>, kFloats},
    {"upsample_nearest2d_backward", 5, nearest_backward<2, false>, kFloats},
    {"_upsample_nearest_exact1d_backward", 4, nearest_backward<1, true>, kFloats},
    {"_upsample_nearest_exact2d_backward", 5, nearest_backward<2, true>, kFloats},
    {"constant_pad_nd", 3, padded},
    {"reflection_pad1d", 2, [](A a) -> R { return pad(a.tensor(0), a.list(1), "reflect"); }},
    {"reflection_pad2d", 2, [](A a) -> R { return pad(a.tensor(0), a.list(1), "reflect"); }},
    {"replication_pad1d", 2, [](A a) -> R { return pad(a.tensor(0), a.list(1), "replicate"); }},
    {"replication_pad2d", 2, [](A a) -> R { return pad(a.tensor(0), a.list(1), "replicate"); }},
    {"flip", 2, [](A a) -> R { return flip(a.tensor(0), a.dims(1)); }},
    {"roll", 3, [](A a) -> R { return roll(a.tensor(0), a.list(1), a.dims(2)); }},
    {"tril", 2, [](A a) -> R { return tril(a.tensor(0), a.integer(1)); }},
    {"triu", 2, [](A a) -> R { return triu(a.tensor(0), a.integer(1)); }},
};

}  // namespace

void add_named(std::vector<Entry>* all) {
  for (const std::span<const Named> rows :
       {std::span<const Named>(kReductions), std::span<const Named>(kScansAndSorts),
        std::span<const Named>(kIndexing), std::span<const Named>(kImages)})
    add_named(rows, all);
}

}  // namespace wellspring::python
