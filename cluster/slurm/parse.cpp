// What Slurm's commands and slurmrestd say, taken apart.

#include <algorithm>
#include <set>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "cluster/slurm/transport.h"

namespace wellspring::cluster {
namespace {

// At most `most` fields; the last one holds what is left.
std::vector<std::string> bar_fields(std::string_view line, size_t most) {
  std::vector<std::string> fields;
  while (fields.size() + 1 < most) {
    const size_t bar = line.find('|');
    if (bar == line.npos) break;
    fields.emplace_back(line.substr(0, bar));
    line.remove_prefix(bar + 1);
  }
  fields.emplace_back(line);
  return fields;
}

bool number_text(std::string_view s) {
  return !s.empty() && s.size() < 19 &&
         std::ranges::all_of(s, [](unsigned char c) { return c >= '0' && c <= '9'; });
}

// "7", "9_3", "7+1": the leader's number or the element, and whether it is the leader.
bool job_id(std::string_view text, std::string* id, bool* leader) {
  *leader = true;
  std::string_view first = text;
  if (const size_t plus = text.find('+'); plus != text.npos) {
    first = text.substr(0, plus);
    if (!number_text(text.substr(plus + 1))) return false;
    *leader = text.substr(plus + 1) == "0";
  } else if (const size_t bar = text.find('_'); bar != text.npos) {
    if (!number_text(text.substr(bar + 1))) return false;
    first = text.substr(0, bar);
    *id = std::string(text);
    return number_text(first);
  }
  *id = std::string(first);
  return number_text(first);
}

// Components other than the leader add their nodes to it.
void add_job(std::vector<SlurmJob>& jobs, SlurmJob job, bool leader,
             std::vector<SlurmJob>& components) {
  if (leader)
    jobs.push_back(std::move(job));
  else
    components.push_back(std::move(job));
}

void join_components(std::vector<SlurmJob>& jobs, const std::vector<SlurmJob>& components) {
  for (const SlurmJob& c : components)
    for (SlurmJob& job : jobs)
      if (job.id == c.id && !c.nodes.empty()) job.nodes += (job.nodes.empty() ? "" : ",") + c.nodes;
}

std::string json_text(const Json& j, const char* key) {
  const auto it = j.find(key);
  return it != j.end() && it->is_string() ? it->get<std::string>() : "";
}

int64_t json_number(const Json& j, const char* key) {
  const auto it = j.find(key);
  return it != j.end() && it->is_number_integer() ? it->get<int64_t>() : 0;
}

Json rest_list(const std::string& body, const char* key) {
  Json answer;
  try {
    answer = parse_json(body, "answer of slurmrestd");
  } catch (const Error& e) {
    throw Error(Fault::try_again, e.what());
  }
  if (!answer.is_object() || !answer.contains(key) || !answer[key].is_array())
    throw Error(Fault::try_again, str("answer of slurmrestd: no list of ", key));
  return std::move(answer[key]);
}

}  // namespace

std::vector<SlurmJob> parse_squeue(std::string_view text) {
  std::vector<SlurmJob> jobs, components;
  for (const std::string& line : split(text, '\n')) {
    const auto f = bar_fields(line, 4);
    SlurmJob job;
    bool leader = true;
    if (f.size() < 4 || !job_id(f[0], &job.id, &leader)) continue;
    job.state = f[1], job.nodes = f[2], job.reason = f[3] == "None" ? "" : f[3];
    add_job(jobs, std::move(job), leader, components);
  }
  join_components(jobs, components);
  return jobs;
}

std::vector<SlurmNode> parse_sinfo(std::string_view text) {
  std::vector<SlurmNode> nodes;
  std::set<std::string> seen;  // a node stands once for each of its partitions
  for (const std::string& line : split(text, '\n')) {
    const auto f = bar_fields(line, 7);
    if (f.size() < 7 || f[0].empty()) continue;
    const auto memory = parse_int(f[3]), cpus = parse_int(f[4]);
    if (!memory || !cpus || *memory < 0 || *cpus < 0 || *cpus > 1 << 20) continue;
    if (!seen.insert(f[0]).second) continue;
    nodes.push_back({.name = f[0],
                     .address = f[1],
                     .gres = f[5] == "(null)" ? "" : f[5],
                     .state = to_lower(f[2]),
                     .reason = f[6] == "none" ? "" : f[6],
                     .memory_mb = *memory,
                     .cpus = static_cast<int>(*cpus)});
  }
  return nodes;
}

std::vector<SlurmJob> parse_rest_jobs(const std::string& body, const std::string& name, int most) {
  std::vector<SlurmJob> jobs, components;
  for (const Json& j : rest_list(body, "jobs")) {
    if (!j.is_object() || (!name.empty() && json_text(j, "name") != name)) continue;
    SlurmJob job;
    const int64_t id = json_number(j, "job_id"), array = json_number(j, "array_job_id"),
                  het = json_number(j, "het_job_id");
    if (id <= 0) continue;
    job.state = json_text(j, "job_state"), job.nodes = json_text(j, "nodes");
    job.reason = json_text(j, "state_reason");
    if (job.reason == "None") job.reason.clear();
    bool leader = true;
    if (array > 0 && j.contains("array_task_id") && j["array_task_id"].is_number_integer()) {
      job.id = str(array, "_", json_number(j, "array_task_id"));
    } else if (array > 0 && !json_text(j, "array_task_string").empty()) {
      // Elements that wait stand in one row: "3-9,12%4".
      std::string text = json_text(j, "array_task_string");
      if (const size_t percent = text.find('%'); percent != text.npos) text.resize(percent);
      for (const std::string& part : split(text, ',')) {
        const size_t dash = part.find('-');
        const auto from = parse_int(std::string_view(part).substr(0, dash));
        const auto to =
            dash == part.npos ? from : parse_int(std::string_view(part).substr(dash + 1));
        if (!from || !to || *from < 0) continue;
        for (int64_t i = *from; i <= std::min<int64_t>(*to, most - 1); ++i) {
          SlurmJob element = job;
          element.id = str(array, "_", i);
          jobs.push_back(std::move(element));
        }
      }
      continue;
    } else if (het > 0) {
      job.id = std::to_string(het);
      leader = json_number(j, "het_job_offset") == 0;
    } else {
      job.id = std::to_string(id);
    }
    add_job(jobs, std::move(job), leader, components);
  }
  join_components(jobs, components);
  return jobs;
}

std::vector<SlurmNode> parse_rest_nodes(const std::string& body) {
  std::vector<SlurmNode> nodes;
  for (const Json& j : rest_list(body, "nodes")) {
    if (!j.is_object() || json_text(j, "name").empty()) continue;
    SlurmNode n;
    n.name = json_text(j, "name"), n.address = json_text(j, "address");
    n.gres = json_text(j, "gres"), n.state = to_lower(json_text(j, "state"));
    n.reason = json_text(j, "reason");
    n.memory_mb = std::max<int64_t>(0, json_number(j, "real_memory"));
    n.cpus = static_cast<int>(std::clamp<int64_t>(json_number(j, "cpus"), 0, 1 << 20));
    if (const auto it = j.find("state_flags"); it != j.end() && it->is_array())
      for (const Json& flag : *it)
        if (flag.is_string()) n.state += "+" + to_lower(flag.get<std::string>());
    nodes.push_back(std::move(n));
  }
  return nodes;
}

bool slurm_unreachable(std::string_view complaint) {
  const std::string text = to_lower(complaint);
  for (const char* sign :
       {"unable to contact", "timed out", "connection", "communication", "temporarily",
        "zero bytes", "try again", "failed to contact", "unable to establish", "authentication",
        "munge", "protocol", "slurmctld", "backup", "shutdown", "rate limit", "slurm_persist"})
    if (text.find(sign) != text.npos) return true;
  return false;
}

std::vector<SlurmGres> parse_gres(std::string_view text) {
  std::vector<SlurmGres> all;
  // A comma may stand inside "(S:0,2)".
  std::string item;
  int depth = 0;
  const auto take = [&] {
    std::string plain = item.substr(0, item.find('('));
    item.clear();
    const auto f = split(plain, ':');
    if (f.empty() || f[0].empty()) return;
    SlurmGres g;
    g.name = f[0];
    const auto count = f.size() > 1 ? parse_int(f.back()) : std::nullopt;
    if (count && (*count < 0 || *count > 4096)) return;
    if (f.size() == 1) g.count = 1;
    if (f.size() == 2 && count) g.count = static_cast<int>(*count);
    if (f.size() == 2 && !count) g.type = f[1], g.count = 1;
    if (f.size() >= 3) g.type = f[1], g.count = count ? static_cast<int>(*count) : 1;
    all.push_back(std::move(g));
  };
  for (const char c : text) {
    depth += c == '(' ? 1 : c == ')' && depth ? -1 : 0;
    if (c == ',' && !depth)
      take();
    else
      item += c;
  }
  if (!item.empty()) take();
  return all;
}

}  // namespace wellspring::cluster
