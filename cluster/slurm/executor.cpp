#include "cluster/slurm/executor.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "base/time.h"
#include "cluster/node/executions.h"
#include "cluster/slurm/executor_impl.h"

namespace wellspring::cluster {
namespace {

bool can_run(const std::string& state) {
  for (const char* sign : {"down", "drain", "fail", "not_resp", "*", "maint", "reboot", "inval",
                           "unknown", "error", "future", "power_down", "no_resp"})
    if (state.find(sign) != state.npos) return false;
  return true;
}

}  // namespace

std::vector<Node> slurm_nodes(const std::vector<SlurmNode>& nodes, const SlurmOptions& options,
                              const ChipTable& chips) {
  std::map<std::string, std::string> by_gres;
  for (const auto& [chip, gres] : options.gres) by_gres[gres] = chip;
  std::vector<Node> all;
  for (const SlurmNode& s : nodes) {
    Node n;
    n.name = str(options.name, ".", s.name);
    if (!is_name(n.name)) continue;
    for (const SlurmGres& g : parse_gres(s.gres)) {
      const auto named = by_gres.find(g.type.empty() ? g.name : str(g.name, ":", g.type));
      const ChipKind* kind = chips.find(named != by_gres.end() ? named->second : g.type);
      if (kind)
        n.devices.insert(n.devices.end(), static_cast<size_t>(g.count), Device{.chip = kind->name});
    }
    if (n.devices.empty() && s.gres.empty() && !options.cpu_chip.empty()) {
      const auto each = options.cpus_per_device.find(options.cpu_chip);
      const int count = s.cpus / (each == options.cpus_per_device.end() ? 1 : each->second);
      n.devices.assign(static_cast<size_t>(std::min(count, 4096)),
                       Device{.chip = options.cpu_chip});
    }
    if (n.devices.empty() || n.devices.size() > 4096) continue;
    n.executor = n.pool = options.name;
    n.runs = options.runs, n.address = s.address;
    n.containment = "Slurm", n.version = "Slurm";
    n.memory_mb = s.memory_mb, n.mounts = options.mounts;
    n.single_trust = options.single_trust;
    n.switches_users = ::geteuid() == 0 && !options.single_trust;
    if (!n.switches_users && !n.single_trust)
      n.only_team = options.team.empty() ? "default" : options.team;
    if (!can_run(s.state)) {
      n.down = true;
      n.note =
          str("Slurm: ", cut_to_width(utf8_repair(s.state), 60),
              s.reason.empty() ? "" : str(" (", cut_to_width(utf8_repair(s.reason), 200), ")"));
    }
    all.push_back(std::move(n));
  }
  return all;
}

SlurmExecutor::Impl::Impl(
    const SlurmOptions& options, const ChipTable& chips, Reports reports,
    std::function<std::string(const std::string&, const std::string&)> archive)
    : options_(options),
      chips_(chips),
      reports_(std::move(reports)),
      archive_(std::move(archive)),
      transport_(make_transport(options)) {
  speaker_ = std::thread([this] { speak(); });
  watcher_ = std::thread([this] { watch(); });
}

SlurmExecutor::Impl::~Impl() {
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    speak_wake_.notify_all(), watch_wake_.notify_all();
  }
  speaker_.join();
  watcher_.join();
}

bool SlurmExecutor::Impl::add(const Launch& launch, std::vector<SlurmComponent> components,
                              bool adopted) {
  if (launch.attempt.state == AttemptState::ended || launch.attempt.parts.empty()) return false;
  auto item = std::make_shared<Tracked>();
  item->launch = launch;
  item->components = std::move(components);
  item->folder = attempt_folder(launch.attempt);
  item->told = launch.attempt.outside;
  item->id =
      launch.attempt.outside.substr(0, launch.attempt.outside.find_first_not_of("0123456789_"));
  item->perhaps = adopted && item->id.empty();
  item->submitted = item->id.empty() ? 0 : monotonic_seconds();
  item->running = item->told_running = launch.attempt.state == AttemptState::running;
  if (launch.attempt.state == AttemptState::stopping) {
    item->stop = true;
    item->grace = launch.job.spec->checkpoint.grace;
    item->stop_reason = launch.attempt.reason;
  }
  std::lock_guard lock(mutex_);
  return items_.emplace(launch.attempt.serial, std::move(item)).second;
}

SlurmExecutor::SlurmExecutor(
    const SlurmOptions& options, const ChipTable& chips, Reports reports,
    std::function<std::string(const std::string&, const std::string&)> archive)
    : impl_(std::make_unique<Impl>(options, chips, std::move(reports), std::move(archive))) {}

SlurmExecutor::~SlurmExecutor() = default;

void SlurmExecutor::start(const Launch& launch) { start(launch, {}); }

void SlurmExecutor::start(const Launch& launch, std::vector<SlurmComponent> components) {
  if (!impl_->add(launch, std::move(components), false)) return;
  std::lock_guard lock(impl_->mutex_);
  impl_->speak_due_ = true;
  impl_->speak_wake_.notify_all();
}

void SlurmExecutor::stop(const Attempt& attempt, const std::string&, double grace,
                         const std::string& reason) {
  std::lock_guard lock(impl_->mutex_);
  const auto it = impl_->items_.find(attempt.serial);
  if (it == impl_->items_.end()) return;
  Impl::Tracked& item = *it->second;
  item.grace = item.stop ? std::min(item.grace, grace) : grace;
  item.stop = true;
  item.stop_reason = reason;
  impl_->speak_due_ = true;
  impl_->speak_wake_.notify_all();
}

std::string SlurmExecutor::trouble() const {
  std::lock_guard lock(impl_->mutex_);
  return impl_->trouble_;
}

LogText SlurmExecutor::log(const Attempt& attempt, const std::string& user, int rank,
                           int64_t offset, int64_t most, double wait) {
  const std::string folder = attempt_folder(attempt);
  const SlurmAccount account = slurm_account(user, impl_->options_);
  const std::string name = slurm_account_name(user, impl_->options_);
  const Stopwatch watch;
  while (true) {
    bool over = attempt.state == AttemptState::ended;
    if (!over) {
      std::lock_guard lock(impl_->mutex_);
      const auto it = impl_->items_.find(attempt.serial);
      over = it == impl_->items_.end() ? impl_->adopted_ : it->second->status.whole;
    }
    LogPart part = Executions::read_log_in(folder, name, rank, offset, most);
    LogText text{.data = std::move(part.data), .next = part.next, .total = part.total};
    text.over = over && text.next >= text.total;
    if (!text.data.empty() || text.over || watch.seconds() >= wait) return text;
    sleep_seconds(std::min(0.05, std::max(0.001, wait - watch.seconds())));
  }
}

}  // namespace wellspring::cluster
