#include "cluster/node/beside.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "cluster/launch/fields.h"
#include "cluster/launch/spec.h"

namespace wellspring::cluster {
namespace {

[[noreturn]] void beside_failed(const std::string& what) {
  throw Error(Fault::io, str(what, ": ", std::strerror(errno)));
}

void shut(int& fd) {
  if (fd >= 0) ::close(fd);
  fd = -1;
}

// A pipe of which our end does not block; the command's does.
void half_pipe(int& ours, int& theirs, bool we_write) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) != 0) beside_failed("a pipe");
  ours = ends[we_write ? 1 : 0], theirs = ends[we_write ? 0 : 1];
  ::fcntl(ours, F_SETFL, (we_write ? O_WRONLY : O_RDONLY) | O_NONBLOCK);
}

}  // namespace

Beside::Beside(const std::string& folder, const std::string& name, CommandBeside command, int64_t owner)
    : path_(join_path(folder, name)), command_(std::move(command)), owner_(owner) {
  // The folder's path may be longer than an address holds.
  const int at = ::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (at < 0) beside_failed(folder);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::string path = str("/proc/self/fd/", at, "/", name);
  WS_CHECK(path.size() < sizeof address.sun_path, "a short name of a socket");
  std::memcpy(address.sun_path, path.data(), path.size());
  listener_ = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  const bool listens = listener_ >= 0 &&
                       ::bind(listener_, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0 &&
                       ::listen(listener_, 1) == 0;
  const int error = errno;
  ::close(at);
  if (listens) return;
  shut(listener_);
  errno = error;
  beside_failed(path_);
}

Beside::~Beside() {
  for (int* fd : {&listener_, &control_, &input_, &output_, &error_}) shut(*fd);
  ::unlink(path_.c_str());
}

void Beside::make_streams(int there[3]) {
  if (!command_.terminal) {
    half_pipe(input_, there[0], true);
    half_pipe(output_, there[1], false);
    half_pipe(error_, there[2], false);
    return;
  }
  input_ = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (input_ < 0 || ::unlockpt(input_) != 0) beside_failed("a terminal");
  resize(command_.rows, command_.columns);
  there[0] = ::ioctl(input_, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
  if (there[0] < 0) beside_failed("a terminal");
  if (owner_ >= 0 && ::fchown(there[0], static_cast<uid_t>(owner_), static_cast<gid_t>(-1)) != 0)
    beside_failed("a terminal");
  for (int i : {1, 2}) there[i] = ::fcntl(there[0], F_DUPFD_CLOEXEC, 3);
  ::fcntl(input_, F_SETFL, O_RDWR | O_NONBLOCK);
  output_ = ::fcntl(input_, F_DUPFD_CLOEXEC, 3);
}

void Beside::start() {
  pollfd wait{listener_, POLLIN, 0};
  if (::poll(&wait, 1, 10000) <= 0)
    throw Error(Fault::io, "the job's launcher does not answer: it may be of an older version");
  control_ = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
  shut(listener_);
  ::unlink(path_.c_str());
  if (control_ < 0) beside_failed("the job's launcher");
  int there[3] = {-1, -1, -1};
  const auto close_theirs = [&] {
    for (int& fd : there) shut(fd);
  };
  try {
    make_streams(there);
  } catch (...) {
    close_theirs();
    throw;
  }
  std::string text = launch::format_beside({command_.rank, command_.terminal, command_.command});
  iovec vector = {text.data(), text.size()};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof there)] = {};
  msghdr header = {};
  header.msg_iov = &vector, header.msg_iovlen = 1;
  header.msg_control = control, header.msg_controllen = sizeof control;
  cmsghdr* c = CMSG_FIRSTHDR(&header);
  c->cmsg_level = SOL_SOCKET, c->cmsg_type = SCM_RIGHTS, c->cmsg_len = CMSG_LEN(sizeof there);
  std::memcpy(CMSG_DATA(c), there, sizeof there);
  const ssize_t n = ::sendmsg(control_, &header, MSG_NOSIGNAL);
  const int error = errno;
  close_theirs();
  errno = error;
  if (n < 0) beside_failed("the job's launcher");
}

void Beside::end_input() {
  if (!command_.terminal) return shut(input_);
  const char end = 4;
  if (::write(input_, &end, 1) != 1) return;  // it reads nothing: nothing is lost
}

void Beside::resize(int rows, int columns) {
  if (!command_.terminal || rows < 1 || rows > 10000 || columns < 1 || columns > 10000) return;
  winsize size{};
  size.ws_row = static_cast<unsigned short>(rows), size.ws_col = static_cast<unsigned short>(columns);
  ::ioctl(input_, TIOCSWINSZ, &size);  // the kernel tells the command (SIGWINCH)
}

std::optional<Beside::End> Beside::ended() {
  char text[4096];
  const ssize_t n = ::recv(control_, text, sizeof text, MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return std::nullopt;
  if (n <= 0) return End{137, "the job's launcher has ended"};
  const auto parts = launch::split_parts({text, static_cast<size_t>(n)}, 2);
  int64_t status = 0;
  if (parts.size() != 2 || !launch::read_number(parts[0], 0, 255, &status))
    return End{126, "the job's launcher says something that cannot be read"};
  return End{static_cast<int>(status), std::string(parts[1])};
}

}  // namespace wellspring::cluster
