#include "cluster/job/job_file.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/file.h"
#include "base/json.h"
#include "base/process.h"
#include "base/test_error.h"
#include "base/text.h"
#include "base/time.h"

namespace wellspring::cluster {
namespace {

JobFile parse(const std::string& yaml, const std::vector<std::string>& overrides = {},
              const ChipTable* chips = nullptr) {
  return parse_job_file(yaml, "job.yaml", "/tmp", overrides, chips);
}
JobSpec one(const std::string& yaml, const std::vector<std::string>& overrides = {}) {
  JobFile file = parse(yaml, overrides);
  EXPECT_EQ(file.jobs.size(), 1u);
  return file.jobs.at(0).spec;
}
std::string refused(const std::string& yaml, const ChipTable* chips = nullptr) {
  return error_of([&] { parse(yaml, {}, chips); }, Fault::config);
}

TEST(JobFile, SmallestAndDefaults) {
  JobSpec want;
  want.name = "job";
  want.command = "hostname";
  want.accepted = {Resources()};
  EXPECT_EQ(to_text(to_json(one("command: hostname\n"))), to_text(to_json(want)));
}

TEST(JobFile, EveryKey) {
  TemporaryFolder folder;
  make_directories(join_path(folder.path(), "code"));
  write_file_atomic(join_path(folder.path(), "train-big.job.yaml"), R"(
team: vision
project: p1
queue: night
priority: 5
kind: batch
resources: {chip: A100-80GB, count: 8, nodes: 2, tasks_per_node: 8, memory: 64GB, any_of: [H100:4, {chip: MLU370, count: 16, memory: 1TB}]}
command: |
  python train.py
  echo done
workdir: {path: code, exclude: [data, "*.pyc"], limit: 2GB}
setup: pip install -r requirements.txt
image: docker://ubuntu:22.04
mounts: [/data, "/big:ro", "/a b:/in:ro", {source: /x, target: /y, read_only: true}]
env: {A: 1, B: "x y", C: true}
secrets: [hf-token, {name: wandb, variable: WANDB_API_KEY}]
checkpoint: {folder: out/ckpt, grace: 2m}
restart: {most: 3, on_exit: [33, 34], backoff: 2, most_backoff: 1m}
array: "0-99%10"
after: ["afterany:12", 13, {job: 14, kind: afternotok}, "afterok:15:16"]
time_limit: 1-12:00:00
not_before: 2026-03-14T15:09:26Z
deadline: 2026-03-15T15:09:26Z
on_lost_contact: continue
notify: https://example.org/hook
migrate: false
)");
  const JobFile file = read_job_file(join_path(folder.path(), "train-big.job.yaml"));
  const FileJob& job = file.jobs.at(0);
  EXPECT_EQ(
      to_text(to_json(job.spec)),
      to_text(parse_json(str(R"({"name":"train-big","team":"vision","project":"p1","queue":"night",
    "priority":5,"accepted":[
      {"chip":"a100-80","count":8,"nodes":2,"tasks_per_node":8,"memory_mb":64000},
      {"chip":"h100","count":4,"nodes":2,"tasks_per_node":8,"memory_mb":64000},
      {"chip":"mlu370-x8","count":16,"nodes":2,"tasks_per_node":8,"memory_mb":1000000}],
    "command":"python train.py\necho done\n","setup":"pip install -r requirements.txt",
    "image":"docker://ubuntu:22.04","workdir":")",
                             folder.path(), R"(/code",
    "mounts":[{"source":"/data","target":"/data"},{"source":"/big","target":"/big","read_only":true},
      {"source":"/a b","target":"/in","read_only":true},
      {"source":"/x","target":"/y","read_only":true}],
    "env":{"A":"1","B":"x y","C":"true"},
    "secrets":[{"name":"hf-token"},{"name":"wandb","variable":"WANDB_API_KEY"}],
    "restart":{"most":3,"on_exit":[33,34],"backoff":2.0,"most_backoff":60.0},
    "checkpoint":{"folder":"out/ckpt","grace":120.0},
    "array":"0-99","array_at_once":10,
    "after":[{"job":12,"kind":"afterany"},{"job":13},{"job":14,"kind":"afternotok"},{"job":15},
      {"job":16}],
    "time_limit":129600.0,"not_before":1773500966.0,"deadline":1773587366.0,
    "on_lost_contact":"continue","notify":"https://example.org/hook"})"),
                         "want")));
  EXPECT_EQ(job.workdir.exclude, (std::vector<std::string>{"data", "*.pyc"}));
  EXPECT_EQ(job.workdir.limit, 2'000'000'000);
  const std::string path = join_path(folder.path(), "train-big.job.yaml");
  EXPECT_EQ(job.place("accepted[1].chip"), path + ":7: 'resources.any_of[0]'");
  EXPECT_EQ(job.place("accepted[2].count"), path + ":7: 'resources.any_of[1].count'");
  EXPECT_EQ(job.place("accepted[0].nodes"), path + ":7: 'resources.nodes'");
  EXPECT_EQ(job.place("mounts[2].source"), path + ":14: 'mounts[2].source'");
  EXPECT_EQ(job.place("env.B"), path + ":15: 'env.B'");
  EXPECT_EQ(job.place("after[3]"), path + ":20: 'after[3]'");
  EXPECT_EQ(job.place("service.port"), path + ": 'service.port'");
}

TEST(JobFile, SkyPilotsSpelling) {
  const JobSpec spec = one(R"(
name: sky
num_nodes: 2
resources:
  accelerators: A100:8
  memory: 32+
envs: {LR: 3e-4}
setup: echo setup
run: |
  torchrun train.py
)");
  ASSERT_EQ(spec.accepted.size(), 1u);
  EXPECT_EQ(spec.accepted[0], (Resources{"a100-40", 8, 2, 1, 32000}));
  EXPECT_EQ(spec.command, "torchrun train.py\n");
  EXPECT_EQ(spec.env[0].second, "3e-4");
  const auto chips = [](const std::string& resources) {
    std::string out;
    for (const Resources& r : one("run: x\nresources: " + resources).accepted)
      out += str(r.chip, ":", r.count, "x", r.nodes, " ");
    return out;
  };
  EXPECT_EQ(chips("{accelerators: [A100:8, H100:4]}"), "a100-40:8x1 h100:4x1 ");
  EXPECT_EQ(chips("{accelerators: {A100: 8, V100: 2}}"), "a100-40:8x1 v100-16:2x1 ");
  EXPECT_EQ(chips("{nodes: 3, any_of: [{accelerators: T4:2}, {accelerators: V100, nodes: 5}]}"),
            "t4:2x3 v100-16:1x5 ");
  EXPECT_EQ(chips("{accelerators: A100:8, any_of: [{nodes: 2, count: 4}]}"),
            "a100-40:8x1 a100-40:4x2 ");
  EXPECT_EQ(chips("{ordered: [{accelerators: T4}]}"), "t4:1x1 ");
  EXPECT_EQ(chips("{chip: CPU, count: 2}"),
            "cpu:2x1 ");  // which kinds there are the controller knows
  EXPECT_EQ(chips("{chip: My-Chip}"), "my-chip:1x1 ");  // the controller may know it
}

TEST(JobFile, Services) {
  const JobSpec spec =
      one("command: serve\nservice: {port: 8000, readiness: /health, ready_timeout: 10m, "
          "replicas: 2, restart: 5}\n");
  EXPECT_EQ(spec.kind, "service");
  EXPECT_EQ(spec.service, (Service{8000, "/health", 600, 2}));
  EXPECT_EQ(spec.restart.most, 5);
}

TEST(JobFile, OverridesComeFirst) {
  const JobSpec spec = one("command: a\nresources: {chip: T4}\n",
                           {"resources.count=4", "env.X=7", "command=b c", "any_of=[V100:2]"});
  EXPECT_EQ(spec.command, "b c");
  EXPECT_EQ(spec.accepted[0].count, 4);
  EXPECT_EQ(spec.accepted[1].chip, "v100-16");
  EXPECT_EQ(spec.env[0].second, "7");
  EXPECT_NE(error_of([] { one("command: a\n", {"prioritty=4"}); }, Fault::config)
                .find("unknown key 'prioritty' in the top level: did you mean 'priority'?"),
            std::string::npos);
}

TEST(JobFile, BadFilesAreRefusedWithFileAndLine) {
  const struct {
    const char *yaml, *says;
  } kCases[] = {
      {"", "job.yaml: 'command' is missing"},
      {"command: x\ncomand: y\n",
       "job.yaml:2: unknown key 'comand' in the top level: did you mean"},
      {"command: x\nfile_mountz: {}\n", "job.yaml:2: unknown key 'file_mountz'"},
      {"command: x\nresources: {chp: A100}\n",
       "job.yaml:2: unknown key 'chp' in 'resources': did you mean 'chip'?"},
      {"command: x\nany_of: [{chip: T4, cuont: 1}]\n",
       "job.yaml:2: unknown key 'cuont' in 'any_of[0]': did you mean 'count'?"},
      {"command: x\nservice:\n  port: 1\n  redy_timeout: 3\n",
       "job.yaml:4: unknown key 'redy_timeout' in 'service': did you mean 'ready_timeout'?"},
      {"command: x\nmounts:\n- {source: /a, targt: /b}\n", "job.yaml:3: unknown key 'targt'"},
      {"command: x\ncommand: y\n", "job.yaml:2:1: key 'command' stands twice"},
      {"command: x\nrun: y\n", "job.yaml:2: 'run' is another name of 'command'"},
      {"command: x\nenv: {A: 1}\nenvs: {B: 1}\n", "job.yaml:3: 'envs' is another name of 'env'"},
      {"command: [a, b]\n", "job.yaml:1: 'command' is a list: want a text"},
      {"command: '  '\n", "job.yaml:1: 'command' is empty"},
      {"name: ../../etc\ncommand: x\n", "job.yaml:1: 'name' is '../../etc': want letters"},
      {"name: a;rm -rf /\ncommand: x\n", "job.yaml:1: 'name' is"},
      {"name: $(reboot)\ncommand: x\n", "job.yaml:1: 'name' is"},
      {"name: \"a\\nb\"\ncommand: x\n", "job.yaml:1: 'name' is 'a?b'"},
      {"name: \"a\\0b\"\ncommand: x\n", "job.yaml:1: 'name' is 'a?b'"},
      {"team: .hidden\ncommand: x\n", "job.yaml:1: 'team' is '.hidden'"},
      {"queue: a/b\ncommand: x\n", "job.yaml:1: 'queue'"},
      {"project: --x\ncommand: x\n", "job.yaml:1: 'project'"},
      {"command: \"a\\0b\"\n", "job.yaml:1: 'command' is 'a?b': want UTF-8 without control"},
      {"command: x\nresources: {chip: '../a'}\n", "job.yaml:2: 'resources.chip' is '../a'"},
      {"command: x\nresources: {chip: T4, count: -1}\n", "job.yaml:2: 'resources.count' is -1"},
      {"command: x\nresources:\n  chip: T4\n  count: 99999999999999\n",
       "job.yaml:4: 'resources.count' is 99999999999999: far beyond"},
      {"command: x\nresources: {count: 1.5}\n", "job.yaml:2: 'resources.count' is '1.5': want a"},
      {"command: x\nresources: {nodes: 0}\n", "job.yaml:2: 'resources.nodes' is 0: want 1 to 4096"},
      {"command: x\nnum_nodes: 0\n", "job.yaml:2: 'num_nodes' is 0: want 1 to 4096"},
      {"command: x\nnum_nodes: 2\nresources: {nodes: 2}\n",
       "job.yaml:2: 'num_nodes' is another name of 'resources.nodes'"},
      {"command: x\nresources: {memory: lots}\n",
       "job.yaml:2: 'resources.memory' is 'lots': want a size"},
      {"command: x\nresources: {chip: T4, accelerators: T4:1}\n",
       "job.yaml:2: 'resources.accelerators' is another name of 'chip'"},
      {"command: x\nresources: {accelerators: T4:1, count: 2}\n",
       "job.yaml:2: 'resources.count' stands twice"},
      {"command: x\nresources: {accelerators: 'T4:x'}\n", "want CHIP or CHIP:COUNT"},
      {"command: x\nresources: {any_of: [T4]}\nany_of: [T4]\n", "job.yaml:3: 'any_of' stands"},
      {"command: x\nany_of: [{count: 2}]\n", "job.yaml:2: 'any_of[0]' names no chip"},
      {"command: x\nany_of: [{chip: T4, any_of: []}]\n", "unknown key 'any_of' in 'any_of[0]'"},
      {"command: x\ntrain: /no/such.yaml\n",
       "job.yaml:2: 'train' is '/no/such.yaml': no such file"},
      {"command: x\nworkdir: /no/such\n", "job.yaml:2: 'workdir' is '/no/such': no such folder"},
      {"command: x\nworkdir: {exclude: [a]}\n", "job.yaml:2: 'workdir' has no path"},
      {"command: x\nmounts: [relative]\n", "job.yaml:2: 'mounts[0].source' is 'relative'"},
      {"command: x\nmounts: [/a/../../etc]\n", "job.yaml:2: 'mounts[0].source'"},
      {"command: x\nmounts: ['/a:/b:/c']\n", "job.yaml:2: 'mounts[0]' is '/a:/b:/c': want SOURCE"},
      {"command: x\nmounts: /a\n", "job.yaml:2: 'mounts' is '/a': want a list"},
      {"command: x\nenv:\n  A: 1\n  B-C: 2\n", "job.yaml:2: 'env' has the name 'B-C'"},
      {"command: x\nenv:\n  A: 1\n  RANK: 2\n", "job.yaml:4: 'env.RANK' is set by the node"},
      {"command: x\nenv:\n  A: 1\n  B:\n",
       "job.yaml:2: 'env.B' has no value: write one, or give --set"},
      {"command: x\nenv: {A: [1]}\n", "job.yaml:2: 'env.A' is a list: want a text"},
      {"command: x\nsecrets: [../x]\n", "job.yaml:2: 'secrets[0].name' is '../x'"},
      {"command: x\nsecrets: [{name: a, variable: WELLSPRING_TOKEN}]\n", "is set by the node"},
      {"command: x\ncheckpoint: ../out\n", "job.yaml:2: 'checkpoint.folder' is '../out'"},
      {"command: x\nrestart: -1\n", "job.yaml:2: 'restart.most' is -1"},
      {"command: x\nrestart: {on_exit: [0]}\n", "job.yaml:2: 'restart.on_exit[0]' is '0'"},
      {"command: x\nrestart: {on_exit: 300}\n", "job.yaml:2: 'restart.on_exit[0]' is 300"},
      {"command: x\nrestart: {backoff: soon}\n", "'restart.backoff' is 'soon': want a duration"},
      {"command: x\nkind: service\n", "job.yaml: 'service.port' is missing"},
      {"command: x\nservice: {replicas: 2}\n", "job.yaml:2: 'service.port' is missing"},
      {"command: x\nservice: {port: 0}\n", "job.yaml:2: 'service.port' is 0: want 1 to 65535"},
      {"command: x\nkind: batch\nservice: {port: 1}\n", "job.yaml:3: 'service' belongs to kind"},
      {"command: x\nservice: {port: 1, restart: 2}\nrestart: 1\n", "write one of them"},
      {"command: x\nkind: bacth\n", "job.yaml:2: 'kind' is 'bacth': want one of"},
      {"command: x\narray: 0-1000000\n", "job.yaml:2: 'array' is '0-1000000': more than 1000000"},
      {"command: x\narray: 0-9%0\n", "job.yaml:2: 'array' is '0-9%0': want INDICES%AT_ONCE"},
      {"command: x\narray: 9-0\n", "job.yaml:2: 'array' is '9-0': the range 9-0 runs backwards"},
      {"command: x\nresources:\n  chip: T4\n  count: 2000\n  memory: 2000000GB\n",
       "job.yaml:4: 'resources.count' is 2000: want 0 to 1024"},
      {"command: x\nresources:\n  chip: T4\n  memory: 2000000GB\n",
       "job.yaml:4: 'resources.memory' is 2000000000: want 0 to 1000000000"},
      {"name: n\ncommand: x\nafter: afterok:job\n",
       "job.yaml:3: 'after' waits for 'job', which is no job of this file"},
      {"name: me\ncommand: x\nafter: me\n", "job.yaml:3: 'after' makes job 'me' wait for itself"},
      {"command: x\nafter: afterokay:3\n", "'after' waits by 'afterokay': want afterok, afterany"},
      {"command: x\nafter: [0]\n", "job.yaml:2: 'after[0].job' is 0: want 1"},
      {"command: x\nafter: [5, 5]\n", "job.yaml:2: 'after[1].job' is 5 a second time"},
      {"command: x\nafter: [{kind: afterok}]\n", "job.yaml:2: 'after[0]' has no 'job'"},
      {"command: x\ntime_limit: 5:30\n", "job.yaml:2: 'time_limit' is '5:30': want a duration"},
      {"command: x\nnot_before: tomorrow\n", "job.yaml:2: 'not_before' is 'tomorrow': want a time"},
      {"command: x\nnot_before: +2h\ndeadline: +1h\n",
       "job.yaml:3: 'deadline' does not come after"},
      {"command: x\non_lost_contact: fnce\n", "Did you mean 'fence'?"},
      {"command: x\nnotify: javascript:alert(1)\n", "job.yaml:2: 'notify'"},
      {"command: x\nmigrate: true\n", "job.yaml:2: 'migrate' is not built yet"},
      {"jobs: []\n", "job.yaml:1: 'jobs' is empty"},
      {"jobs: [{command: x}]\nname: y\n", "job.yaml:2: unknown key 'name'"},
      {"jobs:\n- {name: a, command: x}\n- {name: a, command: x}\n",
       "job.yaml:3: 'jobs[1].name' is 'a', as another job's"},
      {"jobs:\n- {name: a}\n", "job.yaml:2: 'jobs[0].command' is missing"},
      {"jobs:\n- {name: a, command: x, after: [b]}\n- {name: b, command: x, after: [c]}\n"
       "- {name: c, command: x, after: [afterany:a]}\n",
       "job.yaml:4: 'jobs[2].after[0]' closes a cycle: a waits for b waits for c waits for a"},
      {"jobs:\n- {name: first, command: x}\n- {name: b, command: x, after: [fisrt]}\n",
       "job.yaml:3: 'jobs[1].after[0]' waits for 'fisrt', which is no job of this file: did you "
       "mean 'first'?"},
      {"command: x\n\tteam: y\n", "job.yaml:2"},
  };
  for (const auto& c : kCases) {
    const std::string says = refused(c.yaml);
    EXPECT_NE(says.find(c.says), std::string::npos)
        << c.yaml << "want " << c.says << "\nsays " << says;
  }
}

TEST(JobFile, UnknownChipsWithTheClustersTable) {
  EXPECT_EQ(
      refused("command: x\nresources:\n  count: 2\n  chip: A10O-40\n", &ChipTable::built_in()),
      "job.yaml:4: 'resources.chip' names an unknown chip 'A10O-40': did you mean "
      "'a100-40'?");
}

TEST(JobFile, JobsOfOneFileAreOrdered) {
  const JobFile file = parse(R"(
jobs:
- {name: report, command: c, after: [afterany:train, 7]}
- {name: train, command: b, after: prepare}
- {name: prepare, command: a}
- {command: d}
)");
  ASSERT_EQ(file.jobs.size(), 4u);
  EXPECT_EQ(file.jobs[0].spec.name, "prepare");
  EXPECT_EQ(file.jobs[1].spec.name, "train");
  EXPECT_EQ(file.jobs[2].spec.name, "report");
  EXPECT_EQ(file.jobs[3].spec.name, "job-4");
  ASSERT_EQ(file.jobs[2].after.size(), 1u);
  EXPECT_EQ(file.jobs[2].after[0].job, 1);
  EXPECT_EQ(file.jobs[2].after[0].kind, "afterany");
  EXPECT_EQ(file.jobs[2].spec.after, std::vector<DependsOn>{{7}});
}

TEST(JobFile, RunFileIsParsed) {
  TemporaryFolder folder;
  const auto path = [&](const char* name) { return join_path(folder.path(), name); };
  write_file_atomic(path("good.yaml"), "model: {family: llama}\n");
  write_file_atomic(path("bad.yaml"), "a: 1\nb: [1, 2\n");
  write_file_atomic(path("empty.yaml"), "# nothing\n");
  write_file_atomic(path("job.yaml"), "resources: {chip: T4}\ntrain: good.yaml\n");
  EXPECT_EQ(read_job_file(path("job.yaml")).jobs[0].spec.train, "model: {family: llama}\n");
  const auto says = [&](const std::string& run) {
    return error_of([&] { read_job_file(path("job.yaml"), {"train=" + run}); }, Fault::config);
  };
  EXPECT_NE(says("bad.yaml").find(path("bad.yaml") + ":"), std::string::npos) << says("bad.yaml");
  EXPECT_NE(says("empty.yaml").find("is empty"), std::string::npos);
  EXPECT_NE(says("none.yaml").find("no such file"), std::string::npos);
  EXPECT_NE(says(".").find("no such file"), std::string::npos);
  EXPECT_NE(error_of([&] { read_job_file(path("job.yaml"), {"command=x"}); }, Fault::config)
                .find("job.yaml:2: 'train' stands beside a command"),
            std::string::npos);
  error_of([&] { read_job_file(path("none.yaml")); }, Fault::io);
}

TEST(JobFile, BombsAreRefusedQuickly) {
  std::string bomb = "command: x\na0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 12; ++i) {
    bomb += str("a", i, ": &a", i, " [");
    for (int k = 0; k < 10; ++k) bomb += str(k ? ", " : "", "*a", i - 1);
    bomb += "]\n";
  }
  Stopwatch watch;
  EXPECT_NE(refused(bomb).find("more than 1000000 values"), std::string::npos);
  EXPECT_NE(refused("command: x\na: " + std::string(100'000, '[')).find("nested deeper"),
            std::string::npos);
  EXPECT_LT(watch.seconds(), 20);
  std::string many = "jobs:\n";
  for (int i = 0; i < 1001; ++i) many += "- {command: x}\n";
  EXPECT_NE(refused(many).find("has 1001 jobs: at most 1000"), std::string::npos);
  // A long chain is no cycle and needs no deep stack.
  std::string chain = "jobs:\n";
  for (int i = 0; i < 1000; ++i)
    chain += i == 999 ? str("- {name: j999, command: x}\n")
                      : str("- {name: j", i, ", command: x, after: j", i + 1, "}\n");
  EXPECT_EQ(parse(chain).jobs.at(0).spec.name, "j999");
}

TEST(JobFile, CommandsOfTheCommandLine) {
  const JobFile file =
      job_from_command({"/usr/bin/python3", "a b.py", "it's", "$HOME", "*", "", "x=1"}, "/tmp",
                       {"resources.chip=T4", "time_limit=1h"});
  const JobSpec& spec = file.jobs.at(0).spec;
  EXPECT_EQ(spec.name, "python3");
  EXPECT_EQ(spec.accepted[0].chip, "t4");
  EXPECT_EQ(spec.time_limit, 3600);
  EXPECT_EQ(spec.command, "/usr/bin/python3 'a b.py' 'it'\\''s' '$HOME' '*' '' x=1");
  EXPECT_EQ(job_from_command({"echo a | wc"}, "/tmp").jobs[0].spec.command, "echo a | wc");
  EXPECT_EQ(job_from_command({"/"}, "/tmp").jobs[0].spec.name, "job");
  error_of([] { job_from_command({}, "/tmp"); }, Fault::usage);
  error_of([] { job_from_command({"a"}, "/tmp", {"run=b"}); }, Fault::usage);
  error_of([] { job_from_command({"a\xff"}, "/tmp"); }, Fault::usage);
  error_of([] { job_from_command({std::string("a\0b", 3)}, "/tmp"); }, Fault::config);
}

// Every key of the reference is one of the parser's, and the reverse; its examples are jobs.
TEST(JobFile, ReferenceIsTrue) {
  const std::string page = read_file("docs/job-file.md");
  std::set<std::string> documented;
  std::vector<std::string> examples;
  std::string* block = nullptr;
  for (const std::string& line : split(page, '\n')) {
    if (line.starts_with("```")) {
      if (block)
        block = nullptr;
      else if (line == "```yaml")
        block = &examples.emplace_back();
      continue;
    }
    if (block) *block += line + "\n";
    if (!line.starts_with("| `")) continue;
    const std::string cell = split(line, '|')[1];
    const std::vector<std::string> parts = split(cell, '`');
    for (size_t i = 1; i < parts.size(); i += 2)
      EXPECT_TRUE(documented.insert(parts[i]).second) << parts[i] << " stands twice";
  }
  const std::vector<std::string> list = job_file_keys();
  const std::set<std::string> known(list.begin(), list.end());
  EXPECT_EQ(known.size(), list.size());
  for (const std::string& key : known) EXPECT_TRUE(documented.count(key)) << key;
  for (const std::string& key : documented) EXPECT_TRUE(known.count(key)) << key;
  EXPECT_GE(examples.size(), 3u);
  for (const std::string& example : examples)
    EXPECT_NO_THROW(parse_job_file(example, "docs/job-file.md", ".", {}, &ChipTable::built_in()))
        << example;
}

}  // namespace
}  // namespace wellspring::cluster
