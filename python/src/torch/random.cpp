// Random operators, only when asked for: they draw from Wellspring's generator, not from PyTorch's.
// A call that brings a generator is PyTorch's.

#include "ops/random.h"

#include <limits>

#include "ops/dropout.h"
#include "python/src/torch/call.h"

namespace wellspring::python {
namespace {

using A = const Arguments&;
using R = Results;
constexpr auto kReal = Named::kReal, kFloats = Named::kFloats;
constexpr bool kStrided = true, kInPlace = true;

// One more than the greatest whole number that PyTorch draws for a dtype. (Of i64's 2^63, one is
// never drawn.)
int64_t end_of(DType dtype) {
  switch (dtype) {
    case DType::f64:
      return (int64_t{1} << 53) + 1;
    case DType::f32:
      return (1 << 24) + 1;
    case DType::f16:
      return (1 << 11) + 1;
    case DType::bf16:
      return (1 << 8) + 1;
    case DType::i64:
      return std::numeric_limits<int64_t>::max();
    case DType::i32:
      return int64_t{1} << 31;
    case DType::i16:
      return 1 << 15;
    case DType::i8:
      return 1 << 7;
    case DType::u8:
      return 1 << 8;
    default:
      return 2;
  }
}

R random_from(A a) {  // self, from, to, generator
  const Tensor x = a.tensor(0);
  return random_(x, a.integer(1), a.none(2) ? end_of(x.dtype()) : a.integer(2)), R();
}

constexpr Named kRandom[] = {
    {"uniform_", 4, [](A a) -> R { return uniform_(a.tensor(0), a.real(1), a.real(2)), R(); },
     kFloats, kStrided, kInPlace},
    {"normal_", 4, [](A a) -> R { return normal_(a.tensor(0), a.real(1), a.real(2)), R(); },
     kFloats, kStrided, kInPlace},
    {"log_normal_", 4, [](A a) -> R { return log_normal_(a.tensor(0), a.real(1), a.real(2)), R(); },
     kFloats, kStrided, kInPlace},
    {"cauchy_", 4, [](A a) -> R { return cauchy_(a.tensor(0), a.real(1), a.real(2)), R(); },
     kFloats, kStrided, kInPlace},
    {"exponential_", 3, [](A a) -> R { return exponential_(a.tensor(0), a.real(1)), R(); }, kFloats,
     kStrided, kInPlace},
    {"geometric_", 3, [](A a) -> R { return geometric_(a.tensor(0), a.real(1)), R(); }, kReal,
     kStrided, kInPlace},
    {"bernoulli_.float", 3, [](A a) -> R { return bernoulli_(a.tensor(0), a.real(1)), R(); }, kReal,
     kStrided, kInPlace},
    {"bernoulli_.Tensor", 3, [](A a) -> R { return bernoulli_(a.tensor(0), a.tensor(1)), R(); },
     kReal, kStrided, kInPlace},
    {"random_", 2,
     [](A a) -> R {
       const Tensor x = a.tensor(0);
       return random_(x, 0, end_of(x.dtype())), R();
     },
     kReal, kStrided, kInPlace},
    {"random_.to", 3, [](A a) -> R { return random_(a.tensor(0), 0, a.integer(1)), R(); }, kReal,
     kStrided, kInPlace},
    {"random_.from", 4, random_from, kReal, kStrided, kInPlace},
    {"normal.Tensor_Tensor", 3, [](A a) -> R { return normal(a.tensor(0), a.tensor(1)); }, kFloats},
    {"normal.Tensor_float", 3, [](A a) -> R { return normal(a.tensor(0), a.real(1)); }, kFloats},
    {"normal.float_Tensor", 3, [](A a) -> R { return normal(a.real(0), a.tensor(1)); }},
    {"multinomial", 4, [](A a) -> R { return multinomial(a.tensor(0), a.integer(1), a.flag(2)); },
     kFloats},
    {"native_dropout", 3,
     [](A a) -> R { return native_dropout(a.tensor(0), a.real(1), a.none(2) || a.flag(2)); },
     kFloats},
};

}  // namespace

void add_random(std::vector<Entry>* all) { add_named(kRandom, all, true); }

}  // namespace wellspring::python
