#pragma once
// The HTTP API as a table of routes, from which routing, rights, the audit log and the OpenAPI
// document follow. Used by api*.cpp.

#include <functional>
#include <string>
#include <vector>

#include "base/json.h"
#include "cluster/controller/controller.h"

namespace wellspring::cluster {

/// One request on its way.
struct Route;

struct Call {
  Controller& controller;
  const HttpRequest& request;
  HttpResponse& response;
  Caller caller;
  std::string outcome;  // for the audit log: what was made
  const Route& route;

  /// The request's, parsed; {} when it has none. ApiError 400, also for a field that the route does not
  /// have, or one of another type.
  Json body() const;
  std::string part(const char* name) const { return std::string(request.part(name)); }
  std::string parameter(const char* name, const std::string& otherwise = "") const;
  /// A whole number from `least` to `most`; ApiError 400.
  int64_t number(const char* name, int64_t otherwise, int64_t least, int64_t most) const;
  void answer(const Json& json, int status = 200);
};

struct Route {
  std::string method, path;  // below /api/v1
  std::string role;          // viewer, member, admin; open; node
  std::string summary;       // one line, for the document
  std::vector<std::pair<std::string, std::string>> parameters;  // of the query: name, what it is
  std::function<void(Call&)> run;
  bool audited = false;      // what changes something
  /// Fields of the body. One without a name is all of it: a job, or bytes.
  struct Field {
    const char *name, *type, *what;  // string, number, integer, boolean, array, object; job; bytes
  };
  std::vector<Field> body = {};
  bool shown = false;  // the audit log tells the body's fields: none of them is a secret
};

/// The OpenAPI document of the routes.
Json openapi(const std::vector<Route>& routes);

void add_job_routes(std::vector<Route>& routes);
void add_log_routes(std::vector<Route>& routes);
void add_admin_routes(std::vector<Route>& routes);
void add_event_routes(std::vector<Route>& routes);
void add_node_routes(std::vector<Route>& routes);
/// The OpenAPI 3.1 document of these routes.
Json openapi(const std::vector<Route>& routes);

/// The job of a path's {id}, with the caller's right to see it (and, with `change`, to change it)
/// checked. ApiError 404 or 403. Under Core::read.
const Job& job_for(const State& state, const Call& call, bool change);
/// ApiError 403 unless the caller is an admin or of this team.
void check_team(const Caller& caller, const std::string& team);
/// ApiError 400 unless it is a name (spec.h).
void check_name(const std::string& what, const std::string& name);

/// ApiError 503 unless the turn was given.
void check_turn(const Turns::Turn& turn, const Turns& turns);
/// 64 lower-case hexadecimal digits.
bool is_archive_name(const std::string& hash);

/// The forms in which entities are shown.
Json job_row(const State& state, const Job& job);
Json attempt_row(const Attempt& attempt);
Json node_row(Controller& controller, const State& state, const Node& node);

}  // namespace wellspring::cluster
