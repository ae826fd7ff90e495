#pragma once
// Packing of an operand that a moving window reads (struct Window of gemm.h): no matrix of patches
// is ever stored. Include inside kernel sources only.

#include "chips/cpu/kernels/gemm.h"
#include "chips/cpu/kernels/gemm_pack.h"

WS_KERNELS_BEGIN

// A position of the window, walked in order.
struct WindowPlace {
  int64_t image, y, x;
  WindowPlace(const Window& w, int64_t position)
      : image(position / (w.out_rows * w.out_columns)),
        y(position / w.out_columns % w.out_rows),
        x(position % w.out_columns) {}
  void next(const Window& w) {
    if (++x < w.out_columns) return;
    x = 0;
    if (++y == w.out_rows) y = 0, ++image;
  }
};

// An element of the patch: channel and tap, walked in order.
struct WindowElement {
  int64_t channel, r, s;
  WindowElement(const Window& w, int64_t element)
      : channel(element / (w.taps_y * w.taps_x)),
        r(element / w.taps_x % w.taps_y),
        s(element % w.taps_x) {}
  void next(const Window& w) {
    if (++s < w.taps_x) return;
    s = 0;
    if (++r == w.taps_y) r = 0, ++channel;
  }
};

// P neighbouring positions, seen from the tap (0, 0).
template <int P, class In>
struct WindowLanes {
  const Window& w;
  const In* start;  // of the first position's image
  bool one_row;     // all in one row, next to each other in memory
  bool two_runs;    // or in two such rows, of which the first has `split` of them
  int32_t split;
  alignas(64) int32_t y[P], x[P];
  alignas(64) int32_t offset[P];  // from start, where (y, x) lies

  WindowLanes(const Window& w, int64_t first, int64_t lanes) : w(w) {
    WindowPlace at(w, first);
    start = static_cast<const In*>(w.data) + at.image * w.image_stride;
    const int64_t image = at.image;
    one_row = lanes == P && w.step_x * w.column_stride == 1 && at.x + P <= w.out_columns;
    for (int l = 0; l < P; ++l) {
      y[l] = x[l] = INT32_MIN / 2, offset[l] = 0;  // past the last: outside of every plane
      if (l >= lanes) continue;
      y[l] = static_cast<int32_t>(at.y * w.step_y + w.base_y);
      x[l] = static_cast<int32_t>(at.x * w.step_x + w.base_x);
      offset[l] = static_cast<int32_t>((at.image - image) * w.image_stride + y[l] * w.row_stride +
                                       x[l] * w.column_stride);
      at.next(w);
    }
    const int64_t x0 = first % w.out_columns;
    split = static_cast<int32_t>(w.out_columns - x0 < P ? w.out_columns - x0 : P);
    two_runs = w.step_x * w.column_stride == 1 && P - split <= w.out_columns;
  }

  // One element of every position's patch, zero outside the plane.
  WS_INLINE void read(const WindowElement& e, In* to) const {
    const auto dy = static_cast<int32_t>(e.r * w.tap_y), dx = static_cast<int32_t>(e.s * w.tap_x);
    const In* p = start + e.channel * w.channel_stride + dy * w.row_stride + dx * w.column_stride;
    const auto rows = static_cast<int32_t>(w.rows), columns = static_cast<int32_t>(w.columns);
    if (one_row) {
      const int32_t top = y[0] + dy, left = x[0] + dx;
      if (top < 0 || top >= rows) {
        std::memset(to, 0, P * sizeof(In));
        return;
      }
      if (left >= 0 && left + P <= columns) {
        std::memcpy(to, p + offset[0], P * sizeof(In));
        return;
      }
    }
#if defined(__AVX2__)
    if constexpr (sizeof(In) == 4) {
      const __m256i below = _mm256_set1_epi32(-1);
      for (int l = 0; l < P; l += 8) {
        const __m256i at_y = _mm256_add_epi32(load8(y + l), _mm256_set1_epi32(dy));
        const __m256i at_x = _mm256_add_epi32(load8(x + l), _mm256_set1_epi32(dx));
        const __m256i in_y = _mm256_and_si256(_mm256_cmpgt_epi32(at_y, below),
                                              _mm256_cmpgt_epi32(_mm256_set1_epi32(rows), at_y));
        const __m256i in_x = _mm256_and_si256(_mm256_cmpgt_epi32(at_x, below),
                                              _mm256_cmpgt_epi32(_mm256_set1_epi32(columns), at_x));
        const __m256i inside = _mm256_and_si256(in_y, in_x);
        __m256 v;
        if (two_runs) {  // each run's lanes from where its row lies
          const __m256i lane =
              _mm256_add_epi32(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7), _mm256_set1_epi32(l));
          const __m256i before = _mm256_cmpgt_epi32(_mm256_set1_epi32(split), lane);
          const float* q = reinterpret_cast<const float*>(p) + l;
          v = _mm256_maskload_ps(q + offset[0], _mm256_and_si256(inside, before));
          if (split < P)
            v = _mm256_or_ps(v, _mm256_maskload_ps(q + offset[split] - split,
                                                   _mm256_andnot_si256(before, inside)));
        } else {
          v = _mm256_mask_i32gather_ps(_mm256_setzero_ps(), reinterpret_cast<const float*>(p),
                                       load8(offset + l), (__m256)inside, 4);
        }
        _mm256_storeu_ps(reinterpret_cast<float*>(to + l), v);
      }
      return;
    }
#endif
    for (int l = 0; l < P; ++l) {
      const int32_t at_y = y[l] + dy, at_x = x[l] + dx;
      const bool inside = at_y >= 0 && at_y < rows && at_x >= 0 && at_x < columns;
      to[l] = inside ? p[offset[l]] : In{};
    }
  }
#if defined(__AVX2__)
  static WS_INLINE __m256i load8(const int32_t* p) {
    return _mm256_load_si256(reinterpret_cast<const __m256i*>(p));
  }
#endif
};

// One panel whose lanes are positions, of elements [k, k + count) of their patches.
template <class Op, int P, class In>
__attribute__((noinline)) void pack_positions(const Window& w, int64_t first, int64_t lanes,
                                              int64_t k, int64_t count, typename Op::Sum* out) {
  const WindowLanes<P, In> read(w, first, lanes);
  WindowElement e(w, k);
  alignas(64) In row[Op::kStep][P];
  for (int64_t i = 0; i < count; i += Op::kStep, out += P) {
    if constexpr (Op::kStep == 1 && sizeof(In) == sizeof(typename Op::Sum)) {
      read.read(e, reinterpret_cast<In*>(out));
      e.next(w);
    } else if constexpr (Op::kStep == 1) {
      read.read(e, row[0]);
      e.next(w);
      for (int l = 0; l < P; ++l) out[l] = word_of(Op{}, row[0][l]);
    } else {
      read.read(e, row[0]);
      e.next(w);
      if (i + 1 < count)
        read.read(e, row[1]), e.next(w);
      else
        std::memset(row[1], 0, sizeof row[1]);
      for (int l = 0; l < P; ++l)
        out[l] = std::bit_cast<float>(static_cast<uint32_t>(row[0][l].bits) |
                                      static_cast<uint32_t>(row[1][l].bits) << 16);
    }
  }
}

// One element of the patches of positions [first, first + count).
template <class In>
void read_positions(const Window& w, const WindowElement& e, int64_t first, int64_t count, In* to) {
  WindowPlace at(w, first);
  const In* channel = static_cast<const In*>(w.data) + e.channel * w.channel_stride;
  while (count > 0) {
    const int64_t run = count < w.out_columns - at.x ? count : w.out_columns - at.x;
    const int64_t y = at.y * w.step_y + e.r * w.tap_y + w.base_y;
    const int64_t x = at.x * w.step_x + e.s * w.tap_x + w.base_x;
    const In* p = channel + at.image * w.image_stride + y * w.row_stride + x * w.column_stride;
    const int64_t step = w.step_x * w.column_stride;
    if (y < 0 || y >= w.rows) {
      std::memset(to, 0, run * sizeof(In));
    } else if (step == 1 && x >= 0 && x + run <= w.columns) {
      std::memcpy(to, p, run * sizeof(In));
    } else {
      for (int64_t i = 0, c = x; i < run; ++i, c += w.step_x)
        to[i] = c >= 0 && c < w.columns ? p[i * step] : In{};
    }
    to += run, count -= run;
    at.x += run - 1;
    at.next(w);
  }
}

constexpr int64_t kMostSteps = 384;  // of a block of K

// One panel whose lanes are elements of the patches, along positions [k, k + count).
template <class Op, int P, class In>
__attribute__((noinline)) void pack_elements(const Window& w, int64_t first, int64_t lanes,
                                             int64_t k, int64_t count, typename Op::Sum* out) {
  alignas(64) In rows[P][kMostSteps];
  WindowElement e(w, first);
  for (int64_t l = 0; l < lanes; ++l, e.next(w)) read_positions(w, e, k, count, rows[l]);
  pack_panel<Op, P>(Lanes<In>{rows[0], kMostSteps, 1}, lanes, count, out);
}

WS_KERNELS_END
