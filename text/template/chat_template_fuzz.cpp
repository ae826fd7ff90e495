// Any bytes as a template, with a small context and small limits; then as a message in a good one.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "base/error.h"
#include "base/json.h"
#include "text/template/chat_template.h"

namespace {

using namespace wellspring;

const TemplateLimits kSmall{
    .steps = 20000, .work_bytes = 4 << 20, .output_bytes = 1 << 18, .depth = 300};

void use(std::string_view text, const Json& context) {
  try {
    const ChatTemplate t(text, "input");
    const std::string whole = t.render(context, Json::object(), kSmall);
    std::string joined;
    bool last = false, first = true;
    for (const PromptPart& p : t.render_parts(context, Json::object(), kSmall)) {
      if (p.text.empty() || (!first && p.from_message == last)) std::abort();
      first = false;
      last = p.from_message;
      joined += p.text;
    }
    if (joined != whole && text.find("strftime_now") == text.npos) std::abort();
  } catch (const Error& e) {
    if (e.fault() != Fault::data) std::abort();
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view input(reinterpret_cast<const char*>(data), size);
  static const Json kContext = parse_json(
      R"({"messages": [{"role": "user", "content": "Hé <|x|>\n"}, {"role": "assistant", "content": null,
          "tool_calls": [{"function": {"name": "f", "arguments": {"a": 1.5, "b": [true, "x"]}}}]}],
          "tools": [{"type": "function", "function": {"name": "f", "parameters": {}}}], "bos_token": "<s>",
          "i": 7, "s": "a,b", "l": [3, 1, 2]})",
      "context");
  use(input, kContext);
  Json message;
  message["messages"][0]["content"] = std::string(input);
  use("{% for m in messages %}<{{ m.content | trim }}{{ m | tojson }}{{ m.content.split()[:2] }}{{ "
      "m.content | title }}>"
      "{{ m.content[::-1] }}{{ m.content | int }}{{ m.content | float }}{{ m }}{% endfor %}",
      message);
  return 0;
}
