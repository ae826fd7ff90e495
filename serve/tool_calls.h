#pragma once
// Calls of tools in a model's answers: how its template writes them, the grammar that makes them, and reading them
// out of the text.

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/json_fwd.h"
#include "text/grammar/grammar.h"

namespace wellspring {

class ChatTemplate;

/// Calls as JSON objects with a name and arguments, and what stands around them:
/// `begin {"name": ..., "arguments": {...}} between {...} end`.
struct ToolFormat {
  std::string begin = "<tool_call>\n", between = "\n</tool_call>\n<tool_call>\n", end = "\n</tool_call>";
  std::string name_key = "name", arguments_key = "arguments";
  bool in_template = false;  // else the tools are described in a system message
  bool several = true;       // in one answer
  /// What shows that calls begin; empty: a '{' that begins the answer.
  std::string_view trigger() const;
};

/// The format of a template, seen in how it writes a conversation with calls; the default one where it writes none, or
/// not as JSON objects. `own` as ChatTemplate::render.
ToolFormat find_tool_format(const ChatTemplate& t, const Json& own);

/// The conversation for a template without a place for tools: they are described in its system message, calls and
/// results become text.
Json with_tools_as_text(const Json& context, const ToolFormat& format);

/// The JSON schema of one call of one of these tools (OpenAI's list); each one's parameters become a part of `options`,
/// lenient unless it is `strict`. Error(Fault::data) naming what is wrong in it.
std::string tool_call_schema(const ToolFormat& format, const Json& tools, JsonGrammarOptions& options);

/// What has been read of calls; `name` and `id` come once, then the arguments' text in pieces.
struct ToolCallDelta {
  int64_t index = 0;
  std::string id, name, arguments;
};

/// Reads an answer as it comes. Not thread-safe.
class ToolCallReader {
 public:
  /// `begun`: the format's begin stood in the prompt already.
  ToolCallReader(const ToolFormat& format, bool begun);
  /// Text that is no call goes to `content`.
  void push(std::string_view text, std::string& content, std::vector<ToolCallDelta>& calls);
  void finish(std::string& content);
  /// Those that are complete.
  int64_t calls() const { return complete_; }

 private:
  enum class State { start, content, around, call };
  void take(char c, std::vector<ToolCallDelta>& out);
  ToolCallDelta& delta(std::vector<ToolCallDelta>& out) const;
  std::string trigger_, name_key_, arguments_key_;
  State state_ = State::start;
  std::string held_;
  int64_t calls_ = 0, complete_ = 0;  // those with a name, and of them those that have ended
  // Inside a call:
  std::string key_, text_, name_, early_;
  int depth_ = 0;
  bool in_text_ = false, escaped_ = false, value_ = false, named_ = false;
};

}  // namespace wellspring
