#include <algorithm>
#include <set>
#include <type_traits>

#include "base/text.h"
#include "cluster/job/spec_fields.h"

namespace wellspring::cluster {
namespace {

constexpr bool is_alnum(char c) {
  return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z');
}

// UTF-8 without control characters (those of one byte and of two), except what `allowed` has.
bool plain(std::string_view text, std::string_view allowed) {
  for (size_t i = 0; i < text.size();) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c < 0x80) {
      if ((c < 0x20 || c == 0x7F) && allowed.find(text[i]) == allowed.npos) return false;
      ++i;
      continue;
    }
    const int n = utf8_length(text.substr(i, 4));
    if (n == 0 || (c == 0xC2 && static_cast<unsigned char>(text[i + 1]) < 0xA0)) return false;
    i += static_cast<size_t>(n);
  }
  return true;
}

bool dotted(std::string_view path) {
  for (const std::string& part : split(path, '/'))
    if (part == "." || part == "..") return true;
  return false;
}

// Set for every task by the node: a job that sets them would only mislead itself.
bool reserved(std::string_view variable) {
  for (std::string_view prefix : {"WELLSPRING_", "AIRS_"})
    if (variable.starts_with(prefix)) return true;
  for (std::string_view name :
       {"MASTER_ADDR", "MASTER_PORT", "RANK", "LOCAL_RANK", "WORLD_SIZE", "CUDA_VISIBLE_DEVICES"})
    if (variable == name) return true;
  return false;
}

// A text as it may stand in a message.
std::string shown(std::string_view text) {
  std::string out = "'";
  for (char c : utf8_repair(text.substr(0, 60)))
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F)
      out += '?';
    else
      out += c;
  return out + (text.size() > 60 ? "...'" : "'");
}

class SpecChecker {
 public:
  SpecChecker(Fault fault, const std::function<std::string(const std::string&)>& place)
      : fault_(fault), place_(place) {}

  void check(const JobSpec& spec) const {
    check(spec, FieldPath{}, {});
    check_form(spec);
    check_kind(spec);
    check_uses(spec);
    if (spec.migrate)
      fail("migrate", "is not built yet: leave it out, and list alternatives that the job accepts");
  }

 private:
  [[noreturn]] void fail(const std::string& field, const std::string& what) const {
    throw Error(fault_, str(place_(field), " ", what));
  }
  [[noreturn]] void fail(const FieldPath& path, const std::string& what) const {
    fail(path.text(), what);
  }

  template <HasFields T>
  void check(const T& value, const FieldPath& path, const Rule&) const {
    each_field<T>([&](const auto& f) { check(value.*f.member, FieldPath{&path, f.name}, f.rule); });
  }
  template <HasFields T>
  void check(const std::vector<T>& values, const FieldPath& path, const Rule& rule) const {
    check_length(values.size(), path, rule);
    for (size_t i = 0; i < values.size(); ++i)
      check(values[i], FieldPath{&path, {}, static_cast<long>(i)}, Rule{});
  }
  void check(const std::string& value, const FieldPath& path, const Rule& rule) const {
    if (value.empty()) {
      if (rule.needed) fail(path, "is missing");
      return;
    }
    if (!rule.choices.empty()) return check_choice(value, path, rule);
    if (value.size() > rule.most)
      fail(path, str("has ", value.size(), " bytes: at most ", rule.most,
                     rule.text == rule_script ? ". Put it into a script in the workdir" : ""));
    if (const char* want = rule.text(value)) fail(path, str("is ", shown(value), ": want ", want));
  }
  void check_choice(const std::string& value, const FieldPath& path, const Rule& rule) const {
    std::vector<std::string> names;
    for (const std::string& name : split(rule.choices, ',')) names.emplace_back(trim(name));
    if (std::find(names.begin(), names.end(), value) != names.end()) return;
    auto near = nearest(value, names);
    fail(path, str("is ", shown(value), ": want one of ", rule.choices,
                   near ? str(". Did you mean '", *near, "'?") : std::string()));
  }
  void check(bool, const FieldPath&, const Rule&) const {}
  template <class T>
  requires(std::is_arithmetic_v<T> && !std::is_same_v<T, bool>) void check(T value,
                                                                           const FieldPath& path,
                                                                           const Rule& rule) const {
    if (!(static_cast<double>(value) >= rule.low && static_cast<double>(value) <= rule.high))
      fail(path, str("is ", value, ": want ", static_cast<int64_t>(rule.low), " to ",
                     static_cast<int64_t>(rule.high)));
  }
  void check(const std::vector<int>& values, const FieldPath& path, const Rule& rule) const {
    check_length(values.size(), path, rule);
    for (size_t i = 0; i < values.size(); ++i)
      if (values[i] < rule.low || values[i] > rule.high)
        check(values[i], FieldPath{&path, {}, static_cast<long>(i)}, rule);
    if (rule.indices &&
        std::adjacent_find(values.begin(), values.end(), std::greater_equal<>()) != values.end())
      fail(path, "has indices that do not rise");
  }
  void check(const std::vector<std::pair<std::string, std::string>>& env, const FieldPath& path,
             const Rule& rule) const {
    check_length(env.size(), path, rule);
    size_t bytes = 0;
    for (const auto& [name, value] : env) {
      const FieldPath here{&path, name};
      if (name.size() > 256 || rule_variable(name))
        fail(path, str("has the name ", shown(name), ": want ", rule_variable("")));
      if (reserved(name)) fail(here, "is set by the node: choose another name");
      if (!plain(value, "\n\t"))
        fail(here, "has a control character, or is not UTF-8: want plain text");
      if (value.size() > kScriptBytes)
        fail(here, str("has ", value.size(), " bytes: at most ", kScriptBytes));
      bytes += name.size() + value.size() + 2;
    }
    if (bytes > 1'000'000)
      fail(path, str("takes ", human_bytes(static_cast<double>(bytes)), ": at most 1 MB"));
  }
  void check_length(size_t size, const FieldPath& path, const Rule& rule) const {
    if (size > rule.most) fail(path, str("has ", size, " items: at most ", rule.most));
  }

  void check_form(const JobSpec& spec) const {
    if (spec.accepted.empty()) fail("accepted", "is empty: a job asks for something");
    for (size_t i = 0; i < spec.accepted.size(); ++i) {
      const Resources& r = spec.accepted[i];
      if (int64_t{r.nodes} * r.tasks_per_node > 65536)
        fail(str("accepted[", i, "].tasks_per_node"),
             str("makes ", int64_t{r.nodes} * r.tasks_per_node, " tasks with ", r.nodes,
                 " nodes: at most 65536"));
    }
    if (!spec.command.empty() && !spec.train.empty())
      fail("train", "stands beside a command: a job has one of them");
    if (spec.command.empty() && spec.train.empty() && spec.kind != "interactive")
      fail("command", "is missing: a job has a command, or train with a run file");
    if (spec.image.starts_with('-')) fail("image", "begins with '-': that is an option, no image");
    if (spec.deadline > 0 && spec.deadline <= spec.not_before)
      fail("deadline", "does not come after not_before: the job could never start");
    if (spec.restart.most_backoff < spec.restart.backoff)
      fail("restart.most_backoff", str("is ", spec.restart.most_backoff,
                                       ": less than the first wait, ", spec.restart.backoff));
  }

  void check_kind(const JobSpec& spec) const {
    if (spec.kind == "service") {
      if (spec.service.port == 0)
        fail("service.port", "is missing: where does the service listen?");
      if (spec.service.port + spec.service.replicas - 1 > 65535)
        fail("service.replicas", str("is ", spec.service.replicas, ": each copy has a port of its own, from ",
                                     spec.service.port, " on, and the last would be beyond 65535"));
      if (!spec.train.empty()) fail("train", "makes no service: give a command");
      if (!spec.array.empty()) fail("array", "makes no service: use service.replicas");
    } else if (!(spec.service == Service())) {
      fail("service", str("belongs to kind: service; this job is ", spec.kind));
    }
    if (spec.kind == "interactive" && !spec.array.empty())
      fail("array", "of interactive jobs: submit them one by one");
    if (spec.array_at_once > 0 && spec.array.empty()) fail("array_at_once", "needs an array");
  }

  void check_uses(const JobSpec& spec) const {
    std::set<std::string_view> variables, targets, secrets;
    for (const auto& [name, value] : spec.env)
      if (!variables.insert(name).second) fail(str("env.", name), "stands twice");
    for (size_t i = 0; i < spec.secrets.size(); ++i) {
      const SecretUse& use = spec.secrets[i];
      if (!secrets.insert(use.name).second)
        fail(str("secrets[", i, "].name"), str("is ", shown(use.name), " a second time"));
      if (use.variable.empty()) continue;
      if (reserved(use.variable))
        fail(str("secrets[", i, "].variable"), "is set by the node: choose another name");
      if (!variables.insert(use.variable).second)
        fail(str("secrets[", i, "].variable"),
             str("is ", shown(use.variable), ", which another secret or env sets"));
    }
    for (size_t i = 0; i < spec.mounts.size(); ++i)
      if (!targets.insert(spec.mounts[i].target).second)
        fail(str("mounts[", i, "].target"),
             str("is ", shown(spec.mounts[i].target), ", where another mount lies"));
    std::set<int64_t> jobs;
    for (size_t i = 0; i < spec.after.size(); ++i)
      if (!jobs.insert(spec.after[i].job).second)
        fail(str("after[", i, "].job"), str("is ", spec.after[i].job, " a second time"));
  }

  Fault fault_;
  const std::function<std::string(const std::string&)>& place_;
};

}  // namespace

std::string FieldPath::text() const {
  std::string out = up ? up->text() : std::string();
  if (index >= 0) return str(out, "[", index, "]");
  if (name.empty()) return out;
  return out.empty() ? std::string(name) : str(out, ".", name);
}

bool is_name(std::string_view name) { return !rule_name(name); }

const char* rule_name(std::string_view text) {
  constexpr auto want = "letters, digits, '.', '_', '-', at most 64, first a letter or digit";
  if (text.empty() || text.size() > kNameBytes || !is_alnum(text[0])) return want;
  for (char c : text)
    if (!is_alnum(c) && c != '.' && c != '_' && c != '-') return want;
  return nullptr;
}

const char* rule_line(std::string_view text) {
  return plain(text, "") ? nullptr : "one line of UTF-8 without control characters";
}

const char* rule_script(std::string_view text) {
  return plain(text, "\n\t\r") ? nullptr
                               : "UTF-8 without control characters but line ends and tabs";
}

const char* rule_absolute(std::string_view text) {
  const bool good = plain(text, "") && text.starts_with('/') && !dotted(text) &&
                    text.find_first_of(":,") == text.npos && text.find("//") == text.npos;
  return good ? nullptr : "an absolute path without '..', '//', ':' and ','";
}

const char* rule_relative(std::string_view text) {
  const bool good = plain(text, "") && !text.starts_with('/') && !text.starts_with('-') &&
                    !text.ends_with('/') && !dotted(text) && text.find("//") == text.npos;
  return good ? nullptr : "a path inside the run folder, without '..'";
}

const char* rule_variable(std::string_view text) {
  constexpr auto want = "a variable: letters, digits and '_', first no digit";
  if (text.empty() || (text[0] >= '0' && text[0] <= '9')) return want;
  for (char c : text)
    if (!is_alnum(c) && c != '_') return want;
  return nullptr;
}

const char* rule_sha256(std::string_view text) {
  const bool good = text.size() == 64 && text.find_first_not_of("0123456789abcdef") == text.npos;
  return good ? nullptr : "64 hexadecimal digits";
}

const char* rule_url(std::string_view text) {
  const auto scheme = text.starts_with("https://") ? 8 : text.starts_with("http://") ? 7 : 0;
  const std::string_view rest = text.substr(scheme);
  const bool good = scheme && !rest.empty() && rest[0] != '/' && plain(text, "") &&
                    text.find_first_of(" \"'<>\\") == text.npos &&
                    rest.substr(0, rest.find('/')).find('@') == rest.npos;
  return good ? nullptr : "http://HOST/... or https://HOST/..., without a password";
}

const char* rule_url_path(std::string_view text) {
  const bool good = text.starts_with('/') && plain(text, "") && text.find(' ') == text.npos;
  return good ? nullptr : "a path of HTTP, for example /health";
}

void check_spec(const JobSpec& spec, Fault fault,
                const std::function<std::string(const std::string& field)>& place) {
  SpecChecker(fault, place).check(spec);
}

std::vector<int> parse_indices(std::string_view text) {
  std::vector<int> out;
  const auto wrong = [&](const std::string& what) {
    throw Error(Fault::data, str("is ", shown(text), ": ", what));
  };
  const auto index = [&](std::string_view digits) {
    auto n = parse_int(trim(digits));
    if (!n || *n < 0 || *n > 1'000'000'000)
      wrong(str(shown(trim(digits)), " is no index from 0 to 1000000000"));
    return static_cast<int>(*n);
  };
  size_t begin = 0;
  while (begin <= text.size()) {
    std::string_view part = text.substr(begin, text.find(',', begin) - begin);
    begin += part.size() + 1;
    int step = 1;
    if (size_t colon = part.find(':'); colon != part.npos) {
      step = index(part.substr(colon + 1));
      part = part.substr(0, colon);
      if (step == 0) wrong("a step of 0");
    }
    const size_t dash = part.find('-');
    const int first = index(part.substr(0, dash));
    const int last = dash == part.npos ? first : index(part.substr(dash + 1));
    if (last < first) wrong(str("the range ", first, "-", last, " runs backwards"));
    if ((last - first) / step >= static_cast<int>(kIndicesMost) - static_cast<int>(out.size()))
      wrong("more than 1000000 indices");
    for (int64_t i = first; i <= last; i += step) out.push_back(static_cast<int>(i));
  }
  std::sort(out.begin(), out.end());
  auto twice = std::adjacent_find(out.begin(), out.end());
  if (twice != out.end()) wrong(str("index ", *twice, " stands twice"));
  return out;
}

std::string format_indices(const std::vector<int>& indices) {
  std::string out;
  for (size_t i = 0; i < indices.size();) {
    size_t end = i + 1;
    int step = end < indices.size() ? indices[end] - indices[i] : 1;
    while (end < indices.size() && indices[end] - indices[end - 1] == step) ++end;
    if (step != 1 && end - i < 3) end = i + 1;  // two alone are shorter as a list
    if (!out.empty()) out += ',';
    append(out, indices[i]);
    if (end - i > 1) append(out, str("-", indices[end - 1]));
    if (end - i > 1 && step > 1) append(out, str(":", step));
    i = end;
  }
  return out;
}

}  // namespace wellspring::cluster
