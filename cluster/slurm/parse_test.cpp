// What is read without a Slurm: its options, its words, and the files of its jobs.

#include <gtest/gtest.h>

#include "base/test_error.h"
#include "cluster/slurm/executor.h"
#include "cluster/slurm/script.h"

namespace wellspring::cluster {
namespace {

std::vector<SlurmOptions> read(const std::string& yaml) {
  const Config c = Config::parse(yaml, "cluster.yaml");
  auto all = read_slurm_options(c, "/runs", ChipTable::built_in());
  c.check_all_used();
  return all;
}

std::string refused(const std::string& yaml) {
  return error_of([&] { read(yaml); }, Fault::config);
}

TEST(SlurmOptions, ReadsOneOrSeveral) {
  EXPECT_TRUE(read("slurm: []\n").empty());
  const auto one = read(
      "slurm:\n  conf: /etc/slurm/slurm.conf\n  partitions: {a100: gpu, default: batch}\n"
      "  gres: {a100-80: 'gpu:big'}\n  cpus_per_device: {a100: 8}\n  poll: 0.5\n"
      "  options: [--qos=high]\n  account: lab\n");
  ASSERT_EQ(one.size(), 1u);
  EXPECT_EQ(one[0].name, "slurm");
  EXPECT_EQ(one[0].mode, SlurmOptions::Mode::command_line);
  EXPECT_EQ(one[0].runs, "/runs");
  EXPECT_EQ(one[0].partitions.at(""), "batch");
  EXPECT_EQ(one[0].partitions.at(ChipTable::built_in().get("a100").name), "gpu");
  EXPECT_EQ(one[0].cpus_per_device.begin()->second, 8);
  const auto two = read(
      "slurm:\n  - {name: east}\n"
      "  - {name: west, url: 'http://h:6820', user: ws, token: /etc/ws.token}\n");
  ASSERT_EQ(two.size(), 2u);
  EXPECT_EQ(two[1].mode, SlurmOptions::Mode::rest);
}

TEST(SlurmOptions, RefusesWithFileLineAndKey) {
  EXPECT_NE(refused("slurm:\n  konf: /x\n").find("cluster.yaml:2"), std::string::npos);
  EXPECT_NE(refused("slurm:\n  gres: {a1000: gpu}\n").find("no chip type 'a1000'"),
            std::string::npos);
  EXPECT_NE(refused("slurm:\n  gres: {a100: 'gpu:a:4'}\n").find("NAME:TYPE"), std::string::npos);
  EXPECT_NE(refused("slurm:\n  name: nodes\n").find("slurm.name"), std::string::npos);
  EXPECT_NE(refused("slurm:\n  mode: rest\n").find("slurmrestd"), std::string::npos);
  EXPECT_NE(refused("slurm:\n  url: 'http://h:1'\n").find("token"), std::string::npos);
  EXPECT_NE(refused("slurm:\n  url: 'http://h:1'\n  user: a\n  token: /t\n  options: [--qos=x]\n")
                .find("sbatch"),
            std::string::npos);
  EXPECT_NE(refused("slurm:\n  token: /t\n").find("mode rest"), std::string::npos);
  EXPECT_NE(refused("slurm:\n  account: '--uid=root'\n").find("letters"), std::string::npos);
  EXPECT_NE(refused("slurm:\n  options: ['job.sh']\n").find("--NAME=VALUE"), std::string::npos);
  EXPECT_NE(refused("slurm:\n  conf: etc/slurm.conf\n").find("from the root"), std::string::npos);
  EXPECT_NE(refused("slurm:\n  poll: 0\n").find("3600 seconds"), std::string::npos);
  EXPECT_NE(refused("slurm: [{name: a}, {name: a}]\n").find("two Slurm clusters"),
            std::string::npos);
}

TEST(SlurmWords, JobsOfSqueue) {
  const auto jobs = parse_squeue(
      "12|RUNNING|n[1-2]|None\n9_3|PENDING||Priority\n7+0|RUNNING|n1|None\n7+1|RUNNING|m[1-2]|"
      "None\n"
      "9_[4-7]|PENDING||Priority\nnonsense\n|||\n5|FAILED\n");
  ASSERT_EQ(jobs.size(), 3u);
  EXPECT_EQ(jobs[0], (SlurmJob{"12", "RUNNING", "n[1-2]", ""}));
  EXPECT_EQ(jobs[1], (SlurmJob{"9_3", "PENDING", "", "Priority"}));
  EXPECT_EQ(jobs[2], (SlurmJob{"7", "RUNNING", "n1,m[1-2]", ""}));
}

TEST(SlurmWords, JobsOfSlurmrestd) {
  const std::string body = R"({"jobs": [
    {"job_id": 12, "name": "ws-1-a", "job_state": "RUNNING", "nodes": "n1", "state_reason": "None",
     "array_job_id": 0, "array_task_id": null, "het_job_id": 0},
    {"job_id": 22, "name": "x", "job_state": "RUNNING", "nodes": "n2", "array_job_id": 21, "array_task_id": 0},
    {"job_id": 21, "name": "x", "job_state": "PENDING", "array_job_id": 21, "array_task_id": null,
     "array_task_string": "3-4,7%2", "state_reason": "Resources"},
    {"job_id": 30, "name": "h", "job_state": "RUNNING", "nodes": "n1", "het_job_id": 30, "het_job_offset": 0},
    {"job_id": 31, "name": "h", "job_state": "RUNNING", "nodes": "m1", "het_job_id": 30, "het_job_offset": 1},
    5, {"job_id": "12"}]})";
  const auto jobs = parse_rest_jobs(body);
  std::vector<std::string> ids;
  for (const SlurmJob& j : jobs) ids.push_back(j.id);
  EXPECT_EQ(ids, (std::vector<std::string>{"12", "21_0", "21_3", "21_4", "21_7", "30"}));
  EXPECT_EQ(jobs.back().nodes, "n1,m1");
  EXPECT_EQ(parse_rest_jobs(body, "ws-1-a").size(), 1u);
  EXPECT_NE(error_of([] { parse_rest_jobs("Authentication failure"); }, Fault::try_again), "");
  EXPECT_NE(error_of([] { parse_rest_jobs("{}"); }, Fault::try_again), "");
}

TEST(SlurmWords, GresAndNodes) {
  const auto gres = parse_gres("gpu:a100:4(S:0,2-3),gpu:2,mps:100,shard");
  ASSERT_EQ(gres.size(), 4u);
  EXPECT_EQ(gres[0].type, "a100");
  EXPECT_EQ(gres[0].count, 4);
  EXPECT_EQ(gres[1].type, "");
  EXPECT_EQ(gres[1].count, 2);
  EXPECT_EQ(gres[3].count, 1);
  EXPECT_TRUE(parse_gres("gpu:a100:99999999").empty());
  const auto nodes = parse_sinfo(
      "n1|10.0.0.1|idle|4000|8|gpu:a100:4|none\nn1|10.0.0.1|idle|4000|8|gpu:a100:4|none\n"
      "n2|n2|drained*|4000|8|gpu:4|disk | full\nc1|c1|mixed|4000|16|(null)|none\nx|y\n");
  ASSERT_EQ(nodes.size(), 3u);
  EXPECT_EQ(nodes[1].reason, "disk | full");
  SlurmOptions options;
  const std::string a100 = ChipTable::built_in().get("a100").name;
  options.gres[a100] = "gpu";
  options.cpu_chip = "cpu-avx2";
  options.cpus_per_device["cpu-avx2"] = 4;
  const auto ours = slurm_nodes(nodes, options, ChipTable::built_in());
  ASSERT_EQ(ours.size(), 3u);
  EXPECT_FALSE(ours[0].down);
  EXPECT_EQ(ours[0].devices.size(), 4u);
  EXPECT_TRUE(ours[1].down);
  EXPECT_EQ(ours[1].note, "Slurm: drained* (disk | full)");
  EXPECT_EQ(ours[1].devices[0].chip, a100);
  EXPECT_EQ(ours[2].devices.size(), 4u);
  EXPECT_EQ(ours[2].devices[0].chip, "cpu-avx2");
}

TEST(SlurmWords, WhatCannotBeAskedIsNotARefusal) {
  for (const char* unknown :
       {"sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect "
        "failure)",
        "squeue: error: slurm_receive_msg: Socket timed out on send/recv operation",
        "Connection refused", "Zero Bytes were transmitted or received",
        "Slurm temporarily unable to accept job, sleeping and retrying"})
    EXPECT_TRUE(slurm_unreachable(unknown)) << unknown;
  for (const char* refusal :
       {"sbatch: error: Batch job submission failed: Invalid partition name specified",
        "Requested node configuration is not available",
        "Invalid account or account/partition combination specified"})
    EXPECT_FALSE(slurm_unreachable(refusal)) << refusal;
}

TEST(SlurmFiles, WhatTheJobsUserWroteIsTakenWithCare) {
  const SlurmStatus s =
      parse_slurm_status("status 3\nrank 2\noutcome exited\nreason rank 2 \x1b[31mended\n");
  EXPECT_TRUE(s.whole);
  EXPECT_EQ(s.status, 3);
  EXPECT_EQ(s.rank, 2);
  EXPECT_EQ(s.reason, "rank 2  [31mended");
  EXPECT_EQ(s.cpu_seconds, 0);
  const auto cpu = [](const std::string& text) {
    return parse_slurm_status("status 0\noutcome exited\ncpu " + text + "\n").cpu_seconds;
  };
  EXPECT_EQ(cpu("12.250"), 12.25);
  for (const char* bad : {"", "-1", "nan", "inf", "1e300", "1 2", "x"}) EXPECT_EQ(cpu(bad), 0) << bad;
  for (const char* bad :
       {"", "status 3\n", "status 300\noutcome exited\n", "status -1\noutcome exited\n",
        "outcome exited\n", "status 0\noutcome lost\n", "status x\noutcome exited\n"})
    EXPECT_FALSE(parse_slurm_status(bad).whole) << bad;
  EXPECT_EQ(parse_slurm_claim("9_3 n[1-2]\n"),
            (std::pair<std::string, std::string>("9_3", "n[1-2]")));
  for (const char* bad : {"", "9_3 n1", "9;rm n1\n", "1 2 3\n"})
    EXPECT_EQ(parse_slurm_claim(bad).first, "") << bad;
  EXPECT_EQ(parse_slurm_intent("# ws-7-ab 3\nrun=x"), (std::pair<std::string, int>("ws-7-ab", 3)));
  for (const char* bad : {"", "# x 3\n", "# ws-7-ab\n", "# ws-7-ab x\n", "# ws-7-ab -2\n"})
    EXPECT_EQ(parse_slurm_intent(bad).first, "") << bad;
}

TEST(SlurmFiles, StatesMean) {
  EXPECT_EQ(slurm_phase("PENDING"), SlurmPhase::waits);
  EXPECT_EQ(slurm_phase("COMPLETING"), SlurmPhase::runs);
  EXPECT_EQ(slurm_phase("NODE_FAIL"), SlurmPhase::ended);
  EXPECT_EQ(slurm_outcome("NODE_FAIL"), "lost");
  EXPECT_EQ(slurm_outcome("PREEMPTED"), "lost");
  EXPECT_EQ(slurm_outcome("CANCELLED"), "stopped");
  EXPECT_EQ(slurm_outcome("TIMEOUT"), "time_limit");
  EXPECT_EQ(slurm_outcome("OUT_OF_MEMORY"), "out_of_memory");
  EXPECT_EQ(slurm_outcome("FAILED"), "");
}

}  // namespace
}  // namespace wellspring::cluster
