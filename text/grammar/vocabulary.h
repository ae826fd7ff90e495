#pragma once
// Tokens as tries of their bytes. Internal to this folder.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/grammar/automaton.h"

namespace wellspring::grammar {

/// Nodes in preorder; node 0 is the root.
struct Trie {
  std::vector<uint8_t> byte;
  std::vector<uint16_t> depth;
  std::vector<uint32_t> end;     ///< after the last node below
  std::vector<uint16_t> groups;  ///< groups (byte_group) of the bytes below
  std::vector<uint32_t> first;   ///< tokens that end here: tokens[first[i] .. first[i + 1])
  std::vector<int32_t> tokens;
  uint32_t longest = 0;  ///< bytes of the longest token
  size_t size() const { return byte.size(); }
};

/// 16 groups of bytes that grammars mostly treat alike. (A wrong guess costs time only.)
constexpr int byte_group(uint8_t c) {
  if (c >= 0x80) return 0;
  if (c >= 'a' && c <= 'z') return 1;
  if (c >= 'A' && c <= 'Z') return 2;
  if (c >= '0' && c <= '9') return 3;
  switch (c) {
    case ' ':
      return 4;
    case '"':
      return 5;
    case '\\':
      return 6;
    case '\n':
    case '\r':
      return 7;
    case ',':
    case ':':
      return 8;
    case '{':
    case '}':
      return 9;
    case '[':
    case ']':
      return 10;
    case '.':
      return 11;
    case '-':
    case '_':
      return 12;
    case '\'':
      return 13;
    default:
      return c < 0x20 ? 14 : 15;
  }
}

struct Vocabulary {
  int32_t size = 0;
  std::string text;
  std::vector<uint32_t> offset;  ///< of token i in text; size + 1 entries
  std::vector<int32_t> end_tokens;
  /// Tokens of at most kShort bytes, and the others. What is far from a limit (a length, a count)
  /// has the same mask as without one, and short tokens make "far" short.
  static constexpr uint32_t kShort = Automaton::kAlike;
  Trie tries[2];

  std::string_view bytes(int32_t token) const {
    return std::string_view(text).substr(offset[token], offset[token + 1] - offset[token]);
  }
  bool is_end(int32_t token) const;
};

}  // namespace wellspring::grammar
