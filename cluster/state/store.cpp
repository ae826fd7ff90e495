#include "cluster/state/store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fault_point.h"
#include "base/file.h"
#include "base/text.h"
#include "base/time.h"
#include "cluster/state/fields.h"

namespace wellspring::cluster {
namespace {

constexpr int kStateVersion = 1;

const std::vector<std::string>& table_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> out;
    State state;
    state.each_table([&](const char* name, auto&) { out.push_back(name); });
    return out;
  }();
  return names;
}

uint64_t checksum(std::string_view table, std::string_view key, std::string_view document) {
  // FNV-1a of 64 bits: each step is a bijection, so one changed byte always changes it.
  uint64_t h = 14695981039346656037u;
  const auto add = [&](std::string_view s) {
    for (const char c : s) h = (h ^ static_cast<unsigned char>(c)) * 1099511628211u;
    h = (h ^ 0xff) * 1099511628211u;  // no byte of UTF-8
  };
  add(table), add(key), add(document);
  return h;
}

std::string key_text(const std::string& key) { return key; }
std::string key_text(int64_t key) { return std::to_string(key); }
void key_from(const std::string& text, std::string* key) { *key = text; }
void key_from(const std::string& text, int64_t* key) {
  const auto n = parse_int(text);
  if (!n) throw Error(Fault::data, str("'", text, "' is no number"));
  *key = *n;
}

// An element of an array that nothing has happened to: made again from its array at load.
template <class Row>
bool is_fresh(const Row&) {
  return false;
}
bool is_fresh(const Job& job) {
  return job.array && job.state == JobState::queued && !job.attempts && !job.held;
}

std::string document_of(const Job& job) {
  if (!job.array) return to_text(entity_json(job));
  Job element = job;
  element.spec = nullptr;
  return to_text(entity_json(element));
}
template <class Row>
std::string document_of(const Row& row) {
  return to_text(entity_json(row));
}

void make_tables(Database& db) {
  db.transaction([&] {
    db.run("CREATE TABLE IF NOT EXISTS wellspring_state (version BIGINT NOT NULL)");
    db.run(
        "CREATE TABLE IF NOT EXISTS wellspring_totals (name TEXT PRIMARY KEY, rows BIGINT NOT NULL, "
        "sum BIGINT NOT NULL)");
    for (const std::string& name : table_names())
      db.run(str("CREATE TABLE IF NOT EXISTS ws_", name,
                 " (id TEXT PRIMARY KEY, doc TEXT NOT NULL, sum BIGINT NOT NULL)"));
    const auto found = db.query("SELECT version FROM wellspring_state");
    if (found.empty()) db.run("INSERT INTO wellspring_state VALUES (?)", {int64_t{kStateVersion}});
    const int64_t version = found.empty() ? kStateVersion : found[0].integer(0);
    if (version > kStateVersion)
      throw Error(Fault::config,
                  str("the state in ", db.name(), " has version ", version,
                      ", this program knows up to ", kStateVersion,
                      ": start the newer program, or restore a backup that this one wrote"));
  });
}

[[noreturn]] void damaged(const std::string& where, const std::string& table,
                          const std::string& what) {
  throw Error(Fault::data,
              str("the state in ", where, " is damaged: table ", table, ": ", what,
                  ". Nothing was changed. Put the newest backup in its place (the damaged one is kept ",
                  "beside it): wellspring cluster restore BACKUP --replace"));
}

// Every row of a database, checked.
template <class F>
void each_row(Database& db, const std::string& table, F&& f) {
  int64_t rows = 0, expected = 0;
  uint64_t sum = 0, expected_sum = 0;
  try {
    db.each(str("SELECT id, doc, sum FROM ws_", table), {}, [&](DbRow& row) {
      const uint64_t own = checksum(table, row.text(0), row.text(1));
      if (own != static_cast<uint64_t>(row.integer(2)))
        damaged(db.name(), table, str("row '", cut_to_width(utf8_repair(row.text(0)), 40),
                                      "' does not match its checksum"));
      ++rows, sum += own;
      f(row.text(0), row.text(1), own);
    });
    const auto totals = db.query("SELECT rows, sum FROM wellspring_totals WHERE name = ?", {table});
    if (!totals.empty())
      expected = totals[0].integer(0), expected_sum = static_cast<uint64_t>(totals[0].integer(1));
  } catch (const Error& e) {
    if (std::string_view(e.what()).find("is damaged: table") != std::string_view::npos) throw;
    damaged(db.name(), table, e.what());
  }
  if (rows != expected)
    damaged(db.name(), table, str("it has ", rows, " rows, ", expected, " were written"));
  if (sum != expected_sum) damaged(db.name(), table, "the sum of its checksums is another one");
}

// What is wrong with the structure, said of the table that cannot be read whole.
[[noreturn]] void damaged_structure(Database& db, const std::string& wrong) {
  for (const std::string& table : table_names()) each_row(db, table, [](auto&, auto&, uint64_t) {});
  for (const std::string& table : table_names())
    if (wrong.find("ws_" + table) != std::string::npos) damaged(db.name(), table, wrong);
  damaged(db.name(), "(structure)", wrong);
}

// More than are given out between two backups: no number is used twice, nor the run folder of its job.
constexpr int64_t kSkippedNumbers = 10'000'000;

// The number of the last batch, so that after a lost connection one can see what is on disk.
constexpr const char* kBatch = "(batch)";

constexpr std::string_view kUpsert =
    " (id, doc, sum) VALUES (?, ?, ?) ON CONFLICT (id) DO UPDATE SET doc = excluded.doc, sum = "
    "excluded.sum";

void put_totals(Database& db, const std::string& table, int64_t rows, uint64_t sum) {
  db.run(
      "INSERT INTO wellspring_totals (name, rows, sum) VALUES (?, ?, ?) ON CONFLICT (name) DO "
      "UPDATE SET rows = excluded.rows, sum = excluded.sum",
      {table, rows, static_cast<int64_t>(sum)});
}

}  // namespace

Store::Store(const std::string& url) : url_(url), database_(Database::open(url)) {
  database_->lock_exclusively("wellspring cluster up");
  if (const auto wrong = database_->check(); !wrong.empty()) damaged_structure(*database_, wrong[0]);
  make_tables(*database_);
}

int64_t Store::batch_on_disk() {
  const auto rows = database_->query("SELECT rows FROM wellspring_totals WHERE name = ?", {kBatch});
  return rows.empty() ? 0 : rows[0].integer(0);
}

void Store::load(State& state) {
  Database& db = *database_;
  totals_.clear();
  batch_ = batch_on_disk();
  connections_ = db.connections();
  state.each_table([&](const char* name, auto& table) {
    Totals& totals = totals_[name];
    each_row(db, name, [&](const std::string& id, const std::string& doc, uint64_t sum) {
      using Rows = std::decay_t<decltype(table.rows())>;
      typename Rows::key_type key;
      key_from(id, &key);
      table.load(std::move(key), entity_from_json<typename Rows::mapped_type>(
                                     parse_json(doc, str("table ", name))));
      ++totals.rows, totals.sum += sum;
      totals.sums[id] = sum;
    });
  });
  // Elements share their array's spec.
  std::vector<std::pair<JobId, std::shared_ptr<const JobSpec>>> shared;
  for (const auto& [id, job] : state.jobs.rows()) {
    if (!job.array) continue;
    const Job* array = state.jobs.find(job.array);
    if (!array || !array->spec) damaged(db.name(), "jobs", str("job ", id, " has no array"));
    shared.emplace_back(id, array->spec);
  }
  for (auto& [id, spec] : shared) {
    Job job = state.jobs.at(id);
    job.spec = std::move(spec);
    state.jobs.load(id, std::move(job));
  }
  for (const auto& [id, job] : state.jobs.rows())
    if (!job.spec) damaged(db.name(), "jobs", str("job ", id, " has no description"));
}

void Store::put(const char* table, const std::string& key, const std::string& document) {
  const uint64_t sum = checksum(table, key, document);
  Totals& totals = totals_[table];
  const auto [it, fresh] = totals.sums.try_emplace(key, 0);
  totals.rows += fresh;
  totals.sum += sum - it->second;
  it->second = sum;
  totals.changed = true;
  database_->run(str("INSERT INTO ws_", table, kUpsert), {key, document, static_cast<int64_t>(sum)});
}

void Store::remove(const char* table, const std::string& key) {
  Totals& totals = totals_[table];
  const auto it = totals.sums.find(key);
  if (it == totals.sums.end()) return;  // a fresh element
  totals.sum -= it->second, --totals.rows;
  totals.sums.erase(it);
  totals.changed = true;
  database_->run(str("DELETE FROM ws_", table, " WHERE id = ?"), {key});
}

void Store::remember(State& state) {
  undo_ = {};
  state.each_table([&](const char* name, auto& table) {
    table.each_changed([&](const auto& key, const auto*) {
      std::string text = key_text(key);
      Totals& totals = totals_[name];
      undo_.totals.try_emplace(name, totals.rows, totals.sum);
      const auto it = totals.sums.find(text);
      undo_.rows.push_back({name, std::move(text), it == totals.sums.end() ? 0 : it->second,
                            it != totals.sums.end()});
    });
  });
}

void Store::take_back() {
  for (const Before& b : undo_.rows) {
    if (b.there)
      totals_[b.table].sums[b.key] = b.sum;
    else
      totals_[b.table].sums.erase(b.key);
  }
  for (const auto& [name, was] : undo_.totals) {
    totals_[name].rows = was.first, totals_[name].sum = was.second;
    totals_[name].changed = false;
  }
  undo_ = {};
}

bool Store::write(State& state) {
  fault_point("store.begin");
  remember(state);
  if (undo_.rows.empty()) return false;
  Database& db = *database_;
  try {
    db.begin();
    if (db.connections() != connections_) {
      if (batch_on_disk() != batch_)
        throw Error(Fault::config, str("another controller has written to ", db.name(),
                                       " while its server was away: stop this one"));
      connections_ = db.connections();
    }
    state.each_table([&](const char* name, auto& table) {
      table.each_changed([&](const auto& key, const auto* row) {
        const std::string text = key_text(key);
        if (!row) return remove(name, text);
        if (is_fresh(*row) && !totals_[name].sums.contains(text)) return;
        put(name, text, document_of(*row));
      });
    });
    for (auto& [name, totals] : totals_) {
      if (totals.changed) put_totals(db, name, totals.rows, totals.sum);
      totals.changed = false;
    }
    put_totals(db, kBatch, batch_ + 1, 0);
    fault_point("store.commit");
  } catch (...) {
    db.rollback();
    take_back();
    throw;
  }
  try {
    db.commit();
  } catch (const Error& e) {
    if (db.kind() == Database::Kind::postgres && e.fault() == Fault::io) throw OutcomeUnknown(e.what());
    take_back();
    throw;
  }
  ++batch_;
  fault_point("store.committed");
  return true;
}

bool Store::settle() {
  const int64_t there = batch_on_disk();
  if (there != batch_ && there != batch_ + 1)
    throw Error(Fault::config, str("another controller has written to ", database_->name(),
                                   " while its server was away: stop this one"));
  connections_ = database_->connections();
  if (there == batch_) {
    take_back();
    return false;
  }
  ++batch_;
  return true;
}

int64_t Store::backup(const std::string& url, const std::string& path) {
  const auto db = Database::open(url);
  AtomicWriter out(path);
  const auto line = [&](const Json& json) {
    const std::string text = to_text(json) + "\n";
    out.write(text.data(), text.size());
  };
  int64_t rows = 0;
  uint64_t sum = 0;
  line({{"wellspring_backup", kStateVersion}, {"at", utc_now()}});
  db->snapshot([&] {
    for (const std::string& table : table_names())
      each_row(*db, table, [&](const std::string& id, const std::string& doc, uint64_t own) {
        line(Json::array({table, id, doc}));
        ++rows, sum += own;
      });
  });
  line({{"rows", rows}, {"sum", sum}});
  out.commit();
  if (verify(path) != rows) throw Error(Fault::io, str(path, ": what was written does not read back"));
  return rows;
}

namespace {

template <class F>
int64_t each_of_backup(const std::string& path, F&& f) {
  const MappedFile file(path);
  const auto wrong = [&](int64_t line, const std::string& what) -> Error {
    return Error(Fault::data, str(path, ":", line, ": ", what, ": this is no whole backup"));
  };
  std::string_view rest = file.view();
  int64_t number = 0, rows = 0;
  uint64_t sum = 0;
  bool ended = false;
  while (!rest.empty()) {
    const size_t end = rest.find('\n');
    ++number;
    if (end == rest.npos) throw wrong(number, "the last line is cut");
    if (ended) throw wrong(number, "something follows the last line");
    const Json json = parse_json(rest.substr(0, end), str(path, ":", number));
    rest.remove_prefix(end + 1);
    if (number == 1) {
      if (!json.is_object() || !json.contains("wellspring_backup"))
        throw wrong(number, "the first line is not that of a backup");
      if (json["wellspring_backup"].get<int>() > kStateVersion)
        throw wrong(number, "a newer program wrote it");
    } else if (json.is_array() && json.size() == 3 && json[0].is_string() && json[1].is_string() &&
               json[2].is_string()) {
      const std::string table = json[0], id = json[1], doc = json[2];
      if (std::ranges::find(table_names(), table) == table_names().end())
        throw wrong(number, str("unknown table '", table, "'"));
      ++rows, sum += checksum(table, id, doc);
      f(table, id, doc);
    } else if (json.is_object() && json.contains("rows") && json.contains("sum")) {
      if (json["rows"] != rows || json["sum"] != sum) throw wrong(number, "rows are missing or changed");
      ended = true;
    } else {
      throw wrong(number, "not a row");
    }
  }
  if (!ended) throw wrong(number, "the last line is missing");
  return rows;
}

}  // namespace

namespace {

// A controller holds the lock beside the file; the file itself may be beyond opening.
void check_unused(const std::string& file) {
  const int fd = ::open((file + ".lock").c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return;
  const bool used = ::flock(fd, LOCK_EX | LOCK_NB) != 0;
  ::close(fd);
  if (used)
    throw Error(Fault::try_again, str("the state in ", file, " is in use by ", trim(read_file(file + ".lock")),
                                      "; stop that one first"));
}

}  // namespace

int64_t Store::verify(const std::string& path) {
  return each_of_backup(path, [](const auto&, const auto&, const auto&) {});
}

int64_t Store::restore(const std::string& url, const std::string& path, bool replace) {
  verify(path);
  const bool server = url.find("://") != std::string::npos;
  const std::string file = starts_with(url, "sqlite:") ? url.substr(7) : url;
  if (replace && !server && exists(file)) {
    check_unused(file);
    const std::string kept = str(file, ".replaced-", format_utc(unix_seconds(), true));
    for (const char* part : {"-wal", "-shm", ""})
      if (exists(file + part)) rename_synced(file + part, kept + part);
  }
  if (!server && !exists(file))
    for (const char* part : {"-wal", "-shm"})
      if (exists(file + part))
        throw Error(Fault::usage, str(file, part, " belongs to the state that was moved away: move it, too"));
  constexpr std::string_view kReplace = ": name another with --state, or have it replaced with --replace";
  std::unique_ptr<Database> db;
  bool empty = true;
  try {
    db = Database::open(url);
    db->lock_exclusively("wellspring cluster restore");
    make_tables(*db);
    for (const std::string& table : table_names())
      empty &= db->query(str("SELECT COUNT(*) FROM ws_", table))[0].integer(0) == 0;
  } catch (const Error& e) {
    if (server || replace || e.fault() == Fault::try_again) throw;
    throw Error(e.fault(), str("the state in ", file, " cannot be used (", e.what(), ")", kReplace));
  }
  if (!empty && !replace) throw Error(Fault::usage, str("the state in ", db->name(), " is not empty", kReplace));
  int64_t rows = 0;
  db->transaction([&] {
    for (const std::string& table : table_names()) db->run(str("DELETE FROM ws_", table));
    const auto was = db->query("SELECT rows FROM wellspring_totals WHERE name = ?", {kBatch});
    const int64_t batch = was.empty() ? 0 : was[0].integer(0);
    db->run("DELETE FROM wellspring_totals");
    std::map<std::string, std::pair<int64_t, uint64_t>> totals;
    rows = each_of_backup(path, [&](const std::string& table, const std::string& id,
                                    const std::string& written) {
      std::string doc = written;
      if (table == "cluster") {
        Cluster numbers = entity_from_json<Cluster>(parse_json(doc, "table cluster"));
        numbers.next_job += kSkippedNumbers, numbers.next_attempt += kSkippedNumbers;
        doc = to_text(entity_json(numbers));
      }
      const uint64_t sum = checksum(table, id, doc);
      db->run(str("INSERT INTO ws_", table, kUpsert), {id, doc, static_cast<int64_t>(sum)});
      ++totals[table].first, totals[table].second += sum;
    });
    for (const auto& [table, t] : totals) put_totals(*db, table, t.first, t.second);
    put_totals(*db, kBatch, batch + 1, 0);
  });
  return rows;
}

}  // namespace wellspring::cluster
