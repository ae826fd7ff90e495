#include "text/template/chat_template.h"

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "text/template/render.h"

namespace wellspring {

struct ChatTemplate::Data {
  std::string where;
  jinja::Syntax syntax;
};

namespace {

constexpr size_t kLongestTemplate = 4 << 20;

[[noreturn]] void fail_at(const std::string& where, jinja::Place at, const std::string& message) {
  throw Error(Fault::data, str(where, ":", at.line, ":", at.column, ": ", message));
}

jinja::MarkedText rendered(const jinja::Syntax& syntax, const std::string& where,
                           const Json& context, const Json& own, const TemplateLimits& limits) {
  jinja::Place at;
  try {
    jinja::Meter meter(limits);
    if (!context.is_object()) jinja::fail("the variables of a template are not a JSON object");
    jinja::Renderer renderer(syntax, jinja::from_json(context, true, meter),
                             jinja::from_json(own, false, meter), meter);
    struct Watch {
      ~Watch() { at = renderer.at(); }
      jinja::Place& at;
      jinja::Renderer& renderer;
    } watch{at, renderer};
    return renderer.run();
  } catch (const jinja::Failure& f) {
    fail_at(where, at, f.message);
  }
}

}  // namespace

ChatTemplate::ChatTemplate(std::string_view text, const std::string& where) {
  auto data = std::make_unique<Data>();
  data->where = where;
  if (text.size() > kLongestTemplate)
    throw Error(Fault::data,
                str(where, ": a chat template of more than ", human_bytes(kLongestTemplate)));
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  for (size_t at = 0, line = 1, start = 0; at < text.size();) {
    const int n = utf8_length(text.substr(at));
    if (n == 0)
      throw Error(Fault::data, str(where, ":", line, ":", at - start + 1, ": not valid UTF-8"));
    if (text[at] == '\n') ++line, start = at + 1;
    at += static_cast<size_t>(n);
  }
  try {
    data->syntax = jinja::parse_template(text);
  } catch (const jinja::SyntaxFault& f) {
    fail_at(where, f.at, f.message);
  }
  data_ = std::move(data);
}

ChatTemplate::~ChatTemplate() = default;
ChatTemplate::ChatTemplate(ChatTemplate&&) noexcept = default;
ChatTemplate& ChatTemplate::operator=(ChatTemplate&&) noexcept = default;

std::string ChatTemplate::render(const Json& context, const Json& own,
                                 const TemplateLimits& limits) const {
  return rendered(data_->syntax, data_->where, context, own, limits).bytes();
}

std::string ChatTemplate::render(const Json& context) const {
  return render(context, Json::object());
}

std::vector<PromptPart> ChatTemplate::render_parts(const Json& context, const Json& own,
                                                   const TemplateLimits& limits) const {
  const jinja::MarkedText text = rendered(data_->syntax, data_->where, context, own, limits);
  std::vector<PromptPart> out;
  text.each_run(0, text.size(), [&](std::string_view run, bool marked) {
    out.push_back({std::string(run), marked});
  });
  return out;
}

std::vector<PromptPart> ChatTemplate::render_parts(const Json& context) const {
  return render_parts(context, Json::object());
}

bool ChatTemplate::reads(std::string_view name) const {
  return data_->syntax.names.count(name) != 0;
}
const std::string& ChatTemplate::where() const { return data_->where; }

}  // namespace wellspring
