#pragma once
// SwiGLU of a row, wherever its halves come from. Include inside kernel sources only.

#include "chips/cpu/kernels/rows.h"

WS_KERNELS_BEGIN

/// to[i] = silu(gate[i]) up[i]; `to` may be one of them.
template <class T>
inline void swiglu_row(const T* gate, const T* up, T* to, int64_t width) {
  each_vector(width, [&](int64_t i, int n) {
    const vf g = load_n(gate + i, n);
    store_n(to + i, g / (1.0f + vexp(-g)) * load_n(up + i, n), n);
  });
}

WS_KERNELS_END
