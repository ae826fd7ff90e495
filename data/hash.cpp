#include "data/hash.h"

#include <bit>
#include <cstring>

namespace wellspring {
namespace {

static_assert(std::endian::native == std::endian::little, "shards are little-endian");

inline void round(uint64_t& v0, uint64_t& v1, uint64_t& v2, uint64_t& v3) {
  v0 += v1;
  v1 = std::rotl(v1, 13) ^ v0;
  v0 = std::rotl(v0, 32);
  v2 += v3;
  v3 = std::rotl(v3, 16) ^ v2;
  v0 += v3;
  v3 = std::rotl(v3, 21) ^ v0;
  v2 += v1;
  v1 = std::rotl(v1, 17) ^ v2;
  v2 = std::rotl(v2, 32);
}

inline uint64_t load(const unsigned char* p) {
  uint64_t v;
  std::memcpy(&v, p, 8);
  return v;
}

}  // namespace

Hasher::Hasher(uint64_t key0, uint64_t key1)
    : v0_(0x736f6d6570736575ull ^ key0),
      v1_(0x646f72616e646f6dull ^ key1 ^ 0xee),
      v2_(0x6c7967656e657261ull ^ key0),
      v3_(0x7465646279746573ull ^ key1) {}

void Hasher::update(const void* data, size_t size) {
  const auto* p = static_cast<const unsigned char*>(data);
  total_ += size;
  uint64_t v0 = v0_, v1 = v1_, v2 = v2_, v3 = v3_;
  auto word = [&](uint64_t m) {
    v3 ^= m;
    round(v0, v1, v2, v3);
    round(v0, v1, v2, v3);
    v0 ^= m;
  };
  if (tail_size_ > 0) {
    while (tail_size_ < 8 && size > 0) {
      tail_[tail_size_++] = *p++;
      --size;
    }
    if (tail_size_ == 8) {
      word(load(tail_));
      tail_size_ = 0;
    }
  }
  for (; size >= 8; p += 8, size -= 8) word(load(p));
  for (; size > 0; --size) tail_[tail_size_++] = *p++;
  v0_ = v0, v1_ = v1, v2_ = v2, v3_ = v3;
}

void Hasher::update(uint64_t v) { update(&v, 8); }

Hash128 Hasher::finish() const {
  uint64_t v0 = v0_, v1 = v1_, v2 = v2_, v3 = v3_;
  uint64_t last = total_ << 56;
  for (size_t i = 0; i < tail_size_; ++i) last |= uint64_t{tail_[i]} << (8 * i);
  v3 ^= last;
  round(v0, v1, v2, v3);
  round(v0, v1, v2, v3);
  v0 ^= last;
  Hash128 out;
  v2 ^= 0xee;
  for (int i = 0; i < 4; ++i) round(v0, v1, v2, v3);
  out.low = v0 ^ v1 ^ v2 ^ v3;
  v1 ^= 0xdd;
  for (int i = 0; i < 4; ++i) round(v0, v1, v2, v3);
  out.high = v0 ^ v1 ^ v2 ^ v3;
  return out;
}

Hash128 hash128(std::string_view bytes, uint64_t key0, uint64_t key1) {
  Hasher hasher(key0, key1);
  hasher.update(bytes);
  return hasher.finish();
}

std::string to_hex(const Hash128& hash) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string out;
  for (uint64_t word : {hash.low, hash.high})
    for (int byte = 0; byte < 8; ++byte) {
      auto b = static_cast<unsigned>(word >> (8 * byte) & 0xff);
      out += kDigits[b >> 4];
      out += kDigits[b & 15];
    }
  return out;
}

}  // namespace wellspring
