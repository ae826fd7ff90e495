#pragma once
// Where a call of one of PyTorch's elementwise operators has what an operator of ours wants.

#include <array>
#include <string_view>
#include <utility>

#include "ops/pointwise_call.h"
#include "python/src/torch/use.h"

namespace wellspring::python {

/// Operands other than floating ones that are taken; all: bool too.
enum class Integers : uint8_t { none, numbers, all };

/// A call's arguments by place; -1: none.
struct PointwiseUse {
  const PointwiseOp* op = nullptr;
  std::array<int8_t, PointwiseOp::kMostOperands> operands{};
  std::array<int8_t, PointwiseOp::kMostParams> parameters{-1, -1, -1};
  int8_t out = -1, text = -1;
  int8_t zero = -1;  // has to be 0
  bool in_place = false;
  bool row_major = false;  // a new result, whatever the operands are
  Integers integers = Integers::none;
  const PointwiseOp* alternative = nullptr;  // when the argument `text` says so
  std::string_view alternative_text;
  const PointwiseOp* without[2] = {};  // instead, when operand 1 (or 2) is not given
  int8_t exponent = -1;                // an operand that, as one of these numbers, has its own way
  std::array<std::pair<double, const PointwiseOp*>, 5> powers{};
};

/// The derivative of an operator of one operand: its first argument is the result's gradient.
struct PointwiseBackward {
  const PointwiseOp *op = nullptr, *tanh_form = nullptr;  // tanh_form: when the argument says so
  bool from_result = false;                               // value is the result
  int8_t value = 1, text = -1, zero = -1;
  std::array<int8_t, PointwiseOp::kMostParams> parameters{-1, -1, -1};
};

/// Kernels of entries whose data is the struct above.
bool pointwise(Frame& f);
bool pointwise_backward(Frame& f);

}  // namespace wellspring::python
