#include <cmath>

#include "base/json.h"
#include "base/text.h"
#include "cluster/job/spec_fields.h"

namespace wellspring::cluster {
namespace {

Json write(const std::string& value, const Rule&) { return value; }
Json write(int value, const Rule&) { return value; }
Json write(int64_t value, const Rule&) { return value; }
Json write(double value, const Rule&) { return value; }
Json write(bool value, const Rule&) { return value; }
Json write(const std::vector<int>& value, const Rule& rule) {
  return rule.indices ? Json(format_indices(value)) : Json(value);
}
Json write(const std::vector<std::pair<std::string, std::string>>& value, const Rule&) {
  Json map = Json::object();
  for (const auto& [name, text] : value) map[name] = text;
  return map;
}

template <HasFields T>
Json write(const std::vector<T>& values, const Rule&);

// A member with its default value is left out, except where the list of alternatives or another
// list is written: there an empty map says that all is default.
template <HasFields T>
Json write(const T& value, const Rule& = {}) {
  static const T defaults{};
  Json map = Json::object();
  each_field<T>([&](const auto& f) {
    if (!(value.*f.member == defaults.*f.member))
      map[std::string(f.name)] = write(value.*f.member, f.rule);
  });
  return map;
}

template <HasFields T>
Json write(const std::vector<T>& values, const Rule&) {
  Json list = Json::array();
  for (const T& value : values) list.push_back(write(value));
  return list;
}

class SpecReader {
 public:
  explicit SpecReader(const std::string& where) : where_(where) {}

  template <HasFields T>
  void read(const Json& json, T& value, const FieldPath& path, const Rule& = {}) const {
    if (!json.is_object()) wrong(json, path, "a map");
    for (auto it = json.begin(); it != json.end(); ++it) {
      const std::string& key = it.key();
      bool known = false;
      each_field<T>([&](const auto& f) {
        if (known || f.name != key) return;
        known = true;
        read(it.value(), value.*f.member, FieldPath{&path, f.name}, f.rule);
      });
      if (!known) unknown<T>(key, path);
    }
  }

  template <HasFields T>
  void read(const Json& json, std::vector<T>& values, const FieldPath& path,
            const Rule& rule) const {
    if (!json.is_array()) wrong(json, path, "a list");
    if (json.size() > rule.most)
      fail(path, str("has ", json.size(), " items: at most ", rule.most));
    values.resize(json.size());
    for (size_t i = 0; i < json.size(); ++i)
      read(json[i], values[i], FieldPath{&path, {}, static_cast<long>(i)});
  }

  void read(const Json& json, std::string& value, const FieldPath& path, const Rule&) const {
    if (!json.is_string()) wrong(json, path, "a text");
    value = json.get_ref<const std::string&>();
  }
  void read(const Json& json, bool& value, const FieldPath& path, const Rule&) const {
    if (!json.is_boolean()) wrong(json, path, "true or false");
    value = json.get<bool>();
  }
  void read(const Json& json, double& value, const FieldPath& path, const Rule&) const {
    if (!json.is_number()) wrong(json, path, "a number");
    value = json.get<double>();
  }
  void read(const Json& json, int64_t& value, const FieldPath& path, const Rule& rule) const {
    value = whole(json, path, rule);
  }
  void read(const Json& json, int& value, const FieldPath& path, const Rule& rule) const {
    value = static_cast<int>(whole(json, path, rule));
  }
  void read(const Json& json, std::vector<int>& value, const FieldPath& path,
            const Rule& rule) const {
    if (rule.indices && json.is_string()) {
      try {
        value = parse_indices(json.get_ref<const std::string&>());
      } catch (const Error& e) {
        fail(path, e.what());
      }
      return;
    }
    if (rule.indices) wrong(json, path, "a text like \"0-99\"");
    if (!json.is_array()) wrong(json, path, "a list of whole numbers");
    if (json.size() > rule.most)
      fail(path, str("has ", json.size(), " items: at most ", rule.most));
    for (size_t i = 0; i < json.size(); ++i)
      value.push_back(
          static_cast<int>(whole(json[i], FieldPath{&path, {}, static_cast<long>(i)}, rule)));
  }
  void read(const Json& json, std::vector<std::pair<std::string, std::string>>& value,
            const FieldPath& path, const Rule& rule) const {
    if (!json.is_object()) wrong(json, path, "a map of texts");
    if (json.size() > rule.most)
      fail(path, str("has ", json.size(), " entries: at most ", rule.most));
    for (auto it = json.begin(); it != json.end(); ++it) {
      if (!it.value().is_string()) wrong(it.value(), FieldPath{&path, it.key()}, "a text");
      value.emplace_back(it.key(), it.value().get_ref<const std::string&>());
    }
  }

 private:
  // Ranges are checked here where a value might not fit its type, the rest by check_spec.
  int64_t whole(const Json& json, const FieldPath& path, const Rule& rule) const {
    if (!json.is_number_integer()) wrong(json, path, "a whole number");
    const bool fits =
        !json.is_number_unsigned() || json.get<uint64_t>() <= static_cast<uint64_t>(rule.high);
    const int64_t value = fits ? json.get<int64_t>() : 0;
    if (!fits || value < rule.low || value > rule.high)
      fail(path, str("is ", json.dump(), ": want ", static_cast<int64_t>(rule.low), " to ",
                     static_cast<int64_t>(rule.high)));
    return value;
  }

  template <class T>
  [[noreturn]] void unknown(const std::string& key, const FieldPath& path) const {
    std::vector<std::string> known;
    each_field<T>([&](const auto& f) { known.emplace_back(f.name); });
    auto near = nearest(key, known);
    throw Error(
        Fault::data,
        str(where_, ": unknown field '", utf8_repair(key.substr(0, 100)), "'",
            path.up || path.index >= 0 ? str(" in '", path.text(), "'") : std::string(),
            near ? str(": did you mean '", *near, "'?") : str(". Known: ", join(known, ", "))));
  }

  [[noreturn]] void wrong(const Json& json, const FieldPath& path, std::string_view want) const {
    std::string given = json.is_object()  ? std::string("a map")
                        : json.is_array() ? std::string("a list")
                                          : to_text(json);
    if (given.size() > 60) given = utf8_repair(given.substr(0, 57)) + "...";
    fail(path, str("is ", given, ": want ", want));
  }

  [[noreturn]] void fail(const FieldPath& path, const std::string& what) const {
    std::string field = path.text();
    throw Error(Fault::data,
                str(where_, ": ", field.empty() ? "the job" : str("'", field, "'"), " ", what));
  }

  const std::string& where_;
};

}  // namespace

Json to_json(const JobSpec& spec) { return write(spec); }

JobSpec spec_from_json(const Json& json, const std::string& where) {
  JobSpec spec;
  SpecReader(where).read(json, spec, FieldPath{});
  if (!json.contains("accepted")) spec.accepted.emplace_back();
  check_spec(spec, Fault::data,
             [&](const std::string& field) { return str(where, ": '", field, "'"); });
  return spec;
}

}  // namespace wellspring::cluster
