// PostgreSQL. The connection is always in pipeline mode: inside a transaction statements are sent
// without waiting for their answers, up to kMostQueued of them, so that a transaction of writes
// costs one round trip.
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <map>

#include "base/database_libpq.h"
#include "base/error.h"
#include "base/text.h"
#include "base/time.h"

namespace wellspring {
namespace pq {

const Library& library() {
  static const Library api;
  return api;
}

}  // namespace pq

namespace {

constexpr size_t kMostQueued = 256;
constexpr size_t kMostPrepared = 256;
constexpr int64_t kLockKey = 0x57454c4c;  // of pg_try_advisory_lock

struct ClearResult {
  void operator()(pq::Result* result) const { pq::library().clear(result); }
};
using PqResult = std::unique_ptr<pq::Result, ClearResult>;

// `?` outside quotes and comments becomes $1, $2...
std::string numbered_parameters(std::string_view sql) {
  std::string out;
  int count = 0;
  for (size_t i = 0; i < sql.size(); ++i) {
    size_t end = i + 1;  // of a part that is copied as it stands
    std::string_view rest = sql.substr(i);
    if (sql[i] == '\'' || sql[i] == '"') {
      end = sql.find(sql[i], i + 1);
      end = end == std::string_view::npos ? sql.size() : end + 1;  // '' is two parts
    } else if (starts_with(rest, "--")) {
      end = std::min(sql.find('\n', i), sql.size());
    } else if (starts_with(rest, "/*")) {
      end = sql.find("*/", i + 2);
      end = end == std::string_view::npos ? sql.size() : end + 2;
    } else if (sql[i] == '?') {
      out += str("$", ++count);
      continue;
    }
    out += sql.substr(i, end - i);
    i = end - 1;
  }
  return out;
}

// A statement that changes tables: plans kept before it are worth nothing after it.
bool defines(std::string_view sql) {
  sql = trim(sql);
  std::string word = to_lower(sql.substr(0, sql.find_first_of(" \n\t")));
  return word == "create" || word == "alter" || word == "drop";
}

Fault postgres_fault(std::string_view state) {
  std::string_view group = state.substr(0, 2);
  if (group == "22" || group == "23") return Fault::data;
  if (group == "40") return Fault::try_again;
  if (group == "28" || state == "42501" || group == "3D") return Fault::config;
  if (group == "42" || group == "26" || group == "07" || group == "08") return Fault::internal;
  return Fault::io;
}

std::string_view postgres_advice(std::string_view state) {
  std::string_view group = state.substr(0, 2);
  if (state == "53100") return "; make room on the server's disk";
  if (state == "53300") return "; raise max_connections or close other connections";
  if (group == "53") return "; the server is short of resources: look at its log";
  if (group == "58") return "; look at the server's disk and log";
  if (group == "XX") return "; look at the server's log, and restore a backup if data are damaged";
  if (state == "25006") return "; connect to the primary server";
  if (state == "42501") return "; give this user the right to do that";
  if (group == "57") return "; the server stops or restarts: try again when it is back";
  return "";
}

int hex_digit(char c) { return c <= '9' ? c - '0' : (c | 32) - 'a' + 10; }

DbValue postgres_value(pq::Oid type, std::string_view text) {
  switch (type) {
    case pq::kBool:
      return int64_t{text == "t"};
    case pq::kInt2:
    case pq::kInt4:
    case pq::kInt8:
    case pq::kOid:
    case pq::kNumeric:
      if (auto integer = parse_int(text)) return *integer;
      [[fallthrough]];
    case pq::kFloat4:
    case pq::kFloat8:
      return std::strtod(std::string(text).c_str(), nullptr);
    case pq::kBytea: {  // \x and two digits for each byte
      std::string bytes(text.size() / 2 - 1, '\0');
      for (size_t i = 0; i < bytes.size(); ++i) {
        bytes[i] = static_cast<char>(hex_digit(text[2 * i + 2]) * 16 + hex_digit(text[2 * i + 3]));
      }
      return bytes;
    }
    default:
      return std::string(text);
  }
}

class PostgresDatabase final : public Database {
 public:
  explicit PostgresDatabase(const std::string& url)
      : Database(Kind::postgres, shown(url)), pq_(pq::library()), url_(url) {}
  ~PostgresDatabase() override { drop(); }
  void connect();
  std::vector<std::string> check() override { return {}; }
  void lock_exclusively(const std::string& who) override;
  void set_patience(double seconds) override { patience_ = seconds; }

 private:
  struct Statement {
    std::string id;
    std::vector<pq::Oid> types;  // of the parameters
  };
  using Statements = std::map<std::string, Statement, std::less<>>;
  using Row = std::function<void(DbRow&)>;

  void do_run(std::string_view sql, Parameters parameters) override;
  void do_each(std::string_view sql, Parameters parameters, const Row& row) override;
  void do_begin(bool only_reads) override;
  void do_commit() override;
  void do_rollback() noexcept override;

  void be_connected();
  void drop();
  void start_session();
  void take_lock(bool again);
  Statements::value_type& prepared(std::string_view sql);
  void queue(std::string_view sql, Parameters parameters);
  void define(std::string_view sql);
  PqResult finish(const Row* row = nullptr);
  PqResult answer();
  void wait_for(short events);
  void must(int sent);
  [[noreturn]] void lost(const std::string& reason);
  [[noreturn]] void fail(const pq::Result* result, std::string_view sql);

  const pq::Library& pq_;
  std::string url_;
  pq::Connection* connection_ = nullptr;
  Statements statements_;
  int64_t ids_ = 0;
  std::vector<std::string> queued_;  // the statements whose answers have not been read
  bool begun_ = false;
  double patience_ = 120;  // without an answer for so long the server counts as lost
  std::string locked_by_;  // application_name of our lock; empty: none
  int locked_pid_ = 0;     // the server's process for the connection that held it
};

void PostgresDatabase::drop() {
  if (connection_) pq_.finish(connection_);
  connection_ = nullptr;
  statements_.clear();
  queued_.clear();
}

void PostgresDatabase::lost(const std::string& reason) {
  drop();
  throw Error(Fault::io, str("database ", name(), ": the connection is lost: ", trim(reason)));
}

void PostgresDatabase::must(int sent) {
  if (!sent) lost(pq_.errorMessage(connection_));
}

void PostgresDatabase::fail(const pq::Result* result, std::string_view sql) {
  auto field = [&](int code) {
    const char* text = pq_.resultErrorField(result, code);
    return std::string(text ? text : "");
  };
  std::string state = field(pq::kSqlState), message = field(pq::kPrimaryMessage);
  if (state.empty()) lost(pq_.resultErrorMessage(result));
  if (std::string detail = field(pq::kDetail); !detail.empty()) message += str(" (", detail, ")");
  if (state == "0A000") statements_.clear();  // a kept plan no longer fits: prepare again
  Fault fault = postgres_fault(state);
  throw Error(fault,
              str("database ", name(), ": ", message, " [PostgreSQL ", state, "]",
                  fault == Fault::internal ? str(": in ", sql) : "", postgres_advice(state)));
}

void PostgresDatabase::connect() {
  drop();
  // What the URL says itself comes later and wins, except for the encoding.
  const char* keys[] = {"fallback_application_name",
                        "connect_timeout",
                        "keepalives_idle",
                        "keepalives_interval",
                        "keepalives_count",
                        "tcp_user_timeout",
                        "dbname",
                        "client_encoding",
                        nullptr};
  const char* values[] = {"wellspring", "10",         "10",   "5",    "4",
                          "30000",      url_.c_str(), "UTF8", nullptr};
  connection_ = pq_.connectdbParams(keys, values, 1);
  if (!connection_) throw std::bad_alloc();
  if (pq_.status(connection_) != pq::kConnectionOk) {
    std::string reason(trim(pq_.errorMessage(connection_)));
    for (size_t at; (at = reason.find(url_)) != std::string::npos && name() != url_;) {
      reason.replace(at, url_.size(), name());
    }
    bool config = pq_.connectionNeedsPassword(connection_);
    drop();
    // libpq gives no code here. These words are the server's, or its own about the URL.
    for (const char* words :
         {"authentication failed", "does not exist\n", "no pg_hba.conf entry",
          "no password supplied", "is not permitted to log in", "in URI", "URI query parameter",
          "invalid port", "invalid integer value", "invalid sslmode"}) {
      config = config || (reason + "\n").find(words) != std::string::npos;
    }
    throw Error(config ? Fault::config : Fault::io,
                str("cannot connect to the database ", name(), ": ", reason,
                    config ? "; correct the URL or the server's users and rights"
                           : "; see whether the server runs and can be reached"));
  }
  pq_.setNoticeProcessor(
      connection_, [](void*, const char*) {}, nullptr);
  if (pq_.setnonblocking(connection_, 1) != 0 || !pq_.enterPipelineMode(connection_)) {
    lost(pq_.errorMessage(connection_));
  }
  ++connections_;
  try {
    start_session();
    if (!locked_by_.empty()) take_lock(true);
  } catch (...) {
    drop();
    throw;
  }
}

// A commit is on disk when it returns, whatever the server's default; a client that has vanished
// from the network is noticed (its lock, too) within half a minute.
void PostgresDatabase::start_session() {
  do_each(
      "SELECT CASE WHEN current_setting('synchronous_commit') IN ('off', 'local') THEN "
      "set_config('synchronous_commit', 'on', false) END, set_config('tcp_keepalives_idle', '10', "
      "false), set_config('tcp_keepalives_interval', '5', false), "
      "set_config('tcp_keepalives_count', '4', false)",
      {}, [](DbRow&) {});
}

// Before anything that begins: connects again when the server has gone away.
void PostgresDatabase::be_connected() {
  for (int i = 0; connection_ && i < 16; ++i) {
    pollfd ready{pq_.socket(connection_), POLLIN, 0};
    if (::poll(&ready, 1, 0) <= 0) break;  // nothing came: alive as far as we know
    if (!pq_.consumeInput(connection_) || pq_.status(connection_) != pq::kConnectionOk) drop();
  }
  if (!connection_) connect();
}

void PostgresDatabase::wait_for(short events) {
  Stopwatch watch;
  while (true) {
    double left = patience_ - watch.seconds();
    if (left <= 0) lost(str("no answer for ", patience_, " s"));
    pollfd ready{pq_.socket(connection_), events, 0};
    int n = ::poll(&ready, 1, static_cast<int>(left * 1000) + 1);
    if (n < 0 && errno != EINTR) lost(std::strerror(errno));
    if (n <= 0) continue;
    if (ready.revents & (POLLIN | POLLHUP | POLLERR)) {
      // A failure shows in the status; what the server said before it is still to be read.
      pq_.consumeInput(connection_);
    }
    return;
  }
}

// The next answer; null ends those of one statement.
PqResult PostgresDatabase::answer() {
  while (pq_.isBusy(connection_)) {
    wait_for(POLLIN);
    if (pq_.status(connection_) != pq::kConnectionOk) break;
  }
  return PqResult(pq_.getResult(connection_));
}

// Reads the answers to all that is queued. Throws the first error, with the connection in order for
// the next statement. Returns the last statement's last result; gives its rows to `row`.
PqResult PostgresDatabase::finish(const Row* row) {
  must(pq_.pipelineSync(connection_));
  for (int state; (state = pq_.flush(connection_)) != 0;) {
    // A server that closed has perhaps said why: read on.
    if (state < 0) break;
    wait_for(POLLIN | POLLOUT);
  }
  PqResult last, error;
  size_t failed = 0;
  std::exception_ptr thrown;
  DbRow values;
  for (size_t i = 0; i < queued_.size(); ++i) {
    bool is_last = i + 1 == queued_.size();
    if (is_last && row) pq_.setSingleRowMode(connection_);
    while (PqResult result = answer()) {
      int status = pq_.resultStatus(result.get());
      if (status == pq::kFatalError || status == pq::kBadResponse) {
        if (!error) error = std::move(result), failed = i;
        if (pq_.status(connection_) != pq::kConnectionOk) break;
        continue;
      }
      if (row && is_last && !thrown && (status == pq::kSingleTuple || status == pq::kTuplesOk)) {
        try {
          int columns = pq_.nfields(result.get());
          for (int r = 0; r < pq_.ntuples(result.get()); ++r) {
            values.values.resize(static_cast<size_t>(columns));
            for (int c = 0; c < columns; ++c) {
              DbValue& value = values.values[static_cast<size_t>(c)];
              if (pq_.getisnull(result.get(), r, c)) {
                value = nullptr;
              } else {
                value = postgres_value(pq_.ftype(result.get(), c),
                                       {pq_.getvalue(result.get(), r, c),
                                        static_cast<size_t>(pq_.getlength(result.get(), r, c))});
              }
            }
            (*row)(values);
          }
        } catch (...) {
          thrown = std::current_exception();  // the rest is read, and dropped
        }
      }
      if (is_last) last = std::move(result);
    }
    if (pq_.status(connection_) != pq::kConnectionOk) {
      std::string reason =
          error ? pq_.resultErrorMessage(error.get()) : pq_.errorMessage(connection_);
      error.reset();
      last.reset();
      lost(reason);
    }
  }
  PqResult sync = answer();
  if (!sync || pq_.resultStatus(sync.get()) != pq::kPipelineSync) {
    lost(str("an answer out of order ", pq_.errorMessage(connection_)));
  }
  std::vector<std::string> queued = std::exchange(queued_, {});
  if (error) fail(error.get(), queued[failed]);
  if (thrown) std::rethrow_exception(thrown);
  return last;
}

PostgresDatabase::Statements::value_type& PostgresDatabase::prepared(std::string_view sql) {
  auto found = statements_.find(sql);
  if (found != statements_.end()) return *found;
  if (!queued_.empty()) finish();
  if (statements_.size() >= kMostPrepared) {
    statements_.clear();
    must(pq_.sendQueryParams(connection_, "DEALLOCATE ALL", 0, nullptr, nullptr, nullptr, nullptr,
                             0));
    queued_.emplace_back("DEALLOCATE ALL");
  }
  Statement statement{str("ws", ++ids_), {}};
  must(pq_.sendPrepare(connection_, statement.id.c_str(), numbered_parameters(sql).c_str(), 0,
                       nullptr));
  queued_.emplace_back(sql);
  must(pq_.sendDescribePrepared(connection_, statement.id.c_str()));
  queued_.emplace_back(sql);
  PqResult described = finish();
  for (int i = 0; i < pq_.nparams(described.get()); ++i) {
    statement.types.push_back(pq_.paramtype(described.get(), i));
  }
  return *statements_.emplace(std::string(sql), std::move(statement)).first;
}

void PostgresDatabase::queue(std::string_view sql, Parameters parameters) {
  auto& [text, statement] = prepared(sql);
  if (statement.types.size() != parameters.size()) {
    check_failed(__FILE__, __LINE__, "parameters",
                 str(parameters.size(), " parameters given to: ", sql));
  }
  size_t count = parameters.size();
  std::vector<std::string> texts(count);  // what is not text yet
  std::vector<const char*> values(count);
  std::vector<int> lengths(count), formats(count);
  for (size_t i = 0; i < count; ++i) {
    pq::Oid type = statement.types[i];
    if (auto* bytes = std::get_if<std::string>(&parameters[i])) {
      values[i] = bytes->c_str();
      lengths[i] = static_cast<int>(bytes->size());
      // In the binary format the bytes of these types are sent as they are.
      formats[i] = type == pq::kBytea || type == pq::kText || type == pq::kVarchar;
      if (!formats[i] && bytes->find('\0') != std::string::npos) {
        throw Error(Fault::data, str("database ", name(), ": a zero byte in parameter ", i + 1,
                                     " which is no bytes: in ", sql));
      }
      continue;
    }
    if (std::holds_alternative<std::nullptr_t>(parameters[i])) continue;  // values[i] is null
    WS_CHECK(type != pq::kBytea, "a number given for bytes");
    auto* integer = std::get_if<int64_t>(&parameters[i]);
    texts[i] = integer ? str(*integer) : str(std::get<double>(parameters[i]));
    values[i] = texts[i].c_str();
  }
  must(pq_.sendQueryPrepared(connection_, statement.id.c_str(), static_cast<int>(count),
                             values.data(), lengths.data(), formats.data(), 0));
  queued_.push_back(text);
}

void PostgresDatabase::define(std::string_view sql) {
  std::string text(sql);
  must(pq_.sendQueryParams(connection_, text.c_str(), 0, nullptr, nullptr, nullptr, nullptr, 0));
  queued_.push_back(text);
  statements_.clear();
  must(
      pq_.sendQueryParams(connection_, "DEALLOCATE ALL", 0, nullptr, nullptr, nullptr, nullptr, 0));
  queued_.emplace_back("DEALLOCATE ALL");
}

void PostgresDatabase::do_run(std::string_view sql, Parameters parameters) {
  if (!begun_) be_connected();
  if (parameters.empty() && defines(sql)) {
    define(sql);
  } else {
    queue(sql, parameters);
  }
  if (!begun_ || queued_.size() >= kMostQueued) finish();
}

void PostgresDatabase::do_each(std::string_view sql, Parameters parameters, const Row& row) {
  if (!begun_) be_connected();
  queue(sql, parameters);
  finish(&row);
}

void PostgresDatabase::do_begin(bool only_reads) {
  be_connected();
  queue(only_reads ? "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY" : "BEGIN", {});
  begun_ = true;
}

void PostgresDatabase::do_commit() {
  queue("COMMIT", {});
  PqResult result = finish();
  // The server answers COMMIT of a failed transaction with ROLLBACK, and no error.
  WS_CHECK(std::strcmp(pq_.cmdStatus(result.get()), "COMMIT") == 0,
           "a commit of a failed transaction");
  begun_ = false;
}

void PostgresDatabase::do_rollback() noexcept {
  begun_ = false;
  try {
    if (!connection_) return;
    try {
      if (!queued_.empty()) finish();
    } catch (const Error&) {
      // What failed is rolled back.
    }
    if (!connection_) return;
    queue("ROLLBACK", {});
    finish();
  } catch (...) {
    drop();  // the server rolls back what is left
  }
}

void PostgresDatabase::take_lock(bool again) {
  constexpr std::string_view kHolder =
      "SELECT a.pid, a.application_name, host(a.client_addr) FROM pg_locks l JOIN pg_stat_activity "
      "a "
      "ON a.pid = l.pid WHERE l.locktype = 'advisory' AND l.granted AND l.database = (SELECT oid "
      "FROM "
      "pg_database WHERE datname = current_database()) AND l.classid = 0 AND l.objid = ? AND "
      "l.objsubid = 1";
  auto one = [&](std::string_view sql, std::vector<DbValue> parameters) {
    DbRow out;
    do_each(sql, parameters, [&](DbRow& row) { out = std::move(row); });
    return out;
  };
  one("SELECT set_config('application_name', ?, false)", {locked_by_});
  for (int attempt = 0;; ++attempt) {
    if (one("SELECT pg_try_advisory_lock(?)", {kLockKey}).integer(0)) break;
    DbRow holder = one(kHolder, {kLockKey});
    if (!holder.size() && attempt < 3) continue;  // just released
    // Our own lost connection may linger on the server, which has not noticed.
    if (again && attempt < 100 && holder.size() && holder.integer(0) == locked_pid_ &&
        !holder.is_null(1) && holder.text(1) == locked_by_) {
      one("SELECT pg_terminate_backend(?), pg_sleep(0.05)", {holder.integer(0)});
      continue;
    }
    std::string by = "another program";
    if (holder.size() && !holder.is_null(1) && !holder.text(1).empty()) by = holder.text(1);
    if (holder.size() && !holder.is_null(2)) by += str(" on ", holder.text(2));
    if (holder.size()) by += str(", process ", holder.integer(0), " of the server");
    throw Error(Fault::try_again,
                str("database ", name(), " is in use by ", by, "; stop that one first"));
  }
  locked_pid_ = pq_.backendPID(connection_);
}

void PostgresDatabase::lock_exclusively(const std::string& who) {
  if (!locked_by_.empty()) return;
  be_connected();
  // The server keeps 63 bytes of printable ASCII.
  std::string process = str(" (process ", ::getpid(), ")");
  std::string by = who.substr(0, 63 - process.size()) + process;
  for (char& c : by) {
    if (c < ' ' || c > '~') c = '?';
  }
  locked_by_ = by;
  try {
    take_lock(false);
  } catch (...) {
    locked_by_.clear();
    throw;
  }
}

}  // namespace

std::unique_ptr<Database> open_postgres(const std::string& url) {
  auto database = std::make_unique<PostgresDatabase>(url);
  database->connect();
  return database;
}

}  // namespace wellspring
