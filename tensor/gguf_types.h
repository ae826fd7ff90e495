#pragma once
// The element types of GGUF files: plain floats, and blocks of quantised values that share scales.
// Layouts: github.com/ggml-org/ggml (its documentation and the Python package `gguf`).
//   Q8_0          32 values: f16 d, i8 q                            x = d q
//   Q4_0, Q5_0    32 values: f16 d, (5: 32 high bits,) nibbles      x = d (q - 8 or 16)
//   Q4_1, Q5_1    32 values: f16 d, f16 m, (high bits,) nibbles     x = d q + m
//   IQ4_NL        32 values: f16 d, nibbles that index a table      x = d table[q]
//   Q4_K, Q5_K   256 values: f16 d, f16 m, 8 pairs of 6-bit (s, t)  x = d s q - m t
//   Q6_K         256 values: low nibbles, 2 high bits, 16 i8 s, f16 d   x = d s (q - 32)

#include <cstdint>
#include <string_view>

namespace wellspring {

/// Numbers as they stand in files.
enum class GgufType : uint32_t {
  f32 = 0,
  f16 = 1,
  q4_0 = 2,
  q4_1 = 3,
  q5_0 = 6,
  q5_1 = 7,
  q8_0 = 8,
  q4_k = 12,
  q5_k = 13,
  q6_k = 14,
  iq4_nl = 20,
  i8 = 24,
  i16 = 25,
  i32 = 26,
  i64 = 27,
  f64 = 28,
  bf16 = 30
};

/// One type. A row is a whole number of blocks.
struct GgufTypeInfo {
  GgufType type;
  std::string_view name;  ///< "Q4_K"
  int64_t block;          ///< values of a block
  int64_t bytes;          ///< bytes of a block
  /// Null: this type is only carried, not computed with.
  void (*decode)(const uint8_t* from, int64_t blocks, float* to);
  /// Null: cannot be written from f32.
  void (*encode)(const float* from, int64_t blocks, uint8_t* to);
};

/// By number, also of types that are not in GgufType; null when nobody knows it.
const GgufTypeInfo* gguf_type_info(uint32_t number);
const GgufTypeInfo& gguf_type_info(GgufType type);
/// By name, in any case ("q4_K"); null when unknown.
const GgufTypeInfo* gguf_type_named(std::string_view name);

/// `count` values, a multiple of the block (else Error(Fault::usage)), to f32. Pure; thread-safe.
/// Error(Fault::data) naming the type when it is only carried.
void gguf_decode(const GgufTypeInfo& type, const void* from, int64_t count, float* to);
/// From f32 to blocks. Q8_0 and Q4_0 give the bytes that ggml's own quantiser gives; Q4_K searches
/// scales for the least squared error, so its bytes are our own. Error(Fault::data) when a value is
/// not finite or does not fit a type that has no room for it (quantised types and F16).
void gguf_encode(const GgufTypeInfo& type, const float* from, int64_t count, void* to);

}  // namespace wellspring
