#pragma once
// A served model's text side: its tokenizer, its chat template, and grammars over its tokens.

#include <cstdint>
#include <list>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json_fwd.h"
#include "models/decoder/config.h"
#include "serve/engine.h"
#include "serve/tool_calls.h"
#include "text/grammar/grammar.h"

namespace wellspring {

class ChatTemplate;
class Tokenizer;

/// What an answer must be in the form of.
struct GrammarText {
  enum class Kind { json_object, json_schema, regex, gbnf };
  Kind kind = Kind::json_object;
  std::string text;
  JsonGrammarOptions json;
  std::string field = "";  // of the request that it was given in, for errors
};

/// Read-only after loading: thread-safe.
class ModelText {
 public:
  /// From tokenizer.json, tokenizer_config.json and chat_template.jinja of a model folder; `chat_template` is a file
  /// to take instead of the folder's. Error(Fault::io) without a tokenizer, Error(Fault::data) with file, line and
  /// column for a template that cannot be read.
  ModelText(const std::string& folder, const DecoderConfig& config, const std::string& chat_template = "");
  ~ModelText();
  static bool present(const std::string& folder);

  /// Tokens of a prompt with what the tokenizer puts around a text (its end token left out). Never
  /// empty: an empty prompt is the token that separates documents. Special tokens written in it
  /// count as such. Without `add_special` nothing is put around it.
  std::vector<int32_t> prompt(std::string_view text, bool add_special = true) const;
  /// Tokens of a text with all that the tokenizer puts around it, for embeddings; never empty.
  std::vector<int32_t> whole(std::string_view text) const;
  /// How the folder says that embeddings are made (sentence-transformers' 1_Pooling); without it by the last token.
  Pooling pooling() const { return pooling_; }
  /// Tokens of a conversation up to where the assistant's answer begins. `context` is what the template reads: messages
  /// (each with role and content), perhaps tools and others. Only the template makes special tokens; those written in
  /// messages are taken as text. `begun` is put behind it: how the answer begins. With
  /// "continue_final_message": true they end with the words of the last message. PromptError where the template refuses
  /// the conversation.
  std::vector<int32_t> chat(const Json& context, std::string_view begun = {}) const;
  /// Where an answer of a chat ends, besides the model's end tokens.
  const std::vector<std::string>& chat_stops() const { return stops_; }
  std::vector<int32_t> stop_tokens() const { return stop_tokens_; }
  /// The file of the chat template, or "plain" without one: `User:` and `Assistant:` text.
  const std::string& chat_format() const { return format_; }
  /// How the model writes calls of tools.
  const ToolFormat& tool_format() const { return tools_; }

  /// A grammar compiled, or one that was before. Error(Fault::data) naming the place of what is wrong (ApiError 400 when
  /// `text` names its field).
  Grammar grammar(const GrammarText& text) const;
  /// The tokens for grammars; made at the first call.
  const GrammarVocabulary& grammar_vocabulary() const;

  /// Number of ids that have a text; the model may have more.
  int64_t vocab() const;
  const Tokenizer& tokenizer() const { return *tokenizer_; }

 private:
  void load_template(const std::string& folder, const std::string& file);
  void find_end_of_turn();
  std::vector<int32_t> encode_chat(const ChatTemplate& t, const Json& context, std::string_view begun) const;
  std::vector<int32_t> plain_chat(const Json& context, std::string_view begun) const;

  std::unique_ptr<Tokenizer> tokenizer_;
  std::unique_ptr<ChatTemplate> template_, tools_template_;
  std::unique_ptr<Json> own_;  // bos_token and the like
  std::string format_ = "plain";
  ToolFormat tools_;
  std::vector<std::string> stops_;
  std::vector<int32_t> stop_tokens_;
  Pooling pooling_;
  int32_t separator_ = 0;
  mutable std::mutex mutex_;  // of what follows
  mutable std::optional<GrammarVocabulary> vocabulary_;
  mutable std::list<std::pair<std::string, Grammar>> grammars_;  // the last used first
};

}  // namespace wellspring
