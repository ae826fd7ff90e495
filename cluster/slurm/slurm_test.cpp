// The executor on a live Slurm, with the transitions of the real state.

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <csignal>
#include <mutex>

#include "base/fault_point.h"
#include "base/file.h"
#include "base/json.h"
#include "base/test_error.h"
#include "cluster/slurm/account.h"
#include "cluster/slurm/executor.h"
#include "cluster/slurm/script.h"
#include "cluster/slurm/test_slurm.h"
#include "cluster/state/test_state.h"

namespace wellspring::cluster {
namespace {

constexpr const char* kUser = "games";  // of team red, in every Debian

class OnSlurm : public ::testing::Test {
 protected:
  void SetUp() override {
    if (const std::string why = TestSlurm::missing(); !why.empty()) GTEST_SKIP() << why;
    slurm = &TestSlurm::shared();
    static int next = 0;
    ++next;
    cluster.tokens = next * 1000;  // no token twice in one Slurm
    cluster.state.numbers().next_job = next * 1000;
    cluster.state.numbers().next_attempt = next * 1000;
    cluster.state.teams.edit("red").system_user = kUser;
    cluster.state.keep_command();
    options.name = "slurm";
    options.conf = slurm->conf();
    options.runs = slurm->runs();
    options.poll = 0.2, options.settle = 0.5, options.nodes_every = 0.5;
  }
  void TearDown() override {
    executor.reset();
    if (slurm) slurm->run({"scancel", str("--user=", kUser)});
  }

  Reports reports() {
    Reports r;
    r.tell = [this](const std::vector<Report>& list) {
      std::lock_guard lock(mutex);
      if (full) throw Error(Fault::try_again, "the state cannot be written");
      cluster.run([&](Change& c) { take_reports(c, options.name, list); });
      carry_out();
    };
    r.nodes = [this](const std::string& name, const std::vector<Node>& nodes) {
      std::lock_guard lock(mutex);
      cluster.run([&](Change& c) { take_nodes(c, name, nodes); });
    };
    r.active = [this](const std::string&) {
      std::lock_guard lock(mutex);
      std::vector<Launch> all;
      for (const int64_t serial : cluster.state.active()) all.push_back(launch_of(serial));
      return all;
    };
    return r;
  }
  Launch launch_of(int64_t serial) {
    Launch l;
    l.attempt = cluster.state.attempts.at(serial);
    l.job = cluster.state.jobs.at(l.attempt.job);
    l.system_user = cluster.state.teams.at(l.job.team).system_user;
    l.addresses.resize(l.attempt.parts.size());
    l.secrets = secrets;
    return l;
  }
  // What the controller does after a commit.
  void carry_out() {
    const Effects e = std::exchange(cluster.effects, {});
    if (!executor) return;
    for (const int64_t serial : e.start) executor->start(launch_of(serial));
    for (const auto& s : e.stop)
      executor->stop(cluster.state.attempts.at(s.attempt), s.node, s.grace, s.reason);
  }
  void begin() {
    executor = std::make_unique<SlurmExecutor>(options, ChipTable::built_in(), reports());
    EXPECT_TRUE(wait_for([&] { return cluster.state.connected.size() == 6; }))
        << executor->trouble() << slurm->run({"sinfo", "--Node", "--long"});
  }
  template <class F>
  bool wait_for(F&& f, double seconds = 20) {
    const Stopwatch watch;
    while (true) {
      {
        std::lock_guard lock(mutex);
        if (f()) return true;
      }
      if (watch.seconds() > seconds) return false;
      sleep_seconds(0.02);
    }
  }
  void round() {
    std::lock_guard lock(mutex);
    cluster.now += 10;  // over any back-off
    cluster.round();
    carry_out();
  }
  JobSpec spec(const std::string& command, int count = 1, int nodes = 1, int tasks = 1,
               const std::string& chip = "a100") {
    JobSpec s = cluster.spec("red", count, ChipTable::built_in().get(chip).name);
    s.accepted[0].nodes = nodes, s.accepted[0].tasks_per_node = tasks;
    s.command = command;
    s.checkpoint.grace = 2;
    return s;
  }
  JobId submit(JobSpec s) {
    JobId id = 0;
    {
      std::lock_guard lock(mutex);
      id = cluster.submit(std::move(s));
    }
    round();
    return id;
  }
  // Two nodes with two tasks each, and one of another chip.
  JobId submit_two_shapes(JobSpec s) {
    std::lock_guard lock(mutex);
    const JobId made = cluster.submit(std::move(s));
    cluster.round();
    cluster.effects = {};
    const Launch l = launch_of(cluster.attempt(made).serial);
    executor->start(l, {{.nodes = 2, .tasks_per_node = 2, .gres = "gpu:a100:2", .chip = "a100"},
                        {.nodes = 1,
                         .tasks_per_node = 1,
                         .cpus_per_task = 4,
                         .gres = "gpu:mlu370:8",
                         .chip = "mlu370"}});
    return made;
  }
  Job job(JobId id) {
    std::lock_guard lock(mutex);
    return cluster.job(id);
  }
  Attempt attempt(JobId id) {
    std::lock_guard lock(mutex);
    const Attempt* a = cluster.state.attempts.find(cluster.job(id).attempt);
    if (!a)
      ADD_FAILURE() << "job " << id << " has not been placed: " << cluster.state.waits[id].reason;
    return a ? *a : Attempt();
  }
  void expect(JobId id, JobState state, double seconds = 20) {
    const Stopwatch watch;
    bool there = false;
    while (!there && watch.seconds() < seconds) {
      there = wait_for([&] { return cluster.job(id).state == state; }, 0.5);
      // Nodes that did not answer Slurm for a moment got nothing.
      if (!there && job(id).state == JobState::queued && !job(id).attempts) round();
    }
    EXPECT_TRUE(there) << name_of(job(id).state) << ": " << job(id).reason << "; "
                       << attempt(id).outside << "\n"
                       << text(id, "slurm.out") << nodes_shown()
                       << slurm->run({"squeue", "--all", "--states=all"});
  }
  std::string nodes_shown() {
    std::lock_guard lock(mutex);
    std::string out = executor->trouble() + "\n";
    for (const auto& [name, node] : cluster.state.nodes.rows())
      out += str(name, node.down ? " down " : " up ", node.note, "\n");
    return out;
  }
  std::string text(JobId id, const std::string& name) {
    const std::string path = join_path(attempt_folder(attempt(id)), name);
    return exists(path) ? read_file(path) : "";
  }
  std::string log(JobId id, int rank = 0) {
    return executor->log(attempt(id), kUser, rank, 0, 1 << 20, 0).data;
  }
  void cancel(JobId id) {
    std::lock_guard lock(mutex);
    cluster.run([&](Change& c) { cluster::cancel(c, id, "ada"); });
    carry_out();
  }
  // How many jobs Slurm has, or had, of an attempt's name.
  int jobs_named(const Attempt& a) {
    const std::string out = slurm->run({"squeue", "--all", "--noheader", "--states=all",
                                        str("--name=ws-", a.token), "--format=%i"});
    return static_cast<int>(std::ranges::count(out, '\n'));
  }

  TestSlurm* slurm = nullptr;
  SlurmOptions options;
  std::mutex mutex;
  TestCluster cluster;
  std::vector<std::pair<std::string, std::string>> secrets;
  std::atomic<bool> full{false};
  std::unique_ptr<SlurmExecutor> executor;
};

TEST_F(OnSlurm, ShowsItsNodesAsOurs) {
  begin();
  std::lock_guard lock(mutex);
  ASSERT_TRUE(cluster.state.nodes.find("slurm.n1"));
  const Node& n = cluster.state.nodes.at("slurm.n1");
  EXPECT_EQ(n.devices.size(), 4u);
  EXPECT_EQ(n.devices[0].chip, ChipTable::built_in().get("a100").name);
  EXPECT_EQ(n.executor, "slurm");
  EXPECT_EQ(n.pool, "slurm");
  EXPECT_EQ(n.memory_mb, 4000);
  EXPECT_EQ(n.runs, slurm->runs());
  EXPECT_EQ(cluster.state.nodes.at("slurm.m2").devices.size(), 8u);
  EXPECT_EQ(cluster.state.nodes.at("slurm.m2").devices[0].chip,
            ChipTable::built_in().get("mlu370").name);
}

TEST_F(OnSlurm, DrainedNodesAreDownWithTheReason) {
  begin();
  slurm->run({"scontrol", "update", "nodename=n3", "state=drain", "reason=fan broken"});
  EXPECT_TRUE(wait_for([&] { return cluster.state.nodes.at("slurm.n3").down; }));
  {
    std::lock_guard lock(mutex);
    EXPECT_NE(cluster.state.nodes.at("slurm.n3").note.find("fan broken"), std::string::npos);
    EXPECT_FALSE(cluster.state.connected.contains("slurm.n3"));
  }
  slurm->run({"scontrol", "update", "nodename=n3", "state=resume"});
  EXPECT_TRUE(wait_for([&] { return !cluster.state.nodes.at("slurm.n3").down; }));
}

TEST_F(OnSlurm, RunsAsTheTeamsUserAndTellsTheStatus) {
  begin();
  const JobId good = submit(
      spec("echo \"hello from $(id -un) in $PWD, $WELLSPRING_JOB\"; env | sort; echo err >&2", 2));
  const JobId bad = submit(spec("echo bad; exit 7"));
  expect(good, JobState::succeeded);
  expect(bad, JobState::failed);
  EXPECT_EQ(job(good).exit_status, 0);
  EXPECT_EQ(job(bad).exit_status, 7);
  EXPECT_EQ(log(bad), "bad\n");
  const std::string said = log(good), run = attempt(good).run_folder;
  EXPECT_NE(said.find(str("hello from ", kUser, " in ", run, "/work, ", good, "\n")),
            std::string::npos)
      << said;
  EXPECT_NE(said.find("\nerr\n"), std::string::npos);
  for (const std::string& line :
       {str("WELLSPRING_TOKEN=", attempt(good).token), std::string("WELLSPRING_ATTEMPT=1"),
        std::string("WELLSPRING_RANK=0"), std::string("WORLD_SIZE=1"),
        std::string("MASTER_ADDR=127.0.0.1"), std::string("AIRS_SWITCH=1"),
        std::string("AIRS_SIZE=1"), std::string("AIRS_ACCELERATOR_COUNT=2"),
        str("AIRS_ACCELERATOR_MODEL=", attempt(good).chip),
        str("AIRS_HOSTFILE_PATH=", run, "/attempts/1/hostfile"), std::string("HOME=/usr/games"),
        str("USER=", kUser), std::string("SLURM_CPUS_PER_TASK=4")})
    EXPECT_NE(said.find("\n" + line + "\n"), std::string::npos) << line << "\n" << said;
  // Two devices, by Slurm's own means.
  const size_t at = said.find("\nCUDA_VISIBLE_DEVICES=");
  ASSERT_NE(at, std::string::npos);
  EXPECT_EQ(std::ranges::count(said.substr(at + 1, said.find('\n', at + 1) - at), ','), 1);
  EXPECT_EQ(trim(read_file(run + "/owner")), attempt(good).token);
  const Json placement = parse_json(text(good, "placement.json"), "placement.json");
  EXPECT_EQ(placement["token"], attempt(good).token);
  EXPECT_EQ(placement["nodes"].size(), 1u);
  // Where Slurm put it is shown.
  EXPECT_TRUE(starts_with(attempt(good).outside, placement["slurm"].get<std::string>() + " on n"));
  const LogText all = executor->log(attempt(good), kUser, 0, 0, 10, 0);
  EXPECT_EQ(all.data, said.substr(0, 10));
  EXPECT_FALSE(all.over);
  EXPECT_TRUE(executor->log(attempt(good), kUser, 0, all.total, 10, 5).over);
}

TEST_F(OnSlurm, RanksOverTwoNodesAndTheFirstFailureDecides) {
  begin();
  const std::string command =
      "echo $RANK $LOCAL_RANK $WELLSPRING_NODE_RANK $WORLD_SIZE $MASTER_ADDR $WELLSPRING_DEVICES; "
      "echo $SLURMD_NODENAME; cat $WELLSPRING_HOSTFILE; "
      "[ $RANK != 2 ] || exit 5; trap 'echo told; exit 75' TERM; for i in $(seq 100); do sleep "
      "0.1; done";
  const JobId id = submit(spec(command, 8, 2, 2, "mlu370"));
  expect(id, JobState::failed);
  EXPECT_EQ(job(id).exit_status, 5);
  EXPECT_NE(job(id).reason.find("rank 2"), std::string::npos) << job(id).reason;
  EXPECT_EQ(attempt(id).parts.size(), 2u);
  const char* shape[] = {"0 0 0 4", "1 1 0 4", "2 0 1 4", "3 1 1 4"};
  std::vector<std::string> nodes;
  for (int rank = 0; rank < 4; ++rank) {
    const std::string said = log(id, rank);
    const auto lines = split(said, '\n');
    ASSERT_GE(lines.size(), 4u) << rank << ": " << said;
    EXPECT_EQ(lines[0], str(shape[rank], " 127.0.0.1 0,1,2,3,4,5,6,7"));
    nodes.push_back(lines[1]);
    EXPECT_EQ(lines[2], "127.0.0.1 slots=2 type=" + attempt(id).chip);
    EXPECT_EQ(said.find("told") != std::string::npos, rank != 2) << said;
  }
  EXPECT_EQ(nodes[0], nodes[1]);
  EXPECT_NE(nodes[1], nodes[2]);
}

TEST_F(OnSlurm, AJobOfTwoShapes) {
  begin();
  const JobId id = submit_two_shapes(
      spec("echo $RANK $WORLD_SIZE $WELLSPRING_NODE_RANK $SLURMD_NODENAME $AIRS_SIZE", 2, 2));
  expect(id, JobState::succeeded, 30);
  const auto hosts = split(trim(text(id, "hostfile")), '\n');
  ASSERT_EQ(hosts.size(), 3u);
  EXPECT_EQ(hosts[0], "127.0.0.1 slots=2 type=a100");
  EXPECT_EQ(hosts[2], "127.0.0.1 slots=1 type=mlu370");
  EXPECT_TRUE(starts_with(log(id, 0), "0 5 0 n"));
  EXPECT_TRUE(starts_with(log(id, 3), "3 5 1 n"));
  EXPECT_TRUE(starts_with(log(id, 4), "4 5 2 m"));
  EXPECT_NE(attempt(id).outside.find(",m"), std::string::npos) << attempt(id).outside;
}

TEST_F(OnSlurm, SetupRunsOnceAndItsFailureIsTold) {
  begin();
  JobSpec s = spec("cat made");
  s.setup = str("echo setting up; date +%N > made # ", unix_seconds());  // new to the cache
  const JobId first = submit(s), bad = submit([&] {
                                   JobSpec b = s;
                                   b.setup = "echo no good; exit 9";
                                   return b;
                                 }());
  expect(first, JobState::succeeded);
  const JobId second = submit(s);
  expect(second, JobState::succeeded);
  EXPECT_EQ(log(first), log(second));
  EXPECT_NE(log(first, -1).find("setting up"), std::string::npos);
  EXPECT_EQ(log(second, -1).find("setting up"), std::string::npos);
  expect(bad, JobState::failed);
  EXPECT_EQ(job(bad).exit_status, 9);
  EXPECT_NE(job(bad).reason.find("setup"), std::string::npos);
  EXPECT_EQ(log(bad), "");
}

TEST_F(OnSlurm, SecretsAreFilesInMemoryAndGoWithTheJob) {
  begin();
  secrets = {{"key", "s3cret\n"}};
  JobSpec s = spec(
      "df --output=fstype $WELLSPRING_SECRETS/key | tail -1; stat -c %a $WELLSPRING_SECRETS/key; "
      "cat $WELLSPRING_SECRETS/key; echo $KEY; echo $WELLSPRING_SECRETS");
  s.secrets = {{.name = "key", .variable = "KEY"}};
  const JobId id = submit(s);
  expect(id, JobState::succeeded);
  const auto lines = split(log(id), '\n');
  ASSERT_GE(lines.size(), 5u) << log(id);
  EXPECT_EQ(lines[0], "tmpfs");
  EXPECT_EQ(lines[1], "400");
  EXPECT_EQ(lines[2], "s3cret");
  EXPECT_EQ(lines[3], "s3cret");
  EXPECT_FALSE(exists(lines[4]));
  EXPECT_FALSE(exists(join_path(attempt_folder(attempt(id)), "secrets")));
  EXPECT_FALSE(exists(join_path(attempt_folder(attempt(id)), "secrets.env")));
}

TEST_F(OnSlurm, SecretsLeaveTheDiskWhenAllTasksHaveThemAndAreGoneAfterAKill) {
  begin();
  secrets = {{"key", "s3cret\n"}};
  JobSpec s = spec(
      "trap '' TERM; echo $WELLSPRING_SECRETS; sleep 1; cat $WELLSPRING_SECRETS/key; echo $KEY; "
      "while :; do sleep 0.1; done",
      2, 2, 2);
  s.secrets = {{.name = "key", .variable = "KEY"}};
  s.checkpoint.grace = 0.5;
  for (const int ranks : {4, 5}) {
    const JobId id = ranks == 4 ? submit(s) : submit_two_shapes(s);
    expect(id, JobState::running);
    std::vector<std::string> folders;
    for (int rank = 0; rank < ranks; ++rank) {
      const Stopwatch watch;
      while (!log(id, rank).ends_with("s3cret\ns3cret\n") && watch.seconds() < 20)
        sleep_seconds(0.1);
      ASSERT_TRUE(log(id, rank).ends_with("s3cret\ns3cret\n")) << log(id, rank);
      folders.push_back(split(log(id, rank), '\n')[0]);
      EXPECT_TRUE(exists(folders.back() + "/key"));
    }
    for (const std::string& name : list_directory(attempt_folder(attempt(id))))
      EXPECT_FALSE(starts_with(name, "secrets")) << name;
    cancel(id);
    expect(id, JobState::cancelled, 40);
    for (const std::string& folder : folders)
      EXPECT_TRUE(wait_for([&] { return !exists(folder); }, 30)) << folder;
  }
}

TEST_F(OnSlurm, CancelGivesTheTasksTimeAndThenNone) {
  begin();
  const JobId polite = submit(
      spec("trap 'echo saved; exit 75' TERM; echo up; for i in $(seq 300); do sleep 0.1; done"));
  const JobId deaf = submit(spec("trap '' TERM; echo up; for i in $(seq 300); do sleep 0.1; done"));
  for (const JobId id : {polite, deaf}) expect(id, JobState::running);
  EXPECT_TRUE(
      wait_for([&] { return exists(cluster.attempt(deaf).run_folder + "/attempts/1/log.0.txt"); }));
  sleep_seconds(0.3);
  const Stopwatch watch;
  cancel(polite), cancel(deaf);
  expect(polite, JobState::cancelled, 5);
  EXPECT_EQ(job(polite).exit_status, 75);
  EXPECT_NE(log(polite).find("saved\n"), std::string::npos);
  expect(deaf, JobState::cancelled);
  EXPECT_GE(watch.seconds(), 1.9);
  EXPECT_EQ(job(deaf).exit_status, 137);
  // One that Slurm lets wait is gone at once, and never ran.
  slurm->run({"scontrol", "update", "partitionname=all", "state=down"});
  const JobId waits = submit(spec("echo never"));
  EXPECT_TRUE(wait_for([&] { return !cluster.attempt(waits).outside.empty(); }));
  cancel(waits);
  expect(waits, JobState::cancelled);
  slurm->run({"scontrol", "update", "partitionname=all", "state=up"});
  EXPECT_EQ(log(waits), "");
}

TEST_F(OnSlurm, TimeLimitCountsSeconds) {
  begin();
  JobSpec s = spec("trap 'echo late; exit 75' TERM; for i in $(seq 300); do sleep 0.1; done");
  s.time_limit = 1;
  const JobId id = submit(s);
  expect(id, JobState::failed);
  EXPECT_NE(log(id).find("late\n"), std::string::npos);
  EXPECT_NE(job(id).reason.find("time limit"), std::string::npos);
}

TEST_F(OnSlurm, AnArrayIsCutIntoArraysOfSlurm) {
  begin();
  JobSpec s = spec(
      "echo $WELLSPRING_ARRAY_JOB $WELLSPRING_ARRAY_INDEX $WELLSPRING_TOKEN; [ "
      "$WELLSPRING_ARRAY_INDEX != 13 ]");
  for (int i = 0; i < 25; ++i) s.array.push_back(i);
  const JobId id = submit(s);
  for (int i = 0; i < 25; ++i) {
    const JobId element = id + 1 + i;
    const Stopwatch watch;
    while (!ended(job(element).state) && watch.seconds() < 40) round(), sleep_seconds(0.05);
    expect(element, i == 13 ? JobState::failed : JobState::succeeded);
    EXPECT_EQ(log(element), str(id, " ", i, " ", attempt(element).token, "\n"));
  }
  // 16 devices at once, ten elements each: one array of ten, and what followed.
  EXPECT_TRUE(
      starts_with(attempt(id + 1).outside.substr(attempt(id + 1).outside.find('_')), "_0 on"));
  EXPECT_TRUE(
      starts_with(attempt(id + 10).outside.substr(attempt(id + 10).outside.find('_')), "_9 on"));
  EXPECT_TRUE(
      starts_with(attempt(id + 11).outside.substr(attempt(id + 11).outside.find('_')), "_0 on"));
  EXPECT_NE(attempt(id + 11).outside.substr(0, 3), attempt(id + 10).outside.substr(0, 3));
}

TEST_F(OnSlurm, KilledBetweenSubmittingAndWritingItDown) {
  begin();
  const JobId id = [&] {
    std::lock_guard lock(mutex);
    const JobId made = cluster.submit(spec("echo once >> ../times; sleep 1"));
    cluster.round();
    cluster.effects = {};
    return made;
  }();
  executor.reset();
  const pid_t child = ::fork();
  if (child == 0) {
    set_fault_hook([](const char* place) {
      if (std::string_view(place) == "slurm.submitted") ::_exit(9);
    });
    try {
      Reports r;  // its state dies with it
      r.tell = [](const auto&) {};
      r.nodes = [](const auto&, const auto&) {};
      r.active = [](const auto&) { return std::vector<Launch>(); };
      SlurmExecutor doomed(options, ChipTable::built_in(), r);
      doomed.start(launch_of(cluster.attempt(id).serial));
      sleep_seconds(20);
    } catch (...) {
      ::_exit(2);
    }
    ::_exit(1);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 9);
  EXPECT_EQ(jobs_named(attempt(id)), 1);
  begin();  // the next one
  expect(id, JobState::succeeded);
  EXPECT_EQ(jobs_named(attempt(id)), 1);
  EXPECT_EQ(read_file(attempt(id).run_folder + "/times"), "once\n");
}

TEST_F(OnSlurm, ASecondJobOfAnAttemptDoesNotRun) {
  begin();
  const JobId id = submit(spec("echo once >> ../times; sleep 1"));
  expect(id, JobState::running);
  const Attempt a = attempt(id);
  slurm->run({"setpriv", "--reuid=games", "--regid=games", "--init-groups", "sbatch", "--parsable",
              str("--job-name=ws-", a.token), "--output=/dev/null",
              attempt_folder(a) + "/slurm.sh"});
  // Requeued by an administrator, who has first taken back our --no-requeue: it does not run again
  // either.
  const std::string number = a.outside.substr(0, a.outside.find(' '));
  EXPECT_NE(slurm->run({"scontrol", "requeue", number}).find("disabled"), std::string::npos);
  expect(id, JobState::succeeded);
  EXPECT_TRUE(wait_for([&] { return exists(attempt_folder(a) + "/slurm.again"); }));
  EXPECT_EQ(read_file(a.run_folder + "/times"), "once\n");
}

TEST_F(OnSlurm, ARequeuedJobIsLostAndRunsAsAnotherAttempt) {
  begin();
  const JobId id =
      submit(spec("echo $WELLSPRING_ATTEMPT >> ../times; [ $WELLSPRING_ATTEMPT = 2 ] || sleep 60"));
  expect(id, JobState::running);
  const Attempt a = attempt(id);
  EXPECT_TRUE(wait_for([&] { return exists(a.run_folder + "/times"); }));
  const std::string number = a.outside.substr(0, a.outside.find(' '));
  slurm->run({"scontrol", "update", "jobid=" + number, "requeue=1"});
  slurm->run({"scontrol", "requeue", number});
  slurm->run({"scontrol", "update", "jobid=" + number, "starttime=now"});
  const Stopwatch watch;
  while (!ended(job(id).state) && watch.seconds() < 60) round(), sleep_seconds(0.1);
  expect(id, JobState::succeeded);
  EXPECT_EQ(read_file(a.run_folder + "/times"), "1\n2\n");
  EXPECT_EQ(attempt(id).number, 2);
}

TEST_F(OnSlurm, NothingEndsWhileSlurmIsAway) {
  begin();
  const JobId runs = submit(spec("sleep 8; echo done"));
  const JobId longer = submit(spec("sleep 10; echo done"));
  expect(runs, JobState::running);
  expect(longer, JobState::running);
  // What it writes down of its jobs it writes every few seconds; those of later are lost in a
  // crash.
  const double begun = unix_seconds();
  EXPECT_TRUE(wait_for([&] {
    struct stat st {};
    return ::stat((slurm->path() + "/state/job_state").c_str(), &st) == 0 &&
           st.st_mtim.tv_sec > begun;
  }));
  slurm->kill("slurmctld");
  EXPECT_TRUE(wait_for([&] { return cluster.state.nodes.at("slurm.n1").down; }, 30));
  {
    std::lock_guard lock(mutex);
    EXPECT_NE(cluster.state.nodes.at("slurm.n1").note.find("unknown"), std::string::npos);
  }
  const std::string trouble = executor->trouble();
  EXPECT_FALSE(trouble.empty());
  // Submitted meanwhile: it waits, and fails for nothing.
  JobId meanwhile = 0;
  {
    std::lock_guard lock(mutex);
    cluster.state.connected.insert("slurm.n2");
    cluster.run([&](Change& c) { c.state.nodes.edit("slurm.n2").down = false; });
  }
  meanwhile = submit(spec("echo late"));
  EXPECT_TRUE(active(job(meanwhile).state));
  sleep_seconds(2);
  EXPECT_TRUE(active(job(meanwhile).state)) << job(meanwhile).reason;
  slurm->start("slurmctld");
  expect(runs, JobState::succeeded, 30);
  expect(longer, JobState::succeeded, 30);
  expect(meanwhile, JobState::succeeded, 40);
  EXPECT_EQ(jobs_named(attempt(meanwhile)), 1);
  EXPECT_TRUE(wait_for([&] { return cluster.state.connected.size() == 6; }));
}

TEST_F(OnSlurm, AFullStateIsToldAgain) {
  begin();
  full = true;
  const JobId id = submit(spec("true"));
  const Stopwatch watch;
  while (text(id, "slurm.status").empty() && watch.seconds() < 20) sleep_seconds(0.05);
  sleep_seconds(0.5);
  EXPECT_EQ(job(id).state, JobState::starting);
  full = false;
  expect(id, JobState::succeeded);
}

TEST_F(OnSlurm, WhatSlurmRefusesIsNotTriedAgain) {
  options.partitions[""] = "nowhere";
  begin();
  const JobId id = submit(spec("true"));
  expect(id, JobState::failed);
  EXPECT_NE(job(id).reason.find("Invalid partition"), std::string::npos) << job(id).reason;
  EXPECT_EQ(job(id).attempts, 1);
  // Nor is what cannot be done there; queueing does not place it there either.
  Launch odd = launch_of(attempt(id).serial);
  JobSpec s = *odd.job.spec;
  s.mounts = {{.source = "/usr", .target = "/data", .read_only = false}};
  odd.job.spec = std::make_shared<const JobSpec>(s);
  EXPECT_NE(error_of([&] { plan_slurm({&odd}, {SlurmComponent()}, options, ""); }, Fault::config)
                .find("/usr"),
            std::string::npos);
}

TEST_F(OnSlurm, OddNamesAndWordsStayWords) {
  begin();
  JobSpec s =
      spec("printf '%s|' \"$ODD\" \"$(cat <<'END'\n$HOME `id` 'quoted' \"twice\" \\ ;\nEND\n)\"");
  s.env = {{"ODD", "a'b\"c $HOME `id` \\ %t\nnext\ttab"}};
  const JobId id = submit(s);
  expect(id, JobState::succeeded);
  EXPECT_EQ(log(id), "a'b\"c $HOME `id` \\ %t\nnext\ttab|$HOME `id` 'quoted' \"twice\" \\ ;|");
  EXPECT_FALSE(exists("/tmp/odd"));
  // Names are checked long before; here nothing is taken apart either.
  SlurmSubmission odd;
  odd.name = "odd'$(touch /tmp/odd);`id` --output=/x %j \"ü";
  odd.comment = "-c ; rm $HOME";
  odd.user = kUser, odd.folder = "/tmp", odd.output = "/dev/null";
  odd.path = attempt_folder(attempt(id)) + "/slurm.sh";
  odd.components = {{.nodes = 1}};
  const std::string made = make_transport(options)->submit(odd);
  EXPECT_EQ(slurm->run({"squeue", "--all", "--noheader", "--states=all", "--jobs=" + made,
                        "--format=%j|%k"}),
            str(odd.name, "|", odd.comment, "\n"));
  EXPECT_FALSE(exists("/tmp/odd"));
}

TEST_F(OnSlurm, NobodyElseReachesTheRunFolder) {
  begin();
  const JobId id = submit(spec("true"));
  expect(id, JobState::succeeded);
  const std::string folder = attempt_folder(attempt(id));
  const std::vector<std::string> other = {"setpriv",        "--reuid=news", "--regid=news",
                                          "--clear-groups", "ls",           folder};
  EXPECT_NE(run_process(other).status, 0);
  // A link in place of a log leads nowhere.
  remove_all(folder + "/log.0.txt");
  ASSERT_EQ(::symlink("/etc/shadow", (folder + "/log.0.txt").c_str()), 0);
  EXPECT_EQ(log(id), "");
  {
    std::lock_guard lock(mutex);
    cluster.run([](Change& c) { c.state.teams.edit("blue").system_user = "root"; });
    cluster.run([](Change& c) { c.state.teams.edit("red").system_user = ""; });
  }
  JobSpec root = spec("id");
  root.team = "blue";
  const JobId as_root = submit(root);
  expect(as_root, JobState::failed);
  EXPECT_NE(job(as_root).reason.find("root"), std::string::npos) << job(as_root).reason;
  // Nor do those of a team without a user: not placed there, and refused.
  const JobId as_none = submit(spec("id"));
  EXPECT_EQ(job(as_none).state, JobState::queued);
  EXPECT_NE(error_of([&] { slurm_account("", options); }, Fault::config).find("root"),
            std::string::npos);
}

TEST_F(OnSlurm, ByRestWithATokenAndNotWithout) {
  const std::string token = slurm->path() + "/token";
  options.mode = SlurmOptions::Mode::rest;
  options.conf.clear();
  options.url = slurm->rest(), options.user = "root", options.token = token;
  options.max_array = 4;
  write_file_atomic(token, "x.y.z\n");
  executor = std::make_unique<SlurmExecutor>(options, ChipTable::built_in(), reports());
  EXPECT_TRUE(wait_for([&] { return !executor->trouble().empty(); }));
  EXPECT_TRUE(cluster.state.connected.empty());
  write_file_atomic(token, slurm->script("token", {"root"}) + "\n");
  ASSERT_TRUE(wait_for([&] { return cluster.state.connected.size() == 6; })) << executor->trouble();
  const JobId good = submit(spec("id -un; echo $RANK $CUDA_VISIBLE_DEVICES", 2, 2));
  const JobId bad = submit(spec("exit 6"));
  JobSpec array = spec("echo $WELLSPRING_ARRAY_INDEX", 4, 1, 1, "mlu370");
  array.array = {3, 4, 5};
  const JobId elements = submit(array);
  expect(good, JobState::succeeded);
  EXPECT_TRUE(starts_with(log(good, 1), str(kUser, "\n1 "))) << log(good, 1);
  expect(bad, JobState::failed);
  EXPECT_EQ(job(bad).exit_status, 6);
  for (int i = 1; i <= 3; ++i) {
    expect(elements + i, JobState::succeeded);
    EXPECT_EQ(log(elements + i), str(i + 2, "\n"));
  }
  const JobId polite = submit(
      spec("trap 'echo saved; exit 75' TERM; echo up; for i in $(seq 300); do sleep 0.1; done"));
  expect(polite, JobState::running);
  sleep_seconds(0.5);
  EXPECT_NE(slurm->run({"scontrol", "-o", "show", "job", split(attempt(polite).outside, ' ')[0]})
                .find("Requeue=0"),
            std::string::npos);
  cancel(polite);
  expect(polite, JobState::cancelled, 10);
  EXPECT_NE(log(polite).find("saved\n"), std::string::npos);
  // Its token speaks for one user only: a job of another is not made, and nothing fails for it.
  write_file_atomic(token, slurm->script("token", {"news"}) + "\n");
  const JobId wrong = submit(spec("true"));
  sleep_seconds(1.5);
  EXPECT_TRUE(active(job(wrong).state)) << job(wrong).reason;
  EXPECT_EQ(jobs_named(attempt(wrong)), 0);
  write_file_atomic(token, slurm->script("token", {"root"}) + "\n");
  expect(wrong, JobState::succeeded, 30);
}

// Last: a node is away for a while.
TEST_F(OnSlurm, ZAJobOfANodeThatDiesRunsElsewhere) {
  begin();
  const JobId id =
      submit(spec("echo $WELLSPRING_ATTEMPT $SLURMD_NODENAME >> ../times; [ $WELLSPRING_ATTEMPT = "
                  "2 ] || sleep 60",
                  8, 1, 1, "mlu370"));
  expect(id, JobState::running);
  const Attempt a = attempt(id);
  EXPECT_TRUE(wait_for([&] { return exists(a.run_folder + "/times"); }));
  const std::string node = a.outside.substr(a.outside.rfind(' ') + 1);
  slurm->kill(node);
  const Stopwatch watch;
  while (!ended(job(id).state) && watch.seconds() < 60) round(), sleep_seconds(0.1);
  expect(id, JobState::succeeded);
  EXPECT_EQ(attempt(id).number, 2);
  const auto lines = split(trim(read_file(a.run_folder + "/times")), '\n');
  ASSERT_EQ(lines.size(), 2u);
  EXPECT_EQ(lines[0], str("1 ", node));
  EXPECT_NE(lines[1], str("2 ", node));
}

}  // namespace
}  // namespace wellspring::cluster
