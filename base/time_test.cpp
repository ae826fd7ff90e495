#include "base/time.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace wellspring {
namespace {

TEST(Time, FormatsAndParsesUtc) {
  EXPECT_EQ(format_utc(0), "1970-01-01T00:00:00Z");
  EXPECT_EQ(format_utc(951782400), "2000-02-29T00:00:00Z");
  EXPECT_EQ(format_utc(1.9996, true), "1970-01-01T00:00:02.000Z");
  EXPECT_EQ(format_utc(1.9996), "1970-01-01T00:00:01Z");
  EXPECT_EQ(parse_utc("2000-02-29T00:00:00Z"), 951782400);
  EXPECT_DOUBLE_EQ(parse_utc("1970-01-01T00:00:01.250Z"), 1.25);
  for (const char* bad : {"", "2000-02-30T00:00:00Z", "2000-13-01T00:00:00Z", "2000-02-29T00:00:00",
                          "2000-02-29T00:00:00.1Z", "2000-2-29T00:00:00Z", "2000-02-29T00:00:00Zx",
                          "2000-02-29T00:00:00.abcZ"})
    EXPECT_THROW(parse_utc(bad), Error) << bad;
}

TEST(Time, ClocksRun) {
  Stopwatch watch;
  sleep_seconds(0.01);
  EXPECT_GE(watch.seconds(), 0.01);
  EXPECT_GT(unix_seconds(), 1.6e9);
  EXPECT_GE(cpu_seconds(), 0);
}

}  // namespace
}  // namespace wellspring
