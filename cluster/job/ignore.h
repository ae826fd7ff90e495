#pragma once
// Ignore files, in the syntax of .gitignore.

#include <string>
#include <string_view>
#include <vector>

namespace wellspring::cluster {

/// Rules of which the last that matches a path decides. Reading is thread-safe.
///   build/     a folder of that name anywhere      *.pt       files and folders by their name
///   /data      at the top alone                    a/**/b     any folders between
///   !keep.pt   not ignored after all               \#x        a name that begins with #
/// What lies in an ignored folder cannot be brought back, as with git.
class IgnoreRules {
 public:
  /// Adds the rules of a file's text, one a line; later ones win.
  void add(std::string_view text);
  /// Whether a path (relative to the folder of the rules, without a slash at either end) is ignored
  /// by a rule for it itself; folders above it are the caller's to ask about first.
  bool ignored(std::string_view path, bool is_folder) const;

 private:
  struct Token {
    // folders_in and folders_at are "**/": inside a folder's name, and before one.
    enum class Kind { character, any, set, star, folders_at, folders_in, rest };
    Kind kind = Kind::character;
    char character = 0;
    std::string members;  // of a set: 256 flags
  };
  struct Rule {
    std::vector<Token> tokens;
    bool negated = false, folders_only = false, whole_path = false;
  };
  static bool parse(std::string_view line, Rule& rule);
  static bool matches(const std::vector<Token>& tokens, std::string_view text);

  std::vector<Rule> rules_;
};

}  // namespace wellspring::cluster
