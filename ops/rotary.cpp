// Checks and derivative of the rotary embedding. B batch, T time, H heads, D head width, P
// positions.

#include "ops/rotary.h"

#include "base/error.h"
#include "base/text.h"
#include "ops/packed.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace wellspring {
namespace {

KernelRef kRotary("rotary");

void check_table(const char* op, const Tensor& x, const Tensor& table, const char* name) {
  if (!table.defined() || table.dtype() != DType::f32 || table.dims() != 2 ||
      !table.is_contiguous() || table.size(1) != x.size(3) / 2)
    throw Error(Fault::usage,
                str(op, ": ", name, " must be packed f32[positions, ", x.size(3) / 2, "] for x ",
                    x.text(), ", but is ", table.defined() ? table.text() : "undefined"));
}

void check_positions(const char* op, const Tensor& x, const Tensor& positions, int64_t rows) {
  if (!positions.defined()) {
    if (x.numel() && x.size(1) > rows)
      throw Error(Fault::usage,
                  str(op, ": x ", x.text(), " is longer than the table of ", rows, " positions"));
    return;
  }
  if (positions.dtype() != DType::i32 || !(positions.shape() == Shape{x.size(0), x.size(1)}))
    throw Error(Fault::usage, str(op, ": positions must be i32[", x.size(0), ", ", x.size(1),
                                  "] for x ", x.text(), ", but are ", positions.text()));
  const std::vector<int32_t> p = positions.to_vector<int32_t>();
  for (size_t i = 0; i < p.size(); ++i)
    if (p[i] < 0 || p[i] >= rows)
      throw Error(Fault::usage,
                  str(op, ": position ", p[i], " at [", i / x.size(1), ", ", i % x.size(1),
                      "] is outside the table of ", rows, " positions"));
}

// The number of heads to rotate.
int64_t check(const char* op, const Tensor& x, const Tensor& cos, const Tensor& sin,
              const Tensor& positions, int64_t heads) {
  check_f32_or_bf16(op, "x", x);
  if (x.dims() != 4 || x.size(3) % 2)
    throw Error(
        Fault::usage,
        str(op, ": x must be [batch, time, heads, width] of even width, but is ", x.text()));
  if (heads < -1 || heads > x.size(2))
    throw Error(Fault::usage, str(op, ": ", heads, " heads of x ", x.text(), " cannot be rotated"));
  check_table(op, x, cos, "cos");
  check_table(op, x, sin, "sin");
  if (cos.size(0) != sin.size(0))
    throw Error(Fault::usage,
                str(op, ": cos ", cos.text(), " and sin ", sin.text(), " differ in length"));
  check_positions(op, x, positions, cos.size(0));
  return heads < 0 ? x.size(2) : heads;
}

bool has_rows(const Tensor& t) { return t.size(3) <= 1 || t.strides()[3] == 1; }

// The gradient turned back, in its own memory when nobody else sees it.
Backward turn_back(Saved cos, Saved sin, Saved positions, DType dtype, int64_t heads) {
  return [=](BackwardContext& c) -> Tensors {
    const bool in_place = is_exclusive(c.grad()) && c.grad().dtype() == dtype;
    const Tensor from = packed_as(c.grad(), dtype);
    const Tensor to = in_place ? c.grad() : Tensor::empty(from.shape(), dtype, from.device());
    launch(kRotary, {to}, {from, c.saved(cos), c.saved(sin), c.saved(positions)}, {heads, true});
    if (in_place) to.changed();
    return {to};
  };
}

}  // namespace

Tensor rotary(const Tensor& x, const Tensor& cos, const Tensor& sin, const Tensor& positions,
              int64_t heads) {
  heads = check("rotary", x, cos, sin, positions, heads);
  const Tensor from = has_rows(x) ? x.detach() : packed(x);
  const Tensor y = Tensor::empty(x.shape(), x.dtype(), x.device());
  launch(kRotary, {y}, {from, cos, sin, positions}, {heads, false});
  if (should_record({&x}))
    record("rotary", {x}, {y}, turn_back(cos, sin, positions, x.dtype(), heads));
  return y;
}

const Tensor& rotary_(const Tensor& x, const Tensor& cos, const Tensor& sin,
                      const Tensor& positions, int64_t heads) {
  heads = check("rotary_", x, cos, sin, positions, heads);
  for (int d = 0; d < 4; ++d)
    if (x.size(d) > 1 && x.strides()[d] == 0)
      throw Error(Fault::usage,
                  str("rotary_: x ", x.text(), " is expanded: one element would be turned twice"));
  const bool recorded = should_record({&x});
  mark_in_place("rotary_", x, recorded);
  const Tensor work = has_rows(x) ? x.detach() : packed(x);
  launch(kRotary, {work}, {work, cos, sin, positions}, {heads, false});
  if (!has_rows(x)) x.copy_from(work);
  if (recorded) record("rotary_", {x}, {x}, turn_back(cos, sin, positions, x.dtype(), heads));
  return x;
}

}  // namespace wellspring
