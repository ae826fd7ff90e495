#pragma once
// The autograd tape. An operator that is differentiable calls record() after computing; backward()
// walks the tape from a result to the leaves. The tape is built per thread of control: one graph is
// used from one thread. Gradients of gradients are not taped.

#include <functional>
#include <span>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace wellspring {

/// A tensor kept for the backward pass. Unpacking throws Error(Fault::usage), naming the operator,
/// when the storage was changed in place since, or when the graph was freed by an earlier
/// backward().
class Saved {
 public:
  Saved() = default;
  Saved(const Tensor& tensor);  // NOLINT: implicit on purpose
  /// The tensor, detached.
  Tensor unpack(const char* op) const;
  bool defined() const { return tensor_.defined(); }

 private:
  Tensor tensor_;
  uint32_t version_ = 0;
};

using Tensors = std::vector<Tensor>;
/// Gets the gradients of the outputs (undefined where nothing flowed) and returns one per recorded
/// input (undefined where the input needs none). `needs(i)` tells whether input i wants one.
struct BackwardContext;
using Backward = std::function<Tensors(BackwardContext&)>;
struct BackwardContext {
  std::span<Tensor> grads;
  const GradNode* node;
  const char* op;
  bool needs(int input) const;
  /// The gradient that the leaf at `input` holds already, when nobody else holds it and it is
  /// row-major: an operator whose own share is sparse may add to it in place and return undefined
  /// for that input. Undefined otherwise.
  Tensor held_grad(int input) const;
  Tensor saved(const Saved& s) const { return s.unpack(op); }
  const Tensor& grad(int output = 0) const { return grads[output]; }
};

/// Whether an operator on these inputs has to be recorded: grad mode is on and one requires a
/// gradient.
bool should_record(std::initializer_list<const Tensor*> inputs);
bool should_record(std::span<const Tensor> inputs);

/// Puts one operator on the tape: `outputs` become results of it. Call only when should_record().
/// An output that is also an input was changed in place. Outputs must not be captured in `backward`
/// except through Saved.
void record(const char* op, std::vector<Tensor> inputs, std::vector<Tensor> outputs,
            Backward backward);

/// Guards and marks a change in place of `target` by `op`: raises the version; throws
/// Error(Fault::usage) for a leaf that requires a gradient, or for a view of a tensor that takes
/// part in a graph.
void mark_in_place(const char* op, const Tensor& target, bool will_record);

/// Gradients of `root` (one element, or with `grad` given of the same shape) into the leaves'
/// grad(), adding to what is there. Frees the graph unless `retain_graph`; walking it again is then
/// an error.
void backward(const Tensor& root, const Tensor& grad = {}, bool retain_graph = false);

/// Whether operators record, per thread.
bool grad_enabled();
/// Scope without recording.
class NoGrad {
 public:
  NoGrad();
  ~NoGrad();
  NoGrad(const NoGrad&) = delete;
  NoGrad& operator=(const NoGrad&) = delete;

 private:
  bool before_;
};

}  // namespace wellspring
