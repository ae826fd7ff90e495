#include <cmath>
#include <limits>

#include "base/config_node.h"
#include "base/json.h"
#include "base/text.h"

namespace wellspring {
namespace {

using Kind = ConfigNode::Kind;

Json plain_value(const std::string& s) {
  if (s.empty() || s == "~" || s == "null" || s == "Null" || s == "NULL") return nullptr;
  if (s == "true" || s == "True" || s == "TRUE") return true;
  if (s == "false" || s == "False" || s == "FALSE") return false;
  std::string_view digits = s;
  bool minus = digits.starts_with('-');
  if (minus || digits.starts_with('+')) digits.remove_prefix(1);
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  std::string low = to_lower(digits);
  if (low == ".inf") return minus ? -kInfinity : kInfinity;
  if (low == ".nan") return std::numeric_limits<double>::quiet_NaN();
  // Only what starts as a number is one: "inf" and "nan" are words.
  if (digits.empty() || !(digits[0] == '.' || (digits[0] >= '0' && digits[0] <= '9'))) return s;
  if (auto i = parse_int(s)) return *i;
  if (auto d = parse_double(s)) return *d;
  return s;
}

// A text as a YAML scalar on one line: plain where that reads back as the same text.
std::string emit_text(const std::string& s) {
  bool plain =
      !s.empty() && plain_value(s).is_string() && trim(s).size() == s.size() && utf8_valid(s);
  constexpr std::string_view kIndicators = "-?:,[]{}#&*!|>'\"%@`=<";
  if (plain && kIndicators.find(s[0]) != kIndicators.npos) plain = false;
  for (char c : s)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F || c == ':' || c == '#' || c == ',' ||
        c == '[' || c == ']' || c == '{' || c == '}' || c == '?')
      plain = false;
  return plain ? s : to_text(Json(s));
}

std::string emit_scalar(const ConfigNode& node) {
  Json value = config_scalar(node);
  if (value.is_null()) return "null";
  return value.is_string() ? emit_text(node.scalar) : node.scalar;
}

bool one_line(const ConfigNode& node) {
  if (node.kind == Kind::map) return node.entries.empty();
  for (const auto& item : node.list)
    if (item->kind == Kind::map || item->kind == Kind::list) return false;
  return true;
}

std::string emit_line(const ConfigNode& node) {
  if (node.kind == Kind::map) return "{}";
  if (node.kind != Kind::list) return emit_scalar(node);
  std::vector<std::string> items;
  for (const auto& item : node.list) items.push_back(emit_scalar(*item));
  return str("[", join(items, ", "), "]");
}

// Writes `node` in block form. `first` is what stands before its first line instead of the indent.
void emit(std::string& out, const ConfigNode& node, int indent, std::string first) {
  std::string margin(static_cast<size_t>(indent), ' ');
  auto start = [&] { return std::exchange(first, margin); };
  if (one_line(node)) {
    out += str(start(), emit_line(node), "\n");
  } else if (node.kind == Kind::list) {
    for (const auto& item : node.list) emit(out, *item, indent + 2, start() + "- ");
  } else {
    for (const auto& [key, value] : node.entries) {
      out += str(start(), emit_text(key), ":");
      if (one_line(*value)) {
        out += str(" ", emit_line(*value), "\n");
      } else {
        out += "\n";
        emit(out, *value, indent + 2, margin + "  ");
      }
    }
  }
}

}  // namespace

Json config_scalar(const ConfigNode& node) {
  if (node.kind == Kind::null) return nullptr;
  return node.quoted ? Json(node.scalar) : plain_value(node.scalar);
}

Json config_json(const ConfigNode& node) {
  if (node.kind == Kind::map) {
    Json map = Json::object();
    for (const auto& [key, value] : node.entries) map[key] = config_json(*value);
    return map;
  }
  if (node.kind == Kind::list) {
    Json list = Json::array();
    for (const auto& item : node.list) list.push_back(config_json(*item));
    return list;
  }
  return config_scalar(node);
}

std::string config_yaml(const ConfigNode& node) {
  std::string out;
  emit(out, node, 0, "");
  return out;
}

}  // namespace wellspring
