#pragma once
// The one list of a job's fields, with their rules: what writes, reads and checks a JobSpec goes
// over it. Included by spec_*.cpp alone.

#include <limits>
#include <string_view>
#include <tuple>

#include "cluster/job/spec.h"

namespace wellspring::cluster {

/// Says what is wanted when a text is wrong, null when it is right.
using TextRule = const char* (*)(std::string_view);
const char* rule_name(std::string_view text);
const char* rule_line(std::string_view text);    // one line without control characters
const char* rule_script(std::string_view text);  // lines and tabs too
const char* rule_absolute(std::string_view text);
const char* rule_relative(std::string_view text);
const char* rule_variable(std::string_view text);
const char* rule_sha256(std::string_view text);
const char* rule_url(std::string_view text);
const char* rule_url_path(std::string_view text);

struct Rule {
  double low = 0, high = 0;       // of numbers, and of each number in a list
  TextRule text = nullptr;        // of texts that are not empty
  bool needed = false;            // an empty text is wrong
  size_t most = 0;                // bytes of a text, items of a list
  std::string_view choices = {};  // "one, other"
  bool indices = false;           // a list of numbers that is written as "0-9"
};

template <class Owner, class Value>
struct Field {
  std::string_view name;
  Value Owner::*member;
  Rule rule;
};
template <class Owner, class Value>
constexpr Field<Owner, Value> field(std::string_view name, Value Owner::*member, Rule rule = {}) {
  return {name, member, rule};
}

namespace rules {
constexpr Rule number(double low, double high) { return {.low = low, .high = high}; }
constexpr Rule text(TextRule rule, size_t most, bool needed = false) {
  return {.text = rule, .needed = needed, .most = most};
}
constexpr Rule choice(std::string_view names) { return {.needed = true, .choices = names}; }
constexpr Rule list(size_t most) { return {.most = most}; }
}  // namespace rules

inline constexpr double kMostSeconds = 1e9;          // a duration: 31 years
inline constexpr double kMostMoment = 253402300799;  // the year 9999
inline constexpr size_t kNameBytes = 64, kPathBytes = 4096;
inline constexpr size_t kScriptBytes = 128'000;  // the system takes 128 KiB as one argument
inline constexpr size_t kIndicesMost = 1'000'000;

template <class T>
struct FieldsOf;

template <>
struct FieldsOf<Resources> {
  static constexpr auto fields =
      std::tuple(field("chip", &Resources::chip, rules::text(rule_name, kNameBytes)),
                 field("count", &Resources::count, rules::number(0, 1024)),
                 field("nodes", &Resources::nodes, rules::number(1, 4096)),
                 field("tasks_per_node", &Resources::tasks_per_node, rules::number(1, 1024)),
                 field("memory_mb", &Resources::memory_mb, rules::number(0, 1e9)));
};

template <>
struct FieldsOf<Mount> {
  static constexpr auto fields =
      std::tuple(field("source", &Mount::source, rules::text(rule_absolute, kPathBytes, true)),
                 field("target", &Mount::target, rules::text(rule_absolute, kPathBytes, true)),
                 field("read_only", &Mount::read_only));
};

template <>
struct FieldsOf<SecretUse> {
  static constexpr auto fields =
      std::tuple(field("name", &SecretUse::name, rules::text(rule_name, kNameBytes, true)),
                 field("variable", &SecretUse::variable, rules::text(rule_variable, 256)));
};

template <>
struct FieldsOf<DependsOn> {
  static constexpr auto fields =
      std::tuple(field("job", &DependsOn::job, rules::number(1, 0x1p53)),
                 field("kind", &DependsOn::kind, rules::choice("afterok, afterany, afternotok")));
};

template <>
struct FieldsOf<RestartPolicy> {
  static constexpr auto fields = std::tuple(
      field("most", &RestartPolicy::most, rules::number(0, 1'000'000)),
      field("on_exit", &RestartPolicy::on_exit, Rule{.low = 1, .high = 255, .most = 255}),
      field("backoff", &RestartPolicy::backoff, rules::number(0, 86400)),
      field("most_backoff", &RestartPolicy::most_backoff, rules::number(0, 86400)));
};

template <>
struct FieldsOf<Checkpointing> {
  static constexpr auto fields =
      std::tuple(field("folder", &Checkpointing::folder, rules::text(rule_relative, 1024, true)),
                 field("grace", &Checkpointing::grace, rules::number(0, 86400)));
};

template <>
struct FieldsOf<Service> {
  static constexpr auto fields =
      std::tuple(field("port", &Service::port, rules::number(0, 65535)),
                 field("ready_path", &Service::ready_path, rules::text(rule_url_path, 1024)),
                 field("ready_timeout", &Service::ready_timeout, rules::number(1, 86400)),
                 field("replicas", &Service::replicas, rules::number(1, 1000)));
};

template <>
struct FieldsOf<JobSpec> {
  static constexpr auto fields = std::tuple(
      field("name", &JobSpec::name, rules::text(rule_name, kNameBytes, true)),
      field("team", &JobSpec::team, rules::text(rule_name, kNameBytes)),
      field("project", &JobSpec::project, rules::text(rule_name, kNameBytes)),
      field("kind", &JobSpec::kind, rules::choice("batch, service, interactive")),
      field("queue", &JobSpec::queue, rules::text(rule_name, kNameBytes, true)),
      field("priority", &JobSpec::priority, rules::number(-kMostPriority, kMostPriority)),
      field("accepted", &JobSpec::accepted, rules::list(64)),
      field("command", &JobSpec::command, rules::text(rule_script, kScriptBytes)),
      field("train", &JobSpec::train, rules::text(rule_script, 1 << 20)),
      field("setup", &JobSpec::setup, rules::text(rule_script, kScriptBytes)),
      field("image", &JobSpec::image, rules::text(rule_line, kPathBytes)),
      field("workdir", &JobSpec::workdir, rules::text(rule_line, kPathBytes)),
      field("snapshot", &JobSpec::snapshot, rules::text(rule_sha256, 64)),
      field("mounts", &JobSpec::mounts, rules::list(64)),
      field("env", &JobSpec::env, rules::list(1000)),
      field("secrets", &JobSpec::secrets, rules::list(64)), field("restart", &JobSpec::restart),
      field("checkpoint", &JobSpec::checkpoint), field("service", &JobSpec::service),
      field("array", &JobSpec::array,
            Rule{.low = 0, .high = 1e9, .most = kIndicesMost, .indices = true}),
      field("array_at_once", &JobSpec::array_at_once, rules::number(0, kIndicesMost)),
      field("after", &JobSpec::after, rules::list(1000)),
      field("time_limit", &JobSpec::time_limit, rules::number(0, kMostSeconds)),
      field("not_before", &JobSpec::not_before, rules::number(0, kMostMoment)),
      field("deadline", &JobSpec::deadline, rules::number(0, kMostMoment)),
      field("on_lost_contact", &JobSpec::on_lost_contact, rules::choice("fence, continue")),
      field("notify", &JobSpec::notify, rules::text(rule_url, 2000)),
      field("migrate", &JobSpec::migrate));
};

template <class T>
concept HasFields = requires {
  FieldsOf<T>::fields;
};

/// Calls f(field) for each field of T.
template <class T, class F>
void each_field(F&& f) {
  std::apply([&](const auto&... all) { (f(all), ...); }, FieldsOf<T>::fields);
}

/// Where a value stands, as a chain that becomes text only when something is wrong.
struct FieldPath {
  const FieldPath* up = nullptr;
  std::string_view name;  // of a field or key
  long index = -1;        // of an item of a list
  std::string text() const;
};

}  // namespace wellspring::cluster
