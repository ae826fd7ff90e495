// Fourier transforms of f32 and complex64.

#include "ops/fft.h"

#include <bit>

#include "python/src/torch/call.h"

namespace wellspring::python {
namespace {

using A = const Arguments&;
using R = Results;

// The transformed dimension, where ours pays: one, the last, of several lines that are not long.
// (PyTorch's result has the transformed ones innermost in memory.)
std::vector<int> last(A a, const Tensor& x) {
  constexpr int64_t kLeastLines = 16;
  const std::vector<int> dims = a.dims(1);
  if (x.dims() == 0 || dims.size() != 1 || (dims[0] != x.dims() - 1 && dims[0] != -1) ||
      x.numel() / x.size(-1) < kLeastLines)
    throw NotTaken();
  return dims;
}
constexpr int64_t kLongestReal = 4096, kLongestComplex = 2048;

// Lengths for which PyTorch's library has code of its own, or that are long.
void check_length(int64_t n, int64_t longest) {
  if (n > longest || (n < 512 && std::has_single_bit(static_cast<uint64_t>(n)))) throw NotTaken();
}

R real_to_complex(A a) {  // self, dim, normalization, onesided
  const Tensor x = a.tensor(0);
  const std::vector<int> dims = last(a, x);
  if (x.size(-1) > kLongestReal) throw NotTaken();
  return _fft_r2c(x, dims, a.integer(2), a.flag(3));
}
R complex_to_real(A a) {  // self, dim, normalization, last_dim_size
  const Tensor x = a.complex(0);
  check_length(a.integer(3), kLongestReal);
  return _fft_c2r(x, last(a, x), a.integer(2), a.integer(3));
}
R complex_to_complex(A a) {  // self, dim, normalization, forward
  const Tensor x = a.complex(0);
  const std::vector<int> dims = last(a, x);
  check_length(x.size(-1), kLongestComplex);
  return _fft_c2c(x, dims, a.integer(2), a.flag(3));
}

constexpr Named kTransforms[] = {
    {"_fft_r2c", 4, real_to_complex, Named::kF32},
    {"_fft_c2r", 4, complex_to_real, Named::kComplex},
    {"_fft_c2c", 4, complex_to_complex, Named::kComplex},
};

}  // namespace

void add_transforms(std::vector<Entry>* all) { add_named(kTransforms, all); }

}  // namespace wellspring::python
