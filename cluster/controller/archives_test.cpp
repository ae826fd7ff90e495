// What goes from the folder of archives, and when.
#include "cluster/controller/archives.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include "base/crypto.h"
#include "base/file.h"
#include "base/time.h"
#include "cluster/controller/access.h"

namespace wellspring::cluster {
namespace {

void age(const std::string& path, double days) {
  timespec times[2] = {};
  times[0].tv_sec = times[1].tv_sec = static_cast<time_t>(unix_seconds() - days * 86400);
  ASSERT_EQ(::utimensat(AT_FDCWD, path.c_str(), times, 0), 0);
}

TEST(Archives, KeepsWhatIsUsedOrNew) {
  TemporaryFolder folder;
  Archives archives(folder.path(), {});
  const auto put = [&](const std::string& text) {
    const std::string hash = hex(sha256(text));
    EXPECT_TRUE(archives.take("red", hash, "a", 0, static_cast<int64_t>(text.size()), text));
    return hash;
  };
  const std::string used = put("used"), unused = put("unused"), fresh = put("fresh");
  EXPECT_FALSE(archives.take("red", hex(sha256("begun")), "a", 0, 100, "beg"));
  const std::string begun = archives.path("red", hex(sha256("begun"))) + ".part-a";
  for (const std::string& path : {archives.path("red", used), archives.path("red", unused), begun}) age(path, 2);
  archives.clean({"red/" + used});
  EXPECT_TRUE(archives.have("red", used));
  EXPECT_TRUE(archives.have("red", fresh));
  EXPECT_FALSE(archives.have("red", unused));
  EXPECT_FALSE(exists(begun));
  // Somebody asked for it and is about to use it.
  age(archives.path("red", fresh), 2);
  EXPECT_TRUE(archives.have("red", fresh));
  archives.clean({});
  EXPECT_TRUE(archives.have("red", fresh));
  struct stat s {};
  ASSERT_EQ(::stat(archives.path("red", fresh).c_str(), &s), 0);
  EXPECT_EQ(s.st_mode & 077, 0u);
}

TEST(Archives, LimitsAndDamage) {
  TemporaryFolder folder;
  Archives archives(folder.path(), {.each = 100, .team = 150});
  const auto status = [&](const std::string& team, const std::string& hash, int64_t offset, int64_t total,
                          const std::string& bytes) {
    try {
      return archives.take(team, hash, "a", offset, total, bytes) ? 201 : 200;
    } catch (const ApiError& e) {
      return e.status;
    }
  };
  const std::string text(80, 'x'), hash = hex(sha256(text));
  EXPECT_EQ(status("red", hash, 0, 101, text), 413);
  EXPECT_EQ(status("red", hash, 0, 79, text), 400);
  EXPECT_EQ(status("red", hash, -1, 80, text), 400);
  EXPECT_EQ(status("red", hash, 0, 80, std::string(80, 'y')), 400);  // another hash
  // In any order of parts, again and again; the last one tells.
  EXPECT_EQ(status("red", hash, 40, 90, text.substr(40)), 200);
  EXPECT_EQ(status("red", hash, 0, 80, text.substr(0, 40)), 200);
  EXPECT_EQ(status("red", hash, 0, 80, text.substr(0, 40)), 200);
  EXPECT_EQ(status("red", hash, 40, 80, text.substr(40)), 201);
  EXPECT_TRUE(archives.have("red", hash));
  // All of a team's, with what is coming; another team has its own.
  EXPECT_EQ(status("red", hex(sha256("z")), 0, 80, "z"), 413);
  EXPECT_EQ(status("blue", hex(sha256("z")), 0, 80, "z"), 200);
}

}  // namespace
}  // namespace wellspring::cluster
