#include "perf/records.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "base/time.h"

namespace wellspring {
namespace {

Json json_of(const Record& r) {
  Json out = {{"at", r.at}, {"kind", r.kind}, {"id", r.id}, {"what", r.what}, {"chip", r.chip}};
  out["nodes"] = r.nodes, out["devices"] = r.devices;
  if (!r.used.empty()) out["used"] = r.used;
  if (!r.reached.empty()) out["reached"] = r.reached;
  if (!r.source.empty()) out["source"] = r.source;
  return out;
}

Record record_of(const Json& json) {
  Record r;
  r.at = json.at("at"), r.kind = json.at("kind"), r.id = json.at("id");
  r.what = json.value("what", ""), r.chip = json.at("chip");
  r.nodes = json.value("nodes", 1), r.devices = json.value("devices", 1);
  r.used = json.value("used", r.used);
  r.reached = json.value("reached", r.reached);
  r.source = json.value("source", r.source);
  return r;
}

void check_record(const Record& r) {
  if (r.kind.empty() || r.id.empty() || r.chip.empty())
    throw Error(Fault::data, "a record has a kind, an id and a chip");
  for (const auto* figures : {&r.used, &r.reached})
    for (const auto& [name, value] : *figures)
      if (!std::isfinite(value))
        throw Error(Fault::data, str("record ", r.id, ": '", name, "' is no finite number"));
}

std::string file_of(double at) { return str("records-", format_utc(at).substr(0, 7), ".jsonl"); }

struct Lines {
  int fd;
  explicit Lines(const std::string& path)
      : fd(::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644)) {
    if (fd < 0 || ::flock(fd, LOCK_EX) != 0) fail(path);
    // A line that a kill has cut gets its end, so that the next one stands alone.
    char last = '\n';
    const off_t size = ::lseek(fd, 0, SEEK_END);
    if (size > 0 && ::pread(fd, &last, 1, size - 1) == 1 && last != '\n') write("\n", path);
  }
  ~Lines() {
    if (fd >= 0) ::close(fd);
  }
  Lines(const Lines&) = delete;
  Lines& operator=(const Lines&) = delete;
  [[noreturn]] static void fail(const std::string& path) {
    throw Error(Fault::io, str(path, ": ", std::strerror(errno)));
  }
  void write(std::string_view text, const std::string& path) {
    while (!text.empty()) {
      const ssize_t n = ::write(fd, text.data(), text.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) fail(path);
      text.remove_prefix(static_cast<size_t>(n));
    }
  }
};

}  // namespace

RecordStore::RecordStore(std::string folder) : folder_(std::move(folder)) { make_directories(folder_); }

void RecordStore::append(const std::vector<Record>& records) {
  std::map<std::string, std::string> files;
  for (const Record& r : records) {
    check_record(r);
    files[file_of(r.at)] += to_text(json_of(r)) + "\n";
  }
  std::lock_guard lock(mutex_);
  for (const auto& [name, text] : files) {
    const std::string path = join_path(folder_, name);
    Lines lines(path);
    const off_t end = ::lseek(lines.fd, 0, SEEK_END);
    try {
      lines.write(text, path);
      if (::fsync(lines.fd) != 0) Lines::fail(path);
    } catch (const Error&) {
      // All of it or nothing, so that who tries again leaves no record twice.
      if (::ftruncate(lines.fd, end) != 0) log_warning("records", path, ": ", std::strerror(errno));
      throw;
    }
  }
}

void RecordStore::each(double from, const std::function<bool(const Record&)>& f) const {
  const std::string first = file_of(from);
  for (const std::string& name : list_directory(folder_)) {
    if (!starts_with(name, "records-") || !ends_with(name, ".jsonl") || name < first) continue;
    const std::string path = join_path(folder_, name);
    const MappedFile file(path);
    std::string_view rest = file.view();
    for (int64_t number = 1; !rest.empty(); ++number) {
      const size_t end = std::min(rest.find('\n'), rest.size());
      const std::string_view line = rest.substr(0, end);
      rest.remove_prefix(std::min(end + 1, rest.size()));
      const Json json = Json::parse(line, nullptr, false);
      if (json.is_discarded() && (rest.empty() || line.empty() || line.back() != '}')) continue;  // cut
      try {
        const Record r = record_of(parse_json(line, path));
        if (r.at >= from && !f(r)) return;
      } catch (const std::exception& e) {
        throw Error(Fault::data, str(path, ":", number, ": ", e.what()));
      }
    }
  }
}

}  // namespace wellspring
