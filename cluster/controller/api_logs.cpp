// Logs of jobs: as a stream, or piece by piece for one who wants to go on after a break.

#include <algorithm>
#include <climits>

#include "base/error.h"
#include "base/text.h"
#include "base/time.h"
#include "cluster/controller/api.h"

namespace wellspring::cluster {
namespace {

constexpr int64_t kLogPiece = 256 << 10;

// The attempt to show: number `wanted`, or 0 for the newest, or the first one whose serial is above
// `last` when that is not negative.
struct ShownLog {
  Attempt attempt;  // serial 0: there is none (yet)
  std::string user;
  bool job_over = false;
  int newest = 0;
};
ShownLog log_to_show(Call& call, int64_t wanted, int64_t last) {
  return call.controller.core().read([&](const State& s) {
    ShownLog out;
    const Job& job = job_for(s, call, false);
    if (!job.array && element_count(*job.spec))
      throw ApiError(409, str("job ", job.id, " is an array: name an element, such as ", job.id, "_",
                              element_index(*job.spec, 0)));
    out.job_over = ended(job.state), out.newest = job.attempts;
    if (const Team* t = s.teams.find(job.team)) out.user = t->system_user;
    for (const Attempt* a : s.attempts_of(job.id))
      if (a->serial > last && (!wanted || a->number == wanted)) {
        out.attempt = *a;
        if (wanted || last >= 0) break;  // from the newest on, then one after the other
      }
    return out;
  });
}

Executor& executor_of(Call& call, const Attempt& attempt) {
  Executor* executor = call.controller.executor(attempt.executor);
  if (!executor) throw ApiError(502, str("the executor ", attempt.executor, " is not set up any more"));
  return *executor;
}

bool has_ended(Call& call, const Attempt& attempt) {
  return call.controller.core().read([&](const State& s) {
    const Attempt* a = s.attempts.find(attempt.serial);
    return !a || a->state == AttemptState::ended;
  });
}

LogText read_log(Call& call, const ShownLog& shown, int rank, int64_t& offset, int64_t tail, double wait) {
  Executor& executor = executor_of(call, shown.attempt);
  if (tail) {
    const LogText end = executor.log(shown.attempt, shown.user, rank, 0, 1, 0);
    offset = std::max(offset, end.total - tail);
  }
  return executor.log(shown.attempt, shown.user, rank, offset, kLogPiece, wait);
}

// One piece, and in headers where to go on. Waits for something to come.
void piece_of_log(Call& call, double wait) {
  const int64_t wanted = call.number("attempt", 0, 0, INT_MAX);
  const int rank = static_cast<int>(call.number("rank", 0, -1, 1 << 22));
  int64_t offset = call.number("offset", 0, 0, INT64_MAX), tail = call.number("tail", 0, 0, INT64_MAX);
  const double until = monotonic_seconds() + wait;
  const Turns::Turn turn(call.controller.turns(), call.caller.token);
  if (wait > 0) check_turn(turn, call.controller.turns());
  ShownLog shown;
  LogText part;
  bool over = false;
  while (true) {
    const uint64_t version = call.controller.core().version();
    shown = log_to_show(call, wanted, -1);
    const double left = until - monotonic_seconds();
    if (shown.attempt.serial) {
      over = has_ended(call, shown.attempt);  // before it is read: what was written is there then
      part = read_log(call, shown, rank, offset, tail, over ? 0 : std::clamp(left, 0.0, 1.0));
      tail = 0;
      over = over && part.next >= part.total;
      if (!part.data.empty() || over) break;
    } else if (shown.job_over) {
      break;
    }
    if (left <= 0 || call.response.client_gone()) break;
    // The node did not wait: what it is to run has not begun there, or has just ended.
    if (!shown.attempt.serial || part.over) call.controller.core().wait_change(version, std::min(left, 1.0));
  }
  call.response.header("Wellspring-Attempt", str(shown.attempt.number && shown.attempt.serial ? shown.attempt.number : wanted));
  call.response.header("Wellspring-Next", str(shown.attempt.serial ? part.next : offset));
  call.response.header("Wellspring-Over", over ? "1" : "0");
  call.response.header("Wellspring-Newest", str(shown.newest));
  call.response.header("Wellspring-Job-Over", shown.job_over ? "1" : "0");
  call.response.header("Cache-Control", "no-store");
  call.response.send(200, "text/plain; charset=utf-8", part.data);
}

void log_of_job(Call& call) {
  if (const int64_t wait = call.number("wait", -1, 0, 60); wait >= 0)
    return piece_of_log(call, static_cast<double>(wait));
  const int64_t wanted = call.number("attempt", 0, 0, INT_MAX);
  const int rank = static_cast<int>(call.number("rank", 0, -1, 1 << 22));
  const bool follow = call.number("follow", 0, 0, 1);
  const Turns::Turn turn(call.controller.turns(), call.caller.token);
  if (follow) check_turn(turn, call.controller.turns());
  int64_t offset = call.number("offset", 0, 0, INT64_MAX), tail = call.number("tail", 0, 0, INT64_MAX);
  int64_t last = -1;  // serial of the attempt whose log was shown to its end
  const auto begin = [&] {
    if (!call.response.begun()) call.response.begin_stream(200, "text/plain; charset=utf-8");
  };
  while (true) {
    call.controller.access().check_still(call.caller);
    const uint64_t version = call.controller.core().version();
    const ShownLog shown = log_to_show(call, wanted, last);
    if (!shown.attempt.serial) {
      if (wanted && !follow) throw ApiError(404, str("there is no attempt ", wanted));
      if (!follow || shown.job_over) break;
      begin();
      if (call.response.client_gone()) return;
      call.controller.core().wait_change(version, 1);
      continue;
    }
    while (true) {
      const bool gone = has_ended(call, shown.attempt);
      const LogText part =
          read_log(call, shown, rank, offset, tail, follow && !gone && call.response.begun() ? 1 : 0);
      tail = 0;
      begin();
      if (!part.data.empty() && !call.response.write(part.data)) return;
      if (call.response.client_gone()) return;
      call.controller.access().check_still(call.caller);
      const bool moved = part.next > offset;
      offset = part.next;
      if (!moved && (gone || !follow)) break;
      if (!moved && part.over) call.controller.core().wait_change(version, 1);
    }
    last = shown.attempt.serial, offset = 0;
    if (wanted || !follow) break;
  }
  begin();
  call.response.end();
}

}  // namespace

void add_log_routes(std::vector<Route>& r) {
  r.push_back({"GET", "/jobs/{id}/log", "viewer", "the log of a rank as text",
               {{"attempt", "number of the attempt (the newest)"}, {"rank", "rank (0); -1: the setup"},
                {"offset", "from this byte on"}, {"tail", "only the last so many bytes"},
                {"follow", "1: goes on until the job has ended"},
                {"wait", "one piece, waiting for it for at most so many seconds; the headers say where to go on: "
                         "Wellspring-Attempt, -Next (offset), -Over (1: the attempt's end), -Newest (attempt), "
                         "-Job-Over"}}, log_of_job});
}

}  // namespace wellspring::cluster
