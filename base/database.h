#pragma once
// One small layer over two databases: SQLite in a file, PostgreSQL by URL. SQL is written once,
// with
// `?` for parameters; write BIGINT, DOUBLE PRECISION, TEXT and bytes_type() for columns, which mean
// the same in both. INSERT ... ON CONFLICT and RETURNING exist in both.

#include <cstddef>
#include <cstdint>
#include <exception>
#include <functional>
#include <initializer_list>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace wellspring {

/// A value of a row or a parameter: NULL, an integer, a floating number (no NaN), or bytes (text
/// and blobs alike; zero bytes are kept in columns of bytes_type(), and PostgreSQL refuses them in
/// TEXT).
using DbValue = std::variant<std::nullptr_t, int64_t, double, std::string>;

/// One row of a result. The accessors throw Error(Fault::data) for another type or a column that is
/// not there.
struct DbRow {
  std::vector<DbValue> values;

  size_t size() const { return values.size(); }
  bool is_null(size_t column) const;
  int64_t integer(size_t column) const;
  /// A floating number, or an integer as one.
  double number(size_t column) const;
  const std::string& text(size_t column) const;
};

/// A connection. For one thread at a time; threads and processes may each have their own to the
/// same database.
///
/// Errors: Fault::io for what the outside did (full disk, read-only, damaged, locked, server gone),
/// naming the database and what to do; Fault::data for a broken constraint and a value that a
/// column does not take; Fault::try_again for a conflict of transactions; Fault::internal for SQL
/// that is wrong. After any error the Database is usable: an error inside a transaction makes that
/// transaction fail as a whole (everything but rollback() throws the same error until then), and
/// the next begin() or statement outside a transaction connects again to a server that went away.
class Database {
 public:
  using Parameters = std::span<const DbValue>;
  using List = std::initializer_list<DbValue>;
  enum class Kind { sqlite, postgres };

  /// "sqlite:PATH" or a plain path (the folder must exist; a new file gets mode 0600), or
  /// "postgresql://user:password@host:port/name" ("postgres://" too, all that libpq takes after
  /// '?'). Error(Fault::missing) without libpq, Fault::config for a URL or a login that is wrong,
  /// Fault::io when the file cannot be used or the server does not answer.
  static std::unique_ptr<Database> open(const std::string& url);
  /// `url` as it may be shown: without its password.
  static std::string shown(const std::string& url);

  virtual ~Database();
  Database(const Database&) = delete;
  Database& operator=(const Database&) = delete;

  /// One statement without a result. Statements are prepared once and kept by their text, so give
  /// values as parameters. Inside a transaction PostgreSQL may do it later, at the next query() or
  /// commit(), where its error then appears.
  void run(std::string_view sql, Parameters parameters);
  void run(std::string_view sql, List parameters = {}) {
    run(sql, Parameters(parameters.begin(), parameters.size()));
  }

  /// One statement with all its rows.
  std::vector<DbRow> query(std::string_view sql, Parameters parameters);
  std::vector<DbRow> query(std::string_view sql, List parameters = {}) {
    return query(sql, Parameters(parameters.begin(), parameters.size()));
  }

  /// One statement row by row, for results too big to hold. `row` may take the values out of its
  /// argument and may throw, which ends the statement; it must not use this Database.
  void each(std::string_view sql, Parameters parameters, const std::function<void(DbRow&)>& row);
  void each(std::string_view sql, List parameters, const std::function<void(DbRow&)>& row) {
    each(sql, Parameters(parameters.begin(), parameters.size()), row);
  }

  /// How long to wait for another writer of a file (default 5 s) or for an answer of a server
  /// (default 120 s), before Error(Fault::io).
  virtual void set_patience(double seconds) = 0;

  /// Begins a transaction that may write; there is one at a time.
  void begin() { begin(false); }
  /// Begins one that only reads, all of it as it was at one moment.
  void begin_reading() { begin(true); }
  /// When it returns, the transaction is on disk. When it throws, it is rolled back. One exception:
  /// with a server lost while it committed nobody knows; who must know writes a number in each
  /// transaction and reads it afterwards.
  void commit();
  /// Nothing outside a transaction; never throws.
  void rollback() noexcept;
  bool in_transaction() const { return open_; }
  /// begin(), f(), commit(); rollback() when f throws.
  template <class F>
  void transaction(F&& f) {
    begin();
    try {
      f();
    } catch (...) {
      rollback();
      throw;
    }
    commit();
  }

  /// The same for reading alone: f sees one moment, however long it takes, and others write on.
  template <class F>
  void snapshot(F&& f) {
    begin_reading();
    try {
      f();
    } catch (...) {
      rollback();
      throw;
    }
    commit();
  }

  /// How often it has connected: more than before means that the server went away and that what
  /// was read earlier may have been changed since by others (by another holder of the lock, too).
  int64_t connections() const { return connections_; }
  Kind kind() const { return kind_; }
  /// The type of a column for any bytes: BLOB or BYTEA.
  const char* bytes_type() const { return kind_ == Kind::sqlite ? "BLOB" : "BYTEA"; }
  /// For messages: the path, or the URL without its password.
  const std::string& name() const { return name_; }

  /// What is wrong with the structure of the whole database, one line each; empty: nothing. Reads
  /// the whole file. A changed byte inside a value is not seen here: rows that matter carry a
  /// checksum of their own. PostgreSQL checks its pages itself: always empty.
  virtual std::vector<std::string> check() = 0;

  /// Takes the one lock of this database, held until the Database or the process ends, for a
  /// program that must be the only one of its kind; `who` (a few words) is shown to others. Other
  /// connections can still read and write. Error(Fault::try_again) that names the holder when it is
  /// taken. With PostgreSQL it is lost with the connection: it is taken again before anything else
  /// happens on a new one, and Error(Fault::try_again) there means that another program has it now.
  virtual void lock_exclusively(const std::string& who) = 0;

 protected:
  Database(Kind kind, std::string name) : kind_(kind), name_(std::move(name)) {}
  virtual void do_run(std::string_view sql, Parameters parameters) = 0;
  virtual void do_each(std::string_view sql, Parameters parameters,
                       const std::function<void(DbRow&)>& row) = 0;
  virtual void do_begin(bool only_reads) = 0;
  virtual void do_commit() = 0;
  virtual void do_rollback() noexcept = 0;

  int64_t connections_ = 0;

 private:
  template <class F>
  void guarded(F&& f);
  void begin(bool only_reads);

  Kind kind_;
  std::string name_;
  bool open_ = false;           // a transaction is
  std::exception_ptr failure_;  // of a statement in it
  bool busy_ = false;           // inside each()
};

}  // namespace wellspring
