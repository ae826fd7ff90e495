#pragma once
// A matrix of a model in the form that a server computes with, instead of its plain values.

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "tensor/tensor.h"

namespace wellspring {

/// q8: 8 bits, a scale for each row. q8_groups: a scale (f16) for each 32 columns of a row. q4: 4 bits that
/// choose among 16 levels, a scale (f16) for each 32 columns; 4.5 bits a value. bf16: 16 bits, rows side by side, so
/// that one token is multiplied as fast as memory is read.
enum class WeightFormat { bf16, q8, q8_groups, q4 };

/// "bf16", "q8", "q8_groups", "q4".
std::string name_of(WeightFormat format);
/// Error(Fault::usage) naming the formats that there are.
WeightFormat parse_weight_format(const std::string& name);
/// Bits that a value takes, scales included.
double bits_of(WeightFormat format);

/// [rows, columns]; immutable once made. The tensors are those of linear_quantized (ops/inference.h).
struct Weight {
  WeightFormat format = WeightFormat::q8;
  int64_t rows = 0, columns = 0;
  Tensor values, scales, levels;
  bool defined() const { return values.defined(); }
  int64_t bytes() const;
};

/// From plain values [rows, columns], f32 or bf16. `feedback` (nn/calibration.h; q4 alone, else not looked at) makes
/// the error least for certain activations instead of for all alike. Error(Fault::data) with `name` for values that
/// are not finite.
Weight quantize(const Tensor& plain, WeightFormat format, const std::string& name, const Tensor& feedback = {});
/// The plain values that it stands for, f32.
Tensor dequantize(const Weight& weight);

/// x weight^T + bias; `dtype` of the result: that of x by default. A row's bits do not depend on the others.
Tensor linear(const Tensor& x, const Weight& weight, const Tensor& bias = {}, std::optional<DType> dtype = {});
/// silu of the first half of its columns times the other half: swiglu(linear(x, weight, bias)), bit for bit, without
/// storing all of linear's result when the weight's rows are a multiple of 32 (of all published models).
Tensor linear_swiglu(const Tensor& x, const Weight& weight, const Tensor& bias = {});
/// Rows of it, f32.
Tensor embedding(const Weight& weight, const Tensor& ids);

/// As tensors of a file: NAME.q8 or the like, NAME.scales, NAME.levels; those that there are.
std::vector<std::pair<std::string, Tensor>> to_tensors(const std::string& name, const Weight& weight);
/// And back: `find` gives a tensor of the file, or an undefined one. Error(Fault::data) naming `where` when one is
/// missing or has another shape than a weight [rows, columns] needs.
Weight from_tensors(const std::string& name, int64_t rows, int64_t columns,
                    const std::function<Tensor(const std::string&)>& find, const std::string& where);

}  // namespace wellspring
