// What happens to jobs and attempts.

#include <algorithm>
#include <cmath>

#include "base/error.h"
#include "base/text.h"
#include "base/time.h"
#include "cluster/state/transitions.h"

namespace wellspring::cluster {
namespace {

constexpr int kTryAgain = 75;

void job_event(Change& c, const Job& job, const std::string& text) {
  if (!job.array) note(c, "job", job.id, "", text);
}

// Runs f on a job, or on the elements of an array.
template <class F>
int each_job(Change& c, JobId id, F&& f) {
  const Job* job = c.state.jobs.find(id);
  WS_CHECK(job, "no such job");
  const size_t elements = job->array ? 0 : element_count(*job->spec);
  if (!elements) return f(*job) ? 1 : 0;
  int done = 0;
  for (size_t i = 0; i < elements; ++i)
    if (const Job* e = c.state.jobs.find(id + 1 + static_cast<JobId>(i))) done += f(*e) ? 1 : 0;
  return done;
}

void finish(Change& c, Job& job, JobState state, const std::string& reason) {
  job.state = state;
  job.reason = reason;
  job.ended = c.now;
  c.effects.finished.push_back(job.id);
  job_event(c, job, reason.empty() ? name_of(state) : str(name_of(state), ": ", reason));
}

void requeue(Change& c, Job& job, const std::string& reason, double wait) {
  job.state = job.held ? JobState::held : JobState::queued;
  job.reason = reason;
  job.not_before = c.now + wait;
  job_event(c, job, str("waits again: ", reason));
}

double backoff(const RestartPolicy& p, int restarts) {
  return std::min(p.most_backoff, p.backoff * std::pow(2.0, std::max(0, restarts - 1)));
}

// What becomes of the job of an attempt that has ended.
void after_attempt(Change& c, const Attempt& a) {
  Job& job = c.state.jobs.edit(a.job);
  const JobSpec& spec = *job.spec;
  job.exit_status = a.exit_status;
  const bool newer_checkpoint = a.checkpoint > job.checkpoint;
  job.checkpoint = std::max(job.checkpoint, a.checkpoint);
  const std::string reason = a.reason.empty() ? str("exit status ", a.exit_status) : a.reason;
  const bool service = spec.kind == "service";
  switch (a.cause) {
    case StopCause::cancel:
      return finish(c, job, JobState::cancelled, job.reason);
    case StopCause::time_limit:
      return finish(c, job, JobState::failed, a.reason);
    case StopCause::preempt:
    case StopCause::drain:
    case StopCause::quota:
    case StopCause::replaced:
      if (a.exit_status == 0 && !service) return finish(c, job, JobState::succeeded, "");
      return requeue(c, job, a.reason, 0);
    case StopCause::lost:
      return requeue(c, job, a.reason, 0);
    case StopCause::node_fault: {
      // It waits for ever, but does not ask a broken node without a pause.
      int times = 0;
      for (const Attempt* before : c.state.attempts_of(job.id))
        times = before->cause == StopCause::node_fault ? times + 1 : 0;
      return requeue(c, job, a.reason, backoff(spec.restart, times));
    }
    case StopCause::none:
    case StopCause::failed_part:
      break;
  }
  if (a.exit_status == 0 && !service) return finish(c, job, JobState::succeeded, "");
  const bool listed = std::ranges::find(spec.restart.on_exit, a.exit_status) !=
                      spec.restart.on_exit.end();
  if (listed) return requeue(c, job, reason, spec.restart.backoff);
  if (a.exit_status == kTryAgain && newer_checkpoint) {  // it got on
    job.restarts = 0;
    return requeue(c, job, str(reason, ", with a newer checkpoint"), spec.restart.backoff);
  }
  const int most = service || a.exit_status == kTryAgain ? std::max(spec.restart.most, 5)
                                                         : spec.restart.most;
  // A service that ran for a while begins its count anew.
  if (service && a.started && a.ended - a.started > spec.restart.most_backoff) job.restarts = 0;
  if (job.restarts < most || service) {
    ++job.restarts;
    return requeue(c, job, str(reason, ", restart ", job.restarts, service ? "" : str(" of ", most)),
                   backoff(spec.restart, job.restarts));
  }
  finish(c, job, JobState::failed, reason);
}

// Device-seconds go to their months, and to the team's share.
void charge(Change& c, const Attempt& a) {
  const Job& job = c.state.jobs.at(a.job);
  size_t devices = 0;
  for (const auto& part : a.parts) devices += part.devices.size();
  const auto add = [&](const std::string& month, double seconds, int attempts) {
    const Usage row = {.team = job.team, .user = job.user, .project = job.spec->project, .chip = a.chip, .month = month};
    const std::string key = usage_key(row);
    if (!c.state.usage.find(key)) c.state.usage.put(key, row);
    Usage& u = c.state.usage.edit(key);
    u.device_seconds += seconds * static_cast<double>(devices);
    u.attempts += attempts;
  };
  double from = a.created;
  for (double next; (next = month_after(from)) <= a.ended; from = next)  // each month has its own part
    add(month_of(from), next - from, 0);
  add(month_of(a.ended), std::max(0.0, a.ended - from), 1);
  if (!c.state.teams.find(job.team)) return;
  Team& team = c.state.teams.edit(job.team);
  team.usage = team.usage * std::exp2(-(c.now - team.usage_at) / kShareHalfLife) +
               (a.ended - a.created) * static_cast<double>(devices) / 3600;
  team.usage_at = c.now;
}

void end_if_done(Change& c, int64_t serial) {
  const Attempt& now = c.state.attempts.at(serial);
  for (const auto& part : now.parts)
    if (part.state != AttemptState::ended) return;
  Attempt& a = c.state.attempts.edit(serial);
  a.state = AttemptState::ended;
  a.ended = c.now;
  charge(c, a);
  after_attempt(c, a);
  c.effects.ended.push_back(serial);
}

Attempt::Part* part_of(Attempt& a, const std::string& node) {
  for (auto& part : a.parts)
    if (part.node == node) return &part;
  return nullptr;
}

// The attempt, when this part of it still goes on.
Attempt* going_on(Change& c, int64_t serial, const std::string& node) {
  const Attempt* known = c.state.attempts.find(serial);
  if (!known || known->state == AttemptState::ended) return nullptr;
  for (const auto& part : known->parts)
    if (part.node == node && part.state != AttemptState::ended)
      return &c.state.attempts.edit(serial);
  return nullptr;
}

}  // namespace

void Effects::add(Effects&& o) {
  const auto join = [](auto& to, auto& from) {
    to.insert(to.end(), std::make_move_iterator(from.begin()), std::make_move_iterator(from.end()));
  };
  join(start, o.start), join(go, o.go), join(stop, o.stop), join(ended, o.ended);
  join(finished, o.finished);
}

void note(Change& c, const std::string& kind, JobId job, const std::string& node,
          const std::string& text) {
  const int64_t number = c.state.numbers().next_event++;
  ClusterEvent e{.number = number, .at = c.now, .kind = kind, .job = job, .node = node, .text = text};
  if (const Job* j = c.state.jobs.find(job)) e.team = j->team;
  c.state.events.put(number, std::move(e));
  constexpr int64_t kKept = 5000;
  c.state.events.remove(number - kKept);
}

JobId submit(Change& c, JobSpec spec, const std::string& user) {
  Cluster& numbers = c.state.numbers();
  const JobId id = numbers.next_job;
  const size_t elements = element_count(spec);
  numbers.next_job += 1 + static_cast<JobId>(elements);
  Job job;
  job.id = id;
  job.team = spec.team, job.user = user;
  job.submitted = c.now, job.not_before = spec.not_before;
  job.spec = std::make_shared<const JobSpec>(std::move(spec));
  for (size_t i = 0; i < elements; ++i) {
    Job element = job;
    element.id = id + 1 + static_cast<JobId>(i);
    element.array = id, element.index = element_index(*job.spec, i);
    c.state.jobs.put(element.id, std::move(element));
  }
  c.state.jobs.put(id, std::move(job));
  return id;
}

void cancel(Change& c, JobId id, const std::string& who) {
  const std::string reason = str("cancelled by ", who);
  const int done = each_job(c, id, [&](const Job& job) {
    if (ended(job.state)) return false;
    Job& edit = c.state.jobs.edit(job.id);
    edit.reason = reason;
    if (active(job.state))
      stop_attempt(c, job.attempt, StopCause::cancel, reason);
    else
      finish(c, edit, JobState::cancelled, reason);
    return true;
  });
  if (!done) throw Error(Fault::usage, str("job ", id, " has ended already"));
}

void hold(Change& c, JobId id) {
  const int done = each_job(c, id, [&](const Job& job) {
    if (ended(job.state) || job.held) return false;
    Job& edit = c.state.jobs.edit(job.id);
    edit.held = true;
    if (job.state == JobState::queued) edit.state = JobState::held;
    return true;
  });
  if (!done) throw Error(Fault::usage, str("job ", id, " has ended, or is held already"));
  job_event(c, c.state.jobs.at(id), "held");
}

void release(Change& c, JobId id) {
  const int done = each_job(c, id, [&](const Job& job) {
    if (!job.held) return false;
    Job& edit = c.state.jobs.edit(job.id);
    edit.held = false;
    if (job.state == JobState::held) edit.state = JobState::queued;
    return true;
  });
  if (!done) throw Error(Fault::usage, str("job ", id, " is not held"));
  job_event(c, c.state.jobs.at(id), "released");
}

void retry(Change& c, JobId id) {
  const int done = each_job(c, id, [&](const Job& job) {
    if (job.state != JobState::failed && job.state != JobState::cancelled) return false;
    Job& edit = c.state.jobs.edit(job.id);
    edit.restarts = 0, edit.ended = 0;
    edit.notified = false;
    if (edit.array) c.state.jobs.edit(edit.array).notified = false;
    edit.held = false;
    requeue(c, edit, "tried again by hand", 0);
    return true;
  });
  if (!done)
    throw Error(Fault::usage, str("job ", id, " has neither failed nor been cancelled: ",
                                  "only such a job can be tried again"));
}

const Attempt& begin_attempt(Change& c, JobId id, const std::string& chip, int alternative,
                             std::vector<Attempt::Part> parts, const std::string& executor,
                             const std::string& run_folder) {
  Job& job = c.state.jobs.edit(id);
  WS_CHECK(job.state == JobState::queued, "only a job that waits is started");
  Attempt a;
  a.serial = c.state.numbers().next_attempt++;
  a.token = str(a.serial, "-", c.random());
  a.job = id, a.number = ++job.attempts;
  a.executor = executor, a.chip = chip, a.alternative = alternative;
  a.tasks_per_node = job.spec->accepted[alternative].tasks_per_node;
  a.parts = std::move(parts);
  a.created = c.now;
  a.run_folder = run_folder;
  job.state = JobState::starting, job.attempt = a.serial;
  job.reason.clear();
  c.effects.start.push_back(a.serial);
  return c.state.attempts.put(a.serial, std::move(a));
}

void stop_attempt(Change& c, int64_t serial, StopCause cause, const std::string& reason) {
  const Attempt* known = c.state.attempts.find(serial);
  if (!known || known->state == AttemptState::ended) return;
  const bool first = known->cause == StopCause::none || known->cause == StopCause::failed_part;
  if (!first && cause != StopCause::cancel) return;
  Attempt& a = c.state.attempts.edit(serial);
  a.cause = cause, a.reason = reason;
  a.state = AttemptState::stopping;
  if (!a.stop_sent) a.stop_sent = c.now;
  Job& job = c.state.jobs.edit(a.job);
  if (job.attempt == serial && active(job.state)) job.state = JobState::stopping;
  c.effects.stop.push_back({serial, "", job.spec->checkpoint.grace, reason});
  job_event(c, job, reason);
}

bool part_prepared(Change& c, int64_t serial, const std::string& node) {
  Attempt* a = going_on(c, serial, node);
  if (!a) return false;
  Attempt::Part* part = part_of(*a, node);
  if (part->prepared) return true;
  part->prepared = true;
  if (std::ranges::all_of(a->parts, [](const auto& p) { return p.prepared; }))
    c.effects.go.push_back(serial);
  return true;
}

bool part_running(Change& c, int64_t serial, const std::string& node) {
  Attempt* a = going_on(c, serial, node);
  if (!a) return false;
  Attempt::Part* part = part_of(*a, node);
  part->prepared = true;
  if (part->state == AttemptState::starting) part->state = AttemptState::running;
  if (a->state != AttemptState::starting ||
      std::ranges::any_of(a->parts,
                          [](const auto& p) { return p.state == AttemptState::starting; }))
    return true;
  a->state = AttemptState::running;
  a->started = c.now;
  Job& job = c.state.jobs.edit(a->job);
  if (job.state == JobState::starting) job.state = JobState::running;
  if (!job.started) job.started = c.now;
  std::vector<std::string> nodes;
  for (const auto& p : a->parts) nodes.push_back(p.node);
  job_event(c, job, str("runs on ", join(nodes, ", ")));
  return true;
}

bool part_ready(Change& c, int64_t serial, const std::string& node) {
  Attempt* a = going_on(c, serial, node);
  if (!a) return false;
  if (!a->ready) {
    a->ready = true;
    job_event(c, c.state.jobs.at(a->job), "the service answers");
  }
  return true;
}

bool part_ended(Change& c, int64_t serial, const std::string& node, const PartEnd& end) {
  Attempt* a = going_on(c, serial, node);
  if (!a) return false;
  Attempt::Part* part = part_of(*a, node);
  part->state = AttemptState::ended;
  part->status = end.status;
  part->reason = end.reason;
  a->cpu_seconds += end.cpu_seconds;
  a->peak_memory = std::max(a->peak_memory, end.peak_memory);
  a->checkpoint = std::max(a->checkpoint, end.checkpoint);
  if (!end.reached.empty()) a->reached = end.reached;
  const bool first = std::ranges::none_of(a->parts, [&](const auto& p) {
    return &p != part && p.state == AttemptState::ended && p.status != 0;
  });
  if (end.status != 0 && first) {
    a->exit_status = end.status;
    if (a->cause == StopCause::none) {
      a->reason = end.reason;
      // The machine's fault, not the job's.
      if (end.outcome == "lost") a->cause = StopCause::lost;
      if (end.outcome == "node_fault") a->cause = StopCause::node_fault;
      if (end.outcome == "time_limit") a->cause = StopCause::time_limit;
    }
    bool others = false;
    for (const auto& p : a->parts) others |= p.state != AttemptState::ended;
    if (others && a->state != AttemptState::stopping) {
      if (a->cause == StopCause::none) a->cause = StopCause::failed_part;
      a->state = AttemptState::stopping;
      a->stop_sent = c.now;
      const Job& job = c.state.jobs.at(a->job);
      if (job.state != JobState::stopping) c.state.jobs.edit(a->job).state = JobState::stopping;
      c.effects.stop.push_back(
          {serial, "", job.spec->checkpoint.grace, "another task of the job has failed"});
    }
  } else if (a->exit_status < 0) {
    a->exit_status = 0;
  }
  end_if_done(c, serial);
  return true;
}

void node_lost(Change& c, const std::string& name, const std::string& by) {
  Node& node = c.state.nodes.edit(name);
  if (!node.down || !by.empty()) {
    node.down = true;
    node.note = by.empty() ? "no word from it for longer than its lease" : str("given up by ", by);
    note(c, "node", 0, name, str("lost: ", node.note));
  }
  const std::set<int64_t> there = c.state.active_on(name);
  for (const int64_t serial : there) {
    const Attempt& a = c.state.attempts.at(serial);
    const Job& job = c.state.jobs.at(a.job);
    if (job.spec->on_lost_contact == "continue") continue;
    if (a.cause == StopCause::none)
      c.state.attempts.edit(serial).reason = str("node ", name, " was lost");
    part_ended(c, serial, name,
               {.status = 137, .outcome = "lost", .reason = str("node ", name, " was lost")});
  }
}

void drain(Change& c, const std::string& name, const std::string& text) {
  Node& node = c.state.nodes.edit(name);
  node.drained = true;
  node.note = text;
  note(c, "node", 0, name, str("drained", text.empty() ? "" : ": ", text));
  const std::set<int64_t> there = c.state.active_on(name);
  for (const int64_t serial : there)
    stop_attempt(c, serial, StopCause::drain, str("node ", name, " is being drained"));
}

void resume(Change& c, const std::string& name) {
  Node& node = c.state.nodes.edit(name);
  node.drained = false;
  node.note.clear();
  note(c, "node", 0, name, "takes jobs again");
}

void pass_time(Change& c, double keep) {
  std::vector<JobId> late, old;
  for (const auto& [group, ids] : c.state.waiting())
    if (const Job& first = c.state.jobs.at(*ids.begin());
        first.spec->deadline && c.now > first.spec->deadline)
      for (const JobId id : ids)
        if (!c.state.jobs.at(id).started) late.push_back(id);
  for (const JobId id : late)
    finish(c, c.state.jobs.edit(id), JobState::cancelled, "its deadline passed before it could start");
  for (const auto& [id, job] : c.state.jobs.rows()) {
    if (job.array || c.now - job.submitted < keep) continue;
    bool over = true;
    double last = job.ended;
    each_job(c, id, [&](const Job& j) {
      over &= ended(j.state);
      last = std::max(last, j.ended);
      return true;
    });
    if (over && c.now - last > keep && c.state.dependants(id).empty()) old.push_back(id);
  }
  for (const JobId id : old) {
    std::vector<JobId> all;
    each_job(c, id, [&](const Job& j) { return all.push_back(j.id), true; });
    if (std::ranges::find(all, id) == all.end()) all.push_back(id);
    for (const JobId j : all) {
      for (const Attempt* a : c.state.attempts_of(j)) c.state.attempts.remove(a->serial);
      c.state.jobs.remove(j);
    }
  }
}

void give_up(Change& c, JobId id, const std::string& reason) {
  finish(c, c.state.jobs.edit(id), JobState::cancelled, reason);
}

std::string usage_key(const Usage& u) { return wellspring::join({u.team, u.user, u.project, u.chip, u.month}, "/"); }

std::string month_of(double unix_time) { return format_utc(unix_time).substr(0, 7); }

double month_began(double unix_time) { return parse_utc(month_of(unix_time) + "-01T00:00:00Z"); }
double month_after(double unix_time) { return month_began(month_began(unix_time) + 32 * 86400.0); }

double used_this_month(const State& state, const std::string& team, const std::string& chip,
                       double now) {
  const std::string month = month_of(now);
  double seconds = 0;
  const double began = month_began(now);
  const std::string prefix = team + "/";
  for (auto it = state.usage.rows().lower_bound(prefix);
       it != state.usage.rows().end() && starts_with(it->first, prefix); ++it)
    if (it->second.chip == chip && it->second.month == month) seconds += it->second.device_seconds;
  for (const int64_t serial : state.active()) {
    const Attempt& a = state.attempts.at(serial);
    if (a.chip != chip || state.jobs.at(a.job).team != team) continue;
    const double from = std::max(a.created, began);
    for (const auto& part : a.parts)
      seconds += static_cast<double>(part.devices.size()) * std::max(0.0, now - from);
  }
  return seconds;
}

}  // namespace wellspring::cluster
