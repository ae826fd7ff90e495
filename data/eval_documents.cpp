// eval.jsonl: the held-out documents' text beside their tokens.
#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "data/dataset.h"
#include "data/source.h"

namespace wellspring {
namespace {

constexpr char kHex[] = "0123456789abcdef";

std::string to_hex_text(std::string_view bytes) {
  std::string out;
  for (unsigned char c : bytes) out += {kHex[c >> 4], kHex[c & 15]};
  return out;
}

std::string from_hex_text(const std::string& hex, const std::string& where) {
  std::string out;
  auto digit = [&](char c) -> unsigned {
    if (c >= '0' && c <= '9') return static_cast<unsigned>(c - '0');
    if (c >= 'a' && c <= 'f') return static_cast<unsigned>(c - 'a' + 10);
    throw Error(Fault::data, str(where, ": field 'hex' holds other than hexadecimal digits"));
  };
  if (hex.size() % 2) throw Error(Fault::data, str(where, ": field 'hex' has an odd length"));
  for (size_t i = 0; i < hex.size(); i += 2)
    out += static_cast<char>(digit(hex[i]) << 4 | digit(hex[i + 1]));
  return out;
}

}  // namespace

std::string language_name(Language language) {
  return language == Language::en ? "en" : language == Language::zh ? "zh" : "other";
}

Language parse_language(const std::string& name, const std::string& where) {
  for (Language l : {Language::other, Language::en, Language::zh})
    if (language_name(l) == name) return l;
  throw Error(Fault::data, str(where, ": language is '", name, "', expected en, zh or other"));
}

std::string eval_line(const EvalDocument& d) {
  Json json = {{"source", d.source},
               {"language", language_name(d.language)},
               {"bytes", d.text.size()},
               {"tokens", d.tokens}};
  // JSON cannot hold invalid UTF-8, and the text must stay exact.
  if (utf8_valid(d.text))
    json["text"] = d.text;
  else
    json["hex"] = to_hex_text(d.text);
  return to_text(json);
}

void read_eval_documents(const std::string& folder,
                         const std::function<void(const EvalDocument&)>& use) {
  const std::string path = join_path(folder, "eval.jsonl");
  ByteSource file(path);
  LineReader lines(file, int64_t{1} << 30);
  std::string line;
  while (lines.next(&line)) {
    const std::string where = str(path, ":", lines.number());
    Json json = parse_json(line, where);
    auto field = [&](const char* key) {
      if (!json.is_object() || !json.contains(key) || !json[key].is_string())
        throw Error(Fault::data, str(where, ": field '", key, "' is missing or not a string"));
      return json[key].get<std::string>();
    };
    EvalDocument d;
    d.source = field("source");
    d.language = parse_language(field("language"), where);
    d.text = json.contains("hex") ? from_hex_text(field("hex"), where) : field("text");
    if (!json.contains("tokens") || !json["tokens"].is_number_integer())
      throw Error(Fault::data, str(where, ": field 'tokens' is missing or not an integer"));
    d.tokens = json["tokens"].get<int64_t>();
    use(d);
  }
}

}  // namespace wellspring
