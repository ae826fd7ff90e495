#include "cluster/job/job_keys.h"

#include <algorithm>
#include <climits>
#include <cmath>
#include <cstdlib>

#include "base/file.h"
#include "base/text.h"
#include "base/time.h"

namespace wellspring::cluster {
namespace {

// One key of a map: its name, how it is read into a T, and the key that it is another name of.
template <class T>
struct JobKey {
  const char* name;
  void (*read)(T&, const Config&, const std::string& key);
  const char* same_as = nullptr;
  const char* field = nullptr;  // of the spec, when it has another name there
};

int small(const Config& c, const std::string& key) {
  const int64_t value = c.integer(key);
  if (value < INT_MIN || value > INT_MAX)
    refuse(place_of(c, key), str("is ", value, ": far beyond what makes sense"));
  return static_cast<int>(value);
}

double seconds_of(const Config& c, const std::string& key) {
  const std::string text = c.text(key);
  auto seconds = parse_duration(text);
  if (!seconds)
    refuse(place_of(c, key), str("is '", text, "': want a duration: 90 (seconds), 45m, 2h, 1d12h, ",
                                 "HH:MM:SS or D-HH:MM:SS"));
  return *seconds;
}

// "2026-03-14T15:09:26Z" or "+2h" from now.
double moment_of(const Config& c, const std::string& key) {
  const std::string text = c.text(key);
  if (text.starts_with('+'))
    if (auto later = parse_duration(std::string_view(text).substr(1)))
      return std::floor(unix_seconds() + *later);
  try {
    return parse_utc(text);
  } catch (const Error&) {
    refuse(place_of(c, key), str("is '", text, "': want a time like 2026-03-14T15:09:26Z (UTC), ",
                                 "or +2h from now"));
  }
}

// A number alone counts GB, as SkyPilot has it, which writes "16+" for at least 16.
int64_t bytes_of(const Config& c, const std::string& key) {
  std::string text = c.text(key);
  std::string_view size = text;
  if (size.ends_with('+')) size.remove_suffix(1);
  auto bytes = parse_bytes(parse_double(size) ? str(size, "GB") : std::string(size));
  if (!bytes) refuse(place_of(c, key), str("is '", text, "': want a size: 16GB, 512MB, 64GiB"));
  return *bytes;
}

std::string path_of(const JobDraft& draft, std::string path) {
  if (path.starts_with("~/"))
    if (const char* home = std::getenv("HOME")) path = join_path(home, path.substr(2));
  if (!path.starts_with('/')) path = join_path(draft.folder, path);
  return path;
}

// Reads the keys that a map has. `field` is the field of the spec that the map fills, for
// notes; null: the caller makes them.
template <class T, size_t N>
void read_known(T& out, const Config& c, const JobKey<T> (&keys)[N], JobDraft* draft = nullptr,
                const std::string& field = "") {
  for (const JobKey<T>& key : keys) {
    if (!c.has(key.name)) continue;
    if (key.same_as && c.has(key.same_as))
      refuse(place_of(c, key.name),
             str("is another name of '", key.same_as, "': write one of them"));
    if (draft) {
      const std::string name = key.field ? key.field : key.same_as ? key.same_as : key.name;
      draft->note(field.empty() ? name : str(field, ".", name), c, key.name);
    }
    key.read(out, c, key.name);
  }
}

// The same, and refuses others.
template <class T, size_t N>
void read_keys(T& out, const Config& c, const JobKey<T> (&keys)[N], JobDraft* draft = nullptr,
               const std::string& field = "") {
  read_known(out, c, keys, draft, field);
  c.check_all_used();
}

template <auto Member, class T>
void take_text(T& out, const Config& c, const std::string& key) {
  out.*Member = c.text(key);
}
template <auto Member, class T>
void take_small(T& out, const Config& c, const std::string& key) {
  out.*Member = small(c, key);
}
template <auto Member, class T>
void take_seconds(T& out, const Config& c, const std::string& key) {
  out.*Member = seconds_of(c, key);
}
template <auto Member>
void spec_text(JobDraft& d, const Config& c, const std::string& key) {
  d.job.spec.*Member = c.text(key);
}

// "A100:8", "A100"
ResourceAsk::Choice accelerator(const std::string& text, const FileJob::Place& place) {
  ResourceAsk::Choice choice;
  const size_t colon = text.rfind(':');
  choice.chip = std::string(trim(text.substr(0, colon)));
  if (colon != text.npos) {
    auto count = parse_int(trim(text.substr(colon + 1)));
    if (!count || *count < 0 || *count > INT_MAX)
      refuse(place, str("is '", text, "': want CHIP or CHIP:COUNT, for example A100:8"));
    choice.count = static_cast<int>(*count);
  }
  choice.place = place;
  return choice;
}

void read_accelerators(ResourceAsk& ask, const Config& c, const std::string& key) {
  switch (c.shape(key)) {
    case Config::Shape::map:
      for (const std::string& chip : c[key].keys())
        ask.chips.push_back({chip, small(c[key], chip), place_of(c[key], chip)});
      break;
    case Config::Shape::list:
      for (const Config& item : c.items(key))
        ask.chips.push_back(accelerator(item.scalar(), place_of(item)));
      break;
    default:
      ask.chips.push_back(accelerator(c.text(key), place_of(c, key)));
  }
}

void read_any_of(ResourceAsk& ask, const Config& c, const std::string& key);

constexpr JobKey<ResourceAsk> kResourceKeys[] = {
    {"chip",
     [](ResourceAsk& ask, const Config& c, const std::string& key) {
       ask.chips.push_back({c.text(key), std::nullopt, place_of(c, key)});
     }},
    {"accelerators", read_accelerators, "chip"},
    {"count",
     [](ResourceAsk& ask, const Config& c, const std::string& key) {
       ask.count = small(c, key);
       for (const auto& choice : ask.chips)
         if (choice.count) refuse(place_of(c, key), "stands twice: accelerators has a count too");
     }},
    {"nodes",
     [](ResourceAsk& ask, const Config& c, const std::string& key) { ask.nodes = small(c, key); }},
    {"tasks_per_node", [](ResourceAsk& ask, const Config& c,
                          const std::string& key) { ask.tasks_per_node = small(c, key); }},
    {"memory",
     [](ResourceAsk& ask, const Config& c, const std::string& key) {
       ask.memory_mb = (bytes_of(c, key) + 999'999) / 1'000'000;
     }},
};
// Of `resources` alone: an alternative has no alternatives.
constexpr JobKey<ResourceAsk> kAlternativeKeys[] = {
    {"any_of", read_any_of},
    {"ordered", read_any_of, "any_of"},
};

void read_resource_map(ResourceAsk& ask, const Config& c) {
  ask.place = place_of(c);
  read_known(ask, c, kResourceKeys);
  for (const char* key : {"count", "nodes", "tasks_per_node", "memory"})
    if (c.has(key)) ask.places[key] = place_of(c, key);
}

void read_any_of(ResourceAsk& ask, const Config& c, const std::string& key) {
  for (const Config& item : c.items(key)) {
    if (item.shape() == Config::Shape::scalar) {  // "A100:8"
      ResourceAsk one;
      one.place = place_of(item);
      one.chips.push_back(accelerator(item.scalar(), one.place));
      ask.any_of.push_back(one);
    } else {
      read_resource_map(ask.any_of.emplace_back(), item);
      item.check_all_used();
    }
  }
}

constexpr JobKey<RestartPolicy> kRestartKeys[] = {
    {"most", take_small<&RestartPolicy::most, RestartPolicy>},
    {"on_exit",
     [](RestartPolicy& r, const Config& c, const std::string& key) {
       if (c.shape(key) == Config::Shape::scalar) {
         r.on_exit = {small(c, key)};
         return;
       }
       for (const Config& item : c.items(key)) {
         auto status = parse_int(item.scalar());
         if (!status || *status < 1 || *status > 255)
           refuse(place_of(item), str("is '", item.scalar(), "': want a status, 1 to 255"));
         r.on_exit.push_back(static_cast<int>(*status));
       }
     }},
    {"backoff", take_seconds<&RestartPolicy::backoff, RestartPolicy>},
    {"most_backoff", take_seconds<&RestartPolicy::most_backoff, RestartPolicy>},
};

// "restart: 3" is short for "restart: {most: 3}".
void read_restart(JobDraft& d, const Config& c, const std::string& key) {
  if (c.shape(key) == Config::Shape::scalar)
    d.job.spec.restart.most = small(c, key);
  else
    read_keys(d.job.spec.restart, c[key], kRestartKeys, &d, "restart");
}

constexpr JobKey<Checkpointing> kCheckpointKeys[] = {
    {"folder", take_text<&Checkpointing::folder, Checkpointing>},
    {"grace", take_seconds<&Checkpointing::grace, Checkpointing>},
};

constexpr JobKey<JobDraft> kServiceKeys[] = {
    {"port",
     [](JobDraft& d, const Config& c, const std::string& key) {
       d.job.spec.service.port = small(c, key);
       if (d.job.spec.service.port == 0) refuse(place_of(c, key), "is 0: want 1 to 65535");
     }},
    {"readiness",
     [](JobDraft& d, const Config& c, const std::string& key) {
       d.job.spec.service.ready_path = c.text(key);
     },
     nullptr, "ready_path"},
    {"readiness_probe",
     [](JobDraft& d, const Config& c, const std::string& key) {
       d.job.spec.service.ready_path = c.text(key);
     },
     "readiness", "ready_path"},
    {"ready_timeout",
     [](JobDraft& d, const Config& c, const std::string& key) {
       d.job.spec.service.ready_timeout = seconds_of(c, key);
     }},
    {"replicas", [](JobDraft& d, const Config& c,
                    const std::string& key) { d.job.spec.service.replicas = small(c, key); }},
    {"restart",
     [](JobDraft& d, const Config& c, const std::string& key) {
       if (d.job.places.count("restart"))
         refuse(place_of(c, key), "stands beside the job's own 'restart': write one of them");
       d.note("restart", c, key);
       read_restart(d, c, key);
     }},
};

constexpr JobKey<Workdir> kWorkdirKeys[] = {
    {"path", take_text<&Workdir::path, Workdir>},
    {"exclude",
     [](Workdir& w, const Config& c, const std::string& key) { w.exclude = c.texts(key); }},
    {"limit",
     [](Workdir& w, const Config& c, const std::string& key) { w.limit = bytes_of(c, key); }},
};

constexpr JobKey<Mount> kMountKeys[] = {
    {"source", take_text<&Mount::source, Mount>},
    {"target", take_text<&Mount::target, Mount>},
    {"read_only",
     [](Mount& m, const Config& c, const std::string& key) { m.read_only = c.boolean(key); }},
};

// "/data", "/data:ro", "/data:/in" or "/data:/in:ro"
Mount mount_of(const Config& item) {
  Mount mount;
  if (item.shape() == Config::Shape::map) {
    read_keys(mount, item, kMountKeys);
  } else {
    std::vector<std::string> parts = split(item.scalar(), ':');
    if (parts.size() > 1 && (parts.back() == "ro" || parts.back() == "rw")) {
      mount.read_only = parts.back() == "ro";
      parts.pop_back();
    }
    if (parts.size() > 2)
      refuse(place_of(item), str("is '", item.scalar(), "': want SOURCE[:TARGET][:ro]"));
    mount.source = parts[0];
    if (parts.size() == 2) mount.target = parts[1];
  }
  if (mount.target.empty()) mount.target = mount.source;
  return mount;
}

constexpr JobKey<SecretUse> kSecretKeys[] = {
    {"name", take_text<&SecretUse::name, SecretUse>},
    {"variable", take_text<&SecretUse::variable, SecretUse>},
};

struct AfterText {
  std::string job, kind = "afterok";
};
constexpr JobKey<AfterText> kAfterKeys[] = {
    {"job", take_text<&AfterText::job, AfterText>},
    {"kind", take_text<&AfterText::kind, AfterText>},
};

void add_after(JobDraft& d, const AfterText& after, const FileJob::Place& place) {
  const std::vector<std::string> kinds = {"afterok", "afterany", "afternotok"};
  if (std::find(kinds.begin(), kinds.end(), after.kind) == kinds.end()) {
    auto near = nearest(after.kind, kinds);
    refuse(place, str("waits by '", after.kind, "': want afterok, afterany or afternotok",
                      near ? str(". Did you mean '", *near, "'?") : std::string()));
  }
  if (auto id = parse_int(after.job)) {
    d.job.places[str("after[", d.job.spec.after.size(), "]")] = place;
    d.job.spec.after.push_back({*id, after.kind});
  } else if (is_name(after.job)) {
    d.after.push_back({after.job, after.kind, place});
  } else {
    refuse(place, str("is '", utf8_repair(after.job.substr(0, 60)),
                      "': want the number of a job, or the name of one in this file"));
  }
}

// "12", "afterok:12" or Slurm's "afterok:12:13"
void add_after_text(JobDraft& d, const std::string& text, const FileJob::Place& place) {
  std::vector<std::string> parts = split(text, ':');
  AfterText after;
  size_t first = 0;
  if (parts.size() > 1) after.kind = parts[first++];
  for (; first < parts.size(); ++first) {
    after.job = std::string(trim(parts[first]));
    add_after(d, after, place);
  }
}

void read_after(JobDraft& d, const Config& c, const std::string& key) {
  if (c.shape(key) == Config::Shape::scalar)
    return add_after_text(d, c.text(key), place_of(c, key));
  for (const Config& item : c.items(key)) {
    if (item.shape() == Config::Shape::map) {
      AfterText after;
      read_keys(after, item, kAfterKeys);
      if (after.job.empty()) refuse(place_of(item), "has no 'job'");
      add_after(d, after, place_of(item));
    } else {
      add_after_text(d, item.scalar(), place_of(item));
    }
  }
}

// "0-99%10": at most ten at once.
void read_array(JobDraft& d, const Config& c, const std::string& key) {
  std::string text;
  if (c.shape(key) == Config::Shape::list) {
    for (const Config& item : c.items(key)) text += str(text.empty() ? "" : ",", item.scalar());
  } else {
    text = c.text(key);
  }
  const size_t percent = text.find('%');
  if (percent != text.npos) {
    auto most = parse_int(trim(std::string_view(text).substr(percent + 1)));
    if (!most || *most < 1 || *most > 1'000'000)
      refuse(place_of(c, key), str("is '", utf8_repair(text.substr(0, 60)),
                                   "': want INDICES%AT_ONCE, for example 0-99%10"));
    d.job.spec.array_at_once = static_cast<int>(*most);
  }
  try {
    d.job.spec.array = parse_indices(std::string_view(text).substr(0, percent));
  } catch (const Error& e) {
    refuse(place_of(c, key), e.what());
  }
  d.note("array_at_once", c, key);
}

// Paths of a run file that lie in the folder where the trainer works: without a workdir nothing is there.
void check_run_paths(const Config& run) {
  const auto check = [](const Config& c, const char* key) {
    const std::string path = c.shape(key) == Config::Shape::scalar ? c.text(key) : "";
    if (!path.empty() && path[0] != '/')
      throw Error(Fault::config, str(c.place(key), ": '", path, "' lies in the job's working folder, which is empty without a workdir: "
                                     "add `workdir: .` to the job file, or give an absolute path"));
  };
  if (run.has("tokenizer")) check(run, "tokenizer");
  if (run.has("data") && run.shape("data") == Config::Shape::map)
    for (const char* part : {"train", "eval"})
      if (run["data"].has(part) && run["data"].shape(part) == Config::Shape::list)
        for (const Config& one : run["data"].items(part))
          if (one.has("path")) check(one, "path");
}

// The run file is parsed for its errors; what its values mean the trainer checks.
void read_train(JobDraft& d, const Config& c, const std::string& key) {
  const std::string path = path_of(d, c.text(key));
  if (!exists(path) || is_directory(path))
    refuse(place_of(c, key), str("is '", c.text(key), "': no such file (", path, ")"));
  std::string text = read_file(path);
  const Config run = Config::parse(text, path);
  if (run.keys().empty()) throw Error(Fault::config, str(path, ": is empty: a run file says what to train"));
  if (!c.has("workdir")) check_run_paths(run);
  d.job.spec.train = text;
}

void read_workdir(JobDraft& d, const Config& c, const std::string& key) {
  Workdir& w = d.job.workdir;
  if (c.shape(key) == Config::Shape::map)
    read_keys(w, c[key], kWorkdirKeys);
  else
    w.path = c.text(key);
  if (w.path.empty()) refuse(place_of(c, key), "has no path");
  const std::string path = path_of(d, w.path);
  if (!exists(path) || !is_directory(path))
    refuse(place_of(c, key), str("is '", w.path, "': no such folder (", path, ")"));
  w.path = path;
  d.job.spec.workdir = path;
}

void read_env(JobDraft& d, const Config& c, const std::string& key) {
  for (const std::string& name : c[key].keys()) {
    d.note(str("env.", name), c[key], name);
    if (!c[key].has(name))
      refuse(place_of(c[key], name), str("has no value: write one, or give --set env.", name, "="));
    d.job.spec.env.emplace_back(name, c[key].text(name));
  }
}

void read_any_of_top(JobDraft& d, const Config& c, const std::string& key) {
  if (!d.resources.any_of.empty())
    refuse(place_of(c, key), "stands beside the one in 'resources': write one of them");
  read_any_of(d.resources, c, key);
}

void read_command(JobDraft& d, const Config& c, const std::string& key) {
  d.job.spec.command = c.text(key);
  if (trim(d.job.spec.command).empty()) refuse(place_of(c, key), "is empty");
}

constexpr JobKey<JobDraft> kJobKeys[] = {
    {"name", spec_text<&JobSpec::name>},
    {"team", spec_text<&JobSpec::team>},
    {"project", spec_text<&JobSpec::project>},
    {"queue", spec_text<&JobSpec::queue>},
    {"priority", [](JobDraft& d, const Config& c,
                    const std::string& key) { d.job.spec.priority = small(c, key); }},
    {"kind", spec_text<&JobSpec::kind>},
    {"resources",
     [](JobDraft& d, const Config& c, const std::string& key) {
       const Config map = c[key];
       read_resource_map(d.resources, map);
       read_keys(d.resources, map, kAlternativeKeys);
     },
     nullptr, "accepted"},
    {"num_nodes",
     [](JobDraft& d, const Config& c, const std::string& key) { d.num_nodes = small(c, key); }},
    {"any_of", read_any_of_top},
    {"command", read_command},
    {"run", read_command, "command"},
    {"train", read_train},
    {"workdir", read_workdir},
    {"setup", spec_text<&JobSpec::setup>},
    {"image", spec_text<&JobSpec::image>},
    {"mounts",
     [](JobDraft& d, const Config& c, const std::string& key) {
       for (const Config& item : c.items(key)) {
         d.note(str("mounts[", d.job.spec.mounts.size(), "]"), item);
         d.job.spec.mounts.push_back(mount_of(item));
       }
     }},
    {"env", read_env},
    {"envs", read_env, "env"},
    {"secrets",
     [](JobDraft& d, const Config& c, const std::string& key) {
       for (const Config& item : c.items(key)) {
         SecretUse use;
         d.note(str("secrets[", d.job.spec.secrets.size(), "]"), item);
         if (item.shape() == Config::Shape::map)
           read_keys(use, item, kSecretKeys);
         else
           use.name = item.scalar();
         d.job.spec.secrets.push_back(use);
       }
     }},
    {"checkpoint",
     [](JobDraft& d, const Config& c, const std::string& key) {
       if (c.shape(key) == Config::Shape::scalar)
         d.job.spec.checkpoint.folder = c.text(key);
       else
         read_keys(d.job.spec.checkpoint, c[key], kCheckpointKeys, &d, "checkpoint");
     }},
    {"restart", read_restart},
    {"service", [](JobDraft& d, const Config& c,
                   const std::string& key) { read_keys(d, c[key], kServiceKeys, &d, "service"); }},
    {"array", read_array},
    {"after", read_after},
    {"time_limit", [](JobDraft& d, const Config& c,
                      const std::string& key) { d.job.spec.time_limit = seconds_of(c, key); }},
    {"not_before", [](JobDraft& d, const Config& c,
                      const std::string& key) { d.job.spec.not_before = moment_of(c, key); }},
    {"deadline", [](JobDraft& d, const Config& c,
                    const std::string& key) { d.job.spec.deadline = moment_of(c, key); }},
    {"on_lost_contact", spec_text<&JobSpec::on_lost_contact>},
    {"notify", spec_text<&JobSpec::notify>},
    {"migrate", [](JobDraft& d, const Config& c,
                   const std::string& key) { d.job.spec.migrate = c.boolean(key); }},
};

template <class T, size_t N>
void add_names(std::vector<std::string>& out, const std::string& prefix,
               const JobKey<T> (&keys)[N]) {
  for (const auto& key : keys) out.push_back(prefix + key.name);
}

}  // namespace

void read_job_keys(JobDraft& draft, const Config& config) {
  draft.job.places[""] = place_of(config);
  read_keys(draft, config, kJobKeys, &draft);
}

std::vector<std::string> job_file_keys() {
  std::vector<std::string> out = {"jobs"};
  add_names(out, "", kJobKeys);
  add_names(out, "resources.", kResourceKeys);
  add_names(out, "resources.", kAlternativeKeys);
  add_names(out, "workdir.", kWorkdirKeys);
  add_names(out, "mounts[].", kMountKeys);
  add_names(out, "secrets[].", kSecretKeys);
  add_names(out, "checkpoint.", kCheckpointKeys);
  add_names(out, "restart.", kRestartKeys);
  add_names(out, "service.", kServiceKeys);
  add_names(out, "after[].", kAfterKeys);
  return out;
}

}  // namespace wellspring::cluster
