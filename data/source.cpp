#include "data/source.h"

#include <bzlib.h>
#include <fcntl.h>
#include <lzma.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "base/error.h"
#include "base/text.h"

namespace wellspring {

/// One compressed format: turns input bytes into output bytes.
struct ByteSource::Decoder {
  enum class State { more, member_end };
  struct Step {
    size_t used = 0, made = 0;
    State state = State::more;
    const char* error = nullptr;
  };
  virtual ~Decoder() = default;
  virtual Step step(const char* in, size_t in_size, char* out, size_t out_size) = 0;
  /// Prepares for another member after member_end.
  virtual void restart() = 0;
};

namespace {

using Decoder = ByteSource::Decoder;

constexpr uint64_t kMemory = uint64_t{512} << 20;  // a decoder that wants more is refused

struct Gzip final : Decoder {
  z_stream z{};
  Gzip() { WS_CHECK(inflateInit2(&z, 15 + 16) == Z_OK, "zlib starts"); }
  ~Gzip() override { inflateEnd(&z); }
  void restart() override { inflateReset(&z); }
  Step step(const char* in, size_t in_size, char* out, size_t out_size) override {
    z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in));
    z.avail_in = static_cast<uInt>(in_size);
    z.next_out = reinterpret_cast<Bytef*>(out);
    z.avail_out = static_cast<uInt>(out_size);
    int rc = inflate(&z, Z_NO_FLUSH);
    Step s{in_size - z.avail_in, out_size - z.avail_out, State::more, nullptr};
    if (rc == Z_STREAM_END)
      s.state = State::member_end;
    else if (rc != Z_OK && rc != Z_BUF_ERROR)
      s.error = z.msg ? z.msg : "broken data";
    return s;
  }
};

struct Bzip2 final : Decoder {
  bz_stream z{};
  Bzip2() { WS_CHECK(BZ2_bzDecompressInit(&z, 0, 0) == BZ_OK, "bzip2 starts"); }
  ~Bzip2() override { BZ2_bzDecompressEnd(&z); }
  void restart() override {
    BZ2_bzDecompressEnd(&z);
    z = bz_stream{};
    WS_CHECK(BZ2_bzDecompressInit(&z, 0, 0) == BZ_OK, "bzip2 starts");
  }
  Step step(const char* in, size_t in_size, char* out, size_t out_size) override {
    z.next_in = const_cast<char*>(in);
    z.avail_in = static_cast<unsigned>(in_size);
    z.next_out = out;
    z.avail_out = static_cast<unsigned>(out_size);
    int rc = BZ2_bzDecompress(&z);
    Step s{in_size - z.avail_in, out_size - z.avail_out, State::more, nullptr};
    if (rc == BZ_STREAM_END)
      s.state = State::member_end;
    else if (rc != BZ_OK)
      s.error = rc == BZ_DATA_ERROR ? "a checksum does not match" : "broken data";
    return s;
  }
};

struct Xz final : Decoder {
  lzma_stream z = LZMA_STREAM_INIT;
  Xz() { restart(); }
  ~Xz() override { lzma_end(&z); }
  void restart() override {
    WS_CHECK(lzma_stream_decoder(&z, kMemory, 0) == LZMA_OK, "liblzma starts");
  }
  Step step(const char* in, size_t in_size, char* out, size_t out_size) override {
    z.next_in = reinterpret_cast<const uint8_t*>(in);
    z.avail_in = in_size;
    z.next_out = reinterpret_cast<uint8_t*>(out);
    z.avail_out = out_size;
    lzma_ret rc = lzma_code(&z, LZMA_RUN);
    Step s{in_size - z.avail_in, out_size - z.avail_out, State::more, nullptr};
    if (rc == LZMA_STREAM_END)
      s.state = State::member_end;
    else if (rc == LZMA_MEMLIMIT_ERROR)
      s.error = "it wants more than 512 MB of memory to unpack";
    else if (rc != LZMA_OK && rc != LZMA_BUF_ERROR)
      s.error = "broken data";
    return s;
  }
};

struct Zstd final : Decoder {
  ZSTD_DStream* z = ZSTD_createDStream();
  Zstd() {
    WS_CHECK(z != nullptr, "zstd starts");
    ZSTD_DCtx_setParameter(z, ZSTD_d_windowLogMax, 29);
  }
  ~Zstd() override { ZSTD_freeDStream(z); }
  void restart() override { ZSTD_DCtx_reset(z, ZSTD_reset_session_only); }
  Step step(const char* in, size_t in_size, char* out, size_t out_size) override {
    ZSTD_inBuffer i{in, in_size, 0};
    ZSTD_outBuffer o{out, out_size, 0};
    size_t rc = ZSTD_decompressStream(z, &o, &i);
    Step s{i.pos, o.pos, State::more, nullptr};
    if (ZSTD_isError(rc))
      s.error = ZSTD_getErrorName(rc);
    else if (rc == 0)
      s.state = State::member_end;
    return s;
  }
};

struct Codec {
  const char* name;
  std::string_view magic;
  std::unique_ptr<Decoder> (*make)();
};

template <class T>
std::unique_ptr<Decoder> make_decoder() {
  return std::make_unique<T>();
}

const Codec kCodecs[] = {
    {"gzip", {"\x1f\x8b\x08", 3}, make_decoder<Gzip>},
    {"xz",
     {"\xfd"
      "7zXZ\0",
      6},
     make_decoder<Xz>},
    {"zstd", {"\x28\xb5\x2f\xfd", 4}, make_decoder<Zstd>},
    {"bzip2", {"BZh", 3}, make_decoder<Bzip2>},
};

// "BZh" is also text: the level digit and the block or end mark must follow.
bool matches(const Codec& codec, std::string_view head) {
  if (!starts_with(head, codec.magic)) return false;
  if (std::string_view(codec.name) != "bzip2") return true;
  return head.size() >= 10 && head[3] >= '1' && head[3] <= '9' &&
         (head.substr(4, 6) == "\x31\x41\x59\x26\x53\x59" ||
          head.substr(4, 6) == "\x17\x72\x45\x38\x50\x90");
}

constexpr size_t kBuffer = 64 << 10;

}  // namespace

struct ByteSource::Impl {
  std::string path, compression;
  int fd = -1;
  int64_t consumed = 0;
  std::vector<char> buffer;
  size_t begin = 0, end = 0;
  bool at_end = false, in_member = false;
  std::unique_ptr<Decoder> decoder;

  ~Impl() {
    if (fd >= 0) ::close(fd);
  }

  void fill() {  // when the buffer is empty
    begin = end = 0;
    ssize_t n;
    do n = ::read(fd, buffer.data(), buffer.size());
    while (n < 0 && errno == EINTR);
    if (n < 0) throw Error(Fault::io, str("cannot read ", path, ": ", std::strerror(errno)));
    if (n == 0) at_end = true;
    end = static_cast<size_t>(n);
    consumed += n;
  }

  [[noreturn]] void broken(const std::string& what) {
    throw Error(Fault::data, str(path, ": ", what, " (", compression, ", near byte ",
                                 consumed - static_cast<int64_t>(end - begin),
                                 "). Fetch the file again or leave it out"));
  }

  size_t decode(char* out, size_t size) {
    while (true) {
      if (begin == end && !at_end) fill();
      if (!in_member) {
        while (begin < end && buffer[begin] == 0) ++begin;  // padding between or after members
        if (begin == end) {
          if (at_end) return 0;
          continue;
        }
        in_member = true;
      }
      Decoder::Step s = decoder->step(buffer.data() + begin, end - begin, out, size);
      begin += s.used;
      if (s.error) broken(str("cannot unpack: ", s.error));
      if (s.state == Decoder::State::member_end) {
        in_member = false;
        decoder->restart();
      } else if (s.used == 0 && s.made == 0) {
        broken(begin == end && at_end ? "the compressed data is cut"
                                      : "cannot unpack: no progress");
      }
      if (s.made > 0) return s.made;
    }
  }
};

ByteSource::ByteSource(const std::string& path) : impl_(std::make_unique<Impl>()) {
  Impl& m = *impl_;
  m.path = path;
  do m.fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  while (m.fd < 0 && errno == EINTR);
  struct stat info {};
  if (m.fd < 0 || ::fstat(m.fd, &info) != 0)
    throw Error(Fault::io, str("cannot read ", path, ": ", std::strerror(errno)));
  if (S_ISDIR(info.st_mode)) throw Error(Fault::io, str("cannot read ", path, ": it is a folder"));
  m.buffer.resize(kBuffer);
  m.fill();
  for (const Codec& codec : kCodecs)
    if (matches(codec, {m.buffer.data(), m.end})) {
      m.compression = codec.name;
      m.decoder = codec.make();
      m.in_member = true;
      break;
    }
}

ByteSource::~ByteSource() = default;
ByteSource::ByteSource(ByteSource&&) noexcept = default;

size_t ByteSource::read(char* out, size_t size) {
  Impl& m = *impl_;
  if (size == 0) return 0;
  if (m.decoder) return m.decode(out, std::min(size, size_t{1} << 30));
  if (m.begin == m.end && !m.at_end) m.fill();
  size_t n = std::min(size, m.end - m.begin);
  std::memcpy(out, m.buffer.data() + m.begin, n);
  m.begin += n;
  return n;
}

int64_t ByteSource::position() const {
  return impl_->consumed - static_cast<int64_t>(impl_->end - impl_->begin);
}
const std::string& ByteSource::compression() const { return impl_->compression; }
const std::string& ByteSource::path() const { return impl_->path; }

bool LineReader::next(std::string* line) {
  size_t from = at_;
  while (true) {
    size_t newline = buffer_.find('\n', from);
    if (newline != std::string::npos || (end_ && at_ < buffer_.size())) {
      size_t stop = newline == std::string::npos ? buffer_.size() : newline;
      size_t length = stop - at_;
      if (length > 0 && buffer_[stop - 1] == '\r') --length;
      line->assign(buffer_, at_, length);
      at_ = newline == std::string::npos ? stop : stop + 1;
      ++number_;
      return true;
    }
    if (end_) return false;
    if (static_cast<int64_t>(buffer_.size() - at_) > most_)
      throw Error(Fault::data, str(source_.path(), ":", number_ + 1, ": the line is longer than ",
                                   human_bytes(static_cast<double>(most_))));
    buffer_.erase(0, at_);
    at_ = 0;
    from = buffer_.size();
    buffer_.resize(from + kBuffer);
    size_t n = source_.read(buffer_.data() + from, kBuffer);
    buffer_.resize(from + n);
    end_ = n == 0;
  }
}

bool read_up_to(ByteSource& source, size_t size, std::string* out) {
  while (out->size() < size) {
    size_t at = out->size(), room = std::min(size - at, kBuffer * 4);
    out->resize(at + room);
    size_t n = source.read(out->data() + at, room);
    out->resize(at + n);
    if (n == 0) return true;
  }
  return false;
}

}  // namespace wellspring
