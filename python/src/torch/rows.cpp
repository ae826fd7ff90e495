#include "python/src/torch/rows.h"

namespace wellspring::python {

using torch_bridge::kBF16;
using torch_bridge::kF32;
using torch_bridge::kI32;
using torch_bridge::kI64;

std::optional<Rows> rows_of(const TensorArg* x, const Arg& shape) {
  if (!x || shape.kind != Kind::ints || shape.count < 1 || shape.count > x->dims || x->numel == 0 ||
      !is_contiguous(*x) || (x->type != kF32 && x->type != kBF16))
    return std::nullopt;
  Rows r;
  r.leading = x->dims - static_cast<int>(shape.count);
  for (int64_t i = 0; i < shape.count; ++i) {
    if (shape.ints[i] != x->sizes[r.leading + i]) return std::nullopt;
    r.width *= shape.ints[i];
  }
  if (r.width < 2) return std::nullopt;  // all of its results are rounding errors
  r.count = x->numel / r.width;
  return r;
}

bool is_vector(const TensorArg* w, int64_t count, const TensorArg& x) {
  return w && w->numel == count && is_contiguous(*w) && (w->type == kF32 || w->type == x.type);
}

float value_at(const TensorArg& t, int64_t i) {
  return t.type == kF32 ? static_cast<const float*>(t.data)[i]
                        : to_float(static_cast<const bf16_t*>(t.data)[i]);
}
void put(const TensorArg& t, int64_t i, float v) {
  if (t.type == kF32)
    static_cast<float*>(t.data)[i] = v;
  else
    static_cast<bf16_t*>(t.data)[i] = to_bf16(v);
}
std::vector<float> values_of(const TensorArg& t) {
  std::vector<float> all(static_cast<size_t>(t.numel));
  for (int64_t i = 0; i < t.numel; ++i) all[static_cast<size_t>(i)] = value_at(t, i);
  return all;
}
OwnView floats(std::vector<float>& v) {
  return packed_view(v.data(), DType::f32, {static_cast<int64_t>(v.size())});
}

bool takes_ids(const TensorArg* ids, int64_t rows, int64_t ignored, int64_t* counted) {
  if (!ids || (ids->type != kI64 && ids->type != kI32) || ids->numel == 0 || !is_contiguous(*ids))
    return false;
  *counted = 0;
  for (int64_t i = 0; i < ids->numel; ++i) {
    const int64_t id = ids->type == kI64 ? static_cast<const int64_t*>(ids->data)[i]
                                         : static_cast<const int32_t*>(ids->data)[i];
    if (id == ignored) continue;
    if (id < 0 || id >= rows) return false;
    ++*counted;
  }
  return true;
}

}  // namespace wellspring::python
