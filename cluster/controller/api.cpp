#include "cluster/controller/api.h"

#include <unistd.h>

#include <climits>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "base/time.h"

namespace wellspring::cluster {
namespace {

constexpr int64_t kAuditKept = 50000;

void send_failure(HttpResponse& response, int status, const std::string& message) {
  if (!response.begun()) response.send_error(status, message);
}

int status_of(const Error& e) {
  switch (e.fault()) {
    case Fault::usage: return 409;  // the state does not allow it
    case Fault::data:
    case Fault::config: return 400;
    case Fault::missing: return 404;
    case Fault::try_again: return 503;
    case Fault::io: return 502;
    default: return 500;
  }
}

// Runs f and answers what it throws. Returns what went wrong.
template <class F>
std::string guarded(HttpResponse& response, F&& f) {
  try {
    f();
    return "";
  } catch (const ApiError& e) {
    send_failure(response, e.status, e.what());
    return e.what();
  } catch (const Error& e) {
    send_failure(response, status_of(e), e.what());
    return e.what();
  } catch (const nlohmann::json::exception& e) {
    const std::string text = str("a field of the request has another type: ", e.what());
    send_failure(response, 400, text);
    return text;
  } catch (const std::exception& e) {
    log_error("cluster", "a request failed (this is a bug): ", e.what());
    send_failure(response, 500, "the request failed by a fault of the controller: see its log");
    return e.what();
  }
}

// " priority=5 open=false": what a change that holds no secret sets.
std::string fields_of(const Call& call) {
  if (!call.route.shown) return "";
  const Json body = Json::parse(call.request.body, nullptr, false);
  std::string out;
  for (const Route::Field& f : call.route.body)
    if (body.is_object() && body.contains(f.name)) out += str(" ", f.name, "=", to_text(body[f.name]));
  return out;
}

void audit(Controller& controller, const Call& call, const std::string& outcome) {
  AuditEntry e{.at = controller.core().now(),
               .who = call.caller.name(),
               .address = call.request.peer.substr(0, call.request.peer.rfind(':')),
               .what = cut_to_width(utf8_repair(str(call.request.method, " ", call.request.path, fields_of(call))), 300),
               .outcome = cut_to_width(outcome, 300)};
  controller.core().post([e](Change& c) {
    const int64_t number = c.state.numbers().next_audit++;
    AuditEntry row = e;
    row.number = number;
    c.state.audit.put(number, std::move(row));
    c.state.audit.remove(number - kAuditKept);
  });
}

void serve_route(Controller& controller, const Route& route, const HttpRequest& request,
                 HttpResponse& response) {
  Call call{controller, request, response, {}, "", route};
  response.header("X-Content-Type-Options", "nosniff");
  const std::string failure = guarded(response, [&] {
    // Whatever comes is data: no browser may take it for a page, or for a part of another one's.
    response.header("X-Content-Type-Options", "nosniff");
    response.header("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'");
    response.header("Cross-Origin-Resource-Policy", "same-origin");
    if (route.path != "/health") controller.access().check_host(request);
    controller.access().check_origin(request);
    if (route.role == "node") {
      call.caller = {.role = "node", .user = controller.access().node(request)};
    } else if (route.role != "open") {
      call.caller = controller.access().check(request);
      if (rank_of_role(call.caller.role) < rank_of_role(route.role))
        throw ApiError(403, str("this needs the role ", route.role, ", the token has ", call.caller.role));
    }
    route.run(call);
  });
  // Who is nobody leaves no row: such rows could drive out all others. They are counted.
  if (!failure.empty() && call.caller.user.empty()) ++controller.strangers;
  if (route.audited && !call.caller.user.empty())
    audit(controller, call, failure.empty() ? call.outcome.empty() ? "done" : call.outcome
                                            : "refused: " + failure);
}

std::string web_folder(const ControllerOptions& options) {
  if (!options.web.empty()) return options.web;
  char self[PATH_MAX] = "";
  const ssize_t n = ::readlink("/proc/self/exe", self, sizeof self - 1);
  const std::string bin = parent_path(std::string(self, n > 0 ? static_cast<size_t>(n) : 0));
  for (const char* near : {"../share/wellspring/web", "../../web"})
    if (const std::string path = join_path(bin, near); is_directory(path)) return path;
  return "";
}

std::string content_type(const std::string& name) {
  const auto is = [&](const char* end) { return ends_with(name, end); };
  if (is(".html")) return "text/html; charset=utf-8";
  if (is(".js") || is(".mjs")) return "text/javascript; charset=utf-8";
  if (is(".css")) return "text/css; charset=utf-8";
  if (is(".svg")) return "image/svg+xml";
  if (is(".json")) return "application/json";
  if (is(".png")) return "image/png";
  return "text/plain; charset=utf-8";
}

void serve_file(Controller& controller, const std::string& folder, const HttpRequest& request,
                HttpResponse& response) {
  guarded(response, [&] {
    controller.access().check_host(request);
    std::string name(request.part("file"));
    if (name.empty()) name = "index.html";
    if (folder.empty()) throw ApiError(404, "the console's files are not installed beside the program");
    if (name.find('\0') != name.npos) throw ApiError(404, "no such page");  // the system reads to it alone
    for (const std::string& segment : split(name, '/'))
      if (segment.empty() || segment[0] == '.') throw ApiError(404, "no such page");
    const std::string path = join_path(folder, name);
    if (!exists(path) || is_directory(path)) throw ApiError(404, "no such page");
    response.header("Content-Security-Policy",
                    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
                    "connect-src 'self'; form-action 'none'; base-uri 'none'; frame-ancestors 'none'");
    response.header("X-Content-Type-Options", "nosniff");
    response.header("Referrer-Policy", "no-referrer");
    response.header("Cross-Origin-Resource-Policy", "same-origin");
    response.header("Cross-Origin-Opener-Policy", "same-origin");
    response.header("Cache-Control", "no-cache");
    response.send(200, content_type(name), read_file(path));
  });
}

}  // namespace

Json Call::body() const {
  if (request.body.empty()) return Json::object();
  Json json;
  try {
    json = parse_json(request.body, "request body");
  } catch (const Error& e) {
    throw ApiError(400, e.what());
  }
  if (!json.is_object()) throw ApiError(400, "request body: expected a JSON object");
  std::vector<std::string> names;
  for (const Route::Field& f : route.body) names.emplace_back(f.name);
  if (!names.empty() && names[0].empty()) return json;  // a job has rules of its own
  for (const auto& [key, value] : json.items()) {
    const auto it = std::ranges::find(names, key);
    if (it == names.end()) {
      const auto near = nearest(key, names);
      throw ApiError(400, str("unknown field '", cut_to_width(utf8_repair(key), 60), "'",
                              near ? str(": did you mean '", *near, "'?")
                                   : names.empty() ? ": there are none here" : str("; there are ", join(names, ", "))));
    }
    const std::string_view type = route.body[static_cast<size_t>(it - names.begin())].type;
    if ((type == "string" && !value.is_string()) || (type == "number" && !value.is_number()) ||
        (type == "integer" && !value.is_number_integer()) || (type == "boolean" && !value.is_boolean()) ||
        (type == "array" && !value.is_array()) || (type == "object" && !value.is_object()))
      throw ApiError(400, str(key, ": expected ", type == "integer" || type == "array" || type == "object" ? "an " : "a ", type));
  }
  return json;
}

std::string Call::parameter(const char* name, const std::string& otherwise) const {
  const std::string_view value = request.parameter(name);
  return value.empty() ? otherwise : std::string(value);
}

int64_t Call::number(const char* name, int64_t otherwise, int64_t least, int64_t most) const {
  const std::string text = parameter(name);
  if (text.empty()) return otherwise;
  const auto n = parse_int(text);
  if (!n || *n < least || *n > most)
    throw ApiError(400, str("'", name, "' is a whole number from ", least, " to ", most, ", not '",
                            cut_to_width(text, 40), "'"));
  return *n;
}

void Call::answer(const Json& json, int status) {
  response.header("Cache-Control", "no-store");
  response.send(status, "application/json", to_text(json));
}

void check_team(const Caller& caller, const std::string& team) {
  if (!caller.admin() && caller.team != team)
    throw ApiError(403, str("this belongs to another team; the token is one of team ", caller.team));
}

void check_name(const std::string& what, const std::string& name) {
  if (!is_name(name))
    throw ApiError(400, str("'", cut_to_width(utf8_repair(name), 40), "' is no name of a ", what,
                            ": up to 64 letters, digits, '.', '_' and '-', a letter or digit first"));
}

void check_turn(const Turns::Turn& turn, const Turns& turns) {
  if (!turn)
    throw ApiError(503, str("this token has ", turns.each(), " logs, terminals and the like open: close some"));
}

bool is_archive_name(const std::string& hash) {
  return hash.size() == 64 && hash.find_first_not_of("0123456789abcdef") == std::string::npos;
}

void add_routes(Controller& controller, HttpServer& server) {
  auto routes = std::make_shared<std::vector<Route>>();
  add_job_routes(*routes);
  add_admin_routes(*routes);
  add_event_routes(*routes);
  add_node_routes(*routes);
  routes->push_back({"GET", "/openapi.json", "open", "this document", {}, nullptr, false});
  routes->back().run = [document = openapi(*routes)](Call& call) { call.answer(document); };
  for (size_t i = 0; i < routes->size(); ++i) {
    const HttpHandler handler = [&controller, routes, i](const HttpRequest& request,
                                                         HttpResponse& response) {
      serve_route(controller, (*routes)[i], request, response);
    };
    server.route((*routes)[i].method, "/api/v1" + (*routes)[i].path, handler);
    for (const char* outside : {"/health", "/metrics"})
      if ((*routes)[i].path == outside) server.route("GET", outside, handler);
  }
  const std::string folder = web_folder(controller.options());
  const HttpHandler file = [&controller, folder](const HttpRequest& request, HttpResponse& response) {
    serve_file(controller, folder, request, response);
  };
  server.route("GET", "/", file);
  server.route("GET", "/{file*}", file);
}

}  // namespace wellspring::cluster
