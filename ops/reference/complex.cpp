// Complex numbers and Fourier transforms by their definition; operands as in chips/cpu/kernels/
// complex.cpp and fft.cpp.
#include <cmath>
#include <complex>

#include "ops/reference/reference.h"

namespace wellspring::reference {
namespace {

using Complex = std::complex<double>;

// Values of a real or complex view, row-major.
struct ComplexValues {
  Shape shape;
  std::vector<Complex> data;

  explicit ComplexValues(const View& v)
      : shape(std::span<const int64_t>(v.shape, static_cast<size_t>(v.dims))) {
    if (!is_complex(v.dtype)) {
      for (double x : Values(v).data) data.emplace_back(x);
      return;
    }
    const Values all(v);
    for (int64_t i = 0; i < all.size(); i += 2) data.emplace_back(all[i], all[i + 1]);
  }
  void write(const View& v) const {
    if (!is_complex(v.dtype)) {
      Values real(shape);
      for (int64_t i = 0; i < real.size(); ++i) real[i] = data[i].real();
      return real.write(v);
    }
    Values all(v);
    for (size_t i = 0; i < data.size(); ++i)
      all[2 * i] = data[i].real(), all[2 * i + 1] = data[i].imag();
    all.write(v);
  }
};

void conj(const Call& call) {
  ComplexValues x(call.in[0]);
  for (Complex& v : x.data) v = std::conj(v);
  x.write(call.out[0]);
}
WS_REFERENCE("conj", conj);

// Element k of a line of n that is symmetric, given by its first half.
Complex whole(const Complex* line, int64_t k, int64_t n, int64_t step) {
  const bool mirrored = k > n / 2;
  Complex v = line[(mirrored ? n - k : k) * step];
  if (k == 0 || 2 * k == n) v = v.real();
  return mirrored ? std::conj(v) : v;
}

void transform(const Call& call, bool from_half) {
  const int dim = static_cast<int>(call.attr[0].i);
  const double scale = call.attr[1].f, sign = call.attr[2].i ? -1 : 1;
  const ComplexValues x(call.in[0]);
  ComplexValues y(call.out[0]);
  int64_t step = 1;
  for (int d = dim + 1; d < x.shape.size(); ++d) step *= x.shape[d];
  const int64_t in = x.shape[dim], out = y.shape[dim], n = from_half ? out : in;
  for (size_t i = 0; i < y.data.size(); ++i) {
    const auto at = static_cast<int64_t>(i), k = at / step % out;
    const Complex* line = &x.data[at / (step * out) * step * in + at % step];
    Complex sum = 0;
    for (int64_t j = 0; j < n; ++j) {
      const double angle =
          sign * 2 * M_PI * static_cast<double>(j * k % n) / static_cast<double>(n);
      sum += (from_half ? whole(line, j, n, step) : line[j * step]) * std::polar(1.0, angle);
    }
    y.data[i] = sum * scale;
  }
  y.write(call.out[0]);
}

void fft_c2c(const Call& call) { transform(call, false); }
WS_REFERENCE("fft_c2c", fft_c2c);
void fft_r2c(const Call& call) { transform(call, false); }
WS_REFERENCE("fft_r2c", fft_r2c);
void fft_c2r(const Call& call) { transform(call, true); }
WS_REFERENCE("fft_c2r", fft_c2r);

}  // namespace
}  // namespace wellspring::reference
