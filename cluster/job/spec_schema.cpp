// The JSON schema of a job, from the list of its fields.

#include "base/json.h"
#include "base/text.h"
#include "cluster/job/spec_fields.h"

namespace wellspring::cluster {
namespace {

template <class T>
Json schema_of(const T& value, const Rule& rule) {
  Json out;
  if constexpr (std::is_same_v<T, bool>) {
    out["type"] = "boolean";
  } else if constexpr (std::is_arithmetic_v<T>) {
    out["type"] = std::is_integral_v<T> ? "integer" : "number";
    if (rule.low < rule.high) out["minimum"] = rule.low, out["maximum"] = rule.high;
  } else if constexpr (std::is_same_v<T, std::string>) {
    out["type"] = "string";
    if (!rule.choices.empty())
      for (const std::string& one : split(std::string(rule.choices), ',')) out["enum"].push_back(trim(one));
    if (rule.most) out["maxLength"] = rule.most;
  } else if constexpr (std::is_same_v<T, std::vector<int>>) {
    if (rule.indices)
      out = {{"type", "string"}, {"description", "0-99, 1,3,5-9, 0-30:10"}};
    else
      out = {{"type", "array"}, {"items", {{"type", "integer"}, {"minimum", rule.low}, {"maximum", rule.high}}}};
  } else if constexpr (std::is_same_v<T, std::vector<std::pair<std::string, std::string>>>) {
    out = {{"type", "object"}, {"additionalProperties", {{"type", "string"}}}};
  } else if constexpr (HasFields<T>) {
    out = {{"type", "object"}, {"additionalProperties", false}, {"properties", Json::object()}};
    each_field<T>([&](const auto& f) { out["properties"][std::string(f.name)] = schema_of(value.*f.member, f.rule); });
  } else {
    out = {{"type", "array"}, {"items", schema_of(typename T::value_type{}, {})}};
    if (rule.most) out["maxItems"] = rule.most;
  }
  return out;
}

}  // namespace

Json spec_schema() { return schema_of(JobSpec{}, {}); }

}  // namespace wellspring::cluster
