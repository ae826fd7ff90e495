#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <map>
#include <sstream>

#include "base/config_node.h"
#include "base/error.h"
#include "base/text.h"

namespace wellspring {
namespace {

constexpr int64_t kNodeLimit = 1'000'000;
constexpr int kDepthLimit = 256;
constexpr size_t kKeyLimit =
    160;  // the parser takes 1024 bytes on a line, written with up to 6 for each of these

// Builds the tree from the parser's events, so that every node keeps its mark and nothing (double
// keys, aliases) is decided by the library.
class Builder : public YAML::EventHandler {
 public:
  explicit Builder(const std::string& where) : file_(std::make_shared<const std::string>(where)) {}

  ConfigNode::Pointer root;

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    close(open(mark, anchor, ConfigNode::Kind::null));
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    auto found = anchors_.find(anchor);
    if (found == anchors_.end()) fail(mark, "an alias stands inside the value that it names");
    close(copy(*found->second, mark));
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    auto node = open(mark, anchor, ConfigNode::Kind::scalar);
    node->scalar = value;
    node->quoted = tag == "!" || tag == "tag:yaml.org,2002:str";
    close(node);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    push(mark, anchor, ConfigNode::Kind::list);
  }
  void OnSequenceEnd() override { pop(); }
  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    push(mark, anchor, ConfigNode::Kind::map);
  }
  void OnMapEnd() override { pop(); }

  [[noreturn]] void fail(const YAML::Mark& mark, const std::string& what) const {
    fail(mark.line + 1, mark.column + 1, what);
  }
  [[noreturn]] void fail(int line, int column, const std::string& what) const {
    throw Error(Fault::config, str(*file_, ":", line, ":", column, ": ", what));
  }

 private:
  struct Level {
    ConfigNode::Pointer node;
    YAML::anchor_t anchor;
    ConfigNode::Pointer key;  // of a map: the key whose value comes next
    std::map<std::string, int> lines;
  };

  void count(const YAML::Mark& mark) {
    if (++nodes_ > kNodeLimit)
      fail(mark, str("more than ", kNodeLimit, " values (aliases written out)"));
  }

  ConfigNode::Pointer open(const YAML::Mark& mark, YAML::anchor_t anchor, ConfigNode::Kind kind) {
    count(mark);
    auto node = std::make_shared<ConfigNode>();
    node->kind = kind;
    node->file = file_;
    node->line = mark.line + 1;
    // Only finished values can be named: a list or map registers when it ends.
    if (anchor && (kind == ConfigNode::Kind::scalar || kind == ConfigNode::Kind::null))
      anchors_[anchor] = node;
    return node;
  }

  void push(const YAML::Mark& mark, YAML::anchor_t anchor, ConfigNode::Kind kind) {
    if (levels_.size() >= kDepthLimit) too_deep(mark.line + 1, mark.column + 1);
    levels_.push_back({open(mark, anchor, kind), anchor, nullptr, {}});
  }

  void pop() {
    Level level = std::move(levels_.back());
    levels_.pop_back();
    if (level.anchor) anchors_[level.anchor] = level.node;
    close(level.node);
  }

  void close(const ConfigNode::Pointer& node) {
    if (levels_.empty()) {
      root = node;
      return;
    }
    Level& level = levels_.back();
    if (level.node->kind == ConfigNode::Kind::map && !level.key) {
      if (node->kind == ConfigNode::Kind::list || node->kind == ConfigNode::Kind::map)
        fail(node->line, 1, "a key must be a name, not a list or map");
      if (node->scalar.size() > kKeyLimit)
        fail(node->line, 1, str("a key of ", node->scalar.size(), " bytes; at most ", kKeyLimit));
      auto [entry, fresh] = level.lines.emplace(node->scalar, node->line);
      if (!fresh)
        fail(node->line, 1,
             str("key '", node->scalar, "' stands twice (first in line ", entry->second, ")"));
      level.key = node;
      return;
    }
    level.node->depth = std::max(level.node->depth, node->depth + 1);
    if (level.node->depth + static_cast<int>(levels_.size()) > kDepthLimit) too_deep(node->line, 1);
    if (level.key) {
      node->line = level.key->line;  // messages about a value point at its key
      level.node->entries.emplace_back(level.key->scalar, node);
      level.key = nullptr;
    } else {
      level.node->list.push_back(node);
    }
  }

  [[noreturn]] void too_deep(int line, int column) const {
    fail(line, column, str("nested deeper than ", kDepthLimit, " levels"));
  }

  ConfigNode::Pointer copy(const ConfigNode& from, const YAML::Mark& mark) {
    count(mark);
    auto node = std::make_shared<ConfigNode>(from);
    for (auto& [key, value] : node->entries) value = copy(*value, mark);
    for (auto& value : node->list) value = copy(*value, mark);
    return node;
  }

  std::shared_ptr<const std::string> file_;
  std::map<YAML::anchor_t, ConfigNode::Pointer> anchors_;
  std::vector<Level> levels_;
  int64_t nodes_ = 0;
};

// YAML is UTF-8 text without control characters; the library would take zero bytes for UTF-16.
void check_characters(std::string_view text, const std::string& where) {
  int line = 1;
  for (size_t at = 0; at < text.size();) {
    int n = utf8_length(text.substr(at, 4));
    auto c = static_cast<unsigned char>(text[at]);
    if (n == 0) throw Error(Fault::config, str(where, ":", line, ": not valid UTF-8"));
    if ((c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7F)
      throw Error(Fault::config, str(where, ":", line, ": a control character (code ",
                                     static_cast<int>(c), ") in YAML"));
    if (c == '\n') ++line;
    at += static_cast<size_t>(n);
  }
}

}  // namespace

ConfigNode::Pointer parse_config(const std::string& text, const std::string& where) {
  Builder builder(where);
  check_characters(text, where);
  try {
    std::istringstream stream(text);
    YAML::Parser parser(stream);
    parser.HandleNextDocument(builder);
    ConfigNode::Pointer root = std::move(builder.root);
    if (root && parser && parser.HandleNextDocument(builder) && builder.root)
      throw Error(Fault::config, str(where, ": holds more than one YAML document ('---')"));
    if (!root) {
      root = std::make_shared<ConfigNode>();
      root->file = std::make_shared<const std::string>(where);
    }
    return root;
  } catch (const YAML::Exception& e) {
    builder.fail(e.mark, str("not valid YAML: ", e.msg));
  }
}

}  // namespace wellspring
