#include "base/database.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/file.h"
#include "base/test_error.h"
#include "base/test_postgres.h"
#include "base/text.h"

namespace wellspring {
namespace {

class DatabaseTest : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (postgres() && !TestPostgres::installed()) GTEST_SKIP() << "install the package postgresql";
    url_ = postgres() ? TestPostgres::shared().fresh_database() : folder_.path() + "/state.db";
  }
  bool postgres() const { return GetParam() == std::string_view("postgres"); }
  std::unique_ptr<Database> open() { return Database::open(url_); }
  // A table `t` of every type.
  std::unique_ptr<Database> with_table() {
    auto db = open();
    db->run(str("CREATE TABLE t (id BIGINT PRIMARY KEY, real DOUBLE PRECISION, doc TEXT, bytes ",
                db->bytes_type(), ")"));
    return db;
  }
  static int64_t count(Database& db) { return db.query("SELECT COUNT(*) FROM t").at(0).integer(0); }
  TemporaryFolder folder_;
  std::string url_;
};

TEST_P(DatabaseTest, ValuesRoundTrip) {
  auto db = with_table();
  constexpr auto kMin = std::numeric_limits<int64_t>::min(),
                 kMax = std::numeric_limits<int64_t>::max();
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  std::string all;
  for (int i = 0; i < 256; ++i) all += static_cast<char>(i);
  const std::string text = "{\"a\": \"'?\\\"x é 漢 🙂\"}\n";
  const std::vector<std::vector<DbValue>> rows = {
      {kMin, -0.1, text, all},
      {int64_t{-1}, 5e-324, "", ""},
      {int64_t{0}, 1.7976931348623157e308, "1e5", std::string(3, '\0')},
      {int64_t{1}, 0.1 + 0.2, nullptr, nullptr},
      {int64_t{2}, nullptr, std::string(300000, 'x'), "12"},
      {int64_t{3}, kInfinity, "007", "\\x41"},
      {int64_t{4}, -kInfinity, "NULL", "'); DROP TABLE t; --"},
      {kMax, 3.0, "?", std::string(1000000, '\xff')}};
  for (const auto& row : rows) db->run("INSERT INTO t VALUES (?, ?, ?, ?)", row);
  auto read = db->query("SELECT id, real, doc, bytes FROM t ORDER BY id");
  ASSERT_EQ(read.size(), rows.size());
  for (size_t i = 0; i < rows.size(); ++i) EXPECT_TRUE(read[i].values == rows[i]) << i;
  size_t seen = 0;
  db->each("SELECT bytes, id FROM t WHERE id > ? ORDER BY id", {-2}, [&](DbRow& row) {
    ++seen;
    EXPECT_TRUE(row.values[0] == rows[seen][3]);
  });
  EXPECT_EQ(seen, rows.size() - 1);
  // The same in another connection, and as conditions.
  auto other = open();
  EXPECT_EQ(other->query("SELECT id FROM t WHERE doc = ? AND '?' <> \"doc\" -- ?", {"1e5"})
                .at(0)
                .integer(0),
            0);
  EXPECT_EQ(other->query("SELECT id FROM t WHERE bytes = ?", {all}).at(0).integer(0), kMin);
  EXPECT_EQ(other->query("SELECT SUM(id) FROM t WHERE id BETWEEN ? AND ?", {0, 4}).at(0).integer(0),
            10);
  EXPECT_TRUE(other->query("SELECT id FROM t WHERE doc = ?", {"nothing"}).empty());
  error_of([&] { db->run("INSERT INTO t VALUES (9, ?, '', NULL)", {std::nan("")}); }, Fault::data);
}

TEST_P(DatabaseTest, RowAccessors) {
  auto db = with_table();
  db->run("INSERT INTO t VALUES (?, ?, ?, ?)", {7, 1.5, "x", nullptr});
  DbRow row = db->query("SELECT * FROM t").at(0);
  EXPECT_EQ(row.size(), 4u);
  EXPECT_EQ(row.number(0), 7);
  EXPECT_EQ(row.number(1), 1.5);
  EXPECT_TRUE(row.is_null(3));
  EXPECT_EQ(error_of([&] { row.integer(2); }, Fault::data),
            "column 2 of a row is text, not an integer");
  EXPECT_EQ(error_of([&] { row.text(3); }, Fault::data), "column 3 of a row is NULL, not text");
  EXPECT_EQ(error_of([&] { row.text(4); }, Fault::data), "column 4 of a row with 4 columns");
}

TEST_P(DatabaseTest, Transactions) {
  auto db = with_table();
  auto other = open();
  db->begin();
  EXPECT_TRUE(db->in_transaction());
  db->run("INSERT INTO t (id) VALUES (?)", {1});
  EXPECT_EQ(count(*db), 1);
  EXPECT_EQ(count(*other), 0);
  db->commit();
  EXPECT_EQ(count(*other), 1);
  db->transaction([&] { db->run("INSERT INTO t (id) VALUES (?)", {2}); });
  EXPECT_THROW(db->transaction([&] {
    db->run("INSERT INTO t (id) VALUES (?)", {3});
    throw Error(Fault::usage, "stop");
  }),
               Error);
  EXPECT_FALSE(db->in_transaction());
  db->begin();
  db->run("DELETE FROM t");
  db->rollback();
  db->rollback();
  EXPECT_EQ(count(*db), 2);
  db->run("INSERT INTO t (id, doc) VALUES (?, ?) ON CONFLICT (id) DO UPDATE SET doc = excluded.doc",
          {2, "new"});
  EXPECT_EQ(db->query("DELETE FROM t WHERE id = ? RETURNING doc", {2}).at(0).text(0), "new");
}

// An error makes the whole transaction fail, in both back ends alike.
TEST_P(DatabaseTest, SnapshotsSeeOneMomentAndBlockNobody) {
  auto db = with_table(), reader = open();
  db->run("INSERT INTO t VALUES (1, 0, '', '')");
  reader->snapshot([&] {
    EXPECT_EQ(count(*reader), 1);
    db->transaction([&] { db->run("INSERT INTO t VALUES (2, 0, '', '')"); });  // does not wait
    EXPECT_EQ(count(*db), 2);
    EXPECT_EQ(count(*reader), 1);
  });
  EXPECT_EQ(count(*reader), 2);
}

TEST_P(DatabaseTest, FailedStatements) {
  auto db = with_table();
  db->run("INSERT INTO t (id) VALUES (1)");
  db->begin();
  db->run("INSERT INTO t (id) VALUES (?)", {2});
  try {  // PostgreSQL says it here or later
    db->run("INSERT INTO t (id) VALUES (?)", {1});
  } catch (const Error& e) {
    EXPECT_EQ(e.fault(), Fault::data);
  }
  std::string what = error_of([&] { db->query("SELECT 1"); }, Fault::data);
  EXPECT_NE(to_lower(what).find("unique"), std::string::npos) << what;
  EXPECT_EQ(error_of([&] { db->commit(); }, Fault::data), what);
  EXPECT_FALSE(db->in_transaction());
  EXPECT_EQ(count(*db), 1);

  db->begin();
  for (int i = 0; i < 1000; ++i) {
    try {
      db->run("INSERT INTO t (id) VALUES (?)", {i});  // 1 is there
    } catch (const Error&) {
      break;
    }
  }
  error_of([&] { db->commit(); }, Fault::data);
  EXPECT_EQ(count(*db), 1);
  db->begin();
  db->rollback();

  what = error_of([&] { db->run("INSERT INTO nowhere VALUES (1)"); }, Fault::internal);
  EXPECT_NE(what.find("nowhere"), std::string::npos) << what;
  error_of([&] { db->query("SELEC 1"); }, Fault::internal);
  error_of([&] { db->query("SELECT id FROM t WHERE id = ?"); }, Fault::internal);
  error_of([&] { db->query("SELECT id FROM t WHERE id = ?", {1, 2}); }, Fault::internal);
  error_of([&] { db->run("DELETE FROM t; DELETE FROM t"); }, Fault::internal);
  // What a callback throws ends the statement and nothing else.
  db->run("INSERT INTO t (id) VALUES (?)", {2});
  EXPECT_THROW(db->each("SELECT id FROM t", {}, [](DbRow&) { throw std::bad_alloc(); }),
               std::bad_alloc);
  error_of([&] { db->each("SELECT id FROM t", {}, [&](DbRow&) { db->run("DELETE FROM t"); }); },
           Fault::internal);
  EXPECT_EQ(count(*db), 2);
}

TEST_P(DatabaseTest, ManyStatementsAndChangedTables) {
  auto db = with_table();
  for (int i = 0; i < 600; ++i)
    db->run(str("INSERT INTO t (id, doc) VALUES (", i, ", ?)"), {str(i)});
  EXPECT_EQ(db->query("SELECT * FROM t").at(0).size(), 4u);
  db->run("ALTER TABLE t ADD COLUMN more BIGINT");
  EXPECT_EQ(db->query("SELECT * FROM t").at(0).size(), 5u);
  db->begin();
  db->run("CREATE TABLE u (id BIGINT)");
  db->run("INSERT INTO u VALUES (?)", {1});
  db->rollback();
  error_of([&] { db->run("INSERT INTO u VALUES (?)", {1}); }, Fault::internal);
  db->transaction([&] {
    db->run("CREATE TABLE u (id BIGINT)");
    db->run("CREATE INDEX u_id ON u (id)");
    db->run("INSERT INTO u VALUES (?)", {2});
  });
  EXPECT_EQ(db->query("SELECT id FROM u").at(0).integer(0), 2);
  EXPECT_TRUE(db->check().empty());
}

INSTANTIATE_TEST_SUITE_P(All, DatabaseTest, ::testing::Values("sqlite", "postgres"),
                         [](const auto& info) { return std::string(info.param); });

}  // namespace
}  // namespace wellspring
