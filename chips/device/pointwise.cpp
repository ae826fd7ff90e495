// The host's half of the generated elementwise kernels: a launch for each wanted result.

#include "chips/device/pointwise.h"

#include "chips/device/space.h"

namespace wellspring::device {
namespace {

constexpr int kSlots = WS_MOST_TENSORS;

template <class T>
struct Numbers {
  T v[kSlots] = {};
};

// Parameters, and the values of operands that are numbers, by slot.
template <class T>
Numbers<T> numbers_of(const Call& call, const Pointwise& k) {
  const auto value = [&](int attr) {
    if constexpr (std::is_same_v<T, int64_t>)
      return call.attr[attr].i;
    else
      return static_cast<T>(call.attr[attr].f);
  };
  Numbers<T> n;
  for (int i = 0; i < k.ins; ++i)
    if (!call.in[i].defined()) n.v[i] = value(1 + k.params + i);
  for (int p = 0; p < k.params; ++p) n.v[k.ins + p] = value(1 + p);
  return n;
}

template <class T>
void launch_with(const Call& call, const Pointwise& k, Real real) {
  const Numbers<T> numbers = numbers_of<T>(call, k);
  for (int o = 0; o < k.outs; ++o) {
    const View& out = call.out[o];
    if (!out.defined()) continue;
    const PointwiseFunction& f = k.functions[o];
    if (!f.name) refuse(k.name, "has no such result");
    SpaceBuilder builder(out);
    builder.put(kSlots - 1, out);
    Launch launch(call, {k.unit, f.name, real});
    launch.tensor(out);
    for (int i = 0; i < k.ins; ++i) {
      if (!(f.slots >> i & 1)) continue;
      builder.put(i, call.in[i]);
      launch.tensor(call.in[i]);
    }
    const WsSpace space = builder.build();
    launch.value(space).value(numbers).run_items(space.total);
  }
}

}  // namespace

void run_pointwise(const Call& call, const Pointwise& k) {
  if (call.ins != k.ins || call.outs != k.outs || call.attrs != 1 + k.params + k.ins)
    refuse(k.name, "called with another number of tensors or attributes");
  switch (static_cast<DType>(call.attr[0].i)) {
    case DType::f64:
      return launch_with<double>(call, k, Real::f64);
    case DType::i64:
      if (!k.integers) refuse(k.name, "does not compute in i64");
      return launch_with<int64_t>(call, k, Real::i64);
    default:
      return launch_with<float>(call, k, Real::f32);
  }
}

bool takes_pointwise(const Call& call, const Pointwise&) {
  const bool has_double = queue_of(call).dtypes() >> static_cast<int>(DType::f64) & 1;
  return takes_dtypes(call) && (has_double || static_cast<DType>(call.attr[0].i) != DType::f64);
}

}  // namespace wellspring::device
