#include "cluster/job/snapshot.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>

#include "base/crypto.h"
#include "base/file.h"
#include "base/text.h"
#include "base/time.h"
#include "cluster/job/ignore.h"

namespace wellspring::cluster {
namespace {

constexpr const char* kIgnoreFile = ".wellspringignore";
constexpr int64_t kMostEntries = 1'000'000;
constexpr long kArchiveTime = 946'684'800;  // 2000-01-01: tar warns of the year 1970
constexpr size_t kBlock = 512;

// What the archive says of one file, and what must not change while it is read.
struct WorkdirEntry {
  std::string path;  // relative
  mode_t mode = 0;
  int64_t size = 0;
  ino_t inode = 0;
  timespec modified{}, changed{};
  std::string target;  // of a link

  bool operator==(const WorkdirEntry& other) const {
    const auto same = [](const timespec& a, const timespec& b) {
      return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
    };
    if (path != other.path || mode != other.mode || target != other.target) return false;
    if (!S_ISREG(mode)) return true;  // a folder changes with what is ignored in it
    return size == other.size && inode == other.inode && same(modified, other.modified) &&
           same(changed, other.changed);
  }
};

std::string printable(std::string_view path) {
  std::string out = utf8_repair(path);
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = '?';
  return out;
}

[[noreturn]] void fail_io(const std::string& path, const char* doing) {
  throw Error(Fault::io, str("cannot ", doing, " ", printable(path), ": ", std::strerror(errno)));
}

[[noreturn]] void fail_changed(const std::string& path) {
  throw Error(Fault::try_again, str(printable(path), " changed while the workdir was read: submit ",
                                    "again when nothing writes there, or ignore it"));
}

class WorkdirScan {
 public:
  explicit WorkdirScan(const Workdir& workdir) : workdir_(workdir) {
    rules_.add(".git\n");
    const std::string ignore = join_path(workdir.path, kIgnoreFile);
    if (exists(ignore)) rules_.add(read_file(ignore));
    for (const std::string& pattern : workdir.exclude) rules_.add(pattern);
  }

  // Sorted bytewise by the path that stands in the archive.
  std::vector<WorkdirEntry> run() {
    scan("");
    check_limits();
    const auto archived = [](const WorkdirEntry& e) {
      return S_ISDIR(e.mode) ? e.path + "/" : e.path;
    };
    std::sort(entries_.begin(), entries_.end(), [&](const WorkdirEntry& a, const WorkdirEntry& b) {
      return archived(a) < archived(b);
    });
    return std::move(entries_);
  }

 private:
  int64_t scan(const std::string& folder) {
    int64_t bytes = 0;
    for (const std::string& name : list_directory(join(folder))) {
      WorkdirEntry entry;
      entry.path = folder.empty() ? name : str(folder, "/", name);
      const std::string full = join(entry.path);
      struct stat info;
      if (::lstat(full.c_str(), &info) != 0) {
        if (errno == ENOENT) fail_changed(full);
        fail_io(full, "look at");
      }
      if (rules_.ignored(entry.path, S_ISDIR(info.st_mode))) continue;
      const mode_t rights = S_ISDIR(info.st_mode) || (info.st_mode & S_IXUSR) ? 0755 : 0644;
      entry.mode = (info.st_mode & S_IFMT) | rights;
      entry.inode = info.st_ino;
      entry.modified = info.st_mtim;
      entry.changed = info.st_ctim;
      if (S_ISREG(info.st_mode)) {
        entry.size = info.st_size;
        bytes += entry.size;
      } else if (S_ISLNK(info.st_mode)) {
        entry.mode = S_IFLNK | 0777;
        entry.target = read_link(full);
      } else if (!S_ISDIR(info.st_mode)) {
        throw Error(Fault::config, str(printable(full), " is neither a file nor a folder nor a ",
                                       "link: leave it out by a line in ", kIgnoreFile));
      }
      entries_.push_back(entry);
      if (static_cast<int64_t>(entries_.size()) > kMostEntries) check_limits();
      if (S_ISDIR(info.st_mode)) bytes += scan(entry.path);
    }
    sizes_[folder] = bytes;
    return bytes;
  }

  void check_limits() const {
    const bool many = static_cast<int64_t>(entries_.size()) > kMostEntries;
    int64_t bytes = 0;
    for (const WorkdirEntry& entry : entries_) bytes += entry.size;
    if (!many && bytes <= workdir_.limit) return;
    throw Error(Fault::config,
                str("the workdir ", printable(workdir_.path), " has ",
                    many ? str("more than ", kMostEntries, " files")
                         : str(human_bytes(static_cast<double>(bytes)), ", more than ",
                               human_bytes(static_cast<double>(workdir_.limit))),
                    biggest(), ". Leave out what the job does not need by lines in ", kIgnoreFile,
                    ", mount data instead", many ? "" : ", or raise workdir.limit"));
  }

  // "; the most is in data/raw (2.1 GB), runs (800 MB)": folders and files, each the deepest that
  // still holds nearly all of the one above.
  std::string biggest() const {
    std::vector<std::pair<int64_t, std::string>> found;
    for (const auto& [folder, bytes] : sizes_) {
      if (folder.empty() || bytes == 0) continue;
      const auto parent = sizes_.find(parent_path(folder));
      const bool top = parent == sizes_.end() || parent->first.empty();
      if (top) found.emplace_back(bytes, deepest(folder, bytes));
    }
    for (const WorkdirEntry& entry : entries_)
      if (entry.size > 0 && entry.path.find('/') == entry.path.npos)
        found.emplace_back(entry.size, entry.path);
    std::sort(found.rbegin(), found.rend());
    std::string out;
    for (size_t i = 0; i < std::min<size_t>(found.size(), 3); ++i)
      out += str(i ? ", " : "; the most is in ", printable(found[i].second), " (",
                 human_bytes(static_cast<double>(found[i].first)), ")");
    return out;
  }
  std::string deepest(std::string folder, int64_t bytes) const {
    for (auto at = sizes_.upper_bound(folder); at != sizes_.end(); ++at) {
      if (!at->first.starts_with(folder + "/")) break;
      if (at->second * 10 >= bytes * 9) folder = at->first;
    }
    return folder;
  }

  std::string join(const std::string& path) const {
    return path.empty() ? workdir_.path : join_path(workdir_.path, path);
  }
  static std::string read_link(const std::string& path) {
    std::string target(4097, '\0');
    const ssize_t n = ::readlink(path.c_str(), target.data(), target.size());
    if (n < 0) fail_io(path, "read the link");
    target.resize(static_cast<size_t>(n));
    return target;
  }

  const Workdir& workdir_;
  IgnoreRules rules_;
  std::vector<WorkdirEntry> entries_;
  std::map<std::string, int64_t> sizes_;  // of all below a folder
};

class TarWriter {
 public:
  explicit TarWriter(const std::function<void(std::string_view)>& sink) : sink_(sink) {}

  void header(const WorkdirEntry& entry) {
    const bool folder = S_ISDIR(entry.mode), link = S_ISLNK(entry.mode);
    const std::string path = folder ? entry.path + "/" : entry.path;
    std::string name = path, prefix;
    std::string extra;
    if (path.size() > 100 && !split_name(path, prefix, name)) {
      extra += record("path", path);
      name = path.substr(0, 100);
    }
    if (entry.target.size() > 100) extra += record("linkpath", entry.target);
    constexpr int64_t kMostOctal = 0'77777777777;
    if (entry.size > kMostOctal) extra += record("size", str(entry.size));
    if (!extra.empty()) {
      block("pax", "", 'x', 0644, static_cast<int64_t>(extra.size()), "");
      put(extra);
      pad(static_cast<int64_t>(extra.size()));
    }
    block(name, prefix,
          link     ? '2'
          : folder ? '5'
                   : '0',
          entry.mode & 0777, entry.size > kMostOctal ? 0 : entry.size, entry.target.substr(0, 100));
  }

  void put(std::string_view bytes) {
    hash_.add(bytes);
    if (sink_) sink_(bytes);
    written_ += static_cast<int64_t>(bytes.size());
  }
  void pad(int64_t size) {
    const size_t rest = static_cast<size_t>(size) % kBlock;
    if (rest) put(std::string(kBlock - rest, '\0'));
  }
  WorkdirArchive finish() {
    put(std::string(2 * kBlock, '\0'));
    WorkdirArchive out;
    out.bytes = written_;
    out.sha256 = hex(hash_.finish());
    return out;
  }

 private:
  // "30 path=...\n": the length counts itself.
  static std::string record(const std::string& key, const std::string& value) {
    const size_t rest = key.size() + value.size() + 3;
    size_t length = rest;
    while (length != rest + str(length).size()) length = rest + str(length).size();
    return str(length, " ", key, "=", value, "\n");
  }

  // A ustar name of at most 155 bytes before a slash and 100 behind it.
  static bool split_name(const std::string& path, std::string& prefix, std::string& name) {
    for (size_t slash = path.find('/'); slash != path.npos && slash <= 155;
         slash = path.find('/', slash + 1)) {
      const size_t rest = path.size() - slash - 1;
      if (slash == 0 || rest == 0 || rest > 100) continue;
      prefix = path.substr(0, slash);
      name = path.substr(slash + 1);
      return true;
    }
    return false;
  }

  void block(const std::string& name, const std::string& prefix, char type, mode_t mode,
             int64_t size, const std::string& target) {
    std::string b(kBlock, '\0');
    const auto text = [&](size_t at, std::string_view value) {
      b.replace(at, value.size(), value);
    };
    const auto octal = [&](size_t at, size_t digits, int64_t value) {
      for (size_t i = digits; i-- > 0; value /= 8) b[at + i] = static_cast<char>('0' + value % 8);
    };
    text(0, name);
    octal(100, 7, mode);
    octal(108, 7, 0);
    octal(116, 7, 0);
    octal(124, 11, size);
    octal(136, 11, kArchiveTime);
    b.replace(148, 8, 8, ' ');
    b[156] = type;
    text(157, target);
    text(257, std::string_view("ustar\0"
                               "00",
                               8));
    octal(329, 7, 0);
    octal(337, 7, 0);
    text(345, prefix);
    int64_t sum = 0;
    for (char c : b) sum += static_cast<unsigned char>(c);
    octal(148, 6, sum);
    b[154] = '\0';
    put(b);
  }

  const std::function<void(std::string_view)>& sink_;
  Sha256 hash_;
  int64_t written_ = 0;
};

void put_content(TarWriter& tar, const std::string& path, const WorkdirEntry& entry) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    if (errno == ENOENT || errno == ELOOP) fail_changed(path);
    fail_io(path, "read");
  }
  struct Closer {
    int fd;
    ~Closer() { ::close(fd); }
  } closer{fd};
  std::string buffer(1 << 18, '\0');
  int64_t left = entry.size;
  while (left > 0) {
    const size_t want = static_cast<size_t>(std::min<int64_t>(left, int64_t(buffer.size())));
    const ssize_t n = ::read(fd, buffer.data(), want);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail_io(path, "read");
    if (n == 0) fail_changed(path);
    tar.put(std::string_view(buffer).substr(0, static_cast<size_t>(n)));
    left -= n;
  }
  tar.pad(entry.size);
}

}  // namespace

WorkdirArchive write_archive(const Workdir& workdir,
                             const std::function<void(std::string_view)>& sink) {
  const std::vector<WorkdirEntry> entries = WorkdirScan(workdir).run();
  TarWriter tar(sink);
  int64_t content = 0;
  for (const WorkdirEntry& entry : entries) {
    tar.header(entry);
    if (!S_ISREG(entry.mode)) continue;
    put_content(tar, join_path(workdir.path, entry.path), entry);
    content += entry.size;
  }
  // Nothing changed between the two looks: the archive is of one moment.
  const std::vector<WorkdirEntry> again = WorkdirScan(workdir).run();
  const auto [was, is] = std::mismatch(entries.begin(), entries.end(), again.begin(), again.end());
  if (was != entries.end() || is != again.end()) {
    // Of two names the first in order is the one that the other look lacks.
    const bool lost = is == again.end() || (was != entries.end() && was->path < is->path);
    fail_changed(join_path(workdir.path, lost ? was->path : is->path));
  }
  WorkdirArchive out = tar.finish();
  out.content = content;
  out.entries = static_cast<int64_t>(entries.size());
  return out;
}

WorkdirArchive write_archive_file(const Workdir& workdir, const std::string& path) {
  constexpr int kTries = 3;
  for (int tries = 1;; ++tries) {
    try {
      AtomicWriter file(path);
      WorkdirArchive out = write_archive(
          workdir, [&](std::string_view bytes) { file.write(bytes.data(), bytes.size()); });
      file.commit();
      return out;
    } catch (const Error& e) {
      if (e.fault() != Fault::try_again || tries == kTries) throw;
    }
    sleep_seconds(0.2 * tries);
  }
}

}  // namespace wellspring::cluster
