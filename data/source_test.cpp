#include "data/source.h"

#include <bzlib.h>
#include <gtest/gtest.h>
#include <lzma.h>
#include <zlib.h>
#include <zstd.h>

#include "base/random.h"
#include "data/test_data.h"

namespace wellspring {
namespace {

std::string sample(size_t n) {
  Random random(5);
  std::string s;
  while (s.size() < n)
    s += static_cast<char>('a' + random.below(7)), s += random.below(9) ? "" : "\n";
  return s;
}

std::string gzip(const std::string& s) {
  z_stream z{};
  deflateInit2(&z, 6, Z_DEFLATED, 31, 8, Z_DEFAULT_STRATEGY);
  std::string out(s.size() + 1000, '\0');
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(s.data()));
  z.avail_in = static_cast<uInt>(s.size());
  z.next_out = reinterpret_cast<Bytef*>(out.data());
  z.avail_out = static_cast<uInt>(out.size());
  deflate(&z, Z_FINISH);
  out.resize(z.total_out);
  deflateEnd(&z);
  return out;
}

std::string xz(const std::string& s) {
  std::string out(s.size() + 1000, '\0');
  size_t n = 0;
  lzma_easy_buffer_encode(1, LZMA_CHECK_CRC64, nullptr, reinterpret_cast<const uint8_t*>(s.data()),
                          s.size(), reinterpret_cast<uint8_t*>(out.data()), &n, out.size());
  out.resize(n);
  return out;
}

std::string zstd(const std::string& s) {
  std::string out(ZSTD_compressBound(s.size()), '\0');
  out.resize(ZSTD_compress(out.data(), out.size(), s.data(), s.size(), 3));
  return out;
}

std::string bzip2(const std::string& s) {
  std::string out(s.size() + 1000, '\0');
  auto n = static_cast<unsigned>(out.size());
  BZ2_bzBuffToBuffCompress(out.data(), &n, const_cast<char*>(s.data()),
                           static_cast<unsigned>(s.size()), 1, 0, 0);
  out.resize(n);
  return out;
}

class SourceTest : public ::testing::Test {
 protected:
  std::string read(const std::string& bytes, std::string* kind = nullptr) {
    write_file_atomic(path_, bytes);
    ByteSource source(path_);
    if (kind) *kind = source.compression();
    std::string out;
    read_up_to(source, size_t{1} << 30, &out);
    return out;
  }
  TemporaryFolder folder_;
  std::string path_ = join_path(folder_.path(), "file");
  struct Packer {
    const char* name;
    std::string (*pack)(const std::string&);
  };
  const std::vector<Packer> packers_ = {
      {"gzip", gzip}, {"xz", xz}, {"zstd", zstd}, {"bzip2", bzip2}};
};

TEST_F(SourceTest, EveryCompression) {
  for (size_t size : {0, 1, 100, 300000}) {
    const std::string s = sample(size);
    for (const Packer& p : packers_) {
      std::string kind;
      EXPECT_EQ(read(p.pack(s), &kind), s) << p.name;
      EXPECT_EQ(kind, p.name);
      EXPECT_EQ(read(p.pack(s) + p.pack("more")), s + "more") << p.name;  // concatenated
    }
    EXPECT_EQ(read(s), s);
  }
  EXPECT_EQ(read("BZh is no bzip2 file"), "BZh is no bzip2 file");
  EXPECT_EQ(read("\x1f\x8b"), "\x1f\x8b");
}

TEST_F(SourceTest, HighlyCompressible) {
  std::string zeros(5 << 20, 'x');  // output keeps coming after the last input byte
  for (const Packer& p : packers_) EXPECT_EQ(read(p.pack(zeros)).size(), zeros.size()) << p.name;
}

TEST_F(SourceTest, CutAndBrokenAreNamed) {
  const std::string s = sample(50000);
  for (const Packer& p : packers_) {
    const std::string packed = p.pack(s);
    for (size_t n : {size_t{12}, packed.size() / 2, packed.size() - 1}) {
      std::string what = error_of([&] { read(packed.substr(0, n)); }, Fault::data);
      EXPECT_NE(what.find(path_), std::string::npos) << p.name << n << what;
      EXPECT_NE(what.find(p.name), std::string::npos) << what;
    }
    std::string broken = packed;
    for (size_t i = packed.size() / 2; i < packed.size() / 2 + 40; ++i) broken[i] ^= 0x55;
    EXPECT_NE(error_of([&] { read(broken); }, Fault::data).find(path_), std::string::npos)
        << p.name;
  }
}

TEST_F(SourceTest, MissingAndFolder) {
  EXPECT_NE(error_of([&] { ByteSource(path_ + "x"); }, Fault::io).find("No such file"),
            std::string::npos);
  EXPECT_NE(error_of([&] { ByteSource(folder_.path()); }, Fault::io).find("folder"),
            std::string::npos);
}

TEST_F(SourceTest, Lines) {
  std::string text = "a\nbb\r\n\nlast";
  write_file_atomic(path_, text);
  ByteSource source(path_);
  LineReader lines(source, 1 << 20);
  std::string line;
  std::vector<std::string> all;
  while (lines.next(&line)) all.push_back(line);
  EXPECT_EQ(all, (std::vector<std::string>{"a", "bb", "", "last"}));
  EXPECT_EQ(lines.number(), 4);

  write_file_atomic(path_, "x\n" + std::string(500000, 'y') + "\n");
  ByteSource again(path_);
  LineReader limited(again, 100000);
  limited.next(&line);
  EXPECT_NE(error_of([&] { limited.next(&line); }, Fault::data).find(path_ + ":2"),
            std::string::npos);
}

}  // namespace
}  // namespace wellspring
