// Reading a log that wellspring-launch has cut into a head and segments.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "cluster/launch/fields.h"
#include "cluster/launch/tree.h"
#include "cluster/node/executions_impl.h"

namespace wellspring::cluster {
namespace {

struct Segment {
  int64_t start = 0, size = 0;
  std::string name;
};

struct Descriptor {
  int fd = -1;
  explicit Descriptor(int f) : fd(f) {}
  ~Descriptor() {
    if (fd >= 0) close(fd);
  }
};

std::string log_name(int rank) { return rank == setup_rank ? "setup" : std::to_string(rank); }

/// The log's files in order. `folder` is open; the files are looked at, not opened.
std::vector<Segment> segments(int folder, int rank) {
  std::string head = str("log.", log_name(rank), ".txt"),
              prefix = str("log.", log_name(rank), ".from");
  std::vector<Segment> found;
  auto add = [&](const std::string& name, int64_t start) {
    struct stat s;
    if (fstatat(folder, name.c_str(), &s, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(s.st_mode))
      found.push_back({start, s.st_size, name});
  };
  DIR* dir = fdopendir(fcntl(folder, F_DUPFD_CLOEXEC, 3));
  if (dir == nullptr) return found;
  while (dirent* entry = readdir(dir)) {
    std::string name = entry->d_name;
    int64_t start = 0;
    if (name == head) {
      add(name, 0);
    } else if (starts_with(name, prefix) && ends_with(name, ".txt") &&
               launch::read_number(
                   std::string_view(name).substr(prefix.size(), name.size() - prefix.size() - 4), 1,
                   INT64_MAX / 2, &start)) {
      add(name, start);
    }
  }
  closedir(dir);
  std::sort(found.begin(), found.end(),
            [](const Segment& a, const Segment& b) { return a.start < b.start; });
  return found;
}

/// Bytes of one segment; only of a plain file that belongs to the attempt's user, so that a link
/// in the folder leads nowhere.
std::string read_segment(int folder, const Segment& segment, int64_t owner, int64_t at,
                         int64_t most) {
  Descriptor file(
      openat(folder, segment.name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat s;
  if (file.fd < 0 || fstat(file.fd, &s) != 0 || !S_ISREG(s.st_mode) ||
      static_cast<int64_t>(s.st_uid) != owner)
    return "";  // removed meanwhile, or not the launcher's
  std::string out(static_cast<size_t>(std::min(most, segment.size - at)), '\0');
  ssize_t n = pread(file.fd, out.data(), out.size(), at);
  out.resize(n > 0 ? static_cast<size_t>(n) : 0);
  return out;
}

int open_folder(const std::string& folder) {
  int fd = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0 && errno != ENOENT) throw Error(Fault::io, str(folder, ": ", strerror(errno)));
  return fd;
}

}  // namespace

int64_t log_total(const std::string& attempt_folder, const launch::Identity& identity, int rank) {
  launch::AsUser as(identity);
  Descriptor folder(open_folder(attempt_folder));
  if (folder.fd < 0) return 0;
  std::vector<Segment> all = segments(folder.fd, rank);
  return all.empty() ? 0 : all.back().start + all.back().size;
}

LogPart read_log_as(const std::string& attempt_folder, const launch::Identity& identity, int rank,
                    int64_t offset, int64_t max) {
  LogPart part;
  part.next = offset = std::max<int64_t>(offset, 0);
  int64_t owner = identity.uid >= 0 ? identity.uid : static_cast<int64_t>(geteuid());
  launch::AsUser as(identity);
  Descriptor folder(open_folder(attempt_folder));
  if (folder.fd < 0) return part;
  std::vector<Segment> all = segments(folder.fd, rank);
  if (all.empty()) return part;
  part.total = all.back().start + all.back().size;
  for (const Segment& segment : all) {
    if (segment.start + segment.size <= part.next) continue;
    if (segment.start > part.next) {  // dropped, by the limit or by a full disk
      if (!part.data.empty()) break;  // told at the beginning of the next part
      part.dropped += segment.start - part.next;
      part.next = segment.start;
    }
    int64_t room = max - static_cast<int64_t>(part.data.size());
    if (room <= 0) break;
    std::string text = read_segment(folder.fd, segment, owner, part.next - segment.start, room);
    if (text.empty()) continue;
    part.next += static_cast<int64_t>(text.size());
    part.data += text;
  }
  if (part.data.empty()) {
    part.next = offset;
    part.dropped = 0;
  }
  if (part.dropped > 0) part.data.insert(0, str("… ", part.dropped, " bytes dropped …\n"));
  return part;
}

LogPart Executions::read_log_in(const std::string& attempt_folder, const std::string& user,
                                int rank, int64_t offset, int64_t max) {
  return read_log_as(attempt_folder, find_account(user).identity, rank, offset, max);
}

}  // namespace wellspring::cluster
