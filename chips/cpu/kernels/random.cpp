// Draws by counter. out {y} row-major; attr {seed, offset, ...}. Which words of Philox an element
// takes stands in ops/schema/random.yaml: narrow draws (one word each) come in groups of 64, wide
// ones (two words) in groups of 32, from one call of philox16.

#include "chips/cpu/kernels/convert.h"
#include "chips/cpu/kernels/philox.h"
#include "chips/cpu/kernels/stream.h"
#include "chips/cpu/vector_math.h"

WS_KERNELS_BEGIN

constexpr int64_t kDrawTile = 1 << 15;  // elements
typedef uint32_t vw_native __attribute__((vector_size(kVectorBytes)));
constexpr int kNative = kVectorBytes / 4;

#if defined(__AVX512F__)
constexpr int kWordParts = 1;
WS_INLINE vw_native part_of(const vu& v, int) { return (vw_native)v; }
#else
constexpr int kWordParts = kNativeParts;
WS_INLINE vw_native part_of(const vu& v, int i) { return (vw_native)v.part[i]; }
#endif

WS_INLINE int64_t count_of(const View& v) {
  int64_t n = 1;
  for (int k = 0; k < v.dims; ++k) n *= v.shape[k];
  return n;
}

// All elements of y: make(words, W[N]) gives the N of a group, of which a first or last one may
// take a part only.
template <class W, int N, class Make>
void draw(const Call& call, const Make& make) {
  const View& y = call.out[0];
  const auto seed = static_cast<uint64_t>(call.attr[0].i);
  auto first = static_cast<uint64_t>(call.attr[1].i);
  if (N == 32) first = first / 2 + first % 2;
  const StoreRow<W> put = storer<W>(y.dtype);
  if (!put) cpu::kernel_refuses("a random kernel", "complex values");
  bool direct = false;
  with_type(y.dtype, [&]<class T>(T) { direct = same_type<T, W>; });
  const auto size = static_cast<int64_t>(size_of(y.dtype));
  const int64_t count = count_of(y);
  const bool streaming = count * size >= kStreamBytes;
  char* out = static_cast<char*>(y.data);
  parallel_for((count + kDrawTile - 1) / kDrawTile, [&](int64_t tile) {
    int64_t begin = tile * kDrawTile;
    const int64_t end = begin + kDrawTile < count ? begin + kDrawTile : count;
    alignas(64) W values[N];
    alignas(64) char staged[N * 8];  // of any dtype
    while (begin < end) {
      const uint64_t place = first + static_cast<uint64_t>(begin);
      const int lead = static_cast<int>(place % N);
      const int64_t n = end - begin < N - lead ? end - begin : N - lead;
      make(philox16(seed, place / N * kLanes), values);
      char* to = out + begin * size;
      if (n == N && size * N >= 64 && is_line(to)) {
        if (!direct) put(staged, 1, N, values);
        const char* from = direct ? reinterpret_cast<const char*>(values) : staged;
        for (int64_t k = 0; k < N * size; k += 64) put_line(to + k, from + k, streaming);
      } else {
        put(to, 1, n, values + lead);
      }
      begin += n;
    }
    stream_done();
  });
}

// Whether results are computed in f64.
WS_INLINE bool is_wide(const Call& call) { return call.out[0].dtype == DType::f64; }

// The words of a wide group as 32 integers of 64 bits, the lower word first.
WS_INLINE void wide_words(const Philox& random, uint64_t* out) {
  alignas(64) uint32_t words[4][kLanes];
  for (int w = 0; w < 4; ++w)
    for (int p = 0; p < kWordParts; ++p) {
      const vw_native v = part_of(random.words[w], p);
      std::memcpy(words[w] + p * kNative, &v, sizeof v);
    }
  for (int h = 0; h < 2; ++h)
    for (int k = 0; k < kLanes; ++k)
      out[h * kLanes + k] = words[2 * h][k] | static_cast<uint64_t>(words[2 * h + 1][k]) << 32;
}

// Calls f(word vector, place of its first lane in the group) for all words of a narrow group.
template <class F>
WS_INLINE void each_word(const Philox& random, F&& f) {
#pragma GCC unroll 4
  for (int w = 0; w < 4; ++w)
#pragma GCC unroll 4
    for (int p = 0; p < kWordParts; ++p) f(part_of(random.words[w], p), w * kLanes + p * kNative);
}

template <class V, class T>
WS_INLINE void put_native(T* out, V v) {
  std::memcpy(out, &v, sizeof v);
}

// (0, 1] in steps of 2^-31.
WS_INLINE vf_native above_zero(vw_native word) {
  return __builtin_convertvector((vi_native)(word >> 1), vf_native) * 0x1p-31f + 0x1p-32f;
}
WS_INLINE double above_zero(uint64_t word) {
  return (static_cast<double>(static_cast<int64_t>(word >> 12)) + 0.5) * 0x1p-52;
}

// attr: from, to. As many random bits as the dtype holds, so that no draw rounds up to the end.
void random_uniform(const Call& call) {
  const double from = call.attr[2].f, to = call.attr[3].f;
  if (is_wide(call))
    return draw<double, 32>(call, [=](const Philox& random, double* out) {
      uint64_t words[32];
      wide_words(random, words);
      for (int k = 0; k < 32; ++k) {
        const double v = from + static_cast<double>(static_cast<int64_t>(words[k] >> 11)) *
                                    0x1p-53 * (to - from);
        out[k] = v < to ? v : from;
      }
    });
  const DType t = call.out[0].dtype;
  const int bits = t == DType::bf16 ? 8 : t == DType::f16 ? 11 : 24;
  const auto low = static_cast<float>(from), high = static_cast<float>(to),
             step = static_cast<float>((to - from) / static_cast<double>(1 << bits));
  draw<float, 64>(call, [=](const Philox& random, float* out) {
    each_word(random, [&](vw_native word, int at) {
      const vi_native k = (vi_native)(word >> (32 - bits));
      const vf_native v = __builtin_convertvector(k, vf_native) * step + low;
      put_native(out + at, v < high ? v : number<vf_native>(low));
    });
  });
}
WS_KERNEL("random_uniform", random_uniform)

// Two normal draws from two words (Box and Muller): the first gives the radius, the second the
// angle, whose quarter of the circle is cut off exactly.
struct NormalPair {
  vf_native a, b;
};
WS_INLINE NormalPair normal_pair(vw_native radius, vw_native angle) {
  const vf_native r = sqrt(log(above_zero(radius)) * -2.0f);
  const vi_native q = (vi_native)((angle + 0x20000000u) >> 30);
  const vf_native x = __builtin_convertvector((vi_native)angle - (q << 30), vf_native) *
                      1.4629180792671596e-9f;  // 2 pi / 2^32
  const vf_native z = x * x;
  const vf_native s =
      polynomial(z, {-1.6666666667e-1, 8.3333333333e-3, -1.9841269841e-4, 2.7557319e-6}) * z * x +
      x;
  const vf_native c = polynomial(
      z, {1.0, -0.5, 4.1666666667e-2, -1.3888888889e-3, 2.4801587302e-5, -2.75573192e-7});
  const vi_native odd = (q & 1) != 0;
  const vf_native sine = (vf_native)((vi_native)(odd ? c : s) ^ ((q & 2) << 30));
  const vf_native cosine = (vf_native)((vi_native)(odd ? s : c) ^ (((q + 1) & 2) << 30));
  return {r * cosine, r * sine};
}

// attr: mean, std.
void random_normal(const Call& call) {
  const double mean = call.attr[2].f, std = call.attr[3].f;
  if (is_wide(call))
    return draw<double, 32>(call, [=](const Philox& random, double* out) {
      uint64_t words[32];
      wide_words(random, words);
      for (int k = 0; k < kLanes; ++k) {
        const double r = __builtin_sqrt(-2 * __builtin_log(above_zero(words[k])));
        const double t = static_cast<double>(static_cast<int64_t>(words[k + kLanes] >> 11)) *
                         (0x1p-53 * 6.283185307179586);
        out[k] = mean + std * (r * __builtin_cos(t));
        out[k + kLanes] = mean + std * (r * __builtin_sin(t));
      }
    });
  const auto m = static_cast<float>(mean), s = static_cast<float>(std);
  draw<float, 64>(call, [=](const Philox& random, float* out) {
#pragma GCC unroll 2
    for (int h = 0; h < 2; ++h)
#pragma GCC unroll 4
      for (int p = 0; p < kWordParts; ++p) {
        const NormalPair z =
            normal_pair(part_of(random.words[2 * h], p), part_of(random.words[2 * h + 1], p));
        const int at = h * 2 * kLanes + p * kNative;
        put_native(out + at, z.a * s + m);
        put_native(out + at + kLanes, z.b * s + m);
      }
  });
}
WS_KERNEL("random_normal", random_normal)

// attr: rate. Never 0.
void random_exponential(const Call& call) {
  const double scale = 1 / call.attr[2].f;
  if (is_wide(call))
    return draw<double, 32>(call, [=](const Philox& random, double* out) {
      uint64_t words[32];
      wide_words(random, words);
      for (int k = 0; k < 32; ++k) out[k] = -__builtin_log(above_zero(words[k])) * scale;
    });
  const auto s = static_cast<float>(-scale);
  draw<float, 64>(call, [=](const Philox& random, float* out) {
    each_word(random, [&](vw_native word, int at) {
      const vf_native u = above_zero(word), most = number<vf_native>(1 - 0x1p-24);
      put_native(out + at, log(u < most ? u : most) * s);
    });
  });
}
WS_KERNEL("random_exponential", random_exponential)

// attr: p. 1 where the word is below p 2^32, else 0.
void random_bernoulli(const Call& call) {
  const double words = call.attr[2].f * 4294967296.0 + 0.5;
  const bool always = words >= 4294967296.0;
  const uint32_t threshold = always ? 0 : static_cast<uint32_t>(words);
  draw<float, 64>(call, [=](const Philox& random, float* out) {
    each_word(random, [&](vw_native word, int at) {
      const vi_native hit = always ? ~vi_native{} : (vi_native)(word < threshold);
      put_native(out + at, (vf_native)(hit & 0x3f800000));
    });
  });
}
WS_KERNEL("random_bernoulli", random_bernoulli)

// attr: low, count of values (0: 2^64). Up to 2^32 values by the high half of a product with one
// word, more by the remainder of two.
void random_integers(const Call& call) {
  const int64_t low = call.attr[2].i;
  const auto values = static_cast<uint64_t>(call.attr[3].i);
  if (values == 0 || values > uint64_t{1} << 32)
    return draw<int64_t, 32>(call, [=](const Philox& random, int64_t* out) {
      uint64_t words[32];
      wide_words(random, words);
      for (int k = 0; k < 32; ++k)
        out[k] = static_cast<int64_t>(static_cast<uint64_t>(low) +
                                      (values ? words[k] % values : words[k]));
    });
  draw<int64_t, 64>(call, [=](const Philox& random, int64_t* out) {
    alignas(64) uint32_t words[64];
    each_word(random, [&](vw_native word, int at) { put_native(words + at, word); });
    for (int k = 0; k < 64; ++k) out[k] = low + static_cast<int64_t>(words[k] * values >> 32);
  });
}
WS_KERNEL("random_integers", random_integers)

// out: i64 [rows, draws]; in: weights [rows, N], row-major; attr: seed, offset. Each draw is the
// first place whose running sum of weights, in f64, is above a uniform share of the whole one.
void multinomial(const Call& call) {
  const View& y = call.out[0];
  const View& weights = call.in[0];
  const int64_t rows = y.shape[0], draws = y.shape[1], n = weights.shape[1];
  const auto size = static_cast<int64_t>(size_of(weights.dtype));
  const LoadRow<double> load = loader<double>(weights.dtype);
  draw<int64_t, 32>(call, [](const Philox& random, int64_t* out) {
    uint64_t words[32];
    wide_words(random, words);
    std::memcpy(out, words, sizeof words);
  });
  auto* out = static_cast<int64_t*>(y.data);
  const int64_t share = 1 + 8192 / n;
  constexpr int kAtOnce = 4;  // rows: a sum of one waits for the addition before it
  parallel_for((rows + share - 1) / share, [&](int64_t tile) {
    auto* memory =
        static_cast<double*>(cpu::scratch(0, static_cast<size_t>(kAtOnce * n) * sizeof(double)));
    const int64_t end = (tile + 1) * share < rows ? (tile + 1) * share : rows;
    const auto add_up = [&](int64_t first) {
      const double* row[kAtOnce];
      double total[kAtOnce] = {};
      for (int q = 0; q < kAtOnce; ++q) {
        const int64_t r = first + q < end ? first + q : first;
        row[q] = load(static_cast<const char*>(weights.data) + r * n * size, 1, n, memory + q * n);
      }
      for (int64_t k = 0; k < n; ++k)
#pragma GCC unroll 4
        for (int q = 0; q < kAtOnce; ++q) memory[q * n + k] = total[q] += row[q][k];
    };
    for (int64_t r = tile * share; r < end; ++r) {
      const int64_t at = (r - tile * share) % kAtOnce;
      if (at == 0) add_up(r);
      const double* sums = memory + at * n;
      const double total = sums[n - 1];
      for (int64_t k = r * draws; k < (r + 1) * draws; ++k) {
        const double u =
            static_cast<double>(static_cast<int64_t>(static_cast<uint64_t>(out[k]) >> 11)) *
            0x1p-53 * total;
        const bool last = !(u < total);  // by rounding
        int64_t low = 0, high = n - 1;
        while (low < high) {
          const int64_t middle = (low + high) / 2;
          if (last ? sums[middle] >= total : sums[middle] > u)
            high = middle;
          else
            low = middle + 1;
        }
        out[k] = low;
      }
    }
  });
}
WS_KERNEL("multinomial", multinomial)

WS_KERNELS_END
