#pragma once
// Constrained decoding: which tokens may come next so that the text obeys a JSON schema, a regular
// expression or a grammar in llama.cpp's notation (GBNF). All three become one pushdown automaton
// over bytes (automaton.h).
//
// What holds: a text that ended by itself (an end token was allowed and taken) is in the language;
// one that was cut is the beginning of a text in it. The language may be smaller than what was
// asked for where README.md says so (blanks, digits, order of properties), never larger.

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace wellspring {

class Tokenizer;

namespace grammar {
struct Automaton;
struct Vocabulary;
struct MatcherState;
}  // namespace grammar

/// Which blanks a model may write between the parts of a JSON text. Always bounded.
enum class JsonBlanks {
  free,    ///< none, one space, or a new line with at most 32 blanks; at most one space after ':'
  none,    ///< {"a":1,"b":2}
  spaced,  ///< {"a": 1, "b": 2}
};

/// A subschema that somebody else wrote: errors and notes give places in it as its own ("NAME #/..."), and its
/// references begin at it.
struct SchemaPart {
  std::string pointer;  ///< JSON pointer of it in the whole schema
  std::string name;     ///< may be empty: the whole schema itself
  /// What no grammar can hold exactly is left out where it stands (README.md says what becomes of each keyword; notes()
  /// names it), instead of refused: the texts hold all the rest.
  bool lenient = false;
};

struct JsonGrammarOptions {
  JsonBlanks blanks = JsonBlanks::free;
  std::string before = {}, after = {};  ///< what must stand around the value
  std::string between = {};             ///< not empty: one value or more, and this between them
  std::vector<SchemaPart> parts = {};   ///< none inside another
};

/// A compiled grammar. Immutable; copies share everything, masks already computed among them;
/// thread-safe.
class Grammar {
 public:
  explicit Grammar(std::shared_ptr<const grammar::Automaton> automaton);
  /// What was read but does not constrain (a format without a rule here, what a lenient part lost), one line each,
  /// with its place.
  const std::vector<std::string>& notes() const;
  /// Nodes of the automaton, and its size in bytes.
  size_t nodes() const;
  size_t bytes() const;
  /// The inside, for the sources of this folder.
  const std::shared_ptr<const grammar::Automaton>& automaton() const { return automaton_; }

 private:
  std::shared_ptr<const grammar::Automaton> automaton_;
};

/// A JSON schema as text, as OpenAI's structured outputs and llama.cpp take them (README.md lists
/// the keywords). Error(Fault::data) names the JSON pointer of what is wrong, cannot be held
/// exactly (`not`, overlapping `oneOf`; but see SchemaPart), cannot be satisfied, or is too large.
Grammar grammar_from_json_schema(std::string_view schema, const JsonGrammarOptions& options = {});
/// Any JSON object.
Grammar grammar_of_any_json_object(const JsonGrammarOptions& options = {});
/// A regular expression in RE2's syntax without flags, Unicode classes and word boundaries; the
/// whole text must match. Error(Fault::data) names the byte offset.
Grammar grammar_from_regex(std::string_view pattern);
/// A grammar in GBNF; its rule `root` is what the text must match. Error(Fault::data) names line
/// and column. Left recursion is refused.
Grammar grammar_from_gbnf(std::string_view text);

/// The bytes of every token of a tokenizer, arranged for masks. Immutable; copies share everything;
/// thread-safe.
class GrammarVocabulary {
 public:
  /// tokens[id] are the bytes of a token; empty ones (special, unused) are never allowed, except
  /// for `end_tokens`, which are allowed exactly where the text may end. Error(Fault::usage) when
  /// an end token is out of range or a token is longer than 65,535 bytes.
  GrammarVocabulary(std::span<const std::string> tokens, std::span<const int32_t> end_tokens);
  /// All tokens of a tokenizer but the special ones.
  static GrammarVocabulary of(const Tokenizer& tokenizer, std::span<const int32_t> end_tokens);
  /// Number of tokens; a mask has (size() + 63) / 64 words.
  int32_t size() const;
  const std::shared_ptr<const grammar::Vocabulary>& data() const { return data_; }

 private:
  std::shared_ptr<const grammar::Vocabulary> data_;
};

/// Follows one text. Cheap to copy (a few small arrays); a copy goes on by itself. Not thread-safe,
/// but matchers of the same grammar may run on different threads.
class GrammarMatcher {
 public:
  /// accept() calls that can be taken back.
  static constexpr int kMaxRollback = 256;

  GrammarMatcher(const Grammar& grammar, const GrammarVocabulary& vocabulary);
  GrammarMatcher(const GrammarMatcher& other);
  GrammarMatcher& operator=(const GrammarMatcher& other);
  GrammarMatcher(GrammarMatcher&&) noexcept;
  GrammarMatcher& operator=(GrammarMatcher&&) noexcept;
  ~GrammarMatcher();

  /// Sets bit `id % 64` of word `id / 64` for each token that may come next, all others to 0. False
  /// when there is none: after an end token, or when no token spells what must come.
  bool mask(std::vector<uint64_t>& bits) const;
  /// Takes a token. False, and nothing changes, when it may not come next (also out of range).
  bool accept(int32_t token);
  /// Takes bytes as if they were one token (a prefix that stands already).
  bool accept_bytes(std::string_view bytes);
  /// Whether the text so far is complete.
  bool may_end() const;
  /// Whether an end token was taken.
  bool ended() const;
  /// Takes back the last n accepted tokens. Error(Fault::usage) beyond kMaxRollback or the start.
  void rollback(int n);
  /// The bytes that must come next whatever the model says, at most `limit` (jump ahead).
  std::string forced(size_t limit = 256) const;

 private:
  std::unique_ptr<grammar::MatcherState> state_;
};

}  // namespace wellspring
