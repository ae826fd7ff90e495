#include "cluster/slurm/script.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "cluster/controller/nodes.h"
#include "cluster/job/job_file.h"
#include "cluster/node/daemon.h"
#include "cluster/slurm/script_text.h"

namespace wellspring::cluster {
namespace {

std::string quote(const std::string& text) {
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? "'\\''" : std::string(1, c);
  return out + "'";
}

// Slurm takes '%' in the names of output files for a pattern, and a backslash to switch that off.
std::string output_name(const std::string& path) {
  std::string out;
  for (const char c : path) {
    if (c == '\\')
      throw Error(Fault::config, str(path, ": a path with a backslash cannot be given to Slurm"));
    out += c == '%' ? "%%" : std::string(1, c);
  }
  return out;
}

bool variable_name(const std::string& s) {
  return !s.empty() && !(s[0] >= '0' && s[0] <= '9') && std::ranges::all_of(s, [](unsigned char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '_';
  });
}

std::string plain_line(std::string text, size_t most) {
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  return utf8_repair(text.substr(0, most));
}

// What only the job knows, or the total over components.
constexpr std::string_view kFoundLater[] = {"WELLSPRING_RANK",
                                            "WELLSPRING_LOCAL_RANK",
                                            "WELLSPRING_NODE_RANK",
                                            "WELLSPRING_WORLD_SIZE",
                                            "WELLSPRING_RENDEZVOUS",
                                            "WELLSPRING_DEVICES",
                                            "WELLSPRING_SECRETS",
                                            "MASTER_ADDR",
                                            "MASTER_PORT",
                                            "RANK",
                                            "LOCAL_RANK",
                                            "WORLD_SIZE",
                                            "AIRS_SIZE"};

std::string exports(const std::vector<std::pair<std::string, std::string>>& env,
                    const std::set<std::string>& secret, bool secret_ones) {
  std::string out;
  for (const auto& [name, value] : env) {
    if (secret.contains(name) != secret_ones ||
        std::ranges::find(kFoundLater, name) != std::end(kFoundLater))
      continue;
    if (!variable_name(name))
      throw Error(Fault::config, str("env: '", plain_line(name, 80),
                                     "' cannot be the name of a variable on Slurm: "
                                     "want letters, digits and _"));
    out += str("export ", name, "=", quote(value), "\n");
  }
  return out;
}

void refuse_kinds(const JobSpec& spec) {
  const auto refuse = [](const std::string& what) { throw Error(Fault::config, what); };
  if (spec.kind != "batch")
    refuse(str("kind: a job of kind ", spec.kind,
               " does not run on Slurm, only on the cluster's own nodes"));
  if (spec.image.empty())
    for (const Mount& m : spec.mounts)
      if (m.source != m.target || m.read_only)
        refuse(str("mounts: on Slurm, ", m.source,
                   " can only be seen as it is: under the same name and with the "
                   "user's own rights, or in a job with an image"));
}

struct TaskOptions {
  std::string hosts, srun, setup, sweep;
};

// The parts of the script that say each component's shape.
TaskOptions task_options(const std::vector<SlurmComponent>& components) {
  TaskOptions o;
  const bool several = components.size() > 1;
  for (size_t n = 0; n < components.size(); ++n) {
    const SlurmComponent& c = components[n];
    o.hosts += str("hosts \"$SLURM_JOB_NODELIST", several ? str("_HET_GROUP_", n) : "", "\" ",
                   c.tasks_per_node, " ", quote(c.chip), "\n");
    const std::string group = several ? str("--het-group=", n, " ") : "";
    o.srun +=
        str(n ? " : " : "", group, "--nodes=", c.nodes, " --ntasks=", c.nodes * c.tasks_per_node,
            " --ntasks-per-node=", c.tasks_per_node, " --cpus-per-task=", c.cpus_per_task,
            " sh \"$scripts/slurm.task\" \"$folder\" \"$scripts\" run");
    o.sweep += str(n ? " : " : "", group, "--nodes=", c.nodes, " --ntasks=", c.nodes,
                   " --ntasks-per-node=1 sh -c 'rm -rf /dev/shm/wellspring.\"$1\".*' sh \"$token\"");
    if (n == 0)
      o.setup =
          str(group, "--nodes=1 --ntasks=1 --ntasks-per-node=1 --cpus-per-task=", c.cpus_per_task);
  }
  return o;
}

std::string filled(std::string text,
                   const std::vector<std::pair<std::string, std::string>>& values) {
  std::string out;
  size_t at = 0;
  while (true) {
    const size_t open = text.find("@{", at);
    if (open == text.npos) return out + text.substr(at);
    const size_t close = text.find('}', open);
    const std::string name = text.substr(open + 2, close - open - 2);
    const auto it = std::ranges::find_if(values, [&](const auto& v) { return v.first == name; });
    WS_CHECK(it != values.end(), "a place in the script that nothing fills");
    out += text.substr(at, open - at) + it->second;
    at = close + 1;
  }
}

}  // namespace

std::string attempt_folder(const Attempt& attempt) {
  return str(attempt.run_folder, "/attempts/", attempt.number);
}

std::string slurm_team_folder(const SlurmOptions& options, const std::string& team) {
  return str(options.runs, "/", team, "/.wellspring");
}

SlurmPlan plan_slurm(const std::vector<const Launch*>& launches,
                     const std::vector<SlurmComponent>& components, const SlurmOptions& options,
                     const std::string& archive) {
  WS_CHECK(!launches.empty() && !components.empty(), "an attempt, and where it runs");
  const Launch& first = *launches[0];
  const JobSpec& spec = *first.job.spec;
  refuse_kinds(spec);
  int world = 0, nodes = 0;
  for (const SlurmComponent& c : components) world += c.nodes * c.tasks_per_node, nodes += c.nodes;
  const bool array = launches.size() > 1;
  const std::string scripts = attempt_folder(first.attempt), name = "ws-" + first.attempt.token;
  SlurmPlan plan;
  NodeOptions as_node;
  as_node.folder = slurm_team_folder(options, first.job.team);
  as_node.single_trust = options.single_trust;

  std::string list;
  bool has_setup = false;
  for (size_t n = 0; n < launches.size(); ++n) {
    const Launch& launch = *launches[n];
    const Attempt& a = launch.attempt;
    Json message = launch_message(launch, a.parts.at(0).node);
    message["start"].erase("devices");  // Slurm gives others
    LaunchSpec s = launch_spec(message["start"], as_node, archive);
    std::set<std::string> secret_names;
    for (const SecretUse& use : spec.secrets)
      if (!use.variable.empty()) secret_names.insert(use.variable);
    const std::string folder = s.attempt_folder;
    if (folder.find('\n') != folder.npos)
      throw Error(Fault::config, "a run folder with a line end in its name");
    list += folder + "\n";
    plan.folders.push_back(folder);
    plan.folders.push_back(s.folder);
    const double limit = s.time_limit;
    plan.files.emplace_back(
        join_path(folder, "slurm.vars"),
        str("# ", name, " ", array ? static_cast<int>(n) : -1, "\nrun=", quote(a.run_folder),
            " work=", quote(s.folder), "\ntoken=", quote(a.token), " serial=", a.serial,
            "\nworld=", world, " nodes=", nodes, "\ngrace=", s.grace,
            " secret=", s.secrets.empty() ? "" : "yes", " limit=", limit > 0 ? str(limit) : "",
            "\nplacement=",
            quote(to_text(
                Json{{"job", shown_id(launch.job)},
                     {"attempt", a.number},
                     {"token", a.token},
                     {"chip", a.chip},
                     {"count", spec.accepted.at(static_cast<size_t>(a.alternative)).count}})),
            "\n"));
    plan.files.emplace_back(join_path(folder, "slurm.env"), exports(s.env, secret_names, false));
    if (!s.secrets.empty()) {
      plan.folders.push_back(join_path(folder, "secrets"));
      for (const auto& [secret, content] : s.secrets)
        plan.files.emplace_back(join_path(folder, "secrets/" + secret), content);
      plan.files.emplace_back(join_path(folder, "secrets.env"), exports(s.env, secret_names, true));
    }
    if (!spec.train.empty())
      plan.files.emplace_back(join_path(a.run_folder, "run.yaml"), spec.train);
    if (n) continue;
    if (!spec.train.empty() && !options.program.empty()) s.argv[0] = options.program;
    has_setup = !s.prepare.empty();
    if (has_setup) {
      const std::string kept = join_path(as_node.folder, "prepared/" + spec.team);
      plan.folders.push_back(kept);
      plan.files.emplace_back(join_path(scripts, "slurm.setup"), s.prepare);
    }
    plan.files.emplace_back(join_path(scripts, "slurm.exec"),
                            str("exec ", shell_quoted(s.argv), "\n"));
    plan.files.emplace_back(join_path(scripts, "slurm.task"), kSlurmTask);
  }
  const TaskOptions shape = task_options(components);
  SlurmSubmission& sub = plan.submission;
  sub.script =
      filled(kSlurmScript, {{"list", quote(join_path(scripts, "slurm.list"))},
                            {"scripts", quote(scripts)},
                            {"hosts", shape.hosts},
                            {"setup", has_setup ? shape.setup : ""},
                            {"srun", shape.srun},
                            {"sweep", shape.sweep},
                            {"step", has_setup ? "1" : "0"},
                            {"watch", options.mode == SlurmOptions::Mode::rest ? "yes" : ""}});
  sub.path = join_path(scripts, "slurm.sh");
  plan.files.emplace_back(join_path(scripts, "slurm.list"), list);
  plan.files.emplace_back(sub.path, sub.script);
  sub.name = name;
  sub.comment =
      plain_line(str("wellspring ", first.attempt.token,
                     array ? str(" and ", launches.size() - 1, " more") : "", " job ",
                     array ? std::to_string(first.job.array) : shown_id(first.job), " ", spec.name),
                 200);
  sub.user = first.system_user;
  sub.folder = scripts;
  sub.output =
      output_name(join_path(scripts, array ? "slurm.out." : "slurm.out")) + (array ? "%a" : "");
  // Only a second line of defence: the script holds the limit itself, from the start of the tasks.
  if (spec.time_limit > 0)
    sub.minutes = static_cast<int>(std::min(
        5e6,
        std::ceil((spec.time_limit + spec.checkpoint.grace + 120 + (has_setup ? 3600 : 0)) / 60)));
  sub.array = array ? static_cast<int>(launches.size()) : 0;
  sub.components = components;
  return plan;
}

std::pair<std::string, int> parse_slurm_intent(std::string_view text) {
  const auto words = split(trim(text.substr(0, text.find('\n'))), ' ');
  if (words.size() != 3 || words[0] != "#" || !starts_with(words[1], "ws-")) return {"", -1};
  const auto index = parse_int(words[2]);
  if (!index || *index < -1 || *index > 4'000'000) return {"", -1};
  return {words[1], static_cast<int>(*index)};
}

std::pair<std::string, std::string> parse_slurm_claim(std::string_view text) {
  if (text.empty() || text.back() != '\n') return {};
  const auto words = split(trim(text), ' ');
  if (words.empty() || words.size() > 2) return {};
  for (const char c : words[0])
    if ((c < '0' || c > '9') && c != '_') return {};
  return {words[0], words.size() > 1 ? utf8_repair(words[1].substr(0, 400)) : ""};
}

SlurmStatus parse_slurm_status(std::string_view text) {
  SlurmStatus s;
  const auto number = [](std::string_view value, int least, int most, int* to) {
    const auto n = parse_int(value);
    if (!n || *n < least || *n > most) return false;
    *to = static_cast<int>(*n);
    return true;
  };
  bool has_status = false;
  for (const std::string& line : split(text, '\n')) {
    const size_t space = line.find(' ');
    if (space == line.npos) continue;
    const std::string_view key(line.data(), space),
        value = std::string_view(line).substr(space + 1);
    if (key == "status") has_status = number(value, 0, 255, &s.status);
    if (key == "rank") number(value, -1, 1 << 30, &s.rank);
    if (key == "outcome") s.outcome = value;
    if (key == "cpu")
      if (const auto n = parse_double(value); n && *n > 0 && *n < 1e12) s.cpu_seconds = *n;
    if (key == "reason") s.reason = plain_line(std::string(value), 300);
  }
  for (const char* known : {"exited", "stopped", "time_limit", "setup_failed", "ask"})
    s.whole |= s.outcome == known;
  s.whole &= has_status;
  return s;
}

SlurmPhase slurm_phase(std::string_view state) {
  for (const char* s :
       {"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "RESV_DEL_HOLD"})
    if (state == s) return SlurmPhase::waits;
  for (const char* s : {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL",
                        "OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"})
    if (state == s) return SlurmPhase::ended;
  return SlurmPhase::runs;  // running, configuring, completing, suspended, and what later versions
                            // add
}

std::string slurm_outcome(std::string_view state) {
  if (state == "NODE_FAIL" || state == "BOOT_FAIL" || state == "PREEMPTED" || state == "REVOKED")
    return "lost";
  if (state == "TIMEOUT" || state == "DEADLINE") return "time_limit";
  if (state == "OUT_OF_MEMORY") return "out_of_memory";
  if (state == "CANCELLED") return "stopped";
  return "";
}

}  // namespace wellspring::cluster
