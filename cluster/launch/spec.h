#pragma once
// What the node daemon sends to wellspring-launch, and the records that both append to an attempt's
// file in the spool. Built into the library and into the launcher (without exceptions there).

#include <sys/types.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace wellspring::cluster::launch {

/// How processes are kept together; the numbers travel.
enum class Kind { cgroup2 = 1, cgroup1 = 2, pid_namespace = 3, subreaper = 4 };

/// Where the processes of one attempt are; enough to end them when the launcher is dead.
struct Container {
  Kind kind = Kind::subreaper;
  std::string token;
  std::string cgroup2;               // folder of the attempt; kind cgroup2
  std::vector<std::string> cgroup1;  // folders: the freezer first for kind cgroup1, then limits
  int64_t init = 0;                  // first process of the PID namespace
  int64_t init_start = 0;            // its start time in clock ticks, against reuse of the number
};

/// As whom things are done. uid < 0: as ourselves.
struct Identity {
  int64_t uid = -1, gid = -1;
  std::vector<gid_t> groups;
};

struct Task {
  int rank = 0;
  std::vector<std::string> env;  // NAME=VALUE, complete
  std::vector<int> cores;
};

struct Bind {
  std::string source, target;
  bool read_only = false;
  bool in_place = false;  // source and target are one and nothing is mounted, but it has to be allowed
};

/// The daemon has resolved everything; the launcher carries it out.
struct Spec {
  Container container;
  /// File in a cgroup folder and what is written there before a process enters.
  std::vector<std::pair<std::string, std::string>> limits;
  std::string memory_events;    // file that counts out-of-memory kills ("oom_kill N"), or empty
  bool user_namespace = false;  // the PID namespace needs one (not root)
  Identity identity;
  std::vector<std::string> argv;
  std::string folder, attempt_folder;
  std::vector<std::pair<std::string, std::string>> files, secrets;
  std::string secrets_folder;  // made when there are secrets
  std::string prepare;
  std::vector<std::string> prepare_env;
  std::vector<Task> tasks;
  std::vector<Bind> binds;
  std::vector<std::vector<std::string>> within;  // a source lies in a folder of each list; no links
  std::vector<std::string> shielded;  // nothing is mounted on these, above or below; no links
  double grace = 30, time_limit = 0;
  std::string lease;  // file, see LaunchSpec::lease; empty: none
  int64_t log_limit = 64 << 20;
  bool barrier = false;
  bool reset_oom_score = false;  // the daemon's own protection is not handed on
};

std::string format_spec(const Spec& spec);
/// False for anything but what format_spec writes of a sound spec; `error` says what is wrong.
bool parse_spec(std::string_view bytes, Spec* spec, std::string* error);

bool valid_token(std::string_view token);
/// Absolute, no NUL, no ".." among its parts.
bool valid_path(std::string_view path);

/// Records of an attempt's file: key of the field.
enum class Record : uint8_t {
  header = 1,  // the daemon's: format_header
  go,          // the daemon's
  stop,        // the daemon's: grace, reason
  init,        // the launcher's from here on: init and init_start of the container
  prepared,    // with a barrier alone
  running,     // started, then "rank:pid" each
  task_ended,  // rank, status, signal
  ended,       // format_end; the launcher's last
  exec         // the daemon's: folder and name of a socket that it listens on (Beside)
};

/// A command that runs beside the tasks: what the daemon sends over the socket of Record::exec, with
/// three descriptors that become its standard streams. The launcher answers with its end, one
/// message "STATUS\0REASON" (a reason: it was not started), and ends the command when the socket is
/// closed before.
struct Beside {
  int rank = 0;           // in the environment of this rank, on its cores
  bool terminal = false;  // the streams are a terminal; it becomes the command's own
  std::string command;    // for /bin/sh -c; empty: the user's shell
};
std::string format_beside(const Beside& beside);
bool parse_beside(std::string_view bytes, Beside* beside);
constexpr size_t beside_limit = 64 << 10;  // bytes of that message

/// What an adopting daemon has to know.
struct Header {
  Container container;
  Identity identity;
  int64_t launcher = 0;  // pid
  std::string user, attempt_folder, secrets_folder;
  std::vector<int> ranks;
};
std::string format_header(const Header& header);
bool parse_header(std::string_view bytes, Header* header);

/// Outcomes by number, as in executions.h.
struct End {
  int outcome = 0, status = 0, signal = 0, rank = -1;
  double started = 0, ended = 0, seconds = 0, cpu_seconds = 0;
  int64_t max_rss = 0;
  std::string reason;
};
std::string format_end(const End& end);
bool parse_end(std::string_view bytes, End* end);

}  // namespace wellspring::cluster::launch
