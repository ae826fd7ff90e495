// wellspring cluster: run a cluster, and look after it.

#include <fcntl.h>
#include <pwd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <climits>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <map>

#include "base/args.h"
#include "base/crypto.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/log.h"
#include "base/process.h"
#include "base/progress.h"
#include "base/text.h"
#include "base/time.h"
#include "cli/commands.h"
#include "cluster/client/client.h"
#include "cluster/controller/controller.h"
#include "cluster/node/daemon.h"

namespace wellspring {
namespace {

using namespace cluster;

std::string program_path() {
  char self[PATH_MAX] = "";
  const ssize_t n = ::readlink("/proc/self/exe", self, sizeof self - 1);
  return {self, n > 0 ? static_cast<size_t>(n) : 0};
}

std::string user_name() {
  const passwd* entry = ::getpwuid(::getuid());
  return entry ? entry->pw_name : "admin";
}

void print_json_of(const Json& json) { std::printf("%s\n", to_text(json, 2).c_str()); }
std::string cell(const Json& row, const char* key) {
  const auto it = row.find(key);
  if (it == row.end()) return "";
  return it->is_string() ? it->get<std::string>() : to_text(*it);
}

// The options of the node that `up` starts, as a file for its process.
std::string node_yaml(const NodeOptions& o) {
  Json json = {{"name", o.name}, {"controller", o.controller}, {"folder", o.folder}, {"runs", o.runs},
               {"address", o.address}, {"memory_mb", o.memory_mb}, {"mounts", o.mounts},
               {"single_trust", o.single_trust}, {"containment", std::string(means_name(o.containment))}};
  if (!o.team.empty()) json["team"] = o.team;
  if (o.mounts.empty()) json.erase("mounts");
  for (const Device& d : o.devices) {
    Json device = {{"chip", d.chip}};
    if (!d.cores.empty()) device["cores"] = d.cores;
    if (!d.path.empty()) device["paths"] = {d.path};
    json["devices"].push_back(std::move(device));
  }
  return to_text(json, 1);
}

// Lists of processes show arguments to everybody on the machine.
void hide_argument(int argc, char** argv, const std::string& value) {
  for (int i = 1; !value.empty() && i < argc; ++i)
    if (char* at = std::strstr(argv[i], value.c_str())) std::memset(at, 'x', value.size());
}

// The daemon that works on this folder; 0: none.
pid_t node_pid(const NodeOptions& o) {
  const int fd = ::open(join_path(o.folder, "daemon.lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) return 0;
  char text[32] = "";
  const bool held = ::flock(fd, LOCK_EX | LOCK_NB) != 0;
  if (held && ::pread(fd, text, sizeof text - 1, 0) < 0) text[0] = 0;
  ::close(fd);
  return held ? static_cast<pid_t>(parse_int(trim(text)).value_or(0)) : 0;
}

void start_local_node(Controller& controller) {
  NodeOptions node = controller.options().node;
  node.controller = controller.url();
  make_directories(node.folder);
  const bool known = controller.core().read([&](const State& s) { return s.nodes.find(node.name) != nullptr; });
  if (has_joined(node) && !known) remove_all(join_path(node.folder, "node.json"));  // of another state
  if (!has_joined(node))
    join_cluster(node, controller.invite(600, "the node of `cluster up`"),
                 controller.ca().empty() ? "" : fingerprint(controller.ca()));
  if (node_pid(node)) return log_info("cluster", "the node daemon of this machine is still at work");
  const std::string config = join_path(node.folder, "node.yaml");
  write_file_atomic(config, node_yaml(node));
  ProcessOptions p;
  p.argv = {program_path(), "cluster", "node", "--config", config};
  p.log_path = join_path(node.folder, "node.log");
  const int log = ::open(p.log_path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
  if (log >= 0) ::close(log);
  Process::start(p).detach();
}

// The first start: an administrator's token for whoever started it.
void first_login(Controller& controller) {
  const bool known = controller.core().read([](const State& s) {
    for (const auto& [id, t] : s.tokens.rows())
      if (t.role == "admin" && !t.revoked) return true;
    return false;
  });
  Login login;
  if (exists(login_path())) {
    const Json json = read_json(login_path());
    login = {json.value("url", ""), json.value("token", ""), json.value("ca", "")};
    bool works = true;
    try {
      works = controller.access().token(login.token).role == "admin";
    } catch (const std::exception&) {
      works = false;
    }
    if (works) {
      if (login.url != controller.url()) login.url = controller.url(), keep_login(login);
      return;
    }
  }
  if (known) return;
  NewToken made = make_token("admin", "", user_name(), controller.core().now(), 0);
  made.row.note = "made at the first start";
  // Kept first: a token that nobody has would leave the cluster without an administrator.
  const auto commit = [&] {
    controller.core().call([&](Change& c) { c.state.tokens.put(made.row.id, made.row); });
  };
  if (exists(login_path()) && login.url != controller.url()) {
    // Another cluster's login is not ours to overwrite.
    const std::string path = join_path(controller.options().folder, "keys/login.json");
    const mode_t before = ::umask(0077);
    write_file_atomic(path, to_text({{"url", controller.url()}, {"token", made.text}, {"ca", controller.ca()}}, 1) + "\n");
    ::umask(before);
    commit();
    std::printf("%s belongs to another cluster; log in to this one by WELLSPRING_LOGIN=%s\n", login_path().c_str(), path.c_str());
    return;
  }
  keep_login({controller.url(), made.text, controller.ca()});
  commit();
  std::printf("you are its administrator: the token is in %s\n", login_path().c_str());
}

// What to do first, in commands that work as they stand.
void say_first_job(Controller& controller) {
  if (::geteuid() != 0 || controller.options().single_trust) {
    std::printf("first job:  wellspring job run -- echo hello\n");
    return;
  }
  const bool set_up = controller.core().read([](const State& s) {
    return std::ranges::any_of(s.teams.rows(), [](const auto& row) { return !row.second.system_user.empty(); });
  });
  if (set_up) return;
  const std::string& ca = controller.ca();
  std::printf("first job, as USER of this machine (root runs none):\n"
              "  wellspring cluster teams set default --system-user USER\n"
              "  wellspring cluster token new --user USER > token.txt\n"
              "then as USER, with that file:\n"
              "  wellspring cluster login %s%s < token.txt\n"
              "  wellspring job run -- echo hello\n",
              controller.url().c_str(), ca.empty() ? "" : str(" --ca-fingerprint ", fingerprint(ca)).c_str());
}

std::atomic<pid_t> local_node{0};

void on_interrupt(int) {  // the second one does not wait for what is under way
  if (stop_requested()) {
    if (const pid_t pid = local_node.load()) ::kill(pid, SIGTERM);
    ::_exit(130);
  }
  ::raise(SIGTERM);
}

void wait_for_end(const ControllerOptions& options) {
  struct sigaction action{};
  action.sa_handler = on_interrupt;
  action.sa_flags = SA_RESTART;
  ::sigaction(SIGINT, &action, nullptr);
  for (int i = 0; !stop_requested(); ++i) {
    if (options.local && i % 10 == 0) local_node = node_pid(options.node);
    sleep_seconds(0.1);
  }
}

int run_up(int argc, char** argv) {
  std::string config, address, state, folder;
  std::vector<std::string> set;
  int64_t port = -1;
  bool single_trust = false, no_node = false;
  Args args("wellspring cluster up",
            "Run the controller of a cluster, and a node on this machine. Ctrl-C ends both; jobs go on and are taken up again.");
  args.option("--config", &config, "FILE", "cluster.yaml (docs/administrator.md); none: all defaults");
  args.option("--set", &set, "KEY=VALUE", "change a key, e.g. leases.fence_after=60");
  args.option("--port", &port, "PORT", "of the HTTP API and the console (8930; 0: any free one)");
  args.option("--address", &address, "ADDRESS", "to listen on (127.0.0.1); any other is served by TLS only");
  args.option("--state", &state, "WHERE", "SQLite file or postgresql://...");
  args.option("--folder", &folder, "DIR", "for state, keys, backups and run folders");
  args.flag("--single-trust", &single_trust, "jobs of all teams run with this user's own rights");
  args.flag("--no-node", &no_node, "no node on this machine");
  args.example("wellspring cluster up");
  if (!args.parse(argc, argv)) return 0;
  if (state.find("://") != std::string::npos) hide_argument(argc, argv, std::string(state));
  if (port >= 0) set.push_back(str("port=", port));
  if (!address.empty()) set.push_back("address=" + address);
  if (!folder.empty()) set.push_back("folder=" + folder);
  if (!state.empty()) set.push_back("state=" + state);
  if (single_trust) set.emplace_back("single_trust=true");
  if (no_node) set.emplace_back("local_node=false");
  ControllerOptions options = read_controller_options(config, set);
  install_stop_signals();
  Controller controller(options);
  controller.start();
  first_login(controller);
  if (options.local) start_local_node(controller);
  std::printf("cluster at %s\nstate %s\n", controller.url().c_str(), controller.core().store_name().c_str());
  if (!controller.ca().empty()) std::printf("CA fingerprint %s\n", fingerprint(controller.ca()).c_str());
  say_first_job(controller);
  std::fflush(stdout);
  wait_for_end(options);
  std::printf("stopping; jobs go on until their leases end\n");
  if (options.local) local_node = node_pid(options.node);
  if (local_node) ::kill(local_node, SIGTERM);
  controller.stop();
  return 0;
}

int run_node(int argc, char** argv) {
  std::string config, controller, invitation, fingerprint_text, name, team;
  std::vector<std::string> set;
  bool single_trust = false;
  Args args("wellspring cluster node", "Run this machine's node: it starts the attempts that the controller places here.");
  args.option("--config", &config, "FILE", "YAML: name, controller, devices, mounts, runs, ... (docs/administrator.md)");
  args.option("--set", &set, "KEY=VALUE", "change a key");
  args.option("--controller", &controller, "URL", "of the controller");
  args.option("--join", &invitation, "TOKEN", "invitation, the first time (wellspring cluster token join)");
  args.option("--ca-fingerprint", &fingerprint_text, "HEX", "of the controller's CA, the first time (printed with the invitation)");
  args.option("--name", &name, "NAME", "of the node (the host's)");
  args.option("--team", &team, "TEAM", "whose jobs it takes, when it cannot switch users");
  args.flag("--single-trust", &single_trust, "jobs of all teams run with this user's own rights");
  args.example("wellspring cluster node --controller https://head:8930 --join wsj_... --ca-fingerprint 9f...");
  if (!args.parse(argc, argv)) return 0;
  hide_argument(argc, argv, invitation);
  Config c = config.empty() ? Config() : Config::read(config);
  for (const std::string& s : set) c.set(s);
  if (!controller.empty()) c.set("controller=" + controller);
  if (!name.empty()) c.set("name=" + name);
  if (!team.empty()) c.set("team=" + team);
  if (single_trust) c.set("single_trust=true");
  ChipTable chips;
  chips.add_from(c);
  const NodeOptions options = read_node_options(c, join_path(default_folder(), "node"), chips);
  c.check_all_used();
  make_directories(options.folder);
  const int lock = ::open(join_path(options.folder, "daemon.lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (lock < 0 || ::flock(lock, LOCK_EX | LOCK_NB) != 0)
    throw Error(Fault::try_again, str("another node daemon works on ", options.folder));
  const std::string pid = str(::getpid(), "\n");
  if (::ftruncate(lock, 0) != 0 || ::pwrite(lock, pid.data(), pid.size(), 0) < 0)
    throw Error(Fault::io, str("cannot write to ", options.folder));
  install_stop_signals();
  if (!invitation.empty()) try {  // also one that joined before: it may have been removed since
      join_cluster(options, invitation, fingerprint_text);
    } catch (const Error& e) {
      if (!has_joined(options)) throw;
      log_warning("node", "goes on with the key that it has: ", e.what());
    }
  NodeDaemon daemon(options);
  daemon.run([] { return stop_requested() != 0; });
  return 0;
}

// The CA of a controller, whose fingerprint somebody told us.
std::string fetch_ca(const std::string& url, const std::string& ca_fingerprint) {
  HttpClientOptions client;
  client.ca_fingerprint = ca_fingerprint;
  const HttpResult r = http_request("GET", url + "/api/v1/ca", {}, {}, {}, client);
  if (r.status != 200) throw Error(Fault::io, str(url, " does not tell its CA: status ", r.status));
  return r.body;
}

int run_login(int argc, char** argv) {
  std::string url, ca, ca_fingerprint;
  Args args("wellspring cluster login", "Keep a cluster's address and your token for the other commands. Reads the token from standard input.");
  args.positional("URL", &url, "of the controller");
  args.option("--ca", &ca, "FILE", "its CA certificate (https)");
  args.option("--ca-fingerprint", &ca_fingerprint, "HEX", "or the fingerprint of that, as `cluster up` and `token new` print it");
  args.example("wellspring cluster login http://127.0.0.1:8930 < token.txt");
  if (!args.parse(argc, argv)) return 0;
  if (::isatty(0)) std::fprintf(stderr, "token: ");
  char line[512] = "";
  if (!std::fgets(line, sizeof line, stdin)) throw Error(Fault::usage, "no token on standard input");
  while (ends_with(url, "/")) url.pop_back();
  Login login{url, std::string(trim(line)), ca.empty() ? "" : read_file(ca)};
  if (!ca_fingerprint.empty()) login.ca = fetch_ca(url, ca_fingerprint);
  Client client(login);
  Json you;
  try {
    you = client.get("/cluster")["you"];
  } catch (const Error& e) {
    if (!login.ca.empty() || std::string_view(e.what()).find("certificate") == std::string_view::npos) throw;
    throw Error(e.fault(), str(e.what(), "; of a cluster with a CA of its own: --ca-fingerprint HEX, as `cluster up` and `token new` print it"));
  }
  keep_login(login);
  std::printf("you are %s, %s%s\n", cell(you, "user").c_str(), cell(you, "role").c_str(),
              cell(you, "team").empty() ? "" : str(" of team ", cell(you, "team")).c_str());
  return 0;
}

int run_status(int argc, char** argv) {
  bool json = false;
  Args args("wellspring cluster status", "The pool and its jobs in numbers.");
  args.flag("--json", &json, "print as JSON");
  args.example("wellspring cluster status");
  if (!args.parse(argc, argv)) return 0;
  Client client;
  const Json s = client.get("/cluster");
  if (json) return print_json_of(s), 0;
  const int drained = s["nodes"].value("drained", 0), all = s["nodes"].value("all", 0);
  std::printf("cluster %s, version %s, %d of %d node%s up%s\n", client.login().url.c_str(), cell(s, "version").c_str(),
              s["nodes"].value("up", 0) + drained, all, all == 1 ? "" : "s", drained ? str(", ", drained, " drained").c_str() : "");
  if (s.contains("trouble")) std::printf("TROUBLE: %s\n", cell(s, "trouble").c_str());
  if (s.value("single_trust", false)) std::printf("single trust: jobs of all teams run with one user's rights on some nodes\n");
  if (s.contains("paused_until")) std::printf("leases are longer until %s\n", format_utc(s.value("paused_until", 0.0)).c_str());
  Table table({"chip", "devices", "held", "free"});
  for (const Json& p : s["pool"])
    table.row({cell(p, "chip"), cell(p, "all"), cell(p, "held"), str(std::max(0, p.value("usable", 0) - p.value("held", 0)))});
  std::printf("%s", table.text().c_str());
  std::string jobs;
  for (const auto& [state, n] : s["jobs"].items()) jobs += str(jobs.empty() ? "" : ", ", n.get<int>(), " ", state);
  std::printf("jobs: %s\n", jobs.empty() ? "none" : jobs.c_str());
  return 0;
}

int run_nodes(int argc, char** argv) {
  bool json = false;
  std::string verb, name;
  Args args("wellspring cluster nodes", "Nodes: their devices, what runs there, how attempts are contained.");
  args.positional("VERB", &verb, "remove, or lost (it will not come back), of NAME", false);
  args.positional("NAME", &name, "a node", false);
  args.flag("--json", &json, "print as JSON, with all that limits attempts there");
  args.example("wellspring cluster nodes");
  if (!args.parse(argc, argv)) return 0;
  Client client;
  if (!verb.empty()) {
    if (name.empty() || (verb != "remove" && verb != "lost"))
      throw Error(Fault::usage, "wellspring cluster nodes [remove NAME | lost NAME]");
    verb == "remove" ? client.remove("/nodes/" + url_encode(name)) : client.post("/nodes/" + url_encode(name) + "/lost", Json::object());
    std::printf("%s: %s\n", name.c_str(), verb == "remove" ? "removed" : "given up");
    return 0;
  }
  const Json answer = client.get("/nodes");
  if (json) return print_json_of(answer), 0;
  Table table({"node", "state", "devices", "jobs", "pool", "contained by", "users", "note"});
  table.may_drop({4, 5, 3});
  std::map<std::string, std::vector<std::string>> mounts;  // by what is the same
  for (const Json& n : answer["nodes"]) {
    std::string devices, jobs;
    for (const Json& d : n["devices"])
      devices += str(devices.empty() ? "" : ", ", d.value("held", 0), "/", d.value("all", 0), " ", cell(d, "chip"));
    constexpr size_t kMostShown = 3;
    for (const Json& j : n["jobs"]) jobs += str(jobs.empty() ? "" : " ", j.get<std::string>());
    if (const size_t count = n["jobs"].size(); count > kMostShown) jobs = str(count, " jobs");
    const std::string users = n.value("single_trust", false)    ? "single trust"
                              : n.value("switches_users", false) ? "by team"
                                                                 : str("team ", n.value("only_team", ""));
    table.row({cell(n, "name"), cell(n, "state"), devices, jobs, cell(n, "pool"), cell(n, "containment").substr(0, cell(n, "containment").find(';')), users, cell(n, "note")});
    if (n.contains("mounts")) mounts[join(n["mounts"].get<std::vector<std::string>>(), ", ")].push_back(cell(n, "name"));
  }
  std::printf("%s", table.text().c_str());
  for (const auto& [folders, nodes] : mounts)
    std::printf("jobs on %s may mount %s\n", join(nodes, ", ").c_str(), folders.c_str());
  return 0;
}

int run_drain(int argc, char** argv) {
  std::string name, text;
  bool off = false;
  Args args("wellspring cluster drain", "End a node's jobs (they run elsewhere, from their checkpoints) and give it no more.");
  args.positional("NAME", &name, "a node");
  args.option("--note", &text, "TEXT", "why, for people");
  args.flag("--resume", &off, "it takes jobs again");
  args.example("wellspring cluster drain head --note 'new memory'");
  if (!args.parse(argc, argv)) return 0;
  Client client;
  client.post(str("/nodes/", url_encode(name), off ? "/resume" : "/drain"), {{"note", text}});
  std::printf("%s %s\n", name.c_str(), off ? "takes jobs again" : "is being drained");
  return 0;
}

int run_queues(int argc, char** argv) {
  std::string verb, name;
  int64_t priority = 0, max_priority = kMostPriority;
  bool open = false, close = false, all = false, json = false;
  std::vector<std::string> teams;
  Args args("wellspring cluster queues", "Queues; 'NAME' shows one, 'set NAME', or options, make or change it, 'remove NAME'.");
  args.positional("VERB", &verb, "set, remove; or a queue's name", false);
  args.positional("NAME", &name, "a queue", false);
  args.option("--priority", &priority, "N", "added to its jobs'");
  args.option("--max-priority", &max_priority, "N", "of its jobs' own priority at most (1000)");
  args.option("--team", &teams, "TEAM", "only these may use it (several); in place of those before");
  args.flag("--all-teams", &all, "all teams may use it");
  args.flag("--open", &open, "its jobs may start");
  args.flag("--close", &close, "its jobs wait");
  args.flag("--json", &json, "print as JSON");
  args.example("wellspring cluster queues urgent --priority 100");
  if (!args.parse(argc, argv)) return 0;
  Client client;
  if (open && close) throw Error(Fault::usage, "--open and --close: one of them");
  if (all && !teams.empty()) throw Error(Fault::usage, "--team and --all-teams: one of them");
  if (name.empty()) verb.swap(name);
  if (!verb.empty() && verb != "set" && verb != "remove") throw Error(Fault::usage, str("'", verb, "': set or remove"));
  if (verb.empty() && (name == "set" || name == "remove")) throw Error(Fault::usage, str("which one? wellspring cluster queues ", name, " NAME"));
  const bool changes = open || close || all || args.given("--team") || args.given("--priority") || args.given("--max-priority");
  if (changes && (name.empty() || verb == "remove")) throw Error(Fault::usage, "options change a queue: wellspring cluster queues NAME --priority N");
  if (verb == "remove") {
    client.remove("/queues/" + url_encode(name));
    name.clear();
  } else if (changes || verb == "set") {
    Json body = Json::object();
    if (args.given("--priority")) body["priority"] = priority;
    if (args.given("--max-priority")) body["max_priority"] = max_priority;
    if (open || close) body["open"] = open;
    if (all || args.given("--team")) body["teams"] = teams;
    client.put("/queues/" + url_encode(name), body);
    name.clear();  // all are shown
  }
  Json answer = client.get("/queues");
  if (!name.empty()) std::erase_if(answer["queues"].get_ref<Json::array_t&>(), [&](const Json& q) { return cell(q, "name") != name; });
  if (!name.empty() && answer["queues"].empty())
    throw Error(Fault::usage, str("there is no queue ", name, " (wellspring cluster queues set ", name, " makes it)"));
  if (json) return print_json_of(answer), 0;
  Table table({"queue", "priority", "jobs' at most", "open", "waiting", "running", "teams"});
  for (const Json& q : answer["queues"]) {
    std::string list;
    for (const Json& t : q.value("teams", Json::array())) list += (list.empty() ? "" : ", ") + t.get<std::string>();
    table.row({cell(q, "name"), str(q.value("priority", 0)), str(q.value("max_priority", kMostPriority)), q.value("open", true) ? "yes" : "no", cell(q, "waiting"), cell(q, "running"),
               list.empty() ? "all" : list});
  }
  std::printf("%s", table.text().c_str());
  return 0;
}

int run_teams(int argc, char** argv) {
  std::string verb, name, system_user;
  double weight = 1;
  std::vector<std::string> roots;
  bool json = false;
  Args args("wellspring cluster teams", "Teams; 'set NAME': make or change one; 'remove NAME': with its tokens and secrets.");
  args.positional("VERB", &verb, "set, remove", false);
  args.positional("NAME", &name, "a team", false);
  args.option("--system-user", &system_user, "USER", "whose rights its attempts have on the nodes; never root");
  args.option("--weight", &weight, "W", "of its fair share (1)");
  args.option("--root", &roots, "DIR", "mounts of its jobs must lie under one of these (several); in place of those before");
  args.flag("--json", &json, "print as JSON");
  args.example("wellspring cluster teams set vision --weight 2");
  if (!args.parse(argc, argv)) return 0;
  Client client;
  if (!verb.empty()) {
    if (verb != "set" && verb != "remove") throw Error(Fault::usage, str("'", verb, "': set or remove"));
    if (name.empty()) throw Error(Fault::usage, str("which team? wellspring cluster teams ", verb, " NAME"));
  }
  if (verb == "remove") client.remove("/teams/" + url_encode(name));
  if (verb == "set") {
    Json body = Json::object();
    if (args.given("--system-user")) body["system_user"] = system_user;
    if (args.given("--weight")) body["weight"] = weight;
    if (args.given("--root")) body["roots"] = roots;
    const Json made = client.put("/teams/" + url_encode(name), body);
    if (made.contains("warning")) std::fprintf(stderr, "warning: %s\n", cell(made, "warning").c_str());
  }
  const Json answer = client.get("/teams");
  if (json) return print_json_of(answer), 0;
  Table table({"team", "system user", "weight", "recent hours", "holds", "roots"});
  for (const Json& t : answer["teams"]) {
    std::string held, list;
    for (const auto& [chip, n] : t["held"].items()) held += str(held.empty() ? "" : ", ", n.get<int>(), " ", chip);
    for (const Json& r : t.value("roots", Json::array())) list += (list.empty() ? "" : ", ") + r.get<std::string>();
    char hours[32];
    std::snprintf(hours, sizeof hours, "%.2f", t.value("usage", 0.0));
    table.row({cell(t, "name"), cell(t, "system_user"), cell(t, "weight"), hours, held, list});
  }
  std::printf("%s", table.text().c_str());
  return 0;
}

// Sets what was given of one quota; all of it is shown then, as without options.
void change_quota(Client& client, const std::string& team, const std::string& chip, const Json& limits) {
  const Json answer = client.get("/teams");
  bool known = false;
  for (const Json& t : answer["teams"]) known |= cell(t, "name") == team;
  if (!known)  // PUT would make it
    throw Error(Fault::usage, str("there is no team ", team, " (wellspring cluster teams set ", team, " makes it)"));
  client.put("/teams/" + url_encode(team), {{"quotas", {{chip, limits}}}});
}

int run_quota(int argc, char** argv) {
  std::string team, chip;
  int64_t devices = -1;
  double hours = -1;
  bool remove = false, json = false;
  Args args("wellspring cluster quota", "Quotas of teams by chip type: all, or a TEAM's. With a limit: set it for TEAM and CHIP; the other one stays.");
  args.positional("TEAM", &team, "a team", false);
  args.positional("CHIP", &chip, "a chip type", false);
  args.option("--devices", &devices, "N", "devices at once (-1: no limit)");
  args.option("--hours", &hours, "H", "device-hours in a calendar month (-1: no limit)");
  args.flag("--remove", &remove, "no limits for TEAM and CHIP");
  args.flag("--json", &json, "print as JSON");
  args.example("wellspring cluster quota default cpu-avx2 --devices 4 --hours 1000");
  if (!args.parse(argc, argv)) return 0;
  Json limits = Json::object();
  if (remove || args.given("--devices")) limits["devices"] = devices;
  if (remove || args.given("--hours")) limits["hours"] = hours;
  if (!limits.empty() && chip.empty()) throw Error(Fault::usage, "name a team and a chip: wellspring cluster quota TEAM CHIP --devices N");
  if (remove && (args.given("--devices") || args.given("--hours"))) throw Error(Fault::usage, "--remove takes both limits away: it stands alone");
  Client client;
  if (!limits.empty()) change_quota(client, team, chip, limits);
  Json answer = client.get("/teams");
  if (!team.empty()) std::erase_if(answer["teams"].get_ref<Json::array_t&>(), [&](const Json& t) { return cell(t, "name") != team; });
  if (!team.empty() && answer["teams"].empty()) throw Error(Fault::usage, str("there is no team ", team));
  if (json) return print_json_of(answer), 0;
  Table table({"team", "chip", "devices", "holds", "hours a month", "used"});
  for (const Json& t : answer["teams"]) {
    const Json quotas = t.value("quotas", Json::object());
    for (const auto& [name, q] : quotas.items()) {
      const auto limit = [&](const char* key) { return q.value(key, -1.0) < 0 ? std::string("no limit") : cell(q, key); };
      char used[32];
      std::snprintf(used, sizeof used, "%.2f", q.value("hours_used", 0.0));
      table.row({cell(t, "name"), name, limit("devices"), str(t["held"].value(name, 0)), limit("hours"), used});
    }
  }
  std::printf("%s", table.text().c_str());
  return 0;
}

int run_token(int argc, char** argv) {
  std::string verb, id, role = "member", team = "default", user, days;
  double hours = 0;
  bool json = false;
  Args args("wellspring cluster token", "Tokens: 'new' for a person or program, 'join' for a node, 'revoke ID', or the list.");
  args.positional("VERB", &verb, "new, join, revoke, list", false);
  args.positional("ID", &id, "of a token to revoke", false);
  args.option("--role", &role, "ROLE", "admin, member or viewer (member)");
  args.option("--team", &team, "TEAM", "of its owner (default)");
  args.option("--user", &user, "NAME", "its owner");
  args.option("--hours", &hours, "H", "how long it is valid (for ever; an invitation: one hour)");
  args.flag("--json", &json, "print as JSON");
  args.example("wellspring cluster token new --user ada --role viewer");
  if (!args.parse(argc, argv)) return 0;
  Client client;
  if (verb == "new" || verb == "join") {
    const Json made = client.post("/tokens", {{"role", verb == "join" ? "join" : role}, {"team", team},
                                              {"user", user.empty() ? user_name() : user}, {"seconds", hours * 3600}});
    if (json) return print_json_of(made), 0;
    if (verb == "new") {
      std::printf("%s\n", cell(made, "token").c_str());
      std::fflush(stdout);
      const std::string& ca = client.login().ca;
      std::fprintf(stderr, "log in with it: wellspring cluster login %s%s < TOKEN_FILE\n", client.login().url.c_str(),
                   ca.empty() ? "" : str(" --ca-fingerprint ", fingerprint(ca)).c_str());
    } else {
      const std::string ca = cell(made, "ca");
      std::printf("wellspring cluster node --controller %s --join %s%s\n", client.login().url.c_str(), cell(made, "token").c_str(),
                  ca.empty() ? "" : str(" --ca-fingerprint ", fingerprint(ca)).c_str());
    }
    return 0;
  }
  if (verb == "revoke") {
    if (id.empty()) throw Error(Fault::usage, "which one? wellspring cluster token lists them");
    client.remove("/tokens/" + url_encode(id));
    std::printf("%s is revoked\n", id.c_str());
    return 0;
  }
  if (!verb.empty() && verb != "list") throw Error(Fault::usage, str("'", verb, "': new, join, revoke or list"));
  const Json answer = client.get("/tokens");
  if (json) return print_json_of(answer), 0;
  Table table({"id", "role", "team", "user", "made", "expires", "note"});
  for (const Json& t : answer["tokens"])
    table.row({cell(t, "id"), cell(t, "role"), cell(t, "team"), cell(t, "user"), format_utc(t.value("created", 0.0)),
               t.value("revoked", false) ? "revoked" : t.contains("expires") ? format_utc(t.value("expires", 0.0)) : "never", cell(t, "note")});
  std::printf("%s", table.text().c_str());
  return 0;
}

int run_secret(int argc, char** argv) {
  std::string verb, name, team;
  bool json = false;
  Args args("wellspring cluster secret", "Secrets of a team: 'set NAME' reads the content from standard input, 'remove NAME', or the names.");
  args.positional("VERB", &verb, "set, remove", false);
  args.positional("NAME", &name, "of a secret", false);
  args.option("--team", &team, "TEAM", "for an administrator: whose");
  args.flag("--json", &json, "print as JSON");
  args.example("wellspring cluster secret set api-key < key.txt");
  if (!args.parse(argc, argv)) return 0;
  if (!verb.empty() && verb != "set" && verb != "remove") throw Error(Fault::usage, str("'", verb, "': set or remove"));
  if (!verb.empty() && name.empty()) throw Error(Fault::usage, str("which one? wellspring cluster secret ", verb, " NAME"));
  Client client;
  const std::string query = team.empty() ? "" : "?team=" + url_encode(team);
  Json answer;
  if (verb == "set") {
    std::string content;
    char buffer[4096];
    for (size_t n; (n = std::fread(buffer, 1, sizeof buffer, stdin)) > 0;) content.append(buffer, n);
    answer = client.put_bytes(str("/secrets/", url_encode(name), query), content);
  } else if (verb == "remove") {
    answer = client.remove(str("/secrets/", url_encode(name), query));
  } else {
    answer = client.get("/secrets" + query);
  }
  if (json) return print_json_of(answer), 0;
  if (!verb.empty()) std::printf("%s is %s\n", name.c_str(), verb == "set" ? "set" : "removed");
  if (verb.empty())
    for (const Json& s : answer["secrets"]) std::printf("%s\n", cell(s, "name").c_str());
  return 0;
}

// "2026-03-14T15:09:26Z", or "+2h" from now.
double moment(const std::string& option, const std::string& text) {
  if (starts_with(text, "+"))
    if (const auto later = parse_duration(std::string_view(text).substr(1))) return unix_seconds() + *later;
  try {
    return parse_utc(text);
  } catch (const Error&) {
    throw Error(Fault::usage, str(option, " is '", text, "': a time like 2026-03-14T15:09:26Z (UTC), or +2h from now"));
  }
}

int run_reserve(int argc, char** argv) {
  std::string name, node, team, text, from;
  double hours = 1;
  bool remove = false, json = false;
  Args args("wellspring cluster reserve", "Reservations: a node for one team alone for a while; with a NAME: make or remove one.");
  args.positional("NAME", &name, "of the reservation", false);
  args.option("--node", &node, "NODE", "which node");
  args.option("--team", &team, "TEAM", "for whom");
  args.option("--from", &from, "TIME", "2026-03-14T15:09:26Z (UTC), or +2h: from now (now)");
  args.option("--hours", &hours, "H", "for how long (1)");
  args.option("--note", &text, "TEXT", "why, for people");
  args.flag("--remove", &remove, "give it up");
  args.flag("--json", &json, "print as JSON");
  args.example("wellspring cluster reserve demo-day --node head --team default --from +12h --hours 8");
  if (!args.parse(argc, argv)) return 0;
  if (name.empty() && (remove || !node.empty() || !team.empty())) throw Error(Fault::usage, "name the reservation: wellspring cluster reserve NAME ...");
  if (!name.empty() && !remove && (node.empty() || team.empty())) throw Error(Fault::usage, "--node and --team say which node is whose");
  const double begin = from.empty() ? unix_seconds() : moment("--from", from);
  Client client;
  if (remove)
    client.remove("/reservations/" + url_encode(name));
  else if (!name.empty())
    client.put("/reservations/" + url_encode(name),
               {{"node", node}, {"team", team}, {"note", text}, {"from", begin}, {"until", begin + hours * 3600}});
  const Json answer = client.get("/reservations");
  if (json) return print_json_of(answer), 0;
  Table table({"reservation", "node", "team", "from", "until", "note"});
  for (const Json& r : answer["reservations"])
    table.row({cell(r, "id"), cell(r, "node"), cell(r, "team"), format_utc(r.value("from", 0.0)), format_utc(r.value("until", 0.0)),
               cell(r, "note")});
  std::printf("%s", table.text().c_str());
  return 0;
}

int run_usage(int argc, char** argv) {
  std::string month;
  bool json = false;
  Args args("wellspring cluster usage", "Device-hours by team, user, project, chip and month.");
  args.option("--month", &month, "YYYY-MM", "only this month");
  args.flag("--json", &json, "print as JSON");
  args.example("wellspring cluster usage");
  if (!args.parse(argc, argv)) return 0;
  Client client;
  const Json answer = client.get("/usage?month=" + url_encode(month));
  if (json) return print_json_of(answer), 0;
  Table table({"month", "team", "user", "project", "chip", "device-hours", "attempts"});
  for (const Json& u : answer["usage"]) {
    char hours[32];
    std::snprintf(hours, sizeof hours, "%.3f", u.value("device_hours", 0.0));
    table.row({cell(u, "month"), cell(u, "team"), cell(u, "user"), cell(u, "project"), cell(u, "chip"), hours, cell(u, "attempts")});
  }
  std::printf("%s", table.text().c_str());
  return 0;
}

int run_pause(int argc, char** argv) {
  double seconds = 600;
  bool end = false;
  Args args("wellspring cluster pause", "Make leases longer for a while: for an upgrade of the controller or the network.");
  args.option("--seconds", &seconds, "S", "for so long (600)");
  args.flag("--end", &end, "leases are as ever again");
  args.example("wellspring cluster pause --seconds 900");
  if (!args.parse(argc, argv)) return 0;
  Client client;
  client.post("/cluster/pause", {{"seconds", end ? 0 : seconds}});
  std::printf(end ? "leases are as ever again\n" : "leases are longer by %s\n", human_duration(seconds).c_str());
  return 0;
}

int run_backup(int argc, char** argv) {
  Args args("wellspring cluster backup", "Write a backup of the state now, read it back, and print its path on the controller's machine.");
  args.example("wellspring cluster backup");
  if (!args.parse(argc, argv)) return 0;
  Client client;
  std::printf("%s\n", cell(client.post("/cluster/backup", Json::object()), "path").c_str());
  return 0;
}

int run_restore(int argc, char** argv) {
  std::string path, state, config;
  bool check = false, replace = false;
  Args args("wellspring cluster restore",
            "Fill an empty state from a backup; the controller must not run. Jobs that were submitted after the backup "
            "are not known any more; their numbers are not used again.");
  args.positional("BACKUP", &path, "file that `cluster backup` wrote");
  args.option("--state", &state, "WHERE", "SQLite file or postgresql://... (that of --config)");
  args.option("--config", &config, "FILE", "cluster.yaml");
  args.flag("--replace", &replace, "a state that is there: an SQLite file is kept beside the new one, PostgreSQL's rows go");
  args.flag("--check", &check, "only read the backup");
  args.example("wellspring cluster restore state-2026-11-26T10:00:00.000Z.backup --state new.db");
  if (!args.parse(argc, argv)) return 0;
  if (check) {
    std::printf("%s: whole, %ld rows\n", path.c_str(), static_cast<long>(Store::verify(path)));
    return 0;
  }
  if (state.empty()) state = read_controller_options(config, {}).state;
  const int64_t rows = Store::restore(state, path, replace);
  std::printf("restored %ld rows of %s into the state %s\n", static_cast<long>(rows), path.c_str(), Database::shown(state).c_str());
  return 0;
}

int run_events(int argc, char** argv) {
  bool json = false, audit = false;
  int64_t limit = 50;
  Args args("wellspring cluster events", "What happened, the newest last; or the audit log.");
  args.option("--limit", &limit, "N", "at most so many (50)");
  args.flag("--audit", &audit, "who asked for what");
  args.flag("--json", &json, "print as JSON");
  args.example("wellspring cluster events --limit 20");
  if (!args.parse(argc, argv)) return 0;
  Client client;
  const Json answer = client.get(str(audit ? "/audit" : "/events", "?limit=", limit));
  if (json) return print_json_of(answer), 0;
  const Json& rows = answer[audit ? "audit" : "events"];
  Table table(audit ? std::vector<std::string>{"time", "who", "from", "what", "outcome"}
                    : std::vector<std::string>{"time", "job", "node", "what"});
  for (auto it = rows.rbegin(); it != rows.rend(); ++it)
    audit ? table.row({format_utc(it->value("at", 0.0)), cell(*it, "who"), cell(*it, "address"), cell(*it, "what"), cell(*it, "outcome")})
          : table.row({format_utc(it->value("at", 0.0)), cell(*it, "job"), cell(*it, "node"), cell(*it, "text")});
  std::printf("%s", table.text().c_str());
  return 0;
}

}  // namespace

int command_cluster(int argc, char** argv) {
  return run_verbs("wellspring cluster", "Run a cluster, and look after it.",
                   {{"up", "run the controller, and a node here", run_up},
                    {"node", "run this machine's node", run_node},
                    {"login", "keep a cluster's address and your token", run_login},
                    {"status", "the pool and its jobs in numbers", run_status},
                    {"nodes", "nodes and what runs there", run_nodes},
                    {"drain", "end a node's jobs and give it no more", run_drain},
                    {"queues", "queues", run_queues},
                    {"teams", "teams", run_teams},
                    {"quota", "quotas by team and chip", run_quota},
                    {"token", "tokens of people and programs, invitations of nodes", run_token},
                    {"secret", "secrets of a team", run_secret},
                    {"reserve", "a node for one team for a while", run_reserve},
                    {"usage", "device-hours by team, user, project, chip and month", run_usage},
                    {"events", "what happened; the audit log", run_events},
                    {"pause", "longer leases, for an upgrade", run_pause},
                    {"backup", "write a backup now", run_backup},
                    {"restore", "fill an empty state from a backup", run_restore}},
                   argc, argv);
}

}  // namespace wellspring
