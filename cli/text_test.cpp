// wellspring text as a user meets it.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>

#include "base/file.h"
#include "base/json.h"
#include "base/process.h"
#include "base/text.h"
#include "cli/test_program.h"

namespace wellspring {
namespace {

class TextCommand : public ::testing::Test {
 protected:
  std::string in(const std::string& name) { return join_path(folder_.path(), name); }
  std::string put(const std::string& name, const std::string& content) {
    make_directories(parent_path(in(name)));
    write_file_atomic(in(name), content);
    return in(name);
  }
  static ProcessResult run(std::vector<std::string> arguments) {
    arguments.insert(arguments.begin(), {program(), "text"});
    return run_process(arguments);
  }
  std::string tokenizer() {
    if (!exists(in("t"))) {
      put("corpus/a.txt", "The spring is cold. 泉水很凉。 The springs are cold.\n");
      put("corpus/b.html", "<html><script>zzzz zzzz zzzz</script><p>springs and wells</p></html>");
      const ProcessResult r = run({"train", in("corpus"), "--vocab-size", "280", "--pattern",
                                   "llama3", "--special", "<|endoftext|>", "--out", in("t")});
      EXPECT_EQ(r.status, 0) << r.error;
    }
    return in("t");
  }
  TemporaryFolder folder_;
};

TEST_F(TextCommand, TrainEncodeDecode) {
  const std::string t = tokenizer();
  const std::string json = read_file(join_path(t, "tokenizer.json"));
  EXPECT_EQ(json.find("zz"), std::string::npos);  // HTML is cleaned, its scripts are no text
  const std::string text = put("x.txt", "The spring\n\n泉水 <|endoftext|>\n");
  ProcessResult r = run({"encode", text, "--tokenizer", t});
  ASSERT_EQ(r.status, 0) << r.error;
  const auto lines = split(trim(r.output), '\n');
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[1], "[]");
  EXPECT_EQ(parse_json(lines[2], "line").back().get<int>(), 0);  // the special token
  r = run({"decode", put("ids.jsonl", r.output), "--tokenizer", join_path(t, "tokenizer.json")});
  EXPECT_EQ(r.output, read_file(text));
  r = run({"encode", text, "--tokenizer", t, "--whole"});
  EXPECT_EQ(split(trim(r.output), '\n').size(), 1u);
  r = run({"encode", put("s.jsonl", "\"a\\nb\"\n\"\\u6cc9\"\n"), "--tokenizer", t, "--json-lines"});
  EXPECT_EQ(split(trim(r.output), '\n').size(), 2u);
}

// Training needs a token that ends documents, so it is there unless it is declined.
TEST_F(TextCommand, EndOfTextUnlessDeclined) {
  const std::string text = put("x.txt", "The spring is cold.\n");
  EXPECT_EQ(run({"train", text, "--vocab-size", "260", "--out", in("with")}).status, 0);
  EXPECT_EQ(
      run({"train", text, "--vocab-size", "260", "--special", "", "--out", in("without")}).status,
      0);
  EXPECT_NE(read_file(in("with/tokenizer.json")).find("<|endoftext|>"), std::string::npos);
  EXPECT_EQ(read_file(in("without/tokenizer.json")).find("<|endoftext|>"), std::string::npos);
  for (const char* t : {"with", "without"}) {
    const ProcessResult r = run_process(
        {program(), "data", "prepare", text, "--tokenizer", in(t), "--out", in(str("data-", t))});
    EXPECT_EQ(r.status, 0) << r.error;
    EXPECT_EQ(r.error.find("has no token that ends documents") == std::string::npos,
              t == std::string("with"))
        << r.error;
  }
}

TEST_F(TextCommand, InvalidUtf8IsKeptOrReplacedAndCounted) {
  const std::string bad = put("bad.txt", "a\xFF\xE6\xB3 b\n");
  ProcessResult r = run({"encode", bad, "--tokenizer", tokenizer()});
  EXPECT_EQ(r.status, 0);
  EXPECT_NE(r.error.find("3 bytes are not valid UTF-8"), std::string::npos) << r.error;
  r = run({"decode", put("ids", r.output), "--tokenizer", tokenizer()});
  EXPECT_EQ(r.output, "a\xFF\xE6\xB3 b\n");
  r = run({"encode", bad, "--tokenizer", tokenizer(), "--invalid-utf8", "replace"});
  EXPECT_NE(r.error.find("2 invalid UTF-8 sequences became U+FFFD"), std::string::npos) << r.error;
  r = run({"decode", put("ids", r.output), "--tokenizer", tokenizer()});
  EXPECT_EQ(r.output, "a\xEF\xBF\xBD\xEF\xBF\xBD b\n");
  EXPECT_EQ(run({"encode", bad, "--tokenizer", tokenizer(), "--invalid-utf8", "drop"}).status, 64);

  const std::vector<std::string> train{
      "train", bad, "--vocab-size", "270", "--out", in("learned.json"), "--json"};
  r = run(train);
  EXPECT_EQ(r.status, 0);
  EXPECT_NE(r.error.find("2 invalid UTF-8 sequences were learned as they are"), std::string::npos)
      << r.error;
  EXPECT_NE(r.output.find("\"invalid_utf8\": 2"), std::string::npos) << r.output;
  auto replaced = train;
  replaced.insert(replaced.end(), {"--invalid-utf8", "replace"});
  r = run(replaced);
  EXPECT_NE(r.error.find("2 invalid UTF-8 sequences became U+FFFD"), std::string::npos) << r.error;
  replaced.back() = "drop";
  EXPECT_EQ(run(replaced).status, 64);
}

TEST_F(TextCommand, ErrorsNameThePlace) {
  auto expect = [&](const std::vector<std::string>& arguments, int status,
                    const std::string& part) {
    const ProcessResult r = run(arguments);
    EXPECT_EQ(r.status, status) << r.error;
    EXPECT_NE(r.error.find(part), std::string::npos) << r.error;
  };
  const std::string x = put("x.txt", "x\n");
  expect({"encode", x}, 64, "--tokenizer PATH is missing");
  expect({"encode", x, "--tokenizer", in("none")}, 74, in("none"));
  make_directories(in("empty"));
  expect({"encode", x, "--tokenizer", in("empty")}, 74, "holds no tokenizer.json");
  const std::string whole = read_file(join_path(tokenizer(), "tokenizer.json"));
  expect({"encode", x, "--tokenizer", put("cut.json", whole.substr(0, whole.size() / 2))}, 65,
         "cut.json");
  expect({"encode", in("gone.txt"), "--tokenizer", tokenizer()}, 74, "gone.txt");
  expect({"decode", put("a", "[1]\n[1, 99999]\n"), "--tokenizer", tokenizer()}, 65,
         "line 2: 99999");
  expect({"decode", put("b", "[1\n"), "--tokenizer", tokenizer()}, 65, "line 1");
  expect({"encode", put("c", "\"a\"\n3\n"), "--tokenizer", tokenizer(), "--json-lines"}, 65,
         "line 2");
  expect({"train", in("empty"), "--out", in("o")}, 65, "holds no text");
  expect({"train", in("nowhere"), "--out", in("o")}, 74, "nowhere");
  expect({"train", x}, 64, "--out DIR is missing");
  expect({"train", x, "--out", in("o"), "--pattern", "gpt7"}, 64, "gpt7");
  expect({"train", x, "--out", in("o"), "--vocab-size", "100"}, 64, "vocab_size 100");
  EXPECT_FALSE(exists(in("o")));
}

}  // namespace
}  // namespace wellspring
