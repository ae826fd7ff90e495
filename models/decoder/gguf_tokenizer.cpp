#include "models/decoder/gguf_tokenizer.h"

#include <algorithm>
#include <unordered_map>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "text/split.h"

namespace wellspring {
namespace {

// tokenizer.ggml.token_type.
enum GgufTokenKind : int64_t {
  kGgufNormal = 1,
  kGgufUnknown,
  kGgufControl,
  kGgufUserDefined,
  kGgufUnused,
  kGgufByte
};

constexpr size_t kMostGgufTokens = size_t{1} << 24;
constexpr size_t kLongestPiece = 1024;  // bytes: finding the merges of a piece takes its square

// llama.cpp's names of pre-tokenisers whose pattern we have, and what else they imply.
struct GgufPreTokenizer {
  std::string_view name;
  SplitPattern pattern;
  bool ignore_merges = false, bos = false, nfc = false;
};
constexpr GgufPreTokenizer kPreTokenizers[] = {
    {"gpt-2", SplitPattern::gpt2},
    {"phi-2", SplitPattern::gpt2},
    {"mpt", SplitPattern::gpt2},
    {"olmo", SplitPattern::gpt2},
    {"jais", SplitPattern::gpt2},
    {"roberta-bpe", SplitPattern::gpt2},
    {"llama-bpe", SplitPattern::llama3, true, true},
    {"llama3", SplitPattern::llama3, true, true},
    {"llama-v3", SplitPattern::llama3, true, true},
    {"falcon3", SplitPattern::llama3, true, true},
    {"lfm2", SplitPattern::llama3, true, true},
    {"smaug-bpe", SplitPattern::llama3},
    {"dbrx", SplitPattern::llama3},
    {"glm4", SplitPattern::llama3},
    {"chatglm-bpe", SplitPattern::llama3},
    {"qwen2", SplitPattern::qwen2, false, false, true},
    {"deepseek-r1-qwen", SplitPattern::qwen2, false, false, true},
    {"megrez", SplitPattern::qwen2, false, false, true},
    {"stablelm2", SplitPattern::qwen2},
    {"gpt-4o", SplitPattern::o200k},
    {"llama4", SplitPattern::o200k}};

struct GgufToken {
  std::string_view text;
  int64_t kind = kGgufNormal;
};

std::vector<GgufToken> read_gguf_tokens(const Gguf& file) {
  const char* list = "tokenizer.ggml.tokens";
  const char* kinds_key = "tokenizer.ggml.token_type";
  const auto texts = file.texts(list);
  if (texts.empty()) file.bad_value(list, "the list of tokens is missing or empty");
  if (texts.size() > kMostGgufTokens)
    file.bad_value(list, str(texts.size(), " tokens are too many"));
  const auto kinds = file.integers(kinds_key);
  if (!kinds.empty() && kinds.size() != texts.size())
    file.bad_value(kinds_key, str(kinds.size(), " types for ", texts.size(), " tokens"));
  std::vector<GgufToken> tokens(texts.size());
  for (size_t i = 0; i < texts.size(); ++i) {
    if (!utf8_valid(texts[i])) file.bad_value(list, str("token ", i, " is not valid UTF-8"));
    tokens[i] = {texts[i], kinds.empty() ? kGgufNormal : kinds[i]};
    if (texts[i].empty()) tokens[i].kind = kGgufUnused;
  }
  return tokens;
}

std::string json_text(std::string_view s) { return to_text(Json(std::string(s))); }

bool is_added(const GgufToken& t) {
  return t.kind == kGgufUnknown || t.kind == kGgufControl || t.kind == kGgufUserDefined;
}

Json added_tokens(const std::vector<GgufToken>& tokens) {
  Json list = Json::array();
  for (size_t i = 0; i < tokens.size(); ++i)
    if (is_added(tokens[i]))
      list.push_back({{"id", i},
                      {"content", tokens[i].text},
                      {"single_word", false},
                      {"lstrip", false},
                      {"rstrip", false},
                      {"normalized", false},
                      {"special", tokens[i].kind != kGgufUserDefined}});
  return list;
}

// What stands around a text: bos and eos, where the file says so.
Json post_processor(const Gguf& file, const std::vector<GgufToken>& tokens, bool bos_by_default) {
  Json single = Json::array(), special = Json::object();
  auto add = [&](const char* key) {
    const auto id = file.integer(key);
    if (!id || *id < 0 || *id >= static_cast<int64_t>(tokens.size()))
      file.bad_value(key, "it stands around each text but is not the id of a token");
    const std::string text(tokens[static_cast<size_t>(*id)].text);
    single.push_back({{"SpecialToken", {{"id", text}, {"type_id", 0}}}});
    special[text] = {{"id", text}, {"ids", {*id}}, {"tokens", {text}}};
  };
  if (file.boolean("tokenizer.ggml.add_bos_token").value_or(bos_by_default))
    add("tokenizer.ggml.bos_token_id");
  single.push_back({{"Sequence", {{"id", "A"}, {"type_id", 0}}}});
  if (file.boolean("tokenizer.ggml.add_eos_token").value_or(false))
    add("tokenizer.ggml.eos_token_id");
  if (special.empty()) return {};
  Json pair = single;
  pair.push_back({{"Sequence", {{"id", "B"}, {"type_id", 1}}}});
  return {{"type", "TemplateProcessing"},
          {"single", single},
          {"pair", pair},
          {"special_tokens", special}};
}

// The JSON of all but the model's vocabulary and merges, whose texts `vocabulary` and `merges` are.
std::string assemble(const Json& shell, const std::string& vocabulary, const std::string& merges) {
  std::string out = "{\n";
  for (const auto& [key, value] : shell.items())
    if (key != "model") out += str("  ", json_text(key), ": ", to_text(value), ",\n");
  out += "  \"model\": {\n";
  for (const auto& [key, value] : shell["model"].items())
    out += str("    ", json_text(key), ": ", to_text(value), ",\n");
  return str(out, "    \"vocab\": {", vocabulary, "\n    },\n    \"merges\": [", merges,
             "\n    ]\n  }\n}\n");
}

void add_json_entry(std::string& list, const std::string& entry) {
  list += list.empty() ? "\n      " : ",\n      ";
  list += entry;
}

Json bpe_model() {
  return {{"type", "BPE"},
          {"dropout", nullptr},
          {"unk_token", nullptr},
          {"continuing_subword_prefix", nullptr},
          {"end_of_word_suffix", nullptr},
          {"fuse_unk", false},
          {"byte_fallback", false},
          {"ignore_merges", false}};
}

Json empty_shell(const std::vector<GgufToken>& tokens) {
  return {{"version", "1.0"},          {"truncation", nullptr},
          {"padding", nullptr},        {"added_tokens", added_tokens(tokens)},
          {"normalizer", nullptr},     {"pre_tokenizer", nullptr},
          {"post_processor", nullptr}, {"decoder", nullptr},
          {"model", bpe_model()}};
}

const GgufPreTokenizer& pre_tokenizer(const Gguf& file, const GgufFamily& family) {
  const char* key = "tokenizer.ggml.pre";
  std::string_view name = file.text(key).value_or("default");
  if (name == "default") name = family.pre_tokenizer;  // files of 2023 do not say it
  std::vector<std::string> known;
  for (const GgufPreTokenizer& p : kPreTokenizers) {
    if (p.name == name) return p;
    known.emplace_back(p.name);
  }
  file.bad_value(key, str("the pre-tokeniser '", utf8_repair(name.substr(0, 80)),
                          "' is not supported (only ", join(known, ", "), ")"));
}

Json byte_level_step(bool regex) {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", true},
          {"use_regex", regex}};
}

std::string byte_level_json(const Gguf& file, const GgufFamily& family) {
  const GgufPreTokenizer& pre = pre_tokenizer(file, family);
  const std::vector<GgufToken> tokens = read_gguf_tokens(file);
  Json shell = empty_shell(tokens);
  if (pre.nfc) shell["normalizer"] = {{"type", "NFC"}};
  shell["pre_tokenizer"] = byte_level_step(true);
  if (pre.pattern != SplitPattern::gpt2)
    shell["pre_tokenizer"] = {
        {"type", "Sequence"},
        {"pretokenizers", Json::array({Json{{"type", "Split"},
                                            {"pattern", {{"Regex", split_regex(pre.pattern)}}},
                                            {"behavior", "Isolated"},
                                            {"invert", false}},
                                       byte_level_step(false)})}};
  if (file.boolean("tokenizer.ggml.add_space_prefix").value_or(false))
    file.bad_value("tokenizer.ggml.add_space_prefix", "not supported for byte-level tokenizers");
  shell["post_processor"] = post_processor(file, tokens, pre.bos);
  shell["decoder"] = byte_level_step(true);
  shell["model"]["ignore_merges"] = pre.ignore_merges;
  std::string vocabulary, merges;
  for (size_t i = 0; i < tokens.size(); ++i)
    if (!is_added(tokens[i]) && tokens[i].kind != kGgufUnused)
      add_json_entry(vocabulary, str(json_text(tokens[i].text), ": ", i));
  const char* key = "tokenizer.ggml.merges";
  if (!file.contains(key)) file.bad_value(key, "the list of merges is missing");
  for (std::string_view merge : file.texts(key)) {
    const size_t space = merge.find(' ', 1);
    if (space == merge.npos || !utf8_valid(merge))
      file.bad_value(key, str("'", utf8_repair(merge.substr(0, 80)), "' is not two texts"));
    add_json_entry(merges, str("[", json_text(merge.substr(0, space)), ", ",
                               json_text(merge.substr(space + 1)), "]"));
  }
  return assemble(shell, vocabulary, merges);
}

// SentencePiece joins the neighbours whose union has the best score; as merges: all ways to cut a
// piece into two, ordered by the piece's score, then as Hugging Face orders them.
std::string sentencepiece_merges(const Gguf& file, const std::vector<GgufToken>& tokens) {
  const char* key = "tokenizer.ggml.scores";
  const auto scores = file.numbers(key);
  if (scores.size() != tokens.size())
    file.bad_value(key, str(scores.size(), " scores for ", tokens.size(), " tokens"));
  std::unordered_map<std::string_view, size_t> ids;
  for (size_t i = 0; i < tokens.size(); ++i)
    if (tokens[i].kind == kGgufNormal) ids.emplace(tokens[i].text, i);
  struct Merge {
    double score;
    size_t left, right;  // tokens
    int64_t left_length, right_length;
  };
  std::vector<Merge> found;
  for (size_t i = 0; i < tokens.size(); ++i) {
    const std::string_view piece = tokens[i].text;
    if (tokens[i].kind != kGgufNormal) continue;
    if (piece.size() > kLongestPiece)
      file.bad_value("tokenizer.ggml.tokens",
                     str("token ", i, " has more than ", kLongestPiece, " bytes"));
    int64_t length = 0, at_length = 0;
    for (size_t at = 0; at < piece.size(); at += static_cast<size_t>(utf8_length(piece.substr(at))))
      ++length;
    for (size_t at = 0; at < piece.size();
         at += static_cast<size_t>(utf8_length(piece.substr(at)))) {
      if (at) {
        const auto left = ids.find(piece.substr(0, at)), right = ids.find(piece.substr(at));
        if (left != ids.end() && right != ids.end())
          found.push_back({scores[i], left->second, right->second, at_length, length - at_length});
      }
      ++at_length;
    }
  }
  std::stable_sort(found.begin(), found.end(), [](const Merge& a, const Merge& b) {
    if (a.score != b.score) return a.score > b.score;
    if (a.left_length != b.left_length) return a.left_length > b.left_length;
    return a.right_length > b.right_length;
  });
  std::string merges;
  for (const Merge& m : found)
    add_json_entry(merges, str("[", json_text(tokens[m.left].text), ", ",
                               json_text(tokens[m.right].text), "]"));
  return merges;
}

std::string sentencepiece_json(const Gguf& file) {
  const std::string space = "▁";
  const std::vector<GgufToken> tokens = read_gguf_tokens(file);
  const bool prefix = file.boolean("tokenizer.ggml.add_space_prefix").value_or(true);
  Json shell = empty_shell(tokens);
  const Json replace = {{"type", "Replace"}, {"pattern", {{"String", " "}}}, {"content", space}};
  const Json back = {{"type", "Replace"}, {"pattern", {{"String", space}}}, {"content", " "}};
  shell["normalizer"] = replace;
  Json decoders = Json::array({back, Json{{"type", "ByteFallback"}}, Json{{"type", "Fuse"}}});
  if (prefix) {
    shell["normalizer"] = {
        {"type", "Sequence"},
        {"normalizers", Json::array({Json{{"type", "Prepend"}, {"prepend", space}}, replace})}};
    decoders.push_back({{"type", "Strip"}, {"content", " "}, {"start", 1}, {"stop", 0}});
  }
  shell["decoder"] = {{"type", "Sequence"}, {"decoders", decoders}};
  shell["post_processor"] = post_processor(file, tokens, true);
  Json& model = shell["model"];
  model["fuse_unk"] = model["byte_fallback"] = true;
  std::string vocabulary;
  for (size_t i = 0; i < tokens.size(); ++i) {
    if (tokens[i].kind == kGgufUnused) continue;
    if (tokens[i].kind == kGgufUnknown && model["unk_token"].is_null())
      model["unk_token"] = tokens[i].text;
    add_json_entry(vocabulary, str(json_text(tokens[i].text), ": ", i));
  }
  return assemble(shell, vocabulary, sentencepiece_merges(file, tokens));
}

}  // namespace

std::string gguf_tokenizer_json(const Gguf& file, const GgufFamily& family) {
  const char* key = "tokenizer.ggml.model";
  const auto model = file.text(key);
  if (!model || *model == "none" || *model == "no_vocab") return {};
  if (*model == "gpt2") return byte_level_json(file, family);
  if (*model == "llama") return sentencepiece_json(file);
  file.bad_value(key, str("the tokenizer '", utf8_repair(model->substr(0, 80)),
                          "' is not supported (only gpt2 and llama)"));
}

Json gguf_tokenizer_config(const Gguf& file) {
  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                 {"clean_up_tokenization_spaces", false}};
  const auto tokens = file.texts("tokenizer.ggml.tokens");
  for (const auto& [key, field] : {std::pair{"tokenizer.ggml.bos_token_id", "bos_token"},
                                   std::pair{"tokenizer.ggml.eos_token_id", "eos_token"}}) {
    const auto id = file.integer(key);
    if (id && *id >= 0 && *id < static_cast<int64_t>(tokens.size()))
      config[field] = std::string(tokens[static_cast<size_t>(*id)]);
  }
  if (const auto text = file.text("tokenizer.chat_template"))
    config["chat_template"] = std::string(*text);
  return config;
}

}  // namespace wellspring
