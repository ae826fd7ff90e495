#include "data/documents.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "data/language.h"
#include "data/test_data.h"
#include "data/text_builder.h"

namespace wellspring {
namespace {

class DocumentsTest : public ::testing::Test {
 protected:
  std::string put(const std::string& name, const std::string& content) {
    std::string path = join_path(folder_.path(), name);
    make_directories(parent_path(path));
    write_file_atomic(path, content);
    return path;
  }
  // Texts of all documents of one file.
  std::vector<std::string> read(const std::string& path, const ReadOptions& o = {}) {
    int64_t skipped = 0;
    DocumentReader reader(list_inputs(path, &skipped)[0], o);
    std::vector<std::string> out;
    Document d;
    while (reader.next(&d)) out.push_back(d.text);
    counts_ = reader.counts();
    return out;
  }
  using Texts = std::vector<std::string>;
  TemporaryFolder folder_;
  SourceInfo counts_;
};

TEST_F(DocumentsTest, Formats) {
  EXPECT_EQ(read(put("a.txt",
                     "\xEF\xBB\xBF"
                     "a \r\n\r\n\r\n\r\n  b\x01\f\n")),
            Texts{"a\n\n  b"});
  EXPECT_EQ(read(put("a.md", "---\ntitle: x\n---\n# A\n<!-- no\n -->b\n")), Texts{"# A\nb"});
  EXPECT_EQ(read(put("a.html", "<p>x")), Texts{"x"});
  EXPECT_EQ(read(put("noname", "<!DOCTYPE HTML><p>x")), Texts{"x"});
  EXPECT_EQ(read(put("a.1", ".TH A 1\n.SH B\nc")), Texts{"# A(1)\n\n## B\n\nc"});
  EXPECT_EQ(read(put("version.1", "plain")), Texts{"plain"});
  EXPECT_EQ(read(put("a.pod", "=pod\n\nx")), Texts{"x"});
  EXPECT_EQ(
      read(put("a.jsonl", "{\"text\":\"a\"}\n\n{\"text\":\"b\\n\",\"x\":1}\n{\"text\":\"\"}")),
      (Texts{"a", "b"}));
  EXPECT_EQ(counts_.empty, 1);
  ReadOptions field;
  field.field = "body";
  EXPECT_EQ(read(put("b.jsonl", "{\"body\":\"中\"}"), field), Texts{"中"});
  ReadOptions raw;
  raw.raw = true;
  EXPECT_EQ(read(put("raw.txt", " a \r\n\n\n\n"), raw), Texts{" a \r\n\n\n\n"});
}

TEST_F(DocumentsTest, Utf16) {
  EXPECT_EQ(read(put("a.txt", std::string("\xFF\xFE"
                                          "a\0-N\n\0",
                                          8))),
            Texts{"a中"});
}

TEST_F(DocumentsTest, BrokenJsonLines) {
  auto what = [&](const std::string& content) {
    std::string path = put("x.jsonl", content);
    std::string e = error_of([&] { read(path); }, Fault::data);
    EXPECT_NE(e.find(path + ":2"), std::string::npos) << e;
    return e;
  };
  what("{\"text\":\"a\"}\n{\"text\":\n");
  what("{\"text\":\"a\"}\n{\"text\":\"a\"} x\n");
  EXPECT_NE(what("{\"text\":\"a\"}\n{\"txt\":\"a\"}").find("--field"), std::string::npos);
  EXPECT_NE(what("{\"text\":\"a\"}\n{\"text\":3}").find("not a string"), std::string::npos);
  EXPECT_NE(what("{\"text\":\"a\"}\n[1]").find("text"), std::string::npos);
}

TEST_F(DocumentsTest, InvalidUtf8) {
  const std::string bytes = "good \xff\xfe bad \xe4\xb8 end";
  std::string path = put("a.txt", bytes),
              line = put("a.jsonl", "{\"text\":\"x\xffy\"}\n{\"text\":\"z\"}\n");
  ReadOptions o;
  EXPECT_EQ(read(path, o), Texts{"good \uFFFD\uFFFD bad \uFFFD end"});
  EXPECT_EQ(counts_.invalid_utf8, 3);
  EXPECT_EQ(counts_.invalid_documents, 1);
  EXPECT_EQ(read(line, o), (Texts{"x\uFFFDy", "z"}));
  EXPECT_EQ(counts_.invalid_utf8, 1);
  o.invalid = InvalidUtf8::keep;
  EXPECT_EQ(read(path, o), Texts{bytes});
  EXPECT_EQ(counts_.invalid_utf8, 3);
  EXPECT_EQ(read(line, o), (Texts{"x\xffy", "z"}));
  EXPECT_EQ(counts_.invalid_utf8, 1);
  o.invalid = InvalidUtf8::drop;
  EXPECT_EQ(read(path, o), Texts{});
  EXPECT_EQ(counts_.dropped, 1);
  EXPECT_EQ(counts_.invalid_utf8, 3);
  EXPECT_EQ(read(line, o), Texts{"z"});
  EXPECT_NE(error_of([] { parse_invalid_utf8("ignore"); }, Fault::usage).find("keep"),
            std::string::npos);
}

TEST_F(DocumentsTest, LongTextIsCutAtParagraphs) {
  std::string text;
  for (int i = 0; i < 1000; ++i)
    text += str("paragraph ", i, " 中文中文中文", i % 3 ? "\n" : "\n\n");
  ReadOptions o;
  o.longest = 4096;
  auto parts = read(put("a.txt", text), o);
  EXPECT_GT(parts.size(), 5u);
  EXPECT_EQ(counts_.cut, static_cast<int64_t>(parts.size()) - 1);
  EXPECT_EQ(counts_.bytes, static_cast<int64_t>(text.size()));
  std::string joined;
  for (auto& p : parts) joined += p + "\n\n";
  EXPECT_EQ(tidy(joined), tidy(text));
  // One endless line: cut between characters.
  std::string line;
  for (int i = 0; i < 5000; ++i) line += "中";
  joined.clear();
  for (auto& p : read(put("b.txt", line), o)) joined += p;
  EXPECT_EQ(joined, line);
  EXPECT_EQ(counts_.invalid_utf8, 0);
}

TEST_F(DocumentsTest, FoldersAreListedInOrder) {
  for (const char* name :
       {"b/z.txt", "b/a.md", "a.html", "c.png", ".hidden/x.txt", "b/.h.txt", "b/data.json"})
    put(name, "text");
  put("binary", std::string("\0\1\2", 3));
  put("empty.txt", "");
  ASSERT_EQ(::symlink("..", join_path(folder_.path(), "b/loop").c_str()), 0);
  ASSERT_EQ(::symlink("nowhere", join_path(folder_.path(), "b/gone.txt").c_str()), 0);
  int64_t skipped = 0;
  std::vector<std::string> names;
  for (const InputFile& f : list_inputs(folder_.path(), &skipped))
    names.push_back(f.path.substr(folder_.path().size() + 1));
  EXPECT_EQ(names, (std::vector<std::string>{"a.html", "b/a.md", "b/z.txt"}));
  EXPECT_EQ(skipped, 5);
}

TEST_F(DocumentsTest, BadSources) {
  int64_t skipped = 0;
  make_directories(join_path(folder_.path(), "empty"));
  auto what = [&](const std::string& path, Fault fault) {
    std::string e = error_of([&] { list_inputs(path, &skipped); }, fault);
    EXPECT_NE(e.find(path), std::string::npos) << e;
    return e;
  };
  what(join_path(folder_.path(), "missing"), Fault::io);
  EXPECT_NE(what(join_path(folder_.path(), "empty"), Fault::data).find("no text"),
            std::string::npos);
  EXPECT_NE(what(put("x.bin", std::string("a\0b", 3)), Fault::data).find("binary"),
            std::string::npos);
  if (::geteuid() != 0) {
    std::string closed = put("closed.txt", "x");
    ::chmod(closed.c_str(), 0);
    std::string e = error_of([&] { read(closed); }, Fault::io);
    EXPECT_NE(e.find("ermission"), std::string::npos) << e;
  }
  // Vanished between listing and reading.
  std::string path = put("soon.txt", "x");
  InputFile file = list_inputs(path, &skipped)[0];
  remove_all(path);
  EXPECT_NE(error_of([&] { DocumentReader(file, {}); }, Fault::io).find(path), std::string::npos);
}

TEST(Language, Guess) {
  EXPECT_EQ(guess_language("This is English text."), Language::en);
  EXPECT_EQ(guess_language("这是中文。"), Language::zh);
  EXPECT_EQ(guess_language("使用 apt-get install 命令安装软件包"), Language::zh);
  EXPECT_EQ(guess_language("The word 中 means middle in a long English sentence about it."),
            Language::en);
  EXPECT_EQ(guess_language("これはにほんごのぶんしょうです。漢字"), Language::other);
  EXPECT_EQ(guess_language("Это русский текст"), Language::other);
  EXPECT_EQ(guess_language("123 456 !!"), Language::other);
  EXPECT_EQ(guess_language("\xff\xfe"), Language::other);
}

}  // namespace
}  // namespace wellspring
