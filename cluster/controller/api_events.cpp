// Routes of what happened: events, and the audit log.

#include <algorithm>
#include <initializer_list>
#include <string_view>

#include "base/text.h"
#include "base/time.h"
#include "cluster/controller/api.h"
#include "cluster/state/fields.h"

namespace wellspring::cluster {
namespace {

// Whether one of the texts holds the part, which is in lower case; "" is in all.
bool holds(std::string_view part, std::initializer_list<std::string_view> texts) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; };
  return part.empty() || std::ranges::any_of(texts, [&](std::string_view text) {
    return !std::ranges::search(text, part, {}, lower).empty();
  });
}

// "POST /jobs" of "POST /api/v1/jobs", as the console shows it.
std::string shortened(std::string what) {
  constexpr std::string_view kPrefix = "/api/v1";
  const size_t at = what.find(kPrefix);
  return at == what.npos ? what : what.erase(at, kPrefix.size());
}

void events(Call& call) {
  const int64_t after = call.number("after", 0, 0, INT64_MAX);
  const int64_t limit = call.number("limit", 200, 1, 5000);
  const int64_t before = call.number("before", INT64_MAX, 0, INT64_MAX);
  const double wait = static_cast<double>(call.number("wait", 0, 0, 60));
  const std::string kind = call.parameter("kind"), part = to_lower(call.parameter("text"));
  const uint64_t version = call.controller.core().version();
  const auto seen = static_cast<uint64_t>(call.number("seen", static_cast<int64_t>(version), 0, INT64_MAX));
  const auto read = [&] {
    return call.controller.core().read([&](const State& s) {
      Json rows = Json::array();
      for (auto it = s.events.rows().lower_bound(before); it != s.events.rows().begin();) {
        const ClusterEvent& e = (--it)->second;
        if (e.number <= after || static_cast<int64_t>(rows.size()) == limit) break;
        if (!call.caller.admin() && !e.team.empty() && e.team != call.caller.team) continue;
        if (!kind.empty() && e.kind != kind) continue;
        if (!holds(part, {e.text, e.node, e.team, e.job ? str("#", e.job) : ""})) continue;
        rows.push_back(entity_json(e));
      }
      return rows;
    });
  };
  Json rows = read();
  const Turns::Turn turn(call.controller.turns(), call.caller.token);
  if (rows.empty() && wait > 0) {
    check_turn(turn, call.controller.turns());
    Core& core = call.controller.core();
    const double until = monotonic_seconds() + wait;
    for (double left = wait; left > 0 && core.version() == seen && !call.response.client_gone();
         left = until - monotonic_seconds())
      core.wait_change(seen, std::min(left, 1.0));
    rows = read();
  }
  call.answer({{"events", rows}, {"version", call.controller.core().version()}});
}

void audit_log(Call& call) {
  const int64_t limit = call.number("limit", 200, 1, 5000);
  const int64_t before = call.number("before", INT64_MAX, 0, INT64_MAX);
  const std::string part = to_lower(call.parameter("text"));
  call.answer(call.controller.core().read([&](const State& s) {
    Json rows = Json::array();
    for (auto it = s.audit.rows().lower_bound(before); it != s.audit.rows().begin();) {
      const AuditEntry& e = (--it)->second;
      if (static_cast<int64_t>(rows.size()) == limit) break;
      if (holds(part, {e.who, e.address, e.what, shortened(e.what), e.outcome})) rows.push_back(entity_json(e));
    }
    return Json{{"audit", rows}};
  }));
}

}  // namespace

void add_event_routes(std::vector<Route>& r) {
  r.push_back({"GET", "/events", "viewer", "what happened, the newest first",
               {{"after", "numbers above this"}, {"before", "numbers below this"}, {"limit", "at most so many (200)"},
                {"kind", "only of: job, attempt, node or cluster"}, {"text", "only with this in text, node, team or #job"},
                {"wait", "seconds to wait for one, or for a change of any kind"},
                {"seen", "the version of an earlier answer: no wait when it is another one now"}}, events});
  r.push_back({"GET", "/audit", "admin", "who asked for what",
               {{"limit", "at most so many (200)"}, {"before", "numbers below this"}, {"text", "only with this in one of its columns"}}, audit_log});
}

}  // namespace wellspring::cluster
