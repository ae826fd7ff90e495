#include "cluster/controller/archives.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/crypto.h"
#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "base/time.h"
#include "cluster/controller/access.h"

namespace wellspring::cluster {
namespace {

constexpr double kArchiveDay = 86400;

[[noreturn]] void not_kept(const std::string& path) {
  log_error("cluster", path, ": ", std::strerror(errno));
  throw Error(Fault::try_again, str("the archive cannot be kept: ", std::strerror(errno)));
}

}  // namespace

Archives::Archives(const std::string& folder, Limits limits) : folder_(folder), limits_(limits) {}

std::string Archives::path(const std::string& team, const std::string& hash) const {
  return join_path(folder_, str(team, "/", hash));
}

bool Archives::have(const std::string& team, const std::string& hash) const {
  return ::utimensat(AT_FDCWD, path(team, hash).c_str(), nullptr, 0) == 0;
}

int64_t Archives::held_by(const std::string& team, const std::string& but) const {
  const std::string folder = join_path(folder_, team);
  if (!is_directory(folder)) return 0;
  int64_t bytes = 0;
  for (const std::string& name : list_directory(folder)) {
    struct stat s{};
    if (name != but && ::lstat(join_path(folder, name).c_str(), &s) == 0) bytes += s.st_size;
  }
  return bytes;
}

bool Archives::take(const std::string& team, const std::string& hash, const std::string& uploader,
                    int64_t offset, int64_t total, std::string_view bytes) {
  const auto size = static_cast<int64_t>(bytes.size());
  if (total > limits_.each)
    throw ApiError(413, str("an archive of a working folder has at most ", human_bytes(static_cast<double>(limits_.each)),
                            ": leave out what is not needed by an ignore file, and mount what is big"));
  if (offset < 0 || total < 1 || offset > total || size > total - offset)
    throw ApiError(400, "a part lies outside of the archive");
  const std::string whole = path(team, hash), piece_name = str(hash, ".part-", uploader);
  const std::string piece = join_path(parent_path(whole), piece_name);
  if (held_by(team, piece_name) + total > limits_.team)
    throw ApiError(413, str("the archives of team ", team, " have ", human_bytes(static_cast<double>(limits_.team)),
                            " together, all that they may: those that no job uses go after a day"));
  make_directories(parent_path(whole));
  const int fd = ::open(piece.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) not_kept(piece);
  bool good = ::ftruncate(fd, total) == 0;  // what will come counts; nothing is left of another upload
  for (int64_t at = offset; good && !bytes.empty();) {
    const ssize_t n = ::pwrite(fd, bytes.data(), bytes.size(), at);
    if (n < 0 && errno == EINTR) continue;
    good = n > 0;
    if (good) at += n, bytes.remove_prefix(static_cast<size_t>(n));
  }
  const bool last = offset + size == total;
  if (good && last) good = ::fsync(fd) == 0;
  const int error = errno;
  ::close(fd);
  errno = error;
  if (!good) not_kept(piece);
  if (!last) return false;
  std::string sum;
  try {
    if (!have(team, hash)) sum = hex(sha256_file(piece));
  } catch (const Error&) {
    if (!have(team, hash)) throw Error(Fault::try_again, "the archive is gone: send it again");
  }
  if (have(team, hash)) return ::unlink(piece.c_str()), true;  // another one was quicker
  if (sum != hash) {
    ::unlink(piece.c_str());
    throw ApiError(400, "what arrived has another SHA-256: send it again");
  }
  if (::rename(piece.c_str(), whole.c_str()) != 0 && !have(team, hash)) not_kept(whole);
  return true;
}

void Archives::clean(const std::set<std::string>& used) const {
  for (const std::string& team : list_directory(folder_))
    for (const std::string& name : list_directory(join_path(folder_, team))) {
      const std::string path = join_path(folder_, str(team, "/", name));
      struct stat s{};
      if (used.contains(str(team, "/", name)) || ::lstat(path.c_str(), &s) != 0) continue;
      if (unix_seconds() - static_cast<double>(s.st_mtime) > kArchiveDay) ::unlink(path.c_str());
    }
}

}  // namespace wellspring::cluster
