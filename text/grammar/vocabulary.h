#pragma once
// Tokens as tries of their bytes. Internal to this folder.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace wellspring::grammar {

/// Nodes in preorder; node 0 is the root.
struct Trie {
  std::vector<uint8_t> byte;
  std::vector<uint16_t> depth;
  std::vector<uint32_t> end;         ///< after the last node below
  std::vector<uint32_t> first;       ///< tokens that end here: tokens[first[i] .. first[i + 1])
  std::vector<int32_t> tokens;
  uint32_t longest = 0;              ///< bytes of the longest token
  size_t size() const { return byte.size(); }
};

struct Vocabulary {
  int32_t size = 0;
  std::string text;
  std::vector<uint32_t> offset;  ///< of token i in text; size + 1 entries
  std::vector<int32_t> end_tokens;
  /// Tokens of at most kShort bytes, and the others. What is far from a limit (a length, a count)
  /// has the same mask as without one, and short tokens make "far" short.
  static constexpr uint32_t kShort = 16;
  Trie tries[2];

  std::string_view bytes(int32_t token) const {
    return std::string_view(text).substr(offset[token], offset[token + 1] - offset[token]);
  }
  bool is_end(int32_t token) const;
};

}  // namespace wellspring::grammar
