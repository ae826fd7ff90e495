#include "cluster/controller/possible.h"

#include <gtest/gtest.h>

#include "cluster/controller/access.h"
#include "cluster/state/test_state.h"

namespace wellspring::cluster {
namespace {

// A cluster whose nodes run jobs of teams without a system user.
struct Pool : TestCluster {
  void add(const std::string& name, int devices, const std::string& chip, const std::string& pool = "shared") {
    node(name, devices, chip, pool);
    edit(name, [](Node& n) { n.single_trust = true; });
  }
  void edit(const std::string& name, const std::function<void(Node&)>& f) {
    run([&](Change& c) { f(c.state.nodes.edit(name)); });
  }
  // "STATUS field: why"; empty: it may wait.
  std::string refusal(JobSpec spec) const {
    try {
      settle_request(state, ChipTable::built_in(), spec);
      return "";
    } catch (const ApiError& e) {
      return str(e.status, " ", e.what());
    }
  }
};

TEST(Possible, NodesOfOnePool) {
  Pool c;
  c.add("n1", 4, "a100-40", "one"), c.add("n2", 4, "a100-40", "two");
  JobSpec s = c.spec("red", 1, "a100-40");
  s.accepted[0].nodes = 2;
  EXPECT_EQ(c.refusal(s), "400 accepted[0].nodes: this can never run: 2 nodes with 1 a100-40 are wanted in one pool "
                          "(nodes that share the folder of runs); the most in one is 1");
  c.add("n3", 1, "a100-40", "two");
  EXPECT_EQ(c.refusal(s), "");
}

TEST(Possible, AMountHasToBeWhereTheChipIs) {
  Pool c;
  c.add("n1", 4, "a100-40"), c.add("n2", 1, "mlu370-x8");
  c.edit("n2", [](Node& n) { n.mounts = {"/data"}; });
  JobSpec s = c.spec("red", 1, "a100-40");
  s.mounts = {{"/data/x", "/data/x", false}};
  EXPECT_EQ(c.refusal(s), "400 mounts: too few nodes that have what is asked for offer /data/x (wanted: 1 with 1 a100-40); "
                          "those that offer it: n2 (mlu370-x8)");
  s.accepted.push_back({.chip = "mlu370-x8"});
  EXPECT_EQ(c.refusal(s), "");
  s.mounts = {{"/none", "/none", false}};
  EXPECT_EQ(c.refusal(s), "400 mounts: no node offers /none (its administrator lists what it offers under 'mounts:')");
}

TEST(Possible, EachAlternativeWithinItsOwnQuota) {
  Pool c;
  c.add("n1", 4, "a100-40"), c.add("n2", 4, "mlu370-x8");
  const auto quota = [&](const char* chip, Quota q) { c.run([&](Change& ch) { ch.state.teams.edit("red").quotas[chip] = q; }); };
  quota("a100-40", {.devices = 1}), quota("mlu370-x8", {.devices = 2});
  JobSpec s = c.spec("red", 2, "a100-40");
  s.accepted.push_back({.chip = "mlu370-x8", .count = 3});
  EXPECT_EQ(c.refusal(s), "400 resources: team red may hold 1 a100-40 at once: this can never run");
  s.accepted[1].count = 2;
  EXPECT_EQ(c.refusal(s), "");
  quota("mlu370-x8", {.hours = 0});
  s.accepted = {s.accepted[1]};
  EXPECT_EQ(c.refusal(s), "400 resources: team red may use no device-hours of mlu370-x8: this can never run");
}

TEST(Possible, NodesThatTakeOneTeamAlone) {
  Pool c;
  c.add("n1", 4, "a100-40"), c.add("n2", 4, "mlu370-x8");
  c.edit("n1", [](Node& n) { n.only_team = "blue"; });
  const JobSpec s = c.spec("red", 1, "a100-40");
  EXPECT_EQ(c.refusal(s), "409 team: the nodes with a100-40 that this needs take jobs of other teams alone; "
                          "open to team red are nodes with: mlu370-x8");
  EXPECT_EQ(c.refusal(c.spec("blue", 1, "a100-40")), "");
  c.edit("n1", [](Node& n) { n.only_team = "", n.single_trust = false, n.switches_users = true; });
  EXPECT_NE(c.refusal(s).find("409 team: team red has no system user"), std::string::npos);
  c.run([](Change& ch) { ch.state.teams.edit("red").system_user = "ada"; });
  EXPECT_EQ(c.refusal(s), "");
}

TEST(Possible, AnyChipIsTheFirstThatCould) {
  Pool c;
  JobSpec any;
  any.team = "red";
  EXPECT_NE(c.refusal(any).find("has no nodes yet"), std::string::npos);
  c.add("n1", 1, "a100-40"), c.add("n2", 4, "mlu370-x8");
  JobSpec s = c.spec("red", 4, "");
  EXPECT_EQ(c.refusal(s), "");
  s.accepted[0].count = 5;
  EXPECT_EQ(c.refusal(s), "400 accepted[0].count: this can never run: no node has 5 a100-40; the most on one is 1");
}

}  // namespace
}  // namespace wellspring::cluster
