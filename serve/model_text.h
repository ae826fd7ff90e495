#pragma once
// A served model's text side: its tokenizer, how prompts begin and how chats are written.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "models/decoder/config.h"

namespace wellspring {

class Tokenizer;

struct ChatMessage {
  std::string role;  // "system", "user", "assistant"
  std::string content;
};

/// Read-only after loading: thread-safe.
class ModelText {
 public:
  /// From tokenizer.json (and tokenizer_config.json) of a model folder. Error(Fault::io) without
  /// one.
  ModelText(const std::string& folder, const DecoderConfig& config);
  ~ModelText();
  static bool present(const std::string& folder);

  /// Tokens of a prompt with what the tokenizer puts around a text (its end token left out). Never
  /// empty: an empty prompt is the token that separates documents. Special tokens written in it
  /// count as such.
  std::vector<int32_t> prompt(std::string_view text) const;
  /// Tokens of a conversation up to where the assistant's answer begins. Only the template makes
  /// special tokens; those written in messages are taken as text.
  std::vector<int32_t> chat(const std::vector<ChatMessage>& messages) const;
  /// Where an answer of a chat ends, besides the model's end tokens.
  const std::vector<std::string>& chat_stops() const { return stops_; }
  std::vector<int32_t> stop_tokens() const { return stop_tokens_; }
  /// "chatml", "llama3", or "plain" when the folder has no template that is known.
  const std::string& chat_format() const { return format_; }
  /// Number of ids that have a text; the model may have more.
  int64_t vocab() const;
  const Tokenizer& tokenizer() const { return *tokenizer_; }

 private:
  void find_format(const std::string& folder);
  void add_stop(std::string_view token);
  std::unique_ptr<Tokenizer> tokenizer_;
  std::string format_;
  std::vector<std::string> stops_;
  std::vector<int32_t> stop_tokens_;
  int32_t separator_ = 0;
};

}  // namespace wellspring
