// The thread that speaks with Slurm: submits, stops, looks.

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <tuple>

#include "base/error.h"
#include "base/fault_point.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "base/time.h"
#include "cluster/node/run_files.h"
#include "cluster/slurm/executor_impl.h"
#include "cluster/slurm/small_file.h"

namespace wellspring::cluster {
namespace {

constexpr double kRetry = 1;         // seconds after Slurm could not be asked
constexpr double kGather = 0.02;     // in which elements of an array come together
constexpr double kCancelAfter = 10;  // after SIGKILL: the whole job, if nothing helps

void check_made(const std::string& trouble) {
  if (!trouble.empty()) throw Error(Fault::io, trouble);
}

}  // namespace

void SlurmExecutor::Impl::speak() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    speak_due_ = false;
    lock.unlock();
    try {
      if (!adopted_) adopt();
      if (monotonic_seconds() >= next_nodes_) look_at_nodes();
      submit_due();
      stop_due();
      look_at_jobs();
    } catch (const std::exception& e) {  // none is expected
      log_error("slurm", options_.name, ": ", e.what());
    }
    lock.lock();
    speak_wake_.wait_for(lock, std::chrono::duration<double>(std::min(0.2, options_.poll)),
                         [&] { return stopping_ || speak_due_; });
  }
}

// What the controller says has not ended, before this process began.
bool SlurmExecutor::Impl::adopt() {
  try {
    for (const Launch& launch : reports_.active(options_.name)) add(launch, {}, true);
  } catch (const std::exception& e) {
    log_warning("slurm", options_.name, ": running attempts are not known yet: ", e.what());
    return false;
  }
  std::lock_guard lock(mutex_);
  adopted_ = true;
  return true;
}

void SlurmExecutor::Impl::reached() {
  quiet_until_ = 0;
  std::lock_guard lock(mutex_);
  if (trouble_.empty()) return;
  trouble_.clear();
  next_nodes_ = 0;
  log_info("slurm", options_.name, ": Slurm answers again");
}

void SlurmExecutor::Impl::not_reached(const std::string& why) {
  quiet_until_ = monotonic_seconds() + kRetry;
  {
    std::lock_guard lock(mutex_);
    if (trouble_.empty()) log_warning("slurm", options_.name, ": Slurm cannot be asked: ", why);
    trouble_ = why;
  }
  // Nothing ends for it; nothing new is placed there either.
  std::vector<Node> unknown = nodes_;
  for (Node& n : unknown) {
    n.down = true;
    n.note = str("its state is unknown, as Slurm cannot be asked: ",
                 cut_to_width(utf8_repair(why), 200));
  }
  if (!unknown.empty()) tell_nodes(std::move(unknown));
}

void SlurmExecutor::Impl::tell_nodes(std::vector<Node> nodes) {
  std::string content = "nodes\n";
  for (const Node& n : nodes) {
    content += str(n.name, " ", n.address, " ", n.memory_mb, " ", n.down, " ", n.note);
    for (const Device& d : n.devices) content += " " + d.chip;
    content += "\n";
  }
  if (content == nodes_told_) return;
  try {
    reports_.nodes(options_.name, nodes);
    nodes_told_ = std::move(content);
  } catch (const std::exception& e) {
    log_warning("slurm", options_.name, ": its nodes could not be recorded: ", e.what());
  }
}

void SlurmExecutor::Impl::look_at_nodes() {
  next_nodes_ = monotonic_seconds() + options_.nodes_every;
  std::vector<SlurmNode> found;
  try {
    found = transport_->nodes();
  } catch (const Error& e) {
    next_nodes_ = monotonic_seconds() + std::min(options_.nodes_every, 2.0);
    return not_reached(e.what());
  }
  nodes_ = slurm_nodes(found, options_, chips_);
  cpus_each_.clear();
  for (const SlurmNode& s : found) {
    const std::string name = str(options_.name, ".", s.name);
    const auto node = std::ranges::find_if(nodes_, [&](const Node& n) { return n.name == name; });
    if (node == nodes_.end()) continue;
    const double share = static_cast<double>(s.cpus) / static_cast<double>(node->devices.size());
    for (const Device& d : node->devices) {
      const auto [it, fresh] = cpus_each_.emplace(d.chip, share);
      if (!fresh) it->second = std::min(it->second, share);
    }
    for (const SlurmGres& g : parse_gres(s.gres))
      if (const ChipKind* kind = chips_.find(g.type))
        gres_of_[kind->name] = str(g.name, ":", g.type);
  }
  reached();
  next_nodes_ = monotonic_seconds() + options_.nodes_every;
  tell_nodes(nodes_);
}

// An end that Slurm has no part in.
void SlurmExecutor::Impl::refuse(const std::vector<Item>& items, int status,
                                 const std::string& outcome, const std::string& why) {
  std::lock_guard lock(mutex_);
  for (const Item& item : items) {
    item->status = {.whole = true, .status = status, .rank = -1, .outcome = outcome, .reason = why};
    item->status_at = monotonic_seconds();
    item->perhaps = false;
  }
  watch_due_ = true;
  watch_wake_.notify_all();
}

std::vector<SlurmComponent> SlurmExecutor::Impl::components_of(const Tracked& item) {
  if (!item.components.empty()) return item.components;
  const Attempt& a = item.launch.attempt;
  const Resources& r = item.launch.job.spec->accepted.at(static_cast<size_t>(a.alternative));
  SlurmComponent c;
  c.chip = a.chip;
  c.nodes = static_cast<int>(a.parts.size());
  c.tasks_per_node = std::max(1, a.tasks_per_node);
  c.memory_mb = r.memory_mb;
  const int devices = std::max(1, r.count);
  double each = 1;
  if (const auto it = cpus_each_.find(a.chip); it != cpus_each_.end()) each = it->second;
  if (const auto it = options_.cpus_per_device.find(a.chip); it != options_.cpus_per_device.end())
    each = it->second;
  c.cpus_per_task =
      std::max(1, static_cast<int>(std::floor(each * devices / c.tasks_per_node + 1e-9)));
  if (a.chip != options_.cpu_chip && r.count > 0) {
    std::string gres = "gpu:" + a.chip;
    if (const auto it = gres_of_.find(a.chip); it != gres_of_.end()) gres = it->second;
    if (const auto it = options_.gres.find(a.chip); it != options_.gres.end()) gres = it->second;
    c.gres = str(gres, ":", r.count);
  }
  for (const std::string& key : {a.chip, std::string()})
    if (const auto it = options_.partitions.find(key);
        c.partition.empty() && it != options_.partitions.end())
      c.partition = it->second;
  return {c};
}

void SlurmExecutor::Impl::submit_due() {
  using Key = std::tuple<bool, JobId, int, std::string, std::string, int>;
  const auto due = [&] {
    std::map<Key, std::vector<Item>> groups;
    const double now = monotonic_seconds();
    std::lock_guard lock(mutex_);
    for (const auto& [serial, item] : items_) {
      if (!item->id.empty() || item->status.whole || now < item->next_try) continue;
      const Attempt& a = item->launch.attempt;
      const JobId array = item->components.empty() ? item->launch.job.array : 0;
      groups[{item->perhaps, array ? array : -serial, a.alternative, a.chip,
              item->launch.system_user, static_cast<int>(a.parts.size())}]
          .push_back(item);
    }
    return groups;
  };
  auto groups = due();
  for (const auto& [key, items] : groups)
    if (std::get<1>(key) > 0 && !std::get<0>(key)) {
      sleep_seconds(kGather);
      groups = due();
      break;
    }
  for (auto& [key, items] : groups) {
    if (monotonic_seconds() < quiet_until_) return;
    try {
      if (std::get<0>(key)) look_up(items);
      std::vector<Item> wanted, unwanted;
      {
        std::lock_guard lock(mutex_);
        for (const Item& item : items) (item->stop ? unwanted : wanted).push_back(item);
      }
      refuse(unwanted, 143, "stopped", "stopped before it was submitted");
      if (wanted.size() > 1 && !max_array_) max_array_ = transport_->max_array();
      const size_t most = wanted.size() > 1 ? static_cast<size_t>(std::max(1, max_array_)) : 1;
      for (size_t from = 0; from < wanted.size(); from += most)
        submit(
            {wanted.begin() + static_cast<std::ptrdiff_t>(from),
             wanted.begin() + static_cast<std::ptrdiff_t>(std::min(wanted.size(), from + most))});
    } catch (const Error& e) {
      if (e.fault() == Fault::try_again) {
        not_reached(e.what());
        continue;
      }
      // Of an attempt from before whose user is gone, or whose folder cannot be read now.
      log_warning("slurm", options_.name, ": ", e.what());
      std::lock_guard lock(mutex_);
      for (const Item& item : items) item->next_try = monotonic_seconds() + 5;
    }
  }
}

// Takes out of `items` those that are in Slurm already, or were: their number is known then.
void SlurmExecutor::Impl::look_up(std::vector<Item>& items) {
  std::map<std::string, std::vector<SlurmJob>> found;
  std::vector<Item> absent;
  for (const Item& item : items) {
    std::string id, intent;
    bool over = false;
    {
      const launch::AsUser as(slurm_account(item->launch.system_user, options_).identity);
      intent = read_small_file(join_path(item->folder, "slurm.vars"));
      id = parse_slurm_claim(read_small_file(join_path(item->folder, "slurm.job"))).first;
      over = parse_slurm_status(read_small_file(join_path(item->folder, "slurm.status"))).whole;
    }
    const auto [name, index] = parse_slurm_intent(intent);
    if (id.empty() && !name.empty()) {
      if (!found.contains(name)) found[name] = transport_->find(name);
      for (const SlurmJob& job : found[name]) {
        const size_t bar = job.id.find('_');
        if (index < 0 ? bar == job.id.npos
                      : bar != job.id.npos && job.id.substr(bar + 1) == std::to_string(index))
          id = job.id;
      }
    }
    if (id.empty() && !over) {
      absent.push_back(item);
      continue;
    }
    submitted(*item, id.empty() ? "0" : id);
  }
  std::lock_guard lock(mutex_);
  for (const Item& item : absent) item->perhaps = false;
  items = std::move(absent);
}

void SlurmExecutor::Impl::submitted(Tracked& item, const std::string& id) {
  std::lock_guard lock(mutex_);
  item.id = id;
  item.perhaps = false;
  item.submitted = monotonic_seconds();
  watch_due_ = true;
  watch_wake_.notify_all();
}

// The archive of the working folder, where the job can read it.
std::string SlurmExecutor::Impl::place_archive(const Launch& launch) {
  const std::string hash = launch.job.spec->snapshot;
  if (hash.empty()) return "";
  if (!archive_) throw Error(Fault::config, "workdir: there are no archives here");
  const std::string folder = join_path(slurm_team_folder(options_, launch.job.team), "archives");
  const std::string path = join_path(folder, hash + ".tar");
  const int from = ::open(archive_(launch.job.team, hash).c_str(), O_RDONLY | O_CLOEXEC);
  if (from < 0)
    throw Error(Fault::io, str("the archive of the working folder: ", std::strerror(errno)));
  try {
    const launch::AsUser as(slurm_account(launch.system_user, options_).identity);
    if (!exists(path)) {
      check_made(launch::make_folders(folder));
      AtomicWriter out(path);
      std::string buffer(1 << 20, '\0');
      ssize_t n;
      while ((n = ::read(from, buffer.data(), buffer.size())) > 0)
        out.write(buffer.data(), static_cast<size_t>(n));
      if (n < 0)
        throw Error(Fault::io, str("the archive of the working folder: ", std::strerror(errno)));
      out.commit();
    }
  } catch (...) {
    ::close(from);
    throw;
  }
  ::close(from);
  return path;
}

void SlurmExecutor::Impl::write_files(const SlurmPlan& plan, const Launch& launch) {
  check_under(options_.runs, launch.attempt.run_folder);
  own_folder(join_path(options_.runs, launch.job.team),
             slurm_account_name(launch.system_user, options_));
  const launch::AsUser as(slurm_account(launch.system_user, options_).identity);
  for (const std::string& folder : plan.folders) check_made(launch::make_folders(folder));
  for (const auto& [path, content] : plan.files) write_small_file(path, content);
}

void SlurmExecutor::Impl::submit(const std::vector<Item>& items) {
  const Launch& first = items[0]->launch;
  std::vector<const Launch*> launches;
  for (const Item& item : items) launches.push_back(&item->launch);
  SlurmPlan plan;
  try {
    slurm_account(first.system_user, options_);
    own_folder(join_path(options_.runs, first.job.team),
               slurm_account_name(first.system_user, options_));
    const std::string archive = place_archive(first);
    plan = plan_slurm(launches, components_of(*items[0]), options_, archive);
    write_files(plan, first);
  } catch (const Error& e) {
    return refuse(items, e.exit_status(), "not_started", e.what());
  }
  std::string id;
  try {
    id = transport_->submit(plan.submission);
  } catch (const Error& e) {
    if (e.fault() != Fault::try_again)
      return refuse(items, static_cast<int>(Fault::config), "not_started",
                    str("Slurm refuses it: ", e.what()));
    std::lock_guard lock(mutex_);
    for (const Item& item : items) {
      item->perhaps = true;  // Slurm may have it
      item->next_try = monotonic_seconds() + kRetry;
    }
    throw;
  }
  fault_point("slurm.submitted");
  reached();
  for (size_t n = 0; n < items.size(); ++n) {
    {
      std::lock_guard lock(mutex_);
      items[n]->output =
          join_path(plan.submission.folder,
                    items.size() > 1 ? str("slurm.out.", n) : std::string("slurm.out"));
    }
    submitted(*items[n], items.size() > 1 ? str(id, "_", n) : id);
  }
  next_look_ = std::min(next_look_, monotonic_seconds() + options_.poll);
}

void SlurmExecutor::Impl::look_at_jobs() {
  std::vector<Item> items;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [serial, item] : items_)
      if (!item->id.empty() && (!item->status.whole || item->status.outcome == "ask"))
        items.push_back(item);
  }
  const double begun = monotonic_seconds();
  if (items.empty() || begun < next_look_ || begun < quiet_until_) return;
  std::map<std::string, SlurmJob> jobs;
  try {
    for (SlurmJob& job : transport_->jobs()) {
      std::string id = job.id;
      jobs.emplace(std::move(id), std::move(job));
    }
  } catch (const Error& e) {
    return not_reached(e.what());
  }
  reached();
  // A big cluster is not asked more than a tenth of the time.
  next_look_ = begun + std::max(options_.poll, 10 * (monotonic_seconds() - begun));
  std::lock_guard lock(mutex_);
  for (const Item& item : items) {
    const auto job = jobs.find(item->id);
    if (job != jobs.end()) {
      item->seen = job->second;
      item->seen_at = begun;
      item->missed = 0;
      const SlurmPhase phase = slurm_phase(job->second.state);
      if (phase == SlurmPhase::ended && !item->ended_at) item->ended_at = begun;
      if (phase == SlurmPhase::runs) item->ended_at = 0;
      if (phase == SlurmPhase::waits && !item->waits_since) item->waits_since = begun;
      if (!job->second.nodes.empty()) item->nodes = utf8_repair(job->second.nodes.substr(0, 400));
    } else if (item->submitted < begun) {
      item->seen.reset();
      item->seen_at = begun;
      if (!item->missed++) item->ended_at = begun;
    }
  }
  watch_due_ = true;
  watch_wake_.notify_all();
}

void SlurmExecutor::Impl::stop_due() {
  std::vector<std::pair<std::string, std::string>> leftovers;
  {
    std::lock_guard lock(mutex_);
    leftovers.swap(leftovers_);
  }
  for (const auto& [id, user] : leftovers) {
    try {
      transport_->cancel(id, user, false);
    } catch (const Error& e) {  // it would do nothing when it ran
      log_debug("slurm", options_.name, ": job ", id, " is left in Slurm's queue: ", e.what());
    }
  }
  struct Step {
    Item item;
    std::string id;
    bool waits = false;
  };
  std::vector<Step> steps;
  {
    std::lock_guard lock(mutex_);
    for (const auto& [serial, item] : items_) {
      if (!item->stop || item->id.empty() || item->status.whole) continue;
      steps.push_back(
          {item, item->id, item->seen && slurm_phase(item->seen->state) == SlurmPhase::waits});
    }
  }
  for (const Step& step : steps) {
    if (monotonic_seconds() < quiet_until_ && step.item->stop_written) continue;
    Tracked& item = *step.item;
    const std::string user = item.launch.system_user;
    double grace;
    {
      std::lock_guard lock(mutex_);
      grace = item.grace;
    }
    try {
      if (!item.stop_written) {
        const launch::AsUser as(slurm_account(user, options_).identity);
        write_small_file(join_path(item.folder, "slurm.stop"), str(grace, "\n"));
        item.stop_written = true;
      }
      const double now = monotonic_seconds();
      if (!item.term_at) {
        // Where signals do not reach the tasks alone, the script sees slurm.stop.
        if (transport_->signals_tasks() || step.waits) transport_->cancel(step.id, user, true);
        transport_->signal(step.id, user, false);
        item.term_at = now;
        next_look_ = 0;
      } else if (!item.kill_at && now >= item.term_at + grace) {
        transport_->signal(step.id, user, true);
        item.kill_at = now;
      } else if (item.kill_at &&
                 now >= std::max(item.kill_at + kCancelAfter, item.cancel_at + 3 * kCancelAfter)) {
        transport_->cancel(step.id, user, false);
        item.cancel_at = now;
      }
    } catch (const Error& e) {
      if (e.fault() == Fault::try_again) {
        not_reached(e.what());
      } else {
        log_warning("slurm", options_.name, ": job ", step.id, " is not stopped yet: ", e.what());
        quiet_until_ = monotonic_seconds() + kRetry;
      }
    }
  }
}

}  // namespace wellspring::cluster
