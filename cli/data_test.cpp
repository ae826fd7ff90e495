// wellspring data as a user meets it.
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <cstdlib>

#include "base/file.h"
#include "base/json.h"
#include "base/process.h"
#include "base/text.h"
#include "cli/test_program.h"

namespace wellspring {
namespace {

class DataCommand : public ::testing::Test {
 protected:
  std::string in(const std::string& name) { return join_path(folder_.path(), name); }
  void put(const std::string& name, const std::string& content) {
    make_directories(parent_path(in(name)));
    write_file_atomic(in(name), content);
  }
  static std::vector<std::string> line(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {program(), "data"});
    return arguments;
  }
  static ProcessResult run(const std::vector<std::string>& arguments) {
    return run_process(line(arguments));
  }
  std::vector<std::string> prepare(const std::string& source, const std::string& out) {
    return {"prepare", in(source), "--out", in(out), "--tokenizer", "bytes", "--eval-share", "0.2"};
  }
  TemporaryFolder folder_;
};

TEST_F(DataCommand, PrepareShowVerify) {
  for (int i = 0; i < 40; ++i) put(str("s/", i, ".txt"), str("Document ", i));
  put("s/same.txt", "Document 7");
  ProcessResult r = run(prepare("s", "out"));
  EXPECT_EQ(r.status, 0) << r.error;
  EXPECT_NE(r.output.find("40 documents"), std::string::npos) << r.output;
  std::vector<std::string> again = prepare("s", "out");
  again.push_back("--json");
  r = run(again);
  Json json = parse_json(r.output, "output");
  EXPECT_TRUE(json["up_to_date"].get<bool>());
  EXPECT_EQ(json["sources"][0]["duplicates"].get<int>(), 1);
  r = run({"show", in("out")});
  EXPECT_NE(r.output.find("vocabulary of 257"), std::string::npos) << r.output;
  r = run({"verify", in("out")});
  EXPECT_EQ(r.status, 0) << r.error;
  std::string shard = read_file(in("out/train-00000.tokens"));
  shard[200] = static_cast<char>(shard[200] ^ 1);
  write_file_atomic(in("out/train-00000.tokens"), shard);
  r = run({"verify", in("out")});
  EXPECT_EQ(r.status, 65);
  EXPECT_NE(r.error.find("train-00000.tokens"), std::string::npos) << r.error;
}

TEST_F(DataCommand, ExitStatuses) {
  put("s/a.txt", "x");
  put("bad.jsonl", "{\"text\":\"a\"}\n{broken\n");
  make_directories(in("empty"));
  EXPECT_EQ(run({}).status, 64);
  EXPECT_EQ(run({"prepare", in("s"), "--out", in("o")}).status, 64);  // no tokenizer
  EXPECT_EQ(run({"clean", in("s")}).status, 64);                      // no --out
  EXPECT_EQ(run({"clean", in("s"), "--out", in("o"), "--invalid-utf8", "x"}).status, 64);
  EXPECT_EQ(run(prepare("missing", "o")).status, 74);
  EXPECT_EQ(run(prepare("empty", "o")).status, 65);
  ProcessResult r = run(prepare("bad.jsonl", "o"));
  EXPECT_EQ(r.status, 65);
  EXPECT_NE(r.error.find("bad.jsonl:2"), std::string::npos) << r.error;
  EXPECT_FALSE(exists(in("o")));
}

// Stopped and killed at any moment: the folder is absent or whole, and the next run makes the same.
TEST_F(DataCommand, KilledAtAnyMoment) {
  std::string text;
  for (int i = 0; i < 60000; ++i)
    text += str("{\"text\":\"Document ", i, " <> ", i * i % 977, "\"}\n");
  put("big.jsonl", text);
  ASSERT_EQ(run(prepare("big.jsonl", "whole")).status, 0);
  for (int attempt = 0; attempt < 6; ++attempt) {
    ProcessOptions options;
    options.argv = line(prepare("big.jsonl", "out"));
    Process child = Process::start(options);
    ::usleep(static_cast<useconds_t>(3000 + attempt * 25000));
    child.kill(attempt % 2 ? SIGTERM : SIGKILL);
    int status = child.wait().value_or(-1);
    EXPECT_TRUE(status == 0 || status == 75 || status > 128) << status;
    if (!exists(in("out"))) continue;
    EXPECT_EQ(run({"verify", in("out")}).status, 0);
    remove_all(in("out"));
  }
  ASSERT_EQ(run(prepare("big.jsonl", "out")).status, 0);
  for (const std::string& name : list_directory(in("whole")))
    EXPECT_EQ(read_file(in("whole/" + name)), read_file(in("out/" + name))) << name;
  EXPECT_FALSE(exists(in("out.partial")));
}

}  // namespace
}  // namespace wellspring
