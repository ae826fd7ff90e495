// A byte-level tokenizer.json as metadata of GGUF.

#include <simdjson.h>

#include <optional>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "models/decoder/gguf_tokenizer.h"
#include "text/split.h"
#include "text/tokenizer.h"

namespace wellspring {
namespace {

[[noreturn]] void cannot_hold(const std::string& where, const std::string& why) {
  throw Error(Fault::data, str(where, ": ", why,
                               ", which a GGUF file cannot hold; write the model "
                               "without a tokenizer"));
}

// llama.cpp's name for the pre-tokeniser.
std::string pre_name(const simdjson::dom::element& root, const std::string& where) {
  std::optional<SplitPattern> pattern;
  simdjson::dom::element pre = root["pre_tokenizer"];
  auto look = [&](simdjson::dom::element step) {
    std::string_view type, regex;
    if (step["type"].get(type)) return;
    bool flag = false;
    if (type == "Split" && !step["pattern"]["Regex"].get(regex)) {
      if (pattern) cannot_hold(where, "it cuts text in two ways");
      pattern = split_pattern_of_regex(regex);
      if (!pattern) cannot_hold(where, "it cuts text by a pattern without a name");
    } else if (type == "ByteLevel") {
      if (!step["add_prefix_space"].get(flag) && flag)
        cannot_hold(where, "it puts a space before each text");
      if (!pattern && (step["use_regex"].get(flag) || flag)) pattern = SplitPattern::gpt2;
    } else {
      cannot_hold(where, str("it has a pre-tokeniser of type ", type));
    }
  };
  simdjson::dom::array steps;
  if (!pre["pretokenizers"].get(steps)) {
    for (simdjson::dom::element step : steps) look(step);
  } else {
    look(pre);
  }
  if (!pattern) cannot_hold(where, "it does not cut text before merging");
  bool ignore_merges = false;
  if (root["model"]["ignore_merges"].get(ignore_merges)) ignore_merges = false;
  switch (*pattern) {
    case SplitPattern::gpt2:
      return "gpt-2";
    case SplitPattern::llama3:
      return ignore_merges ? "llama-bpe" : "smaug-bpe";
    case SplitPattern::qwen2:
      return "qwen2";
    case SplitPattern::o200k:
      return "gpt-4o";
    default:
      cannot_hold(where, str("it cuts text by the pattern ", split_pattern_name(*pattern)));
  }
}

std::vector<std::string> merge_texts(const simdjson::dom::element& root, const std::string& where) {
  std::vector<std::string> out;
  simdjson::dom::array merges;
  if (root["model"]["merges"].get(merges)) return out;
  for (simdjson::dom::element m : merges) {
    std::string_view left, right;
    simdjson::dom::array pair;
    if (!m.get(left))
      out.emplace_back(left);
    else if (!m.get(pair) && pair.size() == 2 && !pair.at(0).get(left) && !pair.at(1).get(right))
      out.push_back(str(left, " ", right));
    else
      throw Error(Fault::data, str(where, ": model.merges holds what is no merge"));
  }
  return out;
}

// Whether bos stands before each text and eos after it; anything else cannot be said.
void set_ends(GgufWriter& writer, const Tokenizer& t, const std::string& where,
              const DecoderConfig& config) {
  const EncodeOptions plain{.add_special = false};
  const auto with = t.encode("a"), without = t.encode("a", plain);
  const size_t more = with.size() - without.size();
  size_t before = 0;  // ids before the text
  while (before < more && !std::equal(without.begin(), without.end(),
                                      with.begin() + static_cast<std::ptrdiff_t>(before)))
    ++before;
  const bool bos = before > 0, eos = more > before;
  if (before > 1 || more - before > 1 || (bos && with.front() != config.bos) ||
      (eos && (config.eos.empty() || with.back() != config.eos[0])))
    cannot_hold(where, "it puts other tokens around texts than bos and eos of config.json");
  writer.set_boolean("tokenizer.ggml.add_bos_token", bos);
  writer.set_boolean("tokenizer.ggml.add_eos_token", eos);
}

}  // namespace

void set_gguf_tokenizer(GgufWriter& writer, const std::string& json, const std::string& where,
                        const DecoderConfig& config) {
  const Tokenizer t = Tokenizer::parse(json, where);
  if (!t.byte_level()) cannot_hold(where, "it is not a byte-level tokenizer");
  if (t.vocab_size() > config.vocab)
    throw Error(Fault::data, str(where, ": it has ", t.vocab_size(), " ids, but config.json gives ",
                                 config.vocab, " as vocab_size"));
  simdjson::dom::parser parser;
  simdjson::dom::element root;
  const simdjson::padded_string text(json);
  if (auto code = parser.parse(text).get(root))
    throw Error(Fault::data, str(where, ": not JSON: ", simdjson::error_message(code)));
  writer.set_text("tokenizer.ggml.model", "gpt2");
  writer.set_text("tokenizer.ggml.pre", pre_name(root, where));
  std::vector<std::string> tokens(static_cast<size_t>(config.vocab));
  std::vector<int32_t> kinds(tokens.size(), 1);
  for (size_t i = 0; i < tokens.size(); ++i) {
    const auto id = static_cast<int32_t>(i);
    if (id < t.vocab_size()) tokens[i] = t.id_to_token(id);
    if (tokens[i].empty()) {
      tokens[i] = str("[PAD", i, "]");
      kinds[i] = 5;
    } else if (t.is_special(id)) {
      kinds[i] = 3;
    }
  }
  simdjson::dom::array added;
  if (!root["added_tokens"].get(added)) {
    for (simdjson::dom::element a : added) {
      int64_t id = 0;
      if (!a["id"].get(id) && id >= 0 && id < config.vocab && kinds[static_cast<size_t>(id)] == 1)
        kinds[static_cast<size_t>(id)] = 4;
    }
  }
  writer.set_texts("tokenizer.ggml.tokens", tokens);
  writer.set_i32s("tokenizer.ggml.token_type", kinds);
  writer.set_texts("tokenizer.ggml.merges", merge_texts(root, where));
  set_ends(writer, t, where, config);
}

}  // namespace wellspring
