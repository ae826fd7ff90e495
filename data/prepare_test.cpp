#include "data/encoder.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <set>

#include "base/threads.h"
#include "data/loader.h"
#include "data/test_data.h"

namespace wellspring {
namespace {

class PrepareTest : public ::testing::Test {
 protected:
  PrepareTest() {
    for (int i = 0; i < 300; ++i) {
      put(str("en/", i / 10, "/", i, ".txt"),
          str("English document number ", i, "\n\n", std::string(static_cast<size_t>(i), 'e')));
      if (i % 3 == 0) put(str("zh/", i, ".html"), str("<h1>文档</h1><p>第 ", i, " 篇。"));
    }
    put("zh/copy.txt", read_file(in("en/0/7.txt")));
    put("zh/nothing.html", "<script>x</script>");
  }
  std::string in(const std::string& name) { return join_path(folder_.path(), name); }
  void put(const std::string& name, const std::string& content) {
    make_directories(parent_path(in(name)));
    FILE* f = std::fopen(in(name).c_str(), "wb");  // not synced: many files
    std::fwrite(content.data(), 1, content.size(), f);
    std::fclose(f);
  }
  PrepareOptions options(double share = 0.1) {
    PrepareOptions o;
    o.pipeline.eval_share = share;
    return o;
  }
  std::vector<Source> sources() { return name_sources({in("en"), in("zh")}, {}); }
  PrepareResult prepare(const std::string& out, const PrepareOptions& o) {
    return prepare_dataset(sources(), in(out), byte_encoder(), o);
  }
  // Every file's content by name.
  std::vector<std::string> content(const std::string& folder) {
    std::vector<std::string> out;
    for (const std::string& name : list_directory(in(folder)))
      if (name != "inputs.json") out.push_back(name + ":" + read_file(join_path(in(folder), name)));
    return out;
  }
  TemporaryFolder folder_;
};

TEST_F(PrepareTest, WholeDataset) {
  PrepareOptions o = options();
  o.shard_tokens = 20000;
  PrepareResult r = prepare("out", o);
  Dataset dataset(in("out"));
  dataset.verify();
  const SourceInfo &en = dataset.info().sources[0], &zh = dataset.info().sources[1];
  EXPECT_EQ(en.name, "en");
  EXPECT_EQ(en.files, 300);
  EXPECT_EQ(en.train.documents + en.eval.documents, 300);
  EXPECT_NEAR(static_cast<double>(en.eval.documents), 30, 20);
  EXPECT_EQ(zh.train.documents + zh.eval.documents, 100);
  EXPECT_EQ(zh.duplicates, 1);
  EXPECT_EQ(zh.empty, 1);
  EXPECT_EQ(en.train.bytes, en.train.tokens);  // a byte each
  EXPECT_GT(dataset.shards("train", "en").size(), 1u);
  EXPECT_GT(r.seconds, 0);
  // The held-out text is that of the eval shards.
  std::vector<Shard> shards = dataset.shards("eval");
  size_t s = 0;
  int64_t d = 0;
  read_eval_documents(in("out"), [&](const EvalDocument& document) {
    while (d == shards[s].documents()) ++s, d = 0;
    std::vector<int32_t> tokens(document.text.size());
    ASSERT_EQ(shards[s].length(d), document.tokens);
    shards[s].copy(d, 0, document.tokens, tokens.data());
    for (size_t i = 0; i < tokens.size(); ++i)
      EXPECT_EQ(tokens[i], static_cast<unsigned char>(document.text[i]));
    EXPECT_EQ(document.language, document.source == "zh" ? Language::zh : Language::en);
    ++d;
  });
  Loader loader({{in("out"), "", 0}}, {});
  EXPECT_EQ(loader.eos(), 256);
  EXPECT_EQ(loader.epoch_tokens(),
            en.train.tokens + zh.train.tokens + en.train.documents + zh.train.documents);
}

TEST_F(PrepareTest, SameBytesForAnyThreads) {
  const int before = threads();
  set_threads(1);
  prepare("one", options());
  for (int n : {2, 3, 16}) {
    set_threads(n);
    PrepareOptions o = options();
    o.force = true;
    prepare("many", o);
    EXPECT_EQ(content("one"), content("many")) << n;
  }
  set_threads(before);
}

TEST_F(PrepareTest, SplitIsStableWhenSourcesAreAdded) {
  auto held = [&](const std::vector<Source>& s, const std::string& out) {
    prepare_dataset(s, in(out), byte_encoder(), options());
    std::set<std::string> texts;
    read_eval_documents(in(out), [&](const EvalDocument& d) {
      if (d.source == "en") texts.insert(d.text);
    });
    return texts;
  };
  auto both = held(sources(), "both"), alone = held(name_sources({in("en")}, {}), "alone");
  EXPECT_EQ(both, alone);
  EXPECT_FALSE(alone.empty());
}

TEST_F(PrepareTest, UpToDateAndForce) {
  EXPECT_FALSE(prepare("out", options()).up_to_date);
  const auto first = content("out");
  EXPECT_TRUE(prepare("out", options()).up_to_date);
  EXPECT_NE(error_of([&] { prepare("out", options(0.2)); }, Fault::usage).find("--force"),
            std::string::npos);
  EXPECT_EQ(content("out"), first);
  PrepareOptions o = options(0.2);
  o.force = true;
  EXPECT_FALSE(prepare("out", o).up_to_date);
  EXPECT_NE(content("out"), first);
  put("en/new.txt", "a new document");
  EXPECT_NE(error_of([&] { prepare("out", options(0.2)); }, Fault::usage).find("other inputs"),
            std::string::npos);
}

TEST_F(PrepareTest, PartialIsReplacedAndForeignFoldersStay) {
  put("out.partial/dataset.json", "cut");
  put("out.partial/train-00000.tokens", "cut");
  prepare("out", options());
  EXPECT_FALSE(exists(in("out.partial")));
  put("mine/precious.txt", "x");
  EXPECT_NE(error_of([&] { prepare("mine", options()); }, Fault::usage).find("not empty"),
            std::string::npos);
  EXPECT_EQ(read_file(in("mine/precious.txt")), "x");
  EXPECT_NE(error_of([&] { prepare("en/0/7.txt", options()); }, Fault::usage).find("is a file"),
            std::string::npos);
}

TEST_F(PrepareTest, FullDiskLeavesTheOldDataset) {
  prepare("out", options());
  const auto old = content("out");
  PrepareOptions o = options(0.3);
  o.force = true;
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  auto* handler = std::signal(SIGXFSZ, SIG_IGN);
  struct rlimit small = before;
  small.rlim_cur = 20000;
  ::setrlimit(RLIMIT_FSIZE, &small);
  std::string what = error_of([&] { prepare("out", o); }, Fault::io);
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_NE(what.find("out.partial"), std::string::npos) << what;
  EXPECT_EQ(content("out"), old);
  EXPECT_FALSE(exists(in("out.partial")));
}

TEST_F(PrepareTest, KeptInvalidBytesSurviveExactly) {
  for (int i = 0; i < 50; ++i) put(str("bad/", i, ".txt"), str("bytes \xff\xfe ", i));
  PrepareOptions o = options(0.5);
  o.pipeline.read.invalid = InvalidUtf8::keep;
  prepare_dataset(name_sources({in("bad")}, {}), in("out"), byte_encoder(), o);
  Dataset(in("out")).verify();
  int64_t n = 0;
  read_eval_documents(in("out"), [&](const EvalDocument& d) {
    EXPECT_EQ(d.text.substr(0, 9), "bytes \xff\xfe ");
    ++n;
  });
  EXPECT_GT(n, 0);
  EXPECT_EQ(Dataset(in("out")).info().sources[0].invalid_utf8, 100);
}

TEST_F(PrepareTest, DamageIsFound) {
  prepare("out", options());
  auto damaged = [&](const std::string& name, const std::function<void(std::string&)>& change) {
    const std::string path = join_path(in("out"), name), good = read_file(path);
    std::string bytes = good;
    change(bytes);
    write_file_atomic(path, bytes);
    std::string what = error_of([&] { Dataset(in("out")).verify(); }, Fault::data);
    write_file_atomic(path, good);
    EXPECT_NE(what.find(name), std::string::npos) << what;
    return what;
  };
  damaged("train-00000.tokens", [](std::string& s) { s[2000] ^= 1; });
  damaged("eval.jsonl", [](std::string& s) { s.resize(s.size() / 2); });
  damaged("eval.jsonl", [](std::string& s) { s.erase(0, s.find('\n') + 1); });
  damaged("dataset.json", [](std::string& s) { s.resize(s.size() / 2); });
  for (const char* field : {"vocab_size", "eos", "tokenizer_hash", "documents", "source", "seed"})
    damaged("dataset.json", [&](std::string& s) { s[s.find(field)] = 'X'; });
  auto swap = [](const char* from, const char* to) {
    return [=](std::string& s) { s.replace(s.find(from), std::string(from).size(), to); };
  };
  EXPECT_NE(damaged("dataset.json", swap("\"vocab_size\": 257", "\"vocab_size\": \"257\""))
                .find("vocab_size"),
            std::string::npos);
  EXPECT_NE(damaged("dataset.json", swap("train-00000", "../x/train")).find("plain name"),
            std::string::npos);
  Dataset(in("out")).verify();
}

TEST_F(PrepareTest, Clean) {
  PrepareResult r = clean_sources(sources(), in("text"), options());
  EXPECT_EQ(list_directory(in("text")),
            (std::vector<std::string>{"eval-en.txt", "eval-zh.txt", "inputs.json", "report.json",
                                      "train.txt"}));
  int64_t bytes = 0, documents = 0;
  for (const SourceInfo& s : r.info.sources) bytes += s.train.bytes, documents += s.train.documents;
  EXPECT_EQ(file_size(in("text/train.txt")), bytes + 2 * documents);
  EXPECT_TRUE(clean_sources(sources(), in("text"), options()).up_to_date);
  // The same split as a dataset's.
  prepare("out", options());
  std::string held;
  read_eval_documents(in("out"), [&](const EvalDocument& d) {
    if (d.language == Language::zh) held += d.text + "\n\n";
  });
  EXPECT_EQ(read_file(in("text/eval-zh.txt")), held);
}

TEST_F(PrepareTest, ProgressInsideOneBigFile) {
  std::string lines;
  for (int i = 0; lines.size() < (50 << 20); ++i)
    lines += str("{\"text\":\"", i, std::string(2000, 'x'), "\"}\n");
  put("big.jsonl", lines);
  std::vector<int64_t> seen;
  clean_sources(name_sources({in("big.jsonl")}, {}), in("big"), options(),
                [&](int64_t done, int64_t total) {
                  EXPECT_EQ(total, static_cast<int64_t>(lines.size()));
                  EXPECT_GE(done, seen.empty() ? 0 : seen.back());
                  seen.push_back(done);
                });
  ASSERT_GE(seen.size(), 3u);
  EXPECT_GT(seen[0], 0);
  EXPECT_LT(seen[0], seen.back());
  EXPECT_EQ(seen.back(), static_cast<int64_t>(lines.size()));
}

TEST_F(PrepareTest, BadRequests) {
  auto what = [&](auto f, Fault fault) { return error_of(f, fault); };
  EXPECT_NE(what(
                [&] {
                  name_sources({"a/x", "b/x"}, {});
                },
                Fault::usage)
                .find("--name"),
            std::string::npos);
  EXPECT_EQ(name_sources({"a/x", "b/x/"}, {"y"})[1].name, "x");
  EXPECT_NE(what(
                [&] {
                  name_sources({"a", "a/"}, {});
                },
                Fault::usage)
                .find("twice"),
            std::string::npos);
  EXPECT_NE(what(
                [&] {
                  name_sources({"a"}, {"x", "y"});
                },
                Fault::usage)
                .find("2 names"),
            std::string::npos);
  EXPECT_NE(what([&] { prepare("out", options(1)); }, Fault::usage).find("--eval-share"),
            std::string::npos);
  put("blank/a.txt", "  \n");
  EXPECT_NE(what(
                [&] {
                  prepare_dataset(name_sources({in("blank")}, {}), in("out"), byte_encoder(),
                                  options());
                },
                Fault::data)
                .find("no documents"),
            std::string::npos);
  EXPECT_FALSE(exists(in("out")));
  Encoder small = byte_encoder();
  small.eos = -1;
  prepare_dataset(sources(), in("out"), small, options());
  EXPECT_NE(what(
                [&] {
                  Loader({{in("out"), "", 0}}, {});
                },
                Fault::data)
                .find("ends documents"),
            std::string::npos);
}

TEST(HashSet, Grows) {
  HashSet set;
  EXPECT_TRUE(set.insert({}));
  EXPECT_FALSE(set.insert({}));
  for (uint64_t i = 1; i < 20000; ++i) EXPECT_TRUE(set.insert(hash128(str(i))));
  for (uint64_t i = 1; i < 20000; ++i) EXPECT_FALSE(set.insert(hash128(str(i))));
  EXPECT_EQ(set.size(), 20000);
}

}  // namespace
}  // namespace wellspring
