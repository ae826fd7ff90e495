#include "cluster/launch/spec.h"

#include <gtest/gtest.h>

#include <functional>
#include <random>

#include "cluster/launch/fields.h"

namespace wellspring::cluster::launch {
namespace {

Spec whole_spec() {
  Spec s;
  s.container = {
      Kind::cgroup2, "17-9f3a", "/sys/fs/cgroup/x/l1", {"/sys/fs/cgroup/memory/x/l1"}, 0, 0};
  s.limits = {{"/sys/fs/cgroup/memory/x/l1/memory.limit_in_bytes", "1048576"}};
  s.memory_events = "/sys/fs/cgroup/memory/x/l1/memory.oom_control";
  s.identity = {1001, 1002, {1002, 27}};
  s.argv = {"/bin/sh", "-c", "echo 'a\nb'", ""};
  s.folder = "/runs/team/1";
  s.attempt_folder = "/runs/team/1/attempts/1";
  s.files = {{"/runs/team/1/owner", std::string("a\0b", 3)}, {"/runs/x", ""}};
  s.secrets = {{"key", std::string("\0\1\2", 3)}};
  s.secrets_folder = "/dev/shm/wellspring-x";
  s.prepare = "tar xf a";
  s.prepare_env = {"A=1"};
  s.tasks = {{0, {"RANK=0", "EMPTY="}, {0, 1}}, {5, {}, {}}};
  s.binds = {{"/a", "/b", true}, {"/c", "/d", false}, {"/e", "/e", false, true}};
  s.within = {{"/a", "/c"}, {}, {"/"}};
  s.shielded = {"/proc", "/var/lib/wellspring"};
  s.grace = 1.5;
  s.time_limit = 3600;
  s.log_limit = 1 << 20;
  s.barrier = s.reset_oom_score = true;
  return s;
}

TEST(LaunchSpec, RoundTrip) {
  Spec s = whole_spec(), back;
  std::string error, bytes = format_spec(s);
  ASSERT_TRUE(parse_spec(bytes, &back, &error)) << error;
  EXPECT_EQ(format_spec(back), bytes);
  EXPECT_EQ(back.files, s.files);
  EXPECT_EQ(back.secrets, s.secrets);
  EXPECT_EQ(back.argv, s.argv);
  EXPECT_EQ(back.tasks[0].cores, s.tasks[0].cores);
  EXPECT_EQ(back.tasks[1].rank, 5);
  EXPECT_EQ(back.identity.groups, s.identity.groups);
  EXPECT_TRUE(back.binds[0].read_only);
  EXPECT_TRUE(back.binds[2].in_place && !back.binds[1].in_place);
  EXPECT_EQ(back.within, s.within);
  EXPECT_EQ(back.shielded, s.shielded);
  EXPECT_DOUBLE_EQ(back.grace, 1.5);
}

TEST(LaunchSpec, CommandsBesideATask) {
  const Beside given{3, true, "echo 'a\nb'"};
  Beside back;
  ASSERT_TRUE(parse_beside(format_beside(given), &back));
  EXPECT_EQ(back.rank, 3);
  EXPECT_TRUE(back.terminal);
  EXPECT_EQ(back.command, given.command);
  using namespace std::string_view_literals;
  for (std::string_view bad : {""sv, "3"sv, "3\0"sv, "x\0001\0a"sv, "-1\0001\0a"sv, "3\0002\0a"sv, "3\0001\0a\0b"sv})
    EXPECT_FALSE(parse_beside(bad, &back));
}

TEST(LaunchSpec, EveryCutIsRefused) {
  std::string bytes = format_spec(whole_spec()), error;
  Spec s;
  for (size_t n = 0; n < bytes.size(); n++)
    EXPECT_FALSE(parse_spec(bytes.substr(0, n), &s, &error)) << n;
  EXPECT_FALSE(parse_spec(bytes + "x", &s, &error));
  EXPECT_NE(error.find("longer"), std::string::npos);
}

TEST(LaunchSpec, WrongFieldsAreRefused) {
  auto refused = [](const std::function<void(Spec&)>& change) {
    Spec s = whole_spec(), back;
    std::string error;
    change(s);
    EXPECT_FALSE(parse_spec(format_spec(s), &back, &error));
    EXPECT_FALSE(error.empty());
  };
  refused([](Spec& s) { s.container.token = "../x"; });
  refused([](Spec& s) { s.container.cgroup2 = "relative"; });
  refused([](Spec& s) { s.container.cgroup2 = ""; });
  refused([](Spec& s) { s.container.kind = static_cast<Kind>(9); });
  refused([](Spec& s) { s.identity.uid = 0; });  // never root
  refused([](Spec& s) { s.argv.clear(); });
  refused([](Spec& s) { s.argv[1] = std::string("a\0b", 3); });
  refused([](Spec& s) { s.folder = "/a/../b"; });
  refused([](Spec& s) { s.attempt_folder = ""; });
  refused([](Spec& s) { s.files[0].first = "owner"; });
  refused([](Spec& s) { s.secrets[0].first = "a/b"; });
  refused([](Spec& s) { s.secrets_folder = ""; });
  refused([](Spec& s) { s.tasks.clear(); });
  refused([](Spec& s) { s.tasks[0].env = {"=x"}; });
  refused([](Spec& s) { s.tasks[0].env = {"NOTHING"}; });
  refused([](Spec& s) { s.binds[0].source = "x"; });
  refused([](Spec& s) { s.within[0][0] = "a"; });
  refused([](Spec& s) { s.within[0][0] = "/a/../b"; });
  refused([](Spec& s) { s.shielded[0] = "proc"; });
  refused([](Spec& s) { s.log_limit = 1; });
  refused([](Spec& s) { s.grace = -1; });
}

TEST(LaunchSpec, ChangedBytesNeverBreakTheParser) {
  std::mt19937 random(1);
  std::string bytes = format_spec(whole_spec());
  for (int i = 0; i < 20000; i++) {
    std::string changed = bytes;
    for (unsigned k = 0; k < 1 + random() % 4; k++)
      changed[random() % changed.size()] = static_cast<char>(random());
    Spec s;
    std::string error;
    // What is taken is sound: it can be written and read again.
    if (!parse_spec(changed, &s, &error)) continue;
    Spec again;
    EXPECT_TRUE(parse_spec(format_spec(s), &again, &error)) << error;
    EXPECT_NE(s.identity.uid, 0);
  }
}

TEST(LaunchSpec, HeaderAndEnd) {
  Header h;
  h.container = whole_spec().container;
  h.container.init = 4711;
  h.container.init_start = 99;
  h.identity = {1001, 1002, {}};
  h.launcher = 12;
  h.user = "team";
  h.attempt_folder = "/runs/a";
  h.ranks = {0, 1, 7};
  Header back;
  ASSERT_TRUE(parse_header(format_header(h), &back));
  EXPECT_EQ(format_header(back), format_header(h));
  EXPECT_EQ(back.ranks, h.ranks);
  EXPECT_FALSE(parse_header("", &back));
  End e = {4, 9, 0, 3, 1.7e9, 1.7e9 + 5, 5.25, 2.5, 1 << 20, std::string("a\0b", 3)};
  End end;
  ASSERT_TRUE(parse_end(format_end(e), &end));
  EXPECT_EQ(format_end(end), format_end(e));
  EXPECT_EQ(end.reason, e.reason);
  EXPECT_FALSE(parse_end("1", &end));
}

TEST(LaunchSpec, Numbers) {
  int64_t n = 0;
  for (const char* text :
       {"", "-", "1x", " 1", "1 ", "99999999999999999999", "9223372036854775808", "+1"})
    EXPECT_FALSE(read_number(text, INT64_MIN, INT64_MAX, &n)) << text;
  EXPECT_TRUE(read_number("9223372036854775807", 0, INT64_MAX, &n));
  EXPECT_EQ(n, INT64_MAX);
  EXPECT_TRUE(read_number("-5", -5, 5, &n));
  EXPECT_FALSE(read_number("6", -5, 5, &n));
}

}  // namespace
}  // namespace wellspring::cluster::launch
