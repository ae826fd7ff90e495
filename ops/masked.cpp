// Checks and derivatives of picking and writing by a mask.

#include "base/error.h"
#include "base/text.h"
#include "ops/arrange.h"
#include "ops/indexing.h"
#include "ops/packed.h"
#include "ops/pointwise.h"
#include "ops/scatter.h"
#include "ops/shape.h"
#include "tensor/autograd.h"

namespace wellspring {

namespace {

KernelRef kCount("nonzero_count"), kNonzero("nonzero"), kSelect("masked_select"),
    kScatter("masked_scatter");

constexpr int64_t kTile = 1 << 14;  // elements that the kernels count together

struct Counted {
  Tensor counts;
  int64_t total = 0;
};
Counted count_set(const Tensor& x) {
  Counted c{Tensor::empty({(x.numel() + kTile - 1) / kTile}, DType::i64, x.device()), 0};
  if (x.numel() == 0) return c;
  launch(kCount, {c.counts}, {x});
  for (const int64_t n : c.counts.to_vector<int64_t>()) c.total += n;
  return c;
}

void check_bool(const char* op, const Tensor& x, const Tensor& mask) {
  if (mask.dtype() != DType::boolean)
    throw Error(Fault::usage,
                str(op, " of ", x.text(), ": the mask ", mask.text(), " must be bool"));
}

// The shape that both broadcast to.
Shape common_shape(const char* op, const Tensor& a, const Tensor& b) {
  Shape both = a.dims() > b.dims() ? a.shape() : b.shape();
  for (int i = 1; i <= both.size(); ++i) {
    const int64_t m = i <= a.dims() ? a.shape()[a.dims() - i] : 1,
                  n = i <= b.dims() ? b.shape()[b.dims() - i] : 1;
    if (m != n && m != 1 && n != 1)
      throw Error(Fault::usage,
                  str(op, ": ", a.text(), " and ", b.text(), " do not broadcast together"));
    both[both.size() - i] = m == 1 ? n : m;
  }
  return both;
}

}  // namespace

Tensor nonzero(const Tensor& x) {
  if (is_complex(x.dtype()))
    throw Error(Fault::usage, str("nonzero of ", x.text(), ": complex tensors are not looked at"));
  const Tensor from = packed(x);
  const Counted c = count_set(from);
  const Tensor y = Tensor::empty({c.total, x.dims()}, DType::i64, x.device());
  if (y.numel()) launch(kNonzero, {y}, {from, c.counts});
  return y;
}

std::vector<Tensor> nonzero_numpy(const Tensor& x) {
  return unbind(nonzero(x.dims() ? x : unsqueeze(x.detach(), 0)), 1);
}

Tensor masked_select(const Tensor& x, const Tensor& mask) {
  check_bool("masked_select", x, mask);
  const Shape shape = common_shape("masked_select", x, mask);
  Tensor from, bits;
  {
    NoGrad none;
    from = packed(expand(x.detach(), shape)), bits = packed(expand(mask, shape));
  }
  const Counted c = count_set(bits);
  const Tensor y = Tensor::empty({c.total}, x.dtype(), x.device());
  if (c.total) launch(kSelect, {y}, {from, bits, c.counts});
  if (is_float(x.dtype()) && should_record({&x}))
    record("masked_select", {x}, {y},
           [bits = Saved(bits), from = x.shape()](BackwardContext& k) -> Tensors {
             const Tensor mask = k.saved(bits);
             const Tensor dx = Tensor::zeros(mask.shape(), k.grad().dtype(), mask.device());
             return {sum_to(masked_scatter_(dx, mask, k.grad()), from)};
           });
  return y;
}

const Tensor& masked_scatter_(const Tensor& x, const Tensor& mask, const Tensor& source) {
  check_bool("masked_scatter_", x, mask);
  check_written("masked_scatter_", x, source);
  Tensor bits, from;
  {
    NoGrad none;
    bits = packed(expand(mask, x.shape())), from = packed(apart(x, source));
  }
  const Counted c = count_set(bits);
  if (c.total > source.numel())
    throw Error(Fault::usage, str("masked_scatter_ of ", x.text(), ": the mask has ", c.total,
                                  " places, source ", source.text(), " fewer elements"));
  const bool recorded = should_record({&x, &source});
  mark_in_place("masked_scatter_", x, recorded);
  if (c.total) {
    NoGrad none;
    const Tensor target = packed(x);
    launch(kScatter, {target}, {from, bits, c.counts});
    if (target.data() != x.data()) copy_(x.detach(), target);
  }
  if (recorded)
    record("masked_scatter_", {x, source}, {x},
           [bits = Saved(bits), from = source.shape()](BackwardContext& k) -> Tensors {
             const Tensor mask = k.saved(bits), g = k.grad();
             Tensor ds;
             if (k.needs(1)) {
               const Tensor taken = masked_select(g, mask);
               const Tensor all = Tensor::zeros({from.numel()}, g.dtype(), g.device());
               if (taken.numel()) copy_(narrow(all, 0, 0, taken.numel()), taken);
               ds = view(all, from);
             }
             const Tensor none = Tensor::zeros({}, g.dtype(), g.device());
             return {k.needs(0) ? where(mask, none, g) : Tensor(), ds};
           });
  return x;
}

Tensor masked_scatter(const Tensor& x, const Tensor& mask, const Tensor& source) {
  check_bool("masked_scatter", x, mask);
  return masked_scatter_(clone(expand(x, common_shape("masked_scatter", x, mask))), mask, source);
}

}  // namespace wellspring
