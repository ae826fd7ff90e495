#include "cluster/node/run_files.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <pwd.h>
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

namespace wellspring::cluster {
namespace {

struct Fd {
  int fd;
  explicit Fd(int f) : fd(f) {}
  ~Fd() {
    if (fd >= 0) ::close(fd);
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
};

uid_t user_id(const std::string& user) {
  if (user.empty()) return ::geteuid();
  passwd entry{}, *found = nullptr;
  std::string buffer(1 << 14, '\0');
  ::getpwnam_r(user.c_str(), &entry, buffer.data(), buffer.size(), &found);
  if (!found) throw Error(Fault::config, str("this node has no user ", user));
  return entry.pw_uid;
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

std::vector<Json> lines_of(const std::string& text) {
  std::vector<Json> out;
  for (const std::string& line : split(text, '\n')) {
    Json json = Json::parse(line, nullptr, false);
    if (json.is_object()) out.push_back(std::move(json));
  }
  return out;
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

int64_t newest_checkpoint(const std::string& run_folder) {
  if (run_folder.empty()) return 0;
  const Fd dir(::open(join_path(run_folder, "checkpoints").c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (dir.fd < 0) return 0;
  int64_t newest = 0;
  DIR* list = ::fdopendir(::dup(dir.fd));
  if (!list) return 0;
  while (const dirent* entry = ::readdir(list)) {
    const std::string_view name = entry->d_name;
    if (name.substr(0, 5) == "step-") newest = std::max(newest, parse_int(name.substr(5)).value_or(0));
  }
  ::closedir(list);
  return newest;
}

Json run_progress(const Json& what, const std::string& runs) {
  const std::string folder = what.at("folder");
  check_under(runs, folder);
  const uid_t owner = user_id(what.value("user", ""));
  Json out = Json::object();
  const auto lines = lines_of(read_owned(folder, "metrics.jsonl", owner, 16 << 10));
  for (const Json& line : lines)  // steps and evaluations have lines of their own
    for (const auto& [name, value] : line.items()) out[name] = value;
  // How far it wants to go, and how fast it got here.
  const auto plan = Json::parse(read_owned(folder, "plan.json", owner, 64 << 10), nullptr, false);
  if (plan.is_array() && !plan.empty() && plan.back().is_object() && plan.back().contains("steps"))
    out["steps"] = plan.back()["steps"];
  const auto status = Json::parse(
      read_owned(join_path(folder, str("attempts/", what.value("attempt", 1))), "status.json", owner, 64 << 10),
      nullptr, false);
  if (status.is_object() && status.value("steps", 0) > 0) out["steps"] = status["steps"];
  double seconds = 0;
  int steps = 0;
  for (const Json& line : lines)
    if (line.contains("seconds")) seconds += line.value("seconds", 0.0), ++steps;
  if (steps && out.contains("steps") && out.contains("step"))
    out["eta_seconds"] = (out["steps"].get<double>() - out["step"].get<double>()) * seconds / steps;
  if (const int64_t step = newest_checkpoint(folder)) out["checkpoint"] = step;
  return out;
}

Json run_reached(const std::string& run_folder, const std::string& user) {
  Json out = Json::object();
  if (run_folder.empty()) return out;
  for (const Json& line : lines_of(read_owned(run_folder, "metrics.jsonl", user_id(user), 16 << 10)))
    for (const auto& [name, value] : line.items())
      if (value.is_number()) out[name] = value;
  return out;
}

Json run_curve(const Json& what, const std::string& runs) {
  const std::string folder = what.at("folder");
  check_under(runs, folder);
  const auto lines = lines_of(read_owned(folder, "metrics.jsonl", user_id(what.value("user", "")), 16 << 20));
  const size_t most = std::clamp<size_t>(what.value("points", size_t{500}), 2, 5000);
  Json points = Json::array();
  const size_t n = lines.size();
  // Evenly thinned out; what was held out is measured seldom, so it stays as long as there is room.
  size_t next = 0, kept = 0;
  for (size_t i = 0; i < n; ++i) {
    const bool even = n <= most || i == next * (n - 1) / (most - 1);
    if (even) ++next;
    if (even || (lines[i].contains("eval_loss") && ++kept <= most)) points.push_back(lines[i]);
  }
  return {{"points", std::move(points)}};
}

void own_folder(const std::string& path, const std::string& user) {
  if (!exists(parent_path(path))) {
    make_directories(parent_path(path));
    ::chmod(parent_path(path).c_str(), 0711);
  }
  if (::mkdir(path.c_str(), 0750) != 0 && errno != EEXIST)
    throw Error(Fault::io, str(path, ": ", std::strerror(errno)));
  struct stat s{};
  if (::lstat(path.c_str(), &s) != 0 || !S_ISDIR(s.st_mode)) throw Error(Fault::io, str(path, " is not a folder"));
  const uid_t owner = user_id(user);
  if (s.st_uid != owner && ::lchown(path.c_str(), owner, static_cast<gid_t>(-1)) != 0)
    throw Error(Fault::io, str(path, ": ", std::strerror(errno)));
}

std::string fetch_archive(const NodeOptions& options, const std::string& key, const std::string& ca,
                          const std::string& team, const std::string& hash, const std::string& user) {
  const std::string folder = join_path(options.folder, "archives"), path = join_path(folder, hash + "." + team);
  if (exists(path)) return path;
  make_directories(folder);
  ::chmod(folder.c_str(), 0711);
  const std::string temporary = str(path, ".", ::getpid(), ".part");
  const Fd file(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (file.fd < 0) throw Error(Fault::io, str(temporary, ": ", std::strerror(errno)));
  Sha256 sum;
  bool wrote = true;
  HttpClientOptions client;
  client.ca_pem = ca;
  client.max_body = int64_t{1} << 40;
  const HttpResult r = http_request(
      "GET", str(options.controller, "/api/v1/archives/", team, "/", hash),
      {{"Authorization", "Bearer " + key}, {"Wellspring-Node", options.name}}, {},
      [&](std::string_view part) {
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
  if (!user.empty() && (::fchown(file.fd, user_id(user), static_cast<gid_t>(-1)) != 0))
    throw Error(Fault::io, str(path, ": ", std::strerror(errno)));
  ::fchmod(file.fd, 0400);
  rename_synced(temporary, path);
  return path;
}

bool service_answers(int port, const std::string& path) {
  if (path.empty()) {
    const Fd fd(connect_port(port));
    return fd.fd >= 0;
  }
  try {
    HttpClientOptions client;
    client.connect_timeout = 0.5, client.read_timeout = 1, client.max_body = 1 << 20;
    return http_request("GET", str("http://127.0.0.1:", port, path), {}, {}, {}, client).status == 200;
  } catch (const Error&) {
    return false;
  }
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
    while (!rest.empty()) {
      const ssize_t n = ::send(fd.fd, rest.data(), rest.size(), MSG_NOSIGNAL);
      if (n <= 0) break;
      rest.remove_prefix(static_cast<size_t>(n));
    }
    if (!rest.empty()) break;
  }
  ::shutdown(fd.fd, SHUT_RDWR);
  down.join();
}

}  // namespace wellspring::cluster
