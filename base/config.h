#pragma once
// Configurations in YAML: read into a tree that remembers lines, then taken apart key by key, so
// that an unknown or mistyped key is an error with file, line and the nearest known name.

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/json_fwd.h"

namespace wellspring {

struct ConfigNode;

/// A node of a parsed YAML file: map, list or scalar, with the place it came from. Copyable handle.
/// A key without a value (`key:`) counts as absent. Not thread-safe: getters note what was asked
/// for. Typical use:
///   Config c = Config::read("run.yaml");
///   c.set("train.lr=1e-3");                     // --set
///   double lr = c["train"].number("lr", 3e-4);  // default when absent
///   c.check_all_used();                         // unknown keys -> Error(Fault::config)
class Config {
 public:
  /// Error(Fault::io) when unreadable, Error(Fault::config) with file:line:column when not YAML,
  /// when a key stands twice, or when aliases expand to more than a million nodes.
  static Config read(const std::string& path);
  static Config parse(const std::string& text, const std::string& where);
  Config();  // an empty map

  /// Child map (an empty one when absent). Error when the key holds a scalar or list.
  Config operator[](const std::string& key) const;
  bool has(const std::string& key) const;
  /// Typed scalars. Without a default an absent key is an error; a wrong type always is. Numbers
  /// accept 1e-3, 4k/2M/1G suffixes are not accepted (write the number).
  std::string text(const std::string& key) const;
  std::string text(const std::string& key, const std::string& otherwise) const;
  int64_t integer(const std::string& key) const;
  int64_t integer(const std::string& key, int64_t otherwise) const;
  double number(const std::string& key) const;
  double number(const std::string& key, double otherwise) const;
  bool boolean(const std::string& key) const;
  bool boolean(const std::string& key, bool otherwise) const;
  /// One of `names`; an error lists them and suggests the nearest.
  std::string choice(const std::string& key, const std::vector<std::string>& names,
                     const std::string& otherwise) const;
  /// Items of a list (empty when absent); a list of scalars through `texts`/`numbers`.
  std::vector<Config> items(const std::string& key) const;
  std::vector<std::string> texts(const std::string& key) const;
  std::vector<double> numbers(const std::string& key) const;
  /// What stands under `key`, or in this node itself when `key` is empty.
  enum class Shape { absent, scalar, list, map };
  Shape shape(const std::string& key = "") const;
  /// The text of a scalar that is an item of a list (of `items`). Error when it is none.
  std::string scalar() const;
  /// Keys of this map in file order.
  std::vector<std::string> keys() const;

  /// Applies "a.b=value" (value in YAML) to the root; missing maps are made, and a number picks an
  /// item of a list ("data.sources.0.weight=2").
  void set(const std::string& assignment);
  /// Throws for the first key anywhere below that no getter has asked for, with file:line, the
  /// nearest of the names that were asked for in the same map, and the list of them.
  void check_all_used() const;
  /// "run.yaml:12 (train.lr)": for errors about a value that only the caller can judge.
  std::string place(const std::string& key = "") const;
  /// The resolved tree (with defaults that getters filled in), for `run.yaml` in a run folder.
  Json to_json() const;
  std::string to_yaml() const;

 private:
  explicit Config(std::shared_ptr<ConfigNode> node) : node_(std::move(node)) {}
  std::shared_ptr<ConfigNode> node_;
};

}  // namespace wellspring
