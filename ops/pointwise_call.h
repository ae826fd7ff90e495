#pragma once
// What the generated forms of pointwise operators (ops/gen_pointwise.py) call: checks, promotion,
// broadcasting, the launch and the derivative, for an operator that is described by data.
//
// Kernel NAME: one output; inputs are the operands in order, of any shapes that broadcast to the
// output's and any dtypes. Kernel NAME_backward: an output for each operand (undefined where no
// gradient is wanted), of the result's shape; inputs g, the operands, the result; what it does not
// read is undefined. Attributes of both: the dtype to compute in (f32, f64 or i64), the parameters,
// then one value for each input, which counts where the operand is a number (an undefined input).
// Parameters and values are f64, or i64 when that is computed in.

#include <initializer_list>
#include <span>

#include "ops/scalar.h"
#include "tensor/dispatch.h"
#include "tensor/tensor.h"

namespace wellspring {

/// What the result's dtype follows from the operands' promoted one.
enum class PointwiseResult : uint8_t {
  same,      // that dtype
  floating,  // that dtype, or f32 for integers and bool
  truth,     // bool
  integer    // that dtype, which has to be an integer or bool
};

/// One operator. Bits count operands from the first.
struct PointwiseOp {
  static constexpr int kMostOperands = 3, kMostParams = 3;
  const char* name;
  KernelRef kernel, backward;
  PointwiseResult result;
  int operands, params;
  bool wraps;                     // sees whole numbers as the operands' dtype holds them
  uint8_t masks;                  // bool operands that take no part in promotion
  uint8_t gradients;              // operands that get a gradient
  uint8_t passes;                 // whose gradient is the result's itself
  uint32_t needs[kMostOperands];  // inputs of the backward kernel that each gradient reads
  double defaults[kMostParams];
};

/// All of them.
std::span<const PointwiseOp* const> pointwise_operators();

/// A tensor or a number.
struct Operand {
  const Tensor* tensor = nullptr;
  Scalar number = 0;
  Operand(const Tensor& t) : tensor(&t) {}  // NOLINT: implicit on purpose
  Operand(const Scalar& s) : number(s) {}   // NOLINT
};

/// The dtype that operands promote to, as PyTorch's: tensors with dimensions win over 0-d tensors,
/// those over numbers, within one category (bool, integer, floating); whole numbers alone give i64,
/// others f32.
DType promoted_dtype(std::span<const Operand> operands);

/// A whole number as a dtype of integers holds it: its lower bits.
int64_t wrapped(int64_t number, DType dtype);

/// A new tensor with the operator's result. Error(Fault::usage), naming shapes or dtypes, when they
/// do not fit.
Tensor pointwise(const PointwiseOp& op, std::initializer_list<Operand> operands,
                 std::initializer_list<double> params);
/// Overwrites the first operand, a tensor that the result's shape and category must fit; recorded.
const Tensor& pointwise_in_place(const PointwiseOp& op, std::initializer_list<Operand> operands,
                                 std::initializer_list<double> params);
/// Writes to `out`, of the result's shape and a dtype of its category or higher, which may be an
/// operand itself. Not recorded: an Error(Fault::usage) when a gradient is wanted.
const Tensor& pointwise_out(const PointwiseOp& op, const Tensor& out,
                            std::initializer_list<Operand> operands,
                            std::initializer_list<double> params);

}  // namespace wellspring
