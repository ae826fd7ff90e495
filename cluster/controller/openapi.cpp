// The document of the HTTP API, from the table of routes.

#include "base/text.h"
#include "cluster/controller/api.h"
#include "cluster/job/spec.h"

namespace wellspring::cluster {
namespace {

Json body_of(const Route& r) {
  const std::string_view all = r.body[0].name[0] ? "" : r.body[0].type;
  if (all == "bytes")
    return {{"required", true}, {"content", {{"application/octet-stream", {{"schema", {{"type", "string"}, {"format", "binary"}}}}}}}};
  Json schema = {{"$ref", "#/components/schemas/Job"}};
  if (all.empty()) {
    schema = {{"type", "object"}, {"additionalProperties", false}};
    for (const Route::Field& f : r.body) schema["properties"][f.name] = {{"type", f.type}, {"description", f.what}};
  }
  return {{"required", true}, {"content", {{"application/json", {{"schema", std::move(schema)}}}}}};
}

Json answers(const Route& r) {
  Json out = {{"200", {{"description", "done"}}},
              {"400", {{"description", "the request is wrong: error.message says how"}}},
              {"404", {{"description", "no such thing"}}},
              {"503", {{"description", "the state cannot be written now: try again"}}}};
  if (r.method == "POST") out["201"] = {{"description", "made"}};
  if (!r.body.empty()) out["413"] = {{"description", "the body is too large"}};
  if (r.method != "GET") out["409"] = {{"description", "the state does not allow it"}};
  if (r.role != "open") {
    out["401"] = {{"description", "no token, or one that is not valid"}};
    out["403"] = {{"description", "the role or team does not allow it"}};
  }
  for (auto& [status, answer] : out.items())
    if (status[0] != '2')
      answer["content"]["application/json"]["schema"] = {{"$ref", "#/components/schemas/Error"}};
  return out;
}

Json parameters_of(const Route& r) {
  Json out = Json::array();
  for (size_t at = 0; (at = r.path.find('{', at)) != std::string::npos; ++at)
    out.push_back({{"name", r.path.substr(at + 1, r.path.find('}', at) - at - 1)}, {"in", "path"}, {"required", true},
                   {"schema", {{"type", "string"}}}});
  for (const auto& [name, what] : r.parameters)
    out.push_back({{"name", name}, {"in", "query"}, {"description", what}, {"schema", {{"type", "string"}}}});
  return out;
}

}  // namespace

Json openapi(const std::vector<Route>& routes) {
  Json paths = Json::object();
  for (const Route& r : routes) {
    Json op = {{"summary", r.summary}, {"x-role", r.role}, {"responses", answers(r)}};
    if (Json parameters = parameters_of(r); !parameters.empty()) op["parameters"] = std::move(parameters);
    if (!r.body.empty()) op["requestBody"] = body_of(r);
    if (r.role == "open") op["security"] = Json::array();
    paths["/api/v1" + r.path][to_lower(r.method)] = std::move(op);
  }
  const Json message = {{"type", "object"}, {"properties", {{"message", {{"type", "string"}}}}}};
  return {{"openapi", "3.1.0"},
          {"info", {{"title", "Wellspring cluster"}, {"version", "1"}}},
          {"security", Json::array({{{"token", Json::array()}}})},
          {"components",
           {{"securitySchemes", {{"token", {{"type", "http"}, {"scheme", "bearer"}}}}},
            {"schemas", {{"Job", spec_schema()}, {"Error", {{"type", "object"}, {"properties", {{"error", message}}}}}}}}},
          {"paths", std::move(paths)}};
}

}  // namespace wellspring::cluster
