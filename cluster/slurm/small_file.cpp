#include "cluster/slurm/small_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/text.h"

namespace wellspring::cluster {
namespace {

struct SmallFile {
  int fd;
  ~SmallFile() {
    if (fd >= 0) ::close(fd);
  }
  bool plain() const {
    struct stat s {};
    return fd >= 0 && ::fstat(fd, &s) == 0 && S_ISREG(s.st_mode);
  }
};

}  // namespace

std::string read_small_file(const std::string& path) {
  const SmallFile file{::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)};
  if (!file.plain()) return "";
  std::string out(64 << 10, '\0');
  size_t done = 0;
  while (done < out.size()) {
    const ssize_t n = ::read(file.fd, out.data() + done, out.size() - done);
    if (n <= 0) break;
    done += static_cast<size_t>(n);
  }
  out.resize(done);
  return out;
}

void write_small_file(const std::string& path, std::string_view content) {
  const auto fail = [&](int error) {
    throw Error(Fault::io, str(path, ": ", std::strerror(error)));
  };
  const SmallFile file{
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC, 0600)};
  if (file.fd < 0) fail(errno);
  if (!file.plain()) throw Error(Fault::io, str(path, " is no plain file"));
  if (::ftruncate(file.fd, 0) != 0) fail(errno);
  while (!content.empty()) {
    const ssize_t n = ::write(file.fd, content.data(), content.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) fail(n < 0 ? errno : ENOSPC);
    content.remove_prefix(static_cast<size_t>(n));
  }
}

}  // namespace wellspring::cluster
