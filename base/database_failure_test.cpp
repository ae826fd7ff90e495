// What goes wrong outside: killed processes, damaged files, full disks, servers that go away.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/database.h"
#include "base/database_back.h"
#include "base/file.h"
#include "base/test_error.h"
#include "base/test_postgres.h"
#include "base/text.h"
#include "base/time.h"

namespace wellspring {
namespace {

bool contains(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

// A forked process that runs f(descriptor to write answers to).
class ForkedChild {
 public:
  template <class F>
  explicit ForkedChild(F&& f) {
    int ends[2];
    WS_CHECK(::pipe2(ends, O_CLOEXEC) == 0, "pipe");
    pid_ = ::fork();
    if (pid_ == 0) {
      ::close(ends[0]);
      try {
        f(ends[1]);
      } catch (const std::exception& e) {
        say(ends[1], e.what());
      }
      ::_exit(0);
    }
    ::close(ends[1]);
    from_ = ends[0];
  }
  ~ForkedChild() {
    kill();
    ::close(from_);
  }
  static void say(int fd, std::string_view text) {
    WS_CHECK(::write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size()), "write");
  }
  // At most `size` bytes; fewer at the end.
  std::string read(size_t size) {
    std::string out(size, '\0');
    size_t used = 0;
    while (used < size) {
      ssize_t n = ::read(from_, out.data() + used, size - used);
      if (n <= 0) break;
      used += static_cast<size_t>(n);
    }
    out.resize(used);
    return out;
  }
  void kill() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
    pid_ = -1;
  }
  pid_t pid() const { return pid_; }

 private:
  pid_t pid_ = -1;
  int from_ = -1;
};

class DatabaseFailure : public ::testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    if (postgres() && !TestPostgres::installed()) GTEST_SKIP() << "install the package postgresql";
    url_ = postgres() ? TestPostgres::shared().fresh_database() : folder_.path() + "/state.db";
    db_ = Database::open(url_);
    db_->run("CREATE TABLE t (id BIGINT PRIMARY KEY, doc TEXT)");
  }
  bool postgres() const { return GetParam() == std::string_view("postgres"); }
  static int64_t count(Database& db) { return db.query("SELECT COUNT(*) FROM t").at(0).integer(0); }
  TemporaryFolder folder_;
  std::string url_;
  std::unique_ptr<Database> db_;
};

TEST_P(DatabaseFailure, KilledInATransaction) {
  int64_t before = 0;
  for (size_t round = 1; round <= 5; ++round) {
    ForkedChild child([&](int fd) {
      auto db = Database::open(url_);
      for (int64_t n = before;; n += 10) {
        db->transaction([&] {
          for (int64_t i = n; i < n + 10; ++i) {
            db->run("INSERT INTO t VALUES (?, ?)", {i, std::string(2000, 'x')});
          }
        });
        ForkedChild::say(fd, "c");
      }
    });
    std::string said = child.read(3 * round);
    child.kill();
    said += child.read(1000000);
    ASSERT_EQ(said.find_first_not_of('c'), std::string::npos) << said;
    int64_t now = count(*db_), acknowledged = before + 10 * static_cast<int64_t>(said.size());
    EXPECT_TRUE(now == acknowledged || now == acknowledged + 10) << now << " " << acknowledged;
    EXPECT_TRUE(db_->check().empty());
    db_->set_patience(60);
    db_->begin();  // waits for nothing that the dead one left
    db_->commit();
    // What the server was still at is done when its row locks are gone.
    db_->run("DELETE FROM t WHERE id >= ?", {now});
    before = now;
  }
}

TEST_P(DatabaseFailure, OneHolderOfTheLock) {
  auto locked = [&](Database& db) {
    Stopwatch watch;
    while (true) {
      try {
        db.lock_exclusively("the second");
        return;
      } catch (const Error& e) {
        ASSERT_LT(watch.seconds(), 10) << e.what();
        sleep_seconds(0.01);
      }
    }
  };
  ForkedChild child([&](int fd) {
    auto db = Database::open(url_);
    db->lock_exclusively("the first");
    db->lock_exclusively("the first");
    ForkedChild::say(fd, "L");
    ::pause();
  });
  ASSERT_EQ(child.read(1), "L");
  std::string what = error_of([&] { db_->lock_exclusively("the second"); }, Fault::try_again);
  EXPECT_TRUE(contains(what, str("the first (process ", child.pid(), ")"))) << what;
  db_->run("INSERT INTO t VALUES (1, 'all can write')");
  child.kill();
  locked(*db_);
  auto third = Database::open(url_);
  what = error_of([&] { third->lock_exclusively("the third"); }, Fault::try_again);
  EXPECT_TRUE(contains(what, str("the second (process ", ::getpid(), ")"))) << what;
  db_.reset();
  locked(*third);
}

TEST_P(DatabaseFailure, AnotherWriter) {
  auto other = Database::open(url_);
  other->set_patience(0.1);
  db_->run("INSERT INTO t VALUES (1, '')");
  db_->begin();
  db_->run("UPDATE t SET doc = 'a'");
  db_->query("SELECT 1");  // PostgreSQL has it now
  other->query("SELECT * FROM t");
  std::string what = error_of([&] { other->run("UPDATE t SET doc = 'b'"); }, Fault::io);
  EXPECT_TRUE(contains(what, postgres() ? "no answer for 0.1 s" : "another program writes to it"))
      << what;
  db_->commit();
  other->set_patience(10);
  other->run("UPDATE t SET doc = 'c'");
  EXPECT_EQ(db_->query("SELECT doc FROM t").at(0).text(0), "c");
}

INSTANTIATE_TEST_SUITE_P(All, DatabaseFailure, ::testing::Values("sqlite", "postgres"),
                         [](const auto& info) { return std::string(info.param); });

// ---- SQLite: files

TEST(DatabaseFile, ModeFolderAndNames) {
  TemporaryFolder folder;
  std::string path = folder.path() + "/state.db";
  ::umask(0);
  auto db = Database::open("sqlite:" + path);
  db->run("CREATE TABLE t (id BIGINT)");
  for (const char* suffix : {"", "-wal"}) {
    struct stat info;
    ASSERT_EQ(::stat((path + suffix).c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 0777, 0600u) << suffix;
  }
  ::umask(022);
  EXPECT_EQ(db->name(), path);
  EXPECT_EQ(
      error_of([&] { Database::open(folder.path() + "/no/state.db"); }, Fault::io),
      str("database ", folder.path(), "/no/state.db: there is no folder ", folder.path(), "/no"));
  error_of([&] { Database::open(folder.path()); }, Fault::io);
  error_of([] { Database::open(""); }, Fault::config);
  error_of([] { Database::open("mysql://host/name"); }, Fault::config);
  error_of([] { DatabaseLibrary("libwellspring-nothing.so", "a-package"); }, Fault::missing);
  // A copy for a backup, by SQL.
  db->run("INSERT INTO t VALUES (5)");
  db->run("VACUUM INTO ?", {path + ".copy"});
  EXPECT_EQ(Database::open(path + ".copy")->query("SELECT id FROM t").at(0).integer(0), 5);
}

TEST(DatabaseFile, ReadOnly) {
  if (::getuid() != 0) GTEST_SKIP() << "needs root, to be another user";
  TemporaryFolder folder;
  std::string path = folder.path() + "/state.db";
  Database::open(path)->run("CREATE TABLE t (id BIGINT)");
  ASSERT_EQ(::chmod(folder.path().c_str(), 0755), 0);
  ASSERT_EQ(::chmod(path.c_str(), 0644), 0);
  ForkedChild child([&](int) {
    WS_CHECK(::setresuid(65534, 65534, 65534) == 0, "setresuid");
    Database::open(path);
  });
  std::string what = child.read(10000);
  EXPECT_TRUE(contains(what, path) && contains(what, "writable for this user")) << what;
}

std::string damaged_reading(const std::string& path) {
  try {
    auto db = Database::open(path);
    std::vector<std::string> found = db->check();
    if (!found.empty()) return found[0];
    int64_t sum = 0;
    db->each("SELECT id, doc FROM t ORDER BY doc", {}, [&](DbRow& row) { sum += row.integer(0); });
    return "";
  } catch (const Error& e) {
    EXPECT_TRUE(e.fault() == Fault::io || e.fault() == Fault::data) << e.what();
    EXPECT_TRUE(e.fault() == Fault::data || contains(e.what(), path)) << e.what();
    return e.what();
  }
}

TEST(DatabaseFile, Damaged) {
  TemporaryFolder folder;
  std::string path = folder.path() + "/state.db";
  {
    auto db = Database::open(path);
    db->run("CREATE TABLE t (id BIGINT PRIMARY KEY, doc TEXT)");
    db->transaction([&] {
      for (int i = 0; i < 300; ++i) {
        db->run("INSERT INTO t VALUES (?, ?)",
                {i, str("{\"job\": ", i, ", \"x\": \"", std::string(100, 'x'), "\"}")});
      }
    });
  }
  const std::string good = read_file(path);
  constexpr size_t kPage = 4096;
  ASSERT_GT(good.size(), 6 * kPage);
  ASSERT_EQ(good.size() % kPage, 0u);
  EXPECT_EQ(damaged_reading(path), "");
  auto with = [&](size_t at, std::string bytes) {
    std::string bad = good;
    bad.replace(at, bytes.size(), bytes);
    write_file_atomic(path, bad);
    return damaged_reading(path);
  };
  for (size_t page = 0; page < good.size() / kPage; ++page) {
    EXPECT_NE(with(page * kPage, std::string(kPage, '\0')), "") << page;
    // A byte of the page's header: kind, number of cells.
    for (size_t byte : {0, 4}) {
      size_t at = page * kPage + byte + (page == 0 ? 100 : 0);
      EXPECT_NE(with(at, std::string(1, static_cast<char>(good[at] ^ 0x11))), "") << page;
    }
  }
  // Any byte: an Error or the content, never anything else.
  uint64_t state = 12345;
  for (int i = 0; i < 200; ++i) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    size_t at = (state >> 33) % good.size();
    with(at, std::string(1, static_cast<char>(good[at] ^ static_cast<char>(1 << (i % 8)))));
  }
  EXPECT_TRUE(contains(with(0, "not a database..."), "restore a backup"));
  std::string cut = good.substr(0, good.size() / 2);
  write_file_atomic(path, cut);
  EXPECT_NE(damaged_reading(path), "");
}

// Fills the disk under `folder`; make_room() empties it.
void full_disk(const std::string& folder, const std::function<void()>& make_room,
               std::string_view advice) {
  auto db = Database::open(folder + "/state.db");
  db->run("CREATE TABLE t (id BIGINT PRIMARY KEY, doc TEXT)");
  const std::string big(100000, 'x');
  int64_t committed = 0;
  std::string what;
  for (int round = 0; round < 3; ++round) {
    what.clear();
    for (int i = 0; what.empty() && i < 200; ++i) {
      try {
        db->transaction([&] {
          db->run("INSERT INTO t VALUES (?, ?)", {committed, big});
          db->run("INSERT INTO t VALUES (?, ?)", {-1 - committed, big});
        });
        ++committed;
      } catch (const Error& e) {
        EXPECT_EQ(e.fault(), Fault::io);
        what = e.what();
      }
    }
    EXPECT_TRUE(contains(what, advice)) << what;
    EXPECT_FALSE(db->in_transaction());
    EXPECT_EQ(db->query("SELECT COUNT(*) FROM t").at(0).integer(0), 2 * committed);
  }
  make_room();
  db->transaction([&] { db->run("INSERT INTO t VALUES (?, ?)", {committed, big}); });
  EXPECT_TRUE(db->check().empty());
  db.reset();
  db = Database::open(folder + "/state.db");
  EXPECT_EQ(db->query("SELECT COUNT(*) FROM t").at(0).integer(0), 2 * committed + 1);
  EXPECT_TRUE(db->check().empty());
}

TEST(DatabaseFile, FullDisk) {
  TemporaryFolder folder;
  if (::mount("tmpfs", folder.path().c_str(), "tmpfs", 0, "size=4m") != 0) {
    GTEST_SKIP() << "needs the right to mount a small file system";
  }
  struct Unmount {
    const std::string& path;
    ~Unmount() { ::umount2(path.c_str(), MNT_DETACH); }
  } unmount{folder.path()};
  write_file_atomic(folder.path() + "/filler", std::string(1 << 20, 'f'));
  full_disk(
      folder.path(), [&] { remove_all(folder.path() + "/filler"); }, "make room on its disk");
}

TEST(DatabaseFile, LimitedFileSize) {
  TemporaryFolder folder;
  rlimit old;
  ::getrlimit(RLIMIT_FSIZE, &old);
  auto* handler = ::signal(SIGXFSZ, SIG_IGN);
  rlimit small{2 << 20, old.rlim_max};
  ::setrlimit(RLIMIT_FSIZE, &small);
  full_disk(
      folder.path(), [&] { ::setrlimit(RLIMIT_FSIZE, &old); }, "look at its disk");
  ::setrlimit(RLIMIT_FSIZE, &old);
  ::signal(SIGXFSZ, handler);
}

// ---- PostgreSQL: servers

TEST(DatabaseUrl, ShownWithoutPassword) {
  EXPECT_EQ(Database::shown("/var/lib/a:b@c.db"), "/var/lib/a:b@c.db");
  EXPECT_EQ(Database::shown("postgresql://user:pw@host:1234/name"),
            "postgresql://user@host:1234/name");
  EXPECT_EQ(Database::shown("postgres://user:p@w@[::1]:1/n?sslmode=require"),
            "postgres://user@[::1]:1/n?sslmode=require");
  EXPECT_EQ(Database::shown("postgresql://user:p/w@host/name"), "postgresql://user@host/name");
  EXPECT_EQ(Database::shown("postgresql://host:1234/name"), "postgresql://host:1234/name");
  EXPECT_EQ(Database::shown("postgresql://u@h/n?password=pw&sslpassword=pw2&x=y"),
            "postgresql://u@h/n?password=***&sslpassword=***&x=y");
}

class DatabaseServer : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!TestPostgres::installed()) GTEST_SKIP() << "install the package postgresql";
  }
};

TEST_F(DatabaseServer, UnreachableAndRefused) {
  TestPostgres& server = TestPostgres::shared();
  auto refused = [&](std::string_view password, const std::string& rest, Fault fault) {
    std::string what = error_of(
        [&] { Database::open(str("postgresql://wellspring:", password, "@127.0.0.1:", rest)); },
        fault);
    EXPECT_FALSE(contains(what, password)) << what;
    EXPECT_TRUE(contains(what, "127.0.0.1")) << what;
    return what;
  };
  refused("hidden", "1/state", Fault::io);
  EXPECT_TRUE(contains(refused("wr0ng", str(server.port(), "/postgres"), Fault::config),
                       "authentication failed"));
  EXPECT_TRUE(
      contains(refused("secret", str(server.port(), "/nothing"), Fault::config), "does not exist"));
  refused("hidden", "port/state", Fault::config);
  refused("hidden", "1/state?nothing=1", Fault::config);
  error_of(
      [&] {
        Database::open(str("postgresql://wellspring@127.0.0.1:", server.port(), "/postgres"));
      },
      Fault::config);
}

TEST_F(DatabaseServer, GoesAway) {
  TestPostgres server;
  std::string url = server.fresh_database();
  auto db = Database::open(url), other = Database::open(url);
  auto count = [&] { return db->query("SELECT COUNT(*) FROM t").at(0).integer(0); };
  db->run("CREATE TABLE t (id BIGINT PRIMARY KEY)");
  db->lock_exclusively("the controller");
  db->transaction([&] { db->run("INSERT INTO t VALUES (?)", {1}); });
  // In the middle of a transaction.
  db->begin();
  db->run("INSERT INTO t VALUES (?)", {2});
  EXPECT_EQ(count(), 2);
  server.stop();
  EXPECT_TRUE(
      contains(error_of([&] { db->query("SELECT 1"); }, Fault::io), "the connection is lost"));
  error_of([&] { db->run("INSERT INTO t VALUES (?)", {3}); }, Fault::io);
  error_of([&] { db->commit(); }, Fault::io);
  EXPECT_TRUE(contains(error_of([&] { db->begin(); }, Fault::io), "see whether the server runs"));
  EXPECT_FALSE(db->in_transaction());
  server.start();
  EXPECT_EQ(db->connections(), 1);
  db->transaction([&] { db->run("INSERT INTO t VALUES (?)", {4}); });
  EXPECT_EQ(count(), 2);
  EXPECT_EQ(db->connections(), 2);
  // Before the commit of queued statements.
  db->begin();
  db->run("INSERT INTO t VALUES (?)", {5});
  server.stop();
  error_of([&] { db->commit(); }, Fault::io);
  server.start();
  EXPECT_EQ(count(), 2);
  // While idle: not noticed at all, and the lock is ours again.
  server.stop();
  server.start();
  db->transaction([&] { db->run("INSERT INTO t VALUES (?)", {6}); });
  EXPECT_EQ(count(), 3);
  EXPECT_TRUE(contains(error_of([&] { other->lock_exclusively("other"); }, Fault::try_again),
                       "the controller"));
  // Another one was quicker: nothing is written any more.
  server.stop();
  server.start();
  other->lock_exclusively("other");
  EXPECT_TRUE(contains(error_of([&] { db->begin(); }, Fault::try_again), "other (process"));
  error_of([&] { db->run("INSERT INTO t VALUES (?)", {7}); }, Fault::try_again);
  other.reset();
  EXPECT_EQ(count(), 3);
}

// The connection breaks on our side only: what the server still holds for it is ended.
TEST_F(DatabaseServer, LostOnOneSide) {
  auto db = Database::open(TestPostgres::shared().fresh_database());
  db->lock_exclusively("the controller");
  db->set_patience(0.1);
  EXPECT_TRUE(contains(error_of([&] { db->query("SELECT pg_sleep(60)"); }, Fault::io),
                       "no answer for 0.1 s"));
  db->set_patience(20);
  db->begin();
  db->commit();
  EXPECT_EQ(db->connections(), 2);
  error_of([&] { db->query("SELECT pg_terminate_backend(pg_backend_pid())"); }, Fault::io);
  EXPECT_EQ(db->query("SELECT 1").at(0).integer(0), 1);
}

}  // namespace
}  // namespace wellspring
