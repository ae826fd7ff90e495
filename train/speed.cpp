#include "train/speed.h"

#include <algorithm>

#include "base/time.h"
#include "ops/matmul.h"
#include "tensor/autograd.h"

namespace wellspring {

double training_flops(const DecoderConfig& c, int64_t sequence) {
  const double matrices = 6.0 * static_cast<double>(c.matmul_parameters());
  const double attention = 6.0 * static_cast<double>(c.layers * c.heads * c.head_width * sequence);
  return matrices + attention;
}

double measure_gemm(DType dtype, Device device) {
  constexpr int64_t kSize = 1024;
  NoGrad no_grad;
  Tensor a = Tensor::full({kSize, kSize}, 0.5, dtype, device),
         b = Tensor::full({kSize, kSize}, 0.5, dtype, device);
  const Chip& chip = chips()[device.chip];
  Queue* queue = chip.queue(device.index);
  chip.synchronize(queue);
  double best = 0;
  Stopwatch all;
  for (int i = 0; i < 6 && (i < 3 || all.seconds() < 0.3); ++i) {
    Stopwatch one;
    Tensor c = matmul(a, b);
    chip.synchronize(queue);
    best = std::max(best, 2.0 * kSize * kSize * kSize / one.seconds());
  }
  return best;
}

}  // namespace wellspring
