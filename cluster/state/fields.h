#pragma once
// The fields of each entity, listed once: reading and writing follow from it.

#include "base/json.h"
#include "cluster/state/entities.h"

namespace wellspring::cluster {

template <class V>
void fields(V& v, Job& j) {
  v("id", j.id), v("array", j.array), v("index", j.index, -1), v("spec", j.spec);
  v("team", j.team), v("user", j.user), v("state", j.state), v("held", j.held);
  v("reason", j.reason), v("expected", j.expected), v("submitted", j.submitted);
  v("not_before", j.not_before), v("started", j.started), v("ended", j.ended);
  v("exit_status", j.exit_status, -1), v("attempts", j.attempts), v("restarts", j.restarts);
  v("attempt", j.attempt), v("pool", j.pool), v("checkpoint", j.checkpoint);
  v("notified", j.notified);
}

template <class V>
void fields(V& v, Attempt::Part& p) {
  v("node", p.node), v("devices", p.devices), v("state", p.state), v("prepared", p.prepared);
  v("status", p.status, -1), v("reason", p.reason);
}

template <class V>
void fields(V& v, Attempt& a) {
  v("serial", a.serial), v("token", a.token), v("job", a.job), v("number", a.number);
  v("executor", a.executor), v("chip", a.chip), v("alternative", a.alternative);
  v("tasks_per_node", a.tasks_per_node, 1);
  v("parts", a.parts), v("state", a.state), v("cause", a.cause), v("created", a.created);
  v("started", a.started), v("stop_sent", a.stop_sent), v("ended", a.ended);
  v("exit_status", a.exit_status, -1), v("reason", a.reason), v("cpu_seconds", a.cpu_seconds);
  v("peak_memory", a.peak_memory), v("checkpoint", a.checkpoint), v("outside", a.outside);
  v("ready", a.ready), v("reached", a.reached);
  v("run_folder", a.run_folder);
}

template <class V>
void fields(V& v, Device& d) {
  v("chip", d.chip), v("cores", d.cores), v("path", d.path);
}

template <class V>
void fields(V& v, Node& n) {
  v("name", n.name), v("executor", n.executor), v("pool", n.pool), v("runs", n.runs);
  v("key_hash", n.key_hash), v("address", n.address), v("version", n.version);
  v("containment", n.containment), v("devices", n.devices), v("memory_mb", n.memory_mb);
  v("mounts", n.mounts), v("switches_users", n.switches_users);
  v("single_trust", n.single_trust), v("only_team", n.only_team), v("drained", n.drained);
  v("down", n.down), v("note", n.note), v("joined", n.joined), v("last_seen", n.last_seen);
}

template <class V>
void fields(V& v, Quota& q) {
  v("devices", q.devices, -1), v("hours", q.hours, -1.0);
}

template <class V>
void fields(V& v, Team& t) {
  v("name", t.name), v("system_user", t.system_user), v("weight", t.weight, 1.0);
  v("quotas", t.quotas), v("roots", t.roots), v("usage", t.usage), v("usage_at", t.usage_at);
}

template <class V>
void fields(V& v, Queue& q) {
  v("name", q.name), v("priority", q.priority), v("max_priority", q.max_priority, kMostPriority), v("open", q.open, true), v("teams", q.teams);
}

template <class V>
void fields(V& v, Token& t) {
  v("id", t.id), v("hash", t.hash), v("role", t.role), v("team", t.team), v("user", t.user);
  v("created", t.created), v("expires", t.expires), v("revoked", t.revoked), v("note", t.note);
}

template <class V>
void fields(V& v, Secret& s) {
  v("team", s.team), v("name", s.name), v("sealed", s.sealed), v("changed", s.changed);
}

template <class V>
void fields(V& v, Reservation& r) {
  v("id", r.id), v("node", r.node), v("team", r.team), v("note", r.note);
  v("from", r.from), v("until", r.until);
}

template <class V>
void fields(V& v, Usage& u) {
  v("team", u.team), v("user", u.user), v("project", u.project), v("chip", u.chip), v("month", u.month);
  v("device_seconds", u.device_seconds), v("attempts", u.attempts);
}

template <class V>
void fields(V& v, ClusterEvent& e) {
  v("number", e.number), v("at", e.at), v("kind", e.kind), v("job", e.job), v("node", e.node);
  v("team", e.team), v("text", e.text);
}

template <class V>
void fields(V& v, AuditEntry& a) {
  v("number", a.number), v("at", a.at), v("who", a.who), v("address", a.address);
  v("what", a.what), v("outcome", a.outcome);
}

template <class V>
void fields(V& v, Cluster& c) {
  v("id", c.id), v("version", c.version), v("next_job", c.next_job);
  v("next_attempt", c.next_attempt), v("next_event", c.next_event);
  v("next_audit", c.next_audit), v("paused_until", c.paused_until);
  v("longest_pause", c.longest_pause);
}

// Values that are their default are left out.
class FieldWriter {
 public:
  Json json = Json::object();
  template <class T>
  void operator()(const char* name, const T& value,
                  const std::type_identity_t<T>& otherwise = T{}) {
    if (!(value == otherwise)) json[name] = value;
  }
  void operator()(const char* name, const JobState& s) { json[name] = name_of(s); }
  void operator()(const char* name, const AttemptState& s) { json[name] = name_of(s); }
  void operator()(const char* name, const StopCause& c) {
    if (c != StopCause::none) json[name] = name_of(c);
  }
  void operator()(const char* name, const std::shared_ptr<const JobSpec>& spec) {
    if (spec) json[name] = to_json(*spec);
  }
  void operator()(const char* name, std::vector<Attempt::Part>& v) { list(name, v); }
  void operator()(const char* name, std::vector<Device>& v) { list(name, v); }
  void operator()(const char* name, std::map<std::string, Quota>& quotas) {
    if (quotas.empty()) return;
    Json& out = json[name] = Json::object();
    for (auto& [chip, quota] : quotas) {
      FieldWriter w;
      fields(w, quota);
      out[chip] = std::move(w.json);
    }
  }

 private:
  template <class T>
  void list(const char* name, std::vector<T>& v) {
    Json& out = json[name] = Json::array();
    for (T& item : v) {
      FieldWriter w;
      fields(w, item);
      out.push_back(std::move(w.json));
    }
  }
};

/// The JSON form of an entity.
template <class T>
Json entity_json(const T& entity) {
  FieldWriter w;
  fields(w, const_cast<T&>(entity));  // the writer only reads
  return std::move(w.json);
}

class FieldReader {
 public:
  explicit FieldReader(const Json& json) : json_(json) {}
  template <class T>
  void operator()(const char* name, T& value, std::type_identity_t<T> otherwise = T{}) {
    const auto it = json_.find(name);
    value = it == json_.end() ? std::move(otherwise) : it->template get<T>();
  }
  void operator()(const char* name, JobState& s) { state(name, s, 8); }
  void operator()(const char* name, AttemptState& s) { state(name, s, 4); }
  void operator()(const char* name, StopCause& c) { state(name, c, 10); }
  void operator()(const char* name, std::shared_ptr<const JobSpec>& spec) {
    if (const auto it = json_.find(name); it != json_.end())
      spec = std::make_shared<const JobSpec>(spec_from_json(*it, "a job of the state"));
  }
  void operator()(const char* name, std::vector<Attempt::Part>& v) { list(name, v); }
  void operator()(const char* name, std::vector<Device>& v) { list(name, v); }
  void operator()(const char* name, std::map<std::string, Quota>& quotas) {
    const auto it = json_.find(name);
    if (it == json_.end()) return;
    for (const auto& [chip, quota] : it->items()) {
      FieldReader r(quota);
      fields(r, quotas[chip]);
    }
  }

 private:
  template <class E>
  void state(const char* name, E& value, int count) {
    const auto it = json_.find(name);
    if (it == json_.end()) return;
    const std::string wanted = it->template get<std::string>();
    for (int i = 0; i < count; ++i)
      if (wanted == name_of(static_cast<E>(i))) value = static_cast<E>(i);
  }
  template <class T>
  void list(const char* name, std::vector<T>& v) {
    const auto it = json_.find(name);
    if (it == json_.end()) return;
    for (const Json& item : *it) {
      FieldReader r(item);
      fields(r, v.emplace_back());
    }
  }
  const Json& json_;
};

/// An entity from its JSON form.
template <class T>
T entity_from_json(const Json& json) {
  T out;
  FieldReader r(json);
  fields(r, out);
  return out;
}

}  // namespace wellspring::cluster
