#include "cluster/controller/controller.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "base/crypto.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "base/time.h"
#include "base/version.h"
#include "cluster/node/run_files.h"
#include "cluster/slurm/account.h"
#include "cluster/slurm/executor.h"

namespace wellspring::cluster {
namespace {

// Written readable by us alone from the first moment.
void write_private(const std::string& path, std::string_view content) {
  const mode_t before = ::umask(0077);
  try {
    write_file_atomic(path, content);
  } catch (...) {
    ::umask(before);
    throw;
  }
  ::umask(before);
}

std::string newest_backup(const std::string& folder) {
  std::string newest;  // names sort by their time
  for (const std::string& name : list_directory(folder))
    if (ends_with(name, ".backup")) newest = std::max(newest, name);
  return newest.empty() ? "" : join_path(folder, newest);
}

}  // namespace

Controller::Controller(ControllerOptions options) : options_(std::move(options)) {
  make_directories(options_.folder);
  ::chmod(options_.folder.c_str(), 0711);
  for (const char* name : {"keys", "blobs", "backups", "records"}) {
    const std::string path = join_path(options_.folder, name);
    make_directories(path);
    ::chmod(path.c_str(), 0700);
  }
  make_directories(options_.runs);
  secure_ = !is_loopback(options_.address);  // TLS there
  keys();
  Core::Options core;
  core.keep = options_.keep;
  core.tick = std::min(0.1, options_.leases.lost_after / 20);
  try {
    core_ = std::make_unique<Core>(options_.state, core);
  } catch (const Error& e) {
    const std::string backup = newest_backup(join_path(options_.folder, "backups"));
    const std::string_view what = e.what();
    const bool broken = e.fault() == Fault::data || what.find("[SQLite 11") != what.npos ||
                        what.find("[SQLite 26") != what.npos;  // malformed; not a database
    if (!broken || backup.empty()) throw;
    throw Error(e.fault(), str(e.what(), "\nThe newest backup: wellspring cluster restore ", backup, " --replace --state ",
                               Database::shown(options_.state)));
  }
  nodes_ = std::make_unique<Nodes>(
      *core_, options_.leases, options_.runs, options_.keep_runs,
      [this](const State& state, int64_t attempt) { return launch_of(state, attempt); });
  std::vector<std::string> hosts = options_.names;
  hosts.push_back(options_.address);
  archives_ = std::make_unique<Archives>(join_path(options_.folder, "blobs"), options_.archives);
  notifier_ = std::make_unique<Notifier>(
      Notifier::Options{.allowed = options_.notify_allowed}, [this](JobId id, bool taken) {
        core_->post([id, taken](Change& c) {
          const Job* job = c.state.jobs.find(id);
          if (!job || !ended(shown_state(c.state, *job))) return;  // tried again meanwhile
          c.state.jobs.edit(id).notified = true;
          if (!taken) note(c, "job", id, "", "its notification could not be delivered");
        });
      });
  access_ = std::make_unique<Access>(*core_, hosts, secure_);
  HttpServerOptions http;
  http.address = options_.address, http.port = options_.port;
  // Slow clients hold a thread each: more of them than come at a time.
  http.max_connections = 2048, http.max_streams = 2048, http.stack_size = 512 << 10;
  http.max_bodies = 512 << 20;
  // A part of an archive; a job with all that it may hold; and what comes before we know who asks.
  constexpr int64_t kPartBody = 12 << 20, kJobBody = 4 << 20, kUnknownBody = 64 << 10;
  http.max_body = kPartBody;
  http.body_limit = [this](const HttpRequest& request) {
    if (!access_->known(request)) return kUnknownBody;
    return starts_with(request.path, "/api/v1/blobs/") ? kPartBody : kJobBody;
  };
  if (secure_) {
    http.certificate = join_path(options_.folder, "keys/server.pem");
    http.key = join_path(options_.folder, "keys/server.key");
  }
  records_ = std::make_unique<RecordStore>(join_path(options_.folder, "records"));
  server_ = std::make_unique<HttpServer>(http);
  add_routes(*this, *server_);
}

Controller::~Controller() { stop(); }

// The CA and this server's certificate, and the key that seals secrets.
void Controller::keys() {
  if (!exists(options_.secrets_key)) {
    make_directories(parent_path(options_.secrets_key));
    write_private(options_.secrets_key, hex(random_bytes(32)) + "\n");
  }
  const auto key = unhex(trim(read_file(options_.secrets_key)));
  if (!key || key->size() != 32)
    throw Error(Fault::config, str(options_.secrets_key, ": not a key of 64 hex digits: put the right "
                                   "file back, the secrets in the state are sealed with it"));
  secrets_key_ = *key;
  if (!secure_) return;
  const auto path = [&](const char* name) { return join_path(options_.folder, str("keys/", name)); };
  if (!exists(path("ca.pem"))) {
    const Certificate ca = make_ca("Wellspring cluster");
    write_private(path("ca.key"), ca.key_pem);
    write_private(path("ca.pem"), ca.cert_pem);
  }
  ca_ = read_file(path("ca.pem"));
  std::vector<std::string> names = options_.names;
  for (const char* name : {"localhost", "127.0.0.1"}) names.emplace_back(name);
  if (options_.address != "0.0.0.0" && options_.address != "::") names.push_back(options_.address);
  const Certificate own = issue_certificate({ca_, read_file(path("ca.key"))}, names, 825);
  write_private(path("server.key"), own.key_pem);
  write_private(path("server.pem"), own.cert_pem);
}

std::string Controller::url() const {
  const bool v6 = options_.address.find(':') != std::string::npos;
  std::string host = v6 ? str("[", options_.address, "]") : options_.address;
  if (host == "0.0.0.0" || host == "[::]")
    host = options_.names.empty() ? "127.0.0.1" : options_.names[0];
  return str(secure_ ? "https://" : "http://", host, ":", port());
}

// Of attempts that had ended before this start: those whose record a crash has prevented.
void Controller::find_unwritten(const std::map<int64_t, double>& ended) {
  double oldest = core_->now();
  for (const auto& [serial, at] : ended) oldest = std::min(oldest, at);
  std::set<std::string> recorded;
  records_->each(oldest - 60, [&](const Record& r) { return recorded.insert(r.id), true; });
  std::vector<Record> missing;
  core_->read([&](const State& s) {
    for (const auto& [serial, at] : ended)
      if (const Attempt* a = s.attempts.find(serial); a && !recorded.contains(str(serial)))
        missing.push_back(record_of(s, *a));
  });
  std::lock_guard lock(mutex_);
  unwritten_.insert(unwritten_.end(), missing.begin(), missing.end());
}

void Controller::start() {
  started_ = monotonic_seconds();
  std::map<int64_t, double> ended;  // what ends from now on is in the effects
  core_->read([&](const State& s) {
    for (const auto& [serial, a] : s.attempts.rows())
      if (a.state == AttemptState::ended && a.ended >= core_->now() - 7 * 86400) ended[serial] = a.ended;
  });
  for (const SlurmOptions& slurm : options_.slurm) add_slurm(slurm);  // they wait for the core
  core_->start({.effects = [this](const State& s, const Effects& e) { effects(s, e); },
                .tick = [this](const State& s) { tick(s); }});
  core_->call([&](Change& c) {
    if (!c.state.teams.find("default")) c.state.teams.put("default", {.name = "default"});
    if (!c.state.queues.find("default")) c.state.queues.put("default", {.name = "default"});
    note(c, "cluster", 0, "", "the controller has started");
  });
  server_->start();
  find_unwritten(ended);
  core_->read([&](const State& s) {  // whose notification a stop has prevented
    std::vector<JobId> late;
    for (const auto& [id, job] : s.jobs.rows())
      if (!job.notified && !job.array && !job.spec->notify.empty() &&
          core_->now() - std::max(job.ended, job.submitted) < 7 * 86400)
        late.push_back(id);
    tell_ended(s, late);
  });
  keeper_ = std::thread([this] { housekeeping(); });
}

void Controller::stop() {
  {
    std::lock_guard lock(mutex_);
    if (stopping_) return;
    stopping_ = true;
    wake_.notify_all();
  }
  if (keeper_.joinable()) keeper_.join();
  nodes_->stop();
  server_->stop();
  others_.clear();
  core_->stop();
  write_records();
}

void Controller::add_slurm(const SlurmOptions& options) {
  Reports reports;
  const std::string name = options.name;
  const bool switches = ::geteuid() == 0 && !options.single_trust;
  reports.tell = [this, name, switches](const std::vector<Report>& list) {
    std::map<int64_t, std::pair<std::string, std::string>> folders;  // and whose they are
    core_->read([&](const State& s) {
      for (const Report& r : list)
        if (const Attempt* a = s.attempts.find(r.attempt); a && r.kind == Report::ended)
          folders[r.attempt] = {a->run_folder, switches ? launch_of(s, r.attempt).system_user : ""};
    });
    std::map<int64_t, RunFound> found;
    for (const auto& [attempt, folder] : folders) {
      try {
        found[attempt] = {newest_checkpoint(folder.first, folder.second),
                          plain_figures(run_reached(folder.first, folder.second))};
      } catch (const Error& e) {  // its user is not known on this machine
        log_warning("cluster", folder.first, ": ", e.what());
      }
    }
    core_->call([&](Change& c) { take_reports(c, name, list, found); });
  };
  reports.nodes = [this](const std::string& executor, const std::vector<Node>& nodes) {
    core_->call([&](Change& c) { take_nodes(c, executor, nodes); });
  };
  reports.active = [this](const std::string& executor) {
    return core_->read([&](const State& s) {
      std::vector<Launch> all;
      for (const int64_t serial : s.active())
        if (s.attempts.at(serial).executor == executor) all.push_back(launch_of(s, serial));
      return all;
    });
  };
  others_[name] = std::make_unique<SlurmExecutor>(
      options, options_.chips, std::move(reports),
      [this](const std::string& team, const std::string& hash) { return archives_->path(team, hash); });
}

Json Controller::ask_run(const Attempt& a, const std::string& user, const char* what, Json question, double wait) {
  question["folder"] = a.run_folder;
  if (a.executor == "nodes") {
    question["user"] = user;
    return nodes_->ask(a.parts.at(0).node, {{what, question}}, wait);
  }
  // Another cluster's run folders can be seen here.
  for (const SlurmOptions& o : options_.slurm)
    if (o.name == a.executor) {
      slurm_account(user, o);  // never with root's rights
      const std::string owner = slurm_account_name(user, o);
      return std::string_view(what) == "curve" ? run_curve(question, o.runs, owner)
                                               : run_progress(question, o.runs, owner);
    }
  throw Error(Fault::io, str("the executor ", a.executor, " is not set up any more"));
}

Executor* Controller::executor(const std::string& name) {
  if (name == "nodes") return nodes_.get();
  const auto it = others_.find(name);
  return it == others_.end() ? nullptr : it->second.get();
}

Launch Controller::launch_of(const State& state, int64_t serial) const {
  Launch l;
  l.attempt = state.attempts.at(serial);
  l.job = state.jobs.at(l.attempt.job);
  if (const Team* team = state.teams.find(l.job.team)) l.system_user = team->system_user, l.roots = team->roots;
  for (const auto& part : l.attempt.parts) {
    const Node* node = state.nodes.find(part.node);
    l.addresses.push_back(node ? node->address : "");
  }
  for (const SecretUse& use : l.job.spec->secrets) {
    const std::string key = str(l.job.team, "/", use.name);
    if (const Secret* secret = state.secrets.find(key))
      if (auto text = unseal(secrets_key_, unhex(secret->sealed).value_or(""), key))
        l.secrets.emplace_back(use.name, std::move(*text));
  }
  return l;
}

std::string Controller::seal_secret(const std::string& team, const std::string& name,
                                    const std::string& content) const {
  return hex(seal(secrets_key_, content, str(team, "/", name)));
}

void Controller::effects(const State& state, const Effects& effects) {
  if (!effects.ended.empty()) {
    std::lock_guard lock(mutex_);
    for (const int64_t serial : effects.ended)
      if (const Attempt* a = state.attempts.find(serial)) unwritten_.push_back(record_of(state, *a));
  }
  tell_ended(state, effects.finished);
  const auto with = [&](int64_t serial, auto&& f) {
    const Attempt* a = state.attempts.find(serial);
    if (!a) return;
    if (Executor* e = executor(a->executor)) f(*e, *a);
  };
  for (const int64_t serial : effects.start)
    with(serial, [&](Executor& e, const Attempt&) { e.start(launch_of(state, serial)); });
  for (const int64_t serial : effects.go)
    with(serial, [&](Executor& e, const Attempt& a) { e.go(a); });
  for (const auto& stop : effects.stop)
    with(stop.attempt, [&](Executor& e, const Attempt& a) {
      e.stop(a, stop.node, stop.grace, stop.reason);
    });
}

// An array is told of once, when all of it has ended.
void Controller::tell_ended(const State& state, const std::vector<JobId>& jobs) {
  for (const JobId id : jobs) {
    const Job* job = state.jobs.find(id);
    if (job && job->array) job = state.jobs.find(job->array);
    if (!job || job->spec->notify.empty() || job->notified) continue;
    const JobState shown = shown_state(state, *job);
    if (!ended(shown)) continue;
    Json body = {{"job", shown_id(*job)}, {"name", job->spec->name}, {"team", job->team}, {"user", job->user},
                 {"state", name_of(shown)}, {"submitted", job->submitted}, {"attempts", job->attempts}};
    if (!job->reason.empty()) body["reason"] = job->reason;
    if (job->exit_status >= 0) body["exit_status"] = job->exit_status;
    if (job->started) body["started"] = job->started;
    if (job->ended) body["ended"] = job->ended;
    notifier_->post(job->id, job->team, job->spec->notify, to_text(body));
  }
}

void Controller::tick(const State& state) {
  nodes_->check_leases(state);
  for (auto& [name, executor] : others_) executor->tick();
}

Record Controller::record_of(const State& state, const Attempt& a) const {
  const Job& job = state.jobs.at(a.job);
  Record r{.at = a.ended, .kind = "attempt", .id = str(a.serial), .what = job.spec->name, .chip = a.chip,
           .nodes = static_cast<int>(a.parts.size()), .devices = 0, .used = {}, .reached = a.reached, .source = {}};
  size_t devices = 0;
  std::vector<std::string> names;
  for (const auto& part : a.parts) devices += part.devices.size(), names.push_back(part.node);
  r.devices = a.parts.empty() ? 0 : static_cast<int>(a.parts[0].devices.size());
  r.used = {{"seconds", a.started ? a.ended - a.started : 0},
            {"device_seconds", (a.ended - a.created) * static_cast<double>(devices)}};
  // Of an attempt that was lost nobody has measured them.
  if (a.cpu_seconds > 0) r.used["cpu_seconds"] = a.cpu_seconds;
  if (a.peak_memory > 0) r.used["peak_memory"] = static_cast<double>(a.peak_memory);
  if (a.checkpoint) r.reached["checkpoint"] = static_cast<double>(a.checkpoint);
  r.source = {{"job", shown_id(job)}, {"attempt", str(a.number)}, {"team", job.team}, {"user", job.user},
              {"status", str(a.exit_status)}, {"cause", name_of(a.cause)}, {"nodes", wellspring::join(names, ",")},
              {"version", version()}};
  return r;
}

void Controller::write_records() {
  std::vector<Record> records;
  {
    std::lock_guard lock(mutex_);
    records.swap(unwritten_);
  }
  if (records.empty()) return;
  try {
    records_->append(records);
  } catch (const std::exception& e) {
    log_error("cluster", "records of ended attempts could not be written (tried again): ", e.what());
    std::lock_guard lock(mutex_);
    unwritten_.insert(unwritten_.begin(), records.begin(), records.end());
  }
}

void Controller::housekeeping() {
  double next = monotonic_seconds() + std::min(60.0, options_.backup_every), next_clean = 0;
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    wake_.wait_for(lock, std::chrono::seconds(1));
    lock.unlock();
    write_records();
    if (monotonic_seconds() >= next_clean) {
      next_clean = monotonic_seconds() + 3600;
      clean_archives();
    }
    lock.lock();
    if (stopping_ || !options_.backup_every || monotonic_seconds() < next) continue;
    lock.unlock();
    try {
      backup();
    } catch (const std::exception& e) {
      log_error("cluster", "no backup could be made: ", e.what());
    }
    next = monotonic_seconds() + options_.backup_every;
    lock.lock();
  }
}

void Controller::clean_archives() {
  std::set<std::string> used;
  core_->read([&](const State& s) {
    for (const auto& [id, job] : s.jobs.rows())
      if (!job.spec->snapshot.empty()) used.insert(str(job.team, "/", job.spec->snapshot));
  });
  try {
    archives_->clean(used);
  } catch (const std::exception& e) {
    log_error("cluster", "old archives could not be removed: ", e.what());
  }
}

std::string Controller::backup() {
  const std::string folder = join_path(options_.folder, "backups");
  const std::string path =
      join_path(folder, str("state-", format_utc(core_->now(), true), ".backup"));
  Store::backup(options_.state, path);
  ::chmod(path.c_str(), 0600);
  last_backup_ = core_->now();
  std::vector<std::string> all;
  for (const std::string& name : list_directory(folder))
    if (ends_with(name, ".backup")) all.push_back(name);
  while (static_cast<int>(all.size()) > options_.backups) {
    remove_all(join_path(folder, all.front()));
    all.erase(all.begin());
  }
  return path;
}

std::string Controller::invite(double seconds, const std::string& text) {
  NewToken made = make_token("join", "", "node", core_->now(), seconds);
  made.row.note = text;
  core_->call([&](Change& c) {
    std::vector<std::string> old;
    for (const auto& [id, t] : c.state.tokens.rows())
      if (t.role == "join" && t.expires && t.expires < c.now) old.push_back(id);
    for (const std::string& id : old) c.state.tokens.remove(id);
    c.state.tokens.put(made.row.id, made.row);
  });
  return made.text;
}

std::string Controller::join(const std::string& token, const std::string& name) {
  const Token invitation = access_->token(token);
  if (invitation.role != "join") throw ApiError(403, "a node joins with `wellspring cluster token join`");
  const std::string secret = hex(random_bytes(32));
  core_->call([&](Change& c) {
    const Token* t = c.state.tokens.find(invitation.id);
    if (!t || t->revoked) throw ApiError(401, "the invitation has been used already");
    if (c.state.nodes.find(name))
      throw ApiError(409, str("there is a node ", name, " already: choose another name, or remove it "
                              "first with `wellspring cluster nodes remove`"));
    Token& used = c.state.tokens.edit(invitation.id);  // once; kept so long that it can say so
    used.revoked = true, used.note = str(kUsed, "node ", name);
    c.state.nodes.put(name, {.name = name, .key_hash = hex(sha256(secret)), .joined = c.now});
    note(c, "node", 0, name, "joined");
  });
  return "wsn_" + secret;
}

}  // namespace wellspring::cluster
