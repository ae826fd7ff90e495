#pragma once
// What runs attempts: nodes of our own, or another cluster's. One folder and these calls each.

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "cluster/state/entities.h"

namespace wellspring::cluster {

/// All that an executor needs to know of an attempt.
struct Launch {
  Attempt attempt;
  Job job;
  std::string system_user;  // of its team; empty: the executor's own
  std::vector<std::pair<std::string, std::string>> secrets;  // name, content
  std::vector<std::string> addresses;                        // of its nodes, in the parts' order
};

/// A part of a log; offsets count the bytes that the task wrote.
struct LogText {
  std::string data;
  int64_t next = 0, total = 0;
  bool over = false;  // the task has ended and this is the end of its log
};

/// What an executor tells the controller, by the transitions of part_*(). Thread-safe; each waits
/// until it is on disk and throws when it cannot be written: tell it again then.
struct Reports {
  std::function<void(int64_t attempt, const std::string& node)> prepared, running;
  std::function<void(int64_t attempt, const std::string& node, int status,
                     const std::string& outcome, const std::string& reason)>
      ended;
  /// The executor's own number of an attempt.
  std::function<void(int64_t attempt, const std::string& outside)> outside;
  /// The nodes that it has, all of them.
  std::function<void(const std::string& executor, const std::vector<Node>& nodes)> nodes;
  /// Attempts of the executor that have not ended.
  std::function<std::vector<Launch>(const std::string& executor)> active;
};

/// Calls come on the controller's core thread: they must not wait. Whatever takes time is done on a
/// thread of the executor's own.
class Executor {
 public:
  virtual ~Executor() = default;
  /// Starts an attempt; asking again for one that was started does nothing.
  virtual void start(const Launch& launch) = 0;
  /// All nodes are prepared: the tasks may begin.
  virtual void go(const Attempt& attempt) = 0;
  /// SIGTERM, and SIGKILL after `grace` seconds. On one node, or on all (empty).
  virtual void stop(const Attempt& attempt, const std::string& node, double grace,
                    const std::string& reason) = 0;
  /// Reads a log; waits up to `wait` seconds for something beyond `offset`. From any thread.
  /// Error(Fault::io) when it cannot be reached now.
  virtual LogText log(const Attempt& attempt, const std::string& user, int rank, int64_t offset,
                      int64_t most, double wait) = 0;
  /// Now and then: looks after what was started, also before this process began.
  virtual void tick() = 0;
};

}  // namespace wellspring::cluster
