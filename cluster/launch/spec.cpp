#include "cluster/launch/spec.h"

#include "cluster/launch/fields.h"

namespace wellspring::cluster::launch {
namespace {

constexpr std::string_view spec_magic = "WSL1";
constexpr int64_t id_limit = 0xfffffffe;

enum SpecKey : uint8_t {
  key_end = 0,
  key_kind = 1,
  key_token,
  key_cgroup2,
  key_cgroup1,
  key_init,
  key_limit,
  key_memory_events,
  key_user_namespace,
  key_identity,
  key_argv,
  key_folder,
  key_attempt_folder,
  key_file,
  key_secret,
  key_secrets_folder,
  key_prepare,
  key_prepare_env,
  key_task,
  key_task_env,
  key_bind,
  key_grace,
  key_time_limit,
  key_log_limit,
  key_barrier,
  key_reset_oom_score,
  key_launcher,
  key_user,
  key_ranks,
  key_lease,
  key_within,
  key_shielded
};

template <class Numbers>
std::string join_numbers(const Numbers& numbers) {
  std::string out;
  for (auto n : numbers) {
    if (!out.empty()) out += ',';
    out += std::to_string(n);
  }
  return out;
}

template <class Numbers>
bool split_numbers(std::string_view text, int64_t high, Numbers* out) {
  while (!text.empty()) {
    size_t comma = text.find(',');
    int64_t n = 0;
    if (!read_number(text.substr(0, comma), 0, high, &n)) return false;
    out->push_back(static_cast<typename Numbers::value_type>(n));
    if (comma == std::string_view::npos) return true;
    text.remove_prefix(comma + 1);
    if (text.empty()) return false;
  }
  return true;
}

void put_container(std::string& out, const Container& c) {
  put_field(out, key_kind, std::to_string(static_cast<int>(c.kind)));
  put_field(out, key_token, c.token);
  if (!c.cgroup2.empty()) put_field(out, key_cgroup2, c.cgroup2);
  for (const std::string& folder : c.cgroup1) put_field(out, key_cgroup1, folder);
  if (c.init != 0)
    put_field(out, key_init, join_parts({std::to_string(c.init), std::to_string(c.init_start)}));
}

void put_identity(std::string& out, const Identity& i) {
  if (i.uid < 0) return;
  put_field(out, key_identity,
            join_parts({std::to_string(i.uid), std::to_string(i.gid), join_numbers(i.groups)}));
}

/// 1: taken, 0: not one of the container's or identity's, -1: wrong.
int take_common(const Field& f, Container* c, Identity* i) {
  int64_t n = 0;
  switch (f.key) {
    case key_kind:
      if (!read_number(f.value, 1, 4, &n)) return -1;
      c->kind = static_cast<Kind>(n);
      return 1;
    case key_token:
      c->token = f.value;
      return valid_token(f.value) ? 1 : -1;
    case key_cgroup2:
      c->cgroup2 = f.value;
      return valid_path(f.value) ? 1 : -1;
    case key_cgroup1:
      c->cgroup1.emplace_back(f.value);
      return valid_path(f.value) ? 1 : -1;
    case key_init: {
      auto parts = split_parts(f.value, 2);
      return parts.size() == 2 && read_number(parts[0], 2, INT32_MAX, &c->init) &&
                     read_number(parts[1], 0, INT64_MAX, &c->init_start)
                 ? 1
                 : -1;
    }
    case key_identity: {
      auto parts = split_parts(f.value, 3);
      // Never root: an attempt's user is another one, or the daemon's own (then absent).
      return parts.size() == 3 && read_number(parts[0], 1, id_limit, &i->uid) &&
                     read_number(parts[1], 0, id_limit, &i->gid) &&
                     split_numbers(parts[2], id_limit, &i->groups)
                 ? 1
                 : -1;
    }
    default:
      return 0;
  }
}

bool has_nul(std::string_view text) { return text.find('\0') != std::string_view::npos; }

bool valid_variable(std::string_view text) {
  size_t equal = text.find('=');
  return equal != std::string_view::npos && equal != 0 && !has_nul(text);
}

bool valid_secret_name(std::string_view name) { return valid_token(name); }

bool take_pair(std::string_view value, std::vector<std::pair<std::string, std::string>>* out,
               bool (*valid)(std::string_view)) {
  auto parts = split_parts(value, 2);
  if (parts.size() != 2 || !valid(parts[0])) return false;
  out->emplace_back(parts[0], parts[1]);
  return true;
}

bool take_flag(std::string_view value, bool* out) {
  *out = value == "1";
  return value == "1";
}

bool take_field(const Field& f, Spec* s) {
  int common = take_common(f, &s->container, &s->identity);
  if (common != 0) return common > 0;
  int64_t n = 0;
  switch (f.key) {
    case key_limit:
      return take_pair(f.value, &s->limits, valid_path);
    case key_memory_events:
      s->memory_events = f.value;
      return valid_path(f.value);
    case key_user_namespace:
      return take_flag(f.value, &s->user_namespace);
    case key_argv:
      s->argv.emplace_back(f.value);
      return !has_nul(f.value);
    case key_folder:
      s->folder = f.value;
      return valid_path(f.value);
    case key_attempt_folder:
      s->attempt_folder = f.value;
      return valid_path(f.value);
    case key_file:
      return take_pair(f.value, &s->files, valid_path);
    case key_secret:
      return take_pair(f.value, &s->secrets, valid_secret_name);
    case key_secrets_folder:
      s->secrets_folder = f.value;
      return valid_path(f.value);
    case key_prepare:
      s->prepare = f.value;
      return !has_nul(f.value);
    case key_prepare_env:
      s->prepare_env.emplace_back(f.value);
      return valid_variable(f.value);
    case key_task: {
      auto parts = split_parts(f.value, 2);
      if (parts.size() != 2 || !read_number(parts[0], 0, 1 << 24, &n)) return false;
      s->tasks.emplace_back();
      s->tasks.back().rank = static_cast<int>(n);
      return split_numbers(parts[1], 1 << 16, &s->tasks.back().cores);
    }
    case key_task_env:
      if (s->tasks.empty()) return false;
      s->tasks.back().env.emplace_back(f.value);
      return valid_variable(f.value);
    case key_bind: {
      auto parts = split_parts(f.value, 3);
      if (parts.size() != 3 || !valid_path(parts[0]) || !valid_path(parts[1])) return false;
      s->binds.push_back({std::string(parts[0]), std::string(parts[1]), parts[2] == "ro", parts[2] == "own"});
      return parts[2] == "ro" || parts[2] == "rw" || parts[2] == "own";
    }
    case key_within:  // a list's folders follow its beginning, an empty one
      if (f.value.empty()) return s->within.emplace_back(), true;
      if (s->within.empty() || !valid_path(f.value)) return false;
      s->within.back().emplace_back(f.value);
      return true;
    case key_shielded:
      s->shielded.emplace_back(f.value);
      return valid_path(f.value);
    case key_grace:
      return read_seconds(f.value, &s->grace);
    case key_time_limit:
      return read_seconds(f.value, &s->time_limit);
    case key_lease:
      s->lease = f.value;
      return valid_path(f.value);
    case key_log_limit:
      return read_number(f.value, 4096, int64_t{1} << 50, &s->log_limit);
    case key_barrier:
      return take_flag(f.value, &s->barrier);
    case key_reset_oom_score:
      return take_flag(f.value, &s->reset_oom_score);
    default:
      return false;
  }
}

std::string whole(const Spec& s) {
  if (!valid_token(s.container.token)) return "no token";
  if (s.argv.empty() || s.argv[0].empty()) return "no program";
  if (s.tasks.empty()) return "no task";
  if (s.folder.empty() || s.attempt_folder.empty()) return "no folder";
  if (!s.secrets.empty() && s.secrets_folder.empty()) return "no folder for secrets";
  if (s.container.kind == Kind::cgroup2 && s.container.cgroup2.empty()) return "no cgroup";
  if (s.container.kind == Kind::cgroup1 && s.container.cgroup1.empty()) return "no freezer";
  return "";
}

}  // namespace

bool valid_token(std::string_view token) {
  if (token.empty() || token.size() > 128 || token[0] == '.') return false;
  for (char c : token)
    if (!((c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '.' ||
          c == '_' || c == '-'))
      return false;
  return true;
}

bool valid_path(std::string_view path) {
  if (path.empty() || path[0] != '/' || has_nul(path)) return false;
  size_t begin = 1;
  while (begin <= path.size()) {
    size_t end = path.find('/', begin);
    if (end == std::string_view::npos) end = path.size();
    if (path.substr(begin, end - begin) == "..") return false;
    begin = end + 1;
  }
  return true;
}

std::string format_spec(const Spec& s) {
  std::string out(spec_magic);
  put_container(out, s.container);
  put_identity(out, s.identity);
  for (const auto& [file, value] : s.limits) put_field(out, key_limit, join_parts({file, value}));
  if (!s.memory_events.empty()) put_field(out, key_memory_events, s.memory_events);
  if (s.user_namespace) put_field(out, key_user_namespace, "1");
  for (const std::string& arg : s.argv) put_field(out, key_argv, arg);
  put_field(out, key_folder, s.folder);
  put_field(out, key_attempt_folder, s.attempt_folder);
  for (const auto& [path, content] : s.files) put_field(out, key_file, join_parts({path, content}));
  for (const auto& [name, content] : s.secrets)
    put_field(out, key_secret, join_parts({name, content}));
  if (!s.secrets_folder.empty()) put_field(out, key_secrets_folder, s.secrets_folder);
  if (!s.prepare.empty()) {
    put_field(out, key_prepare, s.prepare);
    for (const std::string& v : s.prepare_env) put_field(out, key_prepare_env, v);
  }
  for (const Task& t : s.tasks) {
    put_field(out, key_task, join_parts({std::to_string(t.rank), join_numbers(t.cores)}));
    for (const std::string& v : t.env) put_field(out, key_task_env, v);
  }
  for (const Bind& b : s.binds)
    put_field(out, key_bind,
              join_parts({b.source, b.target, b.in_place ? "own" : b.read_only ? "ro" : "rw"}));
  for (const std::vector<std::string>& list : s.within) {
    put_field(out, key_within, "");
    for (const std::string& folder : list) put_field(out, key_within, folder);
  }
  for (const std::string& path : s.shielded) put_field(out, key_shielded, path);
  put_field(out, key_grace, write_seconds(s.grace));
  put_field(out, key_time_limit, write_seconds(s.time_limit));
  if (!s.lease.empty()) put_field(out, key_lease, s.lease);
  put_field(out, key_log_limit, std::to_string(s.log_limit));
  if (s.barrier) put_field(out, key_barrier, "1");
  if (s.reset_oom_score) put_field(out, key_reset_oom_score, "1");
  put_field(out, key_end, "");
  return out;
}

bool parse_spec(std::string_view bytes, Spec* spec, std::string* error) {
  *spec = Spec();
  if (bytes.substr(0, 4) != spec_magic) {
    *error = "this is no launch specification of this version";
    return false;
  }
  FieldReader reader(bytes.substr(4));
  Field f;
  bool ended = false;
  while (!ended && reader.next(&f)) {
    ended = f.key == key_end && f.value.empty();
    if (!ended && !take_field(f, spec)) {
      *error = "launch specification: field " + std::to_string(f.key) + " is wrong";
      return false;
    }
  }
  if (!ended || !reader.at_end()) {
    *error = "launch specification: cut off, or longer than it says";
    return false;
  }
  *error = whole(*spec);
  if (!error->empty()) error->insert(0, "launch specification: ");
  return error->empty();
}

std::string format_beside(const Beside& b) {
  return join_parts({std::to_string(b.rank), b.terminal ? "1" : "0", b.command});
}

bool parse_beside(std::string_view bytes, Beside* b) {
  *b = Beside();
  auto parts = split_parts(bytes, 3);
  int64_t rank = 0, terminal = 0;
  if (parts.size() != 3 || !read_number(parts[0], 0, 1 << 24, &rank) ||
      !read_number(parts[1], 0, 1, &terminal) || has_nul(parts[2]))
    return false;
  b->rank = static_cast<int>(rank);
  b->terminal = terminal != 0;
  b->command = parts[2];
  return true;
}

std::string format_header(const Header& h) {
  std::string out;
  put_container(out, h.container);
  put_identity(out, h.identity);
  put_field(out, key_launcher, std::to_string(h.launcher));
  put_field(out, key_user, h.user);
  put_field(out, key_attempt_folder, h.attempt_folder);
  if (!h.secrets_folder.empty()) put_field(out, key_secrets_folder, h.secrets_folder);
  put_field(out, key_ranks, join_numbers(h.ranks));
  return out;
}

bool parse_header(std::string_view bytes, Header* h) {
  *h = Header();
  FieldReader reader(bytes);
  Field f;
  while (reader.next(&f)) {
    int common = take_common(f, &h->container, &h->identity);
    if (common < 0) return false;
    if (common > 0) continue;
    bool good = true;
    switch (f.key) {
      case key_launcher:
        good = read_number(f.value, 0, INT32_MAX, &h->launcher);
        break;
      case key_user:
        h->user = f.value;
        break;
      case key_attempt_folder:
        h->attempt_folder = f.value;
        break;
      case key_secrets_folder:
        h->secrets_folder = f.value;
        break;
      case key_ranks:
        good = split_numbers(f.value, 1 << 24, &h->ranks);
        break;
      default:
        break;  // of a later version
    }
    if (!good) return false;
  }
  return reader.at_end() && valid_token(h->container.token) && valid_path(h->attempt_folder);
}

std::string format_end(const End& e) {
  return join_parts({std::to_string(e.outcome), std::to_string(e.status), std::to_string(e.signal),
                     std::to_string(e.rank), write_seconds(e.started), write_seconds(e.ended),
                     write_seconds(e.seconds), write_seconds(e.cpu_seconds),
                     std::to_string(e.max_rss), e.reason});
}

bool parse_end(std::string_view bytes, End* e) {
  *e = End();
  auto parts = split_parts(bytes, 10);
  int64_t outcome = 0, status = 0, signal = 0, rank = 0;
  if (parts.size() != 10 || !read_number(parts[0], 0, 100, &outcome) ||
      !read_number(parts[1], 0, 255, &status) || !read_number(parts[2], 0, 127, &signal) ||
      !read_number(parts[3], -1, 1 << 24, &rank) || !read_seconds(parts[4], &e->started) ||
      !read_seconds(parts[5], &e->ended) || !read_seconds(parts[6], &e->seconds) ||
      !read_seconds(parts[7], &e->cpu_seconds) || !read_number(parts[8], 0, INT64_MAX, &e->max_rss))
    return false;
  e->outcome = static_cast<int>(outcome);
  e->status = static_cast<int>(status);
  e->signal = static_cast<int>(signal);
  e->rank = static_cast<int>(rank);
  e->reason = parts[9];
  return true;
}

}  // namespace wellspring::cluster::launch
