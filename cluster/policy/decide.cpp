#include "cluster/policy/decide.h"

#include <algorithm>
#include <cstdio>
#include <optional>
#include <set>

#include "base/text.h"
#include "base/time.h"
#include "cluster/policy/placement.h"

namespace wellspring::cluster::policy {
namespace {

int devices_of(const Request& r) { return r.nodes * r.devices; }
int devices_of(const Placement& p) {
  size_t n = 0;
  for (const auto& part : p.parts) n += part.devices.size();
  return static_cast<int>(n);
}
std::string hours_text(double device_seconds) {
  char text[32];
  std::snprintf(text, sizeof text, "%.4g", device_seconds / 3600);
  return text;
}
std::string text_of(const Request& r) {
  return r.nodes == 1 ? str(r.devices, " ", r.chip)
                      : str(r.nodes, " nodes of ", r.devices, " ", r.chip);
}

// Devices that are kept for a job that cannot start yet.
struct Kept {
  Seconds from = 0;  // when it needs them
  Placement placement;
  int64_t memory_mb = 0;
};

class Decider {
 public:
  Decider(const Snapshot& s, Seconds now, const PolicyOptions& o)
      : s_(s), now_(now), options_(o), room_(s.nodes) {
    for (const Running& r : s.running) {
      held_[r.team][chip_of(r.placement)] += devices_of(r.placement);
      aside_[r.team][chip_of(r.placement)] += set_aside(r);
      any_stopping_ |= r.stopping;
      if (r.preemptible) least_priority_ = std::min(least_priority_, r.priority);
      ends_.push_back({r.ends, r.placement, r.memory_mb});
    }
    std::ranges::stable_sort(ends_, {}, &Taken::ends);
  }

  std::vector<Decision> run() {
    stop_what_uses_hours_up();
    for (const Waiting* job : in_order()) decide(*job);
    return std::move(decisions_);
  }

 private:
  const std::string& chip_of(const Placement& p) const {
    static const std::string none;
    return p.parts.empty() ? none : s_.nodes[p.parts[0].node].chip;
  }
  const Team& team_of(const std::string& name) const {
    static const Team usual;
    const auto it = s_.teams.find(name);
    return it == s_.teams.end() ? usual : it->second;
  }
  int priority_of(const Waiting& job) const {
    const auto it = s_.queues.find(job.queue);
    return job.priority + (it == s_.queues.end() ? 0 : it->second.priority);
  }

  // Device-seconds that something uses in at most so long, until its team's hours are whole again.
  double cost(const std::string& team, int devices, Seconds longest) const {
    return devices * std::clamp(team_of(team).renews - now_, 0.0, std::max(0.0, longest));
  }
  Seconds time_to_stop(Seconds grace) const { return grace + options_.between_rounds; }
  double cost_of_stopping(const Running& r) const {
    return cost(r.team, devices_of(r.placement), std::min(r.ends - now_, time_to_stop(r.grace)));
  }
  double set_aside(const Running& r) const {
    return r.stopping || r.ends == kNever ? cost_of_stopping(r)
                                          : cost(r.team, devices_of(r.placement), r.ends - now_);
  }

  void stop_what_uses_hours_up() {
    constexpr double kRounding = 1e-3;
    for (const auto& [name, team] : s_.teams)
      for (const auto& [chip, hours] : team.hours_left) {
        const double left = hours * 3600 + kRounding;
        if (left >= aside_[name][chip]) continue;
        double stopping = 0;
        for (const Running& r : s_.running)
          if (r.team == name && chip_of(r.placement) == chip) stopping += cost_of_stopping(r);
        for (const Running& r : s_.running) {
          if (r.team != name || chip_of(r.placement) != chip || r.stopping) continue;
          if (r.ends != kNever && left >= stopping) continue;
          preempted_.insert(r.job);
          decisions_.push_back({.kind = Decision::Kind::stop, .job = r.job, .reason = used_up(name, chip)});
        }
      }
  }

  static std::string used_up(const std::string& team, const std::string& chip) {
    return str("team ", team, ": device-hours of ", chip, " used up this month");
  }

  // All waiting jobs, each team's share growing with what stands before.
  std::vector<const Waiting*> in_order() const {
    std::map<std::string, std::vector<const Waiting*>> by_team;
    for (const Waiting& job : s_.waiting) by_team[job.team].push_back(&job);
    std::map<std::string, double> share;
    for (auto& [team, jobs] : by_team) {
      std::ranges::stable_sort(jobs, [&](const Waiting* a, const Waiting* b) {
        const auto key = [&](const Waiting* j) {
          return std::tuple(-priority_of(*j), j->submitted, j->id);
        };
        return key(a) > key(b);  // the first is at the end
      });
      const Team& t = team_of(team);
      double used = t.usage;
      if (const auto it = held_.find(team); it != held_.end())
        for (const auto& [chip, n] : it->second) used += n;
      share[team] = used / t.weight;
    }
    std::vector<const Waiting*> order;
    while (order.size() < s_.waiting.size()) {
      std::vector<const Waiting*>* best = nullptr;
      for (auto& [team, jobs] : by_team) {
        if (jobs.empty()) continue;
        const auto key = [&](const std::vector<const Waiting*>& of) {
          const Waiting& j = *of.back();
          return std::tuple(-priority_of(j), share.at(j.team), j.submitted, j.id);
        };
        if (!best || key(jobs) < key(*best)) best = &jobs;
      }
      const Waiting& job = *best->back();
      order.push_back(&job);
      best->pop_back();
      if (!job.accepted.empty())
        share[job.team] += devices_of(job.accepted[0]) / team_of(job.team).weight;
    }
    return order;
  }

  void wait(const Waiting& job, std::string reason, Seconds expected = kNever) {
    decisions_.push_back({.kind = Decision::Kind::wait,
                          .job = job.id,
                          .reason = std::move(reason),
                          .expected = expected});
  }

  // What its dependencies and the user's own wishes say; true when they let it start.
  bool may_start(const Waiting& job) {
    for (const Dependency& d : job.after) {
      if (d.outcome == Outcome::pending) return wait(job, str("waits for job ", d.job)), false;
      const bool ok = d.outcome == Outcome::succeeded;
      if ((d.kind == After::ok && !ok) || (d.kind == After::not_ok && ok)) {
        decisions_.push_back({.kind = Decision::Kind::cancel,
                              .job = job.id,
                              .reason = str("job ", d.job, ok ? " succeeded" : " failed",
                                            ", and this one runs only otherwise")});
        return false;
      }
    }
    if (job.held) return wait(job, "held; `wellspring job release` lets it go"), false;
    if (job.not_before > now_)
      return wait(job, "its start time has not come", job.not_before), false;
    const auto queue = s_.queues.find(job.queue);
    if (queue != s_.queues.end() && !queue->second.open)
      return wait(job, str("queue ", job.queue, " is closed")), false;
    return true;
  }

  // Why a team's quota forbids a request now, and until when at the latest; empty when it does not.
  std::string over_quota(const Waiting& job, const Request& r, Seconds* expected) const {
    const Team& team = team_of(job.team);
    if (const auto most = team.most_devices.find(r.chip); most != team.most_devices.end()) {
      int holds = 0;
      if (const auto it = held_.find(job.team); it != held_.end())
        if (const auto c = it->second.find(r.chip); c != it->second.end()) holds = c->second;
      if (holds + devices_of(r) > most->second)
        return str("team ", job.team, " may hold ", most->second, " ", r.chip, " and holds ",
                   holds);
    }
    const auto left = team.hours_left.find(r.chip);
    return left == team.hours_left.end() ? "" : over_hours(job, r, left->second * 3600, expected);
  }

  std::string over_hours(const Waiting& job, const Request& r, double left, Seconds* expected) const {
    if (const auto it = aside_.find(job.team); it != aside_.end())
      if (const auto c = it->second.find(r.chip); c != it->second.end()) left -= c->second;
    const double wanted = cost(job.team, devices_of(r), longest(job));
    if (left > 0 && left >= wanted) return "";
    // Later in the month less of it falls into the month.
    *expected = team_of(job.team).renews - std::max(0.0, left) / devices_of(r);
    if (left <= 0 || job.limit == kNever) return used_up(job.team, r.chip);
    return str("team ", job.team, " has ", hours_text(left), " device-hours of ", r.chip,
               " left this month beside what runs, and this job may take ", hours_text(wanted));
  }

  // What of a run is paid for before it starts.
  Seconds longest(const Waiting& job) const {
    return job.limit == kNever ? time_to_stop(job.grace) : job.limit;
  }

  static bool suits(const Waiting& job, const Node& node) {
    return (job.pool.empty() || job.pool == node.pool) &&
           std::ranges::all_of(job.needs, [&](const std::string& need) {
             return std::ranges::find(node.offers, need) != node.offers.end();
           });
  }

  // Whether it keeps a job of another team away that would start at a moment.
  static bool against(const Reservation& r, const Waiting& job, Seconds at) {
    return r.team != job.team && r.from < at + job.limit && at < r.until;
  }

  // Devices where there is room for the job at a moment: not what others have reserved or what is kept
  // for jobs before it, unless it ends by then.
  std::optional<Placement> place_at(const Waiting& job, const Room& room, const Request& r, Seconds at) const {
    const bool all = kept_.empty() && s_.reservations.empty() && job.pool.empty() && job.needs.empty();
    return place(s_.nodes, all ? room : usable_by(job, room, at), r);
  }

  Room usable_by(const Waiting& job, Room room, Seconds at) const {
    const auto close = [&](size_t node) { room.free[node].assign(room.free[node].size(), false); };
    if (!job.pool.empty() || !job.needs.empty())
      for (size_t n = 0; n < s_.nodes.size(); ++n)
        if (!suits(job, s_.nodes[n])) close(n);
    for (const Reservation& r : s_.reservations)
      if (against(r, job, at)) close(r.node);
    for (const Kept& k : kept_)
      if (at + job.limit > k.from) room.take(k.placement, k.memory_mb);
    return room;
  }

  void start(const Waiting& job, Placement placement, int alternative) {
    placement.alternative = alternative;
    room_.take(placement, job.accepted[alternative].memory_mb);
    held_[job.team][job.accepted[alternative].chip] += devices_of(placement);
    aside_[job.team][job.accepted[alternative].chip] += cost(job.team, devices_of(placement), longest(job));
    const Taken taken{now_ + job.limit, placement, job.accepted[alternative].memory_mb};
    ends_.insert(std::ranges::upper_bound(ends_, taken.ends, {}, &Taken::ends), taken);
    decisions_.push_back(
        {.kind = Decision::Kind::start, .job = job.id, .placement = std::move(placement)});
  }

  void decide(const Waiting& job) {
    if (!may_start(job)) return;
    std::string quota;
    Seconds expected = kNever;
    std::vector<int> allowed;
    for (size_t a = 0; a < job.accepted.size(); ++a) {
      Seconds until = kNever;
      std::string why = over_quota(job, job.accepted[a], &until);
      expected = std::min(expected, until);
      if (why.empty())
        allowed.push_back(static_cast<int>(a));
      else if (quota.empty())
        quota = std::move(why);
    }
    if (allowed.empty()) return wait(job, quota.empty() ? "accepts nothing" : quota, expected);
    for (const int a : allowed)
      if (auto p = place_at(job, room_, job.accepted[a], now_)) return start(job, std::move(*p), a);
    const Request& wanted = job.accepted[allowed[0]];
    if (static_cast<int>(kept_.size()) < options_.kept_jobs && make_room(job, allowed)) return;
    wait(job, shortage(job, wanted, usable_by(job, room_, now_)));
  }

  // Which reservation keeps a job away, and what would let it start.
  std::string named(const Reservation& r, const Waiting& job) const {
    if (r.name.empty()) return "";
    if (r.from <= now_) return str(" (", r.name, ", until ", format_utc(r.until), ")");
    return str(" (", r.name, ", from ", format_utc(r.from), "; ", job.limit == kNever ? "with a time_limit" : "with a shorter time_limit",
               " that ends before that it may start)");
  }

  // "waits for 2 a100, 1 free, 4 reserved for others"; of several nodes those of one pool count.
  std::string shortage(const Waiting& job, const Request& r, const Room& room) const {
    int64_t free = 0, reserved = 0;
    std::map<std::string_view, int64_t> nodes;
    std::vector<const Reservation*> closed(s_.nodes.size());
    std::string name;
    for (const Reservation& other : s_.reservations)
      if (against(other, job, now_)) closed[other.node] = &other;
    for (size_t n = 0; n < s_.nodes.size(); ++n) {
      const Node& node = s_.nodes[n];
      if (node.chip != r.chip || !suits(job, node)) continue;
      if (closed[n]) {
        const int64_t here = std::ranges::count(room_.free[n], true);
        if (here && name.empty()) name = named(*closed[n], job);
        reserved += here;
        continue;
      }
      const int64_t here = std::ranges::count(room.free[n], true);
      nodes[node.pool] += here >= r.devices && room.memory_mb[n] >= r.memory_mb;
      free += here;
    }
    if (r.nodes > 1) {
      free = 0;
      for (const auto& [pool, count] : nodes) free = std::max(free, count);
    }
    return str("waits for ", text_of(r), ", ", free, r.nodes > 1 ? " free in one pool" : " free",
               reserved ? str(", ", reserved, " reserved for others", name) : "");
  }

  // Preempts for the job, or keeps what it will need; false when nothing can be said.
  bool make_room(const Waiting& job, const std::vector<int>& allowed) {
    for (const int a : allowed)
      if (preempt_for(job, job.accepted[a])) return true;
    for (const int a : allowed)
      if (keep_for(job, job.accepted[a])) return true;
    return false;
  }

  // Whether jobs of lower priority can make room: the youngest of the lowest go first, then those
  // that turn out not to be needed are left alone.
  bool preempt_for(const Waiting& job, const Request& r) {
    if (!any_stopping_ && preempted_.empty() && least_priority_ >= priority_of(job)) return false;
    std::vector<const Running*> victims;
    Room room = room_;
    for (const Running& v : s_.running)
      if (v.stopping || preempted_.contains(v.job)) room.give(s_.nodes, v.placement, v.memory_mb);
    const auto fits = [&] { return place_at(job, room, r, now_); };
    if (auto soon = fits()) {  // what stops already is enough
      kept_.push_back({now_, std::move(*soon), r.memory_mb});
      wait(job, str("waits for ", text_of(r), " that are being given back"), now_);
      return true;
    }
    for (const Running& v : s_.running)
      if (v.preemptible && !v.stopping && !preempted_.contains(v.job) &&
          v.priority < priority_of(job) && chip_of(v.placement) == r.chip)
        victims.push_back(&v);
    std::ranges::stable_sort(victims, [](const Running* a, const Running* b) {
      return std::tuple(a->priority, -a->started, a->job) <
             std::tuple(b->priority, -b->started, b->job);
    });
    std::vector<const Running*> chosen;
    std::optional<Placement> found;
    for (const Running* v : victims) {
      room.give(s_.nodes, v->placement, v->memory_mb);
      chosen.push_back(v);
      if ((found = fits())) break;
    }
    if (!found) return false;
    std::erase_if(chosen, [&](const Running* v) { return !touches(v->placement, *found); });
    for (const Running* v : chosen) {
      preempted_.insert(v->job);
      decisions_.push_back(
          {.kind = Decision::Kind::preempt,
           .job = v->job,
           .sake = job.id,
           .reason = str("preempted by job ", job.id, " of priority ", priority_of(job))});
    }
    kept_.push_back({now_, std::move(*found), r.memory_mb});
    wait(job, str("waits for ", chosen.size(), " preempted job", chosen.size() == 1 ? "" : "s"),
         now_);
    return true;
  }

  static bool touches(const Placement& a, const Placement& b) {
    for (const auto& p : a.parts)
      for (const auto& q : b.parts)
        if (p.node == q.node)
          for (const int d : p.devices)
            if (std::ranges::find(q.devices, d) != q.devices.end()) return true;
    return false;
  }

  // Keeps the devices that the job gets first if everything runs to its limit; after its patience
  // also those whose end nobody knows.
  bool keep_for(const Waiting& job, const Request& r) {
    Room room = room_;
    for (const Taken& e : ends_) {
      if (e.ends == kNever && now_ - job.submitted < options_.patience) return false;
      room.give(s_.nodes, e.placement, e.memory_mb);
      if (auto p = place_at(job, room, r, std::max(e.ends, now_))) {
        // An end that nobody knows may come at any time.
        kept_.push_back({e.ends == kNever ? now_ : e.ends, std::move(*p), r.memory_mb});
        wait(job, shortage(job, r, room_), e.ends);
        return true;
      }
    }
    return false;
  }

  // Devices that are in use, and until when at the latest.
  struct Taken {
    Seconds ends;
    Placement placement;
    int64_t memory_mb;
  };

  const Snapshot& s_;
  const Seconds now_;
  const PolicyOptions& options_;
  Room room_;
  std::map<std::string, std::map<std::string, int>> held_;  // devices, by team and chip
  std::map<std::string, std::map<std::string, double>> aside_;  // device-seconds, by team and chip
  std::vector<Kept> kept_;
  std::vector<Taken> ends_;  // of all that runs, the first to end first; among equals the older first
  bool any_stopping_ = false;
  int least_priority_ = std::numeric_limits<int>::max();  // of what may be preempted
  std::set<JobId> preempted_;  // or stopped
  std::vector<Decision> decisions_;
};

}  // namespace

std::vector<Decision> decide(const Snapshot& snapshot, Seconds now, const PolicyOptions& options) {
  return Decider(snapshot, now, options).run();
}

std::string impossible(const std::vector<Node>& nodes, const Request& request, std::string* part) {
  std::string unused;
  std::string& what = part ? *part : unused;
  what = "count";
  if (request.nodes < 1 || request.devices < 1)
    return str("a job wants 1 device on 1 node at least, not ", request.nodes, " nodes of ",
               request.devices);
  std::set<std::string> chips;
  int most = 0, fitting = 0, together = 0, all = 0;
  std::map<std::string_view, int> pools;
  int64_t memory = 0;
  for (const Node& n : nodes) {
    chips.insert(n.chip);
    if (n.chip != request.chip) continue;
    ++all;
    const int count = static_cast<int>(n.holders.size());
    most = std::max(most, count), memory = std::max(memory, n.memory_mb);
    if (count < request.devices || n.memory_mb < request.memory_mb) continue;
    ++fitting;
    together = std::max(together, ++pools[n.pool]);
  }
  if (together >= request.nodes) return "";
  if (!all) {
    std::string known;
    for (const std::string& c : chips) known += (known.empty() ? "" : ", ") + c;
    what = "chip";
    return str("no node has a chip '", request.chip,
               "'; there are: ", known.empty() ? "none" : known);
  }
  if (most < request.devices)
    return str("no node has ", request.devices, " ", request.chip, "; the most on one is ", most);
  what = "memory_mb";
  if (memory < request.memory_mb)
    return str("no node with ", request.chip, " has ", request.memory_mb, " MB; the most is ",
               memory);
  what = "nodes";
  if (together == fitting)
    return str(request.nodes, " nodes with ", request.devices, " ", request.chip,
               " are wanted; there are ", fitting);
  return str(request.nodes, " nodes with ", request.devices, " ", request.chip,
             " are wanted in one pool (nodes that share the folder of runs); the most in one is ", together);
}

}  // namespace wellspring::cluster::policy
