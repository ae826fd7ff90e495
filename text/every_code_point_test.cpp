// Cuts and normalisation of every code point, as the peer makes them (testdata/make_golden.py says
// how).
#include <gtest/gtest.h>

#include <algorithm>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "base/threads.h"
#include "text/tokenizer.h"
#include "text/tokenizer_data.h"

namespace wellspring {
namespace {

// All pairs of bytes, those first that only a missing cut can bring together.
std::vector<std::pair<int, int>> pair_order() {
  auto kind = [](int x, int y) {
    if (x < 128 || y < 128) return x < 128 && y >= 128 ? 0 : y < 128 && x >= 128 ? 1 : 4;
    return y >= 0xC2 ? 2 : 3;
  };
  std::vector<std::pair<int, int>> order;
  for (int x = 0; x < 256; ++x)
    for (int y = 0; y < 256; ++y) order.emplace_back(x, y);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) {
    return kind(a.first, a.second) < kind(b.first, b.second);
  });
  return order;
}

Tokenizer pairs(SplitPattern pattern) {
  auto letter = [](int b) {
    const char c = static_cast<char>(b);
    return to_byte_alphabet({&c, 1});
  };
  std::string json = byte_level_shell(pattern, {}, false), merges;
  json.resize(json.size() - 2);
  json += ",\"vocab\":{";
  for (int b = 0; b < 256; ++b) json += str(b ? "," : "", to_text(Json(letter(b))), ":", b);
  int id = 256;
  for (auto [x, y] : pair_order()) {
    json += str(",", to_text(Json(letter(x) + letter(y))), ":", id);
    merges += str(id++ > 256 ? "," : "", to_text(Json::array({letter(x), letter(y)})));
  }
  return Tokenizer::parse(json + "},\"merges\":[" + merges + "]}}", "pairs");
}

std::string block_text(char32_t first) {
  std::string out;
  for (char32_t c = first; c < first + 4096; ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    std::string s;
    utf8_append(s, c);
    out += str("a", s, "b1", s, "2 ", s, "\n", s, s, "'s");
  }
  return out;
}

// Sanitized builds take some of the blocks: they are ten times as slow.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int64_t kEvery = 17;
#else
constexpr int64_t kEvery = 1;
#endif

std::string fnv(const std::vector<int32_t>& ids) {
  uint64_t h = 0xCBF29CE484222325;
  for (int32_t id : ids) h = (h ^ static_cast<uint32_t>(id)) * 0x100000001B3;
  char text[17];
  std::snprintf(text, sizeof text, "%016lx", static_cast<unsigned long>(h));
  return text;
}

TEST(EveryCodePoint, AsThePeerCutsIt) {
  const Json golden = read_json("text/testdata/every_code_point.json");
  EXPECT_EQ(golden.size(), 6u);
  for (const auto& [name, blocks] : golden.items()) {
    ASSERT_EQ(blocks.size(), 272u);
    const auto pattern = split_pattern_named(name);
    const Tokenizer t =
        pattern ? pairs(*pattern) : Tokenizer::load(str("text/testdata/", name, ".json"));
    std::vector<std::string> found(blocks.size());
    parallel_for(static_cast<int64_t>(blocks.size()) / kEvery, [&](int64_t i) {
      const auto first = static_cast<char32_t>(i * kEvery * 4096);
      found[static_cast<size_t>(i * kEvery)] =
          fnv(t.encode(block_text(first), {.add_special = false}));
    });
    for (size_t i = 0; i < blocks.size(); i += kEvery)
      EXPECT_EQ(found[i], blocks[i].get<std::string>())
          << name << ": a code point from " << i * 4096 << " to " << i * 4096 + 4095;
  }
}

}  // namespace
}  // namespace wellspring
