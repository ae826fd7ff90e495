#include "cluster/node/contain.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/process.h"
#include "base/text.h"
#include "cluster/launch/container.h"
#include "cluster/node/contain_plan.h"
#include "cluster/node/executions.h"

namespace wellspring::cluster {
namespace {

constexpr Means all_means[] = {Means::cgroup2, Means::cgroup1, Means::pid_namespace,
                               Means::subreaper};

struct Hierarchy {
  bool second = false;  // v2
  std::vector<std::string> controllers;
  std::string root, point, own;  // own: folder of this process
};

std::string failure(const std::string& path) { return str(path, ": ", strerror(errno)); }

/// "\040" and the like in mountinfo.
std::string unescape(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); i++) {
    if (text[i] == '\\' && i + 3 < text.size()) {
      out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 +
                               (text[i + 3] - '0'));
      i += 3;
    } else {
      out += text[i];
    }
  }
  return out;
}

bool has(const std::vector<std::string>& list, std::string_view word) {
  return std::find(list.begin(), list.end(), word) != list.end();
}

std::vector<Hierarchy> hierarchies() {
  std::vector<Hierarchy> found;
  for (const std::string& line : split(launch::read_small("/proc/self/mountinfo"), '\n')) {
    std::vector<std::string> words = split(line, ' ');
    auto dash = std::find(words.begin(), words.end(), "-");
    if (words.size() < 5 || words.end() - dash < 4) continue;
    if (dash[1] != "cgroup" && dash[1] != "cgroup2") continue;
    found.push_back(
        {dash[1] == "cgroup2", split(dash[3], ','), unescape(words[3]), unescape(words[4]), ""});
  }
  for (const std::string& line : split(launch::read_small("/proc/self/cgroup"), '\n')) {
    size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == std::string::npos || second == std::string::npos) continue;
    std::vector<std::string> names = split(line.substr(first + 1, second - first - 1), ',');
    std::string path = line.substr(second + 1);
    for (Hierarchy& h : found) {
      if (h.second ? line.substr(0, 3) != "0::" : !has(h.controllers, names[0])) continue;
      // A container sees a part of the tree mounted; our path counts from the whole one's top.
      std::string below = h.root == "/"               ? path
                          : starts_with(path, h.root) ? path.substr(h.root.size())
                                                      : "";
      h.own = h.point + (below == "/" ? "" : below);
    }
  }
  return found;
}

/// A folder of ours below `parent`; "" with the reason.
std::string make_base(const std::string& parent, const std::string& id, std::string* reason) {
  std::string base = str(parent, "/wellspring-", id);
  if (access((parent + "/cgroup.procs").c_str(), W_OK) != 0) {
    *reason = failure(parent + "/cgroup.procs");
    return "";
  }
  if (mkdir(base.c_str(), 0755) != 0 && errno != EEXIST) {
    *reason = failure(base);
    return "";
  }
  return base;
}

std::vector<std::string> words_of(const std::string& file) {
  std::vector<std::string> out;
  for (const std::string& word : split(trim(launch::read_small(file.c_str())), ' '))
    if (!word.empty()) out.push_back(word);
  return out;
}

/// Lets the folders below `base` limit what `parent` allows.
std::vector<std::string> enable_controllers(const std::string& parent, const std::string& base) {
  std::vector<std::string> enabled;
  for (const char* name : {"memory", "cpuset"}) {
    if (!has(words_of(parent + "/cgroup.controllers"), name)) continue;
    std::string plus = str("+", name);
    // Refused while processes are in `parent` itself, unless that is the top.
    launch::write_small((parent + "/cgroup.subtree_control").c_str(), plus);
    if (launch::write_small((base + "/cgroup.subtree_control").c_str(), plus))
      enabled.push_back(name);
  }
  return enabled;
}

std::string try_cgroup2(const std::vector<Hierarchy>& all, const std::string& id,
                        ContainPlan* plan) {
  for (const Hierarchy& h : all) {
    if (!h.second || h.own.empty()) continue;
    std::string reason;
    std::string base = make_base(h.own, id, &reason);
    if (base.empty()) return reason;
    if (access((base + "/cgroup.kill").c_str(), W_OK) != 0) {
      rmdir(base.c_str());
      return "no cgroup.kill (Linux before 5.14)";
    }
    plan->cgroup2_controllers = enable_controllers(h.own, base);
    // A service's own cgroup holds the daemon itself and can limit nothing; its neighbour can.
    std::string above = parent_path(h.own);
    if (plan->cgroup2_controllers.empty() && geteuid() == 0 && h.own.size() > h.point.size() &&
        above.size() >= h.point.size()) {
      std::string beside = make_base(above, id, &reason);
      if (!beside.empty()) plan->cgroup2_controllers = enable_controllers(above, beside);
      if (!plan->cgroup2_controllers.empty()) {
        rmdir(base.c_str());
        base = beside;
      } else if (!beside.empty()) {
        rmdir(beside.c_str());
      }
    }
    plan->cgroup2 = base;
    return "";
  }
  return "not mounted";
}

std::string try_cgroup1(const std::vector<Hierarchy>& all, const std::string& id,
                        const char* controller, ContainPlan* plan) {
  for (const Hierarchy& h : all) {
    if (h.second || h.own.empty() || !has(h.controllers, controller)) continue;
    std::string reason;
    std::string base = make_base(h.own, id, &reason);
    if (base.empty()) return reason;
    if (std::string_view(controller) == "cpuset") {
      // A new cpuset is empty, and an empty one takes no process.
      for (const char* file : {"/cpuset.cpus", "/cpuset.mems"})
        if (!launch::write_small((base + file).c_str(),
                                 trim(launch::read_small((h.own + file).c_str())))) {
          reason = failure(base + file);
          rmdir(base.c_str());
          return reason;
        }
    }
    plan->cgroup1[controller] = base;
    return "";
  }
  return str("no ", controller, " hierarchy is mounted");
}

std::string try_pid_namespace(const std::string& launcher, ContainPlan* plan) {
  plan->user_namespace = geteuid() != 0;
  ProcessResult r =
      run_process({launcher, "probe", plan->user_namespace ? "user-namespace" : "pid-namespace"});
  if (r.ok()) return "";
  return r.output.empty() ? str("the probe ended with status ", r.status) : r.output;
}

std::string try_means(Means means, const std::vector<Hierarchy>& all, const std::string& id,
                      const std::string& launcher, ContainPlan* plan) {
  switch (means) {
    case Means::cgroup2:
      return try_cgroup2(all, id, plan);
    case Means::cgroup1:
      return try_cgroup1(all, id, "freezer", plan);
    case Means::pid_namespace:
      return try_pid_namespace(launcher, plan);
    default:
      return "";
  }
}

void describe_limits(const std::map<std::string, std::string>& why_not, ContainPlan* plan) {
  ContainInfo& info = plan->info;
  std::vector<std::string> parts;
  auto part = [&](const char* what, const char* controller, bool* limited, const char* otherwise) {
    *limited = true;
    if (has(plan->cgroup2_controllers, controller))
      return parts.push_back(str(what, " by cgroup v2"));
    if (plan->cgroup1.count(controller)) return parts.push_back(str(what, " by cgroup v1"));
    *limited = false;
    auto why = why_not.find(controller);
    parts.push_back(
        str(what, " ", otherwise, why == why_not.end() ? "" : str(" (", why->second, ")")));
  };
  part("memory", "memory", &info.limits_memory, "not limited");
  part("cores", "cpuset", &info.limits_cores, "by affinity alone");
  part("devices", "devices", &info.limits_devices, "not limited");
  info.limits = join(parts, "; ");
}

std::string numbers(const std::vector<int>& list) {
  std::string out;
  for (int n : list) append(out, str(out.empty() ? "" : ",", n));
  return out;
}

std::string device_rule(const std::string& path) {
  struct stat s;
  if (stat(path.c_str(), &s) != 0) throw Error(Fault::config, str("device ", failure(path)));
  if (!S_ISCHR(s.st_mode) && !S_ISBLK(s.st_mode))
    throw Error(Fault::config, str("device ", path, " is no device node"));
  return str(S_ISCHR(s.st_mode) ? "c " : "b ", static_cast<int>(major(s.st_rdev)), ":",
             static_cast<int>(minor(s.st_rdev)), " rwm");
}

}  // namespace

std::string_view means_name(Means means) {
  switch (means) {
    case Means::best:
      return "best";
    case Means::cgroup2:
      return "cgroup2";
    case Means::cgroup1:
      return "cgroup1";
    case Means::pid_namespace:
      return "pid-namespace";
    case Means::subreaper:
      return "subreaper";
  }
  return "";
}

Means parse_means(std::string_view name) {
  std::vector<std::string> names = {"best"};
  if (name == "best") return Means::best;
  for (Means means : all_means) {
    if (name == means_name(means)) return means;
    names.emplace_back(means_name(means));
  }
  throw Error(Fault::config, str("containment '", name, "' is not one of ", join(names, ", ")));
}

ContainPlan choose_means(Means wanted, const std::string& id, const std::string& launcher) {
  ContainPlan plan;
  std::vector<Hierarchy> all = hierarchies();
  for (Means means : all_means) {
    if (wanted != Means::best && means != wanted) continue;
    std::string reason = try_means(means, all, id, launcher, &plan);
    plan.info.means = means;
    if (reason.empty()) break;
    if (wanted == means)
      throw Error(Fault::config,
                  str("containment '", means_name(means), "' does not work here: ", reason));
    plan.info.passed_over.push_back(str(means_name(means), ": ", reason));
  }
  std::map<std::string, std::string> why_not;
  for (const char* controller : {"memory", "cpuset", "devices"}) {
    if (has(plan.cgroup2_controllers, controller)) continue;
    std::string reason = try_cgroup1(all, id, controller, &plan);
    if (!reason.empty()) why_not[controller] = reason;
  }
  describe_limits(why_not, &plan);
  return plan;
}

void ContainPlan::apply(const LaunchSpec& spec, const std::string& slot, launch::Spec* out) const {
  launch::Container& c = out->container;
  c.kind = static_cast<launch::Kind>(static_cast<int>(info.means));
  out->user_namespace = user_namespace && info.means == Means::pid_namespace;
  if (info.means == Means::cgroup2) c.cgroup2 = str(cgroup2, "/", slot);
  auto first = [&](const char* controller) {
    std::string folder = str(cgroup1.at(controller), "/", slot);
    if (!has(c.cgroup1, folder)) c.cgroup1.push_back(folder);
    return folder;
  };
  if (info.means == Means::cgroup1) first("freezer");
  auto limit = [&](const std::string& file, const std::string& value) {
    out->limits.emplace_back(file, value);
  };
  if (spec.memory_mb > 0 && info.limits_memory) {
    std::string bytes = str(spec.memory_mb << 20);
    if (has(cgroup2_controllers, "memory")) {
      limit(c.cgroup2 + "/memory.max", bytes);
      if (exists(cgroup2 + "/memory.swap.max")) limit(c.cgroup2 + "/memory.swap.max", "0");
      out->memory_events = c.cgroup2 + "/memory.events";
    } else {
      std::string folder = first("memory");
      limit(folder + "/memory.limit_in_bytes", bytes);
      if (exists(cgroup1.at("memory") + "/memory.memsw.limit_in_bytes"))
        limit(folder + "/memory.memsw.limit_in_bytes", bytes);
      out->memory_events = folder + "/memory.oom_control";
    }
  }
  if (!spec.cores.empty() && info.limits_cores) {
    if (has(cgroup2_controllers, "cpuset")) {
      limit(c.cgroup2 + "/cpuset.cpus", numbers(spec.cores));
    } else {
      std::string folder = first("cpuset");
      limit(folder + "/cpuset.mems",
            std::string(trim(launch::read_small((cgroup1.at("cpuset") + "/cpuset.mems").c_str()))));
      limit(folder + "/cpuset.cpus", numbers(spec.cores));
    }
  }
  if (spec.devices && info.limits_devices) {
    std::string folder = first("devices");
    limit(folder + "/devices.deny", "a");
    for (const char* rule :
         {"c 1:3 rwm", "c 1:5 rwm", "c 1:7 rwm", "c 1:8 rwm", "c 1:9 rwm", "c 5:0 rwm", "c 5:1 rwm",
          "c 5:2 rwm", "c 136:* rwm", "c *:* m", "b *:* m"})
      limit(folder + "/devices.allow", rule);
    for (const std::string& path : *spec.devices)
      limit(folder + "/devices.allow", device_rule(path));
  }
}

void ContainPlan::sweep(const std::vector<std::string>& slots_in_use) const {
  auto each = [&](const std::string& base, bool second) {
    if (base.empty() || !is_directory(base)) return;
    for (const std::string& name : list_directory(base)) {
      std::string folder = join_path(base, name);
      if (!is_directory(folder) || has(slots_in_use, name)) continue;
      launch::Container c;
      c.kind = second ? launch::Kind::cgroup2 : launch::Kind::cgroup1;
      (second ? c.cgroup2 : c.cgroup1.emplace_back()) = folder;
      for (int round = 0; round < 100 && !launch::container_empty(c, 0); round++) {
        launch::container_kill(c, 0);
        usleep(2000);
      }
      launch::container_remove(c);
    }
  };
  each(cgroup2, true);
  for (const auto& [controller, base] : cgroup1) each(base, false);
}

void ContainPlan::remove() const {
  if (!cgroup2.empty()) rmdir(cgroup2.c_str());
  for (const auto& [controller, base] : cgroup1) rmdir(base.c_str());
}

}  // namespace wellspring::cluster
