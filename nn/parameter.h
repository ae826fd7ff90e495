#pragma once
// A trainable tensor with its f32 master, the copy that computes, and how it appears in files.

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "tensor/tensor.h"

namespace wellspring {

/// A piece of a parameter in a file: rows [row, row + rows) under a global name. `transposed`: the
/// file holds it as [columns, rows] (GPT-2's Conv1D).
struct ParameterPart {
  std::string name;
  int64_t row = 0, rows = 0;
  bool transposed = false;
};

/// A trainable tensor. In f32 `master` and `compute` are one tensor; in mixed precision `compute`
/// is a bf16 copy of matrices (vectors stay f32), and loaded for inference `master` is undefined.
/// `compute` is the leaf of autograd; its gradient is always f32. Not thread-safe; addresses stay
/// valid while its model lives.
struct Parameter {
  std::string name;                  // ours: "layers.0.qkv.weight"
  Tensor master;                     // f32; undefined when loaded for inference in bf16
  Tensor compute;                    // f32 or bf16
  double lr_multiplier = 1;          // of the global learning rate (mu-P)
  bool decay = true;                 // takes part in weight decay
  std::vector<ParameterPart> parts;  // rising by row, covering all rows

  const Shape& shape() const { return compute.shape(); }
  Tensor grad() const { return compute.grad(); }
};

/// `value` (of the parameter's shape: the weight, a gradient, a moment) as the pieces of a file.
/// Pieces are contiguous views where they can be, else copies; on the host.
std::vector<std::pair<std::string, Tensor>> split_parts(const Parameter& parameter,
                                                        const Tensor& value);
/// The opposite: `value` (f32 or bf16) receives the piece `part`, converted. Error(Fault::data)
/// naming `where` (a file) and the piece when the shape is another.
void merge_part(const Parameter& parameter, const ParameterPart& part, const Tensor& piece,
                const Tensor& value, const std::string& where);
/// Copies the master into the compute copy, where there are two.
void refresh_compute(const Parameter& parameter);

}  // namespace wellspring
