#pragma once
// What was measured, kept for good: an append-only store of records, one JSON object a line, a file
// for each month. Nothing is ever changed in it; who reads it decides what to believe.

#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

namespace wellspring {

/// Some figures of one run of something on one kind of chip, with their provenance.
struct Record {
  double at = 0;          // unix seconds
  std::string kind;       // "attempt": an attempt of a job
  std::string id;         // unique within the kind: the attempt's number
  std::string what;       // name of the job
  std::string chip;       // canonical name of the chip table
  int nodes = 1, devices = 1;                  // devices on each node
  std::map<std::string, double> used;          // "seconds", "device_seconds"; where known: "cpu_seconds", "peak_memory"
  std::map<std::string, double> reached;       // "step", "loss", "tokens_per_second", ...
  std::map<std::string, std::string> source;   // "job", "team", "state", "nodes", "version", ...
};

/// Thread-safe. Several processes may append to one store.
class RecordStore {
 public:
  /// A folder, made if absent. Error(Fault::io).
  explicit RecordStore(std::string folder);

  /// Appends records, all of them on disk when it returns. Error(Fault::data) for a figure that is
  /// no finite number or a record without kind, id or chip; Error(Fault::io).
  void append(const std::vector<Record>& records);
  /// Calls `f` for each record from `from` on (unix seconds), oldest month first; `f` false stops. A
  /// last line that is cut (a kill while it was written) is passed over; another line that does not
  /// parse is Error(Fault::data) with file and line.
  void each(double from, const std::function<bool(const Record&)>& f) const;

 private:
  std::string folder_;
  std::mutex mutex_;
};

}  // namespace wellspring
