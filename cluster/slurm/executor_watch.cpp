// The thread that watches the run folders, decides what has become of attempts, and tells it.

#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "base/time.h"
#include "cluster/slurm/executor_impl.h"
#include "cluster/slurm/small_file.h"

namespace wellspring::cluster {
namespace {

constexpr double kLook = 0.1;        // seconds between two looks into the run folders
constexpr double kComplete = 60;     // in which Slurm ends a job whose script has ended
constexpr double kShowWaiting = 10;  // before it is shown that Slurm lets an attempt wait

constexpr const char* kRequeued = "Slurm took it back to its queue, where it does not run again";

std::string last_words(const std::string& text) {
  std::string_view rest = trim(text);
  if (rest.size() > 300) rest.remove_prefix(rest.size() - 300);
  std::string out = utf8_repair(rest);
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  return out;
}

}  // namespace

void SlurmExecutor::Impl::watch() {
  std::unique_lock lock(mutex_);
  bool told_trouble = false;
  while (!stopping_) {
    watch_due_ = false;
    std::vector<Item> items;
    for (const auto& [serial, item] : items_) items.push_back(item);
    lock.unlock();
    const Stopwatch clock;
    std::vector<Report> reports;
    std::vector<Item> ended;
    for (const Item& item : items) {
      try {
        if (examine(*item, reports)) ended.push_back(item);
      } catch (const std::exception& e) {  // the folder cannot be read now
        log_debug("slurm", options_.name, ": ", e.what());
      }
    }
    bool told = true;
    if (!reports.empty()) {
      try {
        reports_.tell(reports);
        told_trouble = false;
      } catch (const std::exception& e) {
        told = false;
        if (!told_trouble)
          log_warning("slurm", options_.name, ": could not be recorded, tried again: ", e.what());
        told_trouble = true;
      }
    }
    const double spent = clock.seconds();
    lock.lock();
    if (told) {
      for (const Report& r : reports) {
        const auto it = items_.find(r.attempt);
        if (it == items_.end()) continue;
        if (r.kind == Report::running) it->second->told_running = true;
        if (r.kind == Report::outside) it->second->told = r.shown;
      }
      for (const Item& item : ended) items_.erase(item->launch.attempt.serial);
    }
    const double pause = told ? std::max(kLook, 10 * spent) : 0.5;
    if (items_.empty())
      watch_wake_.wait(lock, [&] { return stopping_ || watch_due_ || !items_.empty(); });
    else
      watch_wake_.wait_for(lock, std::chrono::duration<double>(pause),
                           [&] { return stopping_ || (told && watch_due_); });
  }
}

void SlurmExecutor::Impl::read_files(Tracked& item) {
  bool begun = false;
  std::pair<std::string, std::string> claim;
  SlurmStatus status;
  {
    const launch::AsUser as(slurm_account(item.launch.system_user, options_).identity);
    if (!is_directory(item.folder)) return;
    // Reading the folder, and not asking for names in it: a shared file system may remember for a
    // while that a name was absent.
    for (const std::string& name : list_directory(item.folder)) {
      if (name == "slurm.begun") begun = true;
      if (name == "slurm.job")
        claim = parse_slurm_claim(read_small_file(join_path(item.folder, name)));
      if (name == "slurm.status")
        status = parse_slurm_status(read_small_file(join_path(item.folder, name)));
    }
  }
  std::lock_guard lock(mutex_);
  if (!claim.first.empty()) {
    if (claim.first != item.id) {
      // Submitted twice: this one runs, and the other one does nothing.
      item.id = claim.first;
      item.seen.reset();
      item.missed = 0, item.ended_at = 0;
      item.submitted = monotonic_seconds();
    }
    if (!claim.second.empty()) item.nodes = claim.second;
  }
  if (begun && !item.running) item.running_at = monotonic_seconds();
  item.running |= begun;
  if (status.whole && !item.status.whole) {
    item.status = status;
    item.status_at = monotonic_seconds();
  }
}

bool SlurmExecutor::Impl::examine(Tracked& item, std::vector<Report>& reports) {
  const int64_t serial = item.launch.attempt.serial;
  {
    std::lock_guard lock(mutex_);
    if (item.id.empty() && !item.status.whole) return false;
  }
  if (!item.id.empty() && !item.status.whole) read_files(item);
  Report end{.kind = Report::ended, .attempt = serial};
  std::string shown;
  bool running;
  const bool over = decide(item, end);
  {
    std::lock_guard lock(mutex_);
    running = item.running && !item.told_running;
    shown = item.id;
    if (!shown.empty() && !item.nodes.empty() && item.running) shown += " on " + item.nodes;
    const bool waits = item.seen && slurm_phase(item.seen->state) == SlurmPhase::waits;
    if (waits && !item.seen->reason.empty() &&
        monotonic_seconds() - item.waits_since > kShowWaiting)
      shown += ", waits in Slurm: " + cut_to_width(utf8_repair(item.seen->reason), 100);
    if (shown == item.told) shown.clear();
  }
  if (!shown.empty())
    reports.push_back({.kind = Report::outside, .attempt = serial, .shown = shown});
  if (running) reports.push_back({.kind = Report::running, .attempt = serial});
  if (!over) return false;
  if (!item.launch.secrets.empty()) {
    const launch::AsUser as(slurm_account(item.launch.system_user, options_).identity);
    launch::remove_tree(join_path(item.folder, "secrets"));
    ::unlink(join_path(item.folder, "secrets.env").c_str());
  }
  reports.push_back(std::move(end));
  return true;
}

// Whether the attempt has ended, and how.
bool SlurmExecutor::Impl::decide(Tracked& item, Report& end) {
  const double now = monotonic_seconds();
  std::string state, output;
  double settle_from = 0;
  bool running, requeued = false;
  {
    std::lock_guard lock(mutex_);
    const SlurmStatus& s = item.status;
    if (item.seen) state = item.seen->state;
    const bool known_ended = !state.empty() && slurm_phase(state) == SlurmPhase::ended;
    if (s.whole) {
      end.status = s.status, end.outcome = s.outcome, end.reason = s.reason;
      end.cpu_seconds = s.cpu_seconds;
      if (s.outcome == "stopped" && end.reason.empty()) end.reason = item.stop_reason;
      if (s.outcome != "ask") return true;
      // Slurm's word, if it has one of this moment or a later one.
      if (item.seen_at < item.status_at) return false;
      const bool requeued = item.seen && slurm_phase(state) == SlurmPhase::waits;
      if (!known_ended && !requeued && item.seen && now < item.status_at + kComplete) return false;
      end.outcome = known_ended ? slurm_outcome(state) : requeued ? "lost" : "";
      if (end.outcome.empty()) end.outcome = "exited";
      if (end.outcome != "exited")
        end.reason = requeued ? kRequeued : str("Slurm ended job ", item.id, ": ", state);
      if (end.outcome == "lost" && !end.status) end.status = 137;
      if (requeued) leftovers_.emplace_back(item.id, item.launch.system_user);
      return true;
    }
    // By a look of after it had begun, as an earlier one says the same of a job that has just
    // begun.
    requeued = item.running && item.seen && item.seen_at > item.running_at &&
               slurm_phase(state) == SlurmPhase::waits;
    if (requeued && !item.ended_at) item.ended_at = item.seen_at;
    if (!known_ended && !requeued && item.missed < 2) return false;
    settle_from = item.ended_at;
    output = item.output;
    running = item.running;
  }
  if (now < settle_from + options_.settle) return false;
  bool again = false;
  if (!output.empty()) {
    const launch::AsUser as(slurm_account(item.launch.system_user, options_).identity);
    output = last_words(read_small_file(output));
    again = exists(join_path(item.folder, "slurm.again"));
  }
  std::lock_guard lock(mutex_);
  if (requeued) {
    end.status = 137, end.outcome = "lost", end.reason = kRequeued;
    leftovers_.emplace_back(item.id, item.launch.system_user);
    return true;
  }
  if (state.empty()) {
    end.status = 137, end.outcome = item.stop ? "stopped" : "lost";
    end.reason = str("Slurm knows nothing of job ", item.id, " any more");
    return true;
  }
  end.outcome = slurm_outcome(state);
  end.reason = str("Slurm ended job ", item.id, ": ", state);
  end.status = end.outcome == "lost" || end.outcome == "out_of_memory" ? 137 : 143;
  if (end.outcome == "stopped" && item.stop) end.reason = item.stop_reason;
  if (!end.outcome.empty()) return true;
  if (running || again) {
    end.status = 137, end.outcome = "lost";
    end.reason += ", and it could not say what became of it";
    return true;
  }
  end.status = static_cast<int>(Fault::missing), end.outcome = "not_started";
  end.reason += str(" before it began", output.empty() ? "" : ": ", output);
  return true;
}

}  // namespace wellspring::cluster
