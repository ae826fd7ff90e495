#pragma once
// What the attention kernels share: the shapes and strides of a call, and their cut into tiles.

#include <cmath>
#include <optional>

#include "chips/cpu/kernels/attention_pack.h"

WS_KERNELS_BEGIN

constexpr int64_t kQueries = 48;  // queries of a block: the lanes of a tile
constexpr float kLog2e = 1.44269504088896341f;
constexpr float kLn2 = 0.69314718055994531f;

struct Rows {  // one tensor [B, T, H, D] with any strides but a last one of 1
  void* data;
  int64_t batch, time, head;
  template <class T>
  T* at(int64_t b, int64_t t, int64_t h) const {
    return static_cast<T*>(data) + b * batch + t * time + h * head;
  }
};
inline Rows rows_of(const View& v) {
  if (v.dims != 4) cpu::kernel_refuses("attention", "a tensor is not [B, T, H, D]");
  if (v.shape[3] > 1 && v.strides[3] != 1)
    cpu::kernel_refuses("attention", "the last stride is not 1");
  return {v.data, v.strides[0], v.strides[1], v.strides[2]};
}

struct Problem {
  int64_t B, T, S, H, Hk, D, group;
  Rows q, k, v;
  const int32_t* lengths;
  int64_t length_stride;
  bool causal;
  std::optional<int64_t> from_start;
  float scale;    // > 0
  uint32_t flip;  // xored into the words of q: a negative scale is one of -q

  // Valid keys of a batch row.
  int64_t keys(int64_t b) const {
    if (!lengths) return S;
    const int64_t n = lengths[b * length_stride];
    return n < 0 ? 0 : n < S ? n : S;
  }
  // Query i sees the keys j <= i + reach (causal), or all below keys(b). The last queries see all
  // keys, unless it is said how far the first one sees.
  int64_t reach(int64_t b) const { return from_start ? *from_start : keys(b) - T; }
  int64_t last_key(int64_t b, int64_t i) const {
    const int64_t n = keys(b);
    if (!causal) return n - 1;
    const int64_t last = i + reach(b);
    return last < n - 1 ? last : n - 1;
  }
};

// Attributes {causal, scale, optionally the reach}.
inline Problem problem_of(const View& q, const View& k, const View& v, const View* lengths,
                          const Call& call) {
  Problem p;
  p.q = rows_of(q), p.k = rows_of(k), p.v = rows_of(v);
  p.B = q.shape[0], p.T = q.shape[1], p.H = q.shape[2], p.D = q.shape[3];
  p.S = k.shape[1], p.Hk = k.shape[2];
  if (p.Hk == 0 ? p.H != 0 : p.H % p.Hk) cpu::kernel_refuses("attention", "heads do not group");
  p.group = p.Hk ? p.H / p.Hk : 0;
  p.lengths = lengths && lengths->defined() ? static_cast<const int32_t*>(lengths->data) : nullptr;
  p.length_stride = p.lengths ? lengths->strides[0] : 0;
  p.causal = call.attr[0].i != 0;
  if (call.attrs > 2) p.from_start = call.attr[2].i;
  const double scale = call.attr[1].f;
  const float s = scale != 0 ? static_cast<float>(scale)
                             : 1.0f / std::sqrt(static_cast<float>(p.D > 0 ? p.D : 1));
  p.scale = s < 0 ? -s : s;
  p.flip = s >= 0 ? 0 : WS_BF16_PAIRS && q.dtype == DType::bf16 ? 0x80008000u : 0x80000000u;
  return p;
}

// Hands out 64-byte aligned pieces of one scratch buffer. Run it once without memory to get the
// size.
struct Carver {
  void* base;
  size_t used = 0;
  float* floats(int64_t n) {
    float* p = reinterpret_cast<float*>(reinterpret_cast<uintptr_t>(base) + used);
    used += round_up(n * 4, 64);
    return p;
  }
};

// The last key of each of 16 lanes, starting at query i: lanes past T see none.
WS_INLINE vi last_keys(const Problem& p, int64_t b, int64_t i) {
  vi last;
  for (int l = 0; l < kLanes; ++l)
    last[l] = i + l < p.T ? static_cast<int32_t>(p.last_key(b, i + l)) : -1;
  return last;
}

WS_KERNELS_END
