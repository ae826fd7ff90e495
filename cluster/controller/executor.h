#pragma once
// What runs attempts: nodes of our own, or another cluster's. One folder and these calls each.

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "base/json_fwd.h"
#include "cluster/state/entities.h"
#include "cluster/state/transitions.h"

namespace wellspring::cluster {

/// All that an executor needs to know of an attempt.
struct Launch {
  Attempt attempt;
  Job job;
  std::string system_user;  // of its team; empty: the executor's own
  std::vector<std::string> roots;                            // of its team: mounts lie below them
  std::vector<std::pair<std::string, std::string>> secrets;  // name, content
  std::vector<std::string> addresses;                        // of its nodes, in the parts' order
};

/// A part of a log; offsets count the bytes that the task wrote.
struct LogText {
  std::string data;
  int64_t next = 0, total = 0;
  bool over = false;  // the task has ended and this is the end of its log
};

/// What an executor says of an attempt.
struct Report {
  enum Kind {
    running,  // the tasks of a part have begun
    ended,    // no process of a part is left
    outside   // the executor's own number of the attempt, and what else people should know
  };
  Kind kind = running;
  int64_t attempt = 0;
  std::string node = {};  // the part's; empty: all parts of the attempt
  int status = 0;         // of `ended`, with the outcome as executions.h names them, and the reason
  std::string outcome = "exited", reason = {};
  double cpu_seconds = 0;  // of `ended`: of all tasks together; 0: not known
  std::string shown = {};  // of `outside`: begins with the number
};

/// How an executor tells the controller. Thread-safe; each waits until it is on disk and throws
/// when it cannot be written: tell it again then.
struct Reports {
  /// One transaction for all of them.
  std::function<void(const std::vector<Report>& reports)> tell;
  /// The nodes that it has, all of them.
  std::function<void(const std::string& executor, const std::vector<Node>& nodes)> nodes;
  /// Attempts of the executor that have not ended.
  std::function<std::vector<Launch>(const std::string& executor)> active;
};

/// What an ended attempt has left in its run folder.
struct RunFound {
  int64_t checkpoint = 0;                 // the newest step; 0: none
  std::map<std::string, double> reached;  // last figures
};
/// Figures of a run folder that can be kept: at most 64, finite, with plain names.
std::map<std::string, double> plain_figures(const Json& figures);

/// Carries out what an executor says: transitions of its own attempts alone. `found`: by attempt.
void take_reports(Change& c, const std::string& executor, const std::vector<Report>& reports,
                  const std::map<int64_t, RunFound>& found = {});
/// Its nodes are these: their rows follow; what an administrator drained stays drained.
void take_nodes(Change& c, const std::string& executor, const std::vector<Node>& nodes);

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
