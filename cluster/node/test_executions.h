#pragma once
// For the tests beside it: a spool, a folder for runs, and waiting for ends.

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <map>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "base/time.h"
#include "cluster/node/executions.h"

namespace wellspring::cluster {

/// Build folders hold tests/ and bin/ side by side.
inline std::string launcher_path() {
  char path[4096];
  ssize_t n = readlink("/proc/self/exe", path, sizeof path);
  std::string tests = parent_path({path, static_cast<size_t>(n)});
  return parent_path(tests) + "/bin/wellspring-launch";
}

/// f() throws an Error of that fault with `word` in it; otherwise the test ends with an Error.
template <class F>
void expect_error(F&& f, Fault fault, const std::string& word) {
  try {
    f();
  } catch (const Error& e) {
    if (e.fault() == fault && std::string_view(e.what()).find(word) != std::string::npos) return;
    throw Error(Fault::internal, str("another error than one with '", word, "': ", e.what()));
  }
  throw Error(Fault::internal, str("no error with '", word, "'"));
}

/// An Executions on a spool of its own, and the events by token.
struct Bench {
  explicit Bench(Means means = Means::best) : means_(means) {
    chmod(folder.path().c_str(), 0755);
    runs = folder.path() + "/runs";
    make_directories(runs);
    open();
  }

  void open() {
    executions = std::make_unique<Executions>(Executions::Options{
        .spool = folder.path() + "/spool", .launcher = launcher_path(), .means = means_});
  }

  LaunchSpec spec(const std::string& token, const std::string& command) const {
    LaunchSpec s;
    s.token = token;
    s.argv = {"/bin/sh", "-c", command};
    s.folder = runs + "/" + token;
    s.attempt_folder = s.folder + "/attempts/1";
    s.tasks.emplace_back();
    s.grace = 5;
    return s;
  }

  void pump(double seconds) {
    pollfd p = {executions->descriptor(), POLLIN, 0};
    ::poll(&p, 1, static_cast<int>(seconds * 1000));
    for (Event& e : executions->poll()) events[e.token].push_back(e);
  }

  /// Waits for it at most 20 seconds.
  template <class F>
  bool until(F&& condition) {
    double end = monotonic_seconds() + 20;
    while (!condition()) {
      if (monotonic_seconds() > end) return false;
      pump(0.02);
    }
    return true;
  }

  const Event* find(const std::string& token, Event::Kind kind) const {
    auto found = events.find(token);
    if (found == events.end()) return nullptr;
    for (const Event& e : found->second)
      if (e.kind == kind) return &e;
    return nullptr;
  }

  Event wait(const std::string& token, Event::Kind kind = Event::ended) {
    if (!until([&] { return find(token, kind) != nullptr; }))
      throw Error(Fault::internal, str(token, " sends no event ", static_cast<int>(kind)));
    return *find(token, kind);
  }

  Event run(const LaunchSpec& s) {
    executions->start(s);
    return wait(s.token);
  }

  std::string log(const std::string& token, int rank = 0) const {
    std::string text;
    for (int64_t offset = 0;;) {  // a part ends before a gap
      LogPart part = executions->read_log(token, rank, offset, 1 << 30);
      if (part.data.empty()) return text;
      text += part.data;
      offset = part.next;
    }
  }

  TemporaryFolder folder;
  std::string runs;
  std::unique_ptr<Executions> executions;
  std::map<std::string, std::vector<Event>> events;

 private:
  Means means_;
};

inline bool wait_for_file(const std::string& path) {
  double end = monotonic_seconds() + 20;
  while (monotonic_seconds() < end) {
    if (exists(path) && file_size(path) > 0) return true;
    sleep_seconds(0.005);
  }
  return false;
}

inline bool alive(int64_t pid) {
  std::string path = str("/proc/", pid, "/stat");
  if (!exists(path)) return false;
  try {
    std::string stat = read_file(path);
    size_t close = stat.rfind(')');
    return close != std::string::npos && stat[close + 2] != 'Z';
  } catch (const Error&) {
    return false;
  }
}

inline bool soon_dead(int64_t pid) {
  for (int i = 0; i < 400 && alive(pid); i++) sleep_seconds(0.005);
  return !alive(pid);
}

/// The means that work on this machine.
inline std::vector<Means> working_means() {
  std::vector<Means> found;
  for (Means means : {Means::cgroup2, Means::cgroup1, Means::pid_namespace, Means::subreaper}) {
    TemporaryFolder folder;
    try {
      Executions e(
          {.spool = folder.path() + "/spool", .launcher = launcher_path(), .means = means});
      found.push_back(means);
    } catch (const Error&) {
    }
  }
  return found;
}

}  // namespace wellspring::cluster
