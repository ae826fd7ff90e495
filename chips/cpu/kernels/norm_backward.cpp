// RMS and layer normalisation, backward.
//   out {dx, dx2, dweight, dbias}, in {dy, x, weight, stats, dsum}
// dx2 is dx once more, in another dtype; dsum is added to dx. All but dx, dy, x, weight and stats
// may be undefined. With h = (x - mean) rstd and g = dy weight: dx = rstd (g - mean(g) - h mean(g
// h)) + dsum, where RMS has neither mean nor mean(g).

#include "chips/cpu/kernels/rows.h"

WS_KERNELS_BEGIN

struct NormGradient {
  Rows dx, dx2, dy, x, dsum;
  const float *weight, *stats;
  float *weight_sums, *bias_sums;  // partial sums of the running tile, or null
};

// Adds one row to the partial sums of the weights' gradients, and gives mean(g) and mean(g h).
template <bool Layer>
WS_INLINE void reduce_row(const NormGradient& p, const float* x, const float* dy, float mean,
                          float rstd, float* mean_g, float* mean_gh) {
  const int64_t width = p.x.width;
  const auto normal = [&](int64_t i, int m) { return (load_n(x + i, m) - mean) * rstd; };
  *mean_gh = row_sum(width, [&](int64_t i, int m) {
    const vf d = load_n(dy + i, m), h = normal(i, m);
    if (p.weight_sums) store_n(p.weight_sums + i, fma(d, h, load_n(p.weight_sums + i, m)), m);
    if (Layer && p.bias_sums) store_n(p.bias_sums + i, load_n(p.bias_sums + i, m) + d, m);
    return d * load_n(p.weight + i, m) * h;
  });
  *mean_gh /= static_cast<float>(width);
  *mean_g = 0;
  if constexpr (Layer)
    *mean_g = row_sum(width, [&](int64_t i,
                                 int m) { return load_n(dy + i, m) * load_n(p.weight + i, m); }) /
              static_cast<float>(width);
}

template <bool Layer>
WS_INLINE void backward_row(const NormGradient& p, int64_t row) {
  const int64_t width = p.x.width;
  const float mean = Layer ? p.stats[2 * row] : 0,
              rstd = Layer ? p.stats[2 * row + 1] : p.stats[row];
  const float* x = p.x.read(row, row_buffer(1, width));
  const float* dy = p.dy.read(row, row_buffer(2, width));
  float mean_g, mean_gh;
  reduce_row<Layer>(p, x, dy, mean, rstd, &mean_g, &mean_gh);
  const float* more = p.dsum ? p.dsum.read(row, row_buffer(3, width)) : nullptr;
  float* dx = p.dx.target(row, row_buffer(4, width));
  const auto gradient = [&](int64_t i, int m) {
    const vf g = load_n(dy + i, m) * load_n(p.weight + i, m), h = (load_n(x + i, m) - mean) * rstd;
    return ((g - mean_g) - h * mean_gh) * rstd;
  };
  if (more)
    each_vector(
        width, [&](int64_t i, int m) { store_n(dx + i, gradient(i, m) + load_n(more + i, m), m); });
  else
    each_vector(width, [&](int64_t i, int m) { store_n(dx + i, gradient(i, m), m); });
  p.dx.finish(row, dx);
  if (!p.dx2) return;
  if (p.dx2.half) return p.dx2.finish(row, dx);
  each_vector(width,
              [&](int64_t i, int m) { store_n(p.dx2.floats(row) + i, load_n(dx + i, m), m); });
}

// Adds the tiles' partial sums [tiles][width] in tile order.
inline void add_partials(const float* partials, int64_t tiles, int64_t width, float* to) {
  constexpr int64_t kColumns = 256;
  parallel_for(tiles_of(width, kColumns), [&](int64_t part) {
    const int64_t end = (part + 1) * kColumns < width ? (part + 1) * kColumns : width;
    for (int64_t i = part * kColumns; i < end; i += kLanes) {
      const int n = static_cast<int>(end - i < kLanes ? end - i : kLanes);
      vf sum = splat(0);
      for (int64_t t = 0; t < tiles; ++t) sum += load_n(partials + t * width + i, n);
      store_n(to + i, sum, n);
    }
  });
}

template <bool Layer>
WS_INLINE void norm_backward(const char* name, const Call& call) {
  NormGradient p;
  p.dx = packed_rows(name, call.out[0]), p.dx2 = packed_rows(name, call.out[1]);
  p.dy = packed_rows(name, call.in[0]), p.x = packed_rows(name, call.in[1]);
  p.dsum = packed_rows(name, call.in[4]);
  p.weight = static_cast<const float*>(call.in[2].data);
  p.stats = static_cast<const float*>(call.in[3].data);
  const bool sums = call.out[2].defined() || call.out[3].defined();
  const int64_t rows = p.x.count, width = p.x.width;
  // At most 64 tiles, so that the partial sums stay few.
  const int64_t least = tiles_of(rows, 64), usual = rows_per_tile(width);
  const int64_t per = least > usual ? least : usual, tiles = tiles_of(rows, per);
  const int64_t all = tiles * width;
  float* partials = sums ? row_buffer(0, 2 * all) : nullptr;
  parallel_for(tiles, [&](int64_t tile) {
    NormGradient mine = p;
    mine.weight_sums = sums ? partials + tile * width : nullptr;
    mine.bias_sums = sums && Layer ? partials + all + tile * width : nullptr;
    for (float* s : {mine.weight_sums, mine.bias_sums})
      if (s) std::memset(s, 0, static_cast<size_t>(width) * sizeof(float));
    const int64_t end = (tile + 1) * per < rows ? (tile + 1) * per : rows;
    for (int64_t row = tile * per; row < end; ++row) backward_row<Layer>(mine, row);
  });
  if (call.out[2].defined())
    add_partials(partials, tiles, width, static_cast<float*>(call.out[2].data));
  if (Layer && call.out[3].defined())
    add_partials(partials + all, tiles, width, static_cast<float*>(call.out[3].data));
}

void rms_norm_backward(const Call& call) { norm_backward<false>("rms_norm_backward", call); }
void layer_norm_backward(const Call& call) { norm_backward<true>("layer_norm_backward", call); }
WS_KERNEL("rms_norm_backward", rms_norm_backward)
WS_KERNEL("layer_norm_backward", layer_norm_backward)

WS_KERNELS_END
