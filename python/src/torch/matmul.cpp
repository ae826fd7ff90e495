// mm, addmm, bmm and baddbmm.

#include "python/src/torch/use.h"
#include "tensor/tensor.h"

namespace wellspring::python {
namespace {

KernelRef kMatmul("matmul"), kCopy("copy");

struct Use {
  bool batched, adds;
  int out;  // argument, or -1
};

bool product_type(DType t) { return t == DType::f32 || t == DType::bf16 || t == DType::f64; }

// self of addmm as a bias along the columns: [N], [1, N] or an expanded row.
std::optional<OwnView> as_bias(const TensorArg& self, int64_t n) {
  if (self.dims > 2 || self.dims < 1) return std::nullopt;
  const int last = self.dims - 1;
  if (self.sizes[last] != n) return std::nullopt;
  if (self.dims == 2 && self.sizes[0] != 1 && self.strides[0] != 0) return std::nullopt;
  OwnView v;
  v.data = self.data, v.dtype = *dtype_of(self.type);
  v.add(n, self.strides[last]);
  return v;
}

bool product(Frame& f) {
  const Use& use = *static_cast<const Use*>(f.data);
  const int first = use.adds ? 1 : 0;
  const TensorArg *a = taken(f.args[first]), *b = taken(f.args[first + 1]);
  const int dims = use.batched ? 3 : 2;
  if (!a || !b || a->dims != dims || b->dims != dims || a->type != b->type ||
      !product_type(dtype_of(*a)))
    return false;
  const int64_t m = a->sizes[dims - 2], k = a->sizes[dims - 1], n = b->sizes[dims - 1];
  if (b->sizes[dims - 2] != k || (use.batched && a->sizes[0] != b->sizes[0])) return false;
  if (a->numel == 0 || b->numel == 0) return false;
  int64_t sizes[3] = {a->sizes[0], m, n};
  const int64_t* shape = use.batched ? sizes : sizes + 1;

  const TensorArg* self = nullptr;
  std::optional<OwnView> bias;
  if (use.adds) {
    const auto beta = number_of(f.args[3]), alpha = number_of(f.args[4]);
    if (!beta || alpha != 1.0 || (*beta != 1.0 && *beta != 0.0)) return false;
    if (*beta == 1.0) {
      self = taken(f.args[0]);
      if (!self || self->type != a->type) return false;
      if (!use.batched) bias = as_bias(*self, n);
      if (!bias && (self->dims != dims || !std::equal(shape, shape + dims, self->sizes)))
        return false;
    }
  }
  TensorArg c;
  if (use.out >= 0) {
    const TensorArg* target = taken(f.args[use.out]);
    if (!target || target->type != a->type || target->dims != dims ||
        !std::equal(shape, shape + dims, target->sizes) || may_overlap(*target, *a) ||
        may_overlap(*target, *b) ||
        (self && may_overlap(*target, *self) && (bias || !same_place(*target, *self))))
      return false;
    c = *target;
    give_back(f, use.out);
  } else {
    c = make_result(f, {shape, static_cast<size_t>(dims)}, a->type);
  }
  const bool accumulate = self && !bias;
  if (accumulate && dtype_of(c) == DType::bf16) {  // sums are kept in f32
    const Tensor sums = Tensor::empty({c.numel});
    const OwnView to = use.batched ? packed_view(sums.data(), DType::f32, {shape[0], m, n})
                                   : packed_view(sums.data(), DType::f32, {m, n});
    run_kernel(kCopy, {to.view()}, {view_of(*self)});
    run_kernel(kMatmul, {to.view()}, {view_of(*a), view_of(*b), View{}}, {true});
    run_kernel(kCopy, {view_of(c)}, {to.view()});
    return true;
  }
  if (accumulate && c.data != self->data) run_kernel(kCopy, {view_of(c)}, {view_of(*self)});
  run_kernel(kMatmul, {view_of(c)}, {view_of(*a), view_of(*b), bias ? bias->view() : View{}},
             {accumulate});
  return true;
}

constexpr Use kMm{false, false, -1}, kMmOut{false, false, 2}, kBmm{true, false, -1},
    kBmmOut{true, false, 2}, kAddmm{false, true, -1}, kAddmmOut{false, true, 5},
    kAddmmIn{false, true, 0}, kBaddbmm{true, true, -1}, kBaddbmmOut{true, true, 5},
    kBaddbmmIn{true, true, 0};

}  // namespace

void add_matmul(std::vector<Entry>* all) {
  all->insert(all->end(), {{"aten::mm", 2, product, &kMm},
                           {"aten::mm.out", 3, product, &kMmOut},
                           {"aten::bmm", 2, product, &kBmm},
                           {"aten::bmm.out", 3, product, &kBmmOut},
                           {"aten::addmm", 5, product, &kAddmm},
                           {"aten::addmm.out", 6, product, &kAddmmOut},
                           {"aten::addmm_", 5, product, &kAddmmIn},
                           {"aten::baddbmm", 5, product, &kBaddbmm},
                           {"aten::baddbmm.out", 6, product, &kBaddbmmOut},
                           {"aten::baddbmm_", 5, product, &kBaddbmmIn}});
}

}  // namespace wellspring::python
