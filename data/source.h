#pragma once
// Bytes of a file, decompressed, in bounded memory.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

namespace wellspring {

/// A file read from its beginning, through gzip, xz, zstd or bzip2 when its first bytes say so
/// (concatenated members too). Errors name the path: Fault::io when it cannot be read, Fault::data
/// when the compressed data is broken or cut. Not thread-safe.
class ByteSource {
 public:
  explicit ByteSource(const std::string& path);
  ~ByteSource();
  ByteSource(ByteSource&&) noexcept;
  /// Up to `size` bytes; 0 only at the end.
  size_t read(char* out, size_t size);
  /// Bytes of the file on disk consumed so far.
  int64_t position() const;
  /// "gzip", "xz", "zstd", "bzip2" or "" for a plain file.
  const std::string& compression() const;
  const std::string& path() const;

  struct Decoder;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Lines of a ByteSource, without their newline (a carriage return before it goes too).
class LineReader {
 public:
  /// A line longer than `most` bytes is Error(Fault::data) with file and line.
  LineReader(ByteSource& source, int64_t most) : source_(source), most_(most) {}
  bool next(std::string* line);
  /// Number of the line last read, from 1.
  int64_t number() const { return number_; }

 private:
  ByteSource& source_;
  int64_t most_, number_ = 0;
  std::string buffer_;
  size_t at_ = 0;
  bool end_ = false;
};

/// Reads on until `out` holds `size` bytes or the end; returns whether the end was reached.
bool read_up_to(ByteSource& source, size_t size, std::string* out);

}  // namespace wellspring
