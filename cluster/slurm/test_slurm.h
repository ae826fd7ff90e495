#pragma once
// For tests: a Slurm of their own on this machine (tools/slurm_here), gone with the test.

#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/process.h"
#include "base/text.h"
#include "base/time.h"

namespace wellspring {

/// Six nodes: n1 to n4 with 4 devices gpu:a100 each, m1 and m2 with 8 of gpu:mlu370. It ends with
/// the test, also when that is killed. Tests run in the root of the sources.
class TestSlurm {
 public:
  /// Why there can be none here; "" when there can.
  static std::string missing() {
    for (const char* program :
         {"/usr/sbin/munged", "/usr/sbin/slurmctld", "/usr/sbin/slurmd", "/usr/sbin/slurmrestd"})
      if (!exists(program)) return str(program, " is not installed");
    return ::geteuid() == 0 ? "" : "needs root, for device files and jobs of several users";
  }

  /// The one that all tests of a process share, started when first asked for.
  static TestSlurm& shared() {
    static TestSlurm slurm({"MaxArraySize=10", "SlurmdTimeout=3", "KillWait=2"});
    return slurm;
  }

  /// Starts one, about three seconds, with more lines for slurm.conf.
  explicit TestSlurm(const std::vector<std::string>& settings = {}) {
    ProcessOptions p;
    p.argv = {"setpriv", "--pdeathsig=TERM", kScript, "hold", path()};
    p.argv.insert(p.argv.end(), settings.begin(), settings.end());
    p.log_path = path() + "/hold.log";
    process_ = std::make_unique<Process>(Process::start(p));
    const Stopwatch watch;
    while (!exists(path() + "/ready")) {
      WS_CHECK(!process_->poll() && watch.seconds() < 60,
               "Slurm does not start: " + read_file(p.log_path));
      sleep_seconds(0.02);
    }
    for (const std::string& line : split(read_file(path() + "/env"), '\n')) {
      if (starts_with(line, "export SLURM_REST=")) rest_ = line.substr(18);
    }
    make_directories(runs());
  }
  ~TestSlurm() {
    process_->kill(SIGTERM);
    if (!process_->wait(20)) process_->kill(SIGKILL);
  }

  const std::string& path() const { return folder_.path(); }
  std::string conf() const { return path() + "/slurm.conf"; }
  std::string runs() const { return path() + "/runs"; }
  const std::string& rest() const { return rest_; }

  /// A command of Slurm as root; what it said.
  std::string run(std::vector<std::string> argv) const {
    ProcessOptions p;
    p.argv = std::move(argv);
    p.environment = {{"SLURM_CONF", conf()}};
    p.folder = "/tmp";
    p.merge = true;
    return run_process(p).output;
  }
  /// tools/slurm_here WHAT, for daemon, kill and token.
  std::string script(const std::string& what, const std::vector<std::string>& more) const {
    std::vector<std::string> argv = {kScript, what, path()};
    argv.insert(argv.end(), more.begin(), more.end());
    const ProcessResult r = run_process(argv);
    WS_CHECK(r.ok(), str("slurm_here ", what, ": ", r.error));
    return std::string(trim(r.output));
  }
  void kill(const std::string& daemon) const { script("kill", {daemon}); }
  void start(const std::string& daemon) const { script("daemon", {daemon}); }

 private:
  static constexpr const char* kScript = "tools/slurm_here";
  TemporaryFolder folder_;
  std::unique_ptr<Process> process_;
  std::string rest_;
};

}  // namespace wellspring
