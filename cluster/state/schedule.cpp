// From the state to queueing's view of it, and from decisions back to transitions.

#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "base/time.h"
#include "cluster/state/transitions.h"

namespace wellspring::cluster {
namespace {

bool covers(const std::string& root, const std::string& path) {
  return starts_with(path, root) &&
         (path.size() == root.size() || ends_with(root, "/") || path[root.size()] == '/');
}

// Machines as queueing sees them. Folders that jobs ask for are offered where a mount covers them.
View machines(const State& state, const std::set<std::string>& asked_for, bool empty) {
  View v;
  for (const auto& [name, node] : state.nodes.rows()) {
    std::map<std::string, std::vector<int>> by_chip;
    for (size_t d = 0; d < node.devices.size(); ++d)
      by_chip[node.devices[d].chip].push_back(static_cast<int>(d));
    for (auto& [chip, devices] : by_chip) {
      policy::Node p;
      p.name = name, p.chip = chip, p.pool = node.pool.empty() ? name : node.pool;
      p.holders.assign(devices.size(), 0);
      p.memory_mb = node.memory_mb;
      p.usable = empty || (!node.drained && !node.down && state.connected.contains(name));
      if (node.executor == "nodes") p.offers.emplace_back(kOwnNode);
      if (runs_without_user(node)) p.offers.emplace_back(kNoUser);
      for (const std::string& path : asked_for)
        if (std::ranges::any_of(node.mounts, [&](const auto& m) { return covers(m, path); }))
          p.offers.push_back(path);
      if (!node.only_team.empty())
        v.snapshot.reservations.push_back({.node = static_cast<int>(v.snapshot.nodes.size()),
                                           .from = 0,
                                           .team = node.only_team});
      v.snapshot.nodes.push_back(std::move(p));
      v.places.push_back({name, std::move(devices)});
    }
  }
  return v;
}

void add_running(const State& state, View& v) {
  for (const int64_t serial : state.active()) {
    const Attempt& a = state.attempts.at(serial);
    const Job& job = state.jobs.at(a.job);
    const Queue* queue = state.queues.find(job.spec->queue);
    policy::Running r;
    r.job = job.id, r.team = job.team;
    r.priority = job.spec->priority + (queue ? queue->priority : 0);
    r.started = a.created;
    if (job.spec->time_limit)
      r.ends = (a.started ? a.started : a.created) + job.spec->time_limit +
               job.spec->checkpoint.grace;
    r.grace = job.spec->checkpoint.grace;
    r.preemptible = job.spec->kind != "interactive";
    r.stopping = a.state == AttemptState::stopping;
    r.memory_mb = job.spec->accepted[a.alternative].memory_mb;
    for (const auto& part : a.parts)
      for (size_t n = 0; n < v.places.size(); ++n) {
        if (v.places[n].node != part.node) continue;
        policy::Node& node = v.snapshot.nodes[n];
        node.memory_mb -= r.memory_mb;  // of the machine, for each of its chips
        policy::Placement::Part p{static_cast<int>(n), {}};
        const auto& devices = v.places[n].devices;
        for (const int d : part.devices)
          if (const auto it = std::ranges::find(devices, d); it != devices.end()) {
            p.devices.push_back(static_cast<int>(it - devices.begin()));
            node.holders[p.devices.back()] = job.id;
          }
        if (!p.devices.empty()) r.placement.parts.push_back(std::move(p));
      }
    r.placement.alternative = a.alternative;
    v.snapshot.running.push_back(std::move(r));
  }
}

policy::Outcome outcome_of(const State& state, JobId id) {
  const Job* job = state.jobs.find(id);
  if (!job) return policy::Outcome::failed;
  const JobState s = shown_state(state, *job);
  if (!ended(s)) return policy::Outcome::pending;
  return s == JobState::succeeded ? policy::Outcome::succeeded : policy::Outcome::failed;
}

}  // namespace

bool needs_own_node(const JobSpec& spec) {
  return spec.kind != "batch" ||
         (spec.image.empty() && std::ranges::any_of(spec.mounts, [](const Mount& m) {
            return m.source != m.target || m.read_only;
          }));
}

std::vector<std::string> needs_of(const JobSpec& spec) {
  std::vector<std::string> needs;
  for (const Mount& m : spec.mounts) needs.push_back(m.source);
  if (needs_own_node(spec)) needs.emplace_back(kOwnNode);
  return needs;
}

policy::Waiting waiting_job(const State& state, const Job& job) {
  const JobSpec& spec = *job.spec;
  policy::Waiting w;
  w.id = job.id, w.team = job.team, w.queue = spec.queue;
  w.priority = spec.priority;
  w.submitted = job.submitted, w.not_before = job.not_before;
  if (spec.time_limit) w.limit = spec.time_limit + spec.checkpoint.grace;
  w.grace = spec.checkpoint.grace;
  w.held = job.held;
  for (const DependsOn& d : spec.after)
    w.after.push_back({.job = d.job,
                       .kind = d.kind == "afterok"      ? policy::After::ok
                               : d.kind == "afternotok" ? policy::After::not_ok
                                                        : policy::After::any,
                       .outcome = outcome_of(state, d.job)});
  for (const Resources& r : spec.accepted)
    w.accepted.push_back({.chip = r.chip,
                          .nodes = r.nodes,
                          .devices = std::max(1, r.count),
                          .memory_mb = r.memory_mb});
  w.pool = job.pool;
  w.needs = needs_of(spec);
  const Team* team = state.teams.find(job.team);
  if (!team || team->system_user.empty()) w.needs.emplace_back(kNoUser);
  return w;
}

bool runs_without_user(const Node& node) { return node.single_trust || !node.switches_users; }

View empty_view(const State& state, const JobSpec& spec) {
  const std::vector<std::string> needs = needs_of(spec);
  return machines(state, {needs.begin(), needs.end()}, true);
}

View view_of(const State& state, double now) {
  // Of jobs that are alike as many as could start at once, and some for which devices may be kept: the
  // others have to wait in any case.
  constexpr size_t kBehind = 8;
  size_t devices = 0;
  for (const auto& [name, node] : state.nodes.rows()) devices += node.devices.size();
  std::vector<policy::Waiting> waiting;
  std::set<std::string> asked_for;
  std::map<JobId, int> left;  // of arrays of which only some may run at once
  for (const auto& [shape, ids] : state.queued_alike()) {
    size_t most = devices + kBehind;
    for (const JobId id : ids) {
      const Job& job = state.jobs.at(id);
      if (job.spec->deadline && now > job.spec->deadline && !job.started) continue;  // pass_time() ends it
      if (job.not_before <= now) {  // one whose time has not come stands in nobody's way
        if (!most) break;
        --most;
        if (const int at_once = job.spec->array_at_once) {
          const auto [it, fresh] = left.try_emplace(job.array, at_once);
          if (fresh)
            for (const JobState s : {JobState::starting, JobState::running, JobState::stopping})
              it->second -= state.elements(job.array)[static_cast<int>(s)];
          if (it->second <= 0) break;
          --it->second;
        }
      }
      waiting.push_back(waiting_job(state, job));
      for (const std::string& need : waiting.back().needs) asked_for.insert(need);
    }
  }
  View v = machines(state, asked_for, false);
  add_running(state, v);
  v.snapshot.waiting = std::move(waiting);
  const double renews = month_after(now);
  for (const auto& [name, team] : state.teams.rows()) {
    policy::Team& t = v.snapshot.teams[name];
    t.weight = team.weight;
    t.renews = renews;
    t.usage = team.usage * std::exp2(-(now - team.usage_at) / kShareHalfLife);
    for (const auto& [chip, quota] : team.quotas) {
      if (quota.devices >= 0) t.most_devices[chip] = quota.devices;
      if (quota.hours >= 0)
        t.hours_left[chip] = quota.hours - used_this_month(state, name, chip, now) / 3600;
    }
  }
  for (const auto& [name, queue] : state.queues.rows())
    v.snapshot.queues[name] = {.priority = queue.priority, .open = queue.open};
  for (const auto& [id, r] : state.reservations.rows())
    for (size_t n = 0; n < v.places.size(); ++n)
      if (v.places[n].node == r.node)
        v.snapshot.reservations.push_back(
            {.node = static_cast<int>(n), .from = r.from, .until = r.until, .team = r.team, .name = id});
  return v;
}

int schedule(Change& c, const policy::PolicyOptions& options) {
  const View v = view_of(c.state, c.now);
  int begun = 0;
  c.state.waits.clear();
  for (const policy::Decision& d : policy::decide(v.snapshot, c.now, options)) {
    switch (d.kind) {
      case policy::Decision::Kind::start: {
        std::vector<Attempt::Part> parts;
        for (const auto& part : d.placement.parts) {
          const View::Place& place = v.places[part.node];
          Attempt::Part& p = parts.emplace_back();
          p.node = place.node;
          for (const int n : part.devices) p.devices.push_back(place.devices[n]);
        }
        const Node& node = c.state.nodes.at(parts[0].node);
        Job& job = c.state.jobs.edit(d.job);
        job.pool = node.pool.empty() ? node.name : node.pool;
        begin_attempt(c, d.job, job.spec->accepted[d.placement.alternative].chip,
                      d.placement.alternative, std::move(parts), node.executor,
                      str(node.runs, "/", job.team, "/", shown_id(job)));
        ++begun;
        break;
      }
      case policy::Decision::Kind::preempt:
        stop_attempt(c, c.state.jobs.at(d.job).attempt, StopCause::preempt, d.reason);
        break;
      case policy::Decision::Kind::stop:
        stop_attempt(c, c.state.jobs.at(d.job).attempt, StopCause::quota, d.reason);
        break;
      case policy::Decision::Kind::cancel:
        give_up(c, d.job, d.reason);
        break;
      case policy::Decision::Kind::wait:
        c.state.waits[d.job] = {d.reason, std::isfinite(d.expected) ? d.expected : 0};
        break;
    }
  }
  return begun;
}

}  // namespace wellspring::cluster
