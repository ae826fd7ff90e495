#include "cluster/node/run_files.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <thread>
#include <vector>

#include "base/crypto.h"
#include "base/error.h"
#include "base/file.h"
#include "base/http.h"
#include "base/json.h"
#include "base/text.h"
#include "base/time.h"
#include "cluster/launch/tree.h"
#include "cluster/node/executions_impl.h"

namespace wellspring::cluster {
namespace {

constexpr size_t kLineMost = 64 << 10;  // bytes of a line of metrics
constexpr double kStepsMost = 1e11;    // more means: until its time is over, nobody knows yet
constexpr int kEntriesMost = 100'000;  // looked at in a folder

struct Fd {
  int fd;
  explicit Fd(int f) : fd(f) {}
  ~Fd() {
    if (fd >= 0) ::close(fd);
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
};

launch::Identity identity_of(const std::string& user) { return find_account(user).identity; }
uid_t user_id(const std::string& user) {
  const int64_t uid = identity_of(user).uid;
  return uid < 0 ? ::geteuid() : static_cast<uid_t>(uid);
}

// The last bytes of a plain file of the folder that belongs to `owner`: a link leads nowhere.
std::string read_owned(const std::string& folder, const std::string& name, uid_t owner, int64_t from_end) {
  const Fd dir(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (dir.fd < 0) return "";
  const Fd file(::openat(dir.fd, name.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat s{};
  if (file.fd < 0 || ::fstat(file.fd, &s) != 0 || !S_ISREG(s.st_mode) || s.st_uid != owner) return "";
  const int64_t size = s.st_size, begin = std::max<int64_t>(0, size - from_end);
  std::string out(static_cast<size_t>(size - begin), '\0');
  int64_t done = 0;
  while (done < static_cast<int64_t>(out.size())) {
    const ssize_t n = ::pread(file.fd, out.data() + done, out.size() - static_cast<size_t>(done), begin + done);
    if (n <= 0) break;
    done += n;
  }
  out.resize(static_cast<size_t>(done));
  return out;
}

// One line of a run's metrics: its plain values alone. Who writes the file decides what stands in it.
Json plain_line(std::string_view line) {
  Json out = Json::object();
  if (line.empty() || line.size() > kLineMost) return out;
  const Json json = Json::parse(line, nullptr, false);
  if (!json.is_object()) return out;
  for (const auto& [name, value] : json.items())
    if (name.size() <= 100 && (value.is_number() || value.is_boolean() ||
                               (value.is_string() && value.get_ref<const std::string&>().size() <= 200)))
      out[name] = value;
  return out;
}

std::vector<std::string_view> lines_in(std::string_view text) {
  std::vector<std::string_view> out;
  while (!text.empty()) {
    const std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    if (!line.empty()) out.push_back(line);
  }
  return out;
}

std::vector<Json> lines_of(const std::string& text) {
  std::vector<Json> out;
  for (const std::string_view line : lines_in(text))
    if (Json json = plain_line(line); !json.empty()) out.push_back(std::move(json));
  return out;
}

double number_in(const Json& json, const char* name) {
  if (!json.is_object()) return 0;
  const auto it = json.find(name);
  return it != json.end() && it->is_number() ? it->get<double>() : 0;
}

int connect_port(int port) {
  const int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(port));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (fd >= 0 && ::connect(fd, reinterpret_cast<sockaddr*>(&address), sizeof address) == 0) return fd;
  if (fd >= 0) ::close(fd);
  return -1;
}

}  // namespace

void check_under(const std::string& root, const std::string& path) {
  if (!starts_with(path, root + "/") || path.find("/../") != std::string::npos || ends_with(path, "/.."))
    throw Error(Fault::data, str(path, " does not lie under ", root));
}

int64_t newest_checkpoint(const std::string& run_folder, const std::string& user) {
  if (run_folder.empty()) return 0;
  const launch::AsUser as(identity_of(user));
  const Fd dir(::open(join_path(run_folder, "checkpoints").c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (dir.fd < 0) return 0;
  int64_t newest = 0;
  DIR* list = ::fdopendir(::fcntl(dir.fd, F_DUPFD_CLOEXEC, 3));
  if (!list) return 0;
  int seen = 0;
  while (const dirent* entry = ::readdir(list)) {
    const std::string_view name = entry->d_name;
    if (name.substr(0, 5) == "step-") newest = std::max(newest, parse_int(name.substr(5)).value_or(0));
    if (++seen == kEntriesMost) break;  // a folder that was filled to keep us busy
  }
  ::closedir(list);
  return newest;
}

Json run_progress(const Json& what, const std::string& runs, const std::string& user) {
  const std::string folder = what.at("folder");
  check_under(runs, folder);
  Json out = Json::object();
  std::vector<Json> lines;
  {
    const launch::Identity identity = identity_of(user);
    const uid_t owner = user_id(user);
    const launch::AsUser as(identity);
    lines = lines_of(read_owned(folder, "metrics.jsonl", owner, 16 << 10));
    for (const Json& line : lines)  // steps and evaluations have lines of their own
      for (const auto& [name, value] : line.items()) out[name] = value;
    // How far it wants to go, and how fast it got here.
    const auto plan = Json::parse(read_owned(folder, "plan.json", owner, 64 << 10), nullptr, false);
    if (plan.is_array() && !plan.empty())
      if (const double steps = number_in(plan.back(), "steps"); steps > 0 && steps < kStepsMost) out["steps"] = static_cast<int64_t>(steps);
    const auto status = Json::parse(
        read_owned(join_path(folder, str("attempts/", what.value("attempt", 1))), "status.json", owner, 64 << 10),
        nullptr, false);
    if (const double steps = number_in(status, "steps"); steps > 0 && steps < kStepsMost && !out.contains("steps"))
      out["steps"] = static_cast<int64_t>(steps);
  }
  double seconds = 0;
  int steps = 0;
  for (const Json& line : lines)
    if (const double s = number_in(line, "seconds"); s > 0) seconds += s, ++steps;
  if (steps && number_in(out, "steps") > 0 && out.contains("step"))
    out["eta_seconds"] = (number_in(out, "steps") - number_in(out, "step")) * seconds / steps;
  if (const int64_t step = newest_checkpoint(folder, user)) out["checkpoint"] = step;
  return out;
}

Json run_reached(const std::string& run_folder, const std::string& user) {
  Json out = Json::object();
  if (run_folder.empty()) return out;
  const launch::Identity identity = identity_of(user);
  const uid_t owner = user_id(user);
  const launch::AsUser as(identity);
  for (const Json& line : lines_of(read_owned(run_folder, "metrics.jsonl", owner, 16 << 10)))
    for (const auto& [name, value] : line.items())
      if (value.is_number()) out[name] = value;
  return out;
}

Json run_curve(const Json& what, const std::string& runs, const std::string& user) {
  const std::string folder = what.at("folder");
  check_under(runs, folder);
  std::string text;
  {
    const launch::Identity identity = identity_of(user);
    const uid_t owner = user_id(user);
    const launch::AsUser as(identity);
    text = read_owned(folder, "metrics.jsonl", owner, 16 << 20);
  }
  const auto lines = lines_in(text);
  const size_t most = std::clamp<size_t>(what.value("points", size_t{500}), 2, 5000), n = lines.size();
  Json points = Json::array();
  // Evenly thinned out; what was held out is measured seldom, so it stays as long as there is room.
  size_t next = 0, kept = 0;
  for (size_t i = 0; i < n; ++i) {
    const bool even = n <= most || i == next * (n - 1) / (most - 1);
    if (even) ++next;
    if (!even && (kept == most || lines[i].find("\"eval_loss\"") == lines[i].npos)) continue;
    Json point = plain_line(lines[i]);
    if (!even && (!point.contains("eval_loss") || ++kept > most)) continue;
    if (!point.empty()) points.push_back(std::move(point));
  }
  return {{"points", std::move(points)}};
}

void own_folder(const std::string& path, const std::string& user) {
  if (!exists(parent_path(path))) {
    make_directories(parent_path(path));
    ::chmod(parent_path(path).c_str(), 0711);
  }
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
    throw Error(Fault::io, str(path, ": ", std::strerror(errno)));
  const Fd folder(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  struct stat s{};
  if (folder.fd < 0 || ::fstat(folder.fd, &s) != 0)
    throw Error(Fault::io, str(path, " is not a folder that can be used: ", std::strerror(errno)));
  const uid_t owner = user_id(user);
  if (s.st_uid == owner) return;
  // Ours was made here. Another one's is not ours to give away, with all that lies in it.
  if (s.st_uid != ::geteuid())
    throw Error(Fault::config, str(path, " belongs to user ", s.st_uid, ", not to the team's user ",
                                   user.empty() ? "(the node's own)" : user, ": give it to that one, or move it away"));
  if (::fchown(folder.fd, owner, static_cast<gid_t>(-1)) != 0)
    throw Error(Fault::io, str(path, ": ", std::strerror(errno)));
}

std::string cached_archive(const NodeOptions& options, const std::string& team, const std::string& hash,
                           const std::string& user) {
  const std::string path = join_path(join_path(options.folder, "archives"), hash + "." + team);
  struct stat s{};
  if (::lstat(path.c_str(), &s) != 0 || !S_ISREG(s.st_mode) || s.st_uid != user_id(user)) return "";
  ::utimensat(AT_FDCWD, path.c_str(), nullptr, AT_SYMLINK_NOFOLLOW);  // clean_caches() looks at it
  return path;
}

std::string fetch_archive(const NodeOptions& options, const std::string& key, const std::string& ca,
                          const std::string& team, const std::string& hash, const std::string& user,
                          const std::atomic<bool>& stop) {
  const std::string folder = join_path(options.folder, "archives"), path = join_path(folder, hash + "." + team);
  make_directories(folder);
  ::chmod(folder.c_str(), 0711);
  static std::atomic<unsigned> number{0};  // several may be fetched at a time, also the same one
  const std::string temporary = str(path, ".", ::getpid(), "-", ++number, ".part");
  const Fd file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (file.fd < 0) throw Error(Fault::io, str(temporary, ": ", std::strerror(errno)));
  Sha256 sum;
  bool wrote = true;
  HttpClientOptions client;
  client.ca_pem = ca;
  client.max_body = int64_t{1} << 40;
  client.read_timeout = 60;
  const HttpResult r = http_request(
      "GET", str(options.controller, "/api/v1/archives/", team, "/", hash),
      {{"Authorization", "Bearer " + key}, {"Wellspring-Node", options.name}}, {},
      [&](std::string_view part) {
        if (stop) return wrote = false;
        sum.add(part);
        while (!part.empty()) {
          const ssize_t n = ::write(file.fd, part.data(), part.size());
          if (n < 0 && errno == EINTR) continue;
          if (n <= 0) return wrote = false;
          part.remove_prefix(static_cast<size_t>(n));
        }
        return true;
      },
      client);
  if (r.status != 200 || !wrote || hex(sum.finish()) != hash) {
    ::unlink(temporary.c_str());
    throw Error(Fault::io, str("the archive of the working folder could not be fetched: ",
                               r.status != 200 ? str("status ", r.status) : wrote ? "it arrived damaged" : "the disk is full"));
  }
  if (::fchmod(file.fd, 0400) != 0 ||
      (!user.empty() && ::fchown(file.fd, user_id(user), static_cast<gid_t>(-1)) != 0)) {
    const int error = errno;
    ::unlink(temporary.c_str());
    throw Error(Fault::io, str(path, ": ", std::strerror(error)));
  }
  rename_synced(temporary, path);
  return path;
}

bool service_answers(int port, const std::string& path) {
  const double deadline = monotonic_seconds() + 1.5;  // for all of it: a job may answer byte by byte
  const Fd fd(connect_port(port));
  if (fd.fd < 0 || path.empty()) return fd.fd >= 0;
  const std::string request = str("GET ", path, " HTTP/1.1\r\nHost: localhost:", port, "\r\nConnection: close\r\n\r\n");
  if (::send(fd.fd, request.data(), request.size(), MSG_NOSIGNAL | MSG_DONTWAIT) != static_cast<ssize_t>(request.size()))
    return false;
  std::string line;
  while (line.size() < 12) {  // "HTTP/1.1 200"
    pollfd wait{fd.fd, POLLIN, 0};
    const double left = deadline - monotonic_seconds();
    char byte[16];
    if (left <= 0 || ::poll(&wait, 1, static_cast<int>(left * 1000) + 1) <= 0) return false;
    const ssize_t n = ::recv(fd.fd, byte, sizeof byte - 1, 0);
    if (n <= 0) return false;
    line.append(byte, static_cast<size_t>(n));
  }
  return starts_with(line, "HTTP/1.") && line.compare(8, 4, " 200") == 0;
}

void relay_port(Channel& channel, int port) {
  const Fd fd(connect_port(port));
  if (fd.fd < 0) throw Error(Fault::io, str("nothing listens on port ", port, " there"));
  std::thread down([&] {
    char buffer[32 << 10];
    ssize_t n;
    while ((n = ::recv(fd.fd, buffer, sizeof buffer, 0)) > 0)
      if (!channel.write({buffer, static_cast<size_t>(n)})) break;
    channel.finish();
  });
  while (true) {
    const auto part = channel.read(3600);
    if (!part && channel.over()) break;
    std::string_view rest = part ? std::string_view(*part) : std::string_view();
    while (!rest.empty() && !channel.closing()) {  // what listens there may read nothing
      pollfd wait{fd.fd, POLLOUT, 0};
      if (::poll(&wait, 1, 100) <= 0) continue;
      const ssize_t n = ::send(fd.fd, rest.data(), rest.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n < 0 && (errno == EAGAIN || errno == EINTR)) continue;
      if (n <= 0) break;
      rest.remove_prefix(static_cast<size_t>(n));
    }
    if (!rest.empty()) break;
  }
  ::shutdown(fd.fd, SHUT_RDWR);
  down.join();
}

}  // namespace wellspring::cluster
