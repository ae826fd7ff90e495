#pragma once
// The list of all operators, generated from ops/schema/*.yaml.

#include <span>
#include <string_view>

namespace wellspring {

/// One operator as its schema declares it. Lists are separated by spaces (names) or newlines
/// (declarations). All text is static.
struct OperatorInfo {
  std::string_view name;
  std::string_view family;        // header: ops/FAMILY.h
  std::string_view declarations;  // C++, every form
  std::string_view aten;          // ATen schemas of every overload
  std::string_view pytorch;       // names that PyTorch dispatches for it
  std::string_view dtypes;        // "f32 bf16"
  std::string_view kernels;       // of a chip, by name
  std::string_view gradient;      // operands that get one; empty when none
  std::string_view value;         // pointwise: the expression
  std::string_view doc;
  std::string_view source;
};

/// In the order of the schema files.
std::span<const OperatorInfo> operators();
/// Null when there is none of that name.
const OperatorInfo* find_operator(std::string_view name);
/// How many times as fast as PyTorch the operator was when bench/results/operators.json was
/// measured, the geometric mean over shapes and dtypes; 0 when it was not.
double speed_ratio(std::string_view name);

}  // namespace wellspring
