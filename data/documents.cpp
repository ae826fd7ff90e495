#include "data/documents.h"

#include <utility>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "data/charset.h"
#include "data/html.h"
#include "data/language.h"
#include "data/man.h"
#include "data/pod.h"
#include "data/source.h"
#include "data/text_builder.h"

namespace wellspring {
namespace {

constexpr size_t kLargestPage = 64 << 20;  // an HTML or manual page is read as a whole
constexpr int64_t kLongestLine = int64_t{256} << 20;

// Where to cut text longer than `most`: behind a paragraph, else a line, else a character.
size_t cut_point(std::string_view s, size_t most) {
  for (std::string_view end : {"\n\n", "\n"})
    if (size_t at = s.rfind(end, most - end.size()); at != std::string_view::npos && at > most / 2)
      return at + end.size();
  size_t at = most;
  while (at > most - 4 && (static_cast<unsigned char>(s[at]) & 0xC0) == 0x80) --at;
  return at;
}

// JSON parsers refuse invalid UTF-8. The bytes 0xXX that are none stand in for parsing as the code
// points U+10FFXX, the end of the last private plane, and come back afterwards; so do the bytes of
// any such code point in the line itself.
constexpr std::string_view kDisguise = "\xF4\x8F";

std::string disguise(std::string_view s) {
  std::string out;
  while (!s.empty()) {
    auto n = static_cast<size_t>(utf8_length(s));
    if (n > 0 && !(starts_with(s, kDisguise) && static_cast<unsigned char>(s[2]) >= 0xBC)) {
      out.append(s, 0, n);
    } else {
      n = 1;
      utf8_append(out, 0x10FF00u + static_cast<unsigned char>(s[0]));
    }
    s.remove_prefix(n);
  }
  return out;
}

std::string undisguise(std::string_view s) {
  std::string out;
  for (size_t i = 0; i < s.size();) {
    if (starts_with(s.substr(i), kDisguise) && static_cast<unsigned char>(s[i + 2]) >= 0xBC) {
      out += static_cast<char>(utf8_decode(s.substr(i)) & 0xFF);
      i += 4;
    } else {
      out += s[i++];
    }
  }
  return out;
}

std::string utf16_to_utf8(const std::string& s) {
  if (s.size() >= 2 && ((s[0] == '\xFF' && s[1] == '\xFE') || (s[0] == '\xFE' && s[1] == '\xFF'))) {
    std::string out;
    if (to_utf8(s, "utf-16", &out)) return out;
  }
  return s;
}

// The text field of one line. Invalid UTF-8 inside a string is the option's matter, not a broken
// line; it is counted when the text is looked at.
std::string json_text(const RawDocument& raw, const std::string& field) {
  const std::string where = str(raw.path, ":", raw.line);
  const bool valid = utf8_valid(raw.content);
  Json json = parse_json(valid ? raw.content : disguise(raw.content), where);
  if (!json.is_object() || !json.contains(field))
    throw Error(Fault::data, str(where, ": no field '", field,
                                 "'. Name the field that holds the text with --field"));
  if (!json[field].is_string())
    throw Error(Fault::data, str(where, ": field '", field, "' is not a string"));
  std::string text = json[field].get<std::string>();
  return valid ? text : undisguise(text);
}

}  // namespace

InvalidUtf8 parse_invalid_utf8(const std::string& name) {
  if (name == "keep") return InvalidUtf8::keep;
  if (name == "replace") return InvalidUtf8::replace;
  if (name == "drop") return InvalidUtf8::drop;
  throw Error(Fault::usage, str("--invalid-utf8 is '", name, "', expected keep, replace or drop"));
}

std::string markdown_text(std::string_view s) {
  if (starts_with(s, "\xEF\xBB\xBF")) s.remove_prefix(3);
  if (starts_with(s, "---\n") || starts_with(s, "---\r\n"))
    if (size_t end = s.find("\n---", 3); end != std::string_view::npos) {
      size_t line = s.find('\n', end + 1);
      s.remove_prefix(line == std::string_view::npos ? s.size() : line + 1);
    }
  std::string out;
  while (!s.empty()) {
    size_t open = s.find("<!--"), close = s.find("-->", open == std::string_view::npos ? 0 : open);
    if (open == std::string_view::npos || close == std::string_view::npos) break;
    out.append(s, 0, open);
    s.remove_prefix(close + 3);
  }
  out += s;
  return out;
}

std::string clean_text(std::string_view content, Format format, bool raw) {
  switch (format) {
    case Format::html:
      return tidy(html_text(content));
    case Format::man:
      return tidy(man_text(content));
    case Format::pod:
      return tidy(pod_text(content));
    case Format::markdown:
      return tidy(markdown_text(content));
    case Format::text:
    case Format::jsonl:
      break;
  }
  return raw ? std::string(content) : tidy(content);
}

struct DocumentReader::Impl {
  InputFile file;
  ReadOptions options;
  ByteSource source;
  LineReader lines;
  SourceInfo counts;
  std::string rest;  // text read but not given
  bool end = false;

  Impl(const InputFile& f, const ReadOptions& o)
      : file(f), options(o), source(f.path), lines(source, kLongestLine) {}

  // The next raw document; false at the end.
  bool raw(RawDocument* raw) {
    if (file.format == Format::jsonl) return json_line(raw);
    std::string* out = &raw->content;
    if (end) return false;
    if (file.format != Format::text) {
      end = true;
      if (!read_up_to(source, kLargestPage, out))
        throw Error(Fault::data, str(file.path, ": a page of more than ",
                                     human_bytes(static_cast<double>(kLargestPage)),
                                     ". Split it, or leave it out"));
      counts.bytes += static_cast<int64_t>(out->size());
      return true;
    }
    const auto most = static_cast<size_t>(options.longest);
    const size_t before = rest.size();
    end = read_up_to(source, most + 1, &rest);
    counts.bytes += static_cast<int64_t>(rest.size() - before);
    if (rest.size() > most) {
      size_t cut = cut_point(rest, most);
      out->assign(rest, 0, cut);
      rest.erase(0, cut);
      end = false;
      ++counts.cut;
    } else {
      *out = utf16_to_utf8(rest);
      rest.clear();
      end = true;
    }
    return true;
  }

  bool json_line(RawDocument* out) {
    while (lines.next(&out->content)) {
      counts.bytes += static_cast<int64_t>(out->content.size()) + 1;
      out->line = lines.number();
      if (!trim(out->content).empty()) return true;
    }
    return false;
  }
};

DocumentReader::DocumentReader(const InputFile& file, const ReadOptions& options)
    : impl_(std::make_unique<Impl>(file, options)) {}
DocumentReader::~DocumentReader() = default;
DocumentReader::DocumentReader(DocumentReader&&) noexcept = default;
const SourceInfo& DocumentReader::counts() const { return impl_->counts; }
int64_t DocumentReader::position() const { return impl_->source.position(); }

bool DocumentReader::next_raw(RawDocument* raw) {
  raw->content.clear();
  raw->format = impl_->file.format;
  raw->path = impl_->file.path;
  return impl_->raw(raw);
}

bool DocumentReader::next(Document* document) {
  RawDocument raw;
  while (next_raw(&raw))
    if (make_document(raw, impl_->options, document, &impl_->counts)) return true;
  return false;
}

bool make_document(const RawDocument& raw, const ReadOptions& options, Document* document,
                   SourceInfo* counts) {
  document->text = raw.format == Format::jsonl
                       ? clean_text(json_text(raw, options.field), raw.format, options.raw)
                       : clean_text(raw.content, raw.format, options.raw);
  document->invalid = 0;
  if (!utf8_valid(document->text)) {
    std::string repaired = utf8_repair(document->text, &document->invalid);
    if (options.invalid == InvalidUtf8::replace) document->text = std::move(repaired);
    counts->invalid_utf8 += document->invalid;
    ++counts->invalid_documents;
    if (options.invalid == InvalidUtf8::drop) {
      ++counts->dropped;
      return false;
    }
  }
  if (trim(document->text).empty()) {
    ++counts->empty;
    return false;
  }
  document->hash = hash128(document->text);
  document->language = guess_language(document->text);
  return true;
}

}  // namespace wellspring
