// A tensor and its gradient: f(x) = sum of (x w)^2 over a small matrix, checked by finite
// differences.
#include <cmath>
#include <cstdio>
#include <vector>

#include "ops/matmul.h"
#include "ops/pointwise.h"
#include "ops/reduce.h"
#include "tensor/autograd.h"
#include "tensor/tensor.h"

using namespace wellspring;

static Tensor f(const Tensor& x, const Tensor& w) { return sum(square(matmul(x, w))); }

int main() {
  std::vector<float> x_values = {1, 2, 3, 4, 5, 6}, w_values = {0.5f, -1, 2};
  Tensor x = Tensor::from(x_values, {2, 3}, DType::f64);
  Tensor w = Tensor::from(w_values, {3, 1}, DType::f64);
  x.set_requires_grad(true);
  Tensor y = f(x, w);
  backward(y);
  std::printf("f(x) = %g for x = %s\n", y.item(), x.text().c_str());

  std::vector<double> gradient = x.grad().to_vector<double>();
  double worst = 0;
  NoGrad no_grad;
  for (int i = 0; i < 6; ++i) {
    const float h = 0.125f;  // f is quadratic: central differences are exact
    std::vector<float> up = x_values, down = x_values;
    up[i] += h, down[i] -= h;
    double slope = (f(Tensor::from(up, {2, 3}, DType::f64), w).item() -
                    f(Tensor::from(down, {2, 3}, DType::f64), w).item()) /
                   (2 * h);
    std::printf("df/dx[%d] = %8.3f, by differences %8.3f\n", i, gradient[i], slope);
    worst = std::max(worst, std::abs(gradient[i] - slope));
  }
  return worst < 1e-9 ? 0 : 1;
}
