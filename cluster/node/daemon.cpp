#include "cluster/node/daemon.h"

#include <fcntl.h>
#include <poll.h>
#include <pwd.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "base/crypto.h"
#include "base/error.h"
#include "base/file.h"
#include "base/http.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "base/time.h"
#include "base/version.h"
#include "cluster/client/client.h"
#include "cluster/launch/spec.h"
#include "cluster/node/executions_impl.h"
#include "cluster/node/retention.h"
#include "cluster/node/run_files.h"
#include "cluster/state/fields.h"

namespace wellspring::cluster {
namespace {

HttpClientOptions client_options(const std::string& ca) {
  HttpClientOptions o;
  o.ca_pem = ca;
  o.connect_timeout = 5;
  o.read_timeout = 600;
  return o;
}

constexpr double kTellPause = 0.001;  // seconds between messages of events

std::string phase_text(Phase phase) { return std::string(phase_name(phase)); }

// Whether the launcher could not begin for want of something that has nothing to do with the job: it
// may well run elsewhere, or later.
bool fault_of_machine(const std::string& reason) {
  for (const int error : {ENOSPC, EDQUOT, EIO, EROFS, EMFILE, ENFILE, ENOMEM, EAGAIN, ESTALE})
    if (ends_with(reason, std::strerror(error))) return true;
  return false;
}

Json event_json(const Event& e, const std::string& run_folder, const std::string& user) {
  static constexpr const char* kKinds[] = {"prepared", "running", "task_ended", "ended"};
  Json out = {{"token", e.token}, {"kind", kKinds[e.kind]}};
  if (e.kind != Event::ended) return out;
  out["status"] = e.status;
  out["outcome"] = e.outcome == Ending::not_started && fault_of_machine(e.reason)
                       ? "node_fault"
                       : std::string(ending_name(e.outcome));
  if (!e.reason.empty()) out["reason"] = e.reason;
  out["cpu_seconds"] = e.usage.cpu_seconds;
  out["peak_memory"] = e.usage.max_rss_bytes;
  try {
    if (const int64_t step = newest_checkpoint(run_folder, user)) out["checkpoint"] = step;
    if (const Json reached = run_reached(run_folder, user); !reached.empty()) out["reached"] = reached;
  } catch (const std::exception& error) {  // its user is no more
    log_warning("node", run_folder, ": ", error.what());
  }
  return out;
}

}  // namespace

// What must be known of an attempt after a restart of the daemon, too.
struct NodeDaemon::Attempt {
  std::string run_folder, user;
  Json ended;            // the event, until the controller has it on disk
  int service_port = 0;  // 0: it is no service
  std::string ready_path;
  double ready_by = 0;  // monotonic; 0: known
  bool ready = false;
  bool asked = false;     // somebody asks it whether it is ready
  bool fetching = false;  // its archive is on the way
  std::string stopped;    // meanwhile, and why
};

bool has_joined(const NodeOptions& o) { return exists(join_path(o.folder, "node.json")); }

void join_cluster(const NodeOptions& o, const std::string& invitation,
                  const std::string& ca_fingerprint) {
  check_url(o.controller);
  make_directories(o.folder);
  HttpClientOptions client;
  client.connect_timeout = 10, client.read_timeout = 30;
  client.ca_fingerprint = ca_fingerprint;
  const HttpResult r = http_request("POST", o.controller + "/api/v1/join",
                                    {{"Content-Type", "application/json"}},
                                    to_text({{"token", invitation}, {"name", o.name}}), {}, client);
  const Json answer = parse_json(r.body, "the controller's answer");
  if (r.status != 201)
    throw Error(Fault::config, str("the controller at ", o.controller, " refuses node ", o.name, ": ",
                                   answer.contains("error") ? answer["error"].value("message", "") : r.body));
  const mode_t before = ::umask(0077);
  write_file_atomic(join_path(o.folder, "node.json"),
                    to_text({{"name", o.name}, {"controller", o.controller}, {"key", answer["key"]},
                             {"ca", answer.value("ca", "")}}, 1));
  ::umask(before);
}

NodeDaemon::NodeDaemon(NodeOptions options) : options_(std::move(options)) {
  const std::string path = join_path(options_.folder, "node.json");
  if (!exists(path))
    throw Error(Fault::config, str("this node has not joined a cluster: wellspring cluster node --controller URL "
                                   "--join TOKEN (a token is made by `wellspring cluster token join`)"));
  const Json known = read_json(path);
  if (known.value("name", "") != options_.name)
    throw Error(Fault::config, str(path, " is the key of node ", known.value("name", ""), ", not of ", options_.name));
  key_ = known.at("key");
  ca_ = known.value("ca", "");
  const_cast<NodeOptions&>(options_).controller =
      options_.controller.empty() ? known.at("controller").get<std::string>() : options_.controller;
  check_url(options_.controller);
  if (options_.runs.empty())
    const_cast<NodeOptions&>(options_).runs = join_path(options_.folder, "runs");
  make_directories(options_.runs);
  ::chmod(options_.folder.c_str(), 0711);
  Executions::Options e;
  e.spool = join_path(options_.folder, "spool");
  e.means = options_.containment;
  executions_ = std::make_unique<Executions>(e);
  const std::string who = find_account("").name;
  if (options_.single_trust)
    log_warning("node", "single trust: jobs of all teams run with the rights of ", who);
  else if (!executions_->switches_users())
    log_warning("node", who, " cannot switch users: this node takes jobs of team ",
                options_.team.empty() ? "default" : options_.team, " alone");
  wake_ = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  make_directories(join_path(options_.folder, "services"));
  // Names in there are tokens: nobody else's business.
  ::chmod(join_path(options_.folder, "services").c_str(), 0700);
  for (const ExecutionState& state : executions_->list()) {
    auto attempt = std::make_unique<Attempt>();
    attempt->run_folder = parent_path(parent_path(state.attempt_folder));  // .../attempts/N
    if (executions_->switches_users() && !options_.single_trust) attempt->user = state.user;
    if (const std::string note = service_note(state.token); exists(note)) {
      const Json json = read_json(note);
      attempt->service_port = json.value("service_port", 0);
      attempt->ready_path = json.value("ready_path", "");
      attempt->ready_by = json.value("ready_by", 0.0);
    }
    attempts_[state.token] = std::move(attempt);
    if (state.phase != Phase::ended) running_.insert(state.token);
  }
}

std::string NodeDaemon::service_note(const std::string& token) const {
  return join_path(options_.folder, "services/" + token);
}

NodeDaemon::~NodeDaemon() {
  stopping_ = true;
  {
    std::lock_guard lock(mutex_);
    if (link_) link_->close();
  }
  if (dialler_.joinable()) dialler_.join();
  if (watcher_.joinable()) watcher_.join();
  while (helpers_) sleep_seconds(0.01);
  if (wake_ >= 0) ::close(wake_);
  if (lease_ >= 0) ::close(lease_);
}

Json NodeDaemon::hello() const {
  Node n;
  n.name = options_.name, n.runs = options_.runs, n.address = options_.address;
  n.version = version();
  const ContainInfo& c = executions_->containment();
  n.containment = str(means_name(c.means), "; ", c.limits);
  n.devices = options_.devices, n.memory_mb = options_.memory_mb, n.mounts = options_.mounts;
  n.switches_users = executions_->switches_users() && !options_.single_trust;
  n.single_trust = options_.single_trust;
  if (!n.switches_users && !n.single_trust) n.only_team = options_.team.empty() ? "default" : options_.team;
  return entity_json(n);
}

void NodeDaemon::send(const Json& message) {
  std::lock_guard lock(mutex_);
  if (link_) link_->send(message);
}

void NodeDaemon::dial() {
  double pause = 0.05;
  std::string said;
  while (!stopping_) {
    try {
      auto duplex = http_upgrade(options_.controller + "/api/v1/link", "wellspring-link",
                                 {{"Authorization", "Bearer " + key_}, {"Wellspring-Node", options_.name}},
                                 client_options(ca_));
      auto link = std::make_shared<Link>(
          std::shared_ptr<HttpDuplex>(std::move(duplex)),
          Link::Handlers{.message = [this](const Json& m) { take(m); },
                         .opened = [this](std::shared_ptr<Channel> c, const Json& w) { opened(std::move(c), w); }},
          true);
      {
        std::lock_guard lock(mutex_);
        link_ = link;
      }
      if (stopping_) link->close();
      log_info("node", options_.name, " is connected to ", options_.controller);
      pause = 0.05, said.clear();
      link->send({{"hello", hello()}, {"at", monotonic_seconds()}});
      link->run([this] { return std::max(5.0, fence_after_ > 0 ? fence_after_.load() : 60.0); });
      log_info("node", "the link to the controller is closed: ", link->reason());
      std::lock_guard lock(mutex_);
      link_ = nullptr;
    } catch (const std::exception& e) {
      if (said != e.what()) log_warning("node", "no link to the controller (trying again): ", said = e.what());
    }
    for (double waited = 0; waited < pause && !stopping_; waited += 0.05) sleep_seconds(0.05);
    pause = std::min(2.0, pause * 1.5);
  }
}

// On the link's thread: everything else happens on the daemon's own.
void NodeDaemon::take(const Json& message) {
  std::lock_guard lock(mutex_);
  inbox_.push_back(message);
  wake();
}

void NodeDaemon::wake() {
  const uint64_t one = 1;
  if (::write(wake_, &one, sizeof one) < 0) return;  // it is awake
}

void NodeDaemon::run_calls() {
  decltype(calls_) calls;
  {
    std::lock_guard lock(mutex_);
    calls.swap(calls_);
  }
  for (const auto& call : calls) (*call)();
}

// In place: a full disk must not end what runs. Who reads it while we write sees that the two ends
// differ.
void NodeDaemon::write_lease() {
  char text[96];
  const int size = std::snprintf(text, sizeof text, "%18.3f %12.3f %9.3f %18.3f\n", lease_until_,
                                 0.8 * (lost_after_ - fence_after_), beat_pause(), lease_until_);
  if (lease_ < 0)
    lease_ = ::open(join_path(options_.folder, "lease").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (lease_ < 0 || ::pwrite(lease_, text, static_cast<size_t>(size), 0) != size)
    throw Error(Fault::io, str(join_path(options_.folder, "lease"), ": ", std::strerror(errno),
                               ": without it attempts end when their lease is over"));
}

double NodeDaemon::beat_pause() const { return fence_after_ > 0 ? std::min(10.0, fence_after_ / 8) : 1; }

void NodeDaemon::beat() {
  const double now = monotonic_seconds();
  if (now < next_beat_) return;
  next_beat_ = now + beat_pause();
  send({{"beat", now}, {"seen", seen_}});
}

void NodeDaemon::send_attempts() {
  Json list = Json::array();
  for (const ExecutionState& s : executions_->list())
    list.push_back({{"token", s.token}, {"phase", phase_text(s.phase)}});
  {
    std::lock_guard lock(mutex_);
    for (const auto& [token, a] : attempts_)
      if (a->fetching) list.push_back({{"token", token}, {"phase", "starting"}});
  }
  std::string proof;
  const std::string file = join_path(options_.runs, ".wellspring/proof-" + options_.name);
  if (exists(file)) proof = std::string(trim(read_file(file)));
  send({{"attempts", list}, {"proof", proof}});
  // Ends that the controller may not know.
  Json again = Json::array();
  {
    std::lock_guard lock(mutex_);
    for (const auto& [token, a] : attempts_)
      if (!a->ended.is_null()) again.push_back(a->ended);
  }
  for (const ExecutionState& s : executions_->list()) {
    if (s.phase == Phase::prepared) again.push_back({{"token", s.token}, {"kind", "prepared"}});
    if (s.phase == Phase::running || s.phase == Phase::stopping)
      again.push_back({{"token", s.token}, {"kind", "running"}});
  }
  {
    std::lock_guard lock(mutex_);
    for (const auto& [token, a] : attempts_)
      if (a->ready) again.push_back({{"token", token}, {"kind", "ready"}});
  }
  if (!again.empty()) send({{"events", again}});
}

std::string NodeDaemon::user_of(const Json& m) const {
  // A node that cannot switch runs its one team's attempts with its own rights.
  if (options_.single_trust || !executions_->switches_users()) return "";
  const std::string user = m.value("user", "");
  if (user.empty())
    throw Error(Fault::config, "the team has no system user, and this node runs nothing with the rights of root");
  return user;
}

// The controller decides what runs; names that lead out of our folders it does not send. Were it
// somebody else's, it would still not write with our rights.
void NodeDaemon::check_start(const Json& m) const {
  const Json& spec = m.at("spec");
  const std::string team = spec.value("team", "default"), run = m.at("run_folder"), snapshot = spec.value("snapshot", "");
  if (!launch::valid_token(m.at("token").get<std::string>())) throw Error(Fault::data, "the attempt's token is none");
  if (!is_name(team)) throw Error(Fault::data, "the team's name is none");
  if (!snapshot.empty() && (snapshot.size() != 64 || snapshot.find_first_not_of("0123456789abcdef") != std::string::npos))
    throw Error(Fault::data, "the archive's name is none");
  check_under(options_.runs, run);
  std::string_view below = std::string_view(run).substr(options_.runs.size());
  below.remove_prefix(std::min(below.size(), below.find_first_not_of('/')));
  if (!starts_with(below, team + "/") || !is_name(below.substr(team.size() + 1)))
    throw Error(Fault::data, str(run, " is not a run folder of team ", team));
  if (options_.single_trust || executions_->switches_users()) return;
  if (const std::string only = options_.team.empty() ? "default" : options_.team; team != only)
    throw Error(Fault::config, str("this node cannot switch users and takes jobs of team ", only, " alone"));
}

void NodeDaemon::begin(const Json& m, const std::string& archive) {
  const std::string token = m.at("token"), user = user_of(m), team = m["spec"].value("team", "default");
  LaunchSpec spec = launch_spec(m, options_, archive);
  spec.user = user;
  own_folder(join_path(options_.runs, team), user);
  if (!spec.prepare.empty()) own_folder(join_path(options_.folder, "prepared/" + team), user);
  auto attempt = std::make_unique<Attempt>();
  attempt->run_folder = m.at("run_folder"), attempt->user = user;
  const Json service = m["spec"].value("service", Json::object());
  if (const int port = service.value("port", 0)) {
    attempt->service_port = port;
    attempt->ready_path = service.value("ready_path", "");
    attempt->ready_by = monotonic_seconds() + service.value("ready_timeout", 300.0);
  }
  if (m["spec"].value("on_lost_contact", "fence") == "fence")
    spec.lease = join_path(options_.folder, "lease");
  if (attempt->service_port)  // the rest is known from the spool
    write_file_atomic(service_note(token), to_text({{"service_port", attempt->service_port},
                                                    {"ready_path", attempt->ready_path},
                                                    {"ready_by", attempt->ready_by}}));
  {
    std::lock_guard lock(mutex_);
    attempts_[token] = std::move(attempt);
    running_.insert(token);
  }
  executions_->start(spec);
}

void NodeDaemon::not_started(const std::string& token, const std::exception& e) {
  const auto* error = dynamic_cast<const Error*>(&e);
  const bool ours = error && (error->fault() == Fault::io || error->fault() == Fault::try_again);
  not_started(token, ours ? "node_fault" : "not_started", e.what());
}

void NodeDaemon::not_started(const std::string& token, const std::string& outcome, const std::string& reason) {
  const int status = outcome == "stopped" ? 143 : outcome == "lost" ? 137 : 126;
  std::lock_guard lock(mutex_);
  auto& a = attempts_[token];
  if (!a) a = std::make_unique<Attempt>();
  a->fetching = false;
  a->ended = {{"token", token}, {"kind", "ended"}, {"status", status}, {"outcome", outcome}, {"reason", reason}};
  running_.erase(token);
  if (link_) link_->send({{"events", Json::array({a->ended})}});
}

void NodeDaemon::start(const Json& m) {
  const std::string token = m.at("token");
  {
    std::lock_guard lock(mutex_);
    if (attempts_.contains(token)) return;  // asked again
  }
  // The daemon was killed while it started it; or it has ended and been forgotten, which the
  // controller then knows.
  if (executions_->used(token)) return not_started(token, "lost", "the node knows nothing of it any more");
  try {
    check_start(m);
    const std::string snapshot = m["spec"].value("snapshot", ""), user = user_of(m);
    if (snapshot.empty()) return begin(m, "");
    const std::string here = cached_archive(options_, m["spec"].value("team", "default"), snapshot, user);
    here.empty() ? fetch(m, user) : begin(m, here);
  } catch (const std::exception& e) {
    not_started(token, e);
  }
}

// Not on our own thread: it may take minutes, and what else runs here is not to wait for it.
void NodeDaemon::fetch(const Json& m, const std::string& user) {
  const std::string token = m.at("token");
  {
    std::lock_guard lock(mutex_);
    auto& a = attempts_[token] = std::make_unique<Attempt>();
    a->fetching = true;
  }
  help(token, [this, m, user, token] {
    std::string archive;
    std::exception_ptr failure;
    try {
      archive = fetch_archive(options_, key_, ca_, m["spec"].value("team", "default"), m["spec"].at("snapshot"), user,
                              stopping_);
    } catch (...) {
      failure = std::current_exception();
    }
    on_own_thread([&] {
      std::string stopped;
      {
        std::lock_guard lock(mutex_);
        const auto it = attempts_.find(token);
        if (it == attempts_.end() || !it->second->fetching) return;
        stopped = it->second->stopped;
        it->second->fetching = false;
      }
      if (!stopped.empty()) return not_started(token, "stopped", stopped);
      try {
        if (failure) std::rethrow_exception(failure);
        begin(m, archive);
      } catch (const std::exception& e) {
        not_started(token, e);
      }
    });
  });
}

bool NodeDaemon::stop_fetching(const std::string& token, const std::string& reason) {
  std::lock_guard lock(mutex_);
  const auto it = attempts_.find(token);
  if (it == attempts_.end() || !it->second->fetching) return false;
  it->second->stopped = reason.empty() ? "stopped" : reason;
  return true;
}

// What comes one after the other is told together: a job that is short begins and ends in one message.
void NodeDaemon::send_events() {
  for (const Event& e : executions_->poll()) {
    if (e.kind == Event::task_ended) continue;
    std::lock_guard lock(mutex_);
    const auto it = attempts_.find(e.token);
    Json json = it == attempts_.end() ? event_json(e, "", "") : event_json(e, it->second->run_folder, it->second->user);
    if (e.kind == Event::ended) {
      running_.erase(e.token);
      if (it != attempts_.end()) it->second->ended = json;
    }
    untold_.push_back(std::move(json));
  }
  if (untold_.empty() || monotonic_seconds() < told_ + kTellPause) return;
  send({{"events", std::exchange(untold_, {})}});
  told_ = monotonic_seconds();
}

void NodeDaemon::run(const std::function<bool()>& stop) {
  dialler_ = std::thread([this] { dial(); });
  watcher_ = std::thread([this] { watch_services(); });
  while (!stop()) {
    pollfd waits[2] = {{executions_->descriptor(), POLLIN, 0}, {wake_, POLLIN, 0}};
    ::poll(waits, 2, untold_.empty() ? 100 : static_cast<int>(1000 * kTellPause));
    uint64_t count;
    if (::read(wake_, &count, sizeof count) < 0) count = 0;
    std::vector<Json> inbox;
    {
      std::lock_guard lock(mutex_);
      inbox.swap(inbox_);
    }
    run_calls();
    for (const Json& m : inbox) {
      try {
        if (m.contains("start")) start(m["start"]);
        if (m.contains("go")) executions_->go(m["go"]);
        if (m.contains("stop") && !stop_fetching(m["stop"].at("token"), m["stop"].value("reason", "")))
          executions_->stop(m["stop"].at("token"), m["stop"].value("grace", 30.0), m["stop"].value("reason", ""));
        if (m.contains("kill"))
          for (const Json& token : m["kill"]) {
            stop_fetching(token, "the controller does not know it any more");
            executions_->stop(token, 0, "the controller does not know it any more");
            std::lock_guard lock(mutex_);
            if (const auto it = attempts_.find(token); it != attempts_.end() && !it->second->ended.is_null())
              link_ ? link_->send({{"events", Json::array({it->second->ended})}}) : void();
          }
        if (m.contains("forget"))
          for (const Json& token : m["forget"]) {
            if (!launch::valid_token(token.get<std::string>())) continue;
            executions_->forget(token);
            std::lock_guard lock(mutex_);
            const auto it = attempts_.find(token);
            if (it == attempts_.end()) continue;
            if (it->second->service_port) remove_all(service_note(token));
            attempts_.erase(it);
          }
        if (m.contains("welcome")) {
          fence_after_ = m["welcome"].value("fence_after", 240.0);
          lost_after_ = m["welcome"].value("lost_after", 300.0);
          keep_runs_ = m["welcome"].value("keep_runs", 0.0);
          // The controller has heard from us after we sent this: counted from there we end first.
          seen_ = m["welcome"].at("at");
          lease_until_ = seen_ + fence_after_;
          write_lease();
          next_beat_ = 0;
          send_attempts();
        }
        if (m.contains("beat")) {
          fence_after_ = m.value("fence_after", fence_after_.load()), lost_after_ = m.value("lost_after", lost_after_);
          if (m["beat"].get<double>() < seen_) continue;  // of an earlier link
          seen_ = m["beat"];
          lease_until_ = seen_ + fence_after_;
          write_lease();
        }
        if (m.contains("remove_runs"))
          help("", [this, names = m["remove_runs"].get<std::vector<std::string>>()] {
            for (const std::string& name : names) try {
                remove_run(options_.runs, name);
              } catch (const Error& e) {
                log_warning("node", e.what());
              }
          });
        if (m.contains("service")) service_known(m["service"].at("token"), m["service"].at("ready"));
      } catch (const std::exception& e) {
        log_error("node", "a message of the controller: ", e.what());
      }
    }
    send_events();
    beat();
    clean();
  }
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    if (link_) link_->close();
  }
  run_calls();  // none comes after that
}

// What nobody has used for long. Which run folders may go the controller knows: it is asked.
void NodeDaemon::clean() {
  if (monotonic_seconds() < next_clean_) return;
  const double keep = keep_runs_, caches = options_.cache_age;
  next_clean_ = monotonic_seconds() + std::clamp((keep > 0 ? std::min(keep, caches) : caches) / 4, 1.0, 3600.0);
  help("", [this, keep, caches] {
    constexpr size_t kMost = 1000;  // at a time
    clean_caches(options_.folder, caches);
    if (keep <= 0) return;
    if (const auto old = old_runs(options_.runs, keep, kMost); !old.empty()) send({{"old_runs", old}});
  });
}

// On a thread of its own, and each service is asked on another one: it may take its time on purpose.
void NodeDaemon::watch_services() {
  struct Watched {
    std::string token, path;
    int port;
    double by;
  };
  while (!stopping_) {
    std::vector<Watched> watched;
    {
      std::lock_guard lock(mutex_);
      for (auto& [token, a] : attempts_)
        if (a->ready_by && !a->asked && running_.contains(token)) {
          a->asked = true;
          watched.push_back({token, a->ready_path, a->service_port, a->ready_by});
        }
    }
    for (const Watched& w : watched)
      help(w.token, [this, w] {
        const bool ready = service_answers(w.port, w.path);
        if (ready || monotonic_seconds() > w.by) take({{"service", {{"token", w.token}, {"ready", ready}}}});
        std::lock_guard lock(mutex_);
        if (const auto it = attempts_.find(w.token); it != attempts_.end()) it->second->asked = false;
      });
    sleep_seconds(0.1);
  }
}

void NodeDaemon::service_known(const std::string& token, bool ready) {
  {
    std::lock_guard lock(mutex_);
    const auto it = attempts_.find(token);
    if (it == attempts_.end() || !it->second->ready_by) return;
    it->second->ready_by = 0, it->second->ready = ready;
  }
  if (ready)
    send({{"events", Json::array({{{"token", token}, {"kind", "ready"}}})}});
  else
    executions_->stop(token, -1, "the service was not ready in time");
}

// Runs f on a thread of its own.
void NodeDaemon::help(const std::string& token, std::function<void()> f) {
  {
    std::lock_guard lock(mutex_);
    ++busy_[token];
  }
  ++helpers_;
  std::thread([this, token, f = std::move(f)] {
    try {
      f();
    } catch (const std::exception& e) {
      log_debug("node", e.what());
    }
    {
      std::lock_guard lock(mutex_);
      if (--busy_[token] <= 0) busy_.erase(token);
    }
    --helpers_;
  }).detach();
}

void NodeDaemon::opened(std::shared_ptr<Channel> channel, const Json& what) {
  constexpr int kMost = 512, kMostEach = 64;  // of one attempt, so that none takes them all
  std::string token;
  for (const auto& [kind, of] : what.items())
    if (of.is_object()) token = of.value("token", of.value("folder", ""));
  bool full = helpers_ >= kMost;
  {
    std::lock_guard lock(mutex_);
    if (const auto it = busy_.find(token); it != busy_.end()) full |= it->second >= kMostEach;
  }
  if (full) return channel->close("the node serves too many readers: try again");
  help(token, [this, channel = std::move(channel), what] {
    try {
      if (what.contains("log"))
        serve_log(*channel, what["log"]);
      else if (what.contains("progress"))
        channel->write(to_text(run_progress(what["progress"], options_.runs, user_of(what["progress"])))), channel->finish();
      else if (what.contains("curve"))
        channel->write(to_text(run_curve(what["curve"], options_.runs, user_of(what["curve"])))), channel->finish();
      else if (what.contains("forward"))
        serve_forward(*channel, what["forward"]);
      else if (what.contains("exec"))
        serve_exec(*channel, what["exec"]);
      else
        channel->close("this node does not know how to do that: its version is older or newer");
      // The other side reads to the end before the channel goes.
      for (int i = 0; i < 100 && !channel->over(); ++i)
        if (!channel->read(0.1) && channel->over()) break;
    } catch (const std::exception& e) {
      channel->close(e.what());
    }
  });
}

void NodeDaemon::serve_log(Channel& channel, const Json& what) {
  const std::string token = what.at("token"), folder = what.at("folder");
  check_under(options_.runs, folder);
  const std::string user = user_of(what);
  const double until = monotonic_seconds() + std::min(60.0, what.value("wait", 0.0));
  LogPart part;
  bool over;
  while (true) {
    {
      std::lock_guard lock(mutex_);
      over = !running_.contains(token);
    }
    part = Executions::read_log_in(folder, user, what.value("rank", 0), what.value("offset", int64_t{0}),
                                   std::min<int64_t>(1 << 20, what.value("most", int64_t{1} << 18)));
    if (!part.data.empty() || over || stopping_ || channel.over() || monotonic_seconds() >= until) break;
    sleep_seconds(0.03);
  }
  const Json head = {{"next", part.next}, {"total", part.total}, {"over", over && part.next >= part.total}};
  channel.write(to_text(head) + "\n" + part.data);
  channel.finish();
}

void NodeDaemon::serve_forward(Channel& channel, const Json& what) {
  {
    std::lock_guard lock(mutex_);
    if (!running_.contains(what.at("token"))) throw Error(Fault::usage, "the job is not running here");
  }
  relay_port(channel, what.at("port"));
}

}  // namespace wellspring::cluster
