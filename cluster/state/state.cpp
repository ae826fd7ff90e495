#include "cluster/state/state.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "cluster/state/transitions.h"

namespace wellspring::cluster {
namespace {

bool is_waiting(const Job& job) {
  return (job.state == JobState::queued || job.state == JobState::held) &&
         (job.array || !element_count(*job.spec));
}
JobId group_of(const Job& job) { return job.array ? job.array : job.id; }
bool is_queued(const Job& job) { return job.state == JobState::queued && is_waiting(job); }

// All of a job that decides where and whether it may start, beside its age.
std::string shape_of(const Job& job) {
  const JobSpec& spec = *job.spec;
  std::string out = str(job.team, "\n", spec.queue, "\n", spec.priority, "\n", job.pool, "\n",
                        spec.time_limit ? spec.time_limit + spec.checkpoint.grace : 0, " ", spec.checkpoint.grace);
  // What it waits for, or how many of it may run, is its own.
  if (!spec.after.empty() || spec.array_at_once) append(out, str("\n", group_of(job)));
  for (const Resources& r : spec.accepted)
    append(out, str("\n", r.chip, " ", r.nodes, " ", r.count, " ", r.memory_mb));
  for (const std::string& need : needs_of(spec)) append(out, str("\n/", need));
  return out;
}

}  // namespace

const char* name_of(JobState state) {
  static constexpr const char* kNames[] = {"queued",   "held",      "starting", "running",
                                           "stopping", "succeeded", "failed",   "cancelled"};
  return kNames[static_cast<int>(state)];
}

const char* name_of(AttemptState state) {
  static constexpr const char* kNames[] = {"starting", "running", "stopping", "ended"};
  return kNames[static_cast<int>(state)];
}

const char* name_of(StopCause cause) {
  static constexpr const char* kNames[] = {"none",       "cancel", "preempt",  "drain",
                                           "time_limit", "lost",   "replaced", "failed_part",
                                           "node_fault", "quota"};
  return kNames[static_cast<int>(cause)];
}

void State::index(const Job* before, const Job* now) {
  const Job& job = now ? *now : *before;
  const bool waited = before && is_waiting(*before), waits_now = now && is_waiting(*now);
  if (waited != waits_now) {
    auto& group = waiting_[group_of(job)];
    if (waits_now)
      group.insert(job.id), ++waiting_count_;
    else
      group.erase(job.id), --waiting_count_;
    if (group.empty()) waiting_.erase(group_of(job));
  }
  const bool was_queued = before && is_queued(*before), is_queued_now = now && is_queued(*now);
  if (was_queued && !(is_queued_now && now->pool == before->pool)) {
    const auto it = queued_alike_.find(shape_of(*before));
    it->second.erase(job.id);
    if (it->second.empty()) queued_alike_.erase(it);
  }
  if (is_queued_now && !(was_queued && now->pool == before->pool))
    queued_alike_[shape_of(*now)].insert(job.id);
  if (job.array) {
    Counts& counts = elements_[job.array];
    if (before) --counts[static_cast<int>(before->state)];
    if (now) ++counts[static_cast<int>(now->state)];
    if (!now && counts == Counts{}) elements_.erase(job.array);
  }
  if (!before != !now && !job.array)
    for (const DependsOn& d : job.spec->after) {
      if (now)
        dependants_[d.job].insert(job.id);
      else if (auto it = dependants_.find(d.job); it != dependants_.end()) {
        it->second.erase(job.id);
        if (it->second.empty()) dependants_.erase(it);
      }
    }
  if (!now) waits.erase(job.id);
}

void State::index(const Attempt* before, const Attempt* now) {
  const bool was = before && before->state != AttemptState::ended;
  const bool is = now && now->state != AttemptState::ended;
  const Attempt& a = now ? *now : *before;
  if (was != is) {
    if (is)
      active_.insert(a.serial);
    else
      active_.erase(a.serial);
  }
  if (was)
    for (const auto& part : before->parts) active_on_[part.node].erase(a.serial);
  if (is)
    for (const auto& part : now->parts) active_on_[part.node].insert(a.serial);
  if (!before) attempts_of_[a.job].insert(a.serial);
  if (!now) {
    attempts_of_[a.job].erase(a.serial);
    if (attempts_of_[a.job].empty()) attempts_of_.erase(a.job);
  }
}

const std::set<int64_t>& State::active_on(const std::string& node) const {
  static const std::set<int64_t> none;
  const auto it = active_on_.find(node);
  return it == active_on_.end() ? none : it->second;
}

const State::Counts& State::elements(JobId array) const {
  static const Counts none{};
  const auto it = elements_.find(array);
  return it == elements_.end() ? none : it->second;
}

std::vector<const Attempt*> State::attempts_of(JobId job) const {
  std::vector<const Attempt*> out;
  if (const auto it = attempts_of_.find(job); it != attempts_of_.end())
    for (const int64_t serial : it->second) out.push_back(&attempts.at(serial));
  return out;
}

const std::set<JobId>& State::dependants(JobId job) const {
  static const std::set<JobId> none;
  const auto it = dependants_.find(job);
  return it == dependants_.end() ? none : it->second;
}

void State::keep_command() {
  each_table([&](const char*, auto& table) {
    table.keep_command([&](const auto&, const auto* before, const auto* now) {
      if constexpr (requires { index(before, now); }) index(before, now);
    });
  });
}

void State::undo_command() {
  each_table([](const char*, auto& table) { table.undo_command(); });
}

void State::keep_batch() {
  each_table([](const char*, auto& table) { table.keep_batch(); });
}

void State::undo_batch() {
  undo_command();
  // What follows from rows goes back with them.
  const auto back = [&](auto& table) {
    table.each_before([&](const auto&, const auto* before, const auto* now) {
      if (before || now) index(now, before);
    });
  };
  back(attempts);
  back(jobs);
  each_table([](const char*, auto& table) { table.undo_batch(); });
}

void State::loaded() {
  std::vector<Job> elements;
  for (const auto& [id, job] : jobs.rows()) {
    if (job.array) continue;
    for (size_t i = 0; i < element_count(*job.spec); ++i) {
      const JobId element = id + 1 + static_cast<JobId>(i);
      const Job* there = jobs.find(element);
      if (there && there->array == id) continue;
      Job fresh = job;
      fresh.id = element, fresh.array = id, fresh.index = element_index(*job.spec, i);
      elements.push_back(std::move(fresh));
    }
  }
  for (Job& job : elements) jobs.load(job.id, std::move(job));
  for (const auto& [id, job] : jobs.rows()) index(nullptr, &job);
  for (const auto& [serial, attempt] : attempts.rows()) index(nullptr, &attempt);
}

JobState state_of_array(const State::Counts& counts) {
  const auto n = [&](JobState s) { return counts[static_cast<int>(s)]; };
  if (n(JobState::running)) return JobState::running;
  if (n(JobState::starting)) return JobState::starting;
  if (n(JobState::stopping)) return JobState::stopping;
  if (n(JobState::queued)) return n(JobState::succeeded) ? JobState::running : JobState::queued;
  if (n(JobState::held)) return JobState::held;
  if (n(JobState::failed)) return JobState::failed;
  return n(JobState::cancelled) ? JobState::cancelled : JobState::succeeded;
}

JobState shown_state(const State& state, const Job& job) {
  return job.array || !element_count(*job.spec) ? job.state
                                               : state_of_array(state.elements(job.id));
}

std::string shown_id(const Job& job) {
  return job.array ? str(job.array, "_", job.index) : str(job.id);
}

const Job* find_job(const State& state, const std::string& shown) {
  const size_t bar = shown.find('_');
  const auto id = parse_int(shown.substr(0, bar));
  if (!id) return nullptr;
  const Job* job = state.jobs.find(*id);
  if (!job || job->array) return nullptr;
  if (bar == std::string::npos) return job;
  const auto index = parse_int(shown.substr(bar + 1));
  if (!index) return nullptr;
  const std::vector<int>& array = job->spec->array;
  if (array.empty())
    return *index >= 0 && *index < static_cast<int64_t>(element_count(*job->spec))
               ? state.jobs.find(*id + 1 + *index)
               : nullptr;
  const auto it = std::lower_bound(array.begin(), array.end(), *index);
  if (it == array.end() || *it != *index) return nullptr;
  return state.jobs.find(*id + 1 + (it - array.begin()));
}

}  // namespace wellspring::cluster
