#pragma once
// What a tokenizer is made of. For the sources of text/ alone.

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json_fwd.h"
#include "text/bpe.h"
#include "text/split.h"
#include "text/text_table.h"

namespace wellspring {

struct AddedToken {
  std::string content;
  int32_t id = 0;
  bool special = false, lstrip = false, rstrip = false, normalized = true, single_word = false;
};

/// Finds added tokens, longest first at each place.
class TokenTrie {
 public:
  void insert(std::string_view text, int index);
  bool empty() const { return nodes_.size() <= 1; }
  /// Index of the longest entry that begins at s[at], or -1; its length in *length.
  int longest(std::string_view s, size_t at, size_t* length) const;
  bool may_begin(char c) const { return first_[static_cast<unsigned char>(c)]; }

 private:
  struct Node {
    std::vector<std::pair<char, int>> next;
    int index = -1;
  };
  std::vector<Node> nodes_{1};
  std::array<bool, 256> first_{};
};

struct NormalizerStep {
  enum Kind { nfc, prepend, replace } kind;
  std::string from, to;
};

enum class SplitBehaviour { isolated, removed, merged_with_previous, merged_with_next, contiguous };

struct PreStep {
  enum Kind { pattern, literal, digits, metaspace, byte_level } kind;
  SplitPattern split = SplitPattern::gpt2;
  SplitBehaviour behaviour = SplitBehaviour::isolated;
  bool invert = false;
  std::string text;               ///< literal to split at, or metaspace's replacement
  bool flag = false;              ///< digits: one by one; metaspace: split; byte_level: use_regex
  bool add_prefix_space = false;  ///< byte_level
  enum Prepend { always, first, never } prepend = always;
};

/// How tokens become bytes: `pieces` is per id, strips are for the whole text.
struct DecodeRules {
  bool join_by_space = false;      ///< no decoder at all
  bool first_drops_space = false;  ///< Metaspace: the first token loses its replacement characters
  std::string replacement;
  int strip_left = 0;  ///< characters strip_char taken from the start of the text
  char strip_char = ' ';
};

struct TokenizerData {
  std::string where;
  std::string shell;  ///< the JSON without vocabulary and merges
  uint32_t serial;    ///< of the process, for the word cache

  // Vocabulary, by id.
  enum Use : uint8_t { in_model = 1, is_added = 2, special = 4, piece_is_token = 8 };
  TextTable tokens;           ///< in the spelling of tokenizer.json; empty = unused
  std::vector<uint8_t> used;  ///< a sum of Use; 0 = unused
  TextIndex ids;              ///< of the used tokens
  TextTable pieces;           ///< decoded bytes; empty where piece_is_token

  // Model.
  MergeTable merges;
  std::vector<std::pair<int32_t, int32_t>> merge_list;
  bool byte_level = false, byte_fallback = false, ignore_merges = false, fuse_unk = false;
  std::array<int32_t, 256> byte_ids;  ///< -1: none
  int32_t unk = -1;
  bool all_bytes = false;                  ///< every byte has a token
  size_t longest = 0;                      ///< bytes of the longest token of the vocabulary
  std::vector<uint32_t> whole_characters;  ///< by code point: see whole_characters.cpp; or empty

  // Steps before and after the model.
  std::vector<AddedToken> added;
  TokenTrie raw_trie, normalized_trie;
  std::vector<NormalizerStep> normalizer;
  std::vector<PreStep> pre;
  std::optional<SplitPattern> simple;  ///< the pre-tokeniser is this pattern alone
  bool prefix_space = false;           ///< of the simple pre-tokeniser
  std::vector<int32_t> before, after;  ///< ids around a text
  DecodeRules decode;
  std::optional<int32_t> bos, eos;

  /// Takes the tokens by id, whose `used` is filled; Error(Fault::data) naming `place` when one stands twice.
  void take_tokens(std::span<const std::string_view> by_id, const std::string& place);
  /// Fills tries and the fast path from the rest; names `where` in errors.
  void finish();
  /// Among the model's vocabulary and added tokens, or in the model's alone; -1: not there.
  int32_t find(std::string_view token) const { return ids.find(tokens, token); }
  int32_t find_in_model(std::string_view token) const {
    const int32_t id = find(token);
    return id >= 0 && used[static_cast<size_t>(id)] & in_model ? id : -1;
  }
  /// What a token adds to a text.
  std::string_view piece(int32_t id) const {
    const auto i = static_cast<size_t>(id);
    const TextTable* const in[] = {&pieces, &tokens};  // no branch: it would be taken at random
    return (*in[(used[i] & piece_is_token) != 0])[i];
  }
  bool is_special(int32_t id) const { return used[static_cast<size_t>(id)] & special; }
  std::string normalize(std::string_view text) const;
  std::string first_piece(int32_t id) const;
  void check_id(int32_t id) const;
  void encode_piece(const char* p, size_t n, IdSink& sink) const;
  void find_whole_characters();
  size_t start_with_characters(const char* p, size_t n, int32_t* to) const;
  void encode_segment(std::string_view text, bool first, IdSink& sink) const;
};

/// GPT-2's alphabet: every byte as one printable character, and back (-1: not in the alphabet).
const std::array<char32_t, 256>& byte_alphabet();
int byte_of_character(char32_t c);
std::string to_byte_alphabet(std::string_view bytes);
/// nullopt when a character is not of the alphabet.
std::optional<std::string> from_byte_alphabet(std::string_view token);

/// Reads the steps of a tokenizer.json into `data` (tokenizer_steps.cpp). Errors name the field.
void read_steps(const Json& shell, TokenizerData& data);
[[noreturn]] void bad_field(const std::string& where, const std::string& field,
                            const std::string& what);
/// The JSON of a byte-level tokenizer without vocabulary.
std::string byte_level_shell(SplitPattern pattern, const std::vector<AddedToken>& added,
                             bool ignore_merges);

}  // namespace wellspring
