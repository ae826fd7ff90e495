#include "cluster/job/job_file.h"

#include <unistd.h>

#include <algorithm>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "cluster/job/job_keys.h"

namespace wellspring::cluster {

FileJob::Place place_of(const Config& config, const std::string& key) {
  // "job.yaml:12 (resources.count)"; a path of the file may hold " (" itself.
  std::string text = config.place(key);
  const size_t open = text.ends_with(')') ? text.rfind(" (") : text.npos;
  if (open == text.npos) return {text, ""};
  return {text.substr(0, open), text.substr(open + 2, text.size() - open - 3)};
}

std::string shown_place(const FileJob::Place& place) {
  return str(place.where, ": ", place.key.empty() ? "the job" : str("'", place.key, "'"));
}

void refuse(const FileJob::Place& place, const std::string& what) {
  throw Error(Fault::config, str(shown_place(place), " ", what));
}

void JobDraft::note(const std::string& field, const Config& config, const std::string& key) {
  job.places[field] = place_of(config, key);
}

std::string FileJob::place(const std::string& field) const {
  for (std::string at = field;;) {
    if (auto found = places.find(at); found != places.end()) {
      std::string rest = field.substr(at.size());
      Place here = found->second;
      if (here.key.empty() && rest.starts_with('.')) rest.erase(0, 1);
      if (at.empty() && !here.key.empty()) rest = str(".", rest);
      here.key += rest;
      return shown_place(here);
    }
    const size_t cut = at.find_last_of(".[");
    at.resize(cut == at.npos ? 0 : cut);
    if (at.empty() && !places.count("")) return str("'", field, "'");
  }
}

namespace {

std::string name_from(std::string_view text) {
  std::string out;
  for (char c : text.substr(0, 64)) {
    const std::string one(1, c);
    if (is_name(one) || (!out.empty() && is_name(out + c)))
      out += c;
    else if (!out.empty())
      out += '-';
  }
  return out.empty() ? "job" : out;
}

// Puts `resources`, num_nodes and the alternatives together: an alternative has what it does not
// name from `resources`, whose own chip is the first choice when it names one.
void settle_resources(JobDraft& d) {
  ResourceAsk& base = d.resources;
  FileJob& job = d.job;
  if (d.num_nodes) {
    if (base.nodes)
      refuse(job.places.at("num_nodes"), "is another name of 'resources.nodes': write one of them");
    base.nodes = d.num_nodes;
    base.places["nodes"] = job.places.at("num_nodes");
  }
  const auto add = [&](const ResourceAsk& ask, const ResourceAsk::Choice& choice) {
    Resources r;
    r.count = choice.count.value_or(ask.count.value_or(base.count.value_or(1)));
    r.nodes = ask.nodes.value_or(base.nodes.value_or(1));
    r.tasks_per_node = ask.tasks_per_node.value_or(base.tasks_per_node.value_or(1));
    r.memory_mb = ask.memory_mb.value_or(base.memory_mb.value_or(0));
    r.chip = to_lower(choice.chip);
    if (const ChipKind* kind = (d.chips ? *d.chips : ChipTable::built_in()).find(choice.chip)) {
      r.chip = kind->name;
    } else if (d.chips && !choice.chip.empty()) {
      try {
        d.chips->get(choice.chip);
      } catch (const Error& e) {
        refuse(choice.place, str("names an ", e.what()));
      }
    }
    const std::string field = str("accepted[", job.spec.accepted.size(), "]");
    job.places[field] = ask.place;
    for (const ResourceAsk* from : std::initializer_list<const ResourceAsk*>{&base, &ask})
      for (const auto& [key, place] : from->places)
        job.places[str(field, ".", key == "memory" ? "memory_mb" : key)] = place;
    job.places[str(field, ".chip")] = choice.place;
    if (choice.count) job.places[str(field, ".count")] = choice.place;
    job.spec.accepted.push_back(r);
  };
  const auto add_all = [&](const ResourceAsk& ask) {
    for (const auto& choice : ask.chips) add(ask, choice);
  };
  add_all(base);
  for (const ResourceAsk& ask : base.any_of) {
    if (!ask.chips.empty()) {
      add_all(ask);
    } else if (!base.chips.empty()) {  // the same chips, otherwise many
      for (ResourceAsk::Choice choice : base.chips) {
        if (ask.count) choice.count.reset();
        add(ask, choice);
      }
    } else {
      refuse(ask.place, "names no chip, and 'resources' neither");
    }
  }
  if (job.spec.accepted.empty()) add(base, {"", std::nullopt, base.place});
}

JobDraft read_one(const Config& config, const std::string& folder, const ChipTable* chips,
                  const std::string& name) {
  JobDraft draft;
  draft.folder = folder;
  draft.chips = chips;
  draft.resources.place = place_of(config);
  draft.job.spec.name = name;
  read_job_keys(draft, config);
  JobSpec& spec = draft.job.spec;
  if (draft.job.places.count("service") && !draft.job.places.count("kind")) spec.kind = "service";
  settle_resources(draft);
  check_spec(spec, Fault::config, [&](const std::string& field) { return draft.job.place(field); });
  return draft;
}

// Finds the jobs that each job of the file waits for, by name, and orders them so that these come
// first; otherwise in the order of the file.
JobFile ordered(std::vector<JobDraft> drafts) {
  std::map<std::string, size_t> by_name;
  std::vector<std::string> names;
  for (size_t i = 0; i < drafts.size(); ++i) {
    const FileJob& job = drafts[i].job;
    names.push_back(job.spec.name);
    if (!by_name.emplace(job.spec.name, i).second)
      throw Error(Fault::config, str(job.place("name"), " is '", job.spec.name,
                                     "', as another job's of this file"));
  }
  // What each job waits for, checked, and the depth-first search for a cycle.
  std::vector<int> place(drafts.size(), -1);  // in the result; -2: being visited
  std::vector<size_t> path;
  JobFile out;
  const auto visit = [&](auto&& self, size_t i) -> void {
    if (place[i] >= 0) return;
    place[i] = -2;
    path.push_back(i);
    std::vector<FileJob::After> after;
    for (const JobDraft::Named& named : drafts[i].after) {
      auto found = by_name.find(named.name);
      if (found == by_name.end()) {
        auto near = nearest(named.name, names);
        refuse(named.place, str("waits for '", named.name, "', which is no job of this file",
                                near ? str(": did you mean '", *near, "'?")
                                     : std::string(". Other jobs go by their number")));
      }
      const size_t other = found->second;
      if (other == i) refuse(named.place, str("makes job '", named.name, "' wait for itself"));
      if (place[other] == -2) {
        std::string cycle;
        for (auto at = std::find(path.begin(), path.end(), other); at != path.end(); ++at)
          cycle += str(names[*at], " waits for ");
        refuse(named.place, str("closes a cycle: ", cycle, named.name));
      }
      self(self, other);
      after.push_back({place[other], named.kind});
    }
    path.pop_back();
    place[i] = static_cast<int>(out.jobs.size());
    drafts[i].job.after = std::move(after);
    out.jobs.push_back(std::move(drafts[i].job));
  };
  for (size_t i = 0; i < drafts.size(); ++i) visit(visit, i);
  return out;
}

JobFile from_config(const Config& config, const std::string& folder, const std::string& name,
                    const ChipTable* chips) {
  constexpr size_t kMostJobs = 1000;  // submit more in several files, or as an array
  std::vector<JobDraft> drafts;
  if (config.has("jobs")) {
    const std::vector<Config> items = config.items("jobs");
    if (items.empty()) refuse(place_of(config, "jobs"), "is empty");
    if (items.size() > kMostJobs)
      refuse(place_of(config, "jobs"), str("has ", items.size(), " jobs: at most ", kMostJobs));
    for (const Config& item : items)
      drafts.push_back(
          read_one(item, folder, chips, str(name.substr(0, 58), "-", drafts.size() + 1)));
    config.check_all_used();
  } else {
    drafts.push_back(read_one(config, folder, chips, name));
  }
  return ordered(std::move(drafts));
}

Config overridden(Config config, const std::vector<std::string>& overrides) {
  for (const std::string& assignment : overrides) config.set(assignment);
  return config;
}

std::string absolute(const std::string& path) {
  if (path.starts_with('/')) return path;
  std::string here(4096, '\0');
  if (!::getcwd(here.data(), here.size())) throw Error(Fault::io, "the working folder is gone");
  here.resize(here.find('\0'));
  return path.empty() || path == "." ? here : join_path(here, path);
}

}  // namespace

JobFile read_job_file(const std::string& path, const std::vector<std::string>& overrides,
                      const ChipTable* chips) {
  const std::string file = base_name(path);
  return from_config(overridden(Config::read(path), overrides), absolute(parent_path(path)),
                     name_from(file.substr(0, file.find('.', 1))), chips);
}

JobFile parse_job_file(const std::string& text, const std::string& where, const std::string& folder,
                       const std::vector<std::string>& overrides, const ChipTable* chips) {
  return from_config(overridden(Config::parse(text, where), overrides), absolute(folder), "job",
                     chips);
}

std::string shell_quoted(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) {
    if (!out.empty()) out += ' ';
    constexpr std::string_view kPlain =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-./:=,+@%^";
    if (!word.empty() && word.find_first_not_of(kPlain) == word.npos && word[0] != '=') {
      out += word;
      continue;
    }
    out += '\'';
    for (char c : word) append(out, c == '\'' ? std::string("'\\''") : std::string(1, c));
    out += '\'';
  }
  return out;
}

JobFile job_from_command(const std::vector<std::string>& command, const std::string& folder,
                         const std::vector<std::string>& overrides, const ChipTable* chips) {
  if (command.empty()) throw Error(Fault::usage, "no command: want -- COMMAND [ARGUMENT...]");
  Config config = overridden(Config(), overrides);
  const std::string line = command.size() == 1 ? command[0] : shell_quoted(command);
  // Through the same keys, so that `--set command=` beside a command is seen.
  for (const char* key : {"command", "run", "train", "jobs"})
    if (config.has(key))
      throw Error(Fault::usage, str("--set ", key, " stands beside a command: give one of them"));
  if (!utf8_valid(line)) throw Error(Fault::usage, "the command is not UTF-8");
  config.set(str("command=", to_text(Json(line))));
  const std::string word = command[0].substr(0, command[0].find_first_of(" \t\n"));
  return from_config(config, absolute(folder), name_from(base_name(word)), chips);
}

}  // namespace wellspring::cluster
