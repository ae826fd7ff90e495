#include "base/config.h"

#include <cmath>

#include "base/config_node.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"

namespace wellspring {

using Kind = ConfigNode::Kind;
using Pointer = ConfigNode::Pointer;

Pointer ConfigNode::child(const std::string& key, bool with_defaults) const {
  for (const auto& [name, node] : entries)
    if (name == key && node->kind != Kind::null && (node->given || with_defaults)) return node;
  return nullptr;
}

Pointer ConfigNode::make(const std::string& key, Kind wanted) {
  if (Pointer there = child(key, true); there && there->kind == wanted) return there;
  auto node = std::make_shared<ConfigNode>();
  node->kind = wanted;
  node->given = false;
  node->file = file;
  node->line = line;
  node->path = path.empty() ? key : str(path, ".", key);
  for (auto& [name, old] : entries) {
    if (name != key) continue;
    node->line = old->line;
    old = node;
    return node;
  }
  entries.emplace_back(key, node);
  return node;
}

std::string ConfigNode::where() const { return line > 0 ? str(*file, ":", line) : *file; }

std::string ConfigNode::describe() const {
  switch (kind) {
    case Kind::map:
      return "a map";
    case Kind::list:
      return "a list";
    case Kind::null:
      return "empty";
    case Kind::scalar:
      break;
  }
  return str("'", scalar.size() > 60 ? scalar.substr(0, 57) + "..." : scalar, "'");
}

void set_paths(ConfigNode& node, const std::string& path) {
  node.path = path;
  for (auto& [key, child] : node.entries)
    set_paths(*child, path.empty() ? key : str(path, ".", key));
  for (size_t i = 0; i < node.list.size(); ++i) set_paths(*node.list[i], str(path, "[", i, "]"));
}

namespace {

std::string title(const ConfigNode& node) {
  return node.path.empty() ? "the top level" : str("'", node.path, "'");
}

[[noreturn]] void wrong(const ConfigNode& node, std::string_view want) {
  throw Error(Fault::config,
              str(node.where(), ": ", title(node), " is ", node.describe(), ": want ", want));
}

// The value under `key`, noted as asked for; null when absent.
Pointer ask(ConfigNode& map, const std::string& key) {
  if (map.kind != Kind::map) wrong(map, str("a map with '", key, "'"));
  map.asked.insert(key);
  return map.child(key);
}

Pointer require(ConfigNode& map, const std::string& key) {
  if (Pointer node = ask(map, key)) return node;
  // A mistyped key is the likely reason.
  for (const auto& [name, child] : map.entries)
    if (child->given && !map.asked.count(name) && nearest(name, {key}))
      throw Error(Fault::config, str(child->where(), ": unknown key '", name, "' in ", title(map),
                                     ": did you mean '", key, "'?"));
  throw Error(Fault::config, str(map.where(), ": '", key, "' is missing in ", title(map)));
}

void record(ConfigNode& map, const std::string& key, std::string value, bool quoted) {
  Pointer node = map.make(key, Kind::scalar);
  node->scalar = std::move(value);
  node->quoted = quoted;
}

const std::string& to_text_value(const ConfigNode& node) {
  if (node.kind != Kind::scalar) wrong(node, "a text");
  return node.scalar;
}

int64_t to_integer(const ConfigNode& node) {
  if (node.kind == Kind::scalar) {
    Json value = config_scalar(node);
    if (value.is_number_integer()) return value.get<int64_t>();
    if (value.is_number_float()) {  // 1e6
      double d = value.get<double>();
      if (d == std::floor(d) && std::fabs(d) <= 0x1p53) return static_cast<int64_t>(d);
    }
  }
  wrong(node, "a whole number");
}

double to_number(const ConfigNode& node) {
  if (node.kind == Kind::scalar) {
    Json value = config_scalar(node);
    if (value.is_number()) return value.get<double>();
  }
  wrong(node, "a number");
}

bool to_boolean(const ConfigNode& node) {
  if (node.kind == Kind::scalar) {
    Json value = config_scalar(node);
    if (value.is_boolean()) return value.get<bool>();
  }
  wrong(node, "true or false");
}

std::vector<Pointer> to_list(ConfigNode& map, const std::string& key) {
  Pointer node = ask(map, key);
  if (!node) {
    map.make(key, Kind::list);
    return {};
  }
  if (node->kind != Kind::list) wrong(*node, "a list, for example [a, b]");
  return node->list;
}

// ": did you mean 'steps'? Known: batch, steps"
std::string advice(const std::string& name, const std::vector<std::string>& known) {
  std::string out;
  if (auto near = nearest(name, known)) out += str(": did you mean '", *near, "'?");
  if (!known.empty()) out += str(out.empty() ? ". " : " ", "Known: ", join(known, ", "));
  return out;
}

void check_used(const ConfigNode& node) {
  for (const auto& [key, child] : node.entries) {
    if (!child->given) continue;
    if (!node.asked.count(key)) {
      std::vector<std::string> known(node.asked.begin(), node.asked.end());
      throw Error(Fault::config, str(child->where(), ": unknown key '", key, "' in ", title(node),
                                     advice(key, known)));
    }
    check_used(*child);
  }
  for (const auto& item : node.list) check_used(*item);
}

}  // namespace

Config::Config() : node_(std::make_shared<ConfigNode>()) {
  node_->kind = Kind::map;
  node_->file = std::make_shared<const std::string>("configuration");
}

Config Config::read(const std::string& path) { return parse(read_file(path), path); }

Config Config::parse(const std::string& text, const std::string& where) {
  Pointer root = parse_config(text, where);
  if (root->kind == Kind::null) root->kind = Kind::map;
  if (root->kind != Kind::map) wrong(*root, "a map ('key: value' lines)");
  root->line = 0;
  set_paths(*root, "");
  return Config(root);
}

Config Config::operator[](const std::string& key) const {
  Pointer node = ask(*node_, key);
  if (!node) return Config(node_->make(key, Kind::map));
  if (node->kind != Kind::map) wrong(*node, "a map");
  return Config(node);
}

bool Config::has(const std::string& key) const { return ask(*node_, key) != nullptr; }

std::string Config::text(const std::string& key) const {
  return to_text_value(*require(*node_, key));
}
std::string Config::text(const std::string& key, const std::string& otherwise) const {
  if (Pointer node = ask(*node_, key)) return to_text_value(*node);
  record(*node_, key, otherwise, true);
  return otherwise;
}

int64_t Config::integer(const std::string& key) const { return to_integer(*require(*node_, key)); }
int64_t Config::integer(const std::string& key, int64_t otherwise) const {
  if (Pointer node = ask(*node_, key)) return to_integer(*node);
  record(*node_, key, str(otherwise), false);
  return otherwise;
}

double Config::number(const std::string& key) const { return to_number(*require(*node_, key)); }
double Config::number(const std::string& key, double otherwise) const {
  if (Pointer node = ask(*node_, key)) return to_number(*node);
  std::string value = std::isnan(otherwise)   ? ".nan"
                      : std::isinf(otherwise) ? (otherwise > 0 ? ".inf" : "-.inf")
                                              : str(otherwise);
  record(*node_, key, value, false);
  return otherwise;
}

bool Config::boolean(const std::string& key) const { return to_boolean(*require(*node_, key)); }
bool Config::boolean(const std::string& key, bool otherwise) const {
  if (Pointer node = ask(*node_, key)) return to_boolean(*node);
  record(*node_, key, str(otherwise), false);
  return otherwise;
}

std::string Config::choice(const std::string& key, const std::vector<std::string>& names,
                           const std::string& otherwise) const {
  std::string value = text(key, otherwise);
  for (const std::string& name : names)
    if (name == value) return value;
  auto near = nearest(value, names);
  throw Error(Fault::config, str(place(key), ": '", value, "' is not one of ", join(names, ", "),
                                 near ? str(": did you mean '", *near, "'?") : std::string()));
}

std::vector<Config> Config::items(const std::string& key) const {
  std::vector<Config> out;
  for (const Pointer& item : to_list(*node_, key)) out.push_back(Config(item));
  return out;
}

std::vector<std::string> Config::texts(const std::string& key) const {
  std::vector<std::string> out;
  for (const Pointer& item : to_list(*node_, key)) out.push_back(to_text_value(*item));
  return out;
}

std::vector<double> Config::numbers(const std::string& key) const {
  std::vector<double> out;
  for (const Pointer& item : to_list(*node_, key)) out.push_back(to_number(*item));
  return out;
}

Config::Shape Config::shape(const std::string& key) const {
  const Pointer node = key.empty() ? node_ : ask(*node_, key);
  if (!node || node->kind == Kind::null) return Shape::absent;
  return node->kind == Kind::map    ? Shape::map
         : node->kind == Kind::list ? Shape::list
                                    : Shape::scalar;
}

std::string Config::scalar() const { return to_text_value(*node_); }

std::vector<std::string> Config::keys() const {
  std::vector<std::string> out;
  for (const auto& [key, child] : node_->entries)
    if (child->given) out.push_back(key);
  return out;
}

void Config::set(const std::string& assignment) {
  size_t equals = assignment.find('=');
  if (equals == assignment.npos || equals == 0)
    throw Error(Fault::usage, str("--set ", assignment, ": want key.subkey=value"));
  std::string path = assignment.substr(0, equals);
  Pointer value = parse_config(assignment.substr(equals + 1), str("--set ", assignment));
  value->line = 0;
  Pointer at = node_;
  std::vector<std::string> parts = split(path, '.');
  for (size_t i = 0; i < parts.size(); ++i) {
    bool last = i + 1 == parts.size();
    Pointer* slot = nullptr;
    if (at->kind == Kind::list) {
      auto index = parse_int(parts[i]);
      if (!index || *index < 0 || *index >= static_cast<int64_t>(at->list.size()))
        throw Error(Fault::usage,
                    str("--set ", assignment, ": '", parts[i], "' is not an item of the list ",
                        title(*at), " (it has ", at->list.size(), ")"));
      slot = &at->list[static_cast<size_t>(*index)];
    } else if (at->kind == Kind::map) {
      if (parts[i].empty())
        throw Error(Fault::usage, str("--set ", assignment, ": an empty name in '", path, "'"));
      Pointer child = at->child(parts[i], true);
      if (!child) child = at->make(parts[i], last ? value->kind : Kind::map);
      child->given = true;
      for (auto& [name, node] : at->entries)
        if (name == parts[i]) slot = &node;
    } else {
      throw Error(Fault::usage, str("--set ", assignment, ": ", title(*at), " is ", at->describe(),
                                    ", not a map"));
    }
    if (last) {
      set_paths(*value, (*slot)->path);
      *slot = value;
    } else {
      at = *slot;
    }
  }
}

void Config::check_all_used() const { check_used(*node_); }

std::string Config::place(const std::string& key) const {
  Pointer node = key.empty() ? node_ : node_->child(key, true);
  if (node) return node->path.empty() ? node->where() : str(node->where(), " (", node->path, ")");
  return str(node_->where(), " (", node_->path.empty() ? key : str(node_->path, ".", key), ")");
}

Json Config::to_json() const { return config_json(*node_); }
std::string Config::to_yaml() const { return config_yaml(*node_); }

}  // namespace wellspring
