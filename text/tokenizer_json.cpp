// Reading and writing tokenizer.json.
#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "text/tokenizer.h"
#include "text/tokenizer_data.h"

namespace wellspring {
namespace {

constexpr int64_t kMostIds = 1 << 24;
constexpr int kDeepest = 64;

// model.vocab in the file's order.
struct Vocabulary {
  TextTable tokens;
  std::vector<int64_t> ids;
};

// Everything but model.vocab becomes a Json; the vocabulary (often 10^5 keys) goes to a vector.
Json parse_shell(std::string_view text, const std::string& where, Vocabulary& vocabulary) {
  std::string section, part;
  auto look = [&](int depth, Json::parse_event_t event, Json& value) {
    if (depth > kDeepest) throw Error(Fault::data, str(where, ": nested too deeply"));
    if (event == Json::parse_event_t::key) {
      std::string& key = value.get_ref<std::string&>();
      if (depth == 1) section = key, part.clear();
      if (depth == 2) part = key;
      if (depth == 3 && section == "model" && part == "vocab") {
        vocabulary.tokens.push_back(key);
        vocabulary.ids.push_back(-1);
        return false;  // an ordered object would search all its keys for each new one
      }
    } else if (event == Json::parse_event_t::value && depth == 3 && section == "model" &&
               part == "vocab" && !vocabulary.ids.empty()) {
      if (!value.is_number_integer())
        bad_field(where, str("model.vocab['", vocabulary.tokens[vocabulary.ids.size() - 1], "']"),
                  "a token id was expected");
      vocabulary.ids.back() = value.get<int64_t>();
    }
    return true;
  };
  try {
    return Json::parse(text.begin(), text.end(), look);
  } catch (const Json::exception& e) {
    std::string what = e.what();
    throw Error(Fault::data, str(where, ": not valid JSON: ", what.substr(what.find("] ") + 2)));
  }
}

int32_t checked_id(const std::string& where, const std::string& field, int64_t id) {
  if (id < 0 || id >= kMostIds)
    bad_field(where, field, str("token id ", id, " is out of range (0 to ", kMostIds - 1, ")"));
  return static_cast<int32_t>(id);
}

// Tokens by id: views of the vocabulary and of the shell.
using Tokens = std::vector<std::string_view>;

void place(TokenizerData& d, Tokens& tokens, const std::string& field, std::string_view token,
           int32_t id, uint8_t how) {
  const auto i = static_cast<size_t>(id);
  if (i >= tokens.size()) tokens.resize(i + 1), d.used.resize(i + 1);
  if (d.used[i] && tokens[i] != token)
    bad_field(d.where, field,
              str("id ", id, " belongs to both '", tokens[i], "' and '", token, "'"));
  if (d.used[i] & how) bad_field(d.where, field, str("token '", token, "' stands twice"));
  tokens[i] = token;
  d.used[i] |= how;
}

bool boolean(const Json& object, const char* key, const std::string& where, bool otherwise) {
  if (!object.contains(key) || object[key].is_null()) return otherwise;
  if (!object[key].is_boolean()) bad_field(where, key, "true or false was expected");
  return object[key].get<bool>();
}

void read_added(const Json& shell, TokenizerData& d, Tokens& tokens) {
  if (!shell.contains("added_tokens") || shell["added_tokens"].is_null()) return;
  const Json& list = shell["added_tokens"];
  if (!list.is_array()) bad_field(d.where, "added_tokens", "a list was expected");
  for (size_t i = 0; i < list.size(); ++i) {
    const std::string field = str("added_tokens[", i, "]");
    const Json& j = list[i];
    if (!j.is_object() || !j.contains("content") || !j["content"].is_string() ||
        !j.contains("id") || !j["id"].is_number_integer())
      bad_field(d.where, field,
                "an object with an integer 'id' and a string 'content' was expected");
    AddedToken a;
    a.content = j["content"].get<std::string>();
    if (a.content.empty()) bad_field(d.where, field, "'content' is empty");
    a.id = checked_id(d.where, field, j["id"].get<int64_t>());
    a.special = boolean(j, "special", str(d.where, ": ", field), false);
    a.lstrip = boolean(j, "lstrip", str(d.where, ": ", field), false);
    a.rstrip = boolean(j, "rstrip", str(d.where, ": ", field), false);
    a.single_word = boolean(j, "single_word", str(d.where, ": ", field), false);
    a.normalized = boolean(j, "normalized", str(d.where, ": ", field), !a.special);
    place(d, tokens, field, j["content"].get_ref<const std::string&>(), a.id, TokenizerData::is_added);
    d.added.push_back(std::move(a));
  }
}

int32_t model_id(const TokenizerData& d, const std::string& token, const std::string& field) {
  const int32_t id = d.find_in_model(token);
  if (id < 0) bad_field(d.where, field, str("token '", token, "' is not in model.vocab"));
  return id;
}

void read_merges(const Json& merges, TokenizerData& d) {
  if (!merges.is_array()) bad_field(d.where, "model.merges", "a list was expected");
  d.merges.reserve(merges.size());
  d.merge_list.reserve(merges.size());
  for (size_t i = 0; i < merges.size(); ++i) {
    const Json& m = merges[i];
    std::string left, right;
    if (m.is_array() && m.size() == 2 && m[0].is_string() && m[1].is_string()) {
      left = m[0].get<std::string>(), right = m[1].get<std::string>();
    } else if (m.is_string()) {
      const auto& s = m.get_ref<const std::string&>();
      const size_t space = s.find(' ');
      if (space != std::string::npos && s.find(' ', space + 1) == std::string::npos)
        left = s.substr(0, space), right = s.substr(space + 1);
    }
    const std::string field = str("model.merges[", i, "]");
    if (left.empty() || right.empty())
      bad_field(d.where, field, "\"a b\" or [\"a\", \"b\"] was expected");
    const int32_t l = model_id(d, left, field), r = model_id(d, right, field);
    d.merges.insert(l, r, static_cast<uint32_t>(i), model_id(d, left + right, field));
    d.merge_list.emplace_back(l, r);
  }
}

void refuse_text(const Json& model, const char* key, const std::string& where) {
  if (model.contains(key) && model[key].is_string() && model[key].get<std::string>() != "")
    bad_field(where, str("model.", key), "is not supported");
}

// bos and eos by the names that models use, when no tokenizer_config.json says them.
void guess_ends(TokenizerData& d) {
  auto find = [&](std::initializer_list<const char*> names) -> std::optional<int32_t> {
    for (const char* name : names) {
      const int32_t id = d.find(name);
      if (id >= 0 && d.is_special(id)) return id;
    }
    return std::nullopt;
  };
  d.bos = find({"<s>", "<|begin_of_text|>", "<bos>", "<|startoftext|>", "[BOS]"});
  d.eos = find({"</s>", "<|end_of_text|>", "<|endoftext|>", "<eos>", "[EOS]", "<|im_end|>"});
}

void read_config(const std::string& folder, TokenizerData& d) {
  const std::string path = join_path(folder, "tokenizer_config.json");
  if (!exists(path)) return;
  const Json config = read_json(path);
  if (!config.is_object()) throw Error(Fault::data, str(path, ": an object was expected"));
  for (const char* key : {"bos_token", "eos_token"}) {
    if (!config.contains(key)) continue;
    const Json& value = config[key];
    std::optional<int32_t> id;
    if (!value.is_null()) {
      const Json& name = value.is_object() && value.contains("content") ? value["content"] : value;
      if (!name.is_string()) bad_field(path, key, "a string was expected");
      id = d.find(name.get_ref<const std::string&>());
      if (*id < 0)
        bad_field(path, key, str("'", name.get<std::string>(), "' is not a token of ", d.where));
    }
    (key[0] == 'b' ? d.bos : d.eos) = id;
  }
}

std::shared_ptr<TokenizerData> parse_data(std::string_view json, const std::string& where) {
  auto data = std::make_shared<TokenizerData>();
  TokenizerData& d = *data;
  d.where = where;
  Vocabulary vocabulary;
  Json shell = parse_shell(json, where, vocabulary);
  if (!shell.is_object()) throw Error(Fault::data, str(where, ": an object was expected"));
  if (!shell.contains("model") || !shell["model"].is_object())
    bad_field(where, "model", "is missing or not an object: is this a tokenizer.json?");
  Json& model = shell["model"];
  if (model.contains("type") && model["type"] != "BPE")
    bad_field(where, "model.type", str("only BPE is supported, not ", to_text(model["type"])));
  if (!model.contains("vocab") || !model["vocab"].is_object())
    bad_field(where, "model.vocab", "is missing or not an object");
  refuse_text(model, "continuing_subword_prefix", where);
  refuse_text(model, "end_of_word_suffix", where);
  const auto most = static_cast<int64_t>(vocabulary.ids.size()) * 16 + 65536;
  Tokens tokens;
  tokens.reserve(vocabulary.ids.size());
  for (size_t i = 0; i < vocabulary.ids.size(); ++i) {
    const std::string_view token = vocabulary.tokens[i];
    const int64_t id = vocabulary.ids[i];
    const std::string field = str("model.vocab['", token, "']");
    if (id >= most) bad_field(where, field, str("id ", id, " leaves too many ids unused"));
    place(d, tokens, field, token, checked_id(where, field, id), TokenizerData::in_model);
  }
  read_added(shell, d, tokens);
  d.take_tokens(tokens, where + ": model.vocab");
  d.ignore_merges = boolean(model, "ignore_merges", where + ": model", false);
  d.byte_fallback = boolean(model, "byte_fallback", where + ": model", false);
  d.fuse_unk = boolean(model, "fuse_unk", where + ": model", false);
  if (model.contains("unk_token") && !model["unk_token"].is_null()) {
    if (!model["unk_token"].is_string())
      bad_field(where, "model.unk_token", "a string was expected");
    d.unk = d.find(model["unk_token"].get_ref<const std::string&>());
    if (d.unk < 0) bad_field(where, "model.unk_token", "is not in model.vocab");
  }
  if (model.contains("merges")) read_merges(model["merges"], d);
  model.erase("vocab");
  model.erase("merges");
  read_steps(shell, d);
  d.shell = to_text(shell);
  d.finish();
  guess_ends(d);
  return data;
}

}  // namespace

Tokenizer Tokenizer::parse(std::string_view json, const std::string& where) {
  return Tokenizer(parse_data(json, where));
}

Tokenizer Tokenizer::load(const std::string& path) {
  if (is_directory(path)) {
    const std::string file = join_path(path, "tokenizer.json");
    if (!exists(file))
      throw Error(Fault::io,
                  str(path, " holds no tokenizer.json: make one with ", "'wellspring text train'"));
    auto data = parse_data(read_file(file), file);
    read_config(path, *data);
    return Tokenizer(data);
  }
  if (ends_with(path, ".tiktoken")) {
    const std::string name = base_name(path);
    for (auto [part, pattern] : {std::pair{"o200k", SplitPattern::o200k},
                                 {"cl100k", SplitPattern::cl100k},
                                 {"gpt2", SplitPattern::gpt2},
                                 {"r50k", SplitPattern::gpt2},
                                 {"p50k", SplitPattern::gpt2}})
      if (name.find(part) != std::string::npos) return load_ranks(path, pattern);
    throw Error(Fault::usage,
                str("the name of ", path, " does not say its pattern: load it with one ",
                    "of gpt2, llama3, qwen2, cl100k, o200k"));
  }
  return Tokenizer(parse_data(read_file(path), path));
}

std::string Tokenizer::to_json() const {
  const TokenizerData& d = *data_;
  const Json shell = parse_json(d.shell, d.where);
  auto quoted = [](std::string_view s) { return to_text(Json(s)); };
  std::string out = "{\n";
  for (const auto& [key, value] : shell.items()) {
    if (key == "model") continue;
    out += str("  ", quoted(key), ": ", to_text(value), ",\n");
  }
  out += "  \"model\": {\n";
  for (const auto& [key, value] : shell["model"].items())
    out += str("    ", quoted(key), ": ", to_text(value), ",\n");
  out += "    \"vocab\": {";
  bool first = true;
  for (size_t i = 0; i < d.tokens.size(); ++i) {
    if (!(d.used[i] & TokenizerData::in_model)) continue;
    out += str(first ? "\n      " : ",\n      ", quoted(d.tokens[i]), ": ", i);
    first = false;
  }
  out += "\n    },\n    \"merges\": [";
  first = true;
  for (auto [l, r] : d.merge_list) {
    out += str(first ? "\n      [" : ",\n      [", quoted(d.tokens[static_cast<size_t>(l)]), ", ",
               quoted(d.tokens[static_cast<size_t>(r)]), "]");
    first = false;
  }
  out += "\n    ]\n  }\n}\n";
  return out;
}

void Tokenizer::save(const std::string& path) const {
  if (ends_with(path, ".json")) return write_file_atomic(path, to_json());
  make_directories(path);
  write_file_atomic(join_path(path, "tokenizer.json"), to_json());
  Json config = {{"tokenizer_class", "PreTrainedTokenizerFast"},
                 {"clean_up_tokenization_spaces", false}};
  if (bos_id()) config["bos_token"] = id_to_token(*bos_id());
  if (eos_id()) config["eos_token"] = id_to_token(*eos_id());
  write_file_atomic(join_path(path, "tokenizer_config.json"), to_text(config, 2) + "\n");
}

}  // namespace wellspring
