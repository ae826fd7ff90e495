// Random operators, only when asked for: they draw from Wellspring's generator, not from PyTorch's.

#include "ops/random.h"

#include "base/threads.h"
#include "python/src/torch/use.h"
#include "tensor/autograd.h"

namespace wellspring::python {
namespace {

// self as a tensor of ours, when its elements follow each other.
std::optional<Tensor> flat(const Arg& a, const Arg& generator) {
  const TensorArg* x = taken(a);
  if (!x || !is_none(generator) || x->numel == 0 || !is_contiguous(*x) || !is_float(dtype_of(*x)))
    return std::nullopt;
  if (const int n = bridge().threads(); n != threads() && n > 0) set_threads(n);
  // Its owner is PyTorch, which outlives the call.
  const std::shared_ptr<const void> pytorchs(std::shared_ptr<const void>(), x->data);
  return Tensor::wrap(x->data, {x->numel}, dtype_of(*x), pytorchs);
}

// Fills self by draw(self), when that can be.
template <class F>
bool filled(Frame& f, const Arg& generator, F&& draw) {
  const auto x = flat(f.args[0], generator);
  if (!x) return false;
  const NoGrad off;
  draw(*x);
  give_back(f, 0);
  return true;
}

bool bernoulli(Frame& f) {  // self, p, generator
  const auto p = number_of(f.args[1]);
  if (!p || !(*p >= 0 && *p <= 1)) return false;
  return filled(f, f.args[2], [&](const Tensor& x) { bernoulli_(x, *p); });
}

bool uniform(Frame& f) {  // self, from, to, generator
  const auto from = number_of(f.args[1]), to = number_of(f.args[2]);
  if (!from || !to || !(*from <= *to)) return false;
  return filled(f, f.args[3], [&](const Tensor& x) { uniform_(x, *from, *to); });
}

bool normal(Frame& f) {  // self, mean, std, generator
  const auto mean = number_of(f.args[1]), deviation = number_of(f.args[2]);
  if (!mean || !deviation || !(*deviation >= 0)) return false;
  return filled(f, f.args[3], [&](const Tensor& x) { normal_(x, *mean, *deviation); });
}

}  // namespace

void add_random(std::vector<Entry>* all) {
  all->push_back({"aten::bernoulli_.float", 3, bernoulli, nullptr, true});
  all->push_back({"aten::uniform_", 4, uniform, nullptr, true});
  all->push_back({"aten::normal_", 4, normal, nullptr, true});
}

}  // namespace wellspring::python
