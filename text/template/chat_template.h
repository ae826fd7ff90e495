#pragma once
// Chat templates: how a conversation becomes a model's prompt, as published models say it in
// `chat_template` (tokenizer_config.json) or chat_template.jinja. The language is the part of Jinja
// that these templates use, with the settings of transformers (docs: text/template/README.md).

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/json_fwd.h"

namespace wellspring {

/// What one rendering may cost. A template that wants more ends with Error(Fault::data).
struct TemplateLimits {
  /// Evaluated expressions and statements. A conversation of a thousand messages takes 30,000 to
  /// 70,000 in the templates of testdata/; five million take about half a second.
  uint64_t steps = 5'000'000;
  /// Bytes that are read or made in strings, and 64 for each item of a list; also a bound of the
  /// memory in use.
  uint64_t work_bytes = 256u << 20;
  /// Bytes of the result, and of any one string.
  size_t output_bytes = 32u << 20;
  /// Calls, statements and expressions inside one another.
  int depth = 1000;
};

/// One piece of a rendered prompt.
struct PromptPart {
  std::string text;
  /// The text comes from the context (what users wrote), not from the template: special tokens
  /// that are spelled in it must be taken as plain text.
  bool from_message = false;
  bool operator==(const PromptPart&) const = default;
};

/// A compiled chat template. Immutable; all functions are thread-safe.
class ChatTemplate {
 public:
  /// `where` (a file) stands in errors. Error(Fault::data) with WHERE:LINE:COLUMN for what is not a
  /// template, and for what is Jinja but of no use here (include, import, extends, block).
  ChatTemplate(std::string_view text, const std::string& where);
  ~ChatTemplate();
  ChatTemplate(ChatTemplate&&) noexcept;
  ChatTemplate& operator=(ChatTemplate&&) noexcept;

  /// The prompt of `context`, an object: messages, tools, add_generation_prompt and whatever else
  /// the template reads. `own` holds variables that belong to the model rather than to users
  /// (bos_token, eos_token); they win over the context's.
  /// Error(Fault::data) with WHERE:LINE:COLUMN where the template refuses the conversation
  /// (raise_exception, with its text), cannot go on, or goes beyond `limits`.
  std::string render(const Json& context, const Json& own, const TemplateLimits& limits = {}) const;
  std::string render(const Json& context) const;
  /// The same text, cut where it changes between the template's and the context's. Each byte that
  /// was copied from a string of the context (its keys, too) is marked, through concatenation,
  /// slices, filters, macros and tojson. Joined, the parts are what render() gives; none is empty.
  std::vector<PromptPart> render_parts(const Json& context, const Json& own,
                                       const TemplateLimits& limits = {}) const;
  std::vector<PromptPart> render_parts(const Json& context) const;

  /// Whether the template reads a variable of this name ("tools", "documents").
  bool reads(std::string_view name) const;
  const std::string& where() const;

 private:
  struct Data;
  std::unique_ptr<const Data> data_;
};

}  // namespace wellspring
