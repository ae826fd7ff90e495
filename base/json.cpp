#include "base/json.h"

#include <algorithm>
#include <unordered_map>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

namespace wellspring {
namespace {

constexpr int kDepthLimit = 512;

[[noreturn]] void fail_at(std::string_view text, size_t at, const std::string& where,
                          std::string_view what) {
  at = std::min(at, text.size());
  auto before = text.substr(0, at);
  auto line = std::count(before.begin(), before.end(), '\n') + 1;
  size_t start = before.rfind('\n') + 1;  // npos + 1 = 0
  throw Error(Fault::data, str(where, ":", line, ":", at - start + 1, ": ", what));
}

// Position of the first bracket that nests too deep, or npos. Strings are skipped; a text that is
// not JSON gets its message from the parser.
size_t too_deep(std::string_view text) {
  int depth = 0;
  bool quoted = false;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (quoted) {
      if (c == '\\') ++i;
      if (c == '"') quoted = false;
    } else if (c == '"') {
      quoted = true;
    } else if (c == '[' || c == '{') {
      if (++depth > kDepthLimit) return i;
    } else if (c == ']' || c == '}') {
      --depth;
    }
  }
  return text.npos;
}

// nlohmann's message without its tag and position, which we give in our own form.
std::string reason(std::string_view what) {
  if (size_t at = what.find("column "); at != what.npos)
    if (size_t colon = what.find(": ", at); colon != what.npos) what.remove_prefix(colon + 2);
  if (what.starts_with('[')) what.remove_prefix(std::min(what.size(), what.find("] ") + 2));
  return str("not valid JSON: ", utf8_repair(what.substr(0, 300)));
}

// Makes the value. nlohmann's own builder looks for each key among all before it, which takes hours for a
// long object; here a long one has an index while it is read. Of a key that stands twice the last value counts.
class Builder : public nlohmann::json_sax<Json> {
 public:
  Json take() { return std::move(root_); }

  bool null() override { return add(nullptr); }
  bool boolean(bool v) override { return add(v); }
  bool number_integer(int64_t v) override { return add(v); }
  bool number_unsigned(uint64_t v) override { return add(v); }
  bool number_float(double v, const std::string&) override { return add(v); }
  bool string(std::string& v) override { return add(std::move(v)); }
  bool binary(Json::binary_t& v) override { return add(std::move(v)); }
  bool start_object(size_t) override { return open(Json::object()); }
  bool start_array(size_t) override { return open(Json::array()); }
  bool end_object() override { return close(); }
  bool end_array() override { return close(); }
  bool parse_error(size_t, const std::string&, const Json::exception& e) override {
    if (const auto* p = dynamic_cast<const Json::parse_error*>(&e)) throw *p;
    if (const auto* r = dynamic_cast<const Json::out_of_range*>(&e)) throw *r;
    throw e;
  }

  bool key(std::string& name) override {
    constexpr size_t kShort = 32;
    auto& object = open_.back().value->get_ref<Json::object_t&>();
    if (object.size() < kShort) {
      slot_ = &object[name];
      return true;
    }
    auto& index = open_.back().index;
    if (index.empty())
      for (size_t i = 0; i < object.size(); ++i) index.emplace(object.data()[i].first, i);
    const auto [found, fresh] = index.emplace(name, object.size());
    if (fresh) object.emplace_back(std::move(name), nullptr);
    slot_ = &object.data()[found->second].second;
    return true;
  }

 private:
  struct Open {
    Json* value;
    std::unordered_map<std::string, size_t> index;
  };

  Json* put(Json&& value) {
    if (open_.empty()) return &(root_ = std::move(value));
    Json& parent = *open_.back().value;
    if (parent.is_array()) return &parent.get_ref<Json::array_t&>().emplace_back(std::move(value));
    return &(*slot_ = std::move(value));
  }
  bool add(Json value) {
    put(std::move(value));
    return true;
  }
  bool open(Json value) {
    open_.push_back({put(std::move(value)), {}});
    return true;
  }
  bool close() {
    open_.pop_back();
    return true;
  }

  Json root_;
  std::vector<Open> open_;
  Json* slot_ = nullptr;  // of the key that was read
};

}  // namespace

Json parse_json(std::string_view text, const std::string& where) {
  if (text.starts_with("\xEF\xBB\xBF")) text.remove_prefix(3);
  if (size_t at = too_deep(text); at != text.npos)
    fail_at(text, at, where, str("nested deeper than ", kDepthLimit, " levels"));
  try {
    Builder builder;
    Json::sax_parse(text.begin(), text.end(), &builder);
    return builder.take();
  } catch (const Json::parse_error& e) {
    fail_at(text, e.byte > 0 ? e.byte - 1 : 0, where, reason(e.what()));
  } catch (const Json::exception& e) {  // a number beyond double
    throw Error(Fault::data, str(where, ": ", reason(e.what())));
  }
}

Json read_json(const std::string& path) { return parse_json(read_file(path), path); }

std::string to_text(const Json& value, int indent) {
  return value.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace wellspring
