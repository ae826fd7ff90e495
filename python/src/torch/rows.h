#pragma once
// Rows, weights of them and indices of rows, as the kernels of normalisation and losses take them.
// Kernels' weights and statistics are f32; PyTorch's may be bf16, and are converted, a row at most.

#include <limits>

#include "python/src/torch/use.h"

namespace wellspring::python {

/// x as [count, width] over the dimensions that are normalised.
struct Rows {
  int64_t count = 1, width = 1;
  int leading = 0;  // dimensions before
};
/// Nothing when the kernels do not take them.
std::optional<Rows> rows_of(const TensorArg* x, const Arg& shape);
inline OwnView as_rows(const TensorArg& t, const Rows& r) {
  return packed_view(t.data, dtype_of(t), {r.count, r.width});
}

/// Whether it has weights as PyTorch has them: of the rows' type, or f32 for bf16 rows.
bool is_vector(const TensorArg* w, int64_t count, const TensorArg& x);

/// Elements of a row-major f32 or bf16 tensor.
float value_at(const TensorArg& t, int64_t i);
void put(const TensorArg& t, int64_t i, float v);
std::vector<float> values_of(const TensorArg& t);
OwnView floats(std::vector<float>& v);

/// Whether these are packed ids of [0, rows), `ignored` ones apart; how many others there are. One
/// outside is PyTorch's to report.
bool takes_ids(const TensorArg* ids, int64_t rows, int64_t ignored, int64_t* counted);
/// For `ignored`: none.
inline constexpr int64_t kNone = std::numeric_limits<int64_t>::min();

}  // namespace wellspring::python
