#pragma once
// 128-bit hash of content: SipHash-2-4-128 (Aumasson and Bernstein, 2012) under a fixed key. It is
// short, fast on short documents, has published test vectors, and at 128 bits two different
// documents of a corpus of 10^12 collide with probability below 10^-14.

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

namespace wellspring {

struct Hash128 {
  uint64_t low = 0, high = 0;
  friend bool operator==(const Hash128&, const Hash128&) = default;
  friend auto operator<=>(const Hash128&, const Hash128&) = default;
};

/// Hash of a sequence of bytes that may come in pieces: the result does not depend on the cuts.
class Hasher {
 public:
  explicit Hasher(uint64_t key0 = 0, uint64_t key1 = 0);
  void update(const void* data, size_t size);
  void update(std::string_view s) { update(s.data(), s.size()); }
  /// Adds an integer as eight bytes, least significant first.
  void update(uint64_t v);
  Hash128 finish() const;

 private:
  uint64_t v0_, v1_, v2_, v3_, total_ = 0;
  unsigned char tail_[8];
  size_t tail_size_ = 0;
};

Hash128 hash128(std::string_view bytes, uint64_t key0 = 0, uint64_t key1 = 0);
/// 32 hexadecimal digits.
std::string to_hex(const Hash128& hash);

}  // namespace wellspring

template <>
struct std::hash<wellspring::Hash128> {
  size_t operator()(const wellspring::Hash128& h) const noexcept { return h.low; }
};
