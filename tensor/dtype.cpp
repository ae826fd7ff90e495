#include "tensor/dtype.h"

namespace wellspring {

std::optional<DType> parse_dtype(std::string_view name) {
  static constexpr std::pair<std::string_view, DType> kOthers[] = {
      {"float64", DType::f64},  {"double", DType::f64},    {"float32", DType::f32},
      {"float", DType::f32},    {"bfloat16", DType::bf16}, {"float16", DType::f16},
      {"half", DType::f16},     {"int64", DType::i64},     {"long", DType::i64},
      {"int32", DType::i32},    {"int", DType::i32},       {"int16", DType::i16},
      {"int8", DType::i8},      {"uint8", DType::u8},      {"boolean", DType::boolean},
      {"complex64", DType::c64}};
  for (int i = 0; i < kDTypeCount; ++i)
    if (name_of(static_cast<DType>(i)) == name) return static_cast<DType>(i);
  for (auto& [other, type] : kOthers)
    if (other == name) return type;
  return std::nullopt;
}

}  // namespace wellspring
