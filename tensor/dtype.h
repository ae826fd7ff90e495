#pragma once
// Element types and the 16-bit floats' conversions. Plain data: safe to include in kernels.

#include <bit>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace wellspring {

/// Element types. `c64` is a pair of f32. The values are stable (they appear in no file format).
enum class DType : uint8_t { f64, f32, bf16, f16, i64, i32, i16, i8, u8, boolean, c64 };
inline constexpr int kDTypeCount = 11;

constexpr size_t size_of(DType t) {
  constexpr uint8_t sizes[kDTypeCount] = {8, 4, 2, 2, 8, 4, 2, 1, 1, 1, 8};
  return sizes[static_cast<int>(t)];
}
constexpr std::string_view name_of(DType t) {
  constexpr std::string_view names[kDTypeCount] = {"f64", "f32", "bf16", "f16",  "i64", "i32",
                                                   "i16", "i8",  "u8",   "bool", "c64"};
  return names[static_cast<int>(t)];
}
/// From "f32", also "float32", "bfloat16", "int64", ...; nullopt when unknown.
std::optional<DType> parse_dtype(std::string_view name);

constexpr bool is_float(DType t) { return t <= DType::f16; }
constexpr bool is_complex(DType t) { return t == DType::c64; }
constexpr bool is_integer(DType t) { return t >= DType::i64 && t <= DType::u8; }

/// The upper half of an f32. Conversion rounds to nearest even; NaN stays NaN.
struct bf16_t {
  uint16_t bits;
};
inline float to_float(bf16_t v) {
  return std::bit_cast<float>(static_cast<uint32_t>(v.bits) << 16);
}
inline bf16_t to_bf16(float v) {
  uint32_t u = std::bit_cast<uint32_t>(v);
  if ((u & 0x7fffffffu) > 0x7f800000u) return {static_cast<uint16_t>((u >> 16) | 0x40u)};
  return {static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16)};
}

/// IEEE binary16. Conversion rounds to nearest even, overflows to infinity, keeps subnormals and
/// NaN.
struct f16_t {
  uint16_t bits;
};
inline float to_float(f16_t v) { return static_cast<float>(std::bit_cast<_Float16>(v.bits)); }
inline f16_t to_f16(float v) { return {std::bit_cast<uint16_t>(static_cast<_Float16>(v))}; }

}  // namespace wellspring
