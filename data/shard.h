#pragma once
// A shard: the tokens of whole documents of one source, mapped from one file (little-endian):
//   header        ShardHeader, 144 bytes
//   tokens        u16 or u32, documents one after another, no separators, padded to 8 bytes
//   offsets       u64 [documents + 1]: first token of each document, then the number of tokens
//   documents     DocumentInfo [documents]

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/file.h"
#include "data/hash.h"

namespace wellspring {

/// Language of a document, guessed from its letters (data/language.h).
enum class Language : uint8_t { other = 0, en = 1, zh = 2 };

struct DocumentInfo {
  uint32_t bytes = 0;  ///< of the cleaned text
  Language language = Language::other;
  uint8_t reserved[3] = {0, 0, 0};
  friend bool operator==(const DocumentInfo&, const DocumentInfo&) = default;
};
static_assert(sizeof(DocumentInfo) == 8);

struct ShardHeader {
  char magic[8];         ///< "WSTOKENS"
  uint32_t version;      ///< 1
  uint32_t token_bytes;  ///< 2 or 4
  uint32_t vocab_size;   ///< every token is below it
  int32_t eos;           ///< id that separates documents, -1 when the tokenizer has none
  uint64_t documents, tokens, bytes;
  uint64_t tokens_at, offsets_at, documents_at, file_size;  ///< in bytes from the file's start
  uint64_t tokenizer[2];                                    ///< hash of the tokenizer
  uint64_t source[2];                                       ///< hash of the source's name
  uint64_t payload[2];                                      ///< hash of all that follows the header
  uint64_t header;    ///< low word of the hash of the header before this field
  uint64_t reserved;  ///< 0
};
static_assert(sizeof(ShardHeader) == 144);

/// A mapped, read-only shard; copies share the mapping. All methods are thread-safe.
class Shard {
 public:
  /// Maps and checks header, sizes and offsets (O(documents)); Error(Fault::data) names file and
  /// field. The tokens' checksum is verify()'s.
  explicit Shard(const std::string& path);

  int64_t documents() const { return static_cast<int64_t>(header_.documents); }
  int64_t tokens() const { return static_cast<int64_t>(header_.tokens); }
  int64_t bytes() const { return static_cast<int64_t>(header_.bytes); }
  const ShardHeader& header() const { return header_; }
  const std::string& path() const { return file_.path(); }

  /// Number of tokens of a document, and its place among the shard's tokens.
  int64_t length(int64_t document) const {
    return static_cast<int64_t>(offsets_[document + 1] - offsets_[document]);
  }
  int64_t first(int64_t document) const { return static_cast<int64_t>(offsets_[document]); }
  const DocumentInfo& info(int64_t document) const { return infos_[document]; }
  /// Copies tokens [begin, begin + count) of a document; the range must lie inside it.
  void copy(int64_t document, int64_t begin, int64_t count, int32_t* out) const;

  /// Reads everything: the checksum of the payload and every token below vocab_size.
  void verify() const;

 private:
  MappedFile file_;
  ShardHeader header_;
  const char* tokens_ = nullptr;
  const uint64_t* offsets_ = nullptr;
  const DocumentInfo* infos_ = nullptr;
};

/// Collects documents in memory and writes them as one shard.
class ShardWriter {
 public:
  /// Tokens are stored in two bytes when vocab_size <= 65,536.
  ShardWriter(std::string_view source, int64_t vocab_size, int32_t eos, const Hash128& tokenizer);
  void add(std::span<const int32_t> tokens, const DocumentInfo& info);
  int64_t documents() const { return static_cast<int64_t>(infos_.size()); }
  int64_t tokens() const { return static_cast<int64_t>(offsets_.back()); }
  int64_t bytes() const { return bytes_; }
  /// Writes the file atomically and empties the writer.
  void write(const std::string& path);

 private:
  int64_t vocab_size_;
  int32_t eos_;
  Hash128 tokenizer_, source_;
  int token_bytes_;
  int64_t bytes_ = 0;
  std::string tokens_;
  std::vector<uint64_t> offsets_{0};
  std::vector<DocumentInfo> infos_;
};

}  // namespace wellspring
