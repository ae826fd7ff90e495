#include "base/random.h"

#include <cmath>

#include "base/error.h"

namespace wellspring {

std::array<uint32_t, 4> philox(uint64_t key, uint64_t counter_low, uint64_t counter_high) {
  constexpr uint64_t kMultiply0 = 0xD2511F53, kMultiply1 = 0xCD9E8D57;
  constexpr uint32_t kWeyl0 = 0x9E3779B9, kWeyl1 = 0xBB67AE85;
  auto c0 = static_cast<uint32_t>(counter_low), c1 = static_cast<uint32_t>(counter_low >> 32);
  auto c2 = static_cast<uint32_t>(counter_high), c3 = static_cast<uint32_t>(counter_high >> 32);
  auto k0 = static_cast<uint32_t>(key), k1 = static_cast<uint32_t>(key >> 32);
  for (int round = 0; round < 10; ++round) {
    uint64_t p0 = kMultiply0 * c0, p1 = kMultiply1 * c2;
    uint32_t n0 = static_cast<uint32_t>(p1 >> 32) ^ c1 ^ k0;
    uint32_t n2 = static_cast<uint32_t>(p0 >> 32) ^ c3 ^ k1;
    c1 = static_cast<uint32_t>(p1);
    c3 = static_cast<uint32_t>(p0);
    c0 = n0;
    c2 = n2;
    k0 += kWeyl0;
    k1 += kWeyl1;
  }
  return {c0, c1, c2, c3};
}

uint32_t Random::next_u32() {
  // Four words per counter; drawing them one by one repeats the rounds, which keeps the state to a
  // plain position. Bulk kernels call philox() themselves.
  uint32_t word = philox(seed_, position_ / 4, stream_)[position_ % 4];
  ++position_;
  return word;
}

uint64_t Random::next_u64() {
  if (position_ % 4 <= 2) {  // both words stand in one block
    auto block = philox(seed_, position_ / 4, stream_);
    uint64_t at = position_ % 4;
    position_ += 2;
    return block[at] | static_cast<uint64_t>(block[at + 1]) << 32;
  }
  uint64_t low = next_u32();
  return low | static_cast<uint64_t>(next_u32()) << 32;
}

double Random::uniform() { return static_cast<double>(next_u64() >> 11) * 0x1p-53; }

double Random::normal() {
  double u = 1 - uniform();  // (0, 1]: the logarithm stays finite
  double v = uniform();
  return std::sqrt(-2 * std::log(u)) * std::cos(2 * 3.14159265358979323846 * v);
}

uint64_t Random::below(uint64_t n) {
  WS_CHECK(n >= 1, "Random::below wants n >= 1");
  // Lemire (2019): the high half of a product, with the few biased values drawn again.
  auto product = static_cast<unsigned __int128>(next_u64()) * n;
  if (static_cast<uint64_t>(product) < n) {
    uint64_t threshold = (0 - n) % n;
    while (static_cast<uint64_t>(product) < threshold)
      product = static_cast<unsigned __int128>(next_u64()) * n;
  }
  return static_cast<uint64_t>(product >> 64);
}

}  // namespace wellspring
