#pragma once
// Images [N, C, H, W], a plane [H, W] at a time. Include inside kernel sources only.

#include "chips/cpu/kernel.h"

WS_KERNELS_BEGIN

// Calls f(plane, image, channel) in parallel for the planes of x, which cost about `work` elements
// each.
template <class F>
void each_plane(const View& x, int64_t work, F&& f) {
  const int64_t planes = x.shape[0] * x.shape[1], per = 1 + 16384 / (work + 1);
  parallel_for((planes + per - 1) / per, [&](int64_t tile) {
    for (int64_t p = tile * per; p < planes && p < (tile + 1) * per; ++p)
      f(p, p / x.shape[1], p % x.shape[1]);
  });
}

WS_KERNELS_END
