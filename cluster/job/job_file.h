#pragma once
// Job files: YAML that a user writes, read into specs. Reference of the keys: docs/job-file.md.

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "cluster/job/chips.h"
#include "cluster/job/spec.h"

namespace wellspring::cluster {

/// A folder whose content goes with a job (snapshot.h makes the archive).
struct Workdir {
  std::string path;                  // absolute, on this machine; empty: none
  std::vector<std::string> exclude;  // patterns as in an ignore file, besides those of the folder's
  int64_t limit = 1'000'000'000;     // bytes of all its files together
};

/// One job of a file.
struct FileJob {
  struct After {
    int job = 0;  // its place in JobFile::jobs, always before this one's
    std::string kind = "afterok";
  };

  JobSpec spec;  // checked; without snapshot, and `after` holds the jobs named by number alone
  std::vector<After> after;  // jobs of the same file: the submitter adds them to spec.after
  Workdir workdir;

  /// Where a field of the spec comes from, for errors that only the controller can find:
  /// place("accepted[1].count") is "job.yaml:12: 'any_of[0].count'". What was not written is placed
  /// at what it would stand in.
  std::string place(const std::string& field) const;
  struct Place {
    std::string where, key;
  };
  std::map<std::string, Place> places;  // by field; "" is the job
};

struct JobFile {
  std::vector<FileJob> jobs;  // at least one; each after those of the file that it waits for
};

/// Reads a job file after applying `overrides` ("resources.count=4", as of --set). Paths in it are
/// relative to its folder. A name that is left out is made from the file's. Chip names become
/// canonical ("cpu" stays: the controller knows which kinds there are); an unknown one is refused
/// when `chips` is given (the cluster's table), else it is left to the controller, which may know
/// more chips than this program. Error(Fault::config) with file, line and key (of the run file for
/// what is wrong with that), Fault::io for files that cannot be read, Fault::usage for a bad
/// override.
JobFile read_job_file(const std::string& path, const std::vector<std::string>& overrides = {},
                      const ChipTable* chips = nullptr);
/// The same of a text; `where` names it in errors, `folder` (absolute) is what paths are relative
/// to.
JobFile parse_job_file(const std::string& text, const std::string& where, const std::string& folder,
                       const std::vector<std::string>& overrides = {},
                       const ChipTable* chips = nullptr);
/// The job of `wellspring job run -- COMMAND...`: one word is a line for the shell, several are one
/// command with its arguments (quoted as needed). Paths in overrides are relative to `folder`.
/// Error(Fault::usage) when `command` is empty.
JobFile job_from_command(const std::vector<std::string>& command, const std::string& folder,
                         const std::vector<std::string>& overrides = {},
                         const ChipTable* chips = nullptr);

/// `words` as one line that /bin/sh takes apart into the same words.
std::string shell_quoted(const std::vector<std::string>& words);

/// Every key that a job file may have, dotted ("resources.chip", "mounts[].source"), for the
/// reference and its test.
std::vector<std::string> job_file_keys();

}  // namespace wellspring::cluster
