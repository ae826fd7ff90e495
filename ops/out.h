#pragma once
// Results that go to tensors which the caller gives: `out=` of every operator, and the checks that
// changes in place share with it.

#include <initializer_list>
#include <optional>
#include <span>
#include <vector>

#include "tensor/autograd.h"
#include "tensor/tensor.h"

namespace wellspring {

/// Whether a tensor of dtype `to` may take results of dtype `from`: its category (bool, integer,
/// floating) is no lower, and complex goes to complex.
bool can_hold(DType to, DType from);

/// How a target lies to an operand. `apart` includes the same elements in the same places;
/// `partly` is a certain partial overlap; `perhaps` shares a range of memory, interleaved in a way
/// that is not examined.
enum class Overlap { apart, partly, perhaps };
Overlap overlap_of(const Tensor& target, const Tensor& operand);

/// Error(Fault::usage) for an undefined target, another device, a dtype that cannot hold the
/// result's, or elements that repeat (an expanded view). `what` names the target.
void check_target(const char* op, const Tensor& target, DType result, Device device,
                  const char* what = "out");
/// Error(Fault::usage) when target and operand overlap partly.
void check_overlap(const char* op, const Tensor& target, const Tensor& operand);
/// Gives `out` the shape of the result: an empty one silently, another one with a warning (warn()
/// of base/log.h), as PyTorch does.
void fit_shape(const char* op, const Tensor& out, const Shape& shape);

/// One call that writes to given tensors, for operators without kernels of their own for that
/// (the generated NAME_out): the plain form computes without recording, then write() checks all
/// targets, and only then changes them. So an operand may lie in a target in any way that PyTorch
/// allows.
class OutForm {
 public:
  OutForm(const char* op, std::initializer_list<const Tensor*> outs);
  /// Error(Fault::usage) for an operand that wants a gradient or overlaps a target partly.
  void reads(const Tensor& x) const;
  void reads(const std::optional<Tensor>& x) const;
  void reads(std::span<const Tensor> list) const;
  void write(std::initializer_list<Tensor> results) const;

 private:
  const char* op_;
  std::vector<const Tensor*> outs_;
  bool recording_;
  NoGrad no_grad_;
};

}  // namespace wellspring
