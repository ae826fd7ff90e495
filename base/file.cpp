#include "base/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <filesystem>
#include <optional>
#include <system_error>
#include <thread>
#include <utility>

#include "base/error.h"
#include "base/lost_pages.h"
#include "base/text.h"

namespace wellspring {
namespace {

[[noreturn]] void fail(const char* what, const std::string& path, int error) {
  throw Error(Fault::io, str("cannot ", what, " ", path.empty() ? std::string("''") : path, ": ",
                             std::strerror(error)));
}

class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&&) = delete;
  int get() const { return fd_; }

 private:
  int fd_;
};

int open_file(const std::string& path, const char* what, int flags, mode_t mode = 0666) {
  int fd;
  do fd = ::open(path.c_str(), flags | O_CLOEXEC, mode);
  while (fd < 0 && errno == EINTR);
  if (fd < 0) fail(what, path, errno);
  return fd;
}

int open_for_reading(const std::string& path, struct stat* info) {
  int fd = open_file(path, "read", O_RDONLY);
  if (::fstat(fd, info) != 0 || S_ISDIR(info->st_mode)) {
    int error = S_ISDIR(info->st_mode) ? EISDIR : errno;
    ::close(fd);
    fail("read", path, error);
  }
  return fd;
}

// 0 or the error.
int write_all(int fd, const char* data, size_t size) {
  while (size > 0) {
    ssize_t n = ::write(fd, data, std::min<size_t>(size, 1u << 30));
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno;
    data += n;
    size -= static_cast<size_t>(n);
  }
  return 0;
}

void sync_folder(const std::string& path) {
  Descriptor folder(open_file(path, "sync", O_RDONLY | O_DIRECTORY));
  // Some file systems (FUSE, network) cannot sync a folder; the rename itself has happened.
  if (::fsync(folder.get()) != 0 && errno != EINVAL && errno != ENOTSUP) fail("sync", path, errno);
}

std::string folder_of(const std::string& path) {
  std::string parent = parent_path(path);
  return parent.empty() ? "." : parent;
}

}  // namespace

std::string read_file(const std::string& path) {
  struct stat info;
  Descriptor file(open_for_reading(path, &info));
  // Pipes and /proc say size 0: read on until the end, whatever the size said.
  std::string out(static_cast<size_t>(std::max<off_t>(info.st_size, 0)) + 1, '\0');
  size_t used = 0;
  while (true) {
    ssize_t n = ::read(file.get(), out.data() + used, out.size() - used);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) fail("read", path, errno);
    if (n == 0) break;
    used += static_cast<size_t>(n);
    if (used == out.size()) out.resize(std::max<size_t>(4096, 2 * out.size()));
  }
  out.resize(used);
  return out;
}

void write_file_atomic(const std::string& path, std::string_view content) {
  AtomicWriter writer(path);
  writer.write(content.data(), content.size());
  writer.commit();
}

AtomicWriter::AtomicWriter(const std::string& path)
    : path_(path), temporary_(str(path, ".tmp.", ::getpid())) {
  fd_ = open_file(temporary_, "write", O_WRONLY | O_CREAT | O_TRUNC);
}

AtomicWriter::~AtomicWriter() {
  if (fd_ < 0) return;
  ::close(fd_);
  ::unlink(temporary_.c_str());
}

// Whole pieces at offsets that are multiples of theirs: Linux keeps each in one huge page of its cache
// (ext4 since 6.16, XFS), and who maps the file later looks up 512 times fewer addresses.
void AtomicWriter::write(const void* data, size_t size) {
  constexpr size_t kPiece = 2 << 20;
  WS_CHECK(fd_ >= 0, "AtomicWriter: write after commit");
  auto bytes = static_cast<const char*>(data);
  int error = 0;
  const size_t fill = buffer_.empty() ? 0 : std::min(size, kPiece - buffer_.size());
  buffer_.append(bytes, fill);
  if (buffer_.size() == kPiece) {
    error = write_all(fd_, buffer_.data(), kPiece);
    buffer_.clear();
  }
  if (!buffer_.empty()) return;
  const size_t whole = (size - fill) / kPiece * kPiece;
  if (!error) error = write_all(fd_, bytes + fill, whole);
  if (error) fail("write", path_, error);
  buffer_.append(bytes + fill + whole, size - fill - whole);
}

void AtomicWriter::commit() {
  WS_CHECK(fd_ >= 0, "AtomicWriter: commit twice");
  int error = write_all(fd_, buffer_.data(), buffer_.size());
  buffer_.clear();
  if (!error && ::fsync(fd_) != 0 && errno != EINVAL) error = errno;
  int fd = std::exchange(fd_, -1);
  if (::close(fd) != 0 && !error && errno != EINTR) error = errno;
  if (!error && ::rename(temporary_.c_str(), path_.c_str()) != 0) error = errno;
  if (error) {
    ::unlink(temporary_.c_str());
    fail("write", path_, error);
  }
  sync_folder(folder_of(path_));
}

void append_line(const std::string& path, std::string_view line) {
  Descriptor file(open_file(path, "append to", O_WRONLY | O_CREAT | O_APPEND));
  std::string whole(line);
  whole += '\n';
  if (int error = write_all(file.get(), whole.data(), whole.size())) fail("append to", path, error);
}

struct MappedFile::Mapping {
  std::string path;
  char* data = nullptr;
  size_t size = 0;
  std::optional<Descriptor> file;  // of a watched one
  timespec written{};
  PageGuard guard;
  ~Mapping() {
    guard = {};  // before somebody else maps the same addresses
    if (size > 0) ::munmap(data, size);
  }

  static std::shared_ptr<Mapping> make(const std::string& path, bool watched);
};

std::shared_ptr<MappedFile::Mapping> MappedFile::Mapping::make(const std::string& path,
                                                               bool watched) {
  struct stat info;
  Descriptor file(open_for_reading(path, &info));
  auto mapping = std::make_shared<Mapping>();
  mapping->path = path;
  if (info.st_size > 0) {
    auto size = static_cast<size_t>(info.st_size);
    void* data = ::mmap(nullptr, size, PROT_READ, MAP_SHARED, file.get(), 0);
    if (data == MAP_FAILED) fail("map", path, errno);
    mapping->data = static_cast<char*>(data);
    mapping->size = size;
  }
  if (watched) {
    mapping->written = info.st_mtim;
    mapping->guard = PageGuard(mapping->data, mapping->size);
    mapping->file.emplace(std::move(file));
  }
  return mapping;
}

MappedFile::MappedFile(const std::string& path) : mapping_(Mapping::make(path, false)) {}

MappedFile MappedFile::watched(const std::string& path) {
  MappedFile file;
  file.mapping_ = Mapping::make(path, true);
  return file;
}

void MappedFile::fetch() const {
#ifdef MADV_POPULATE_READ  // Linux 5.14
  if (!mapping_ || mapping_->size == 0) return;
  ::madvise(mapping_->data, mapping_->size, MADV_HUGEPAGE);
  const auto read = [mapping = std::weak_ptr<const Mapping>(mapping_)] {
    constexpr size_t kPiece = 32 << 20;
    for (size_t at = 0;; at += kPiece) {
      const auto held = mapping.lock();  // of a piece's time
      if (!held || at >= held->size) return;
      if (::madvise(held->data + at, std::min(kPiece, held->size - at), MADV_POPULATE_READ) != 0)
        return;
    }
  };
  try {
    std::thread(read).detach();
  } catch (const std::system_error&) {  // no thread to be had: pages come when they are touched
  }
#endif
}

bool MappedFile::changed() const {
  if (!mapping_ || !mapping_->file) return false;
  struct stat now;
  const timespec& written = mapping_->written;
  return mapping_->guard.lost() || ::fstat(mapping_->file->get(), &now) != 0 ||
         static_cast<size_t>(now.st_size) != mapping_->size ||
         now.st_mtim.tv_sec != written.tv_sec || now.st_mtim.tv_nsec != written.tv_nsec;
}

void MappedFile::check_unchanged() const {
  if (changed())
    throw Error(Fault::io, str(path(), ": the file was changed on disk while it was in use: put a "
                                       "new one in its place by a rename (mv), which leaves the "
                                       "old one to those who use it"));
}

const char* MappedFile::data() const { return mapping_ && mapping_->data ? mapping_->data : ""; }
size_t MappedFile::size() const { return mapping_ ? mapping_->size : 0; }
const std::string& MappedFile::path() const {
  static const std::string kNone;
  return mapping_ ? mapping_->path : kNone;
}

namespace {

bool look(const std::string& path, struct stat* info) {
  if (::stat(path.c_str(), info) == 0) return true;
  if (errno == EACCES) fail("read", path, errno);  // nobody can say whether it is there
  return false;
}

}  // namespace

bool exists(const std::string& path) {
  struct stat info;
  return look(path, &info);
}

bool is_directory(const std::string& path) {
  struct stat info;
  return look(path, &info) && S_ISDIR(info.st_mode);
}

int64_t file_size(const std::string& path) {
  struct stat info;
  if (::stat(path.c_str(), &info) != 0) fail("read", path, errno);
  return info.st_size;
}

double file_age(const std::string& path) {
  struct stat info;
  timespec now;
  if (::stat(path.c_str(), &info) != 0) fail("read", path, errno);
  ::clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<double>(now.tv_sec - info.st_mtim.tv_sec) +
         1e-9 * static_cast<double>(now.tv_nsec - info.st_mtim.tv_nsec);
}

void make_directories(const std::string& path) {
  std::error_code error;
  std::filesystem::create_directories(path, error);
  if (error) fail("make folder", path, error.value());
}

void remove_all(const std::string& path) {
  std::error_code error;
  std::filesystem::remove_all(path, error);
  if (error) fail("remove", path, error.value());
}

void rename_synced(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) {
    int error = errno;
    fail("rename", str(from, " to ", to), error);
  }
  sync_folder(folder_of(to));
  if (folder_of(from) != folder_of(to)) sync_folder(folder_of(from));
}

std::vector<std::string> list_directory(const std::string& path) {
  DIR* folder = ::opendir(path.c_str());
  if (!folder) fail("list folder", path, errno);
  std::vector<std::string> names;
  errno = 0;
  while (dirent* entry = ::readdir(folder)) {
    std::string_view name = entry->d_name;
    if (name != "." && name != "..") names.emplace_back(name);
    errno = 0;
  }
  int error = errno;
  ::closedir(folder);
  if (error) fail("list folder", path, error);
  std::sort(names.begin(), names.end());
  return names;
}

std::string join_path(std::string_view folder, std::string_view name) {
  if (folder.empty() || name.starts_with('/')) return std::string(name);
  if (name.empty()) return std::string(folder);
  return str(folder, folder.ends_with('/') ? "" : "/", name);
}

std::string base_name(std::string_view path) {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  if (path == "/") return "/";
  return std::string(path.substr(path.rfind('/') + 1));
}

std::string parent_path(std::string_view path) {
  while (path.size() > 1 && path.ends_with('/')) path.remove_suffix(1);
  size_t slash = path.rfind('/');
  if (slash == path.npos) return "";
  while (slash > 0 && path[slash - 1] == '/') --slash;
  return std::string(path.substr(0, std::max<size_t>(slash, 1)));
}

TemporaryFolder::TemporaryFolder() {
  const char* root = std::getenv("TMPDIR");
  path_ = join_path(root && *root ? root : "/tmp", "wellspring-XXXXXX");
  if (!::mkdtemp(path_.data())) fail("make folder", path_, errno);
}

TemporaryFolder::~TemporaryFolder() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace wellspring
