#include "serve/model_text.h"

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "text/tokenizer.h"

namespace wellspring {
namespace {

// The chat template's text: tokenizer_config.json's chat_template, or a file of its own.
std::string template_of(const std::string& folder) {
  std::string own = join_path(folder, "chat_template.jinja"),
              config = join_path(folder, "tokenizer_config.json");
  if (exists(own)) return read_file(own);
  if (!exists(config)) return "";
  Json json = read_json(config);
  if (!json.is_object()) return "";
  Json t = json.value("chat_template", Json());
  return t.is_string() ? t.get<std::string>() : "";
}

}  // namespace

ModelText::ModelText(const std::string& folder, const DecoderConfig& config)
    : tokenizer_(std::make_unique<Tokenizer>(Tokenizer::load(folder))),
      stop_tokens_(config.eos),
      separator_(config.end_of_text()) {
  if (auto eos = tokenizer_->eos_id())
    if (std::find(stop_tokens_.begin(), stop_tokens_.end(), *eos) == stop_tokens_.end())
      stop_tokens_.push_back(*eos);
  if (tokenizer_->vocab_size() > config.vocab)
    throw Error(Fault::data,
                str(tokenizer_->source(), ": the tokenizer has ", tokenizer_->vocab_size(),
                    " tokens, but the model ", config.vocab));
  find_format(folder);
}

ModelText::~ModelText() = default;

bool ModelText::present(const std::string& folder) {
  return exists(join_path(folder, "tokenizer.json"));
}

int64_t ModelText::vocab() const { return tokenizer_->vocab_size(); }

void ModelText::add_stop(std::string_view token) {
  if (auto id = tokenizer_->token_to_id(token);
      id && std::find(stop_tokens_.begin(), stop_tokens_.end(), *id) == stop_tokens_.end())
    stop_tokens_.push_back(*id);
}

void ModelText::find_format(const std::string& folder) {
  const std::string t = template_of(folder);
  auto knows = [&](const char* token) {
    return t.find(token) != std::string::npos && tokenizer_->token_to_id(token);
  };
  if (knows("<|im_start|>") && tokenizer_->token_to_id("<|im_end|>")) {
    format_ = "chatml";
    add_stop("<|im_end|>");
  } else if (knows("<|start_header_id|>") && tokenizer_->token_to_id("<|eot_id|>")) {
    format_ = "llama3";
    add_stop("<|eot_id|>");
  } else {
    format_ = "plain";
    stops_ = {"\nUser:", "\nSystem:"};
  }
}

std::vector<int32_t> ModelText::prompt(std::string_view text) const {
  std::vector<int32_t> ids = tokenizer_->encode(text);
  auto eos = tokenizer_->eos_id();
  if (eos && ids.size() > 1 && ids.back() == *eos &&
      !ends_with(text, tokenizer_->id_to_token(*eos)))
    ids.pop_back();
  if (ids.empty()) ids.push_back(separator_);
  return ids;
}

std::vector<int32_t> ModelText::chat(const std::vector<ChatMessage>& messages) const {
  std::vector<int32_t> ids;
  auto markup = [&](const std::string& s) {
    tokenizer_->encode_to(s, ids, {.add_special = false, .parse_special = true});
  };
  auto words = [&](std::string_view s) {
    tokenizer_->encode_to(s, ids, {.add_special = false, .parse_special = false});
  };
  if (format_ == "chatml") {
    for (const ChatMessage& m : messages) {
      markup(str("<|im_start|>", m.role, "\n"));
      words(m.content);
      markup("<|im_end|>\n");
    }
    markup("<|im_start|>assistant\n");
    return ids;
  }
  if (format_ == "llama3") {
    markup("<|begin_of_text|>");
    for (const ChatMessage& m : messages) {
      markup(str("<|start_header_id|>", m.role, "<|end_header_id|>\n\n"));
      words(trim(m.content));
      markup("<|eot_id|>");
    }
    markup("<|start_header_id|>assistant<|end_header_id|>\n\n");
    return ids;
  }
  std::string all;
  for (const ChatMessage& m : messages)
    all += str(m.role == "user"        ? "User: "
               : m.role == "assistant" ? "Assistant: "
                                       : "System: ",
               trim(m.content), "\n");
  tokenizer_->encode_to(all + "Assistant:", ids, {.add_special = true, .parse_special = false});
  if (auto eos = tokenizer_->eos_id(); eos && ids.size() > 1 && ids.back() == *eos) ids.pop_back();
  return ids;
}

}  // namespace wellspring
