#include "train/run_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <random>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"

namespace wellspring {
namespace {

std::string fresh_token() {
  std::random_device source;
  std::string token;
  for (int i = 0; i < 4; ++i) {
    static constexpr char kHex[] = "0123456789abcdef";
    uint32_t v = source();
    for (int k = 0; k < 8; ++k, v >>= 4) token += kHex[v & 15];
  }
  return token;
}

std::string checkpoints_of(const std::string& run) { return join_path(run, "checkpoints"); }

}  // namespace

RunFolder::RunFolder(const std::string& path) : path_(path) {
  make_directories(checkpoints_of(path));
  make_directories(join_path(path, "attempts"));
  // The lock dies with the process, so a killed trainer never blocks the next.
  std::string lock_path = join_path(path, ".lock");
  lock_ = ::open(lock_path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644);
  if (lock_ < 0) throw Error(Fault::io, str("cannot write into the run folder ", path));
  if (::flock(lock_, LOCK_EX | LOCK_NB) != 0)
    throw Error(
        Fault::try_again,
        str("run folder ", path, " is in use by another process; stop it or give another --out"));
  int64_t last = 0;
  for (const std::string& name : list_directory(join_path(path, "attempts")))
    if (auto n = parse_int(name)) last = std::max(last, *n);
  const char* given = std::getenv("WELLSPRING_ATTEMPT");
  auto wanted = given ? parse_int(given) : std::nullopt;
  attempt_ = wanted.value_or(last + 1);
  make_directories(join_path(join_path(path, "attempts"), str(attempt_)));
  const char* token = std::getenv("WELLSPRING_TOKEN");
  token_ = token && *token ? token : fresh_token();
  write_file_atomic(join_path(path, "owner"), token_ + "\n");
}

RunFolder::~RunFolder() {
  if (lock_ >= 0) ::close(lock_);
}

std::string RunFolder::attempt_path(const std::string& name) const {
  return join_path(join_path(join_path(path_, "attempts"), str(attempt_)), name);
}

void RunFolder::metric(const Json& values) {
  Json line = {{"attempt", attempt_}};
  line.update(values);
  append_line(join_path(path_, "metrics.jsonl"), to_text(line));
}

void RunFolder::status(const std::string& state, const Json& more) {
  Json status = {{"state", state}, {"attempt", attempt_}, {"pid", ::getpid()}};
  status.update(more);
  write_file_atomic(attempt_path("status.json"), to_text(status, 1) + "\n");
}

void RunFolder::log(const std::string& line) { append_line(attempt_path("log.txt"), line); }

void RunFolder::check_owner() const {
  std::string owner(trim(read_file(join_path(path_, "owner"))));
  if (owner != token_)
    throw Error(Fault::try_again,
                str("run folder ", path_, " now belongs to another attempt; this one stops"));
}

std::string RunFolder::temporary_checkpoint() const {
  return join_path(checkpoints_of(path_), str(".writing-", attempt_, "-", ::getpid()));
}

void RunFolder::publish_checkpoint(const std::string& temporary, int64_t step) {
  check_owner();
  write_file_atomic(join_path(temporary, "owner"), token_ + "\n");
  std::string target = checkpoint_path(path_, step);
  if (exists(target)) remove_all(target);  // a step reached again after a roll-back
  rename_synced(temporary, target);
}

void RunFolder::prune_checkpoints(int keep) {
  std::vector<int64_t> steps = checkpoint_steps(path_);
  for (size_t i = 0; i + keep < steps.size(); ++i) remove_all(checkpoint_path(path_, steps[i]));
  for (const std::string& name : list_directory(checkpoints_of(path_)))
    if (starts_with(name, ".writing-")) remove_all(join_path(checkpoints_of(path_), name));
}

std::vector<int64_t> checkpoint_steps(const std::string& run_folder) {
  std::vector<int64_t> steps;
  if (!is_directory(checkpoints_of(run_folder))) return steps;
  for (const std::string& name : list_directory(checkpoints_of(run_folder)))
    if (starts_with(name, "step-"))
      if (auto n = parse_int(name.substr(5))) steps.push_back(*n);
  std::sort(steps.begin(), steps.end());
  return steps;
}

std::string checkpoint_path(const std::string& run_folder, int64_t step) {
  return join_path(checkpoints_of(run_folder), str("step-", step));
}

std::vector<Json> live_curve(const std::string& run_folder) {
  std::string path = join_path(run_folder, "metrics.jsonl");
  if (!exists(path)) return {};
  std::map<int64_t, Json> by_step;
  int64_t attempt = -1;
  for (const std::string& line : split(read_file(path), '\n')) {
    if (line.empty()) continue;
    Json entry = Json::parse(line, nullptr, false);
    if (entry.is_discarded() || !entry.contains("step")) continue;
    int64_t step = entry["step"];
    // A newer attempt rolls back every step from where it starts.
    int64_t writer = entry.value("attempt", int64_t{0});
    if (writer != attempt) by_step.erase(by_step.lower_bound(step), by_step.end());
    attempt = writer;
    by_step[step].update(entry);
  }
  std::vector<Json> curve;
  for (auto& [step, entry] : by_step) curve.push_back(std::move(entry));
  return curve;
}

}  // namespace wellspring
