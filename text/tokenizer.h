#pragma once
// Tokenizers: byte pair encoding as Hugging Face's tokenizer.json and tiktoken's rank files define
// it.

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "text/split.h"

namespace wellspring {

struct TokenizerData;

struct EncodeOptions {
  /// Add what the tokenizer puts around a text (bos, eos), as its post-processor says.
  bool add_special = true;
  /// Special tokens written in the text become their ids; otherwise they are ordinary text. (Added
  /// tokens that are not special are always found.)
  bool parse_special = true;
  /// Bytes [begin, end) of the text, rising and apart, in which special tokens are ordinary text even so: what users
  /// wrote into a prompt.
  std::span<const std::pair<size_t, size_t>> plain = {};
  /// When set, the number of bytes that are not valid UTF-8 is added to it. They are encoded byte
  /// for byte all the same.
  int64_t* invalid_bytes = nullptr;
};

/// Immutable after loading; copies share everything; all functions are thread-safe.
class Tokenizer {
 public:
  /// A tokenizer.json, a folder that holds one (tokenizer_config.json beside it names bos and eos),
  /// or a NAME.tiktoken rank file whose name says its pattern (gpt2, r50k, p50k, cl100k, o200k).
  /// Error(Fault::io) when it cannot be read, Error(Fault::data) naming file and field otherwise.
  static Tokenizer load(const std::string& path);
  /// The text of a tokenizer.json; `where` stands in errors.
  static Tokenizer parse(std::string_view json, const std::string& where);
  /// tiktoken's rank file: lines "BASE64 RANK". Special tokens get the ids after the ranks.
  static Tokenizer load_ranks(const std::string& path, SplitPattern pattern,
                              const std::vector<std::string>& special = {});

  /// Writes a tokenizer.json that `tokenizers` and `transformers` load. A path that does not end in
  /// ".json" is a folder (made when missing), which gets a tokenizer_config.json, too.
  void save(const std::string& path) const;
  std::string to_json() const;

  std::vector<int32_t> encode(std::string_view text, const EncodeOptions& options = {}) const;
  /// Appends to `out`.
  void encode_to(std::string_view text, std::vector<int32_t>& out,
                 const EncodeOptions& options = {}) const;
  /// Many texts on all threads, in order.
  std::vector<std::vector<int32_t>> encode_all(std::span<const std::string_view> texts,
                                               const EncodeOptions& options = {}) const;
  /// Bytes of the tokens (invalid UTF-8 where they are). decode(encode(x)) == x for any bytes with
  /// a byte-level tokenizer without normaliser, prefix space and stripping tokens.
  /// Error(Fault::usage) for an id that is out of range or unused.
  std::string decode(std::span<const int32_t> ids, bool skip_special = false) const;

  /// Largest id + 1, added tokens included.
  int32_t vocab_size() const;
  std::optional<int32_t> token_to_id(std::string_view token) const;
  /// As tokenizer.json spells it ("Ġthe"); empty for an unused id. Error(Fault::usage) out of
  /// range.
  std::string id_to_token(int32_t id) const;
  bool is_special(int32_t id) const;
  std::optional<int32_t> bos_id() const;
  std::optional<int32_t> eos_id() const;
  /// Whether every byte has a token of its own (any bytes can be encoded).
  bool byte_level() const;
  /// Where it came from: a path, or what parse() was told.
  const std::string& source() const;

 private:
  friend class StreamDecoder;
  explicit Tokenizer(std::shared_ptr<const TokenizerData> data) : data_(std::move(data)) {}
  std::shared_ptr<const TokenizerData> data_;
};

/// Text of one token after another, never split inside a UTF-8 character. Not thread-safe.
class StreamDecoder {
 public:
  /// `repair`: invalid UTF-8 comes out as U+FFFD instead of as it is.
  explicit StreamDecoder(const Tokenizer& tokenizer, bool skip_special = true, bool repair = false);
  /// What has become certain with this token; often empty.
  std::string push(int32_t id);
  /// The rest (an unfinished character); the decoder starts anew.
  std::string finish();

 private:
  std::string take(size_t n);
  Tokenizer tokenizer_;
  bool skip_special_, repair_, first_ = true;
  int strip_left_ = 0;
  std::string pending_;
};

}  // namespace wellspring
