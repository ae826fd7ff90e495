#pragma once
// A call of PyTorch as one of an operator of ours (ops/*.h), for tables: arguments are read as the
// operator's types, and its results become PyTorch's tensors on the same memory.

#include <array>
#include <tuple>

#include "ops/scalar.h"
#include "python/src/torch/use.h"
#include "tensor/tensor.h"

namespace wellspring::python {

/// Thrown where an argument is none that our operator takes; PyTorch's kernel answers then.
struct NotTaken {};

/// A call's arguments by place, as our operators want them. Each may throw NotTaken.
class Arguments {
 public:
  explicit Arguments(const Frame& f) : f_(f) {}
  Tensor tensor(int i) const;
  /// A row-major one, where the row takes others too.
  Tensor packed(int i) const;
  /// Of complex numbers.
  Tensor complex(int i) const;
  /// Undefined where None is given.
  Tensor tensor_or_none(int i) const;
  std::vector<Tensor> tensors(int i) const;
  int64_t integer(int i) const;
  int dim(int i) const { return static_cast<int>(integer(i)); }
  bool flag(int i) const { return integer(i) != 0; }
  double real(int i) const;
  Scalar number(int i) const;
  std::vector<int64_t> list(int i) const;
  /// A list, a single number or None, which is empty.
  std::vector<int> dims(int i) const;
  std::optional<DType> dtype(int i) const;
  std::string_view text(int i) const;
  bool none(int i) const { return is_none(f_.args[i]); }
  /// None, or what is neither false nor 0, ends the call.
  void off(int i) const;

 private:
  const Frame& f_;
};

/// What an operator of ours returned.
struct Results {
  static constexpr int kMost = 3;
  std::array<Tensor, kMost> tensors;
  int count = 0;
  Results() = default;
  Results(Tensor t) : tensors{std::move(t)}, count(1) {}  // NOLINT: implicit on purpose
  Results(std::tuple<Tensor, Tensor> t)                   // NOLINT
      : tensors{std::get<0>(t), std::get<1>(t)}, count(2) {}
  Results(std::tuple<Tensor, Tensor, Tensor> t)  // NOLINT
      : tensors{std::get<0>(t), std::get<1>(t), std::get<2>(t)}, count(3) {}
};

/// One row: PyTorch's operator, and how ours answers it.
struct Named {
  enum Operands : uint8_t { kReal, kFloats, kF32, kComplex };  // dtypes of the first
  const char* name;                                            // without "aten::"
  int arguments;                                               // of PyTorch's schema
  Results (*answer)(const Arguments&);
  Operands operands = kReal;
  bool strided = false;   // operands need not be row-major: the result always is
  bool in_place = false;  // the first argument is written and returned
  bool empties = false;   // others than the first may have no elements
};

/// Appends rows, which live as long as the process; `random`: as of an Entry.
void add_named(std::span<const Named> rows, std::vector<Entry>* all, bool random = false);

/// A tensor of PyTorch as ours, borrowed.
Tensor borrowed(const TensorArg& t);
/// A tensor of ours as the next result. `f` tells which memory is a caller's and must not be
/// shared.
void give(Frame& f, const Tensor& t);

}  // namespace wellspring::python
