#pragma once
// Products of quantised weights with activations that are quantised on the way. Weights lie in blocks of
// 16 rows by 32 columns, a row in each lane of 32 bits:
//   8 bits: 512 bytes, byte 64 c + 4 r + j = row r, column 4 c + j, plus 128;
//   4 bits: 256 bytes, the low half of byte 64 c + 4 r + j = row r, column 4 c + j, the high half = column
//           16 + 4 c + j; the value is levels[half].
// Activations have a scale for each 32 of a row. The sum of such a group is exact in integers; groups are
// added in f32 from the first to the last, so the bits of an element depend on its own row and column
// alone. Include inside kernel sources only.

#include "chips/cpu/simd.h"

WS_KERNELS_BEGIN

constexpr int64_t kGroup = 32;      // columns that share a scale
constexpr int64_t kBlockRows = 16;  // rows of a block

/// How weights are scaled: a scale for each row (f32), or for each row and group (f16).
enum class Scales { by_row, by_group };

WS_INLINE float group_scale(float top) { return top / 127.0f; }

// Activations lie in tiles of up to kTileRows rows, which are multiplied with kTileBlocks blocks at once: as many
// sums as registers hold, and each word that is read serves that many. A tile of T rows is words
// [groups][kGroupWords][T]: -128 times the sum of the group's values, their scale (f32), then four values each.
constexpr int64_t kGroupWords = 2 + kGroup / 4;
#if defined(__AVX512VNNI__)
constexpr int kTileRows = 6, kTileBlocks = 2;
// Sixteen sums of four products each, one for each row of a block.
struct BlockSum {
  __m512i d;
  WS_INLINE void begin(int32_t offset) { d = _mm512_set1_epi32(offset); }
};
struct BlockBytes {  // plus 128
  __m512i v;
};
WS_INLINE BlockBytes load_block(const uint8_t* p) { return {_mm512_loadu_si512(p)}; }
WS_INLINE void store_block(uint8_t* p, const BlockBytes& b) { _mm512_storeu_si512(p, b.v); }
struct Levels {
  __m512i table;
  WS_INLINE explicit Levels(const int8_t* levels) {
    const __m128i t = _mm_loadu_si128(reinterpret_cast<const __m128i*>(levels));
    table = _mm512_broadcast_i32x4(_mm_xor_si128(t, _mm_set1_epi8(static_cast<char>(0x80))));
  }
  WS_INLINE void load(const uint8_t* p, BlockBytes& low, BlockBytes& high) const {
    const __m512i m = _mm512_set1_epi8(15), v = _mm512_loadu_si512(p);
    low.v = _mm512_shuffle_epi8(table, _mm512_and_si512(v, m));
    high.v = _mm512_shuffle_epi8(table, _mm512_and_si512(_mm512_srli_epi16(v, 4), m));
  }
};
WS_INLINE void add_products(BlockSum& s, const BlockBytes& w, int32_t four) {
  s.d = _mm512_dpbusd_epi32(s.d, w.v, _mm512_set1_epi32(four));
}
WS_INLINE vf to_floats(const BlockSum& s) { return (vf)_mm512_cvtepi32_ps(s.d); }
#elif WS_ISA_LEVEL >= 1
constexpr int kTileRows = 4, kTileBlocks = 1;
struct BlockSum {
  __m256i d[2];
  WS_INLINE void begin(int32_t) { d[0] = d[1] = _mm256_setzero_si256(); }
};
struct BlockBytes {  // signed
  __m256i v[2];
};
WS_INLINE BlockBytes load_block(const uint8_t* p) {
  const __m256i offset = _mm256_set1_epi8(static_cast<char>(0x80));
  BlockBytes b;
  for (int h = 0; h < 2; ++h)
    b.v[h] = _mm256_xor_si256(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 32 * h)), offset);
  return b;
}
WS_INLINE void store_block(uint8_t* p, const BlockBytes& b) {
  const __m256i offset = _mm256_set1_epi8(static_cast<char>(0x80));
  for (int h = 0; h < 2; ++h) _mm256_storeu_si256(reinterpret_cast<__m256i*>(p + 32 * h), _mm256_xor_si256(b.v[h], offset));
}
struct Levels {
  __m256i table;
  WS_INLINE explicit Levels(const int8_t* levels)
      : table(_mm256_broadcastsi128_si256(_mm_loadu_si128(reinterpret_cast<const __m128i*>(levels)))) {}
  WS_INLINE void load(const uint8_t* p, BlockBytes& low, BlockBytes& high) const {
    const __m256i m = _mm256_set1_epi8(15);
    for (int h = 0; h < 2; ++h) {
      const __m256i v = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(p + 32 * h));
      low.v[h] = _mm256_shuffle_epi8(table, _mm256_and_si256(v, m));
      high.v[h] = _mm256_shuffle_epi8(table, _mm256_and_si256(_mm256_srli_epi16(v, 4), m));
    }
  }
};
// Bytes times bytes want one side without sign: |w| and a with w's. No sum of two exceeds 16 bits, as
// neither side holds -128.
WS_INLINE void add_products(BlockSum& s, const BlockBytes& w, int32_t four) {
  const __m256i x = _mm256_set1_epi32(four), ones = _mm256_set1_epi16(1);
  for (int h = 0; h < 2; ++h) {
    const __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(w.v[h]), _mm256_sign_epi8(x, w.v[h]));
    s.d[h] = _mm256_add_epi32(s.d[h], _mm256_madd_epi16(pairs, ones));
  }
}
WS_INLINE vf to_floats(const BlockSum& s) {
  alignas(64) float x[kLanes];
  _mm256_store_ps(x, _mm256_cvtepi32_ps(s.d[0]));
  _mm256_store_ps(x + 8, _mm256_cvtepi32_ps(s.d[1]));
  return load(x);
}
#else
constexpr int kTileRows = 4, kTileBlocks = 1;
struct BlockSum {
  int32_t d[16];
  WS_INLINE void begin(int32_t) {
    for (int32_t& x : d) x = 0;
  }
};
struct BlockBytes {
  int8_t v[64];
};
WS_INLINE BlockBytes load_block(const uint8_t* p) {
  BlockBytes b;
  for (int i = 0; i < 64; ++i) b.v[i] = static_cast<int8_t>(p[i] ^ 0x80);
  return b;
}
WS_INLINE void store_block(uint8_t* p, const BlockBytes& b) {
  for (int i = 0; i < 64; ++i) p[i] = static_cast<uint8_t>(b.v[i] ^ 0x80);
}
struct Levels {
  const int8_t* table;
  WS_INLINE explicit Levels(const int8_t* levels) : table(levels) {}
  WS_INLINE void load(const uint8_t* p, BlockBytes& low, BlockBytes& high) const {
    for (int i = 0; i < 64; ++i) low.v[i] = table[p[i] & 15], high.v[i] = table[p[i] >> 4];
  }
};
WS_INLINE void add_products(BlockSum& s, const BlockBytes& w, int32_t four) {
  int8_t a[4];
  std::memcpy(a, &four, 4);
  for (int r = 0; r < 16; ++r)
    for (int j = 0; j < 4; ++j) s.d[r] += w.v[4 * r + j] * a[j];
}
WS_INLINE vf to_floats(const BlockSum& s) {
  alignas(64) float x[kLanes];
  for (int i = 0; i < kLanes; ++i) x[i] = static_cast<float>(s.d[i]);
  return load(x);
}
#endif

WS_INLINE vf load_halves(const uint16_t* p) {
#if WS_ISA_LEVEL >= 2
  return (vf)_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
#else
  alignas(64) float x[kLanes];
#if WS_ISA_LEVEL == 1
  for (int h = 0; h < 2; ++h)
    _mm256_store_ps(x + 8 * h, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p + 8 * h))));
#else
  for (int i = 0; i < kLanes; ++i) x[i] = to_float(f16_t{p[i]});
#endif
  return load(x);
#endif
}

WS_KERNELS_END
