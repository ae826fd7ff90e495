#pragma once
// For tests: kernels of any instruction set, called as they are.

#include <cstring>
#include <vector>

#include "chips/cpu/cpu.h"
#include "tensor/tensor.h"

namespace wellspring {

/// Null when the set is not in this build.
inline Kernel find_kernel(cpu::Isa isa, const char* name) {
  for (const NamedKernel& k : cpu::kernels_of(isa))
    if (!std::strcmp(k.name, name)) return k.kernel;
  return nullptr;
}

/// The sets that run here and are in this build.
inline std::vector<cpu::Isa> sets_with(const char* kernel) {
  std::vector<cpu::Isa> out;
  for (int i = 0; i <= static_cast<int>(cpu::best_isa()); ++i)
    if (find_kernel(static_cast<cpu::Isa>(i), kernel)) out.push_back(static_cast<cpu::Isa>(i));
  return out;
}

inline void call(Kernel kernel, const std::vector<Tensor>& outs, const std::vector<Tensor>& ins,
                 const std::vector<Attr>& attrs) {
  std::vector<View> o, i;
  for (const Tensor& t : outs) o.push_back(t.defined() ? t.view() : View{});
  for (const Tensor& t : ins) i.push_back(t.defined() ? t.view() : View{});
  Call c;
  c.out = o.data(), c.in = i.data(), c.attr = attrs.data();
  c.outs = static_cast<int>(o.size()), c.ins = static_cast<int>(i.size());
  c.attrs = static_cast<int>(attrs.size());
  kernel(c);
}

/// Numbers between `low` and `high`.
inline Tensor random_tensor(const Shape& shape, DType dtype, uint64_t seed, float low, float high) {
  std::vector<float> x(shape.numel());
  uint64_t s = seed * 0x9e3779b97f4a7c15ull + 1;
  for (float& v : x) {
    s ^= s << 13, s ^= s >> 7, s ^= s << 17;
    const double unit = static_cast<double>(s >> 11) / (1ull << 53);
    v = static_cast<float>(low + unit * (high - low));
  }
  return Tensor::from(x, shape, dtype);
}

}  // namespace wellspring
