// wellspring job: submit jobs to a cluster and look after them.

#include <netinet/in.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <optional>
#include <thread>

#include "base/args.h"
#include "base/error.h"
#include "base/file.h"
#include "base/frames.h"
#include "base/json.h"
#include "base/log.h"
#include "base/progress.h"
#include "base/text.h"
#include "base/time.h"
#include "cli/commands.h"
#include "cluster/client/client.h"
#include "cluster/job/job_file.h"
#include "cluster/job/snapshot.h"
#include "cluster/link/terminal.h"

namespace wellspring {
namespace {

using cluster::Client;
using cluster::FileJob;
using cluster::JobFile;

std::string ago(double unix_time) {
  return unix_time > 0 ? human_duration(std::max(0.0, unix_seconds() - unix_time)) : "";
}

std::string text_of(const Json& json, const char* key) {
  const auto it = json.find(key);
  if (it == json.end()) return "";
  return it->is_string() ? it->get<std::string>() : to_text(*it);
}

void print_json(const Json& json) { std::printf("%s\n", to_text(json, 2).c_str()); }

// Uploads the working folder when the controller does not have it.
void upload(Client& client, FileJob& job) {
  if (job.workdir.path.empty()) return;
  TemporaryFolder folder;
  const std::string path = join_path(folder.path(), "workdir.tar");
  const auto archive = cluster::write_archive_file(job.workdir, path);
  job.spec.snapshot = archive.sha256;
  const std::string team = job.spec.team.empty() ? "" : str("&team=", url_encode(job.spec.team));
  const std::string blob = str("/blobs/", archive.sha256);
  if (client.get(str(blob, "?", team)).value("have", false)) return;
  constexpr int64_t kPart = 8 << 20;
  const MappedFile file(path);
  Progress progress("uploading the working folder", archive.bytes, "B");
  for (int64_t at = 0; at < archive.bytes; at += kPart) {
    client.put_bytes(str(blob, "?offset=", at, "&total=", archive.bytes, team), file.view().substr(static_cast<size_t>(at), kPart));
    progress.update(std::min(archive.bytes, at + kPart));
  }
  progress.finish();
}

// Sends a job. What the controller says of a field ("accepted[0].count: ...") is said of the place in the
// file where it stands.
Json ask_about(Client& client, const std::string& path, const FileJob& job) {
  try {
    return client.post(path, to_json(job.spec));
  } catch (const Error& e) {
    const std::string what = e.what();
    const size_t colon = what.find(": ");
    const std::string field = what.substr(0, colon);
    if (e.fault() != Fault::data || colon == std::string::npos || field.find(' ') != std::string::npos) throw;
    throw Error(Fault::config, str(job.place(field == "resources" ? "accepted[0]" : field), ": ", what.substr(colon + 2)));
  }
}

// Submits all jobs of a file in order; returns their ids.
std::vector<std::string> submit(Client& client, JobFile& file) {
  std::vector<std::string> ids;
  for (FileJob& job : file.jobs) {
    upload(client, job);
    for (const auto& after : job.after)
      job.spec.after.push_back({.job = parse_int(ids[static_cast<size_t>(after.job)]).value_or(0), .kind = after.kind});
    ids.push_back(ask_about(client, "/jobs", job)["id"]);
  }
  return ids;
}

struct Source {
  std::string file;
  std::vector<std::string> rest, set;
  bool json = false;

  void add_to(Args& args) {
    args.option("--set", &set, "KEY=VALUE", "change a key of the job, e.g. resources.count=2");
  }
  JobFile read() const {
    if (!rest.empty()) return cluster::job_from_command(rest, current_folder(), set);
    if (file.empty())
      throw Error(Fault::usage, "name a job file, or a command behind '--': wellspring job run -- echo hello");
    return cluster::read_job_file(file, set);
  }
  static std::string current_folder() {
    char path[4096];
    return ::getcwd(path, sizeof path) ? path : ".";
  }
};

// What stands behind "--" is the job's command, not ours to read.
int split_command(int argc, char** argv, std::vector<std::string>* command) {
  for (int i = 1; i < argc; ++i)
    if (std::string_view(argv[i]) == "--") {
      command->assign(argv + i + 1, argv + argc);
      return i;
    }
  return argc;
}

int run_submit(int argc, char** argv) {
  Source source;
  argc = split_command(argc, argv, &source.rest);
  Args args("wellspring job submit", "Submit the jobs of a file; prints their numbers.");
  args.positional("JOB.yaml", &source.file, "job file (docs/job-file.md), or nothing and '-- COMMAND'", false);
  source.add_to(args);
  args.flag("--json", &source.json, "print as JSON");
  args.example("wellspring job submit train.yaml --set resources.count=2");
  if (!args.parse(argc, argv)) return 0;
  JobFile file = source.read();
  Client client;
  const auto ids = submit(client, file);
  if (source.json) {
    print_json({{"ids", ids}});
  } else {
    for (const std::string& id : ids) std::printf("%s\n", id.c_str());
  }
  return 0;
}

Json show(Client& client, const std::string& id) { return client.get("/jobs/" + url_encode(id)); }

bool over(const Json& job) {
  const std::string state = job.value("state", "");
  return state == "succeeded" || state == "failed" || state == "cancelled";
}

int exit_status_of(const Json& job) {
  const std::string state = job.value("state", "");
  if (state == "succeeded") return 0;
  const int status = job.value("exit_status", 1);
  return status > 0 ? status : 1;
}

// Whether the controller answers and says that this attempt has ended.
bool past(Client& client, const std::string& id, int64_t attempt) {
  try {
    const Json job = show(client, id);
    return over(job) || (attempt > 0 && job.value("attempts", int64_t{0}) > attempt);
  } catch (const Error&) {
    return false;
  }
}

// Between two attempts: with which status the one before has ended, and why there is another.
void say_how_it_ended(Client& client, const std::string& id, int64_t attempt) {
  const Json job = show(client, id);
  if (over(job)) return;
  for (const Json& a : job["history"])
    if (a.value("number", int64_t{0}) == attempt)
      std::fprintf(stderr, "attempt %ld ended%s%s; the job is tried again\n", static_cast<long>(attempt),
                   a.contains("exit_status") ? str(" with status ", text_of(a, "exit_status")).c_str() : "",
                   a.contains("reason") ? str(" (", text_of(a, "reason"), ")").c_str() : "");
}

// Shows the log as it comes, until the job (or the one attempt asked for) has ended. A controller or
// node that is away is waited for: the job goes on, and so does the log from where it was.
void follow(Client& client, const std::string& id, int64_t rank, int64_t attempt, int64_t tail) {
  const bool one = attempt > 0;
  int64_t offset = 0;
  std::string said;
  while (true) {
    try {
      const HttpResult r = client.text(str("/jobs/", url_encode(id), "/log?wait=20&rank=", rank, "&attempt=", attempt,
                                           "&offset=", offset, tail ? str("&tail=", tail) : ""));
      const auto number = [&](const char* name) { return parse_int(r.header(name)).value_or(0); };
      if (std::fwrite(r.body.data(), 1, r.body.size(), stdout) != r.body.size() || std::fflush(stdout) != 0)
        throw Error(Fault::usage, "standard output is closed");
      offset = number("wellspring-next"), attempt = number("wellspring-attempt"), tail = 0;
      said.clear();
      if (number("wellspring-over")) {
        if (one) return;
        if (number("wellspring-newest") <= attempt && number("wellspring-job-over")) return;
        say_how_it_ended(client, id, attempt);
        ++attempt, offset = 0;
      } else if (number("wellspring-job-over") && (attempt > number("wellspring-newest") || attempt == 0)) {
        return;
      }
    } catch (const Error& e) {
      if (e.fault() != Fault::io && e.fault() != Fault::try_again) throw;
      if (e.fault() == Fault::io && past(client, id, attempt)) {  // its node is gone, or it never began
        if (one) throw;
        if (over(show(client, id))) return;
        ++attempt, offset = 0;
      } else if (said != e.what()) {
        log_warning("job", said = e.what(), "; the job goes on, asking again");
      }
      sleep_seconds(0.2);
    }
  }
}

int run_run(int argc, char** argv) {
  Source source;
  argc = split_command(argc, argv, &source.rest);
  Args args("wellspring job run",
            "Submit a job, show its log as it comes, and end with its exit status. Ctrl-C leaves the job alone.");
  args.positional("JOB.yaml", &source.file, "job file, or nothing and '-- COMMAND'", false);
  source.add_to(args);
  args.example("wellspring job run --set resources.chip=cpu -- echo hello");
  if (!args.parse(argc, argv)) return 0;
  JobFile file = source.read();
  Client client;
  client.patience = 60;
  const auto ids = submit(client, file);
  const std::string id = ids.back();
  std::fprintf(stderr, "job %s submitted; Ctrl-C leaves it running (wellspring job cancel %s ends it)\n", id.c_str(), id.c_str());
  std::string said;
  while (true) {  // until it runs
    const Json job = show(client, id);
    const std::string state = job.value("state", "");
    if (state != "queued" && state != "held") break;
    const std::string reason = job.value("reason", "");
    if (!reason.empty() && reason != said && reason != "waits behind others") {
      std::fprintf(stderr, "%s: %s\n", state.c_str(), reason.c_str());
      said = reason;
    }
    sleep_seconds(said.empty() ? 0.02 : 0.2);
  }
  Json job = show(client, id);
  if (!job.contains("array")) follow(client, id, 0, 0, 0);
  while (!over(job = show(client, id))) sleep_seconds(0.2);
  const std::string state = job.value("state", "");
  if (state != "succeeded")
    std::fprintf(stderr, "job %s %s%s\n", id.c_str(), state.c_str(),
                 job.contains("reason") ? str(": ", job.value("reason", "")).c_str() : "");
  return exit_status_of(job);
}

// When a job of a file has ended at the latest, as far as its plan says: 0: nobody knows.
double planned_end(const FileJob& job, double start) {
  return start && job.spec.time_limit ? start + job.spec.time_limit + job.spec.checkpoint.grace : 0;
}

// "10 elements, 3 at once"; "2 replicas".
std::string plan_of_many(const Json& answer) {
  if (answer.contains("replicas")) return str(": ", answer.value("replicas", 1), answer.value("replicas", 1) == 1 ? " replica" : " replicas");
  if (!answer.contains("elements")) return "";
  return str(": ", answer.value("elements", 0), " elements, ",
             answer.contains("at_once") ? str(answer.value("at_once", 0)) : std::string("as many as fit"), " at once");
}

void print_plan(const std::string& name, const Json& answer) {
  Table table({"chip", "nodes", "devices", "start", "where, or why not yet"});
  std::string after;
  for (const Json& a : answer.value("after", Json::array())) after += (after.empty() ? "after " : ", ") + a.get<std::string>();
  for (const Json& row : answer["plan"]) {
    const bool never = row.value("start", "") == "never";
    const double expected = after.empty() ? row.value("expected", 0.0) : answer.value("expected", 0.0);
    std::string start = after.empty() || never ? row.value("start", "") : after;
    if (expected && !never) start = str(after, after.empty() ? "in " : ": in ", human_duration(std::max(0.0, expected - unix_seconds())), after.empty() ? "" : " at the latest");
    std::string where;
    if (start == "now" && row.contains("begin")) start = str("now (", row["begin"].get<int>(), " of ", answer.value("elements", answer.value("replicas", 1)), ")");
    for (const Json& node : row.value("on", Json::array())) where += (where.empty() ? "" : ", ") + node.get<std::string>();
    if (!after.empty() && !where.empty()) where = str("now it would be ", where);
    if (where.empty()) where = row.value("reason", "");
    if (row.contains("preempts")) where += str(" (preempts ", row["preempts"].get<int>(), ")");
    table.row({row.value("chip", ""), text_of(row, "nodes"), text_of(row, "count"), start, where});
  }
  std::printf("%s%s\n%s", name.c_str(), plan_of_many(answer).c_str(), table.text().c_str());
}

int run_plan(int argc, char** argv) {
  Source source;
  argc = split_command(argc, argv, &source.rest);
  Args args("wellspring job plan", "Show where and when a job would run, without submitting it.");
  args.positional("JOB.yaml", &source.file, "job file, or nothing and '-- COMMAND'", false);
  source.add_to(args);
  args.flag("--json", &source.json, "print as JSON");
  args.example("wellspring job plan train.yaml");
  if (!args.parse(argc, argv)) return 0;
  JobFile file = source.read();
  Client client;
  std::vector<double> ends;  // of each job at the latest; 0: nobody knows
  for (FileJob& job : file.jobs) {
    Json answer = ask_about(client, "/plan", job);
    double start = 0;
    if (job.after.empty()) {
      for (const Json& row : answer["plan"]) {  // it takes the first that it gets
        const double at = row.value("start", "") == "now" ? unix_seconds() : row.value("expected", 0.0);
        if (at && (!start || at < start)) start = at;
      }
    } else {
      bool known = true;
      for (const auto& after : job.after) {
        const auto other = static_cast<size_t>(after.job);
        answer["after"].push_back(file.jobs[other].spec.name);
        known &= ends[other] > 0;
        start = std::max(start, ends[other]);
      }
      if (known) answer["expected"] = start;
      // Where there is room for it then, nobody knows.
      start = 0;
    }
    ends.push_back(planned_end(job, job.spec.array.empty() ? start : 0));
    source.json ? print_json(answer) : print_plan(job.spec.name, answer);
  }
  return 0;
}

// The command that was given, with what stands in it now; words are quoted as the shell needs.
struct ListQuery {
  bool all = false;
  std::string state, team, project, user, name;
  int64_t limit = 50, before = 0;

  std::string address() const {
    return str("/jobs?limit=", limit, "&state=", state.empty() ? all ? "all" : "active" : url_encode(state), "&team=", url_encode(team),
               "&project=", url_encode(project), "&user=", url_encode(user), "&name=", url_encode(name), before ? str("&before=", before) : "");
  }
  std::string command() const {
    std::vector<std::string> words = {"wellspring", "job", "list"};
    if (all) words.emplace_back("--all");
    const auto option = [&](const char* flag, const std::string& value) {
      if (!value.empty()) words.emplace_back(flag), words.push_back(value);
    };
    option("--state", state), option("--team", team), option("--project", project), option("--user", user), option("--name", name);
    option("--limit", limit == 50 ? "" : str(limit)), option("--before", before ? str(before) : "");
    return cluster::shell_quoted(words);
  }
};

int run_list(int argc, char** argv) {
  ListQuery query;
  bool json = false;
  Args args("wellspring job list", "List jobs, the newest first: those that have not ended, or all of them.");
  args.flag("--all", &query.all, "also those that have ended");
  args.option("--state", &query.state, "STATE", "only these, e.g. failed");
  args.option("--team", &query.team, "TEAM", "only this team's");
  args.option("--project", &query.project, "PROJECT", "only this project's");
  args.option("--user", &query.user, "USER", "only this user's");
  args.option("--name", &query.name, "PART", "only names with this part");
  args.option("--limit", &query.limit, "N", "at most so many (50; up to 1000)");
  args.option("--before", &query.before, "JOB", "only older ones than this number");
  args.flag("--json", &json, "print as JSON");
  args.example("wellspring job list --all --limit 10");
  if (!args.parse(argc, argv)) return 0;
  Client client;
  const Json answer = client.get(query.address());
  if (json) return print_json(answer), 0;
  Table table({"job", "name", "team", "user", "state", "on", "since", "reason"});
  table.may_drop({2, 3, 5});
  for (const Json& j : answer["jobs"]) {
    std::string on = text_of(j, "chip");
    if (j.contains("nodes")) on = str(j["nodes"].get<int>() > 1 ? str(j["nodes"].get<int>(), "x") : "", j.value("count", 1), " ", on);
    std::string state_text = j.value("state", "");
    if (j.contains("copies_ready"))
      state_text += str(" ", j.value("copies_ready", 0), "/", j["array"].value("elements", 0), " ready");
    else if (j.contains("array"))
      state_text += str(" ", j["array"].value("succeeded", 0), "/", j["array"].value("elements", 0));
    else if (j.contains("ready") && state_text == "running")
      state_text += j.value("ready", false) ? ", ready" : ", not ready";
    const double since = j.contains("ended") ? j.value("ended", 0.0) : j.contains("started") ? j.value("started", 0.0) : j.value("submitted", 0.0);
    table.row({text_of(j, "id"), text_of(j, "name"), text_of(j, "team"), text_of(j, "user"), state_text, on, ago(since),
               text_of(j, "reason")});
  }
  std::printf("%s", table.text().c_str());
  query.before = answer.value("before", int64_t{0});
  if (query.before) std::printf("(more: %s)\n", query.command().c_str());
  return 0;
}

// "10: 4 succeeded, 1 failed, 5 queued"; of a service "2: 2 running, 1 ready".
std::string elements_text(const Json& job) {
  std::string out;
  for (const auto& [state, n] : job["array"].items())
    if (state != "elements") out += str(out.empty() ? "" : ", ", n.get<int>(), " ", state);
  if (job.contains("copies_ready")) out += str(", ", job.value("copies_ready", 0), " ready");
  return str(job["array"].value("elements", 0), ": ", out);
}

int run_show(int argc, char** argv) {
  std::string id;
  bool json = false;
  Args args("wellspring job show", "Show one job: its state, attempts and progress.");
  args.positional("JOB", &id, "number, or NUMBER_INDEX for an element of an array");
  args.flag("--json", &json, "print as JSON");
  args.example("wellspring job show 12");
  if (!args.parse(argc, argv)) return 0;
  Client client;
  const Json j = show(client, id);
  if (json) return print_json(j), 0;
  const auto line = [&](const char* name, const std::string& value) {
    if (!value.empty()) std::printf("%-11s %s\n", name, value.c_str());
  };
  line("job", str(text_of(j, "id"), "  ", text_of(j, "name")));
  line("team", str(text_of(j, "team"), ", ", text_of(j, "user"), ", queue ", text_of(j, "queue")));
  line("state", str(text_of(j, "state"), j.contains("reason") ? str(": ", text_of(j, "reason")) : ""));
  if (j.contains("expected")) line("starts", str("in ", human_duration(std::max(0.0, j.value("expected", 0.0) - unix_seconds())), " at the latest"));
  line("wants", str(text_of(j, "nodes"), j.value("nodes", 1) == 1 ? " node of " : " nodes of ", text_of(j, "count"), " ", text_of(j, "chip")));
  line("submitted", format_utc(j.value("submitted", 0.0)));
  if (j.contains("started")) line("started", format_utc(j.value("started", 0.0)));
  if (j.contains("ended")) line("ended", format_utc(j.value("ended", 0.0)));
  if (over(j)) line("exit status", text_of(j, "exit_status"));
  if (const auto p = j.find("progress"); p != j.end() && p->contains("step")) {
    std::string text = str("step ", text_of(*p, "step"), p->contains("steps") ? str(" of ", text_of(*p, "steps")) : "");
    if (p->contains("loss")) {
      char loss[32];
      std::snprintf(loss, sizeof loss, ", loss %.4g", p->value("loss", 0.0));
      text += loss;
    }
    if (p->contains("tokens_per_second")) text += str(", ", human_count(p->value("tokens_per_second", 0.0)), " tokens/s");
    if (p->contains("eta_seconds") && !over(j)) text += str(", ", human_duration(p->value("eta_seconds", 0.0)), " to go");
    line("progress", text);
  }
  if (j.contains("array")) line(j.contains("copies_ready") ? "copies" : "elements", elements_text(j));
  if (j.contains("ready") && j.value("state", "") == "running") line("service", j.value("ready", false) ? "ready" : "not ready yet");
  line("run folder", text_of(j, "run_folder"));
  if (j["history"].empty()) return 0;
  Table table({"attempt", "state", "on", "for", "status", "reason"});
  for (const Json& a : j["history"]) {
    std::string on;
    for (const Json& part : a["parts"]) on += (on.empty() ? "" : ", ") + part.value("node", "");
    const double begin = a.value("started", a.value("created", 0.0)), end = a.value("ended", unix_seconds());
    table.row({text_of(a, "number"), text_of(a, "state"), on, human_duration(std::max(0.0, end - begin)),
               text_of(a, "exit_status"), text_of(a, "reason")});
  }
  std::printf("\n%s", table.text().c_str());
  return 0;
}

// What there is of a log now, piece by piece: a refusal of one is an error and no part of the log.
void print_log(Client& client, const std::string& id, int64_t rank, int64_t attempt, int64_t tail) {
  for (int64_t offset = 0;;) {
    const HttpResult r = client.text(str("/jobs/", url_encode(id), "/log?wait=0&rank=", rank, "&attempt=", attempt, "&offset=", offset,
                                         tail ? str("&tail=", tail) : ""));
    const auto number = [&](const char* name) { return parse_int(r.header(name)).value_or(0); };
    if (attempt > number("wellspring-newest")) throw Error(Fault::usage, str("job ", id, " has no attempt ", attempt));
    if (std::fwrite(r.body.data(), 1, r.body.size(), stdout) != r.body.size()) return;
    if (r.body.empty() || number("wellspring-over")) return;
    offset = number("wellspring-next"), attempt = number("wellspring-attempt"), tail = 0;
  }
}

int run_logs(int argc, char** argv) {
  std::string id;
  bool following = false;
  int64_t attempt = 0, rank = 0, tail = 0;
  Args args("wellspring job logs", "Print the log of a job: of its newest attempt, or of one.");
  args.positional("JOB", &id, "number, or NUMBER_INDEX");
  args.flag("-f,--follow", &following, "go on until the job has ended, over restarts");
  args.option("--attempt", &attempt, "N", "of this attempt");
  args.option("--rank", &rank, "N", "of this rank (0); -1: the setup");
  args.option("--tail", &tail, "BYTES", "only the end");
  args.example("wellspring job logs 12 -f");
  if (!args.parse(argc, argv)) return 0;
  Client client;
  if (following) return follow(client, id, rank, attempt, tail), 0;
  print_log(client, id, rank, attempt, tail);
  return 0;
}

template <const char* kVerb>
int run_verb(int argc, char** argv) {
  std::vector<std::string> ids;
  bool json = false;
  Args args(str("wellspring job ", kVerb), std::string_view(kVerb) == "cancel"    ? "End jobs: SIGTERM, and SIGKILL after their grace."
                                           : std::string_view(kVerb) == "hold"    ? "Keep waiting jobs from starting."
                                           : std::string_view(kVerb) == "release" ? "Let held jobs go."
                                                                                  : "Let jobs that failed or were cancelled wait again.");
  args.positionals("JOB", &ids, "numbers");
  args.flag("--json", &json, "print as JSON");
  args.example(str("wellspring job ", kVerb, " 12"));
  if (!args.parse(argc, argv)) return 0;
  Client client;
  Json rows = Json::array();
  int status = 0;  // of the first that failed: the others are done all the same
  for (const std::string& id : ids) {
    try {
      const Json& j = rows.emplace_back(client.post(str("/jobs/", url_encode(id), "/", kVerb), Json::object()));
      if (!json) std::printf("job %s: %s\n", id.c_str(), j.value("state", "").c_str());
    } catch (const Error& e) {
      std::fflush(stdout);
      std::fprintf(stderr, "error: %s\n", e.what());
      if (!status) status = e.exit_status();
      if (e.fault() == Fault::io) break;  // nobody answers
    }
  }
  if (json) print_json({{"jobs", rows}});
  return status;
}

// A terminal in raw mode for as long as this lives.
class RawTerminal {
 public:
  RawTerminal() {
    raw_ = ::isatty(0) && ::tcgetattr(0, &before_) == 0;
    if (!raw_) return;
    termios raw = before_;
    ::cfmakeraw(&raw);
    ::tcsetattr(0, TCSANOW, &raw);
  }
  ~RawTerminal() {
    if (raw_) ::tcsetattr(0, TCSANOW, &before_);
  }

 private:
  termios before_{};
  bool raw_ = false;
};

// What is typed here goes to the command, until `done`; a terminal's size too.
void give_input(FrameLink& link, bool terminal, const std::atomic<bool>& done) {
  const auto send = [&](cluster::TerminalFrame type, std::string_view bytes) {
    return link.send(static_cast<uint8_t>(type), 0, bytes);
  };
  winsize last{};
  bool open = true;
  char buffer[16 << 10];
  while (!done) {
    winsize size{};
    if (terminal && ::ioctl(1, TIOCGWINSZ, &size) == 0 && (size.ws_row != last.ws_row || size.ws_col != last.ws_col)) {
      last = size;
      if (!send(cluster::TerminalFrame::size, str(size.ws_row, " ", size.ws_col))) return;
    }
    pollfd wait{open ? 0 : -1, POLLIN, 0};
    if (::poll(&wait, 1, 100) <= 0) continue;
    const ssize_t n = ::read(0, buffer, sizeof buffer);
    if (n > 0 ? !send(cluster::TerminalFrame::input, {buffer, static_cast<size_t>(n)})
              : !send(cluster::TerminalFrame::input_end, ""))
      return;
    open = n > 0;
  }
}

// A command beside the job, connected with our standard streams; its exit status.
int terminal(Client& client, const std::string& path, bool with_terminal) {
  FrameLink link(std::shared_ptr<HttpDuplex>(client.upgrade(path)), 1 << 20);
  std::optional<RawTerminal> raw;
  if (with_terminal) raw.emplace();
  std::atomic<bool> done{false};
  std::thread in([&] { give_input(link, with_terminal, done); });
  std::optional<std::string> ended;
  while (!ended && !link.closed()) {
    const auto frame = link.receive(3600);
    if (!frame) continue;
    const auto type = static_cast<cluster::TerminalFrame>(frame->type);
    if (type == cluster::TerminalFrame::ended) {
      ended = frame->payload;
    } else {
      FILE* to = type == cluster::TerminalFrame::error ? stderr : stdout;
      std::fwrite(frame->payload.data(), 1, frame->payload.size(), to);
      std::fflush(to);
    }
  }
  done = true;
  link.close();
  in.join();
  raw.reset();
  if (!ended) throw Error(Fault::io, "the connection was lost before the command ended; the job itself goes on");
  const size_t space = std::min(ended->find(' '), ended->size());
  if (space + 1 < ended->size()) std::fprintf(stderr, "wellspring: %s\n", ended->substr(space + 1).c_str());
  return static_cast<int>(parse_int(ended->substr(0, space)).value_or(1));
}

// "exec" with the size of our terminal.
std::string exec_path(const std::string& id, int64_t rank, bool with_terminal) {
  winsize size{};
  if (::ioctl(1, TIOCGWINSZ, &size) != 0 || !size.ws_row || !size.ws_col) size.ws_row = 24, size.ws_col = 80;
  return str("/jobs/", url_encode(id), "/exec?rank=", rank, "&terminal=", with_terminal ? 1 : 0, "&rows=", size.ws_row,
             "&columns=", size.ws_col);
}

int run_exec(int argc, char** argv) {
  std::vector<std::string> command;
  std::string id;
  int64_t rank = 0;
  bool with_terminal = false;
  argc = split_command(argc, argv, &command);
  Args args("wellspring job exec",
            "Run a command beside a running job: same node, user, folder, environment and limits. Ends with its exit status.");
  args.positional("JOB", &id, "number, or NUMBER_INDEX; then '-- COMMAND'");
  args.option("--rank", &rank, "N", "on the node of this rank (0)");
  args.flag("-t,--terminal", &with_terminal, "with a terminal of its own");
  args.example("wellspring job exec 12 -- ps aux");
  if (!args.parse(argc, argv)) return 0;
  if (command.empty()) throw Error(Fault::usage, "name a command behind '--': wellspring job exec 12 -- ps");
  Client client;
  const std::string line = command.size() == 1 ? command[0] : cluster::shell_quoted(command);
  return terminal(client, str(exec_path(id, rank, with_terminal), "&command=", url_encode(line)), with_terminal);
}

int run_attach(int argc, char** argv) {
  std::string id;
  int64_t rank = 0;
  Args args("wellspring job attach", "A shell beside a running job: same node, user, folder and limits.");
  args.positional("JOB", &id, "number, or NUMBER_INDEX");
  args.option("--rank", &rank, "N", "on the node of this rank (0)");
  args.example("wellspring job attach 12");
  if (!args.parse(argc, argv)) return 0;
  Client client;
  return terminal(client, exec_path(id, rank, true), true);
}

// The running job that `forward` can lead to: of a service with several copies one that runs, the
// ready ones first. Error when there is none, or it has no port.
std::string job_to_reach(Client& client, const std::string& id, int64_t port) {
  Json job = show(client, id);
  std::string found = text_of(job, "id");
  if (job.value("kind", "") != "service" && !port)
    throw Error(Fault::usage, str("job ", id, " is no service: say which port of it by --port"));
  if (job.contains("array")) {
    std::string running;
    for (const Json& element : job["elements"]) {
      if (element.value("state", "") != "running") continue;
      Json copy = show(client, text_of(element, "id"));
      const bool ready = copy.value("ready", false);
      if (running.empty() || ready) running = text_of(element, "id"), job = std::move(copy);
      if (ready) break;
    }
    if (running.empty()) throw Error(Fault::usage, str("none of job ", id, "'s copies runs: `wellspring job show ", id, "` says why"));
    found = running;
  }
  const std::string state = job.value("state", "");
  if (state != "running") throw Error(Fault::usage, str("job ", id, " is not running: it is ", state));
  return found;
}

int run_forward(int argc, char** argv) {
  std::string id;
  int64_t local = 0, port = 0, rank = 0;
  Args args("wellspring job forward", "Make a port of a running job reachable on this machine, until Ctrl-C.");
  args.positional("JOB", &id, "number, or NUMBER_INDEX");
  args.option("--port", &port, "PORT", "of the job (its service's)");
  args.option("--local", &local, "PORT", "of this machine (any free one)");
  args.option("--rank", &rank, "N", "on the node of this rank (0)");
  args.example("wellspring job forward 12 --port 8000 --local 8000");
  if (!args.parse(argc, argv)) return 0;
  install_stop_signals();
  const cluster::Login login = cluster::find_login();
  {
    Client first(login);
    id = job_to_reach(first, id, port);
  }
  const int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(static_cast<uint16_t>(local));
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  const int on = 1;
  ::setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (::bind(listener, reinterpret_cast<sockaddr*>(&address), sizeof address) != 0 || ::listen(listener, 64) != 0)
    throw Error(Fault::io, str("port ", local, " of this machine is in use: choose another one by --local"));
  socklen_t size = sizeof address;
  ::getsockname(listener, reinterpret_cast<sockaddr*>(&address), &size);
  std::printf("http://127.0.0.1:%d leads to job %s (Ctrl-C ends that)\n", ntohs(address.sin_port), id.c_str());
  std::fflush(stdout);
  while (!stop_requested()) {
    pollfd wait{listener, POLLIN, 0};
    if (::poll(&wait, 1, 200) <= 0) continue;
    const int fd = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) continue;
    std::thread([fd, login, id, port, rank] {
      try {
        Client client(login);
        const auto duplex = client.upgrade(str("/jobs/", url_encode(id), "/forward?rank=", rank, port ? str("&port=", port) : ""));
        std::thread up([&] {
          char buffer[32 << 10];
          ssize_t n;
          while ((n = ::recv(fd, buffer, sizeof buffer, 0)) > 0)
            if (!duplex->write({buffer, static_cast<size_t>(n)})) break;
          duplex->close();
        });
        char buffer[32 << 10];
        while (true) {
          const long n = duplex->read(buffer, sizeof buffer, 3600);
          if (n == HttpDuplex::kTimeout) continue;
          if (n <= 0 || ::send(fd, buffer, static_cast<size_t>(n), MSG_NOSIGNAL) != n) break;
        }
        ::shutdown(fd, SHUT_RDWR);
        up.join();
      } catch (const std::exception& e) {
        log_error("forward", e.what());
      }
      ::close(fd);
    }).detach();
  }
  return 0;
}

constexpr char kCancel[] = "cancel", kHold[] = "hold", kRelease[] = "release", kRetry[] = "retry";

}  // namespace

int command_job(int argc, char** argv) {
  return run_verbs("wellspring job", "Submit jobs to a cluster and look after them.",
                   {{"submit", "submit the jobs of a file", run_submit},
                    {"run", "submit, show the log, end with the job's exit status", run_run},
                    {"plan", "where and when it would run, before anything is spent", run_plan},
                    {"list", "jobs", run_list},
                    {"show", "one job: state, attempts, progress", run_show},
                    {"logs", "its log (-f: as it comes)", run_logs},
                    {"cancel", "end jobs", run_verb<kCancel>},
                    {"hold", "keep jobs from starting", run_verb<kHold>},
                    {"release", "let held jobs go", run_verb<kRelease>},
                    {"retry", "let failed or cancelled jobs wait again", run_verb<kRetry>},
                    {"exec", "run a command beside a running job", run_exec},
                    {"attach", "a shell beside a running job", run_attach},
                    {"forward", "reach a port of a running job from here", run_forward}},
                   argc, argv);
}

}  // namespace wellspring
