#pragma once
// The keys of a job file and how each is read. Between job_file.cpp and job_keys.cpp alone.

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "cluster/job/job_file.h"

namespace wellspring::cluster {

/// What stands in `resources` or in an alternative, before the two are put together.
struct ResourceAsk {
  struct Choice {
    std::string chip;
    std::optional<int> count;
    FileJob::Place place;
  };
  std::vector<Choice> chips;
  std::optional<int> count, nodes, tasks_per_node;
  std::optional<int64_t> memory_mb;
  std::vector<ResourceAsk> any_of;
  FileJob::Place place;
  std::map<std::string, FileJob::Place> places;  // of the keys that stand there, by field
};

/// A job while its keys are read.
struct JobDraft {
  /// Waits for a job that is named, not numbered.
  struct Named {
    std::string name, kind;
    FileJob::Place place;
  };

  FileJob job;
  std::string folder;
  const ChipTable* chips = nullptr;
  ResourceAsk resources;
  std::optional<int> num_nodes;
  std::vector<Named> after;

  void note(const std::string& field, const Config& config, const std::string& key = "");
};

/// Reads the keys of one job into `draft`, without check of the whole.
void read_job_keys(JobDraft& draft, const Config& config);

/// Where a value of a configuration stands.
FileJob::Place place_of(const Config& config, const std::string& key = "");
/// "job.yaml:12: 'resources.count'".
std::string shown_place(const FileJob::Place& place);
[[noreturn]] void refuse(const FileJob::Place& place, const std::string& what);

}  // namespace wellspring::cluster
