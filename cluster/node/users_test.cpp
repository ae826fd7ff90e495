// Teams are separate system users: two real ones, each trying what it must not.
#include <grp.h>
#include <gtest/gtest.h>
#include <pwd.h>
#include <sys/syscall.h>

#include "base/process.h"
#include "cluster/node/test_executions.h"

namespace wellspring::cluster {
namespace {

struct SystemUser {
  std::string name;
  bool made = false;
  explicit SystemUser(const std::string& suffix)
      : name(str("wst", static_cast<int>(getpid()), suffix)) {
    made =
        run_process({"useradd", "--system", "--no-create-home", "--shell", "/bin/sh", name}).ok();
  }
  ~SystemUser() {
    if (made) run_process({"userdel", name});
  }
  void own(const std::string& path) const {
    passwd* p = getpwnam(name.c_str());
    ASSERT_NE(p, nullptr);
    ASSERT_EQ(chown(path.c_str(), p->pw_uid, p->pw_gid), 0);
  }
};

class Users : public testing::Test {
 protected:
  void SetUp() override {
    if (geteuid() != 0) GTEST_SKIP() << "needs root to make system users";
    a_ = std::make_unique<SystemUser>("a");
    b_ = std::make_unique<SystemUser>("b");
    if (!a_->made || !b_->made) GTEST_SKIP() << "useradd does not work here";
  }
  LaunchSpec spec(const Bench& bench, const SystemUser& user, const std::string& token,
                  const std::string& command) {
    std::string team = bench.runs + "/" + user.name;
    if (!exists(team)) {
      make_directories(team);
      user.own(team);
      EXPECT_EQ(chmod(team.c_str(), 0700), 0);
    }
    LaunchSpec s = bench.spec(token, command);
    s.user = user.name;
    s.folder = team + "/" + token;
    s.attempt_folder = s.folder + "/attempts/1";
    s.files = {{s.folder + "/owner", token}};
    return s;
  }
  std::unique_ptr<SystemUser> a_, b_;
};

TEST_F(Users, RunsAsTheUserAlone) {
  for (Means means : working_means()) {
    SCOPED_TRACE(std::string(means_name(means)));
    Bench bench(means);
    LaunchSpec s = spec(bench, *a_, "who",
                        "id -un; id -Gn; echo $USER $LOGNAME; grep NoNewPrivs /proc/self/status; "
                        "grep CapEff /proc/self/status; stat -c %U . owner");
    ASSERT_EQ(bench.run(s).status, 0) << bench.events["who"].back().reason;
    const std::string& n = a_->name;
    EXPECT_EQ(bench.log("who"),
              str(n, "\n", n, "\n", n, " ", n, "\nNoNewPrivs:\t1\nCapEff:\t0000000000000000\n", n,
                  "\n", n, "\n"));
    struct stat log;
    ASSERT_EQ(stat((s.attempt_folder + "/log.0.txt").c_str(), &log), 0);
    EXPECT_EQ(log.st_uid, getpwnam(n.c_str())->pw_uid);
  }
}

TEST_F(Users, OneTeamReachesNothingOfTheOther) {
  Bench bench;
  LaunchSpec s = spec(bench, *a_, "mine", "echo $WELLSPRING_SECRETS; exec sleep 60");
  s.secrets = {{"key", "the-secret-of-a"}};
  s.env = {{"IN_ENVIRONMENT", "the-secret-of-a"}};
  bench.executions->start(s);
  ASSERT_TRUE(bench.until([&] { return !bench.log("mine").empty(); }));
  bench.wait("mine", Event::running);
  std::string secrets(trim(bench.log("mine")));
  ExecutionState state = *bench.executions->state("mine");
  std::string spool = bench.folder.path() + "/spool", pid = str(state.tasks[0].pid);
  std::string launcher = str(state.launcher_pid);
  std::vector<std::string> tries = {"ls " + spool,
                                    "cat " + spool + "/attempts/mine",
                                    "ls " + s.folder,
                                    "cat " + s.folder + "/owner",
                                    "cat " + s.attempt_folder + "/log.0.txt",
                                    "ls " + secrets,
                                    "cat " + secrets + "/key",
                                    "cat /proc/" + pid + "/environ",
                                    "cat /proc/" + launcher + "/environ",
                                    "ls /proc/" + launcher + "/fd",
                                    "cat /proc/" + pid + "/root" + secrets + "/key",
                                    "kill -9 " + pid,
                                    "kill -9 " + launcher,
                                    "touch " + s.folder + "/mine",
                                    str("perl -e 'exit(syscall(", static_cast<int>(SYS_ptrace),
                                        ", 16, ", pid, ", 0, 0) == 0 ? 0 : 1)'"),
                                    str("perl -e 'exit(syscall(", static_cast<int>(SYS_ptrace),
                                        ", 16, ", launcher, ", 0, 0) == 0 ? 0 : 1)'")};
  std::string script;
  for (const std::string& line : tries)
    append(script,
           str("if ", line, "; then echo 'REACHED: ", str(&line - tries.data()), "'; fi\n"));
  EXPECT_EQ(bench.run(spec(bench, *b_, "theirs", script + "echo tried")).status, 0);
  std::string log = bench.log("theirs");
  EXPECT_EQ(log.find("REACHED"), std::string::npos) << log;
  EXPECT_EQ(log.find("the-secret-of-a"), std::string::npos) << log;
  EXPECT_TRUE(ends_with(log, "tried\n")) << log;
  EXPECT_TRUE(alive(state.tasks[0].pid));
  bench.executions->stop("mine", 5, "");
  bench.wait("mine");
  EXPECT_FALSE(exists(secrets));
}

TEST_F(Users, FilesAreWrittenWithTheUsersRights) {
  Bench bench;
  LaunchSpec s = spec(bench, *a_, "theirs", "true");
  spec(bench, *b_, "unused", "");  // b's folder
  s.files = {{bench.runs + "/" + b_->name + "/planted", "x"}};
  Event e = bench.run(s);
  EXPECT_EQ(e.outcome, Ending::not_started);
  EXPECT_NE(e.reason.find("planted"), std::string::npos) << e.reason;
  EXPECT_FALSE(exists(bench.runs + "/" + b_->name + "/planted"));
  s = spec(bench, *a_, "etc", "true");
  s.attempt_folder = "/etc/wellspring-test";
  s.argv = {"/bin/echo", "x"};
  EXPECT_EQ(bench.run(s).status, 0);  // the log has no place; the attempt runs
  EXPECT_FALSE(exists("/etc/wellspring-test"));
  s = spec(bench, *a_, "mounted", "cat $T/secret");
  make_directories(bench.runs + "/" + b_->name + "/in");
  write_file_atomic(bench.runs + "/" + b_->name + "/in/secret", "of b\n");
  s.env = {{"T", bench.folder.path() + "/mnt"}};
  make_directories(bench.folder.path() + "/mnt");
  s.mounts = {{bench.runs + "/" + b_->name + "/in", bench.folder.path() + "/mnt", true}};
  EXPECT_EQ(bench.run(s).outcome, Ending::not_started);  // a cannot reach what it asks to see
}

TEST_F(Users, ALinkInPlaceOfTheLogShowsNothing) {
  Bench bench;
  std::string mine = bench.folder.path() + "/of-root";
  write_file_atomic(mine, "of root\n");
  LaunchSpec s = spec(bench, *a_, "link",
                      str("echo x; sleep 0.1; rm attempts/1/log.0.txt; ln -s ", mine,
                          " attempts/1/log.0.txt; ln ", mine, " attempts/1/log.1.txt; true"));
  ASSERT_EQ(bench.run(s).status, 0);
  EXPECT_EQ(bench.log("link"), "");
  EXPECT_EQ(Executions::read_log_in(s.attempt_folder, a_->name, 0, 0, 100).data, "");
  // The whole folder exchanged for one with files of the same names.
  std::string trap = bench.folder.path() + "/trap";
  make_directories(trap);
  write_file_atomic(trap + "/log.0.txt", "of root\n");
  s = spec(bench, *a_, "folder",
           str("echo x; sleep 0.1; mv attempts/1 away; ln -s ", trap, " attempts/1"));
  ASSERT_EQ(bench.run(s).status, 0);
  EXPECT_EQ(bench.log("folder"), "");
}

TEST_F(Users, RootAndUnknownUsersAreRefused) {
  Bench bench;
  LaunchSpec s = bench.spec("root", "true");
  s.user = "root";
  expect_error([&] { bench.executions->start(s); }, Fault::config, "root");
  s.user = "no-such-user-here";
  expect_error([&] { bench.executions->start(s); }, Fault::config, "no-such-user-here");
  EXPECT_TRUE(bench.executions->switches_users());
  EXPECT_FALSE(bench.executions->used("root"));
}

}  // namespace
}  // namespace wellspring::cluster
