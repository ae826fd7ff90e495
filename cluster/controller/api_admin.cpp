// Routes of the cluster: status, nodes, queues, teams, quotas, tokens, secrets, usage.

#include <pwd.h>

#include <algorithm>
#include <cmath>

#include "base/crypto.h"
#include "base/error.h"
#include "base/text.h"
#include "base/time.h"
#include "base/version.h"
#include "cluster/controller/api.h"
#include "cluster/state/fields.h"

namespace wellspring::cluster {

Json node_row(Controller& controller, const State& state, const Node& node) {
  Json out = {{"name", node.name}, {"executor", node.executor}, {"pool", node.pool}};
  const bool connected = state.connected.contains(node.name);
  out["state"] = node.down        ? "lost"
                 : node.drained   ? "drained"
                 : connected      ? "up"
                 : node.executor == "nodes" ? "silent" : "unknown";
  if (!node.note.empty()) out["note"] = node.note;
  std::map<std::string, std::pair<int, int>> chips;  // held, all
  std::vector<bool> held(node.devices.size());
  Json jobs = Json::array();
  for (const int64_t serial : state.active_on(node.name)) {
    const Attempt& a = state.attempts.at(serial);
    jobs.push_back(shown_id(state.jobs.at(a.job)));
    for (const auto& part : a.parts)
      if (part.node == node.name && part.state != AttemptState::ended)
        for (const int d : part.devices)
          if (d < static_cast<int>(held.size())) held[d] = true;
  }
  for (size_t d = 0; d < node.devices.size(); ++d) {
    auto& [h, all] = chips[node.devices[d].chip];
    h += held[d], ++all;
  }
  Json& devices = out["devices"] = Json::array();
  for (const auto& [chip, n] : chips)
    devices.push_back({{"chip", chip}, {"held", n.first}, {"all", n.second}});
  out["jobs"] = std::move(jobs);
  out["memory_mb"] = node.memory_mb;
  out["containment"] = node.containment;
  out["switches_users"] = node.switches_users;
  if (node.single_trust) out["single_trust"] = true;
  if (!node.only_team.empty()) out["only_team"] = node.only_team;
  if (!node.mounts.empty()) out["mounts"] = node.mounts;
  out["runs"] = node.runs, out["version"] = node.version;
  const double silence = controller.nodes().silence(node.name);
  if (silence >= 0) out["silence"] = silence;
  return out;
}

namespace {

Json token_row(const Token& t) {
  Json out = entity_json(t);
  out.erase("hash");
  return out;
}

// What most jobs wait for: the commonest reasons, with the number of jobs and arrays that have each.
Json waits_by_reason(const State& s, const Caller& caller) {
  std::map<std::string_view, int> counts;
  for (const auto& [id, wait] : s.waits)
    if (const Job* job = s.jobs.find(id); job && (caller.admin() || job->team == caller.team)) ++counts[wait.reason];
  std::vector<std::pair<std::string_view, int>> rows(counts.begin(), counts.end());
  std::ranges::stable_sort(rows, std::greater(), &std::pair<std::string_view, int>::second);
  Json out = Json::array();
  for (size_t i = 0; i < std::min<size_t>(rows.size(), 8); ++i)
    out.push_back({{"reason", rows[i].first}, {"jobs", rows[i].second}});
  return out;
}

void status(Call& call) {
  Controller& c = call.controller;
  call.answer(c.core().read([&](const State& s) {
    std::map<std::string, std::array<int, 3>> chips;  // all, held, usable
    int up = 0, drained = 0;
    for (const auto& [name, node] : s.nodes.rows()) {
      const Json row = node_row(c, s, node);
      const bool usable = row["state"] == "up" || (row["state"] == "unknown" && node.executor != "nodes");
      up += usable;
      drained += row["state"] == "drained" && s.connected.contains(name);  // it is there, but takes no jobs
      for (const Json& d : row["devices"]) {
        auto& n = chips[d["chip"].get<std::string>()];
        n[0] += d["all"].get<int>(), n[1] += d["held"].get<int>();
        if (usable) n[2] += d["all"].get<int>();
      }
    }
    Json pool = Json::array();
    for (const auto& [chip, n] : chips)
      pool.push_back({{"chip", chip}, {"all", n[0]}, {"held", n[1]}, {"usable", n[2]}});
    std::map<std::string, int> counts;
    for (const auto& [id, job] : s.jobs.rows())
      if ((job.array || !element_count(*job.spec)) && (call.caller.admin() || job.team == call.caller.team))
        ++counts[name_of(job.state)];
    const Cluster& cluster = s.cluster.at("cluster");
    bool single = false;
    for (const auto& [name, node] : s.nodes.rows()) single |= node.single_trust;
    Json out = {{"id", cluster.id}, {"version", version()}, {"state", c.core().store_name()},
                {"nodes", {{"all", s.nodes.size()}, {"up", up}, {"drained", drained}}}, {"pool", pool},
                {"jobs", counts}, {"waits", waits_by_reason(s, call.caller)}, {"lease", {{"fence_after", c.options().leases.fence_after},
                                             {"lost_after", c.options().leases.lost_after}}}};
    if (single) out["single_trust"] = true;
    if (cluster.paused_until > c.core().now()) out["paused_until"] = cluster.paused_until;
    if (const std::string trouble = c.core().trouble(); !trouble.empty()) out["trouble"] = trouble;
    out["you"] = {{"user", call.caller.user}, {"team", call.caller.team}, {"role", call.caller.role}};
    return out;
  }));
}

void nodes(Call& call) {
  call.answer(call.controller.core().read([&](const State& s) {
    Json rows = Json::array();
    for (const auto& [name, node] : s.nodes.rows()) {
      Json row = node_row(call.controller, s, node);
      if (!call.caller.admin()) {  // of other teams: that devices are held, not who holds them
        Json& jobs = row["jobs"];
        std::erase_if(jobs.get_ref<Json::array_t&>(), [&](const Json& id) {
          const Job* job = find_job(s, id.get<std::string>());
          return !job || job->team != call.caller.team;
        });
        if (!node.only_team.empty() && node.only_team != call.caller.team) row["only_team"] = "another team";
      }
      rows.push_back(std::move(row));
    }
    return Json{{"nodes", rows}};
  }));
}

template <class F>
auto on_node(F f) {
  return [f](Call& call) {
    const std::string name = call.part("name");
    call.controller.core().call([&](Change& c) {
      if (!c.state.nodes.find(name)) throw ApiError(404, str("there is no node ", name));
      f(c, name, call);
    });
    call.answer({{"name", name}});
  };
}

void queues(Call& call) {
  call.answer(call.controller.core().read([&](const State& s) {
    Json rows = Json::array();
    for (const auto& [name, q] : s.queues.rows()) {
      Json row = entity_json(q);
      row["open"] = q.open;
      if (!call.caller.admin() && !q.teams.empty()) {  // whether it may use it, not who else
        row["teams"] = Json::array();
        if (std::ranges::find(q.teams, call.caller.team) != q.teams.end()) row["teams"].push_back(call.caller.team);
      }
      int waiting = 0, running = 0;
      for (const auto& [group, ids] : s.waiting())
        if (s.jobs.at(group).spec->queue == name) waiting += static_cast<int>(ids.size());
      for (const int64_t serial : s.active())
        running += s.jobs.at(s.attempts.at(serial).job).spec->queue == name;
      row["waiting"] = waiting, row["running"] = running;
      rows.push_back(std::move(row));
    }
    return Json{{"queues", rows}};
  }));
}

void put_queue(Call& call) {
  const std::string name = call.part("name");
  check_name("queue", name);
  const Json body = call.body();
  call.controller.core().call([&](Change& c) {
    if (!c.state.queues.find(name)) c.state.queues.put(name, {.name = name});
    Queue& q = c.state.queues.edit(name);
    q.priority = body.value("priority", q.priority);
    q.max_priority = body.value("max_priority", q.max_priority);
    if (q.max_priority < -kMostPriority || q.max_priority > kMostPriority)
      throw ApiError(400, str("max_priority: from -", kMostPriority, " to ", kMostPriority));
    q.open = body.value("open", q.open);
    q.teams = body.value("teams", q.teams);
    for (const std::string& team : q.teams)
      if (!c.state.teams.find(team)) throw ApiError(400, str("teams: there is no team ", team));
  });
  call.answer({{"name", name}});
}

// The first job that has not ended and for which this holds; 0: none.
template <class F>
JobId unended_job(const State& s, F holds) {
  for (const auto& [id, job] : s.jobs.rows())
    if (!job.array && !ended(shown_state(s, job)) && holds(job)) return id;
  return 0;
}

void remove_queue(Call& call) {
  const std::string name = call.part("name");
  call.controller.core().call([&](Change& c) {
    if (!c.state.queues.find(name)) throw ApiError(404, str("there is no queue ", name));
    if (name == "default") throw ApiError(409, "the queue default stays: jobs that name none go there");
    if (const JobId id = unended_job(c.state, [&](const Job& job) { return job.spec->queue == name; }))
      throw ApiError(409, str("queue ", name, " has jobs that have not ended, such as ", id));
    c.state.queues.remove(name);
  });
  call.answer({{"removed", name}});
}

Json team_row(const State& s, const Team& t, double now) {
  Json row = entity_json(t);
  row["weight"] = t.weight;
  row["usage"] = t.usage * std::exp2(-(now - t.usage_at) / kShareHalfLife);
  std::map<std::string, int> held;
  for (const int64_t serial : s.active()) {
    const Attempt& a = s.attempts.at(serial);
    if (s.jobs.at(a.job).team == t.name)
      for (const auto& part : a.parts) held[a.chip] += static_cast<int>(part.devices.size());
  }
  row["held"] = held;
  for (auto& [chip, quota] : t.quotas)
    row["quotas"][chip]["hours_used"] = used_this_month(s, t.name, chip, now) / 3600;
  return row;
}

void teams(Call& call) {
  const double now = call.controller.core().now();
  call.answer(call.controller.core().read([&](const State& s) {
    Json rows = Json::array();
    for (const auto& [name, t] : s.teams.rows())
      if (call.caller.admin() || call.caller.team == name) rows.push_back(team_row(s, t, now));
    return Json{{"teams", rows}};
  }));
}

// A limit that is not named stays; below 0: none.
Quota changed_quota(Quota quota, const std::string& chip, const Json& change) {
  if (!change.is_object()) throw ApiError(400, str("quotas.", chip, ": {devices: N, hours: H}"));
  for (const auto& [key, value] : change.items())
    if (key != "devices" && key != "hours")
      throw ApiError(400, str("quotas.", chip, ": unknown field '", key, "': a quota has devices and hours"));
  quota.devices = change.value("devices", quota.devices);
  quota.hours = change.value("hours", quota.hours);
  return quota;
}

bool known_user(const std::string& name) {
  passwd entry{}, *found = nullptr;
  std::vector<char> buffer(16 << 10);
  return ::getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found) == 0 && found;
}

void put_team(Call& call) {
  const std::string name = call.part("name");
  check_name("team", name);
  const Json body = call.body();
  call.controller.core().call([&](Change& c) {
    if (!c.state.teams.find(name)) c.state.teams.put(name, {.name = name});
    Team& t = c.state.teams.edit(name);
    t.system_user = body.value("system_user", t.system_user);
    if (t.system_user == "root") throw ApiError(400, "system_user: a team is never root");
    if (!t.system_user.empty()) check_name("system user", t.system_user);
    for (const auto& [other, team] : c.state.teams.rows())
      if (other != name && !t.system_user.empty() && team.system_user == t.system_user)
        throw ApiError(409, str("system_user: ", t.system_user, " is that of team ", other,
                                " already: teams are separate users"));
    t.weight = body.value("weight", t.weight);
    if (!(t.weight > 0 && t.weight < 1e6)) throw ApiError(400, "weight: a number above 0");
    t.roots = body.value("roots", t.roots);
    for (const std::string& root : t.roots)
      if (root.empty() || root[0] != '/' || root.find("/..") != std::string::npos)
        throw ApiError(400, str("roots: '", root, "' is not an absolute path without '..'"));
    if (const auto it = body.find("quotas"); it != body.end())
      for (const auto& [chip, q] : it->items()) {
        const std::string known = call.controller.options().chips.get(chip).name;
        const Quota quota = changed_quota(t.quotas.contains(known) ? t.quotas[known] : Quota{}, chip, q);
        if (quota.devices < 0 && quota.hours < 0)
          t.quotas.erase(known);
        else
          t.quotas[known] = quota;
      }
  });
  Json answer = {{"name", name}};
  if (const std::string user = body.value("system_user", ""); !user.empty() && !known_user(user))
    answer["warning"] = str("system_user: the controller's machine knows no user ", user, "; each node that runs jobs of the team has to");
  call.answer(answer);
}

void remove_team(Call& call) {
  const std::string name = call.part("name");
  call.controller.core().call([&](Change& c) {
    if (!c.state.teams.find(name)) throw ApiError(404, str("there is no team ", name));
    if (name == "default") throw ApiError(409, "the team default stays: jobs that name none are of it");
    if (const JobId id = unended_job(c.state, [&](const Job& job) { return job.team == name; }))
      throw ApiError(409, str("team ", name, " has jobs that have not ended, such as ", id));
    for (const auto& [id, queue] : c.state.queues.rows())
      if (std::ranges::find(queue.teams, name) != queue.teams.end())
        throw ApiError(409, str("queue ", id, " names team ", name, ": change that first"));
    std::vector<std::string> tokens, secrets, reservations;
    for (const auto& [id, t] : c.state.tokens.rows()) if (t.team == name) tokens.push_back(id);
    for (const auto& [id, secret] : c.state.secrets.rows()) if (secret.team == name) secrets.push_back(id);
    for (const auto& [id, r] : c.state.reservations.rows()) if (r.team == name) reservations.push_back(id);
    // A team of this name that is made later is another one: nothing that let in lets in there.
    for (const std::string& id : tokens) c.state.tokens.remove(id);
    for (const std::string& id : secrets) c.state.secrets.remove(id);
    for (const std::string& id : reservations) c.state.reservations.remove(id);
    c.state.teams.remove(name);
  });
  call.answer({{"removed", name}});
}

void tokens(Call& call) {
  call.answer(call.controller.core().read([&](const State& s) {
    Json rows = Json::array();
    for (const auto& [id, t] : s.tokens.rows()) if (t.role != "session") rows.push_back(token_row(t));
    return Json{{"tokens", rows}};
  }));
}

void make_a_token(Call& call) {
  const Json body = call.body();
  const std::string role = body.value("role", "member"), team = body.value("team", "default");
  const std::string user = body.value("user", "");
  const double seconds = body.value("seconds", 0.0);
  const std::string &ca = call.controller.ca(), ca_fingerprint = ca.empty() ? "" : fingerprint(ca);
  if (role == "join") {
    const double valid = seconds > 0 ? seconds : 3600;
    return call.answer({{"token", call.controller.invite(valid, body.value("note", ""))}, {"ca", ca},
                        {"fingerprint", ca_fingerprint}}, 201);
  }
  if (!rank_of_role(role)) throw ApiError(400, "role: admin, member, viewer or join");
  check_name("user", user);
  NewToken made = make_token(role, role == "admin" ? "" : team, user, call.controller.core().now(), seconds);
  made.row.note = cut_to_width(body.value("note", ""), 200);
  call.controller.core().call([&](Change& c) {
    if (role != "admin" && !c.state.teams.find(team))
      throw ApiError(400, str("team: there is no team ", team));
    c.state.tokens.put(made.row.id, made.row);
  });
  call.outcome = str("token ", made.row.id, " of ", user);
  Json out = token_row(made.row);
  out["token"] = made.text, out["fingerprint"] = ca_fingerprint;
  call.answer(out, 201);
}

void revoke_token(Call& call) {
  const std::string id = call.part("id");
  call.controller.core().call([&](Change& c) {
    if (!c.state.tokens.find(id)) throw ApiError(404, str("there is no token ", id));
    c.state.tokens.edit(id).revoked = true;
  });
  call.answer({{"id", id}, {"revoked", true}});
}

std::string team_of(const Call& call) {
  const std::string team = call.parameter("team", call.caller.team.empty() ? "default" : call.caller.team);
  check_name("team", team);
  check_team(call.caller, team);
  return team;
}

void secrets(Call& call) {
  const std::string team = team_of(call);
  call.answer(call.controller.core().read([&](const State& s) {
    Json rows = Json::array();
    for (const auto& [key, secret] : s.secrets.rows())
      if (secret.team == team) rows.push_back({{"name", secret.name}, {"changed", secret.changed}});
    return Json{{"team", team}, {"secrets", rows}};
  }));
}

void put_secret(Call& call) {
  const std::string team = team_of(call), name = call.part("name");
  check_name("secret", name);
  if (call.request.body.empty()) throw ApiError(400, "the secret is empty: its content is the body of the request (the command reads it from standard input)");
  if (call.request.body.size() > 64 << 10) throw ApiError(413, "a secret has at most 64 KiB");
  const std::string sealed = call.controller.seal_secret(team, name, call.request.body);
  call.controller.core().call([&](Change& c) {
    if (!c.state.teams.find(team)) throw ApiError(404, str("there is no team ", team));
    c.state.secrets.put(str(team, "/", name), {.team = team, .name = name, .sealed = sealed, .changed = c.now});
  });
  call.answer({{"team", team}, {"name", name}});
}

void remove_secret(Call& call) {
  const std::string key = str(team_of(call), "/", call.part("name"));
  call.controller.core().call([&](Change& c) {
    if (!c.state.secrets.find(key)) throw ApiError(404, str("there is no secret ", key));
    c.state.secrets.remove(key);
  });
  call.answer({{"removed", key}});
}

bool is_month(const std::string& text) {
  try {
    return month_of(parse_utc(text + "-01T00:00:00Z")) == text;
  } catch (const Error&) {
    return false;
  }
}

void usage(Call& call) {
  const std::string month = call.parameter("month");
  if (!month.empty() && !is_month(month)) throw ApiError(400, str("month: '", cut_to_width(utf8_repair(month), 40), "' is none; as in 2026-11"));
  const double now = call.controller.core().now();
  call.answer(call.controller.core().read([&](const State& s) {
    const double began = month_began(now);
    std::map<std::string, Usage> rows = {s.usage.rows().begin(), s.usage.rows().end()};
    for (const int64_t serial : s.active()) {  // with what runs
      const Attempt& a = s.attempts.at(serial);
      const Job& job = s.jobs.at(a.job);
      const Usage row = {.team = job.team, .user = job.user, .project = job.spec->project, .chip = a.chip, .month = month_of(now)};
      Usage& u = rows.try_emplace(usage_key(row), row).first->second;
      for (const auto& part : a.parts)
        u.device_seconds += static_cast<double>(part.devices.size()) * (now - std::max(a.created, began));
    }
    Json out = Json::array();
    for (auto& [key, u] : rows) {
      if (!month.empty() && u.month != month) continue;
      if (!call.caller.admin() && u.team != call.caller.team) continue;
      out.push_back({{"team", u.team}, {"user", u.user}, {"project", u.project}, {"chip", u.chip}, {"month", u.month},
                     {"device_hours", u.device_seconds / 3600}, {"attempts", u.attempts}});
    }
    return Json{{"usage", out}};
  }));
}

void pause(Call& call) {
  const double seconds = call.body().value("seconds", 600.0);
  if (!(seconds >= 0 && seconds <= 86400)) throw ApiError(400, "seconds: 0 to 86400");
  call.controller.core().call([&](Change& c) {
    Cluster& numbers = c.state.numbers();
    numbers.paused_until = c.now + seconds;
    numbers.longest_pause = std::max(numbers.longest_pause, numbers.paused_until);
    note(c, "cluster", 0, "", seconds > 0 ? str("leases are longer by ", human_duration(seconds)) : "leases are as ever again");
  });
  call.answer({{"paused_until", call.controller.core().now() + seconds}});
}

void put_reservation(Call& call) {
  const std::string id = call.part("id");
  check_name("reservation", id);
  const Json body = call.body();
  call.controller.core().call([&](Change& c) {
    Reservation r{.id = id, .node = body.at("node"), .team = body.at("team"), .note = body.value("note", ""),
                  .from = body.value("from", c.now), .until = body.at("until").get<double>()};
    if (!c.state.nodes.find(r.node)) throw ApiError(404, str("there is no node ", r.node));
    if (!c.state.teams.find(r.team)) throw ApiError(404, str("there is no team ", r.team));
    if (!(r.until > r.from)) throw ApiError(400, "until: after 'from'");
    c.state.reservations.put(id, r);
  });
  call.answer({{"id", id}});
}

}  // namespace

void add_admin_routes(std::vector<Route>& r) {
  r.push_back({"GET", "/health", "open", "whether the controller works", {}, [](Call& call) {
                 const std::string trouble = call.controller.core().trouble();
                 call.answer(trouble.empty() ? Json{{"status", "ok"}} : Json{{"status", "the state cannot be written"}},
                             trouble.empty() ? 200 : 503);
               }});
  r.push_back({"GET", "/metrics", "viewer", "figures in Prometheus' form", {}, [](Call& call) {
                 call.response.send(200, "text/plain; version=0.0.4",
                                    call.controller.metrics(call.caller.admin() ? std::nullopt : std::optional(call.caller.team)));
               }});
  r.push_back({"GET", "/cluster", "viewer", "the pool and its jobs in numbers; who you are", {}, status});
  r.push_back({"POST", "/cluster/pause", "admin", "leases are longer for {seconds}: for an upgrade", {}, pause, true,
               {{"seconds", "number", "from now on (600); 0 ends it"}}, true});
  r.push_back({"POST", "/cluster/backup", "admin", "write a backup now", {}, [](Call& call) {
                 const std::string path = call.controller.backup();
                 call.answer({{"path", path}}, 201);
               }, true});
  r.push_back({"GET", "/nodes", "viewer", "nodes, their devices and what runs there", {}, nodes});
  r.push_back({"POST", "/nodes/{name}/drain", "admin", "end its jobs (they run elsewhere) and give it no more", {},
               on_node([](Change& c, const std::string& name, Call& call) {
                 drain(c, name, cut_to_width(call.body().value("note", ""), 200));
               }), true, {{"note", "string", "why"}}, true});
  r.push_back({"POST", "/nodes/{name}/resume", "admin", "it takes jobs again", {},
               on_node([](Change& c, const std::string& name, Call&) { resume(c, name); }), true});
  r.push_back({"POST", "/nodes/{name}/lost", "admin", "it will not come back: its jobs run elsewhere", {},
               on_node([](Change& c, const std::string& name, Call& call) {
                 if (c.state.connected.contains(name))
                   throw ApiError(409, "the node is connected: drain it");
                 node_lost(c, name, call.caller.name());
               }), true});
  r.push_back({"DELETE", "/nodes/{name}", "admin", "forget a node that runs nothing", {},
               on_node([](Change& c, const std::string& name, Call& call) {
                 if (!c.state.active_on(name).empty()) throw ApiError(409, "it has jobs: drain it first");
                 c.state.nodes.remove(name);
                 c.state.connected.erase(name);
                 call.controller.nodes().drop(name);
               }), true});
  r.push_back({"GET", "/queues", "viewer", "queues", {}, queues});
  r.push_back({"PUT", "/queues/{name}", "admin", "make or change a queue", {}, put_queue, true,
               {{"priority", "integer", "added to those of its jobs"}, {"max_priority", "integer", "of its jobs' own"},
                {"open", "boolean", "whether it takes jobs"},
                {"teams", "array", "that may use it; empty: all"}}, true});
  r.push_back({"DELETE", "/queues/{name}", "admin", "remove a queue that no job waits in", {}, remove_queue, true});
  r.push_back({"GET", "/teams", "viewer", "teams, their quotas and what they hold", {}, teams});
  r.push_back({"PUT", "/teams/{name}", "admin", "make or change a team", {}, put_team, true,
               {{"system_user", "string", "whose rights its attempts have"}, {"weight", "number", "of its fair share"},
                {"roots", "array", "folders below which it may mount"},
                {"quotas", "object", "by chip: {devices, hours}, below 0: no limit"}}, true});
  r.push_back({"DELETE", "/teams/{name}", "admin", "remove a team without jobs, its tokens, secrets and reservations", {}, remove_team, true});
  r.push_back({"GET", "/tokens", "admin", "tokens, without their secrets", {}, tokens});
  r.push_back({"POST", "/tokens", "admin", "a new token; with role join an invitation of a node", {}, make_a_token, true,
               {{"role", "string", "admin, member, viewer or join"}, {"team", "string", "of its owner (default)"},
                {"user", "string", "its owner"}, {"seconds", "number", "how long it is valid; 0: for ever"},
                {"note", "string", "for people"}}});
  r.push_back({"DELETE", "/tokens/{id}", "admin", "revoke a token", {}, revoke_token, true});
  r.push_back({"GET", "/secrets", "member", "names of a team's secrets", {{"team", "for an admin"}}, secrets});
  r.push_back({"PUT", "/secrets/{name}", "member", "set a secret: its content as the body", {{"team", "for an admin"}}, put_secret, true,
               {{"", "bytes", ""}}});
  r.push_back({"DELETE", "/secrets/{name}", "member", "remove a secret", {{"team", "for an admin"}}, remove_secret, true});
  r.push_back({"GET", "/reservations", "viewer", "reservations", {}, [](Call& call) {
                 call.answer(call.controller.core().read([&](const State& s) {
                   Json rows = Json::array();
                   for (const auto& [id, reservation] : s.reservations.rows()) {
                     Json row = entity_json(reservation);
                     if (!call.caller.admin() && reservation.team != call.caller.team)
                       row.erase("team"), row.erase("note");
                     rows.push_back(std::move(row));
                   }
                   return Json{{"reservations", rows}};
                 }));
               }});
  r.push_back({"PUT", "/reservations/{id}", "admin", "keep a node for a team", {}, put_reservation, true,
               {{"node", "string", ""}, {"team", "string", ""}, {"from", "number", "unix time (now)"}, {"until", "number", "unix time"},
                {"note", "string", "for people"}}, true});
  r.push_back({"DELETE", "/reservations/{id}", "admin", "give a reservation up", {}, [](Call& call) {
                 const std::string id = call.part("id");
                 call.controller.core().call([&](Change& c) {
                   if (!c.state.reservations.find(id)) throw ApiError(404, str("there is no reservation ", id));
                   c.state.reservations.remove(id);
                 });
                 call.answer({{"id", id}});
               }, true});
  r.push_back({"GET", "/usage", "viewer", "device-hours by team, user, project, chip and month", {{"month", "2026-11"}}, usage});
  r.push_back({"POST", "/session", "open", "the console: trade a token for a cookie", {}, [](Call& call) {
                 const std::string token = call.body().value("token", "");
                 call.response.header("Set-Cookie", call.controller.access().open_session(call.request, token));
                 const Token who = call.controller.access().token(token);  // for the audit log
                 call.caller = {.token = who.id, .role = who.role, .team = who.team, .user = who.user};
                 call.answer({{"status", "ok"}});
               }, true, {{"token", "string", ""}}});
  r.push_back({"DELETE", "/session", "viewer", "the console: log out", {}, [](Call& call) {
                 call.response.header("Set-Cookie", call.controller.access().close_session(call.request));
                 call.answer({{"status", "ok"}});
               }, true});
}

}  // namespace wellspring::cluster
