// Routes of jobs.

#include <algorithm>
#include <climits>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/text.h"
#include "base/time.h"
#include "cluster/controller/api.h"
#include "cluster/controller/possible.h"
#include "cluster/state/fields.h"

namespace wellspring::cluster {

Json attempt_row(const Attempt& a) {
  Json out = entity_json(a);
  out.erase("token");  // who has it could write into the run folder
  return out;
}

static int ready_copies(const State& state, const Job& service) {
  int ready = 0;
  for (size_t i = 0; i < element_count(*service.spec); ++i) {
    const Job* copy = state.jobs.find(service.id + 1 + static_cast<JobId>(i));
    const Attempt* a = copy && active(copy->state) ? state.attempts.find(copy->attempt) : nullptr;
    ready += a && a->ready;
  }
  return ready;
}

Json job_row(const State& state, const Job& job) {
  const JobSpec& spec = *job.spec;
  const JobState shown = shown_state(state, job);
  const bool array = !job.array && element_count(spec);
  Json out = {{"id", shown_id(job)}, {"name", spec.name},   {"team", job.team},
              {"user", job.user},    {"kind", spec.kind},   {"queue", spec.queue},
              {"priority", spec.priority}, {"state", name_of(shown)}, {"submitted", job.submitted}};
  if (!spec.project.empty()) out["project"] = spec.project;
  int alternative = 0;
  if (const Attempt* a = state.attempts.find(job.attempt)) {
    alternative = a->alternative;
    if (active(job.state)) {
      Json& nodes = out["on"] = Json::array();
      for (const auto& part : a->parts) nodes.push_back(part.node);
      if (spec.kind == "service") out["ready"] = a->ready;
    }
  }
  if (!spec.accepted.empty()) {
    const Resources& r = spec.accepted[alternative];
    out["chip"] = r.chip, out["nodes"] = r.nodes, out["count"] = r.count;
  }
  std::string reason = job.reason;
  double expected = 0;
  if (shown == JobState::queued) {
    JobId first = job.id;
    if (array)
      if (const auto it = state.waiting().find(job.id); it != state.waiting().end())
        first = *it->second.begin();
    if (const auto it = state.waits.find(first); it != state.waits.end()) {
      reason = reason.empty() || reason == it->second.reason ? it->second.reason : str(it->second.reason, " (", reason, ")");
      expected = it->second.expected;
    } else if (reason.empty()) {
      reason = "waits behind others";
    }
  } else if (shown == JobState::held) {
    reason = "held; `wellspring job release` lets it go";
  }
  if (!reason.empty()) out["reason"] = reason;
  if (expected) out["expected"] = expected;
  if (job.started) out["started"] = job.started;
  if (job.ended) out["ended"] = job.ended;
  if (job.exit_status >= 0) out["exit_status"] = job.exit_status;
  if (job.attempts) out["attempts"] = job.attempts;
  if (job.restarts) out["restarts"] = job.restarts;
  if (array) {
    Json counts = {{"elements", element_count(spec)}};
    const auto& n = state.elements(job.id);
    for (int s = 0; s < 8; ++s)
      if (n[s]) counts[name_of(static_cast<JobState>(s))] = n[s];
    out["array"] = std::move(counts);
    if (spec.kind == "service") out["copies_ready"] = ready_copies(state, job);
  }
  return out;
}

const Job& job_for(const State& state, const Call& call, bool change) {
  const std::string id(call.request.part("id"));
  const Job* job = find_job(state, id);
  if (!job) throw ApiError(404, str("there is no job ", cut_to_width(utf8_repair(id), 40)));
  check_team(call.caller, job->team);
  if (change && rank_of_role(call.caller.role) < 2)
    throw ApiError(403, "a viewer changes nothing");
  return *job;
}

namespace {

bool under(const std::string& root, const std::string& path) {
  return starts_with(path, root) &&
         (path.size() == root.size() || ends_with(root, "/") || path[root.size()] == '/');
}

void check_roots(const Team& team, const JobSpec& spec) {
  for (const Mount& m : spec.mounts)
    if (std::ranges::none_of(team.roots, [&](const auto& r) { return under(r, m.source); }))
      throw ApiError(403, str("mounts: team ", spec.team, " may not use ", m.source,
                              team.roots.empty() ? "; it has no allowed roots"
                                                 : str("; its roots are ", wellspring::join(team.roots, ", "))));
}

// What waits is kept in memory: no team may fill it.
void check_room(const State& state, const JobSpec& spec, int64_t most) {
  const auto fresh = static_cast<int64_t>(std::max<size_t>(1, spec.array.size()));
  if (static_cast<int64_t>(state.waiting_count()) + fresh <= most) return;
  int64_t own = 0;
  for (const auto& [group, ids] : state.waiting())
    if (state.jobs.at(group).team == spec.team) own += static_cast<int64_t>(ids.size());
  if (own + fresh > most)
    throw ApiError(409, str("team ", spec.team, " has ", own, " jobs that wait: at most ", most,
                            " with these may (most_jobs of the controller's configuration)"));
}

void submit_job(Call& call) {
  JobSpec spec = call.controller.checked(spec_from_json(call.body(), "job"), call.caller);
  const std::string user = call.caller.user;
  JobId id = 0;
  call.controller.core().call([&](Change& c) {
    check_room(c.state, spec, call.controller.options().most_jobs);
    id = submit(c, spec, user);
  });
  call.outcome = str("job ", id);
  call.answer({{"id", str(id)}}, 201);
}

// Of a job, or of the elements of an array that may run at once: where and when they would start with
// one of the alternatives alone, so that all can be compared.
Json plan_row(const State& state, View& v, const Job& job, size_t alternative, double now) {
  const JobSpec& spec = *job.spec;
  const Resources& r = spec.accepted[alternative];
  Json row = {{"chip", r.chip}, {"nodes", r.nodes}, {"count", r.count}};
  if (const auto never = never_runs(state, spec, alternative)) {
    row["start"] = "never", row["reason"] = never->why;
    return row;
  }
  size_t copies = std::max<size_t>(1, element_count(spec));
  if (spec.array_at_once) copies = std::min(copies, static_cast<size_t>(spec.array_at_once));
  size_t devices = 1;
  for (const policy::Node& n : v.snapshot.nodes) devices += n.holders.size();
  policy::Waiting one = waiting_job(state, job);
  one.accepted = {one.accepted[alternative]};
  const size_t others = v.snapshot.waiting.size();
  for (size_t i = 0; i < std::min(copies, devices); ++i, ++one.id) v.snapshot.waiting.push_back(one);
  size_t begin = 0, preempted = 0;
  std::set<std::string> on;
  for (const policy::Decision& d : policy::decide(v.snapshot, now)) {
    if (d.kind == policy::Decision::Kind::preempt && d.sake >= job.id) ++preempted;
    if (d.job < job.id) continue;
    if (d.kind == policy::Decision::Kind::start) {
      ++begin;
      for (const auto& part : d.placement.parts) on.insert(v.places[part.node].node);
    } else if (d.job == job.id) {
      row["start"] = d.expected == policy::kNever ? "unknown" : "later";
      if (d.expected != policy::kNever) row["expected"] = d.expected;
      row["reason"] = d.reason;
    }
  }
  v.snapshot.waiting.resize(others);
  if (begin) row["start"] = "now", row["on"] = on;
  if (element_count(spec)) row["begin"] = begin;
  if (preempted) row["preempts"] = preempted;
  return row;
}

void plan_job(Call& call) {
  const JobSpec spec = call.controller.checked(spec_from_json(call.body(), "job"), call.caller);
  const double now = call.controller.core().now();
  Json out = {{"spec", to_json(spec)}};
  if (!spec.array.empty()) out["elements"] = spec.array.size();
  if (spec.array_at_once) out["at_once"] = spec.array_at_once;
  if (spec.kind == "service") out["replicas"] = spec.service.replicas;
  out["plan"] = call.controller.core().read([&](const State& state) {
    Json rows = Json::array();
    View v = view_of(state, now);
    Job job;
    job.id = state.cluster.at("cluster").next_job;
    job.team = spec.team, job.submitted = now;
    job.not_before = spec.not_before;
    job.spec = std::make_shared<const JobSpec>(spec);
    for (size_t a = 0; a < spec.accepted.size(); ++a) rows.push_back(plan_row(state, v, job, a, now));
    return rows;
  });
  call.answer(out);
}

// ApiError 400 unless these are states.
void check_states(const char* what, const std::string& wanted) {
  std::vector<std::string> known = {"all", "active"};
  for (int s = 0; s < 8; ++s) known.emplace_back(name_of(static_cast<JobState>(s)));
  for (const std::string& one : split(wanted, ','))
    if (!one.empty() && std::ranges::find(known, one) == known.end())
      throw ApiError(400, str(what, ": '", cut_to_width(utf8_repair(one), 40), "' is no state; there are: ", wellspring::join(known, ", ")));
}

bool in_state(JobState state, const std::string& wanted) {
  if (wanted.empty() || wanted == "all") return true;
  for (const std::string& one : split(wanted, ','))
    if (one == name_of(state) || (one == "active" && !ended(state))) return true;
  return false;
}

void list_jobs(Call& call) {
  const std::string state = call.parameter("state"), team = call.parameter("team");
  const std::string user = call.parameter("user"), name = call.parameter("name"), project = call.parameter("project");
  check_states("state", state);
  const std::string order = call.parameter("order", "newest");
  if (order != "newest" && order != "oldest") throw ApiError(400, "order: newest or oldest");
  const int64_t limit = call.number("limit", 50, 1, 1000);
  const int64_t before = call.number("before", INT64_MAX, 0, INT64_MAX);
  const int64_t after = call.number("after", 0, 0, INT64_MAX - 1);
  call.answer(call.controller.core().read([&](const State& s) {
    Json rows = Json::array();
    JobId next = 0;
    // False when the page is full.
    const auto take = [&](const Job& job) {
      if (!call.caller.admin() && job.team != call.caller.team) return true;
      if ((!team.empty() && job.team != team) || (!user.empty() && job.user != user) ||
          (!project.empty() && job.spec->project != project) ||
          (!name.empty() && job.spec->name.find(name) == std::string::npos) ||
          !in_state(shown_state(s, job), state))
        return true;
      if (static_cast<int64_t>(rows.size()) == limit) {
        next = job.id;
        return false;
      }
      rows.push_back(job_row(s, job));
      return true;
    };
    const auto& jobs = s.jobs.rows();
    if (order == "oldest") {
      for (auto it = jobs.upper_bound(after); it != jobs.end() && it->first < before;) {
        const Job& job = it->second;  // elements follow their array
        if (job.array) {
          ++it;
          continue;
        }
        if (!take(job)) break;
        it = job.spec->array.empty() ? std::next(it)
                                     : jobs.upper_bound(job.id + static_cast<JobId>(job.spec->array.size()));
      }
    } else {
      auto it = jobs.lower_bound(before);
      while (it != jobs.begin() && (--it)->first > after) {
        const Job& job = it->second;
        if (job.array) {  // on to its array's first element
          it = jobs.find(job.array + 1);
          if (it == jobs.end()) break;
          continue;
        }
        if (!take(job)) break;
      }
    }
    Json out = {{"jobs", std::move(rows)}, {"version", call.controller.core().version()}};
    if (next) out[order == "oldest" ? "after" : "before"] = order == "oldest" ? next - 1 : next + 1;
    return out;
  }));
}

void show_job(Call& call) {
  std::optional<Attempt> newest;
  std::string user;
  Json out = call.controller.core().read([&](const State& s) {
    const Job& job = job_for(s, call, false);
    Json row = job_row(s, job);
    JobSpec spec = *job.spec;
    row["spec"] = to_json(spec);
    Json& attempts = row["history"] = Json::array();
    for (const Attempt* a : s.attempts_of(job.id)) attempts.push_back(attempt_row(*a));
    if (const Attempt* a = s.attempts.find(job.attempt)) {
      row["run_folder"] = a->run_folder;
      newest = *a;
      if (const Team* t = s.teams.find(job.team)) user = t->system_user;
    }
    if (!job.array && element_count(spec)) {
      const int64_t limit = call.number("elements", 100, 0, 100000);
      const std::string wanted = call.parameter("element_state");
      check_states("element_state", wanted);
      Json& rows = row["elements"] = Json::array();
      const auto size = static_cast<int64_t>(element_count(spec));
      for (int64_t i = call.number("from", 0, 0, INT_MAX); i < size; ++i) {
        const Job& e = s.jobs.at(job.id + 1 + i);
        if (!in_state(e.state, wanted)) continue;
        if (static_cast<int64_t>(rows.size()) == limit) {
          row["elements_from"] = i;
          break;
        }
        Json one = {{"id", shown_id(e)}, {"state", name_of(e.state)}};
        if (e.exit_status >= 0) one["exit_status"] = e.exit_status;
        rows.push_back(std::move(one));
      }
    }
    return row;
  });
  if (newest) {
    try {
      const Json progress = call.controller.ask_run(*newest, user, "progress", {{"attempt", newest->number}}, 2);
      if (!progress.empty()) out["progress"] = progress;
    } catch (const Error&) {
      // Its node is away: the state alone is shown.
    }
  }
  call.answer(out);
}

void metrics_of_job(Call& call) {
  std::optional<Attempt> newest;
  std::string user;
  call.controller.core().read([&](const State& s) {
    const Job& job = job_for(s, call, false);
    if (const Attempt* a = s.attempts.find(job.attempt)) newest = *a;
    if (const Team* t = s.teams.find(job.team)) user = t->system_user;
  });
  if (!newest) throw ApiError(404, "the job has not run yet");
  call.answer(call.controller.ask_run(*newest, user, "curve", {{"points", call.number("points", 500, 2, 5000)}}, 10));
}

template <class F>
auto verb(F f) {
  return [f](Call& call) {
    JobId id = 0;
    call.controller.core().call([&](Change& c) {
      id = job_for(c.state, call, true).id;
      f(c, id, call);
    });
    call.answer(call.controller.core().read(
        [&](const State& s) { return job_row(s, s.jobs.at(id)); }));
  };
}

// Whose archive a request means, by name.
std::pair<std::string, std::string> archive_of(const Call& call) {
  const std::string hash = call.part("hash");
  if (!is_archive_name(hash)) throw ApiError(400, "an archive is named by its SHA-256, 64 hexadecimal digits");
  const std::string team = call.caller.admin() ? call.parameter("team", "default") : call.caller.team;
  check_name("team", team);
  return {team, hash};
}

void put_blob(Call& call) {
  const auto [team, hash] = archive_of(call);
  call.controller.core().read([&, team = team](const State& s) {
    if (!s.teams.find(team)) throw ApiError(404, str("there is no team ", team));
  });
  Archives& archives = call.controller.archives();
  if (archives.have(team, hash)) return call.answer({{"have", true}});
  const auto size = static_cast<int64_t>(call.request.body.size());
  const bool whole = archives.take(team, hash, call.caller.token, call.number("offset", 0, 0, INT64_MAX),
                                   call.number("total", size, 0, INT64_MAX), call.request.body);
  call.answer({{"have", whole}}, whole ? 201 : 200);
}

}  // namespace

JobSpec Controller::checked(JobSpec spec, const Caller& caller) {
  if (spec.team.empty()) spec.team = caller.team.empty() ? "default" : caller.team;
  if (spec.name.empty()) spec.name = "job";
  check_team(caller, spec.team);
  if (const std::string host = near_host(spec.notify, options_.notify_allowed); !host.empty())
    throw ApiError(400, str("notify: ", host, " is on the controller's machine or its link: an administrator may allow it (notify.allow)"));
  if (spec.migrate) throw ApiError(400, "migrate: moving to other chips is not built yet");
  core_->read([&](const State& s) {
    if (!s.teams.find(spec.team)) throw ApiError(400, str("team: there is no team ", spec.team));
    const Queue* queue = s.queues.find(spec.queue);
    if (!queue) {
      std::vector<std::string> names;
      for (const auto& [name, q] : s.queues.rows()) names.push_back(name);
      throw ApiError(400, str("queue: there is no queue ", spec.queue, "; there are: ", wellspring::join(names, ", ")));
    }
    if (!queue->teams.empty() && std::ranges::find(queue->teams, spec.team) == queue->teams.end())
      throw ApiError(403, str("queue: team ", spec.team, " may not use queue ", spec.queue));
    if (spec.priority > queue->max_priority)
      throw ApiError(400, str("priority: queue ", spec.queue, " takes jobs of priority ", queue->max_priority, " at most"));
    check_roots(s.teams.at(spec.team), spec);
    settle_request(s, options_.chips, spec);
    for (const SecretUse& use : spec.secrets)
      if (!s.secrets.find(str(spec.team, "/", use.name)))
        throw ApiError(400, str("secrets: team ", spec.team, " has no secret ", use.name,
                                " (wellspring cluster secret set)"));
    for (const DependsOn& d : spec.after) {
      const Job* job = s.jobs.find(d.job);
      if (!job || job->array) throw ApiError(400, str("after: there is no job ", d.job));
      check_team(caller, job->team);
    }
  });
  if (!spec.snapshot.empty() && !archives_->have(spec.team, spec.snapshot))
    throw ApiError(400, "workdir: its snapshot has not been uploaded");
  return spec;
}

void add_job_routes(std::vector<Route>& r) {
  r.push_back({"POST", "/jobs", "member", "submit a job: the JSON form of a job file", {}, submit_job, true, {{"", "job", ""}}});
  r.push_back({"POST", "/plan", "viewer", "where and when a job would run, without submitting it", {}, plan_job, false, {{"", "job", ""}}});
  r.push_back({"GET", "/jobs", "viewer", "jobs, page by page",
               {{"state", "active, all or states with commas between"}, {"team", "of this team"}, {"user", "of this user"},
                {"name", "part of the name"}, {"limit", "at most so many (50)"}, {"before", "older than this id"},
                {"after", "newer than this id"}, {"order", "newest (first) or oldest"}},
               list_jobs});
  r.push_back({"GET", "/jobs/{id}", "viewer", "one job: its description, attempts and progress",
               {{"elements", "of an array, at most so many (100)"}, {"from", "beginning with this one (0)"},
                {"element_state", "only elements in this state"}}, show_job});
  add_log_routes(r);
  r.push_back({"GET", "/jobs/{id}/curve", "viewer", "what a training has recorded, thinned out",
               {{"points", "at most so many (500)"}}, metrics_of_job});
  r.push_back({"POST", "/jobs/{id}/cancel", "member", "end a job", {},
               verb([](Change& c, JobId id, Call& call) { cancel(c, id, call.caller.user); }), true});
  r.push_back({"POST", "/jobs/{id}/hold", "member", "do not start it until it is released", {},
               verb([](Change& c, JobId id, Call&) { hold(c, id); }), true});
  r.push_back({"POST", "/jobs/{id}/release", "member", "let a held job go", {},
               verb([](Change& c, JobId id, Call&) { release(c, id); }), true});
  r.push_back({"POST", "/jobs/{id}/retry", "member", "a job that failed or was cancelled waits again", {},
               verb([](Change& c, JobId id, Call&) {
                 const Job& job = c.state.jobs.at(id);
                 if (!c.state.teams.find(job.team)) throw ApiError(409, str("there is no team ", job.team, " any more"));
                 if (!c.state.queues.find(job.spec->queue)) throw ApiError(409, str("there is no queue ", job.spec->queue, " any more"));
                 retry(c, id);
               }), true});
  r.push_back({"PUT", "/blobs/{hash}", "member", "upload the archive of a working folder",
               {{"offset", "where this part begins (0)"}, {"total", "bytes of the whole (of this part)"},
                {"team", "for an admin: of which team"}},
               put_blob, false, {{"", "bytes", ""}}});
  r.push_back({"GET", "/blobs/{hash}", "member", "whether an archive is there", {{"team", "for an admin"}},
               [](Call& call) {
                 const auto [team, hash] = archive_of(call);
                 call.answer({{"have", call.controller.archives().have(team, hash)}});
               }});
}

}  // namespace wellspring::cluster
