#pragma once
// Modules: plain structs that own Parameters, and functions that apply them. Weights lie as [out,
// in]. B batch, T time, D width, H heads, Hk key heads, W head width, F hidden width, V vocabulary.

#include <cstdint>
#include <string>
#include <vector>

#include "nn/parameter.h"
#include "nn/weight.h"

namespace wellspring {

/// y = x weight^T + bias. weight [N, K]; bias [N] may be absent.
struct Linear {
  Parameter weight, bias;
  Weight packed;  // in a model for inference: instead of the weight
  bool has_bias = false;
  Tensor operator()(const Tensor& x) const;
  /// silu of the first half of y's columns times the other half.
  Tensor swiglu(Tensor x) const;
};

/// RMSNorm, or LayerNorm when it has a bias. Weights are f32.
struct Norm {
  Parameter weight, bias;
  bool layer = false;
  double eps = 1e-5;
  /// x [..., D] normed, in `dtype`.
  Tensor operator()(const Tensor& x, DType dtype) const;
  /// residual += x (in residual's dtype); returns the normed sum in `dtype`.
  Tensor add(Tensor& residual, const Tensor& x, DType dtype) const;
};

/// Rows of a table, as f32.
struct Embedding {
  Parameter weight;  // [V, D]
  Weight packed;     // instead of it
  /// ids i32 [B, T] -> f32 [B, T, D].
  Tensor operator()(const Tensor& ids) const;
};

/// Cosines and sines of the rotary embedding, f32 [positions, W/2].
struct RotaryTable {
  Tensor cos, sin;
};

/// Llama 3's stretching of low frequencies.
struct RopeScaling {
  double factor = 8, low_frequency = 1, high_frequency = 4;
  int64_t original_context = 8192;
  bool operator==(const RopeScaling&) const = default;
};

/// Table for `positions` places of heads of width W with base `theta`; `scaling` may be null.
RotaryTable rotary_table(int64_t positions, int64_t head_width, double theta,
                         const RopeScaling* scaling = nullptr);

/// Dropout as a function of (seed, step, place): each call takes the next stream. p = 0 is the
/// identity.
class Dropout {
 public:
  Dropout() = default;
  Dropout(double p, uint64_t seed, uint64_t step) : p_(p), seed_(seed), step_(step) {}
  Tensor operator()(const Tensor& x);
  bool active() const { return p_ > 0; }

 private:
  double p_ = 0;
  uint64_t seed_ = 0, step_ = 0, calls_ = 0;
};

/// x [..., K] times weight [N, K], in f32 whatever the dtype of x; no gradient. For logits.
Tensor linear_f32(const Tensor& x, const Tensor& weight);
/// The same with what an embedding holds.
Tensor linear_f32(const Tensor& x, const Embedding& table);

}  // namespace wellspring
