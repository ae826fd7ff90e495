#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fault_point.h"
#include "base/file.h"
#include "base/json.h"
#include "base/test_error.h"
#include "base/test_postgres.h"
#include "cluster/state/fields.h"
#include "cluster/state/store.h"
#include "cluster/state/test_state.h"

namespace wellspring::cluster {
namespace {

std::string dump(State& state) {
  std::string out;
  state.each_table([&](const char* name, auto& table) {
    for (const auto& [key, row] : table.rows()) {
      auto copy = row;
      if constexpr (requires { copy.spec; }) {
        out += to_text(to_json(*copy.spec));
        copy.spec = nullptr;
      }
      out += str(name, " ", key, " ", to_text(entity_json(copy)), "\n");
    }
  });
  return out;
}

// A state with a row of each kind, an array that is half through, and a job that runs.
void fill(TestCluster& c) {
  c.node("n1", 4);
  JobSpec s = c.spec();
  for (int i = 0; i < 50; ++i) s.array.push_back(i);
  c.submit(s);
  c.submit(c.spec("blue"));
  c.round();
  for (int i = 1; i <= 3; ++i) c.begins(1 + i), c.ends(1 + i, i == 2);
  c.round();
  c.run([&](Change& ch) {
    ch.state.teams.edit("red").quotas["a100"] = {.devices = 7, .hours = 12.5};
    ch.state.tokens.put("t1", {.id = "t1", .hash = "abc", .role = "member", .team = "red", .user = "ada"});
    ch.state.secrets.put("red/key", {.team = "red", .name = "key", .sealed = "00ff"});
    ch.state.reservations.put("r", {.id = "r", .node = "n1", .team = "red", .until = 5});
    ch.state.audit.put(1, {.number = 1, .who = "ada", .what = "POST /jobs"});
    note(ch, "job", 1, "n1", "läuft “fine”\n\x01");
  });
}

class StoreOn : public ::testing::TestWithParam<const char*> {
 protected:
  std::string url(const char* name = "state.db") {
    return std::string(GetParam()) == "sqlite" ? join_path(folder_.path(), name)
                                               : TestPostgres::shared().fresh_database();
  }
  void SetUp() override {
    if (std::string(GetParam()) == "postgres" && !TestPostgres::installed())
      GTEST_SKIP() << "PostgreSQL's server is not installed";
  }
  TemporaryFolder folder_;
};

// TestCluster keeps batches at once; here the batch is written first.
void write_all(Store& store, State& state) {
  // Everything as changed: put each row again.
  state.each_table([&](const char*, auto& table) {
    const auto rows = table.rows();
    for (const auto& [key, row] : rows) table.put(key, row);
  });
  state.keep_command();
  EXPECT_TRUE(store.write(state));
  state.keep_batch();
}

TEST_P(StoreOn, WhatIsWrittenIsReadAgain) {
  const std::string where = url();
  TestCluster c;
  fill(c);
  {
    Store store(where);
    State empty;
    store.load(empty);
    write_all(store, c.state);
    c.run([&](Change& ch) { cancel(ch, 1, "ada"); });
  }
  TestCluster again;
  again.state = State();
  {
    Store store(where);
    store.load(again.state);
    again.state.loaded();
  }
  TestCluster same;
  fill(same);
  EXPECT_EQ(dump(again.state), dump(same.state));
  EXPECT_EQ(again.state.active(), same.state.active());
  EXPECT_EQ(again.state.waiting(), same.state.waiting());
  EXPECT_EQ(again.state.elements(1), same.state.elements(1));
}

TEST_P(StoreOn, AnElementThatNothingHappenedToCostsNoRow) {
  const std::string where = url();
  Store store(where);
  TestCluster c;
  store.load(c.state);
  JobSpec s = c.spec();
  for (int i = 0; i < 1000; ++i) s.array.push_back(i);
  {
    Change ch{c.state, c.now, c.effects, [] { return std::string("x"); }};
    submit(ch, s, "ada");
    c.state.keep_command();
    store.write(c.state);
    c.state.keep_batch();
  }
  const auto db = Database::open(where);
  EXPECT_EQ(db->query("SELECT COUNT(*) FROM ws_jobs")[0].integer(0), 1);
}

TEST_P(StoreOn, AWriteThatFailsLeavesDiskAndMemoryAsTheyWere) {
  const std::string where = url();
  Store store(where);
  TestCluster c;
  store.load(c.state);
  c.state.keep_command();
  write_all(store, c.state);
  const std::string before = dump(c.state);
  Change ch{c.state, c.now, c.effects, [] { return std::string("x"); }};
  submit(ch, c.spec(), "ada");
  c.state.keep_command();
  set_fault_hook([](const char* place) {
    if (std::string_view(place) == "store.commit") throw Error(Fault::io, "the disk is full");
  });
  EXPECT_NE(error_of([&] { store.write(c.state); }, Fault::io).find("full"), std::string::npos);
  set_fault_hook(nullptr);
  c.state.undo_batch();
  EXPECT_EQ(dump(c.state), before);
  EXPECT_EQ(c.state.waiting_count(), 0u);
  submit(ch, c.spec(), "ada");  // the next one works, and the totals fit
  c.state.keep_command();
  EXPECT_TRUE(store.write(c.state));
  c.state.keep_batch();
  State again;
  store.load(again);
  EXPECT_EQ(again.jobs.size(), 1u);
}

TEST_P(StoreOn, ARowThatWasChangedLostOrAddedIsSeen) {
  for (const char* harm :
       {"UPDATE ws_jobs SET doc = REPLACE(doc, 'blue', 'glue') WHERE id = '52'", "DELETE FROM ws_attempts WHERE id = '1'",
        "INSERT INTO ws_tokens SELECT 'evil', doc, sum FROM ws_tokens", "UPDATE ws_teams SET sum = sum + 1",
        "UPDATE wellspring_totals SET rows = rows + 1 WHERE name = 'nodes'", "DELETE FROM wellspring_totals"}) {
    const std::string where = url("harm.db");
    TestCluster c;
    fill(c);
    {
      Store store(where);
      State empty;
      store.load(empty);
      write_all(store, c.state);
    }
    Database::open(where)->run(harm);
    const std::string said = error_of(
        [&] {
          Store store(where);
          State state;
          store.load(state);
        },
        Fault::data);
    EXPECT_NE(said.find("is damaged: table "), std::string::npos) << harm << ": " << said;
    EXPECT_NE(said.find("wellspring cluster restore"), std::string::npos) << said;
    for (const char* end : {"", "-wal", "-shm", ".lock"}) ::unlink((where + end).c_str());
  }
}

TEST_P(StoreOn, BackupsAreVerifiedAndRestored) {
  const std::string where = url(), file = join_path(folder_.path(), "b.backup");
  TestCluster c;
  fill(c);
  {
    Store store(where);
    State empty;
    store.load(empty);
    write_all(store, c.state);
  }
  const int64_t rows = Store::backup(where, file);
  EXPECT_EQ(Store::verify(file), rows);
  const std::string fresh = url("fresh.db");
  EXPECT_EQ(Store::restore(fresh, file), rows);
  State again;
  Store store(fresh);
  store.load(again);
  again.loaded();
  // No number is given out twice, though the backup does not know the last ones.
  Cluster& numbers = again.numbers();
  EXPECT_GT(numbers.next_job, c.state.cluster.at("cluster").next_job + 1000000);
  EXPECT_GT(numbers.next_attempt, c.state.cluster.at("cluster").next_attempt + 1000000);
  numbers.next_job = c.state.cluster.at("cluster").next_job;
  numbers.next_attempt = c.state.cluster.at("cluster").next_attempt;
  EXPECT_EQ(dump(again), dump(c.state));
  EXPECT_NE(error_of([&] { Store::restore(where, file); }, Fault::usage).find("--replace"), std::string::npos);
  EXPECT_EQ(Store::restore(where, file, true), rows);
  {
    Store replaced(where);
    State state;
    replaced.load(state);
    state.loaded();
    EXPECT_EQ(state.jobs.size(), c.state.jobs.size());
    error_of([&] { Store::restore(where, file, true); }, Fault::try_again);
  }
  // One changed byte, a cut end, anything behind it.
  const std::string whole = read_file(file);
  for (const size_t at : {size_t{5}, whole.size() / 2, whole.size() - 20}) {
    std::string bad = whole;
    bad[at] ^= 1;
    write_file_atomic(file, bad);
    EXPECT_THROW(Store::verify(file), Error) << at;
  }
  write_file_atomic(file, whole.substr(0, whole.rfind("\n", whole.size() - 2) + 1));
  EXPECT_NE(error_of([&] { Store::verify(file); }, Fault::data).find("last line is missing"), std::string::npos);
  write_file_atomic(file, whole + "[]\n");
  EXPECT_THROW(Store::verify(file), Error);
}

TEST_P(StoreOn, ANewerStateIsRefused) {
  const std::string where = url();
  { Store store(where); }
  Database::open(where)->run("UPDATE wellspring_state SET version = 99");
  EXPECT_NE(error_of([&] { Store store(where); }, Fault::config).find("has version 99"), std::string::npos);
}

TEST_P(StoreOn, OneControllerAtATime) {
  const std::string where = url();
  Store first(where);
  error_of([&] { Store second(where); }, Fault::try_again);
}

// What an earlier connection wrote of a batch whose end it did not hear.
TEST(StorePostgres, ALostCommitIsFoundOut) {
  if (!TestPostgres::installed()) GTEST_SKIP() << "PostgreSQL's server is not installed";
  TestPostgres server;
  for (const bool arrives : {true, false}) {
    const std::string where = server.fresh_database();
    Store store(where);
    TestCluster c;
    store.load(c.state);
    write_all(store, c.state);
    Change ch{c.state, c.now, c.effects, [] { return std::string("x"); }};
    submit(ch, c.spec(), "ada");
    c.state.keep_command();
    // The server goes away between the statements and the commit: nothing of it is there.
    static TestPostgres* victim;
    victim = &server;
    set_fault_hook([](const char* place) {
      if (std::string_view(place) == "store.commit") victim->stop();
    });
    EXPECT_THROW(store.write(c.state), OutcomeUnknown);
    set_fault_hook(nullptr);
    EXPECT_THROW(store.settle(), Error) << "it cannot be asked yet";
    server.start();
    if (arrives)  // as if it had come through
      Database::open(where)->run("UPDATE wellspring_totals SET rows = rows + 1 WHERE name = '(batch)'");
    EXPECT_EQ(store.settle(), arrives);
    if (arrives) continue;
    c.state.undo_batch();
    submit(ch, c.spec(), "ada");
    c.state.keep_command();
    EXPECT_TRUE(store.write(c.state));
    c.state.keep_batch();
    State again;
    store.load(again);
    EXPECT_EQ(again.jobs.size(), 1u);
  }
}

TEST(StorePostgres, AnotherControllerMeanwhileIsSeen) {
  if (!TestPostgres::installed()) GTEST_SKIP() << "PostgreSQL's server is not installed";
  TestPostgres server;
  const std::string where = server.fresh_database();
  Store store(where);
  TestCluster c;
  store.load(c.state);
  write_all(store, c.state);
  server.stop(), server.start();
  Database::open(where)->run("UPDATE wellspring_totals SET rows = rows + 7 WHERE name = '(batch)'");
  Change ch{c.state, c.now, c.effects, [] { return std::string("x"); }};
  submit(ch, c.spec(), "ada");
  c.state.keep_command();
  EXPECT_NE(error_of([&] { store.write(c.state); }, Fault::config).find("another controller"), std::string::npos);
}

INSTANTIATE_TEST_SUITE_P(Databases, StoreOn, ::testing::Values("sqlite", "postgres"),
                         [](const auto& info) { return std::string(info.param); });

// Any one byte of the file that is changed, and any zeroed page, is seen or harms nothing.
TEST(StoreFile, AChangedByteAndAZeroedPageAreSeenOrHarmNothing) {
  TemporaryFolder folder;
  const std::string path = join_path(folder.path(), "state.db");
  TestCluster c;
  fill(c);
  {
    Store store(path);
    State empty;
    store.load(empty);
    write_all(store, c.state);
  }
  Database::open(path)->query("PRAGMA wal_checkpoint(TRUNCATE)");
  const std::string whole = read_file(path), expected = dump(c.state);
  const auto opens_as = [&](const std::string& bytes) -> std::string {
    for (const char* end : {"-wal", "-shm"}) ::unlink((path + end).c_str());
    write_file_atomic(path, bytes);
    try {
      Store store(path);
      State state;
      store.load(state);
      state.loaded();
      return dump(state);
    } catch (const Error& e) {
      return e.what();
    }
  };
  ASSERT_EQ(opens_as(whole), expected);
  int seen = 0, harmless = 0;
  const auto judge = [&](const std::string& bytes, const std::string& what) {
    const std::string now = opens_as(bytes);
    if (now == expected)
      ++harmless;
    else if (now.find("damaged") != std::string::npos || now.find(path) != std::string::npos)
      ++seen;
    else
      ADD_FAILURE() << what << " was not seen: " << now.substr(0, 300);
  };
  for (size_t at = 0; at < whole.size(); at += whole.size() / 150) {
    std::string bad = whole;
    bad[at] ^= 0x20;
    judge(bad, str("byte ", at));
  }
  for (size_t page = 0; page < whole.size() / 4096; ++page) {
    std::string bad = whole;
    std::fill_n(bad.begin() + static_cast<std::ptrdiff_t>(page * 4096), 4096, '\0');
    judge(bad, str("page ", page));
  }
  EXPECT_GT(seen, 30) << harmless;
}

}  // namespace
}  // namespace wellspring::cluster
