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
  const std::shared_ptr<const void> pytorchs(std::shared_ptr<const void>(),
                                             x->data);  // who owns it outlives the call
  return Tensor::wrap(x->data, {x->numel}, dtype_of(*x), pytorchs);
}

bool bernoulli(Frame& f) {  // self, p, generator
  const auto p = number_of(f.args[1]);
  if (!p || !(*p >= 0 && *p <= 1)) return false;
  const auto x = flat(f.args[0], f.args[2]);
  if (!x) return false;
  const NoGrad off;
  bernoulli_(*x, *p);
  give_back(f, 0);
  return true;
}

bool uniform(Frame& f) {  // self, from, to, generator
  const auto from = number_of(f.args[1]), to = number_of(f.args[2]);
  if (!from || !to || !(*from <= *to)) return false;
  const auto x = flat(f.args[0], f.args[3]);
  if (!x) return false;
  const NoGrad off;
  uniform_(*x, *from, *to);
  give_back(f, 0);
  return true;
}

bool normal(Frame& f) {  // self, mean, std, generator
  const auto mean = number_of(f.args[1]), deviation = number_of(f.args[2]);
  if (!mean || !deviation || !(*deviation >= 0)) return false;
  const auto x = flat(f.args[0], f.args[3]);
  if (!x) return false;
  const NoGrad off;
  normal_(*x, *mean, *deviation);
  give_back(f, 0);
  return true;
}

}  // namespace

void add_random(std::vector<Entry>* all) {
  all->push_back({"aten::bernoulli_.float", 3, bernoulli, nullptr, true});
  all->push_back({"aten::uniform_", 4, uniform, nullptr, true});
  all->push_back({"aten::normal_", 4, normal, nullptr, true});
}

}  // namespace wellspring::python
