#pragma once
// The state on disk: a table of (key, JSON document, checksum) for each kind of entity, and for each
// table the number of its rows and the sum of their checksums, so that a changed, lost or added row
// is seen at the next start.

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/database.h"
#include "cluster/state/state.h"

namespace wellspring::cluster {

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
  /// changed. Throws what the database throws; nothing is written then.
  bool write(State& state);

  /// Writes everything to a file of its own and reads it back: rows, documents and checksums are
  /// those of the database at one moment. On a connection of its own: from any thread. Returns the
  /// number of rows.
  static int64_t backup(const std::string& url, const std::string& path);
  /// Fills an empty state from a backup. Error(Fault::data) when the file is damaged, Fault::usage
  /// when the state holds something already.
  static int64_t restore(const std::string& url, const std::string& path);
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

  std::string url_;
  std::unique_ptr<Database> database_;
  std::map<std::string, Totals> totals_;
};

}  // namespace wellspring::cluster
