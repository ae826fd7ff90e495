#pragma once
// The tree behind base/config.h: nodes with their places, made by a parser and written by an
// emitter. Included by config*.cpp alone.

#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/json_fwd.h"

namespace wellspring {

/// A value of a YAML file. Children are owned by one parent: aliases are copied.
struct ConfigNode {
  enum class Kind { null, scalar, list, map };
  using Pointer = std::shared_ptr<ConfigNode>;

  Kind kind = Kind::null;
  std::string scalar;
  bool quoted = false;  // a quoted scalar is text, whatever it looks like
  bool given = true;    // false: a default that a getter filled in
  std::vector<std::pair<std::string, Pointer>> entries;
  std::vector<Pointer> list;
  std::set<std::string> asked;  // names that getters asked this map for

  std::shared_ptr<const std::string> file;
  int line = 0;      // 1-based; 0: the whole of `file`
  int depth = 1;     // levels of this subtree
  std::string path;  // "train.lr", "data.sources[0].path"; empty at the root

  /// The child, or null when absent. Children without a value count as absent unless `with_null`;
  /// defaults count only with `with_defaults`.
  Pointer child(const std::string& key, bool with_defaults = false) const;
  /// Child that exists, made as a default of `kind` when absent.
  Pointer make(const std::string& key, Kind kind);
  /// "run.yaml:12".
  std::string where() const;
  std::string describe() const;  // "a map", "a list", "'text'"
};

/// Parses one YAML document of which the top may be anything. See Config::parse for errors.
ConfigNode::Pointer parse_config(const std::string& text, const std::string& where);
/// Names `node` and all below it after where they stand.
void set_paths(ConfigNode& node, const std::string& path);

/// The value of a scalar by the YAML 1.2 core schema.
Json config_scalar(const ConfigNode& node);
Json config_json(const ConfigNode& node);
std::string config_yaml(const ConfigNode& node);

}  // namespace wellspring
