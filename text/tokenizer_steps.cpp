// Normaliser, pre-tokeniser, post-processor and decoder of a tokenizer.json.
#include <algorithm>
#include <functional>
#include <map>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "text/tokenizer_data.h"

namespace wellspring {

void bad_field(const std::string& where, const std::string& field, const std::string& what) {
  throw Error(Fault::data, str(where, ": ", field, ": ", what));
}

namespace {

constexpr size_t kMostSteps = 64;

// One object of the file with its path, for errors that name the field.
struct Field {
  const Json& json;
  const std::string& where;
  std::string path;

  [[noreturn]] void bad(const std::string& what) const { bad_field(where, path, what); }
  bool has(const char* key) const {
    return json.is_object() && json.contains(key) && !json[key].is_null();
  }
  Field at(const char* key) const {
    if (!json.is_object()) bad("an object was expected");
    if (!json.contains(key)) bad(str("'", key, "' is missing"));
    return {json[key], where, str(path, ".", key)};
  }
  std::string text(const char* key) const {
    Field f = at(key);
    if (!f.json.is_string()) f.bad("a string was expected");
    return f.json.get<std::string>();
  }
  bool boolean(const char* key, bool otherwise) const {
    if (!has(key)) return otherwise;
    Field f = at(key);
    if (!f.json.is_boolean()) f.bad("true or false was expected");
    return f.json.get<bool>();
  }
  int64_t integer(const char* key) const {
    Field f = at(key);
    if (!f.json.is_number_integer()) f.bad("an integer was expected");
    return f.json.get<int64_t>();
  }
  std::string type() const { return text("type"); }
  // Elements of a Sequence, or the one step itself.
  std::vector<Field> steps(const char* list) const {
    std::vector<Field> out;
    flatten(list, out, 0);
    if (out.size() > kMostSteps) bad("too many steps");
    return out;
  }

 private:
  void flatten(const char* list, std::vector<Field>& out, int depth) const {
    if (depth > 8) bad("nested too deeply");
    if (type() != "Sequence") {
      out.push_back(*this);
      return;
    }
    Field all = at(list);
    if (!all.json.is_array()) all.bad("a list was expected");
    for (size_t i = 0; i < all.json.size(); ++i)
      Field{all.json[i], where, str(all.path, "[", i, "]")}.flatten(list, out, depth + 1);
  }
};

// {"Regex": ...} or {"String": ...}; *regex says which.
std::string pattern_of(const Field& f, bool* regex) {
  Field p = f.at("pattern");
  *regex = p.json.is_object() && p.json.contains("Regex");
  std::string s = p.text(*regex ? "Regex" : "String");
  if (s.empty()) p.bad("an empty pattern");
  return s;
}

void read_normalizer(const Field& root, TokenizerData& d) {
  for (const Field& f : root.steps("normalizers")) {
    const std::string type = f.type();
    if (type == "NFC") {
      d.normalizer.push_back({NormalizerStep::nfc, "", ""});
    } else if (type == "Prepend") {
      d.normalizer.push_back({NormalizerStep::prepend, "", f.text("prepend")});
    } else if (type == "Replace") {
      bool regex;
      std::string from = pattern_of(f, &regex);
      if (regex) f.bad(str("replacing by the regular expression '", from, "' is not supported"));
      d.normalizer.push_back({NormalizerStep::replace, from, f.text("content")});
    } else {
      f.bad(
          str("normalizer '", type, "' is not supported (NFC, Prepend, Replace and Sequence are)"));
    }
  }
}

SplitBehaviour behaviour_of(const Field& f) {
  const std::string b = f.text("behavior");
  if (b == "Isolated") return SplitBehaviour::isolated;
  if (b == "Removed") return SplitBehaviour::removed;
  if (b == "MergedWithPrevious") return SplitBehaviour::merged_with_previous;
  if (b == "MergedWithNext") return SplitBehaviour::merged_with_next;
  if (b == "Contiguous") return SplitBehaviour::contiguous;
  f.bad(str("unknown behavior '", b, "'"));
}

PreStep read_pre_step(const Field& f) {
  PreStep s{};
  const std::string type = f.type();
  if (type == "ByteLevel") {
    s.kind = PreStep::byte_level;
    s.flag = f.boolean("use_regex", true);
    s.add_prefix_space = f.boolean("add_prefix_space", true);
  } else if (type == "Split") {
    bool regex;
    s.text = pattern_of(f, &regex);
    s.kind = regex ? PreStep::pattern : PreStep::literal;
    s.behaviour = behaviour_of(f);
    s.invert = f.boolean("invert", false);
    if (regex) {
      auto known = split_pattern_of_regex(s.text);
      if (!known)
        f.bad(str("the regular expression '", s.text, "' is not one of the known ones (those of ",
                  "GPT-2, Llama 3, Qwen2, cl100k and o200k)"));
      s.split = *known;
    }
  } else if (type == "Digits") {
    s.kind = PreStep::digits;
    s.flag = f.boolean("individual_digits", false);
  } else if (type == "Metaspace") {
    s.kind = PreStep::metaspace;
    s.text = f.has("replacement") ? f.text("replacement") : "\xE2\x96\x81";
    if (s.text.empty()) f.bad("an empty replacement");
    s.flag = f.boolean("split", true);
    const std::string prepend = f.has("prepend_scheme")               ? f.text("prepend_scheme")
                                : f.boolean("add_prefix_space", true) ? "always"
                                                                      : "never";
    if (prepend != "always" && prepend != "first" && prepend != "never")
      f.bad(str("unknown prepend_scheme '", prepend, "'"));
    s.prepend = prepend == "always"  ? PreStep::always
                : prepend == "first" ? PreStep::first
                                     : PreStep::never;
  } else {
    f.bad(str("pre-tokenizer '", type,
              "' is not supported (ByteLevel, Split, Digits, Metaspace and Sequence are)"));
  }
  return s;
}

void read_pre(const Field& root, TokenizerData& d) {
  auto steps = root.steps("pretokenizers");
  for (size_t i = 0; i < steps.size(); ++i) {
    d.pre.push_back(read_pre_step(steps[i]));
    if (d.pre.back().kind != PreStep::byte_level) continue;
    d.byte_level = true;
    if (i + 1 != steps.size()) steps[i].bad("ByteLevel must be the last pre-tokenizer");
  }
  // A pattern covers every character, so "remove what does not match" is "isolate what does".
  for (PreStep& s : d.pre)
    if (s.kind == PreStep::pattern && s.invert && s.behaviour == SplitBehaviour::removed)
      s.behaviour = SplitBehaviour::isolated, s.invert = false;
}

int32_t id_of(const Field& f, const Json& value, const TokenizerData& d) {
  if (!value.is_number_integer()) f.bad("a token id was expected");
  const auto id = value.get<int64_t>();
  if (id < 0 || id >= static_cast<int64_t>(d.tokens.size()) || !d.used[static_cast<size_t>(id)])
    f.bad(str("token id ", id, " does not exist"));
  return static_cast<int32_t>(id);
}

void read_template(const Field& f, TokenizerData& d) {
  Field single = f.at("single");
  if (!single.json.is_array() || single.json.size() > 1024) single.bad("a list was expected");
  bool seen = false;
  for (size_t i = 0; i < single.json.size(); ++i) {
    Field item{single.json[i], f.where, str(single.path, "[", i, "]")};
    if (item.has("Sequence")) {
      if (seen) item.bad("the text may stand once");
      seen = true;
      continue;
    }
    const std::string name = item.at("SpecialToken").text("id");
    Field token = f.at("special_tokens").at(name.c_str()).at("ids");
    if (!token.json.is_array()) token.bad("a list was expected");
    for (const Json& id : token.json) (seen ? d.after : d.before).push_back(id_of(token, id, d));
  }
  if (!seen) single.bad("holds no Sequence");
}

void read_post(const Field& root, TokenizerData& d) {
  for (const Field& f : root.steps("processors")) {
    const std::string type = f.type();
    if (type == "TemplateProcessing") {
      read_template(f, d);
    } else if (type == "BertProcessing" || type == "RobertaProcessing") {
      for (const char* key : {"cls", "sep"}) {
        Field pair = f.at(key);
        if (!pair.json.is_array() || pair.json.size() != 2) pair.bad("[token, id] was expected");
        (key[0] == 'c' ? d.before : d.after).push_back(id_of(pair, pair.json[1], d));
      }
    } else if (type != "ByteLevel") {  // ByteLevel trims offsets, which we do not give
      f.bad(str("post-processor '", type, "' is not supported (TemplateProcessing, ByteLevel, ",
                "BertProcessing, RobertaProcessing and Sequence are)"));
    }
  }
}

void replace_all(std::string& s, const std::string& from, const std::string& to) {
  for (size_t at = 0; (at = s.find(from, at)) != std::string::npos; at += to.size())
    s.replace(at, from.size(), to);
}

std::string strip(std::string s, char c, int left, int right) {
  while (left-- > 0 && !s.empty() && s.front() == c) s.erase(0, 1);
  while (right-- > 0 && !s.empty() && s.back() == c) s.pop_back();
  return s;
}

// What a step does to a token's text, by itself.
using Change = std::function<void(size_t id, std::string& text)>;

std::vector<Change> read_decoder(const Field& root, TokenizerData& d) {
  std::vector<Change> changes;
  bool fused = false;
  for (const Field& f : root.steps("decoders")) {
    const std::string type = f.type();
    auto each = [&](Change change) {
      if (fused) f.bad(str("decoder '", type, "' after Fuse is not supported"));
      changes.push_back(std::move(change));
    };
    if (type == "Fuse") {
      fused = true;
    } else if (type == "ByteLevel") {
      d.byte_level = true;
      each([&d](size_t i, std::string& s) {
        if (d.used[i] & TokenizerData::is_added) return;  // added tokens are text
        if (auto bytes = from_byte_alphabet(s)) s = *bytes;
      });
    } else if (type == "ByteFallback") {
      each([](size_t, std::string& s) {
        if (s.size() != 6 || !starts_with(s, "<0x") || s[5] != '>') return;
        auto digit = [](char c) {
          return c >= '0' && c <= '9'   ? c - '0'
                 : c >= 'A' && c <= 'F' ? c - 55
                 : c >= 'a' && c <= 'f' ? c - 87
                                        : -1;
        };
        const int high = digit(s[3]), low = digit(s[4]);
        if (high >= 0 && low >= 0) s = static_cast<char>(high * 16 + low);
      });
    } else if (type == "Replace") {
      bool regex;
      const std::string from = pattern_of(f, &regex), to = f.text("content");
      if (regex) f.bad(str("replacing by the regular expression '", from, "' is not supported"));
      each([from, to](size_t, std::string& s) { replace_all(s, from, to); });
    } else if (type == "Metaspace") {
      const std::string r = f.has("replacement") ? f.text("replacement") : "\xE2\x96\x81";
      if (r.empty()) f.bad("an empty replacement");
      const bool never = f.has("prepend_scheme") ? f.text("prepend_scheme") == "never"
                                                 : !f.boolean("add_prefix_space", true);
      d.decode.first_drops_space = !never;
      d.decode.replacement = r;
      each([r](size_t, std::string& s) { replace_all(s, r, " "); });
    } else if (type == "Strip") {
      const std::string content = f.text("content");
      const int64_t start = f.integer("start"), stop = f.integer("stop");
      if (content.size() != 1 || start < 0 || stop < 0 || start > 1024 || stop > 1024)
        f.bad("one ASCII character and counts from 0 to 1024 were expected");
      if (!fused) {
        each([c = content[0], start, stop](size_t, std::string& s) {
          s = strip(s, c, static_cast<int>(start), static_cast<int>(stop));
        });
      } else {
        if (stop) f.bad("stripping the end of a whole text is not supported");
        d.decode.strip_left = static_cast<int>(start);
        d.decode.strip_char = content[0];
      }
    } else {
      f.bad(str("decoder '", type, "' is not supported (ByteLevel, ByteFallback, Fuse, Strip, ",
                "Replace, Metaspace and Sequence are)"));
    }
  }
  return changes;
}

void fill_pieces(const std::vector<Change>& changes, TokenizerData& d) {
  std::map<size_t, std::string> normal;  // tokens that stand in normalised text
  for (const AddedToken& a : d.added)
    if (a.normalized) normal[static_cast<size_t>(a.id)] = d.normalize(a.content);
  std::string text;
  for (size_t i = 0; i < d.tokens.size(); ++i) {
    const auto changed = d.used[i] & TokenizerData::is_added ? normal.find(i) : normal.end();
    text = changed == normal.end() ? d.tokens[i] : changed->second;
    for (const Change& c : changes) c(i, text);
    const bool same = text == d.tokens[i];
    if (same && d.used[i]) d.used[i] |= TokenizerData::piece_is_token;
    d.pieces.push_back(same ? std::string_view() : text);
  }
}

}  // namespace

void read_steps(const Json& shell, TokenizerData& d) {
  auto given = [&](const char* key) { return shell.contains(key) && !shell[key].is_null(); };
  auto field = [&](const char* key) { return Field{shell[key], d.where, key}; };
  if (given("normalizer")) read_normalizer(field("normalizer"), d);
  if (given("pre_tokenizer")) read_pre(field("pre_tokenizer"), d);
  if (given("post_processor")) read_post(field("post_processor"), d);
  std::vector<Change> changes;
  if (given("decoder"))
    changes = read_decoder(field("decoder"), d);
  else
    d.decode.join_by_space = true;
  fill_pieces(changes, d);
}

}  // namespace wellspring
