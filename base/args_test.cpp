#include "base/args.h"

#include <gtest/gtest.h>

#include "base/error.h"

namespace wellspring {
namespace {

struct Line {
  std::string path, out;
  std::vector<std::string> sets, files;
  int64_t steps = 7;
  double lr = 0.5;
  bool json = false, out_given = false, ran = false;
};

Line parse(std::vector<std::string> words) {
  Line line;
  Args args("wellspring train", "Train a model.");
  args.positional("RUN.yaml", &line.path, "what to train");
  args.positionals("FILE", &line.files, "more files", false);
  args.option("--out", &line.out, "DIR", "run folder");
  args.option("--set", &line.sets, "KEY=VALUE", "override");
  args.option("-n,--steps", &line.steps, "N", "steps");
  args.option("--lr", &line.lr, "X", "rate");
  args.flag("--json", &line.json, "as JSON");
  args.example("wellspring train run.yaml --set train.steps=100");
  std::vector<char*> argv = {const_cast<char*>("train")};
  for (std::string& w : words) argv.push_back(w.data());
  line.ran = args.parse(static_cast<int>(argv.size()), argv.data());
  if (line.ran) line.out_given = args.given("--out");
  return line;
}

std::string args_error(const std::vector<std::string>& words) {
  try {
    parse(words);
  } catch (const Error& e) {
    EXPECT_EQ(e.fault(), Fault::usage);
    return e.what();
  }
  return "no error";
}

TEST(Args, ParsesEveryKind) {
  Line l = parse({"run.yaml", "--set", "a=1", "x", "--set", "b=2", "-n", "12", "--lr=-1e-3",
                  "--json", "--out", "o", "y"});
  EXPECT_TRUE(l.ran);
  EXPECT_EQ(l.path, "run.yaml");
  EXPECT_EQ(l.sets, (std::vector<std::string>{"a=1", "b=2"}));
  EXPECT_EQ(l.files, (std::vector<std::string>{"x", "y"}));
  EXPECT_EQ(l.steps, 12);
  EXPECT_EQ(l.lr, -1e-3);
  EXPECT_TRUE(l.json);
  EXPECT_TRUE(l.out_given);
  Line d = parse({"run.yaml"});
  EXPECT_EQ(d.steps, 7);
  EXPECT_FALSE(d.out_given);
}

TEST(Args, ErrorsSuggest) {
  const std::string kTail = " ('wellspring train --help' shows all)";
  EXPECT_EQ(args_error({"run.yaml", "--ouut", "x"}),
            "wellspring train: unknown option '--ouut': did you mean '--out'?" + kTail);
  EXPECT_EQ(args_error({}), "wellspring train: RUN.yaml is missing: what to train" + kTail);
  EXPECT_EQ(args_error({"r", "--steps", "many"}),
            "wellspring train: --steps 'many': want a whole number" + kTail);
  EXPECT_EQ(args_error({"r", "--lr", "x"}), "wellspring train: --lr 'x': want a number" + kTail);
  EXPECT_NE(args_error({"r", "--out"}), "no error");
  EXPECT_NE(args_error({"r", "--out", "a", "--out", "b"}), "no error");
}

TEST(Args, HelpShowsTheExample) {
  testing::internal::CaptureStdout();
  EXPECT_FALSE(parse({"--help"}).ran);
  std::string help = testing::internal::GetCapturedStdout();
  for (const char* part : {"Usage: wellspring train [options] RUN.yaml [FILE...]", "--out DIR",
                           "-n, --steps N", "wellspring train run.yaml --set train.steps=100"})
    EXPECT_NE(help.find(part), std::string::npos) << part << "\n" << help;
}

TEST(Args, Verbs) {
  int called = 0;
  std::vector<Verb> verbs = {
      {"train", "make a tokenizer", [&](int argc, char**) { return called = argc; }},
      {"encode", "text to ids", [&](int, char**) { return 0; }}};
  auto run = [&](std::vector<std::string> words) {
    std::vector<char*> argv = {const_cast<char*>("text")};
    for (std::string& w : words) argv.push_back(w.data());
    return run_verbs("wellspring text", "Tokenizers.", verbs, static_cast<int>(argv.size()),
                     argv.data());
  };
  EXPECT_EQ(run({"train", "a", "b"}), 3);
  testing::internal::CaptureStdout();
  EXPECT_EQ(run({"--help"}), 0);
  EXPECT_NE(testing::internal::GetCapturedStdout().find("make a tokenizer"), std::string::npos);
  try {
    run({"encod"});
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.fault(), Fault::usage);
    EXPECT_STREQ(
        e.what(),
        "wellspring text: unknown verb 'encod': did you mean 'encode'? Known: train, encode");
  }
  try {
    run({"quux"});
    FAIL();
  } catch (const Error& e) {
    EXPECT_STREQ(e.what(), "wellspring text: unknown verb 'quux'. Known: train, encode");
  }
  EXPECT_THROW(run({}), Error);
}

}  // namespace
}  // namespace wellspring
