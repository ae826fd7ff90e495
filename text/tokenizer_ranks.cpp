// tiktoken's rank files, and the tokenizer.json of byte-level tokenizers made here.
#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "text/tokenizer.h"
#include "text/tokenizer_data.h"

namespace wellspring {
namespace {

std::optional<std::string> from_base64(std::string_view s) {
  std::string out;
  uint32_t bits = 0;
  int have = 0;
  while (!s.empty() && s.back() == '=') s.remove_suffix(1);
  for (char c : s) {
    const int v = c >= 'A' && c <= 'Z'   ? c - 'A'
                  : c >= 'a' && c <= 'z' ? c - 'a' + 26
                  : c >= '0' && c <= '9' ? c - '0' + 52
                  : c == '+'             ? 62
                  : c == '/'             ? 63
                                         : -1;
    if (v < 0) return std::nullopt;
    bits = bits << 6 | static_cast<uint32_t>(v);
    if ((have += 6) >= 8) out.push_back(static_cast<char>(bits >> (have -= 8)));
  }
  return out;
}

// Every way to cut a token in two tokens is a merge with the token's rank.
void derive_merges(TokenizerData& d) {
  std::vector<std::pair<int32_t, int32_t>> ways;
  for (size_t id = 0; id < d.tokens.size(); ++id) {
    if (!(d.used[id] & TokenizerData::in_model)) continue;
    const std::string_view token = d.tokens[id];
    ways.clear();
    for (size_t cut = 1; cut < token.size(); ++cut) {
      if ((static_cast<unsigned char>(token[cut]) & 0xC0) == 0x80) continue;  // inside a character
      const int32_t l = d.find_in_model(token.substr(0, cut)), r = d.find_in_model(token.substr(cut));
      if (l < 0 || r < 0) continue;
      ways.emplace_back(l, r);
      d.merges.insert(l, r, static_cast<uint32_t>(id), static_cast<int32_t>(id));
    }
    std::sort(ways.begin(), ways.end());
    d.merge_list.insert(d.merge_list.end(), ways.begin(), ways.end());
  }
}

}  // namespace

std::string byte_level_shell(SplitPattern pattern, const std::vector<AddedToken>& added,
                             bool ignore_merges) {
  auto byte_level = [](bool regex) {
    return Json{{"type", "ByteLevel"},
                {"add_prefix_space", false},
                {"trim_offsets", true},
                {"use_regex", regex}};
  };
  Json tokens = Json::array();
  for (const AddedToken& a : added)
    tokens.push_back({{"id", a.id},
                      {"content", a.content},
                      {"single_word", a.single_word},
                      {"lstrip", a.lstrip},
                      {"rstrip", a.rstrip},
                      {"normalized", a.normalized},
                      {"special", a.special}});
  Json pre = byte_level(true);
  if (pattern != SplitPattern::gpt2)
    pre = {{"type", "Sequence"},
           {"pretokenizers", Json::array({Json{{"type", "Split"},
                                               {"pattern", {{"Regex", split_regex(pattern)}}},
                                               {"behavior", "Isolated"},
                                               {"invert", false}},
                                          byte_level(false)})}};
  Json shell = {{"version", "1.0"},
                {"truncation", nullptr},
                {"padding", nullptr},
                {"added_tokens", tokens},
                {"normalizer", nullptr},
                {"pre_tokenizer", pre},
                {"post_processor", nullptr},
                {"decoder", byte_level(true)},
                {"model",
                 {{"type", "BPE"},
                  {"dropout", nullptr},
                  {"unk_token", nullptr},
                  {"continuing_subword_prefix", nullptr},
                  {"end_of_word_suffix", nullptr},
                  {"fuse_unk", false},
                  {"byte_fallback", false},
                  {"ignore_merges", ignore_merges}}}};
  if (pattern == SplitPattern::qwen2) shell["normalizer"] = {{"type", "NFC"}};
  return to_text(shell);
}

Tokenizer Tokenizer::load_ranks(const std::string& path, SplitPattern pattern,
                                const std::vector<std::string>& special) {
  const std::string text = read_file(path);
  auto data = std::make_shared<TokenizerData>();
  TokenizerData& d = *data;
  d.where = path;
  std::vector<std::string> tokens;
  int64_t line = 0;
  for (size_t at = 0; at < text.size();) {
    size_t stop = std::min(text.find('\n', at), text.size());
    std::string_view row = trim(std::string_view(text).substr(at, stop - at));
    at = stop + 1;
    ++line;
    if (row.empty()) continue;
    const size_t space = row.find(' ');
    auto bad = [&](const std::string& what) {
      throw Error(Fault::data, str(path, ": line ", line, ": ", what));
    };
    if (space == std::string_view::npos) bad("'BASE64 RANK' was expected");
    auto bytes = from_base64(row.substr(0, space));
    auto rank = parse_int(row.substr(space + 1));
    if (!bytes || bytes->empty()) bad("the token is not base64");
    if (!rank || *rank < 0 || *rank >= (1 << 24))
      bad("the rank is not a number from 0 to 16777215");
    const auto id = static_cast<size_t>(*rank);
    if (id > static_cast<size_t>(line) * 16 + 65536) bad("the rank leaves too many ids unused");
    if (id >= tokens.size()) tokens.resize(id + 1), d.used.resize(id + 1);
    if (d.used[id]) bad(str("rank ", id, " stands twice"));
    tokens[id] = to_byte_alphabet(*bytes);
    d.used[id] = TokenizerData::in_model;
  }
  if (tokens.empty()) throw Error(Fault::data, str(path, " holds no ranks"));
  for (const std::string& s : special) {
    if (s.empty()) throw Error(Fault::usage, "a special token is empty");
    d.added.push_back({s, static_cast<int32_t>(tokens.size()), true, false, false, false, false});
    tokens.push_back(s);
    d.used.push_back(TokenizerData::is_added);
  }
  d.take_tokens(std::vector<std::string_view>(tokens.begin(), tokens.end()), path);
  derive_merges(d);
  d.ignore_merges = true;
  d.shell = byte_level_shell(pattern, d.added, true);
  Json shell = parse_json(d.shell, path);
  if (pattern == SplitPattern::qwen2) shell["normalizer"] = nullptr;  // rank files know no NFC
  d.shell = to_text(shell);
  read_steps(shell, d);
  d.finish();
  return Tokenizer(data);
}

}  // namespace wellspring
