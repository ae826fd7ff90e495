// Slurm by its commands: sbatch, squeue, sinfo, scontrol, scancel.

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/process.h"
#include "base/text.h"
#include "cluster/slurm/account.h"
#include "cluster/slurm/transport.h"

namespace wellspring::cluster {
namespace {

class CommandLine : public SlurmTransport {
 public:
  explicit CommandLine(const SlurmOptions& options) : options_(options) {}

  std::string submit(const SlurmSubmission& s) override {
    std::vector<std::string> argv = {program("sbatch"), "--parsable", "--no-requeue"};
    const auto add = [&](const char* option, const std::string& value) {
      if (!value.empty()) argv.push_back(str(option, "=", value));
    };
    add("--job-name", s.name), add("--comment", s.comment), add("--chdir", s.folder);
    add("--output", s.output), add("--open-mode", "append"), add("--account", options_.account);
    add("--input", "/dev/null"), add("--export", "ALL");
    if (s.minutes) add("--time", std::to_string(s.minutes));
    if (s.array) add("--array", str("0-", s.array - 1));
    for (const std::string& option : options_.options) argv.push_back(option);
    for (size_t n = 0; n < s.components.size(); ++n) {
      const SlurmComponent& c = s.components[n];
      if (n) argv.emplace_back(":");
      add("--nodes", std::to_string(c.nodes));
      add("--ntasks-per-node", std::to_string(c.tasks_per_node));
      add("--cpus-per-task", std::to_string(c.cpus_per_task));
      add("--gres", c.gres), add("--partition", c.partition);
      if (c.memory_mb) add("--mem", str(c.memory_mb, "M"));
    }
    argv.push_back(s.path);
    const std::string out = run(argv, slurm_account(s.user, options_), 120);
    // "7", or "7;cluster" with several of them.
    const std::string id(trim(std::string_view(out).substr(0, out.find(';'))));
    if (!parse_int(id) || *parse_int(id) <= 0)
      throw Error(Fault::try_again,
                  str("sbatch said '", out, "' where the job's number was expected"));
    return id;
  }

  std::vector<SlurmJob> jobs() override { return list({}); }
  std::vector<SlurmJob> find(const std::string& name) override {
    return list({str("--name=", name)});
  }

  std::vector<SlurmNode> nodes() override {
    return parse_sinfo(
        run({program("sinfo"), "--noheader", "--all", "--Node", str("--format=", kSlurmNodeFormat)},
            {}, 60));
  }

  int max_array() override {
    if (options_.max_array) return options_.max_array;
    for (const std::string& line :
         split(run({program("scontrol"), "show", "config"}, {}, 60), '\n')) {
      const size_t equals = line.find('=');
      if (equals == line.npos || trim(std::string_view(line).substr(0, equals)) != "MaxArraySize")
        continue;
      if (const auto n = parse_int(trim(std::string_view(line).substr(equals + 1))); n && *n > 0)
        return static_cast<int>(std::min<int64_t>(*n, 4'000'000));
    }
    throw Error(Fault::try_again, "scontrol show config: no MaxArraySize");
  }

  bool signals_tasks() const override { return true; }
  void signal(const std::string& id, const std::string& user, bool hard) override {
    // SIGKILL to the steps alone (setup and tasks), so that the script can still say what became of
    // them.
    scancel(hard ? std::vector<std::string>{"--signal=KILL", id + ".0", id + ".1"}
                 : std::vector<std::string>{"--signal=TERM", id},
            user);
  }
  void cancel(const std::string& id, const std::string& user, bool only_waiting) override {
    scancel(only_waiting ? std::vector<std::string>{"--state=PENDING", id}
                         : std::vector<std::string>{id},
            user);
  }

 private:
  std::string program(const char* name) const {
    return options_.bin.empty() ? name : join_path(options_.bin, name);
  }

  std::vector<SlurmJob> list(const std::vector<std::string>& more) {
    std::vector<std::string> argv = {program("squeue"), "--noheader",
                                     "--all",           "--array",
                                     "--states=all",    str("--format=", kSlurmJobFormat)};
    argv.insert(argv.end(), more.begin(), more.end());
    return parse_squeue(run(argv, {}, 60));
  }

  // As the job's own user: Slurm's rules for cancelling hold. A job that has ended is no error.
  void scancel(std::vector<std::string> arguments, const std::string& user) {
    arguments.insert(arguments.begin(), program("scancel"));
    try {
      run(arguments, slurm_account(user, options_), 60);
    } catch (const Error& e) {
      if (e.fault() != Fault::usage) throw;
    }
  }

  std::string run(const std::vector<std::string>& command, const SlurmAccount& account,
                  double timeout) {
    ProcessOptions p;
    p.argv = slurm_command_prefix(account);
    p.argv.push_back("SLURM_TIME_FORMAT=standard");
    if (!options_.conf.empty()) p.argv.push_back("SLURM_CONF=" + options_.conf);
    p.argv.insert(p.argv.end(), command.begin(), command.end());
    p.folder = "/";
    p.timeout = timeout;
    const ProcessResult r = run_process(p);
    const std::string name = base_name(command[0]);
    if (r.ok() && !r.cut) return r.output;
    std::string complaint(trim(r.error));
    if (r.cut) throw Error(Fault::try_again, str(name, ": its output is beyond all measure"));
    if (r.status == 127 || r.status == 126)
      throw Error(Fault::try_again, str(name, " cannot be run: ", complaint));
    // "sbatch: error: Batch job submission failed: Invalid account" says it in its last line.
    if (const size_t end = complaint.rfind('\n'); end != complaint.npos)
      complaint.erase(0, end + 1);
    const bool unknown = r.signal || r.timed_out || complaint.empty() || slurm_unreachable(r.error);
    throw Error(unknown ? Fault::try_again : Fault::usage,
                str(complaint.empty()
                        ? str(name, r.timed_out ? " gave no answer" : " failed without a word")
                        : complaint));
  }

  const SlurmOptions options_;
};

}  // namespace

std::unique_ptr<SlurmTransport> make_transport(const SlurmOptions& options) {
  if (options.mode == SlurmOptions::Mode::rest) return make_rest_transport(options);
  return std::make_unique<CommandLine>(options);
}

}  // namespace wellspring::cluster
