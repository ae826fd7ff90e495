#pragma once
// For tests: a PostgreSQL server of their own, in a temporary folder, gone with the test.

#include <arpa/inet.h>
#include <pwd.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "base/database.h"
#include "base/error.h"
#include "base/file.h"
#include "base/process.h"
#include "base/text.h"
#include "base/time.h"

namespace wellspring {

/// A PostgreSQL server on a free loopback port, with the user "wellspring" and a password. It runs
/// as user postgres (or nobody) when the test is root, and ends with the test, also when that is
/// killed.
class TestPostgres {
 public:
  /// Whether the programs of the server are installed (package postgresql).
  static bool installed() { return !programs().empty(); }

  /// The server that all tests of a process share, started when first asked for.
  static TestPostgres& shared() {
    static TestPostgres server;
    return server;
  }

  /// Creates and starts one; about a second. `durable`: with fsync, for measuring.
  explicit TestPostgres(bool durable = false) : durable_(durable) {
    if (::getuid() == 0) {
      const passwd* user = ::getpwnam("postgres");
      if (!user) user = ::getpwnam("nobody");
      WS_CHECK(user, "no user for a PostgreSQL server");
      switch_user_ = {"setpriv", str("--reuid=", user->pw_uid), str("--regid=", user->pw_gid),
                      "--clear-groups"};
      WS_CHECK(::chown(folder_.path().c_str(), user->pw_uid, user->pw_gid) == 0, "chown");
    }
    write_file_atomic(folder_.path() + "/password", kPassword);
    run({programs() + "/initdb", "--pgdata=" + data(), "--username=wellspring", "--encoding=UTF8",
         "--locale=C.UTF-8", "--auth=scram-sha-256", "--pwfile=" + folder_.path() + "/password",
         "--no-sync"});
    start();
  }
  ~TestPostgres() { stop(); }
  TestPostgres(const TestPostgres&) = delete;
  TestPostgres& operator=(const TestPostgres&) = delete;

  /// The URL of a new, empty database.
  std::string fresh_database() {
    std::string name = str("test", ++databases_);
    Database::open(url("postgres"))->run("CREATE DATABASE " + name);
    return url(name);
  }
  std::string url(const std::string& database) const {
    return str("postgresql://wellspring:", kPassword, "@127.0.0.1:", port_, "/", database);
  }
  int port() const { return port_; }

  /// Starts it again after stop(), on the same port.
  void start() {
    for (int attempt = 0;; ++attempt) {
      if (port_ == 0) port_ = free_port();
      ProcessOptions options;
      options.argv = switch_user_.empty() ? std::vector<std::string>{"setpriv"} : switch_user_;
      options.argv.insert(options.argv.end(), {"--pdeathsig=QUIT", programs() + "/postgres"});
      for (const std::string& setting :
           {str("port=", port_), std::string("listen_addresses=127.0.0.1"),
            std::string("unix_socket_directories="), std::string("max_connections=40"),
            std::string("shared_buffers=16MB"), std::string("autovacuum=off"),
            str("fsync=", durable_ ? "on" : "off")}) {
        options.argv.insert(options.argv.end(), {"-c", setting});
      }
      options.argv.insert(options.argv.end(), {"-D", data()});
      options.log_path = folder_.path() + "/log";
      server_ = std::make_unique<Process>(Process::start(options));
      if (ready()) return;
      server_.reset();
      WS_CHECK(attempt < 3, "PostgreSQL does not start: " + read_file(options.log_path));
      if (databases_ == 0) port_ = 0;  // somebody else has the port
    }
  }

  /// Stops it as a crash would: connections break, nothing is tidied up.
  void stop() {
    if (!server_) return;
    server_->kill(SIGQUIT);
    if (!server_->wait(20)) server_->kill(SIGKILL);
    server_->wait();
    server_.reset();
  }

 private:
  static constexpr const char* kPassword = "secret";

  static std::string programs() {
    const std::string versions = "/usr/lib/postgresql";
    std::string found;
    if (!is_directory(versions)) return found;
    for (const std::string& version : list_directory(versions)) {
      std::string folder = str(versions, "/", version, "/bin");
      if (exists(folder + "/initdb") && exists(folder + "/postgres")) found = folder;
    }
    return found;
  }

  std::string data() const { return folder_.path() + "/data"; }

  void run(std::vector<std::string> argv) {
    argv.insert(argv.begin(), switch_user_.begin(), switch_user_.end());
    ProcessOptions options;
    options.argv = argv;
    options.folder = "/";
    options.merge = true;
    ProcessResult result = run_process(options);
    WS_CHECK(result.ok(), str(argv[0], " failed: ", result.output));
  }

  bool ready() {
    Stopwatch watch;
    std::string file = data() + "/postmaster.pid";
    while (watch.seconds() < 60) {
      if (server_->poll()) return false;
      std::string text;
      try {
        if (exists(file)) text = read_file(file);
      } catch (const Error&) {
        // It is being replaced.
      }
      if (starts_with(text, str(server_->pid(), "\n")) && ends_with(trim(text), "ready"))
        return true;
      sleep_seconds(0.01);
    }
    return false;
  }

  static int free_port() {
    int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    WS_CHECK(::bind(fd, reinterpret_cast<sockaddr*>(&address), size) == 0 &&
                 ::getsockname(fd, reinterpret_cast<sockaddr*>(&address), &size) == 0,
             "no free port");
    ::close(fd);
    return ntohs(address.sin_port);
  }

  bool durable_;
  TemporaryFolder folder_;
  std::vector<std::string> switch_user_;
  std::unique_ptr<Process> server_;
  int port_ = 0;
  int databases_ = 0;
};

}  // namespace wellspring
