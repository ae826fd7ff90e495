#pragma once
// AdamW over a model's parameters (Loshchilov and Hutter, 2019).

#include <cstdint>
#include <string>
#include <vector>

#include "nn/parameter.h"
#include "tensor/safetensors.h"

namespace wellspring {

struct AdamwSettings {
  double beta1 = 0.9, beta2 = 0.95, eps = 1e-8;
  double weight_decay = 0.1;  // of parameters whose `decay` is set
};

/// Moments of every parameter, f32. The parameters (a model's) outlive it. One thread.
class AdamW {
 public:
  AdamW(const std::vector<Parameter*>& parameters, const AdamwSettings& settings);

  /// Norm of all gradients together, in f64 and a fixed order.
  double gradient_norm() const;
  /// One step: masters, moments and compute copies from the gradients times `gradient_scale`, at
  /// `rate` times each parameter's lr_multiplier. The gradients are given back. A parameter without
  /// gradient stays as it is.
  void step(double rate, double gradient_scale = 1);
  int64_t steps() const { return steps_; }

  /// Moments under the global names of the weights: "exp_avg.NAME", "exp_avg_sq.NAME".
  TensorList state() const;
  /// Takes them back; `steps` is how many were made. Error(Fault::data) naming file and tensor.
  void restore(const Safetensors& file, int64_t steps);

 private:
  std::vector<Parameter*> parameters_;
  AdamwSettings settings_;
  std::vector<Tensor> first_, second_;
  int64_t steps_ = 0;
};

}  // namespace wellspring
