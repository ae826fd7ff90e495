#include "cluster/job/ignore.h"

#include <gtest/gtest.h>

#include <random>
#include <set>

#include "base/file.h"
#include "base/process.h"
#include "base/text.h"
#include "base/time.h"

namespace wellspring::cluster {
namespace {

TEST(Ignore, Rules) {
  const struct {
    const char *rules, *path;
    bool folder, ignored;
  } kCases[] = {
      {"a", "a", false, true},
      {"a", "x/a", false, true},
      {"a", "ab", false, false},
      {"a/", "a", false, false},
      {"a/", "a", true, true},
      {"a/", "x/a", true, true},
      {"/a", "a", false, true},
      {"/a", "x/a", false, false},
      {"a/b", "a/b", false, true},
      {"a/b", "x/a/b", false, false},
      {"*.pt", "x/y.pt", false, true},
      {"*.pt\n!keep.pt", "keep.pt", false, false},
      {"!keep.pt\n*.pt", "keep.pt", false, true},
      {"x/*", "x/a", false, true},
      {"x/*", "x/a/b", false, false},
      {"**/a", "a", false, true},
      {"**/a", "x/y/a", false, true},
      {"a/**", "a", true, false},
      {"a/**", "a/b/c", false, true},
      {"a/**/b", "a/b", false, true},
      {"a/**/b", "a/x/y/b", false, true},
      {"a/**/b", "a/xb", false, false},
      {"a**b", "axxb", false, true},
      {"a?c", "abc", false, true},
      {"a[b-d]e", "ace", false, true},
      {"a[!b-d]e", "ace", false, false},
      {"a[[:digit:]]", "a7", false, true},
      {"a[", "a[", false, false},
      {"\\#x", "#x", false, true},
      {"#x", "#x", false, false},
      {"\\!x", "!x", false, true},
      {"a  ", "a", false, true},
      {"a\\ ", "a ", false, true},
      {"a\r", "a", false, true},
      {"", "a", false, false},
      {"/", "a", false, false},
  };
  for (const auto& c : kCases) {
    IgnoreRules rules;
    rules.add(c.rules);
    EXPECT_EQ(rules.ignored(c.path, c.folder), c.ignored) << c.rules << " on " << c.path;
  }
}

TEST(Ignore, NoPatternIsSlow) {
  std::string pattern;
  for (int i = 0; i < 100; ++i) pattern += "*a";
  IgnoreRules rules;
  rules.add(pattern + "b");
  Stopwatch watch;
  EXPECT_FALSE(rules.ignored(std::string(250, 'a'), false));
  EXPECT_LT(watch.seconds(), 1);
}

// Random rules on random paths: what git says.
TEST(Ignore, IsWhatGitDoes) {
  ProcessResult version;
  try {
    version = run_process({"git", "--version"});
  } catch (const Error&) {
    GTEST_SKIP() << "no git";
  }
  TemporaryFolder folder;
  const auto git = [&](std::vector<std::string> argv, const std::string& input) {
    ProcessOptions options;
    options.argv = {"git", "-c", "core.excludesFile=/dev/null"};
    options.argv.insert(options.argv.end(), argv.begin(), argv.end());
    options.folder = folder.path();
    options.input = input;
    options.environment = {{"GIT_DIR", std::nullopt}, {"GIT_WORK_TREE", std::nullopt}};
    return run_process(options);
  };
  ASSERT_TRUE(git({"init", "-q"}, "").ok());
  // Paths of folders a, b, ab and files of the same names, three deep.
  const std::vector<std::string> names = {"a", "b", "ab"};
  std::vector<std::pair<std::string, bool>> paths;  // and whether it is a folder
  for (const std::string& x : names) {
    paths.emplace_back(x, true);
    for (const std::string& y : names) {
      paths.emplace_back(str(x, "/", y), true);
      for (const std::string& z : names) paths.emplace_back(str(x, "/", y, "/", z), false);
      paths.emplace_back(str(x, "/", y, "/a.b"), false);
    }
  }
  for (const auto& [path, is_folder] : paths) {
    const std::string full = join_path(folder.path(), path);
    make_directories(is_folder ? full : parent_path(full));
    if (!is_folder) write_file_atomic(full, "");
  }
  std::string input;
  for (const auto& [path, is_folder] : paths) input += path + "\n";

  const std::vector<std::string> parts = {"a", "b", "ab", "*",   "**",   "/",   "/",   "/**/", "?",
                                          "!", ".", "a*", "[a]", "[!a]", "\\a", "**/", "[a-b]"};
  std::mt19937 random(5);
  int ignored = 0;
  for (int round = 0; round < 100; ++round) {
    std::string rules;
    for (unsigned n = 1 + random() % 3; n > 0; --n) {
      for (unsigned k = 1 + random() % 4; k > 0; --k) rules += parts[random() % parts.size()];
      rules += "\n";
    }
    // "a**/b": by its manual two ordinary stars, but git cuts off what it compares as plain text
    // before it looks at the stars.
    bool unclear = false;
    for (size_t at = rules.find("**"); at != rules.npos; at = rules.find("**", at + 1))
      unclear |= at > 0 && std::string_view("/\n!*").find(rules[at - 1]) == std::string_view::npos;
    if (unclear) continue;
    write_file_atomic(join_path(folder.path(), ".gitignore"), rules);
    const ProcessResult result = git({"check-ignore", "--no-index", "--stdin"}, input);
    ASSERT_LE(result.status, 1) << result.error;
    std::set<std::string> theirs;
    for (const std::string& line : split(result.output, '\n'))
      if (!line.empty()) theirs.insert(line);
    IgnoreRules ours;
    ours.add(rules);
    std::set<std::string> gone;
    for (const auto& [path, is_folder] : paths) {
      if (gone.count(parent_path(path)) || ours.ignored(path, is_folder)) gone.insert(path);
      ASSERT_EQ(gone.count(path), theirs.count(path)) << "rules:\n" << rules << "path " << path;
    }
    ignored += static_cast<int>(gone.size());
  }
  EXPECT_GT(ignored, 500);
}

}  // namespace
}  // namespace wellspring::cluster
