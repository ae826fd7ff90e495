// dropout: out {y, mask}, in {x}, attr {p, seed, offset}; mask (bool, row-major, may be absent)
// says what stays; the derivative is the same kernel on the gradient. The mask's definition stands
// in ops/schema/dropout.yaml: 64 successive places take one call of philox16.

#include "chips/cpu/kernels/philox.h"
#include "chips/cpu/kernels/rows.h"

WS_KERNELS_BEGIN

constexpr int kPlaces = 64;  // of one call of philox16

struct Drop {
  uint64_t seed;
  uint32_t threshold;  // a word below it drops its element
  float scale;
};

template <bool Mask, class T>
WS_INLINE void drop_group(const Drop& d, uint64_t group, const T* x, T* y, uint8_t* mask) {
  const Philox random = philox16(d.seed, group * kLanes);
  for (int w = 0; w < 4; ++w) {
    const vi keep = random.words[w] >= d.threshold;
    store(y + w * kLanes, (vf)((vi)(load(x + w * kLanes) * d.scale) & keep));
    if constexpr (Mask) {
      alignas(64) int32_t lanes[kLanes];
      std::memcpy(lanes, &keep, sizeof lanes);
      for (int l = 0; l < kLanes; ++l) mask[w * kLanes + l] = static_cast<uint8_t>(lanes[l] & 1);
    }
  }
}

// Elements [begin, end) of a tensor whose element 0 has the place `offset`.
template <bool Mask, class T>
WS_INLINE void drop_range(const Drop& d, uint64_t offset, const T* x, T* y, uint8_t* mask,
                          int64_t begin, int64_t end) {
  while (begin < end) {
    const uint64_t place = offset + static_cast<uint64_t>(begin);
    const int lead = static_cast<int>(place % kPlaces);
    const int64_t left = end - begin, n = left < kPlaces - lead ? left : kPlaces - lead;
    if (n == kPlaces) {
      drop_group<Mask>(d, place / kPlaces, x + begin, y + begin, mask + (Mask ? begin : 0));
    } else {
      T from[kPlaces] = {}, to[kPlaces];
      uint8_t kept[kPlaces];
      std::memcpy(from + lead, x + begin, static_cast<size_t>(n) * sizeof(T));
      drop_group<Mask>(d, place / kPlaces, from, to, kept);
      std::memcpy(y + begin, to + lead, static_cast<size_t>(n) * sizeof(T));
      if (Mask) std::memcpy(mask + begin, kept + lead, static_cast<size_t>(n));
    }
    begin += n;
  }
}

template <bool Mask, class T>
void dropout_of(const Drop& d, uint64_t offset, const Rows& x, const Rows& y, uint8_t* mask) {
  constexpr int64_t kTile = 32768;
  const int64_t count = x.count * x.width;
  parallel_for(tiles_of(count, kTile), [&](int64_t tile) {
    const int64_t end = (tile + 1) * kTile < count ? (tile + 1) * kTile : count;
    drop_range<Mask>(d, offset, reinterpret_cast<const T*>(x.data), reinterpret_cast<T*>(y.data),
                     mask, tile * kTile, end);
  });
}

void dropout(const Call& call) {
  const Rows y = packed_rows("dropout", call.out[0]), x = packed_rows("dropout", call.in[0]);
  if (x.half != y.half) cpu::kernel_refuses("dropout", "the dtypes differ");
  const double p = call.attr[0].f, words = p * 4294967296.0 + 0.5;
  const Drop d{static_cast<uint64_t>(call.attr[1].i),
               words < 4294967295.0 ? static_cast<uint32_t>(words) : 4294967295u,
               static_cast<float>(1 / (1 - p))};
  const auto offset = static_cast<uint64_t>(call.attr[2].i);
  if (call.outs > 1 && call.out[1].defined()) {
    auto* mask = static_cast<uint8_t*>(call.out[1].data);
    x.half ? dropout_of<true, bf16_t>(d, offset, x, y, mask)
           : dropout_of<true, float>(d, offset, x, y, mask);
  } else {
    x.half ? dropout_of<false, bf16_t>(d, offset, x, y, nullptr)
           : dropout_of<false, float>(d, offset, x, y, nullptr);
  }
}
WS_KERNEL("dropout", dropout)

WS_KERNELS_END
