#include <fcntl.h>
#include <sqlite3.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <map>

#include "base/database_back.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

namespace wellspring {
namespace {

// libsqlite3 is loaded with the first database: linked, it would cost each start of the program
// 0.4 ms.
struct Sqlite {
  DatabaseLibrary library{"libsqlite3.so.0", "libsqlite3-0"};
#define WS_FUNCTION(name) \
  decltype(&sqlite3_##name) name = library.find<decltype(&sqlite3_##name)>("sqlite3_" #name)
  WS_FUNCTION(bind_double);
  WS_FUNCTION(bind_int64);
  WS_FUNCTION(bind_null);
  WS_FUNCTION(bind_parameter_count);
  WS_FUNCTION(bind_text64);
  WS_FUNCTION(busy_timeout);
  WS_FUNCTION(clear_bindings);
  WS_FUNCTION(close);
  WS_FUNCTION(column_blob);
  WS_FUNCTION(column_bytes);
  WS_FUNCTION(column_count);
  WS_FUNCTION(column_double);
  WS_FUNCTION(column_int64);
  WS_FUNCTION(column_type);
  WS_FUNCTION(db_config);
  WS_FUNCTION(errcode);
  WS_FUNCTION(errmsg);
  WS_FUNCTION(errstr);
  WS_FUNCTION(exec);
  WS_FUNCTION(extended_errcode);
  WS_FUNCTION(extended_result_codes);
  WS_FUNCTION(finalize);
  WS_FUNCTION(get_autocommit);
  WS_FUNCTION(open_v2);
  WS_FUNCTION(prepare_v3);
  WS_FUNCTION(reset);
  WS_FUNCTION(step);
  WS_FUNCTION(system_errno);
#undef WS_FUNCTION
};

const Sqlite& sqlite() {
  static const Sqlite api;
  return api;
}

constexpr size_t kKeptStatements = 256;

// What to do about a failure, by its primary code.
std::string_view sqlite_advice(int code) {
  switch (code & 0xff) {
    case SQLITE_FULL:
      return "; make room on its disk";
    case SQLITE_READONLY:
      return "; make the file and its folder writable for this user";
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
      return "; stop what uses it and restore a backup";
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return "; another program writes to it: try again when it is done";
    case SQLITE_IOERR:
    case SQLITE_CANTOPEN:
      return "; look at its disk, its folder's permissions and the system's log";
    default:
      return "";
  }
}

Fault sqlite_fault(int code) {
  switch (code & 0xff) {
    case SQLITE_CONSTRAINT:
    case SQLITE_TOOBIG:
    case SQLITE_MISMATCH:
      return Fault::data;
    case SQLITE_ERROR:
    case SQLITE_MISUSE:
    case SQLITE_RANGE:
    case SQLITE_INTERNAL:
      return Fault::internal;
    default:
      return Fault::io;
  }
}

class SqliteDatabase final : public Database {
 public:
  explicit SqliteDatabase(const std::string& path) : Database(Kind::sqlite, path), path_(path) {}
  ~SqliteDatabase() override;
  void open();
  std::vector<std::string> check() override;
  void lock_exclusively(const std::string& who) override;
  void set_patience(double seconds) override {
    sqlite().busy_timeout(db_, static_cast<int>(seconds * 1000));
  }

 private:
  struct Statement {
    sqlite3_stmt* handle = nullptr;
    Statement() = default;
    Statement(Statement&& other) noexcept : handle(std::exchange(other.handle, nullptr)) {}
    ~Statement() { sqlite().finalize(handle); }
  };

  void do_run(std::string_view sql, Parameters parameters) override;
  void do_each(std::string_view sql, Parameters parameters,
               const std::function<void(DbRow&)>& row) override;
  void do_begin(bool only_reads) override { do_run(only_reads ? "BEGIN" : "BEGIN IMMEDIATE", {}); }
  void do_commit() override { do_run("COMMIT", {}); }
  void do_rollback() noexcept override;
  sqlite3_stmt* prepared(std::string_view sql);
  void bind(sqlite3_stmt* statement, std::string_view sql, Parameters parameters);
  void pragma(const char* text, std::string_view wanted);
  [[noreturn]] void fail(int code, std::string_view sql = {});

  std::string path_;
  sqlite3* db_ = nullptr;
  std::map<std::string, Statement, std::less<>> statements_;
  int lock_ = -1;
};

SqliteDatabase::~SqliteDatabase() {
  statements_.clear();
  sqlite().close(db_);
  if (lock_ >= 0) ::close(lock_);
}

void SqliteDatabase::fail(int code, std::string_view sql) {
  int error = sqlite().system_errno(db_);
  std::string reason = db_ ? sqlite().errmsg(db_) : sqlite().errstr(code);
  int primary = code & 0xff;
  bool system = (primary == SQLITE_IOERR || primary == SQLITE_CANTOPEN || primary == SQLITE_FULL) &&
                error != 0;
  std::string where =
      sqlite_fault(code) == Fault::internal && !sql.empty() ? str(": in ", sql) : "";
  throw Error(sqlite_fault(code), str("database ", path_, ": ", reason,
                                      system ? str(" (", std::strerror(error), ")") : "",
                                      " [SQLite ", code, "]", where, sqlite_advice(code)));
}

void SqliteDatabase::open() {
  std::string folder = parent_path(path_);
  if (!is_directory(folder.empty() ? "." : folder)) {
    throw Error(Fault::io, str("database ", path_, ": there is no folder ", folder));
  }
  // SQLite gives the files beside it (-wal, -shm) the mode of this one.
  int fd = ::open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
  if (fd >= 0) {
    ::close(fd);
  } else if (errno != EEXIST) {
    throw Error(Fault::io, str("cannot create the database ", path_, ": ", std::strerror(errno)));
  }
  // A plain name such as ":memory:" is a file, too.
  std::string file = path_[0] == '/' ? path_ : "./" + path_;
  int code =
      sqlite().open_v2(file.c_str(), &db_, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, nullptr);
  if (code != SQLITE_OK) fail(sqlite().extended_errcode(db_));
  ++connections_;
  sqlite().extended_result_codes(db_, 1);
  set_patience(5);
  sqlite().db_config(db_, SQLITE_DBCONFIG_DQS_DML, 0, nullptr);  // "x" is never a text
  sqlite().db_config(db_, SQLITE_DBCONFIG_DQS_DDL, 0, nullptr);
  sqlite().db_config(db_, SQLITE_DBCONFIG_DEFENSIVE, 1, nullptr);
  pragma("PRAGMA mmap_size=0", "0");  // a damaged disk gives an error then, not a signal
  pragma("PRAGMA cell_size_check=ON", "");
  pragma("PRAGMA foreign_keys=OFF", "");
  pragma("PRAGMA temp_store=MEMORY", "");
  pragma("PRAGMA cache_size=-16384", "");
  pragma("PRAGMA journal_mode=WAL", "wal");
  pragma("PRAGMA synchronous=FULL", "");
  // A checkpoint each 8 MB; a log that a long reader made grow shrinks again.
  pragma("PRAGMA wal_autocheckpoint=2000", "2000");
  pragma("PRAGMA journal_size_limit=67108864", "67108864");
}

void SqliteDatabase::pragma(const char* text, std::string_view wanted) {
  std::string got;
  do_each(text, {}, [&](DbRow& row) {
    got = row.size() && std::holds_alternative<std::string>(row.values[0]) ? row.text(0)
          : row.size()                                                     ? str(row.integer(0))
                                                                           : "";
  });
  if (!wanted.empty() && got != wanted) {
    throw Error(Fault::io, str("database ", path_, ": the file system does not allow '", text,
                               "' (it answers '", got, "'); put it on a local disk"));
  }
}

sqlite3_stmt* SqliteDatabase::prepared(std::string_view sql) {
  auto found = statements_.find(sql);
  if (found != statements_.end()) return found->second.handle;
  if (statements_.size() >= kKeptStatements) statements_.clear();
  Statement statement;
  const char* rest = nullptr;
  int code = sqlite().prepare_v3(db_, sql.data(), static_cast<int>(sql.size()),
                                 SQLITE_PREPARE_PERSISTENT, &statement.handle, &rest);
  if (code != SQLITE_OK) fail(code, sql);
  WS_CHECK(statement.handle, "SQL without a statement");
  WS_CHECK(trim(sql.substr(static_cast<size_t>(rest - sql.data()))).empty(),
           "more than one statement of SQL");
  return statements_.emplace(std::string(sql), std::move(statement)).first->second.handle;
}

void SqliteDatabase::bind(sqlite3_stmt* statement, std::string_view sql, Parameters parameters) {
  if (static_cast<size_t>(sqlite().bind_parameter_count(statement)) != parameters.size()) {
    check_failed(__FILE__, __LINE__, "parameters",
                 str(parameters.size(), " parameters given to: ", sql));
  }
  for (size_t i = 0; i < parameters.size(); ++i) {
    int at = static_cast<int>(i) + 1, code;
    if (auto* n = std::get_if<int64_t>(&parameters[i])) {
      code = sqlite().bind_int64(statement, at, *n);
    } else if (auto* d = std::get_if<double>(&parameters[i])) {
      code = sqlite().bind_double(statement, at, *d);
    } else if (auto* s = std::get_if<std::string>(&parameters[i])) {
      // Always as text, so that the same bytes are always equal. The statement is reset before the
      // parameters can go.
      code = sqlite().bind_text64(statement, at, s->data(), s->size(), SQLITE_STATIC, SQLITE_UTF8);
    } else {
      code = sqlite().bind_null(statement, at);
    }
    if (code != SQLITE_OK) fail(code, sql);
  }
}

void SqliteDatabase::do_run(std::string_view sql, Parameters parameters) {
  do_each(sql, parameters, [](DbRow&) {});
}

void SqliteDatabase::do_each(std::string_view sql, Parameters parameters,
                             const std::function<void(DbRow&)>& row) {
  struct Use {
    sqlite3_stmt* handle;
    ~Use() {
      sqlite().reset(handle);
      sqlite().clear_bindings(handle);
    }
  } use{prepared(sql)};
  bind(use.handle, sql, parameters);
  DbRow values;
  while (true) {
    int code = sqlite().step(use.handle);
    if (code == SQLITE_DONE) return;
    if (code != SQLITE_ROW) fail(code, sql);
    int columns = sqlite().column_count(use.handle);
    values.values.resize(static_cast<size_t>(columns));
    for (int i = 0; i < columns; ++i) {
      DbValue& value = values.values[static_cast<size_t>(i)];
      switch (sqlite().column_type(use.handle, i)) {
        case SQLITE_INTEGER:
          value = int64_t{sqlite().column_int64(use.handle, i)};
          break;
        case SQLITE_FLOAT:
          value = sqlite().column_double(use.handle, i);
          break;
        case SQLITE_NULL:
          value = nullptr;
          break;
        default: {
          // As blob: no conversion, whatever the bytes are.
          auto* bytes = static_cast<const char*>(sqlite().column_blob(use.handle, i));
          auto size = static_cast<size_t>(sqlite().column_bytes(use.handle, i));
          if (!bytes && sqlite().errcode(db_) == SQLITE_NOMEM) fail(SQLITE_NOMEM, sql);
          value = std::string(bytes ? bytes : "", bytes ? size : 0);
        }
      }
    }
    row(values);
  }
}

void SqliteDatabase::do_rollback() noexcept {
  // After a full disk SQLite has rolled back by itself. ROLLBACK needs no room and no memory.
  if (!sqlite().get_autocommit(db_)) sqlite().exec(db_, "ROLLBACK", nullptr, nullptr, nullptr);
}

std::vector<std::string> SqliteDatabase::check() {
  std::vector<std::string> out;
  try {
    for (DbRow& row : query("PRAGMA integrity_check")) {
      for (const std::string& line : split(row.text(0), '\n')) {
        if (line != "ok" && !line.empty()) out.push_back(line);
      }
    }
  } catch (const Error& e) {
    out.push_back(e.what());
  }
  return out;
}

void SqliteDatabase::lock_exclusively(const std::string& who) {
  if (lock_ >= 0) return;
  std::string file = path_ + ".lock";
  int fd = ::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
  if (fd < 0) throw Error(Fault::io, str("cannot open ", file, ": ", std::strerror(errno)));
  int result;
  do result = ::flock(fd, LOCK_EX | LOCK_NB);
  while (result != 0 && errno == EINTR);
  if (result != 0) {
    int error = errno;
    ::close(fd);
    if (error != EWOULDBLOCK) {
      throw Error(Fault::io, str("cannot lock ", file, ": ", std::strerror(error)));
    }
    std::string holder(trim(read_file(file)));
    throw Error(Fault::try_again,
                str("database ", path_, " is in use by ",
                    holder.empty() ? "another program" : holder, "; stop that one first"));
  }
  std::string text = str(who, " (process ", ::getpid(), ")\n");
  if (::ftruncate(fd, 0) != 0 || ::pwrite(fd, text.data(), text.size(), 0) < 0) {
    // The lock holds without the text, which is for people only.
  }
  lock_ = fd;
}

}  // namespace

std::unique_ptr<Database> open_sqlite(const std::string& path) {
  auto database = std::make_unique<SqliteDatabase>(path);
  database->open();
  return database;
}

}  // namespace wellspring
