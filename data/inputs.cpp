// Which files a source has, and what they hold.
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "data/documents.h"
#include "data/man.h"
#include "data/source.h"

namespace wellspring {
namespace {

const std::map<std::string_view, Format, std::less<>> kExtensions = {
    {"txt", Format::text},    {"text", Format::text},         {"rst", Format::text},
    {"adoc", Format::text},   {"org", Format::text},          {"log", Format::text},
    {"md", Format::markdown}, {"markdown", Format::markdown}, {"html", Format::html},
    {"htm", Format::html},    {"xhtml", Format::html},        {"page", Format::html},
    {"jsonl", Format::jsonl}, {"ndjson", Format::jsonl},      {"pod", Format::pod}};

// Never read out of folders, whatever they hold: no running text.
constexpr std::string_view kNoText[] = {
    "avi", "bin",  "bmp",  "css",  "csv",   "dat", "db",   "deb",  "eot", "eps",  "epub", "exe",
    "gif", "ico",  "info", "jpeg", "jpg",   "js",  "json", "map",  "mo",  "mp3",  "mp4",  "o",
    "odt", "ogg",  "pdf",  "png",  "po",    "ps",  "so",   "svg",  "tar", "tiff", "ttf",  "tokens",
    "wav", "webm", "webp", "woff", "woff2", "xml", "xpm",  "yaml", "yml", "zip"};

std::string extension(std::string_view name) {
  size_t dot = name.rfind('.');
  return dot == std::string_view::npos || dot == 0 ? "" : to_lower(name.substr(dot + 1));
}

bool is_section(std::string_view e) {  // "1", "3perl"
  return !e.empty() && e.size() <= 6 && e[0] >= '1' && e[0] <= '9' &&
         (e.size() == 1 || (e[1] | 32) >= 'a');
}

void walk(const std::string& folder, int depth, std::vector<InputFile>& out, int64_t* skipped) {
  if (depth > 64) throw Error(Fault::data, str("folder ", folder, ": more than 64 folders deep"));
  for (const std::string& name : list_directory(folder)) {
    if (name[0] == '.') continue;
    const std::string path = join_path(folder, name);
    struct stat link {
    }, info{};
    if (::lstat(path.c_str(), &link) != 0)
      throw Error(Fault::io, str("cannot read ", path, ": ", std::strerror(errno)));
    if (::stat(path.c_str(), &info) != 0) {  // a link to nowhere
      ++*skipped;
      continue;
    }
    if (S_ISDIR(info.st_mode)) {
      if (!S_ISLNK(link.st_mode)) walk(path, depth + 1, out, skipped);
      continue;
    }
    InputFile file{path, Format::text, info.st_size,
                   info.st_mtim.tv_sec * 1'000'000'000 + info.st_mtim.tv_nsec};
    if (!S_ISREG(info.st_mode) || info.st_size == 0 || !detect_format(path, false, &file.format)) {
      ++*skipped;
      continue;
    }
    out.push_back(std::move(file));
  }
}

}  // namespace

bool detect_format(const std::string& path, bool by_force, Format* format) {
  std::string name = base_name(path);
  for (std::string_view packed : {".gz", ".xz", ".zst", ".bz2"})
    if (ends_with(name, packed) && name.size() > packed.size()) {
      name.resize(name.size() - packed.size());
      break;
    }
  const std::string e = extension(name);
  if (auto known = kExtensions.find(e); known != kExtensions.end()) {
    *format = known->second;
    return true;
  }
  if (!by_force && std::find(std::begin(kNoText), std::end(kNoText), e) != std::end(kNoText))
    return false;
  ByteSource source(path);
  std::string head;
  read_up_to(source, 8192, &head);
  if (head.find('\0') != std::string::npos) return false;
  if (is_section(e) && looks_like_man(head)) {
    *format = Format::man;
    return true;
  }
  std::string start = to_lower(trim(std::string_view(head).substr(0, 256)));
  bool html = starts_with(start, "<!doctype html") || starts_with(start, "<html") ||
              (starts_with(start, "<?xml") && start.find("html") != std::string::npos);
  *format = html ? Format::html : Format::text;
  if (by_force || html) return true;
  int64_t invalid = 0;
  utf8_repair(head, &invalid);
  return invalid * 20 <= static_cast<int64_t>(head.size());
}

std::vector<InputFile> list_inputs(const std::string& path, int64_t* skipped) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0)
    throw Error(Fault::io, str("cannot read source ", path, ": ", std::strerror(errno)));
  std::vector<InputFile> out;
  if (S_ISDIR(info.st_mode)) {
    walk(path, 0, out, skipped);
    if (out.empty())
      throw Error(Fault::data,
                  str("folder ", path, " holds no text: ", *skipped, " files of no known format. ",
                      "Name text, Markdown, HTML, JSONL, man or POD files, or folders of them"));
    std::sort(out.begin(), out.end(),
              [](const InputFile& a, const InputFile& b) { return a.path < b.path; });
    return out;
  }
  InputFile file{path, Format::text, info.st_size,
                 info.st_mtim.tv_sec * 1'000'000'000 + info.st_mtim.tv_nsec};
  if (!detect_format(path, true, &file.format))
    throw Error(Fault::data, str(path, ": is binary (it holds zero bytes), not text"));
  out.push_back(std::move(file));
  return out;
}

}  // namespace wellspring
