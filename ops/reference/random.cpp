// Random draws and sequences, from the definition in ops/schema/random.yaml.
#include <algorithm>
#include <cmath>

#include "base/random.h"
#include "ops/reference/reference.h"

namespace wellspring::reference {
namespace {

Shape shape_of(const View& v) {
  return Shape(std::span<const int64_t>(v.shape, static_cast<size_t>(v.dims)));
}

struct Words {
  uint64_t seed, offset;
  explicit Words(const Call& call)
      : seed(static_cast<uint64_t>(call.attr[0].i)),
        offset(static_cast<uint64_t>(call.attr[1].i)) {}
  // The word of a place, and the two of a wide one.
  uint32_t at(uint64_t place) const {
    return philox(seed, place / 64 * 16 + place % 16, 0)[place / 16 % 4];
  }
  uint64_t place(int64_t i) const { return offset + static_cast<uint64_t>(i); }
  uint64_t wide_place(int64_t i) const {
    return offset / 2 + offset % 2 + static_cast<uint64_t>(i);
  }
  uint64_t wide_at(uint64_t place) const {
    const auto words = philox(seed, place / 32 * 16 + place % 16, 0);
    const uint64_t first = 2 * (place / 16 % 2);
    return words[first] | static_cast<uint64_t>(words[first + 1]) << 32;
  }
};

// In (0, 1], as coarse as the kernels' f32 or f64.
double above_zero(uint32_t word) { return static_cast<float>(word >> 1) * 0x1p-31f + 0x1p-32f; }
double above_zero(uint64_t word) { return (static_cast<double>(word >> 12) + 0.5) * 0x1p-52; }

bool is_wide(const Call& call) { return call.out[0].dtype == DType::f64; }

template <class F>
void each(const Call& call, F f) {
  Values y(shape_of(call.out[0]));
  for (int64_t i = 0; i < y.size(); ++i) y[i] = f(i);
  y.write(call.out[0]);
}

void random_uniform(const Call& call) {
  const Words words(call);
  const double from = call.attr[2].f, to = call.attr[3].f;
  const DType t = call.out[0].dtype;
  const int bits = t == DType::bf16 ? 8 : t == DType::f16 ? 11 : 24;
  each(call, [&](int64_t i) {
    const double u =
        is_wide(call)
            ? static_cast<double>(words.wide_at(words.wide_place(i)) >> 11) * 0x1p-53
            : static_cast<double>(words.at(words.place(i)) >> (32 - bits)) / std::pow(2.0, bits);
    const double v = from + u * (to - from);
    return v < to ? v : from;
  });
}
WS_REFERENCE("random_uniform", random_uniform);

void random_normal(const Call& call) {
  const Words words(call);
  const double mean = call.attr[2].f, std = call.attr[3].f, turn = 6.283185307179586;
  each(call, [&](int64_t i) {
    const auto draw = [&](double u, double angle, bool sine) {
      return mean + std * std::sqrt(-2 * std::log(u)) * (sine ? std::sin(angle) : std::cos(angle));
    };
    if (is_wide(call)) {
      // The radius is the group's element 0-15, the angle 16-31.
      const uint64_t place = words.wide_place(i), low = place / 32 * 32 + place % 16;
      return draw(above_zero(words.wide_at(low)),
                  turn * 0x1p-53 * static_cast<double>(words.wide_at(low + 16) >> 11),
                  place % 32 >= 16);
    }
    const uint64_t place = words.place(i), low = place / 32 * 32 + place % 16;
    return draw(above_zero(words.at(low)), turn * 0x1p-32 * words.at(low + 16), place % 32 >= 16);
  });
}
WS_REFERENCE("random_normal", random_normal);

void random_exponential(const Call& call) {
  const Words words(call);
  const double rate = call.attr[2].f;
  each(call, [&](int64_t i) {
    if (is_wide(call)) return -std::log(above_zero(words.wide_at(words.wide_place(i)))) / rate;
    return -std::log(std::min(above_zero(words.at(words.place(i))), 1 - 0x1p-24)) / rate;
  });
}
WS_REFERENCE("random_exponential", random_exponential);

void random_bernoulli(const Call& call) {
  const Words words(call);
  const double p = call.attr[2].f;
  each(call, [&](int64_t i) {
    return words.at(words.place(i)) < std::floor(p * 4294967296.0 + 0.5) ? 1.0 : 0.0;
  });
}
WS_REFERENCE("random_bernoulli", random_bernoulli);

void random_integers(const Call& call) {
  const Words words(call);
  const int64_t low = call.attr[2].i;
  const auto count = static_cast<uint64_t>(call.attr[3].i);
  const auto draw = [&](int64_t i) {
    if (count && count <= uint64_t{1} << 32)
      return low + static_cast<int64_t>(words.at(words.place(i)) * count >> 32);
    const uint64_t word = words.wide_at(words.wide_place(i));
    return static_cast<int64_t>(static_cast<uint64_t>(low) + (count ? word % count : word));
  };
  if (call.out[0].dtype == DType::i64) {  // more digits than an f64 has
    const int64_t n = shape_of(call.out[0]).numel();
    for (int64_t i = 0; i < n; ++i) static_cast<int64_t*>(call.out[0].data)[i] = draw(i);
    return;
  }
  each(call, [&](int64_t i) { return static_cast<double>(draw(i)); });
}
WS_REFERENCE("random_integers", random_integers);

void multinomial(const Call& call) {
  const Words words(call);
  Values sums(call.in[0]);
  const int64_t n = sums.extent(-1), draws = call.out[0].shape[1];
  for (int64_t k = 0; k < sums.size(); ++k)
    if (k % n) sums[k] += sums[k - 1];
  each(call, [&](int64_t i) {
    const double* row = sums.data.data() + i / draws * n;
    const double total = row[n - 1];
    const double u =
        static_cast<double>(words.wide_at(words.wide_place(i)) >> 11) * 0x1p-53 * total;
    int64_t at = 0;
    while (at < n - 1 && !(u < total ? row[at] > u : row[at] >= total)) ++at;
    return static_cast<double>(at);
  });
}
WS_REFERENCE("multinomial", multinomial);

void arange(const Call& call) {
  each(call, [&](int64_t k) {
    if (call.attr[4].i) return static_cast<double>(call.attr[2].i + k * call.attr[3].i);
    return call.attr[0].f + static_cast<double>(k) * call.attr[1].f;
  });
}
WS_REFERENCE("arange", arange);

void linspace(const Call& call) {
  const double start = call.attr[0].f, end = call.attr[1].f;
  const int64_t n = call.out[0].shape[0];
  each(call, [&](int64_t k) {
    const double step = n > 1 ? (end - start) / static_cast<double>(n - 1) : 0;
    return k < n / 2 || n == 1 ? start + step * static_cast<double>(k)
                               : end - step * static_cast<double>(n - 1 - k);
  });
}
WS_REFERENCE("linspace", linspace);

void triangle(const Call& call) {
  Values x(call.in[0]);
  const int64_t columns = x.extent(-1), rows = x.extent(-2), diagonal = call.attr[0].i;
  for (int64_t k = 0; k < x.size(); ++k) {
    const int64_t over = k % columns - k / columns % rows - diagonal;
    if (call.attr[1].i ? over < 0 : over > 0) x[k] = 0;
  }
  x.write(call.out[0]);
}
WS_REFERENCE("triangle", triangle);

}  // namespace
}  // namespace wellspring::reference
