#include "tensor/gguf_types.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <string>

#include "base/error.h"
#include "base/text.h"
#include "tensor/dtype.h"
#include "tensor/gguf_encode.h"

namespace wellspring {
namespace {

uint16_t gguf_u16(const uint8_t* p) { return static_cast<uint16_t>(p[0] | p[1] << 8); }

// Without the library call that a compiler makes of a conversion where the processor has none.
float gguf_half(uint16_t h) {
  const uint32_t rest = h & 0x7fffu, sign = (h & 0x8000u) << 16;
  const float small = static_cast<float>(rest) * 0x1p-24f;  // subnormal, exact
  const uint32_t exponent = rest >= 0x7c00u ? 224u << 23 : 112u << 23;
  const uint32_t bits = rest < 0x400u ? std::bit_cast<uint32_t>(small) : (rest << 13) + exponent;
  return std::bit_cast<float>(bits | sign);
}

float gguf_scale(const uint8_t* p) { return gguf_half(gguf_u16(p)); }

void decode_f32(const uint8_t* from, int64_t n, float* to) {
  std::memcpy(to, from, static_cast<size_t>(n) * 4);
}

void decode_f16(const uint8_t* from, int64_t n, float* to) {
  for (int64_t i = 0; i < n; ++i) to[i] = gguf_half(gguf_u16(from + 2 * i));
}

void decode_bf16(const uint8_t* from, int64_t n, float* to) {
  for (int64_t i = 0; i < n; ++i)
    to[i] = std::bit_cast<float>(static_cast<uint32_t>(gguf_u16(from + 2 * i)) << 16);
}

void decode_f64(const uint8_t* from, int64_t n, float* to) {
  for (int64_t i = 0; i < n; ++i) {
    double v;
    std::memcpy(&v, from + 8 * i, 8);
    to[i] = static_cast<float>(v);
  }
}

void decode_q8_0(const uint8_t* p, int64_t blocks, float* to) {
  for (; blocks-- > 0; p += 34, to += 32) {
    const float d = gguf_scale(p);
    for (int i = 0; i < 32; ++i) to[i] = d * static_cast<float>(static_cast<int8_t>(p[2 + i]));
  }
}

// 32 nibbles: the first half of the block in the low ones, the second in the high ones.
template <class F>
void each_nibble(const uint8_t* q, float* to, F value) {
  for (int i = 0; i < 16; ++i) {
    to[i] = value(q[i] & 15, i);
    to[i + 16] = value(q[i] >> 4, i + 16);
  }
}

void decode_q4_0(const uint8_t* p, int64_t blocks, float* to) {
  for (; blocks-- > 0; p += 18, to += 32) {
    const float d = gguf_scale(p);
    each_nibble(p + 2, to, [&](int q, int) { return d * static_cast<float>(q - 8); });
  }
}

void decode_q4_1(const uint8_t* p, int64_t blocks, float* to) {
  for (; blocks-- > 0; p += 20, to += 32) {
    const float d = gguf_scale(p), m = gguf_scale(p + 2);
    each_nibble(p + 4, to, [&](int q, int) { return d * static_cast<float>(q) + m; });
  }
}

uint32_t high_bits(const uint8_t* p) {
  return gguf_u16(p) | static_cast<uint32_t>(gguf_u16(p + 2)) << 16;
}

void decode_q5_0(const uint8_t* p, int64_t blocks, float* to) {
  for (; blocks-- > 0; p += 22, to += 32) {
    const float d = gguf_scale(p);
    const uint32_t high = high_bits(p + 2);
    each_nibble(p + 6, to, [&](int q, int i) {
      return d * static_cast<float>((q | static_cast<int>(high >> i & 1) << 4) - 16);
    });
  }
}

void decode_q5_1(const uint8_t* p, int64_t blocks, float* to) {
  for (; blocks-- > 0; p += 24, to += 32) {
    const float d = gguf_scale(p), m = gguf_scale(p + 2);
    const uint32_t high = high_bits(p + 4);
    each_nibble(p + 8, to, [&](int q, int i) {
      return d * static_cast<float>(q | static_cast<int>(high >> i & 1) << 4) + m;
    });
  }
}

void decode_iq4_nl(const uint8_t* p, int64_t blocks, float* to) {
  static constexpr float kTable[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                       1,    13,   25,  38,  53,  69,  89,  113};
  for (; blocks-- > 0; p += 18, to += 32) {
    const float d = gguf_scale(p);
    each_nibble(p + 2, to, [&](int q, int) { return d * kTable[q]; });
  }
}

// Scale and minimum of one of the eight parts of a K block: 6 bits each in 12 bytes. Parts 0 to 3
// have bytes of their own, whose two upper bits complete the nibbles of parts 4 to 7.
void part_scales(const uint8_t* s, int part, int* scale, int* minimum) {
  if (part < 4) {
    *scale = s[part] & 63;
    *minimum = s[part + 4] & 63;
  } else {
    *scale = (s[part + 4] & 15) | s[part - 4] >> 6 << 4;
    *minimum = s[part + 4] >> 4 | s[part] >> 6 << 4;
  }
}

// Q4_K and Q5_K: `high` (null for Q4_K) holds bit `part` of each of the 32 places.
void decode_k_block(const uint8_t* p, const uint8_t* high, const uint8_t* q, float* to) {
  const float d = gguf_scale(p), m = gguf_scale(p + 2);
  for (int part = 0; part < 8; ++part, to += 32) {
    int scale, minimum;
    part_scales(p + 4, part, &scale, &minimum);
    const float a = d * static_cast<float>(scale), b = m * static_cast<float>(minimum);
    const uint8_t* from = q + part / 2 * 32;
    const int shift = part % 2 * 4;
    for (int i = 0; i < 32; ++i) {
      int v = from[i] >> shift & 15;
      if (high) v |= (high[i] >> part & 1) << 4;
      to[i] = a * static_cast<float>(v) - b;
    }
  }
}

void decode_q4_k(const uint8_t* p, int64_t blocks, float* to) {
  for (; blocks-- > 0; p += 144, to += 256) decode_k_block(p, nullptr, p + 16, to);
}

void decode_q5_k(const uint8_t* p, int64_t blocks, float* to) {
  for (; blocks-- > 0; p += 176, to += 256) decode_k_block(p, p + 16, p + 48, to);
}

void decode_q6_k(const uint8_t* p, int64_t blocks, float* to) {
  for (; blocks-- > 0; p += 210, to += 256) {
    const auto* scales = reinterpret_cast<const int8_t*>(p + 192);
    const float d = gguf_scale(p + 208);
    for (int part = 0; part < 8; ++part) {  // 32 values, two scales
      const uint8_t* low = p + part / 4 * 64 + part % 2 * 32;
      const uint8_t* high = p + 128 + part / 4 * 32;
      const int low_shift = part % 4 / 2 * 4, high_shift = part % 4 * 2;
      for (int half = 0; half < 32; half += 16) {
        const float a = d * static_cast<float>(scales[part * 2 + half / 16]);
        for (int i = half; i < half + 16; ++i) {
          const int v = (low[i] >> low_shift & 15) | (high[i] >> high_shift & 3) << 4;
          to[part * 32 + i] = a * static_cast<float>(v - 32);
        }
      }
    }
  }
}

constexpr GgufTypeInfo carried(uint32_t number, std::string_view name, int64_t block,
                               int64_t bytes) {
  return {static_cast<GgufType>(number), name, block, bytes, nullptr, nullptr};
}

constexpr GgufTypeInfo kGgufTypes[] = {
    {GgufType::f32, "F32", 1, 4, decode_f32, gguf_encode_f32},
    {GgufType::f16, "F16", 1, 2, decode_f16, gguf_encode_f16},
    {GgufType::q4_0, "Q4_0", 32, 18, decode_q4_0, gguf_encode_q4_0},
    {GgufType::q4_1, "Q4_1", 32, 20, decode_q4_1, nullptr},
    {GgufType::q5_0, "Q5_0", 32, 22, decode_q5_0, nullptr},
    {GgufType::q5_1, "Q5_1", 32, 24, decode_q5_1, nullptr},
    {GgufType::q8_0, "Q8_0", 32, 34, decode_q8_0, gguf_encode_q8_0},
    {GgufType::q4_k, "Q4_K", 256, 144, decode_q4_k, gguf_encode_q4_k},
    {GgufType::q5_k, "Q5_K", 256, 176, decode_q5_k, nullptr},
    {GgufType::q6_k, "Q6_K", 256, 210, decode_q6_k, nullptr},
    {GgufType::iq4_nl, "IQ4_NL", 32, 18, decode_iq4_nl, nullptr},
    {GgufType::f64, "F64", 1, 8, decode_f64, nullptr},
    {GgufType::bf16, "BF16", 1, 2, decode_bf16, gguf_encode_bf16},
    carried(9, "Q8_1", 32, 36),
    carried(10, "Q2_K", 256, 84),
    carried(11, "Q3_K", 256, 110),
    carried(15, "Q8_K", 256, 292),
    carried(16, "IQ2_XXS", 256, 66),
    carried(17, "IQ2_XS", 256, 74),
    carried(18, "IQ3_XXS", 256, 98),
    carried(19, "IQ1_S", 256, 50),
    carried(21, "IQ3_S", 256, 110),
    carried(22, "IQ2_S", 256, 82),
    carried(23, "IQ4_XS", 256, 136),
    carried(24, "I8", 1, 1),
    carried(25, "I16", 1, 2),
    carried(26, "I32", 1, 4),
    carried(27, "I64", 1, 8),
    carried(29, "IQ1_M", 256, 56),
    carried(34, "TQ1_0", 256, 54),
    carried(35, "TQ2_0", 256, 66),
    carried(39, "MXFP4", 32, 17),
    carried(40, "NVFP4", 64, 36),
    carried(41, "Q1_0", 128, 18)};

void check_count(const GgufTypeInfo& type, int64_t count) {
  if (count < 0 || count % type.block)
    throw Error(Fault::usage, str(count, " values are no whole number of ", type.name,
                                  " blocks of ", type.block));
}

}  // namespace

const GgufTypeInfo* gguf_type_info(uint32_t number) {
  for (const GgufTypeInfo& t : kGgufTypes)
    if (static_cast<uint32_t>(t.type) == number) return &t;
  return nullptr;
}

const GgufTypeInfo& gguf_type_info(GgufType type) {
  const GgufTypeInfo* info = gguf_type_info(static_cast<uint32_t>(type));
  WS_CHECK(info, "a GGUF type without a line in the table");
  return *info;
}

const GgufTypeInfo* gguf_type_named(std::string_view name) {
  const std::string wanted = to_lower(name);
  for (const GgufTypeInfo& t : kGgufTypes)
    if (to_lower(t.name) == wanted) return &t;
  return nullptr;
}

void gguf_decode(const GgufTypeInfo& type, const void* from, int64_t count, float* to) {
  check_count(type, count);
  if (!type.decode)
    throw Error(Fault::data, str("GGUF type ", type.name,
                                 " is not supported; convert the file to "
                                 "one of F32, F16, BF16, Q8_0, Q4_0, Q4_1, Q5_0, Q5_1, Q4_K, "
                                 "Q5_K, Q6_K, IQ4_NL"));
  if (count) type.decode(static_cast<const uint8_t*>(from), count / type.block, to);
}

void gguf_encode(const GgufTypeInfo& type, const float* from, int64_t count, void* to) {
  check_count(type, count);
  if (!type.encode)
    throw Error(Fault::usage, str("GGUF type ", type.name,
                                  " cannot be written; use one of F32, "
                                  "F16, BF16, Q8_0, Q4_0, Q4_K"));
  if (count) type.encode(from, count / type.block, static_cast<uint8_t*>(to));
}

}  // namespace wellspring
