// From the controller's message to what the launcher is given.

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <climits>

#include "base/crypto.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "cluster/job/spec.h"
#include "cluster/node/daemon.h"

namespace wellspring::cluster {
namespace {

std::string quoted(const std::string& s) {
  std::string out = "'";
  for (const char c : s) out += c == '\'' ? "'\\''" : std::string(1, c);
  return out + "'";
}

std::string own_program() {
  char self[PATH_MAX] = "";
  const ssize_t n = ::readlink("/proc/self/exe", self, sizeof self - 1);
  return join_path(parent_path(std::string(self, n > 0 ? static_cast<size_t>(n) : 0)), "wellspring");
}

// Unpacks the working folder and runs the setup. What a setup made is kept by the hash of folder
// and text, and copied for each job that has the same.
std::string prepare_text(const JobSpec& spec, const std::string& archive, const std::string& cache,
                         const std::string& work) {
  if (archive.empty() && spec.setup.empty()) return "";
  const std::string unpack =
      archive.empty() ? "" : str("tar -xf ", quoted(archive), " -C \"$1\"\n");
  if (spec.setup.empty())
    return str("set -e\nset -- ", quoted(work), "\n[ -e \"$1/.wellspring-unpacked\" ] && exit 0\n",
               unpack, ": > \"$1/.wellspring-unpacked\"\n");
  const std::string key = hex(sha256(str(spec.snapshot, "\n", spec.setup))).substr(0, 32);
  const std::string kept = join_path(cache, key);
  return str("set -e\nwork=", quoted(work), " kept=", quoted(kept), "\n",
             "[ -e \"$work/.wellspring-unpacked\" ] && exit 0\n",
             "exec 9>\"$kept.lock\"\nflock 9\nmkdir -p \"$kept\"\n",
             "if [ ! -e \"$kept/.wellspring-unpacked\" ]; then\n",
             "  echo 'setup: begins'\n  set -- \"$kept\"\n  ", unpack, "  cd \"$kept\"\n  (\n", spec.setup,
             "\n  )\n  : > \"$kept/.wellspring-unpacked\"\n  echo 'setup: done'\nelse\n",
             "  echo 'setup: done before, kept'\nfi\n",
             "flock -u 9\ncp -a --reflink=auto \"$kept/.\" \"$work/\"\n");
}

}  // namespace

LaunchSpec launch_spec(const Json& m, const NodeOptions& o, const std::string& archive) {
  const JobSpec job = spec_from_json(m.at("spec"), "the controller's message");
  const Resources& r = job.accepted.at(m.value("resources", size_t{0}));
  const std::string run = m.at("run_folder"), user = m.value("user", "");
  const int number = m.at("attempt"), node_rank = m.value("node_rank", 0);
  const Json& nodes = m.at("nodes");
  const int world = static_cast<int>(nodes.size()) * r.tasks_per_node;
  LaunchSpec s;
  s.token = m.at("token");
  s.user = o.single_trust ? "" : user;
  s.attempt_folder = str(run, "/attempts/", number);
  s.folder = str(run, "/work");
  s.grace = job.checkpoint.grace;
  s.time_limit = job.time_limit;
  s.memory_mb = r.memory_mb;
  s.barrier = nodes.size() > 1;

  std::string devices, visible;
  std::vector<std::string> paths;
  bool have_paths = false;
  for (const Device& d : o.devices) have_paths |= !d.path.empty();
  for (const int d : m.value("devices", std::vector<int>{})) {
    if (d < 0 || d >= static_cast<int>(o.devices.size()))
      throw Error(Fault::data, str("device ", d, " is not one of this node's ", o.devices.size()));
    const Device& device = o.devices[static_cast<size_t>(d)];
    devices += (devices.empty() ? "" : ",") + std::to_string(d);
    if (!device.path.empty()) paths.push_back(device.path);
    if (starts_with(device.path, "/dev/nvidia"))
      visible += (visible.empty() ? "" : ",") + device.path.substr(11);
    s.cores.insert(s.cores.end(), device.cores.begin(), device.cores.end());
  }
  std::ranges::sort(s.cores);
  s.cores.erase(std::unique(s.cores.begin(), s.cores.end()), s.cores.end());
  if (have_paths) s.devices = paths;

  std::string hosts;
  for (const Json& n : nodes)
    hosts += str(n.value("address", ""), " slots=", r.tasks_per_node, " type=", r.chip, "\n");
  const std::string hostfile = join_path(s.attempt_folder, "hostfile");
  const std::string master = nodes.at(0).value("address", "localhost");
  const int64_t serial = parse_int(s.token.substr(0, s.token.find('-'))).value_or(0);
  const int port = 20000 + static_cast<int>(serial % 10000);
  const std::string count = std::to_string(r.count * static_cast<int>(nodes.size()));
  for (const auto& [name, value] : job.env) s.env.emplace_back(name, value);
  // A job that says `wellspring` means this one.
  if (job.image.empty()) s.env.emplace_back("PATH", str("/usr/local/bin:/usr/bin:/bin:", parent_path(own_program())));
  const auto set = [&](const char* name, const std::string& value) { s.env.emplace_back(name, value); };
  set("WELLSPRING_JOB", m.at("id").get<std::string>());
  set("WELLSPRING_ATTEMPT", std::to_string(number));
  set("WELLSPRING_TOKEN", s.token);
  set("WELLSPRING_WORLD_SIZE", std::to_string(world));
  set("WELLSPRING_NODE_RANK", std::to_string(node_rank));
  set("WELLSPRING_RENDEZVOUS", str(master, ":", port));
  set("WELLSPRING_HOSTFILE", hostfile);
  set("WELLSPRING_RUN_FOLDER", run);
  set("WELLSPRING_CHIP", r.chip);
  set("WELLSPRING_DEVICES", devices);
  set("MASTER_ADDR", master);
  set("MASTER_PORT", std::to_string(port));
  set("WORLD_SIZE", std::to_string(world));
  set("AIRS_SWITCH", "1");
  set("AIRS_SIZE", std::to_string(nodes.size()));
  set("AIRS_ACCELERATOR_COUNT", std::to_string(r.count));
  set("AIRS_ACCELERATOR_MODEL", r.chip);
  const ChipKind* kind = ChipTable::built_in().find(r.chip);
  if (kind && kind->memory_gb) set("AIRS_FBMEM", std::to_string(kind->memory_gb));
  set("AIRS_HOSTFILE_PATH", hostfile);
  if (!visible.empty()) set("CUDA_VISIBLE_DEVICES", visible);
  if (job.service.port) set("PORT", std::to_string(job.service.port));
  if (m.contains("array")) {
    set("WELLSPRING_ARRAY_JOB", std::to_string(m["array"].at("job").get<int64_t>()));
    set("WELLSPRING_ARRAY_INDEX", std::to_string(m["array"].at("index").get<int64_t>()));
  }
  for (int local = 0; local < r.tasks_per_node; ++local) {
    const int rank = node_rank * r.tasks_per_node + local;
    TaskLaunch& t = s.tasks.emplace_back();
    t.rank = rank, t.local_rank = local;
    for (const char* name : {"WELLSPRING_RANK", "RANK"}) t.env.emplace_back(name, std::to_string(rank));
    for (const char* name : {"WELLSPRING_LOCAL_RANK", "LOCAL_RANK"})
      t.env.emplace_back(name, std::to_string(local));
  }

  if (node_rank == 0) {
    Json placement = {{"job", m.at("id")}, {"attempt", number}, {"token", s.token},
                      {"chip", r.chip}, {"count", r.count}, {"nodes", Json::array()}};
    for (const Json& n : nodes) placement["nodes"].push_back(n.value("name", ""));
    s.files.emplace_back(join_path(run, "owner"), s.token + "\n");
    s.files.emplace_back(join_path(s.attempt_folder, "placement.json"), to_text(placement, 1) + "\n");
    if (nodes.size() > 1) s.files.emplace_back(hostfile, hosts);
    if (!job.train.empty()) s.files.emplace_back(join_path(run, "run.yaml"), job.train);
  }
  // Interactive without a command: for those who come with `job attach`, until it is cancelled.
  const std::string command = job.command.empty() ? "exec sleep infinity" : job.command;
  s.prepare = prepare_text(job, archive, join_path(o.folder, str("prepared/", job.team)), s.folder);
  if (!job.train.empty()) {
    s.argv = {own_program(), "train", join_path(run, "run.yaml"), "--out", run};
      s.argv.emplace_back("--resume");
  } else if (!job.image.empty()) {
    s.argv = {"apptainer", "exec", "--pwd", s.folder, "--bind", run};
    for (const Mount& mount : job.mounts) {
      s.argv.emplace_back("--bind");
      s.argv.push_back(str(mount.source, ":", mount.target, mount.read_only ? ":ro" : ""));
    }
    for (const char* a : {"", "/bin/sh", "-c", ""}) s.argv.emplace_back(a);
    s.argv[s.argv.size() - 4] = job.image, s.argv.back() = command;
  } else {
    s.argv = {"/bin/sh", "-c", command};
  }
  for (const Mount& mount : job.mounts)  // an image has its own view; what it shows is checked all the same
    s.mounts.push_back({mount.source, job.image.empty() ? mount.target : mount.source, job.image.empty() && mount.read_only});
  if (!job.mounts.empty()) s.mounts_within = {m.value("roots", std::vector<std::string>()), o.mounts};
  for (const SecretUse& use : job.secrets)
    if (!m.value("secrets", Json::object()).contains(use.name))
      throw Error(Fault::config, str("secret ", use.name, " is not there any more, or was sealed with another key: set it again"));
  if (const auto it = m.find("secrets"); it != m.end())
    for (const auto& [name, content] : it->items()) {
      const std::string text = unhex(content.get<std::string>()).value_or("");
      s.secrets.emplace_back(name, text);
      for (const SecretUse& use : job.secrets)
        if (use.name == name && !use.variable.empty()) set(use.variable.c_str(), text);
    }
  return s;
}

}  // namespace wellspring::cluster
