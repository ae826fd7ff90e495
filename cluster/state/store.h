#pragma once
// The state on disk: a table of (key, JSON document, checksum) for each kind of entity, and for each
// table the number of its rows and the sum of their checksums, so that a changed, lost or added row
// is seen at the next start.

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/database.h"
#include "base/error.h"
#include "cluster/state/state.h"

namespace wellspring::cluster {

/// The server was lost while it committed: the batch is on disk or not, and Store::settle() tells.
class OutcomeUnknown : public Error {
 public:
  explicit OutcomeUnknown(const std::string& what) : Error(Fault::io, what) {}
};

class Store {
 public:
  /// Opens the state (a path, or postgresql://...) and makes its tables if there are none. One
  /// controller at a time: Error(Fault::try_again) when another one holds it, Fault::config when a
  /// newer program wrote it.
  explicit Store(const std::string& url);

  /// Reads everything, checking structure, checksums and totals. Error(Fault::data) that names the
  /// table and how to restore.
  void load(State& state);
  /// Writes what the batch changed in one transaction; on disk when it returns. False: nothing was
  /// changed. Throws what the database throws; nothing is written then, except for OutcomeUnknown:
  /// then settle() comes before anything else. Error(Fault::config) when another controller has
  /// written here while the server was away: this one's state is of the past, and it can only end.
  bool write(State& state);
  /// Whether the batch whose outcome was unknown is on disk. Throws when the server cannot be asked
  /// yet: ask again.
  bool settle();

  /// Writes everything to a file of its own and reads it back: rows, documents and checksums are
  /// those of the database at one moment. On a connection of its own: from any thread. Returns the
  /// number of rows.
  static int64_t backup(const std::string& url, const std::string& path);
  /// Fills an empty state from a backup. What was numbered after the backup is not known any more:
  /// numbers of jobs and attempts go on far above. Error(Fault::data) when the file is damaged,
  /// Fault::usage when the state holds something already; with `replace` that is moved to files
  /// beside it (PostgreSQL: is removed), whatever it is.
  static int64_t restore(const std::string& url, const std::string& path, bool replace = false);
  /// Rows of a backup file, after checking it as restore does.
  static int64_t verify(const std::string& path);

  const std::string& name() const { return database_->name(); }

 private:
  struct Totals {
    int64_t rows = 0;
    uint64_t sum = 0;
    std::unordered_map<std::string, uint64_t> sums;  // of each row
    bool changed = false;
  };
  void put(const char* table, const std::string& key, const std::string& document);
  void remove(const char* table, const std::string& key);

  // What the totals were before the batch.
  struct Before {
    const char* table;
    std::string key;
    uint64_t sum;
    bool there;
  };
  struct Undo {
    std::vector<Before> rows;
    std::map<std::string, std::pair<int64_t, uint64_t>> totals;
  };
  void remember(State& state);
  void take_back();
  int64_t batch_on_disk();

  std::string url_;
  std::unique_ptr<Database> database_;
  std::map<std::string, Totals> totals_;
  Undo undo_;
  int64_t batch_ = 0;        // number of the last one on disk, which stands there, too
  int64_t connections_ = 0;  // of the database, when that number was last seen
};

}  // namespace wellspring::cluster
