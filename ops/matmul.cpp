// Checks and derivatives of matrix products. M rows, K inner, N columns; a leading "batch"
// broadcasts.

#include "ops/matmul.h"

#include "base/error.h"
#include "base/text.h"
#include "ops/shape.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace wellspring {
namespace {

KernelRef kMatmul("matmul"), kWhole("matmul_whole");
KernelRef kColumnSum("column_sum");

bool takes(DType t) { return t == DType::f32 || t == DType::bf16 || t == DType::f64; }
DType wide(DType t) { return t == DType::f64 ? DType::f64 : DType::f32; }

Tensor converted(const Tensor& t, DType dtype) {
  if (t.dtype() == dtype) return t.detach();
  const Tensor copy = Tensor::empty(t.shape(), dtype, t.device());
  copy.copy_from(t);
  return copy;
}

// The last two dimensions exchanged.
Tensor turned(const Tensor& t) {
  Shape shape = t.shape(), strides = t.strides();
  const int n = shape.size();
  std::swap(shape[n - 1], shape[n - 2]);
  std::swap(strides[n - 1], strides[n - 2]);
  return t.as_strided(shape, strides, t.offset());
}

// A matrix or batch of matrices: a vector becomes one row (of a) or one column (of b).
Tensor as_matrix(const Tensor& t, bool is_left) {
  if (t.dims() != 1) return t.detach();
  const int64_t n = t.size(0), step = t.strides()[0];
  return is_left ? t.as_strided({1, n}, {0, step}, t.offset())
                 : t.as_strided({n, 1}, {step, 0}, t.offset());
}

// [batch..., last two of t] with stride 0 where t repeats.
Tensor spread(const Tensor& t, const Shape& batch) {
  Shape shape = batch, strides;
  const int own = t.dims() - 2, missing = batch.size() - own;
  for (int d = 0; d < batch.size(); ++d)
    strides.push_back(d < missing || t.shape()[d - missing] == 1 ? 0 : t.strides()[d - missing]);
  for (int d = own; d < own + 2; ++d) {
    shape.push_back(t.shape()[d]);
    strides.push_back(t.strides()[d]);
  }
  return t.as_strided(shape, strides, t.offset());
}

[[noreturn]] void refuse(const char* op, const std::string& why, const Tensor& a, const Tensor& b) {
  throw Error(Fault::usage, str(op, ": ", why, " (", a.text(), " and ", b.text(), ")"));
}

Shape joint_batch(const Tensor& a, const Tensor& b) {
  const int na = a.dims() - 2, nb = b.dims() - 2, n = std::max(na, nb);
  Shape batch;
  for (int d = 0; d < n; ++d) {
    const int64_t x = d < n - na ? 1 : a.shape()[d - (n - na)];
    const int64_t y = d < n - nb ? 1 : b.shape()[d - (n - nb)];
    if (x != y && x != 1 && y != 1) refuse("matmul", "the batch extents do not broadcast", a, b);
    batch.push_back(x == 1 ? y : x);
  }
  return batch;
}

// c = a b of matrices, with batch dimensions that broadcast.
Tensor product(const Tensor& a, const Tensor& b, DType dtype) {
  Shape batch = joint_batch(a, b), shape = batch;
  shape.push_back(a.size(-2));
  shape.push_back(b.size(-1));
  const Tensor c = Tensor::empty(shape, dtype, a.device());
  if (c.numel() && is_integer(dtype)) launch(kWhole, {c}, {spread(a, batch), spread(b, batch)});
  if (c.numel() && !is_integer(dtype))
    launch(kMatmul, {c}, {spread(a, batch), spread(b, batch), Tensor()}, {false});
  return c;
}

// [product of the leading extents, last], copying only when the strides do not allow a view.
Tensor rows_of(const Tensor& t) {
  const int n = t.dims();
  if (n == 2) return t.detach();
  const int64_t last = t.size(-1);
  int64_t rows = 1, step = 0;
  bool view = true;
  for (int d = n - 2; d >= 0; --d) {
    const int64_t extent = t.shape()[d];
    if (extent == 1) continue;
    if (rows == 1)
      step = t.strides()[d];
    else
      view = view && t.strides()[d] == step * rows;
    rows *= extent;
  }
  if (view) return t.as_strided({rows, last}, {step, t.strides()[n - 1]}, t.offset());
  const Tensor copy = Tensor::empty(t.shape(), t.dtype(), t.device());
  copy.copy_from(t);
  return copy.as_strided({rows, last}, {last, 1}, 0);
}

// Matrix `index` (row-major) of the batch of t.
Tensor member(const Tensor& t, const Shape& batch, int64_t index) {
  int64_t offset = t.offset();
  for (int d = batch.size() - 1; d >= 0; --d) {
    offset += index % batch[d] * t.strides()[d];
    index /= batch[d];
  }
  const int n = t.dims();
  return t.as_strided({t.size(-2), t.size(-1)}, {t.strides()[n - 2], t.strides()[n - 1]}, offset);
}

// The gradient of an operand: the products x y (which have the whole batch), summed over the batch
// where the operand repeats, in the order of the batch.
Tensor gradient_of(const Tensor& operand, const Tensor& x, const Tensor& y, const Shape& batch) {
  const int missing = batch.size() - (operand.dims() - 2);
  bool repeats = missing > 0;
  for (int d = std::max(0, missing); d < batch.size(); ++d)
    repeats = repeats || operand.shape()[d - missing] != batch[d];
  if (!repeats) return product(x, y, operand.dtype());
  const Tensor sum = Tensor::zeros(operand.shape(), wide(operand.dtype()), operand.device());
  const Tensor target = spread(sum, batch);
  for (int64_t i = 0; i < batch.numel() && sum.numel(); ++i)
    launch(kMatmul, {member(target, batch, i)},
           {member(x, batch, i), member(y, batch, i), Tensor()}, {true});
  return converted(sum, operand.dtype());
}

// The gradient of b in a b for one matrix b and a batch of a: one product along all rows.
Tensor gradient_of_shared(const Tensor& b, const Tensor& a, const Tensor& dc, DType dtype) {
  const Tensor db = Tensor::empty(b.shape(), dtype, b.device());
  if (db.numel()) launch(kMatmul, {db}, {turned(rows_of(a)), rows_of(dc), Tensor()}, {false});
  return db;
}

// t with one of its dimensions of extent 1 left out, or put back (at -2 or -1).
Tensor without(const Tensor& t, bool row, bool column) {
  const int n = t.dims();
  Shape shape, strides;
  for (int d = 0; d < n; ++d) {
    if ((d == n - 2 && row) || (d == n - 1 && column)) continue;
    shape.push_back(t.shape()[d]);
    strides.push_back(t.strides()[d]);
  }
  return t.as_strided(shape, strides, t.offset());
}
Tensor with(const Tensor& t, bool row, bool column) {
  Shape shape, strides;
  const int own = t.dims() - !row - !column;
  for (int d = 0; d < own; ++d) {
    shape.push_back(t.shape()[d]);
    strides.push_back(t.strides()[d]);
  }
  for (int i = 0; i < 2; ++i) {
    const bool added = i == 0 ? row : column;
    const int at = own + (i == 1 && !row);
    shape.push_back(added ? 1 : t.shape()[at]);
    strides.push_back(added ? 0 : t.strides()[at]);
  }
  return t.as_strided(shape, strides, t.offset());
}

void check_linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  if (!takes(x.dtype())) refuse("linear", "the dtype must be f32, bf16 or f64", x, weight);
  if (weight.dtype() != x.dtype()) refuse("linear", "the dtypes must be the same", x, weight);
  if (x.dims() < 1 || weight.dims() != 2)
    refuse("linear", "x is [..., K] and weight is [N, K]", x, weight);
  if (x.size(-1) != weight.size(1)) refuse("linear", "the inner extents differ", x, weight);
  if (!bias.defined()) return;
  const bool fits =
      bias.dtype() == x.dtype() || (x.dtype() == DType::bf16 && bias.dtype() == DType::f32);
  if (bias.dims() != 1 || bias.size(0) != weight.size(0) || !fits)
    refuse("linear", "bias must be [N] in the dtype of x or f32", weight, bias);
}

}  // namespace

Tensor matmul(const Tensor& a, const Tensor& b) {
  if (!takes(a.dtype()) && a.dtype() != DType::f16 && !is_integer(a.dtype()))
    refuse("matmul", "the dtype must be floating or an integer", a, b);
  if (a.dtype() != b.dtype()) refuse("matmul", "the dtypes must be the same", a, b);
  if (a.dtype() == DType::f16)  // computed in f32
    return to(matmul(to(a, DType::f32), to(b, DType::f32)), DType::f16);
  if (a.dims() < 1 || b.dims() < 1) refuse("matmul", "both need at least one dimension", a, b);
  const bool row = a.dims() == 1, column = b.dims() == 1;
  const Tensor x = as_matrix(a, true), y = as_matrix(b, false);
  if (x.size(-1) != y.size(-2)) refuse("matmul", "the inner extents differ", a, b);
  const Tensor out = without(product(x, y, a.dtype()), row, column);
  if (!should_record({&a, &b})) return out;
  const auto backward = [a = Saved(a), b = Saved(b), row, column](BackwardContext& c) -> Tensors {
    const Tensor own_a = c.saved(a), own_b = c.saved(b);
    const Tensor x = as_matrix(own_a, true), y = as_matrix(own_b, false);
    const Tensor dc = with(c.grad(), row, column);
    const Shape batch = joint_batch(x, y);
    Tensor da, db;
    if (c.needs(0)) {
      da = gradient_of(x, dc, turned(spread(y, batch)), batch);
      if (row) da = da.as_strided(own_a.shape(), {1}, 0);
    }
    if (c.needs(1)) {
      const Tensor all = spread(x, batch);
      db = y.dims() == 2 ? gradient_of_shared(y, all, dc, y.dtype())
                         : gradient_of(y, turned(all), dc, batch);
      if (column) db = db.as_strided(own_b.shape(), {1}, 0);
    }
    return {da, db};
  };
  record("matmul", {a, b}, {out}, backward);
  return out;
}

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  if (x.dtype() == DType::f16 && weight.dtype() == DType::f16)  // computed in f32
    return to(linear(to(x, DType::f32), to(weight, DType::f32),
                     bias.defined() ? to(bias, DType::f32) : bias),
              DType::f16);
  check_linear(x, weight, bias);
  Shape shape = x.shape();
  shape[shape.size() - 1] = weight.size(0);
  const Tensor out = Tensor::empty(shape, x.dtype(), x.device());
  const Tensor w = weight.detach(), rows = rows_of(as_matrix(x, true));
  if (out.numel())
    launch(kMatmul, {rows_of(as_matrix(out, true))},
           {rows, turned(w), bias.defined() ? bias.detach() : Tensor()}, {false});
  if (!should_record({&x, &weight, &bias})) return out;
  const auto backward = [x = Saved(x), w = Saved(weight),
                         with_bias = bias.defined()](BackwardContext& c) -> Tensors {
    const Tensor in = c.saved(x), weight = c.saved(w);
    const Tensor dy = rows_of(as_matrix(c.grad(), true));
    Tensor dx, dw, db;
    if (c.needs(0)) {
      dx = Tensor::empty(in.shape(), in.dtype(), in.device());
      if (dx.numel())
        launch(kMatmul, {rows_of(as_matrix(dx, true))}, {dy, weight, Tensor()}, {false});
    }
    if (c.needs(1))
      dw = gradient_of_shared(weight, dy, rows_of(as_matrix(in, true)), wide(in.dtype()));
    if (with_bias && c.needs(2)) {
      db = Tensor::empty({weight.size(0)}, wide(in.dtype()), in.device());
      launch(kColumnSum, {db}, {dy});
    }
    if (!with_bias) return {dx, dw};
    return {dx, dw, db};
  };
  if (bias.defined())
    record("linear", {x, weight, bias}, {out}, backward);
  else
    record("linear", {x, weight}, {out}, backward);
  return out;
}

}  // namespace wellspring
