#include "data/shard.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <cstddef>
#include <cstring>
#include <fstream>

#include "data/test_data.h"

namespace wellspring {
namespace {

class ShardTest : public ::testing::Test {
 protected:
  TemporaryFolder folder_;
  std::string path_ = join_path(folder_.path(), "x.tokens");

  // Rewrites the file with `change` made to its bytes; `mend` mends the header's checksum.
  std::string broken(const std::function<void(std::string&)>& change, bool mend = false) {
    std::string bytes = read_file(path_);
    change(bytes);
    if (mend) {
      uint64_t h = hash128(std::string_view(bytes).substr(0, offsetof(ShardHeader, header))).low;
      std::memcpy(bytes.data() + offsetof(ShardHeader, header), &h, 8);
    }
    std::string path = join_path(folder_.path(), "broken.tokens");
    std::ofstream(path, std::ios::binary) << bytes;  // no sync: many files
    std::string what = error_of([&] { Shard(path).verify(); }, Fault::data);
    EXPECT_NE(what.find(path), std::string::npos) << what;
    return what;
  }
};

TEST_F(ShardTest, RoundTrip) {
  for (int64_t vocab : {60000, 65536, 65537, 200000}) {
    write_shard(path_, "s", 10, {5, 0, 7}, vocab);
    Shard shard(path_);
    shard.verify();
    EXPECT_EQ(shard.header().token_bytes, vocab <= 65536 ? 2u : 4u);
    EXPECT_EQ(shard.documents(), 3);
    EXPECT_EQ(shard.tokens(), 12);
    EXPECT_EQ(shard.bytes(), 36);
    EXPECT_EQ(shard.length(0), 5);
    EXPECT_EQ(shard.length(1), 0);
    EXPECT_EQ(shard.first(2), 5);
    EXPECT_EQ(shard.info(1).language, Language::zh);
    int32_t out[3];
    shard.copy(2, 4, 3, out);
    EXPECT_EQ(out[0], 214);
    EXPECT_EQ(out[2], 216);
  }
}

TEST_F(ShardTest, NoDocuments) {
  write_shard(path_, "s", 10, {});
  Shard shard(path_);
  shard.verify();
  EXPECT_EQ(shard.documents(), 0);
}

TEST_F(ShardTest, EveryHeaderBitFlippedIsFound) {
  write_shard(path_, "s", 10, {5, 7});
  for (size_t at = 0; at < sizeof(ShardHeader); ++at)
    for (int bit : {0, 7})
      broken([&](std::string& s) { s[at] = static_cast<char>(s[at] ^ (1 << bit)); });
}

TEST_F(ShardTest, FieldsAreNamed) {
  write_shard(path_, "s", 10, {5, 7});
  auto flip = [&](size_t at, bool mend = true) {
    return broken([&](std::string& s) { s[at] = static_cast<char>(s[at] ^ 0x40); }, mend);
  };
  struct Case {
    const char* field;
    size_t at;
  };
  for (const Case& c :
       std::initializer_list<Case>{{"magic", offsetof(ShardHeader, magic)},
                                   {"version", offsetof(ShardHeader, version)},
                                   {"token_bytes", offsetof(ShardHeader, token_bytes)},
                                   {"vocab_size", offsetof(ShardHeader, vocab_size) + 3},
                                   {"eos", offsetof(ShardHeader, eos) + 3},
                                   {"documents", offsetof(ShardHeader, documents) + 7},
                                   {"tokens", offsetof(ShardHeader, tokens) + 7},
                                   {"bytes", offsetof(ShardHeader, bytes)},
                                   {"tokens_at", offsetof(ShardHeader, tokens_at)},
                                   {"offsets_at", offsetof(ShardHeader, offsets_at)},
                                   {"documents_at", offsetof(ShardHeader, documents_at)},
                                   {"file_size", offsetof(ShardHeader, file_size)},
                                   {"payload", offsetof(ShardHeader, payload)},
                                   {"reserved", offsetof(ShardHeader, reserved)}}) {
    std::string what = flip(c.at);
    EXPECT_NE(what.find(c.field), std::string::npos) << what;
  }
  EXPECT_NE(flip(offsetof(ShardHeader, source), false).find("header"), std::string::npos);
  size_t offsets = sizeof(ShardHeader) + 24;
  EXPECT_NE(flip(offsets).find("offsets[0]"), std::string::npos);
  EXPECT_NE(flip(offsets + 8 + 7).find("offsets[2]"), std::string::npos);  // not monotone
  EXPECT_NE(flip(offsets + 16).find("offsets[2]"), std::string::npos);
  EXPECT_NE(flip(offsets + 24 + 4).find("documents[0].language"), std::string::npos);
  EXPECT_NE(flip(sizeof(ShardHeader)).find("checksum"), std::string::npos);
}

TEST_F(ShardTest, EveryTruncationIsFound) {
  write_shard(path_, "s", 10, {5, 7});
  const size_t size = read_file(path_).size();
  for (size_t n = 0; n < size; ++n) broken([&](std::string& s) { s.resize(n); });
  broken([&](std::string& s) { s += '\0'; });
}

TEST_F(ShardTest, FullDiskLeavesNothing) {
  // A limit on the size of files fails a write like a full disk does.
  struct rlimit before {};
  ASSERT_EQ(::getrlimit(RLIMIT_FSIZE, &before), 0);
  auto* handler = std::signal(SIGXFSZ, SIG_IGN);
  struct rlimit small = before;
  small.rlim_cur = 100'000;
  ASSERT_EQ(::setrlimit(RLIMIT_FSIZE, &small), 0);
  ShardWriter writer("s", 100, 0, {});
  std::vector<int32_t> tokens(1'000'000, 1);
  writer.add(tokens, {30, Language::en, {}});
  std::string what = error_of([&] { writer.write(path_); }, Fault::io);
  ::setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_NE(what.find(path_), std::string::npos) << what;
  EXPECT_TRUE(list_directory(folder_.path()).empty());
}

}  // namespace
}  // namespace wellspring
