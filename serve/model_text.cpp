#include "serve/model_text.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "serve/api_error.h"
#include "text/template/chat_template.h"
#include "text/tokenizer.h"

namespace wellspring {
namespace {

constexpr size_t kKeptGrammars = 64;

Json tokenizer_config(const std::string& folder) {
  const std::string path = join_path(folder, "tokenizer_config.json");
  Json json = exists(path) ? read_json(path) : Json::object();
  return json.is_object() ? json : Json::object();
}

// A text, or an added token's description.
std::string token_text(const Json& config, const char* key) {
  const Json v = config.value(key, Json());
  const Json text = v.is_object() ? v.value("content", Json()) : v;
  return text.is_string() ? text.get<std::string>() : "";
}

Pooling pooling_of(const std::string& folder) {
  const std::string path = join_path(folder, "1_Pooling/config.json");
  if (!exists(path)) return Pooling::last;
  const Json c = read_json(path);
  const auto is = [&](const char* key) { return c.is_object() && c.value(key, Json(false)) == true; };
  if (is("pooling_mode_mean_tokens")) return Pooling::mean;
  if (is("pooling_mode_lasttoken")) return Pooling::last;
  throw Error(Fault::data, str(path, ": expected pooling_mode_mean_tokens or pooling_mode_lasttoken to be true"));
}

Grammar compile(const GrammarText& g) try {
  return g.kind == GrammarText::Kind::json_object   ? grammar_of_any_json_object(g.json)
         : g.kind == GrammarText::Kind::json_schema ? grammar_from_json_schema(g.text, g.json)
         : g.kind == GrammarText::Kind::regex       ? grammar_from_regex(g.text)
                                                    : grammar_from_gbnf(g.text);
} catch (const Error& e) {
  if (g.field.empty() || e.fault() != Fault::data) throw;
  throw ApiError(400, "invalid_value", e.what(), 0, g.field);
}

bool says(const Json& context, const char* key, bool otherwise) {
  const auto it = context.find(key);
  return it == context.end() ? otherwise : *it == true;
}

// A template may take blanks off a message's ends; what it puts behind goes. `plain`: what of the text messages gave.
void cut_behind(const std::string& message, std::string& text, std::vector<std::pair<size_t, size_t>>& plain) {
  const std::string_view words = trim(message), all = text;
  size_t end = 0;
  for (size_t i = plain.size(); i-- > 0 && !end && !words.empty();)
    if (const size_t at = all.substr(plain[i].first, plain[i].second - plain[i].first).rfind(words); at != all.npos)
      end = plain[i].first + at + words.size();
  if (!end) throw Error(Fault::data, "the chat template does not show the last message as it is, so it cannot be continued");
  const size_t blanks = message.size() - (words.data() - message.data()) - words.size();
  if (text.compare(end, blanks, message, message.size() - blanks) == 0) end += blanks;
  text.resize(end);
  std::erase_if(plain, [end](const auto& p) { return p.first >= end; });
  plain.back().second = std::min(plain.back().second, end);
}

}  // namespace

ModelText::ModelText(const std::string& folder, const DecoderConfig& config, const std::string& chat_template)
    : tokenizer_(std::make_unique<Tokenizer>(Tokenizer::load(folder))),
      own_(std::make_unique<Json>(Json::object())),
      stop_tokens_(config.eos),
      pooling_(pooling_of(folder)),
      separator_(config.end_of_text()) {
  if (auto eos = tokenizer_->eos_id())
    if (std::find(stop_tokens_.begin(), stop_tokens_.end(), *eos) == stop_tokens_.end())
      stop_tokens_.push_back(*eos);
  if (tokenizer_->vocab_size() > config.vocab)
    throw Error(Fault::data,
                str(tokenizer_->source(), ": the tokenizer has ", tokenizer_->vocab_size(),
                    " tokens, but the model ", config.vocab));
  load_template(folder, chat_template);
  if (!template_) {
    stops_ = {"\nUser:", "\nSystem:"};
    return;
  }
  find_end_of_turn();
  tools_ = find_tool_format(*(tools_template_ ? tools_template_ : template_), *own_);
}

ModelText::~ModelText() = default;

bool ModelText::present(const std::string& folder) {
  return exists(join_path(folder, "tokenizer.json"));
}

int64_t ModelText::vocab() const { return tokenizer_->vocab_size(); }

void ModelText::load_template(const std::string& folder, const std::string& file) {
  const Json config = tokenizer_config(folder);
  for (const char* key : {"bos_token", "eos_token", "unk_token", "pad_token", "sep_token", "cls_token"})
    (*own_)[key] = token_text(config, key);
  const std::string own = file.empty() ? join_path(folder, "chat_template.jinja") : file;
  if (!file.empty() || exists(own)) {
    template_ = std::make_unique<ChatTemplate>(read_file(own), own);
    format_ = own;
    return;
  }
  const std::string where = join_path(folder, "tokenizer_config.json") + ": chat_template";
  const Json t = config.value("chat_template", Json());
  const auto make = [&](const Json& text, const std::string& place) {
    if (!text.is_string()) throw Error(Fault::data, str(place, " must be a text"));
    return std::make_unique<ChatTemplate>(text.get<std::string>(), place);
  };
  if (t.is_null()) return;
  if (t.is_array()) {  // several, by name
    for (const Json& one : t) {
      const std::string name = one.is_object() ? token_text(one, "name") : "";
      const Json text = one.is_object() ? one.value("template", Json()) : Json();
      if (name == "default") template_ = make(text, str(where, " default"));
      if (name == "tool_use") tools_template_ = make(text, str(where, " tool_use"));
    }
    if (!template_) template_ = std::move(tools_template_);
    if (!template_) throw Error(Fault::data, str(where, " has no template named default"));
  } else {
    template_ = make(t, where);
  }
  format_ = "tokenizer_config.json";
}

// The special token that the template puts behind an answer.
void ModelText::find_end_of_turn() {
  const std::string mark = "ws answer";
  const Json context = {{"messages", Json::array({{{"role", "user"}, {"content", "ws question"}},
                                                  {{"role", "assistant"}, {"content", mark}}})}};
  std::string text;
  try {
    text = template_->render(context, *own_);
  } catch (const Error&) {
    return;  // it wants a conversation of another kind
  }
  const size_t at = text.rfind(mark);
  if (at == std::string::npos) return;
  const std::string tail(trim(std::string_view(text).substr(at + mark.size())));
  const std::vector<int32_t> ids = tokenizer_->encode(tail, {.add_special = false});
  if (!ids.empty() && tokenizer_->is_special(ids[0]) &&
      std::find(stop_tokens_.begin(), stop_tokens_.end(), ids[0]) == stop_tokens_.end())
    stop_tokens_.push_back(ids[0]);
}

std::vector<int32_t> ModelText::prompt(std::string_view text, bool add_special) const {
  std::vector<int32_t> ids = tokenizer_->encode(text, {.add_special = add_special});
  auto eos = tokenizer_->eos_id();
  if (eos && ids.size() > 1 && ids.back() == *eos &&
      !ends_with(text, tokenizer_->id_to_token(*eos)))
    ids.pop_back();
  if (ids.empty()) ids.push_back(separator_);
  return ids;
}

std::vector<int32_t> ModelText::whole(std::string_view text) const {
  std::vector<int32_t> ids = tokenizer_->encode(text);
  if (ids.empty()) ids.push_back(separator_);
  return ids;
}

std::vector<int32_t> ModelText::chat(const Json& context, std::string_view begun) const try {
  const bool tools = context.contains("tools");
  if (!template_) return plain_chat(with_tools_as_text(context, tools_), begun);
  const ChatTemplate& t = tools && tools_template_ ? *tools_template_ : *template_;
  return encode_chat(t, tools_.in_template ? context : with_tools_as_text(context, tools_), begun);
} catch (const Error& e) {
  if (e.fault() != Fault::data) throw;
  throw PromptError(Fault::data, e.what());
}

std::vector<int32_t> ModelText::encode_chat(const ChatTemplate& t, const Json& context, std::string_view begun) const {
  Json whole = context;
  if (!whole.contains("add_generation_prompt")) whole["add_generation_prompt"] = true;
  std::string text;
  std::vector<std::pair<size_t, size_t>> plain;
  for (const PromptPart& p : t.render_parts(whole, *own_)) {
    if (p.from_message) plain.emplace_back(text.size(), text.size() + p.text.size());
    text += p.text;
  }
  if (says(context, "continue_final_message", false)) cut_behind(context["messages"].back()["content"], text, plain);
  text += begun;
  std::vector<int32_t> ids;
  tokenizer_->encode_to(text, ids, {.add_special = false, .plain = plain});
  if (ids.empty()) ids.push_back(separator_);
  return ids;
}

std::vector<int32_t> ModelText::plain_chat(const Json& context, std::string_view begun) const {
  std::string all;
  for (const Json& m : context["messages"]) {
    const std::string role = m.value("role", "user");
    all += str(role == "user" ? "User: " : role == "assistant" ? "Assistant: " : "System: ",
               trim(m.value("content", "")), "\n");
  }
  if (says(context, "continue_final_message", false))
    all.pop_back();  // the end of the line
  else if (says(context, "add_generation_prompt", true))
    all += "Assistant:";
  std::vector<int32_t> ids;
  tokenizer_->encode_to(str(all, begun.empty() ? "" : " ", begun), ids,
                        {.add_special = true, .parse_special = false});
  if (auto eos = tokenizer_->eos_id(); eos && ids.size() > 1 && ids.back() == *eos) ids.pop_back();
  return ids;
}

Grammar ModelText::grammar(const GrammarText& g) const {
  constexpr size_t kMost = 1 << 20;  // bytes; compiling takes a hundred times as many
  if (g.text.size() > kMost)
    throw ApiError(400, "invalid_value", str("the answer's form is written in ", g.text.size(), " bytes; at most ", kMost, " are compiled"),
                   0, g.field);
  std::string key = str(static_cast<int>(g.kind), "/", static_cast<int>(g.json.blanks), "/", g.json.before, "\x01",
                        g.json.between, "\x01", g.json.after, "\x01");
  for (const SchemaPart& p : g.json.parts) key += str(p.pointer, "\x01", p.name, "\x01", p.lenient ? 1 : 0, "\x01");
  key += g.text;
  const auto find = [&] { return std::find_if(grammars_.begin(), grammars_.end(), [&](const auto& k) { return k.first == key; }); };
  {
    std::lock_guard lock(mutex_);
    if (const auto at = find(); at != grammars_.end()) {
      grammars_.splice(grammars_.begin(), grammars_, at);
      return at->second;
    }
  }
  const Grammar made = compile(g);
  std::lock_guard lock(mutex_);
  if (find() == grammars_.end()) grammars_.emplace_front(key, made);
  if (grammars_.size() > kKeptGrammars) grammars_.pop_back();
  return made;
}

const GrammarVocabulary& ModelText::grammar_vocabulary() const {
  std::lock_guard lock(mutex_);
  if (!vocabulary_) {
    std::vector<int32_t> ends = stop_tokens_;
    std::erase_if(ends, [&](int32_t t) { return t >= tokenizer_->vocab_size(); });
    vocabulary_ = GrammarVocabulary::of(*tokenizer_, ends);
  }
  return *vocabulary_;
}

}  // namespace wellspring
