// Checks and derivative of the embedding. V rows of the table, D width.

#include "ops/embedding.h"

#include "base/index_error.h"
#include "base/text.h"
#include "ops/index.h"
#include "ops/packed.h"
#include "ops/pointwise.h"
#include "ops/shape.h"
#include "ops/sort.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace wellspring {
namespace {

KernelRef kEmbedding("embedding"), kEmbeddingBackward("embedding_backward");

std::string place_of(int64_t index, const Shape& shape) {
  Shape place = shape;
  for (int d = shape.size() - 1; d >= 0; --d) place[d] = index % shape[d], index /= shape[d];
  return place.text();
}

template <class T>
void check_range(const T* ids, const Shape& shape, int64_t rows) {
  for (int64_t i = 0, n = shape.numel(); i < n; ++i)
    if (ids[i] < 0 || ids[i] >= rows)
      throw IndexError(str("embedding: id ", ids[i], " at ", place_of(i, shape),
                           " is outside the table of ", rows, " rows"));
}

void check_ids(const Tensor& ids, int64_t rows) {
  if (!ids.device().is_cpu() || !ids.is_contiguous())
    return check_range(ids.to_vector<int64_t>().data(), ids.shape(), rows);
  if (ids.dtype() == DType::i32) return check_range(ids.data_as<int32_t>(), ids.shape(), rows);
  check_range(ids.data_as<int64_t>(), ids.shape(), rows);
}

void check(const Tensor& weight, const Tensor& ids, DType dtype) {
  check_f32_or_bf16("embedding", "weight", weight);
  if (weight.dims() != 2)
    throw Error(Fault::usage,
                str("embedding: weight must be [rows, width], but is ", weight.text()));
  if (!ids.defined() || (ids.dtype() != DType::i32 && ids.dtype() != DType::i64))
    throw Error(Fault::usage, str("embedding: ids must be i32 or i64, not ",
                                  ids.defined() ? ids.text() : "undefined"));
  if (ids.dims() == kMaxDims)
    throw Error(Fault::usage,
                str("embedding: ids ", ids.text(), " leave no dimension for the width"));
  if (dtype != DType::f32 && dtype != DType::bf16)
    throw Error(Fault::usage, str("embedding: the result is f32 or bf16, not ", name_of(dtype)));
  check_ids(ids, weight.size(0));
}

// Tables of other dtypes, by index_select and its derivative.
Tensor picked_rows(const Tensor& weight, const Tensor& ids) {
  if (weight.dims() != 2 || !ids.defined() ||
      (ids.dtype() != DType::i32 && ids.dtype() != DType::i64))
    throw Error(Fault::usage, str("embedding: weight ", weight.text(),
                                  " must be [rows, width], ids ", ids.text(), " i32 or i64"));
  check_ids(ids, weight.size(0));
  Shape shape = ids.shape();
  shape.push_back(weight.size(1));
  return view(index_select(weight, 0, reshape(ids, {-1})), shape);
}

bool is_other_float(const Tensor& weight) {
  return weight.defined() && (weight.dtype() == DType::f64 || weight.dtype() == DType::f16);
}

// The gradient of a table from that of its rows, without a row for padding, and each row divided by
// how often its id was there.
Tensor table_gradient(const Tensor& dy, const Tensor& ids, const Shape& table, DType dtype,
                      int64_t padding_idx, bool scale_grad_by_freq) {
  const DType wide = dtype == DType::f64 ? DType::f64 : DType::f32;
  const Tensor grad = Tensor::zeros(table, wide, dy.device());
  const Tensor list = reshape(ids, {-1});
  index_add_(grad, 0, list, to(view(packed(dy), {list.numel(), table[1]}), wide));
  if (padding_idx >= 0) zero_(select(grad, 0, padding_idx));
  if (scale_grad_by_freq && list.numel()) {
    const Tensor counts = clamp_min(bincount(list, {}, table[0]), 1);
    div_(grad, to(unsqueeze(counts, 1), wide));
  }
  return grad;
}

}  // namespace

Tensor embedding(const Tensor& weight, const Tensor& ids, int64_t padding_idx,
                 bool scale_grad_by_freq) {
  const int64_t rows = weight.defined() && weight.dims() == 2 ? weight.size(0) : 0;
  if (padding_idx >= rows)
    throw Error(Fault::usage, str("embedding: padding_idx ", padding_idx,
                                  " is outside the table of ", rows, " rows"));
  if (padding_idx < 0 && !scale_grad_by_freq) return embedding(weight, ids);
  const Tensor y = embedding(weight.detach(), ids);
  if (should_record({&weight}))
    record("embedding", {weight}, {y},
           [=, ids = Saved(ids), table = weight.shape(),
            dtype = weight.dtype()](BackwardContext& c) -> Tensors {
             return {table_gradient(c.grad(), c.saved(ids), table, dtype, padding_idx,
                                    scale_grad_by_freq)};
           });
  return y;
}

Tensor embedding(const Tensor& weight, const Tensor& ids, std::optional<DType> dtype) {
  if (is_other_float(weight)) {
    const Tensor y = picked_rows(weight, ids);
    return dtype ? to(y, *dtype) : y;
  }
  check(weight, ids, dtype.value_or(weight.defined() ? weight.dtype() : DType::f32));
  Shape shape = ids.shape();
  shape.push_back(weight.size(1));
  const Tensor places = packed(ids),
               y = Tensor::empty(shape, dtype.value_or(weight.dtype()), weight.device());
  launch(kEmbedding, {y}, {packed(weight), places});
  if (!should_record({&weight})) return y;
  record("embedding", {weight}, {y},
         [ids = Saved(places), table = weight.shape()](BackwardContext& c) -> Tensors {
           const Tensor dy = packed(c.grad());
           // A tied head has left its dense gradient there: adding few rows beats a second table.
           const Tensor held = c.held_grad(0);
           if (held.defined() && held.dtype() == DType::f32) {
             launch(kEmbeddingBackward, {held}, {dy, c.saved(ids)}, {true});
             held.changed();
             return {Tensor()};
           }
           const Tensor grad = Tensor::empty(table, DType::f32, dy.device());
           launch(kEmbeddingBackward, {grad}, {dy, c.saved(ids)}, {false});
           return {grad};
         });
  return y;
}

}  // namespace wellspring
