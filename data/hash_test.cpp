#include "data/hash.h"

#include <gtest/gtest.h>

namespace wellspring {
namespace {

constexpr uint64_t kKey0 = 0x0706050403020100ull, kKey1 = 0x0f0e0d0c0b0a0908ull;

std::string counting(int n) {
  std::string s;
  for (int i = 0; i < n; ++i) s += static_cast<char>(i);
  return s;
}

// The vectors that the authors of SipHash publish for the 128-bit form (bytes 0, 1, 2, ...).
TEST(Hash, PublishedVectors) {
  EXPECT_EQ(to_hex(hash128(counting(0), kKey0, kKey1)), "a3817f04ba25a8e66df67214c7550293");
  EXPECT_EQ(to_hex(hash128(counting(1), kKey0, kKey1)), "da87c1d86b99af44347659119b22fc45");
  EXPECT_EQ(to_hex(hash128(counting(2), kKey0, kKey1)), "8177228da4a45dc7fca38bdef60affe4");
  EXPECT_EQ(to_hex(hash128(counting(3), kKey0, kKey1)), "9c70b60c5267a94e5f33b6b02985ed51");
}

TEST(Hash, PiecesDoNotMatter) {
  std::string s = counting(100);
  Hash128 whole = hash128(s);
  for (size_t cut = 0; cut <= s.size(); ++cut) {
    Hasher h;
    h.update(s.substr(0, cut));
    h.update(s.substr(cut));
    EXPECT_EQ(h.finish(), whole) << cut;
  }
  EXPECT_EQ(to_hex(whole), "f0d44bcbe9d84929cca33124587392eb");  // as openssl mac computes it
  EXPECT_NE(hash128(s.substr(1)), whole);
}

}  // namespace
}  // namespace wellspring
