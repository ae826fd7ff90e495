#include "nn/calibration.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/error.h"
#include "base/threads.h"
#include "ops/matmul.h"
#include "ops/pointwise.h"
#include "ops/shape.h"
#include "tensor/autograd.h"

namespace wellspring {
namespace {

constexpr int64_t kBlock = 128;  // columns that are factored together

// Takes what column k explains from the columns [from, k) of one row; r is column k of R in their rows.
void explain(double* row, const double* r, int64_t from, int64_t k) {
  for (int64_t j = from; j < k; ++j) row[j] -= row[k] * r[j - from];
}

// Columns [from, to) of M = R D R^T, the last first: `s` holds M less what later columns explain; R D takes its place
// at and above the diagonal. Returns R of the rows above, [from, to - from].
Tensor factor_columns(double* s, int64_t K, int64_t from, int64_t to) {
  const int64_t n = to - from;
  std::vector<double> r(static_cast<size_t>(n * n));  // row k - from: column k of R in the block
  for (int64_t k = to - 1; k >= from; --k) {
    double* column = r.data() + (k - from) * n;
    for (int64_t j = from; j < k; ++j) column[j - from] = s[j * K + k] / s[k * K + k];
    for (int64_t i = from; i < k; ++i) explain(s + i * K, column, from, k);
  }
  const Tensor above = Tensor::empty({from, n}, DType::f64);
  double* out = above.data_as<double>();
  parallel_for((from + 15) / 16, [&](int64_t tile) {
    for (int64_t i = tile * 16; i < std::min(from, tile * 16 + 16); ++i) {
      for (int64_t k = to - 1; k >= from; --k) explain(s + i * K, r.data() + (k - from) * n, from, k);
      for (int64_t k = from; k < to; ++k) out[i * n + k - from] = s[i * K + k] / s[k * K + k];
    }
  });
  return above;
}

}  // namespace

Tensor error_feedback(const Tensor& moments, double damping) {
  NoGrad no_grad;
  WS_CHECK(moments.dims() == 2 && moments.size(0) == moments.size(1) && moments.is_contiguous(), "moments are square");
  const int64_t K = moments.size(0);
  const Tensor wide = to(moments, DType::f64);
  double* s = wide.data_as<double>();
  double mean = 0;
  for (int64_t k = 0; k < K; ++k) mean += s[k * K + k] / static_cast<double>(K);
  if (!std::isfinite(mean) || mean < 0) throw Error(Fault::data, "what the model computes for the texts is not finite: they cannot calibrate it");
  for (int64_t k = 0; k < K; ++k) s[k * K + k] += mean > 0 ? damping * mean : 1;
  for (int64_t to = K, from; to > 0; to = from) {
    from = std::max<int64_t>(0, to - kBlock);
    const Tensor r = factor_columns(s, K, from, to);
    const Tensor rows = narrow(wide, 0, 0, from);
    if (from) sub_(narrow(rows, 1, 0, from), matmul(r, transpose(narrow(rows, 1, from, to - from), 0, 1)));
  }
  const Tensor out = Tensor::empty({K, K});
  float* f = out.data_as<float>();
  const double unit = mean > 0 ? mean : 1;  // costs near one, whatever the activations' size
  for (int64_t i = 0; i < K; ++i)
    for (int64_t k = 0; k < K; ++k)
      f[i * K + k] = i > k ? 0 : static_cast<float>(s[i * K + k] / (i == k ? unit : s[k * K + k]));
  return out;
}

}  // namespace wellspring
