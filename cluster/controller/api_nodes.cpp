// Routes of nodes: joining, the link, archives of working folders; terminals and ports of jobs.

#include <poll.h>

#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "base/time.h"
#include "cluster/controller/api.h"

namespace wellspring::cluster {
namespace {

void join_node(Call& call) {
  const Json body = call.body();
  const std::string name = body.value("name", "");
  check_name("node", name);
  if (name == kSharedPool) throw ApiError(400, "name: that is the name of a pool");
  const std::string key = call.controller.join(body.value("token", ""), name);
  call.caller = {.role = "node", .user = name};  // for the audit log
  call.answer({{"name", name}, {"key", key}, {"ca", call.controller.ca()}}, 201);
}

void link(Call& call) {
  const std::string name = call.caller.user;
  call.controller.nodes().serve(name, call.response.upgrade("wellspring-link"));
}

void get_archive(Call& call) {
  const std::string team = call.part("team"), hash = call.part("hash");
  check_name("team", team);
  if (!is_archive_name(hash)) throw ApiError(400, "an archive is named by its SHA-256");
  // What a node was given to run, and nothing else.
  const bool wanted = call.controller.core().read([&](const State& s) {
    for (const int64_t serial : s.active_on(call.caller.user)) {
      const Job& job = s.jobs.at(s.attempts.at(serial).job);
      if (job.team == team && job.spec->snapshot == hash) return true;
    }
    return false;
  });
  if (!wanted) throw ApiError(403, "no attempt on this node works in that folder");
  const std::string path = call.controller.archives().path(team, hash);
  if (!exists(path)) throw ApiError(404, "there is no such archive");
  const MappedFile file(path);
  call.response.begin_stream(200, "application/x-tar");
  std::string_view rest = file.view();
  while (!rest.empty() && call.response.write(rest.substr(0, 256 << 10)))
    rest.remove_prefix(std::min<size_t>(rest.size(), 256 << 10));
  call.response.end();
}

// Whether the client has gone, though nobody reads from it now.
bool hung_up(const HttpDuplex& duplex) {
  pollfd wait{duplex.descriptor(), POLLRDHUP, 0};
  return wait.fd < 0 || ::poll(&wait, 1, 0) > 0;
}

// Bytes both ways between the client's connection and a channel to the node, until either ends or the
// client may not ask any more.
void relay(const Call& call, const std::shared_ptr<HttpDuplex>& duplex, const std::shared_ptr<Channel>& channel) {
  std::thread up([&] {
    char buffer[16 << 10];
    while (true) {
      const long n = duplex->read(buffer, sizeof buffer, 3600);
      if (n == HttpDuplex::kTimeout) continue;
      if (n <= 0 || !channel->write({buffer, static_cast<size_t>(n)})) break;
    }
    channel->finish();
  });
  double next_look = 0;
  while (true) {
    const auto part = channel->read(1);
    if (!part && (channel->over() || hung_up(*duplex))) break;
    if (part && !duplex->write(*part)) break;
    if (const double now = monotonic_seconds(); now > next_look) {
      next_look = now + 1;
      try {
        call.controller.access().check_still(call.caller);
      } catch (const ApiError&) {
        break;
      }
    }
  }
  channel->close();
  duplex->close();
  up.join();
}

// A terminal or port of the running attempt of a job.
void tunnel(Call& call, const char* kind) {
  if (call.caller.cookie) throw ApiError(403, "a page opens no terminals and ports: use `wellspring job`");
  const Turns::Turn turn(call.controller.turns(), call.caller.token);
  check_turn(turn, call.controller.turns());
  std::string node;
  Json what;
  JobId id = 0;
  call.controller.core().read([&](const State& s) {
    const Job& job = job_for(s, call, true);
    id = job.id;
    if (!job.array && element_count(*job.spec))
      throw ApiError(409, str("job ", job.id, job.spec->kind == "service" ? " has several copies" : " is an array", ": name one, such as ",
                              job.id, "_", element_index(*job.spec, 0)));
    const Attempt* a = s.attempts.find(job.attempt);
    if (!a || a->state != AttemptState::running)
      throw ApiError(409, str("job ", shown_id(job), " is not running: it is ", name_of(job.state)));
    if (a->executor != "nodes")
      throw ApiError(409, "the job runs on another cluster, which has no such way in");
    const int64_t rank = call.number("rank", 0, 0, 1 << 22);
    const auto n = static_cast<size_t>(rank / std::max(1, a->tasks_per_node));
    if (n >= a->parts.size()) throw ApiError(404, str("there is no rank ", rank));
    node = a->parts[n].node;
    const Team* team = s.teams.find(job.team);
    what = {{kind, {{"token", a->token}, {"rank", rank}, {"user", team ? team->system_user : ""},
                    {"command", call.parameter("command")}, {"port", call.number("port", service_port(job), 0, 65535)},
                    {"rows", call.number("rows", 24, 1, 1000)}, {"columns", call.number("columns", 80, 1, 1000)},
                    {"terminal", call.number("terminal", 0, 0, 1)}}}};
  });
  const auto channel = call.controller.nodes().open(node, what);
  if (what.contains("exec"))
    call.controller.core().post([id, who = call.caller.name()](Change& c) {
      note(c, "job", id, "", str(who, " runs a command beside it"));
    });
  relay(call, call.response.upgrade("wellspring-tunnel"), channel);
}

}  // namespace

void add_node_routes(std::vector<Route>& r) {
  r.push_back({"GET", "/ca", "open", "the certificate of the cluster's CA (PEM), to compare its fingerprint", {}, [](Call& call) {
                 if (call.controller.ca().empty()) throw ApiError(404, "this controller is not served by TLS");
                 call.response.send(200, "application/x-pem-file", call.controller.ca());
               }});
  r.push_back({"POST", "/join", "open", "a node joins with an invitation", {}, join_node, true,
               {{"token", "string", "the invitation"}, {"name", "string", "of the node"}}});
  r.push_back({"GET", "/link", "node", "the link of a node (Upgrade: wellspring-link)", {}, link});
  r.push_back({"GET", "/archives/{team}/{hash}", "node", "the archive of a working folder", {}, get_archive});
  r.push_back({"GET", "/jobs/{id}/exec", "member", "run a command beside a running job (Upgrade: wellspring-tunnel)",
               {{"command", "for /bin/sh -c"}, {"rank", "rank (0)"}, {"terminal", "1: with a terminal"},
                {"rows", "of the terminal"}, {"columns", "of the terminal"}},
               [](Call& call) { tunnel(call, "exec"); }, true});
  r.push_back({"GET", "/jobs/{id}/forward", "member", "a connection to a port of a running job (Upgrade: wellspring-tunnel)",
               {{"port", "port (the service's)"}, {"rank", "rank (0)"}},
               [](Call& call) { tunnel(call, "forward"); }, true});
}

}  // namespace wellspring::cluster
