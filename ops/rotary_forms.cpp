// apply_rotary_position_embedding: the published form over rotary().

#include "base/error.h"
#include "base/text.h"
#include "ops/index.h"
#include "ops/packed.h"
#include "ops/pointwise.h"
#include "ops/rotary.h"
#include "ops/shape.h"

namespace wellspring {
namespace {

constexpr const char* kOp = "apply_rotary_position_embedding";

// Pairs of neighbours as halves, and back.
Tensor halves_of(const Tensor& x) {
  Shape pairs = x.shape();
  pairs[pairs.size() - 1] /= 2;
  pairs.push_back(2);
  return reshape(transpose(reshape(x, pairs), -1, -2), x.shape());
}
Tensor pairs_of(const Tensor& x) {
  Shape halves = x.shape();
  const int64_t half = halves[halves.size() - 1] / 2;
  halves[halves.size() - 1] = 2;
  halves.push_back(half);
  return reshape(transpose(reshape(x, halves), -1, -2), x.shape());
}

// x [B, T, H, D] of f64.
Tensor composed(const Tensor& x, const Tensor& cos, const Tensor& sin, const Tensor& positions) {
  const int64_t half = x.size(3) / 2;
  const auto rows = [&](const Tensor& table) {
    const Tensor t = to(table, DType::f64);
    const Tensor picked =
        positions.defined() ? index_select(t, 0, reshape(positions, {x.size(0) * x.size(1)})) : t;
    return positions.defined() ? view(picked, {x.size(0), x.size(1), 1, half})
                               : view(narrow(picked, 0, 0, x.size(1)), {1, x.size(1), 1, half});
  };
  const Tensor a = narrow(x, 3, 0, half), b = narrow(x, 3, half, half), c = rows(cos),
               s = rows(sin);
  const Tensor parts[] = {sub(mul(a, c), mul(b, s)), add(mul(b, c), mul(a, s))};
  return cat(parts, 3);
}

Tensor rotated(const Tensor& x, const Tensor& cos, const Tensor& sin, const Tensor& ids,
               bool interleaved) {
  if (!x.defined() || !is_float(x.dtype()) || x.dims() < 3 || x.size(-1) % 2)
    throw Error(Fault::usage, str(kOp, ": q and k are floating [..., heads, even width], not ",
                                  x.defined() ? x.text() : "undefined"));
  const int64_t time = x.size(-3), heads = x.size(-2), width = x.size(-1);
  Shape lead(std::span(x.shape().data(), static_cast<size_t>(x.dims() - 2)));
  if (ids.defined() && !(ids.shape() == lead))
    throw Error(Fault::usage, str(kOp, ": position_ids are ", lead.text(), " for ", x.text(),
                                  ", but are ", ids.text()));
  const int64_t batch = lead.numel() / std::max<int64_t>(1, time);
  Tensor flat = reshape(interleaved ? halves_of(x) : x, {batch, time, heads, width});
  const Tensor positions = ids.defined() ? to(reshape(ids, {batch, time}), DType::i32) : Tensor();
  const auto table = [](const Tensor& t) { return packed_as(t, DType::f32); };
  Tensor y;
  if (x.dtype() == DType::f64) {
    rotary(Tensor::zeros({batch, time, 0, width}), table(cos), table(sin), positions);  // checks
    y = composed(flat, cos, sin, positions);
  } else if (x.dtype() == DType::f16) {
    y = to(rotary(to(flat, DType::f32), table(cos), table(sin), positions), DType::f16);
  } else {
    y = rotary(flat, table(cos), table(sin), positions);
  }
  y = reshape(y, x.shape());
  return interleaved ? pairs_of(y) : y;
}

}  // namespace

std::tuple<Tensor, Tensor> apply_rotary_position_embedding(const Tensor& q, const Tensor& k,
                                                           const Tensor& cos, const Tensor& sin,
                                                           const Tensor& position_ids,
                                                           bool rotary_interleaved) {
  if (!cos.defined() || !sin.defined() || !is_float(cos.dtype()) || !is_float(sin.dtype()))
    throw Error(Fault::usage, str(kOp, ": cos and sin are floating tables"));
  return {rotated(q, cos, sin, position_ids, rotary_interleaved),
          rotated(k, cos, sin, position_ids, rotary_interleaved)};
}

}  // namespace wellspring
