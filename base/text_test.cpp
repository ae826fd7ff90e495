#include "base/text.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace wellspring {
namespace {

TEST(Text, StrTakesEveryKind) {
  EXPECT_EQ(str("row ", 3, " of ", std::string("x"), ' ', 1.5, ' ', true, ' ', 0.1f == 0.1f),
            "row 3 of x 1.5 true true");
  EXPECT_EQ(str(0.1, " ", 1e300, " ", -7L, " ", 18446744073709551615ull),
            "0.1 1e+300 -7 18446744073709551615");
}

TEST(Text, SplitJoinTrim) {
  EXPECT_EQ(split("a,,b,", ','), (std::vector<std::string>{"a", "", "b", ""}));
  EXPECT_EQ(split("", ','), std::vector<std::string>{""});
  EXPECT_EQ(join({"a", "b", "c"}, ", "), "a, b, c");
  EXPECT_EQ(trim(" \t a b \n"), "a b");
  EXPECT_EQ(trim("  "), "");
  EXPECT_EQ(to_lower("AbZ1"), "abz1");
}

TEST(Text, Parses) {
  EXPECT_EQ(parse_int("-12"), -12);
  EXPECT_EQ(parse_int("+12"), 12);
  EXPECT_FALSE(parse_int("12x"));
  EXPECT_FALSE(parse_int(""));
  EXPECT_FALSE(parse_int("+-1"));
  EXPECT_FALSE(parse_int("9223372036854775808"));
  EXPECT_EQ(parse_int("-9223372036854775808"), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(parse_double("1e-3"), 1e-3);
  EXPECT_FALSE(parse_double("1e-3 "));
  EXPECT_TRUE(std::isinf(*parse_double("inf")));
}

TEST(Text, SizesOfPeople) {
  const std::pair<const char*, int64_t> kGood[] = {{"0", 0},
                                                   {"512", 512},
                                                   {"16GB", 16'000'000'000},
                                                   {"16 gb", 16'000'000'000},
                                                   {"16G", 16'000'000'000},
                                                   {"1.5k", 1500},
                                                   {"2KiB", 2048},
                                                   {"2Mi", 2 << 20},
                                                   {"1T", 1'000'000'000'000},
                                                   {"7B", 7}};
  for (const auto& [text, bytes] : kGood) EXPECT_EQ(parse_bytes(text), bytes) << text;
  for (const char* text : {"", "GB", "-1", "1X", "1GG", "1iB", "1 2", "1e9GB", "9999999999TB",
                           "1.2.3", ".", "nan", "inf"})
    EXPECT_EQ(parse_bytes(text), std::nullopt) << text;
}

TEST(Text, DurationsOfPeople) {
  const std::pair<const char*, double> kGood[] = {
      {"90", 90},         {"1.5", 1.5},           {"2h", 7200},         {"1d12h", 129600},
      {"1h 30m", 5400},   {"10 s", 10},           {"250ms", 0.25},      {"1w", 604800},
      {"01:02:03", 3723}, {"2-01:00:00", 176400}, {"100:00:00", 360000}};
  for (const auto& [text, seconds] : kGood) EXPECT_EQ(parse_duration(text), seconds) << text;
  for (const char* text : {"", "h", "-1", "1x", "30m1h", "1h1h", "1h30", "5:30", "1:60:00", "1:1:1",
                           "1-24:00:00", "1-", "::", "+1:00:00", "1:+1:00", "nan", "1e3h"})
    EXPECT_EQ(parse_duration(text), std::nullopt) << text;
}

TEST(Text, HumanFigures) {
  EXPECT_EQ(human_bytes(0), "0 B");
  EXPECT_EQ(human_bytes(999), "999 B");
  EXPECT_EQ(human_bytes(999999), "1 MB");
  EXPECT_EQ(human_bytes(12300000), "12.3 MB");
  EXPECT_EQ(human_count(4500), "4.5k");
  EXPECT_EQ(human_count(124e6), "124M");
  EXPECT_EQ(human_duration(200), "3m 20s");
  EXPECT_EQ(human_duration(59.99), "1m 0s");
  EXPECT_EQ(human_duration(7260), "2h 1m");
  EXPECT_EQ(human_duration(0.0042), "4.2 ms");
}

TEST(Text, NearestName) {
  std::vector<std::string> names = {"learning_rate", "steps", "batch"};
  EXPECT_EQ(nearest("lerning_rate", names), "learning_rate");
  EXPECT_EQ(nearest("setps", names), "steps");
  EXPECT_EQ(nearest("BATCH", names), "batch");
  EXPECT_FALSE(nearest("optimizer", names));
  EXPECT_FALSE(nearest("x", names));
}

TEST(Text, Utf8RoundTrip) {
  for (char32_t c = 0; c <= 0x10FFFF; ++c) {
    if (c == 0xD800) c = 0xE000;
    std::string s;
    utf8_append(s, c);
    ASSERT_EQ(utf8_length(s), static_cast<int>(s.size()));
    ASSERT_TRUE(utf8_decode(s) == c);
  }
}

TEST(Text, Utf8Invalid) {
  for (const char* bad : {"\x80", "\xC0\x80", "\xC1\xBF", "\xE0\x80\x80", "\xED\xA0\x80",
                          "\xF4\x90\x80\x80", "\xF8\x88\x80\x80\x80", "\xE4\xB8", "\xFF"})
    EXPECT_FALSE(utf8_valid(bad)) << bad;
  EXPECT_TRUE(utf8_valid("plain \xE4\xB8\xAD\xE6\x96\x87 \xF0\x9F\x98\x80"));
}

TEST(Text, Utf8RepairCountsMaximalParts) {
  const std::string kMark = "\xEF\xBF\xBD";
  int64_t n = -1;
  EXPECT_EQ(utf8_repair("ok", &n), "ok");
  EXPECT_EQ(n, 0);
  // A cut three-byte character is one part; a surrogate is three.
  EXPECT_EQ(utf8_repair("a\xE4\xB8z", &n), "a" + kMark + "z");
  EXPECT_EQ(n, 1);
  EXPECT_EQ(utf8_repair("\xED\xA0\x80", &n), kMark + kMark + kMark);
  EXPECT_EQ(n, 3);
  // The example of the Unicode standard, table 3-11.
  EXPECT_EQ(utf8_repair("\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41", &n),
            kMark + kMark + kMark + kMark + "A");
  EXPECT_EQ(n, 4);
}

TEST(Text, HtmlEscape) {
  EXPECT_EQ(html_escape("<a b=\"c\">&'"), "&lt;a b=&quot;c&quot;&gt;&amp;&#39;");
}

}  // namespace
}  // namespace wellspring
