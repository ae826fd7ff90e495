#pragma once
// From files to clean documents.

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "data/dataset.h"
#include "data/hash.h"

namespace wellspring {

enum class Format { text, markdown, html, jsonl, man, pod };
/// What to do with bytes that are no UTF-8. Always counted.
enum class InvalidUtf8 { keep, replace, drop };

/// Error(Fault::usage) when `name` is none of keep, replace, drop.
InvalidUtf8 parse_invalid_utf8(const std::string& name);

struct ReadOptions {
  InvalidUtf8 invalid = InvalidUtf8::replace;
  std::string field = "text";  ///< of JSONL
  int64_t longest = 16 << 20;  ///< bytes; plain text is cut there, at a paragraph
  bool raw = false;            ///< text and JSONL: leave white space and controls alone
};

struct InputFile {
  std::string path;
  Format format = Format::text;
  int64_t size = 0;     ///< on disk
  int64_t changed = 0;  ///< time of last change, ns
};

/// The files of a source: the file itself, or all readable ones of a folder, sorted by path.
/// Hidden files and links to folders are left out; files of no known format (images, programs) are
/// counted in `skipped`. Error(Fault::io) for a missing path, Error(Fault::data) for a folder
/// without text.
std::vector<InputFile> list_inputs(const std::string& path, int64_t* skipped);

/// By name (after .gz, .xz, .zst, .bz2) and, where that does not tell, by the content's beginning.
/// False when it is no text.
bool detect_format(const std::string& path, bool by_force, Format* format);

struct Document {
  std::string text;
  Language language = Language::other;
  Hash128 hash;
  int64_t invalid = 0;  ///< invalid UTF-8 sequences that the text had
};

/// A document before cleaning: a page, a piece of text, or a line of JSONL.
struct RawDocument {
  std::string content;
  Format format = Format::text;
  std::string path;
  int64_t line = 0;  ///< of JSONL
};

/// Parses and cleans; pure, so that many run at once. False when nothing is left of it or the
/// options drop it. Adds to the counts empty, invalid_* and dropped. Error(Fault::data) names file
/// and line of broken JSON.
bool make_document(const RawDocument& raw, const ReadOptions& options, Document* document,
                   SourceInfo* counts);

/// Documents of one file, one by one, in bounded memory: a page each for HTML and manual pages, a
/// line each for JSONL, pieces of at most `longest` bytes for text. Counts go to a SourceInfo.
class DocumentReader {
 public:
  DocumentReader(const InputFile& file, const ReadOptions& options);
  ~DocumentReader();
  DocumentReader(DocumentReader&&) noexcept;
  /// Reads on without cleaning; false at the end.
  bool next_raw(RawDocument* raw);
  /// next_raw and make_document. Dropped and empty documents are counted and passed over.
  bool next(Document* document);
  /// What was counted so far: bytes and cut, and by next() also empty, invalid_* and dropped.
  const SourceInfo& counts() const;
  /// Bytes of the file on disk read so far.
  int64_t position() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// Text of one page in any of the formats but JSONL (tidied unless `raw`).
std::string clean_text(std::string_view content, Format format, bool raw = false);
/// Without front matter (--- ... ---) and HTML comments.
std::string markdown_text(std::string_view markdown);

}  // namespace wellspring
