#include "cluster/controller/nodes.h"

#include <algorithm>
#include <cmath>
#include <condition_variable>

#include "base/crypto.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "base/time.h"
#include "cluster/state/fields.h"

namespace wellspring::cluster {
namespace {

int64_t serial_of(const std::string& token) {
  return parse_int(token.substr(0, token.find('-'))).value_or(0);
}

// Whether the state's attempt of this token goes on at this node.
const Attempt* going_on_at(const State& state, const std::string& token, const std::string& node) {
  const Attempt* a = state.attempts.find(serial_of(token));
  if (!a || a->token != token) return nullptr;
  for (const auto& part : a->parts)
    if (part.node == node && part.state != AttemptState::ended) return a;
  return nullptr;
}

bool absolute(const std::string& path) {
  return path.size() <= 4096 && starts_with(path, "/") && (path + "/").find("/../") == std::string::npos;
}

// What a node says of itself. It has a key, but it is not us: only what can be kept is kept.
Node heard_of(const Json& hello, const std::string& name) {
  Node node = entity_from_json<Node>(hello);
  node.name = name;
  const auto want = [](bool good, const char* what) {
    if (!good) throw Error(Fault::data, str("a node says what cannot be of its ", what));
  };
  want(node.devices.size() <= 4096, "devices");
  for (const Device& d : node.devices) {
    want(is_name(d.chip) && d.path.size() <= 256 && d.cores.size() <= 4096, "devices");
    for (const int core : d.cores) want(core >= 0 && core <= 65536, "devices");
  }
  want(node.memory_mb >= 0 && node.memory_mb <= 1'000'000'000, "memory");
  want(node.mounts.size() <= 256 && std::ranges::all_of(node.mounts, absolute), "mounts");
  want(absolute(node.runs), "runs root");
  want(!node.address.empty() && node.address.size() <= 255 &&
           std::ranges::all_of(node.address, [](unsigned char c) { return c > ' ' && c < 127 && c != '\''; }),
       "address");
  want(node.only_team.empty() || is_name(node.only_team), "team");
  node.version = cut_to_width(utf8_repair(node.version), 64);
  node.containment = cut_to_width(utf8_repair(node.containment), 1000);
  return node;
}

PartEnd end_heard_of(const Json& e) {
  PartEnd end{.status = std::clamp(e.value("status", 0), 0, 255),
              .outcome = cut_to_width(e.value("outcome", "exited"), 40),
              .reason = cut_to_width(utf8_repair(e.value("reason", "")), 500),
              .cpu_seconds = std::clamp(e.value("cpu_seconds", 0.0), 0.0, 1e12),
              .peak_memory = std::max(e.value("peak_memory", int64_t{0}), int64_t{0}),
              .checkpoint = std::max(e.value("checkpoint", int64_t{0}), int64_t{0}),
              .reached = {}};
  if (const auto it = e.find("reached"); it != e.end()) end.reached = plain_figures(*it);
  return end;
}

}  // namespace

// What a node has said and is not on disk yet.
struct Nodes::Backlog {
  static constexpr int kMost = 64;
  std::mutex mutex;
  std::condition_variable less;
  int count = 0;
  // Who says more than can be written waits: what it sends stays on its way.
  void enter(const Link& link) {
    std::unique_lock lock(mutex);
    while (count >= kMost && !link.closed()) less.wait_for(lock, std::chrono::milliseconds(100));
    ++count;
  }
  void leave() {
    std::lock_guard lock(mutex);
    --count;
    less.notify_one();
  }
};

Json launch_message(const Launch& launch, const std::string& node) {
  const Attempt& a = launch.attempt;
  const JobSpec& spec = *launch.job.spec;
  Json m = {{"token", a.token},     {"attempt", a.number},        {"job", launch.job.id},
            {"id", shown_id(launch.job)}, {"run_folder", a.run_folder}, {"user", launch.system_user},
            {"chip", a.chip}};
  if (!spec.mounts.empty()) m["roots"] = launch.roots;
  if (launch.job.array) m["array"] = {{"job", launch.job.array}, {"index", launch.job.index}};
  JobSpec sent = spec;
  sent.array.clear(), sent.array_at_once = 0;  // its element is told above
  sent.service.port = service_port(launch.job), sent.service.replicas = 1;
  m["spec"] = to_json(sent);
  m["resources"] = a.alternative;
  Json nodes = Json::array();
  for (size_t n = 0; n < a.parts.size(); ++n) {
    nodes.push_back({{"name", a.parts[n].node}, {"address", launch.addresses[n]}});
    if (a.parts[n].node == node) m["node_rank"] = n, m["devices"] = a.parts[n].devices;
  }
  m["nodes"] = std::move(nodes);
  if (!launch.secrets.empty()) {
    Json& secrets = m["secrets"] = Json::object();
    for (const auto& [name, content] : launch.secrets) secrets[name] = hex(content);
  }
  return {{"start", std::move(m)}};
}

Nodes::Nodes(Core& core, Leases leases, std::string runs, double keep_runs,
             std::function<Launch(const State&, int64_t)> launch_of)
    : core_(core),
      leases_(leases),
      runs_(std::move(runs)),
      keep_runs_(keep_runs),
      launch_of_(std::move(launch_of)) {}

Nodes::~Nodes() { stop(); }

void Nodes::stop() {
  std::lock_guard lock(mutex_);
  for (auto& [name, live] : live_)
    if (live.link) live.link->close();
}

std::shared_ptr<Nodes::Backlog> Nodes::backlog_of(const std::string& node) {
  std::lock_guard lock(mutex_);
  auto& backlog = live_[node].backlog;
  if (!backlog) backlog = std::make_shared<Backlog>();
  return backlog;
}

void Nodes::drop(const std::string& name) {
  if (const auto link = link_of(name)) link->close();
}

std::shared_ptr<Link> Nodes::link_of(const std::string& node) const {
  std::lock_guard lock(mutex_);
  const auto it = live_.find(node);
  return it == live_.end() ? nullptr : it->second.link;
}

double Nodes::silence(const std::string& node) const {
  std::lock_guard lock(mutex_);
  const auto it = live_.find(node);
  return it == live_.end() ? -1 : monotonic_seconds() - it->second.contact;
}

void Nodes::serve(const std::string& name, std::shared_ptr<HttpDuplex> duplex) {
  auto link = std::make_shared<Link>(
      std::move(duplex),
      Link::Handlers{.message = nullptr, .opened = nullptr}, false);
  link->set_message_handler([this, name, weak = std::weak_ptr(link)](const Json& m) {
    if (const auto self = weak.lock()) take(name, self, m);
  });
  {
    std::lock_guard lock(mutex_);
    Live& live = live_[name];
    if (live.link) live.link->close();  // an older one, half gone
    live.link = link;
    live.ready = false;
    live.contact = monotonic_seconds();
  }
  link->run([this] { return leases_.lost_after; });
  log_info("cluster", "node ", name, ": link closed: ", link->reason());
  {
    std::lock_guard lock(mutex_);
    Live& live = live_[name];
    if (live.link != link) return;  // a newer one is there
    live.link = nullptr, live.ready = false;
  }
  core_.post([name](Change& c) { c.state.connected.erase(name); });
}

void Nodes::take(const std::string& name, const std::shared_ptr<Link>& link, const Json& m) {
  {
    std::lock_guard lock(mutex_);
    Live& live = live_[name];
    if (live.link != link) return link->close();
    live.contact = monotonic_seconds();
  }
  if (m.contains("beat")) {
    const double longer = grant(name, m["beat"], m.value("seen", 0.0));
    link->send({{"beat", m["beat"]},
                {"fence_after", leases_.fence_after + longer},
                {"lost_after", leases_.lost_after + longer}});
  } else if (m.contains("hello")) {
    take_hello(name, link, m);
  } else if (m.contains("attempts")) {
    take_attempts(name, link, m);
  } else if (m.contains("events")) {
    take_events(name, link, m["events"]);
  } else if (m.contains("old_runs")) {
    take_old_runs(link, m["old_runs"]);
  }
}

// Of jobs that were ours and are forgotten. A folder that another made, and one of a later number than
// we gave (the state is an older one), stays.
void Nodes::take_old_runs(const std::shared_ptr<Link>& link, const Json& names) {
  Json gone = Json::array();
  if (keep_runs_ > 0)
    core_.read([&](const State& s) {
      for (const Json& item : names) {
        const std::string name = item.get<std::string>(), id = name.substr(name.find('/') + 1);
        const auto number = parse_int(id.substr(0, id.find('_')));
        if (number && *number > 0 && *number < s.cluster.at("cluster").next_job && !find_job(s, id)) gone.push_back(name);
      }
    });
  if (!gone.empty()) link->send({{"remove_runs", gone}});
}

// A lease from the moment on when the node asked (it counts from there, we from now: later). Returns
// by how much it is longer than usual.
double Nodes::grant(const std::string& name, double asked, double seen) {
  const double now = monotonic_seconds();
  const double longer = std::max(0.0, paused_until_ - now);
  std::lock_guard lock(mutex_);
  auto& granted = live_[name].granted;
  if (!granted.empty() && asked < granted.back().first)
    granted.clear();  // its clock began anew: after a reboot nothing counts on the old ones
  while (!granted.empty() && granted.front().first < seen) granted.pop_front();
  granted.emplace_back(asked, now + leases_.lost_after + longer);
  if (granted.size() > 256) {  // it hears nothing that we answer: the longest of the old ones counts
    granted[1].second = std::max(granted[0].second, granted[1].second);
    granted.pop_front();
  }
  return longer;
}

void Nodes::take_hello(const std::string& name, const std::shared_ptr<Link>& link, const Json& m) {
  Node node = heard_of(m["hello"], name);
  // Whether it sees our runs root: it has to read what we write there now.
  std::string proof = hex(random_bytes(16));
  const std::string path = join_path(runs_, ".wellspring/proof-" + name);
  try {
    make_directories(parent_path(path));
    write_file_atomic(path, proof);
  } catch (const Error& e) {  // a full disk: what it showed before still holds
    log_warning("cluster", e.what());
    proof = exists(path) ? read_file(path) : proof;
  }
  {
    std::lock_guard lock(mutex_);
    live_[name].hello = std::move(node);
    live_[name].proof = proof;
  }
  const double at = m.value("at", 0.0), longer = grant(name, at, 0);
  link->send({{"welcome",
               {{"at", at},
                {"fence_after", leases_.fence_after + longer},
                {"lost_after", leases_.lost_after + longer},
                {"keep_runs", keep_runs_}}}});
}

void Nodes::take_attempts(const std::string& name, const std::shared_ptr<Link>& link,
                          const Json& m) {
  Node hello;
  {
    std::lock_guard lock(mutex_);
    hello = live_[name].hello;
    hello.pool = m.value("proof", "") == live_[name].proof ? kSharedPool : name;
  }
  const auto backlog = backlog_of(name);
  backlog->enter(*link);
  core_.post(
      [this, name, link, hello, list = m["attempts"]](Change& c) {
        if (!c.state.nodes.find(name)) return link->close();  // removed meanwhile
        Node& node = c.state.nodes.edit(name);
        const bool was_down = node.down;
        node.pool = hello.pool, node.runs = hello.runs, node.address = hello.address;
        node.version = hello.version, node.containment = hello.containment;
        node.devices = hello.devices, node.memory_mb = hello.memory_mb;
        node.mounts = hello.mounts, node.switches_users = hello.switches_users;
        node.single_trust = hello.single_trust, node.only_team = hello.only_team;
        node.down = false;
        if (!node.drained) node.note.clear();
        node.last_seen = c.now;
        c.state.connected.insert(name);
        note(c, "node", 0, name, was_down ? "is back" : "connected");
        std::set<int64_t> there;
        Json kill = Json::array();
        for (const Json& item : list) {
          const std::string token = item.value("token", "");
          const Attempt* a = going_on_at(c.state, token, name);
          if (!a) {
            kill.push_back(token);
            continue;
          }
          there.insert(a->serial);
          if (a->state == AttemptState::stopping)
            c.effects.stop.push_back({a->serial, name,
                                      c.state.jobs.at(a->job).spec->checkpoint.grace, a->reason});
          else if (std::ranges::all_of(a->parts, [](const auto& p) { return p.prepared; }))
            c.effects.go.push_back(a->serial);
        }
        link->send({{"kill", kill}});
        const std::set<int64_t> expected = c.state.active_on(name);
        for (const int64_t serial : expected) {
          if (there.contains(serial)) continue;
          const Attempt& a = c.state.attempts.at(serial);
          for (const auto& part : a.parts) {
            if (part.node != name || part.state == AttemptState::ended) continue;
            if (part.state == AttemptState::starting && !part.prepared &&
                a.state != AttemptState::stopping)
              c.effects.start.push_back(serial);
            else
              part_ended(c, serial, name,
                         {.status = 137, .outcome = a.state == AttemptState::stopping ? "stopped" : "lost",
                          .reason = str("node ", name, " knows nothing of it any more")});
          }
        }
      },
      [this, name, link, backlog](std::exception_ptr error) {
        backlog->leave();
        if (error) return link->close();  // it comes again
        std::lock_guard lock(mutex_);
        if (live_[name].link == link) live_[name].ready = true;
      });
}

void Nodes::take_events(const std::string& name, const std::shared_ptr<Link>& link,
                        const Json& events) {
  Json forget = Json::array();
  for (const Json& e : events)
    if (e.value("kind", "") == "ended") forget.push_back(e.value("token", ""));
  const auto backlog = backlog_of(name);
  backlog->enter(*link);
  core_.post(
      [name, events, link](Change& c) {
        Json kill = Json::array();
        for (const Json& e : events) {
          const std::string token = e.value("token", ""), kind = e.value("kind", "");
          const Attempt* a = going_on_at(c.state, token, name);
          if (!a) {
            if (kind != "ended") kill.push_back(token);
            continue;
          }
          if (kind == "prepared") part_prepared(c, a->serial, name);
          if (kind == "running") part_running(c, a->serial, name);
          if (kind == "ready") part_ready(c, a->serial, name);
          if (kind == "ended")
            part_ended(c, a->serial, name, end_heard_of(e));
        }
        if (!kill.empty()) link->send({{"kill", kill}});
      },
      [link, forget, backlog](std::exception_ptr error) {
        backlog->leave();
        if (error) return link->close();  // the node says it again
        if (!forget.empty()) link->send({{"forget", forget}});
      });
}

void Nodes::start(const Launch& launch) {
  for (const auto& part : launch.attempt.parts)
    if (part.state == AttemptState::starting)
      if (const auto link = link_of(part.node)) link->send(launch_message(launch, part.node));
}

void Nodes::go(const Attempt& attempt) {
  if (attempt.parts.size() == 1) return;  // it did not wait
  for (const auto& part : attempt.parts)
    if (const auto link = link_of(part.node)) link->send({{"go", attempt.token}});
}

void Nodes::stop(const Attempt& attempt, const std::string& node, double grace,
                 const std::string& reason) {
  for (const auto& part : attempt.parts)
    if (part.state != AttemptState::ended && (node.empty() || part.node == node))
      if (const auto link = link_of(part.node))
        link->send({{"stop", {{"token", attempt.token}, {"grace", grace}, {"reason", reason}}}});
}

void Nodes::check_leases(const State& state) {
  const double now = monotonic_seconds();
  const Cluster& cluster = state.cluster.at("cluster");
  if (!born_until_)
    born_until_ = now + leases_.lost_after + std::max(0.0, cluster.longest_pause - core_.now());
  paused_until_ = now + cluster.paused_until - core_.now();
  // The end of a link is told, but may find the state not writable.
  for (const std::string& name : state.connected)
    if (const Node* node = state.nodes.find(name); node && node->executor == "nodes" && !link_of(name))
      core_.post([name](Change& c) { c.state.connected.erase(name); });
  if (now < paused_until_) return;
  for (const auto& [name, node] : state.nodes.rows()) {
    if (node.executor != "nodes" || node.down) continue;
    double until = born_until_;
    {
      std::lock_guard lock(mutex_);
      if (const auto it = live_.find(name); it != live_.end())
        for (const auto& [asked, end] : it->second.granted) until = std::max(until, end);
    }
    if (now <= until) continue;
    // If it is heard again, it has to say first what it runs.
    if (const auto link = link_of(name)) link->close();
    core_.post([name = name](Change& c) {
      if (c.state.nodes.find(name)) node_lost(c, name);
    });
  }
}

std::shared_ptr<Channel> Nodes::open(const std::string& node, const Json& what) {
  const auto link = link_of(node);
  if (!link)
    throw Error(Fault::io, str("node ", node, " is not connected: what it holds cannot be read now"));
  return link->open(what);
}

std::string Nodes::neighbour(const std::string& node) const {
  return core_.read([&](const State& s) {
    const Node* away = s.nodes.find(node);
    for (const auto& [name, other] : s.nodes.rows())
      if (away && other.pool == away->pool && s.connected.contains(name)) return name;
    return node;
  });
}

Json Nodes::ask(const std::string& node, const Json& what, double timeout) {
  const auto channel = open(node, what);
  const std::string text = channel->read_all(timeout, 64 << 20);
  if (!channel->over() || !channel->failure().empty())
    throw Error(Fault::io, str("node ", node, ": ", channel->failure().empty()
                                                        ? "no answer in time"
                                                        : channel->failure()));
  return parse_json(text, str("answer of node ", node));
}

LogText Nodes::log(const Attempt& attempt, const std::string& user, int rank, int64_t offset,
                   int64_t most, double wait) {
  // Each node has as many tasks; ranks are dealt out node by node.
  const size_t n = rank < 0 ? 0 : static_cast<size_t>(rank / std::max(1, attempt.tasks_per_node));
  if (n >= attempt.parts.size()) throw Error(Fault::usage, str("there is no rank ", rank));
  const Attempt::Part* part = &attempt.parts[n];
  // A node that is away: the others of its pool see the same run folders.
  const std::string reader = link_of(part->node) ? part->node : neighbour(part->node);
  const auto channel = open(reader, {{"log",
                                          {{"token", attempt.token},
                                           {"folder", str(attempt.run_folder, "/attempts/", attempt.number)},
                                           {"user", user},
                                           {"rank", rank},
                                           {"offset", offset},
                                           {"most", most},
                                           {"wait", wait}}}});
  const std::string text = channel->read_all(wait + 10, most + (1 << 20));
  if (!channel->over() || !channel->failure().empty())
    throw Error(Fault::io, str("node ", reader, ": ", channel->failure().empty() ? "no answer in time"
                                                                                 : channel->failure()));
  const size_t line = std::min(text.find('\n'), text.size());
  const Json head = parse_json(text.substr(0, line), "head of a log");
  return {.data = line < text.size() ? text.substr(line + 1) : "",
          .next = head.value("next", offset),
          .total = head.value("total", int64_t{0}),
          .over = reader == part->node && head.value("over", false)};
}

}  // namespace wellspring::cluster
