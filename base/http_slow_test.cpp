// Many clients that hold connections and give or take next to nothing; the others go on.
#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <thread>

#include "base/error.h"
#include "base/http.h"
#include "base/log.h"
#include "base/test_error.h"
#include "base/text.h"
#include "base/time.h"

namespace wellspring {
namespace {

int slow_connection(int port, int receive_buffer = 0) {
  int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (receive_buffer)
    ::setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive_buffer, sizeof receive_buffer);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(static_cast<uint16_t>(port));
  to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
  return fd;
}

void push(int fd, std::string_view bytes) { ::send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL); }

class HttpSlow : public testing::Test {
 protected:
  void SetUp() override { set_log_level(LogLevel::off); }
  void TearDown() override {
    for (int fd : fds_) ::close(fd);
    set_log_level(LogLevel::info);
  }

  void add_routes(HttpServer& server) {
    server.route("GET", "/hello",
                 [](const HttpRequest&, HttpResponse& r) { r.send(200, "text/plain", "hello"); });
    server.route("POST", "/echo",
                 [](const HttpRequest& q, HttpResponse& r) { r.send(200, "text/plain", q.body); });
    server.route("GET", "/big", [](const HttpRequest&, HttpResponse& r) {
      static const std::string body(8 << 20, 'x');
      r.send(200, "text/plain", body);
    });
    server.route("GET", "/stream", [](const HttpRequest&, HttpResponse& r) {
      r.begin_stream(200, "text/event-stream");
      while (r.write(": \n\n")) sleep_seconds(0.2);
    });
    server.route("GET", "/link", [](const HttpRequest&, HttpResponse& r) {
      char none;
      while (r.upgrade("x")->read(&none, 1, 60) > 0) {
      }
    });
  }

  // The i-th slow client, of six kinds.
  int join(int port, int i) {
    int fd = slow_connection(port, i % 6 == 3 ? 4096 : 0);
    switch (i % 6) {
      case 0:  // says nothing
        break;
      case 1:
        push(fd, "GET /hello HT");
        break;
      case 2:
        push(fd, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nx");
        break;
      case 3:  // reads nothing
        push(fd, "GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
        break;
      case 4:
        push(fd, "GET /stream HTTP/1.1\r\nHost: x\r\n\r\n");
        break;
      case 5:
        push(fd, "GET /link HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n");
        break;
    }
    fds_.push_back(fd);
    return fd;
  }
  void trickle() {
    for (size_t i = 0; i < fds_.size(); ++i)
      if (i % 6 == 1 || i % 6 == 2) push(fds_[i], "a");
  }
  // Seconds that each of n good requests took, sorted.
  static std::vector<double> good(int port, int n) {
    std::vector<double> out;
    HttpClientOptions options;
    options.read_timeout = 10;
    std::string url = str("http://127.0.0.1:", port, "/hello");
    for (int i = 0; i < n; ++i) {
      Stopwatch watch;
      HttpResult r = http_request("GET", url, {}, {}, {}, options);
      EXPECT_EQ(r.status, 200) << r.body << " after " << watch.seconds() << " s, request " << i;
      out.push_back(watch.seconds());
    }
    std::sort(out.begin(), out.end());
    return out;
  }

  std::vector<int> fds_;
};

// WELLSPRING_SLOW_CLIENTS=1000: the full number.
TEST_F(HttpSlow, RoomForAllOfThem) {
  const char* asked = std::getenv("WELLSPRING_SLOW_CLIENTS");
  int n = asked ? std::atoi(asked) : 120;
  HttpServerOptions options;
  options.max_connections = n + 20;
  options.max_streams = n;
  options.stack_size = 256 << 10;
  options.drain_timeout = 0.1;
  rlimit limit{};
  ::getrlimit(RLIMIT_NOFILE, &limit);
  rlim_t before = limit.rlim_cur;
  limit.rlim_cur = std::min<rlim_t>(limit.rlim_max, static_cast<rlim_t>(8 * n + 200));
  if (limit.rlim_cur > before) ::setrlimit(RLIMIT_NOFILE, &limit);
  HttpServer server(options);
  add_routes(server);
  server.start();
  Stopwatch watch;
  for (int i = 0; i < n; ++i) join(server.port(), i);
  std::vector<double> seconds;
  for (int round = 0; round < (asked ? 10 : 3); ++round) {
    trickle();
    for (double s : good(server.port(), 20)) seconds.push_back(s);
    sleep_seconds(asked ? 1 : 0.1);
  }
  std::sort(seconds.begin(), seconds.end());
  EXPECT_LT(seconds[seconds.size() * 95 / 100], 0.5);
  if (asked)
    std::printf("%d slow clients: good requests %.1f ms in the middle, %.1f ms at most\n", n,
                seconds[seconds.size() / 2] * 1e3, seconds.back() * 1e3);
}

// Threads for a few: those that are slow have to go.
TEST_F(HttpSlow, LessRoomThanSlowClients) {
  HttpServerOptions options;
  options.max_connections = 12;
  options.max_streams = 100;
  options.drain_timeout = 0.1;
  options.header_timeout = options.body_timeout = options.write_timeout = 60;
  HttpServer server(options);
  add_routes(server);
  server.start();
  for (int i = 0; i < 24; ++i) join(server.port(), i);
  for (int round = 0; round < 3; ++round) {
    trickle();
    EXPECT_LT(good(server.port(), 10).back(), 6);
  }
  // A trickled request had to go, whichever came first to a thread, and got to know why.
  std::vector<pollfd> trickled;
  for (size_t i = 0; i < fds_.size(); ++i)
    if (i % 6 == 1 || i % 6 == 2) trickled.push_back({fds_[i], POLLIN, 0});
  ASSERT_GT(::poll(trickled.data(), trickled.size(), 5000), 0);
  std::string answer;
  for (const pollfd& one : trickled) {
    char buffer[200] = {};
    if (one.revents && answer.empty() && ::recv(one.fd, buffer, 12, MSG_WAITALL) > 0)
      answer = buffer;
  }
  EXPECT_EQ(answer, "HTTP/1.1 408");
}

TEST_F(HttpSlow, OneAddressHasItsLimit) {
  HttpServerOptions options;
  options.max_per_peer = 3;
  HttpServer server(options);
  add_routes(server);
  server.start();
  std::string url = str("http://127.0.0.1:", server.port());
  std::vector<HttpClient> clients;
  for (int i = 0; i < 3; ++i) {
    clients.emplace_back(url);
    EXPECT_EQ(clients.back().request("GET", "/hello").status, 200);
  }
  EXPECT_EQ(http_request("GET", url + "/hello").status, 503);
  clients.pop_back();
  Stopwatch watch;
  int status = 0;
  while (status != 200 && watch.seconds() < 3) status = http_request("GET", url + "/hello").status;
  EXPECT_EQ(status, 200);
}

// One who still sends when the refusal has come must not be broken off before reading it.
TEST_F(HttpSlow, WhoIsRefusedReadsWhy) {
  HttpServerOptions options;
  options.max_per_peer = 1;
  HttpServer server(options);
  add_routes(server);
  server.start();
  fds_.push_back(slow_connection(server.port()));
  const int fd = slow_connection(server.port());
  fds_.push_back(fd);
  for (std::string_view part : {"GET /hello HTTP/1.1\r\n", "Host: x\r\n", "\r\n"}) {
    sleep_seconds(0.1);
    EXPECT_EQ(::send(fd, part.data(), part.size(), MSG_NOSIGNAL), static_cast<long>(part.size()));
  }
  char answer[200] = {};
  ASSERT_GT(::recv(fd, answer, sizeof answer - 1, 0), 12);
  EXPECT_EQ(std::string(answer).substr(0, 12), "HTTP/1.1 503");
}

TEST_F(HttpSlow, AClientCanBeInterrupted) {
  HttpServer server;
  server.route("GET", "/never", [](const HttpRequest&, HttpResponse& r) {
    while (!r.client_gone()) sleep_seconds(0.01);
  });
  add_routes(server);
  server.start();
  HttpClient client(str("http://127.0.0.1:", server.port()));
  EXPECT_EQ(client.request("GET", "/hello").status, 200);
  Stopwatch watch;
  std::thread other([&] {
    sleep_seconds(0.2);
    client.interrupt();
  });
  EXPECT_THROW(client.request("GET", "/never"), Error);
  other.join();
  EXPECT_LT(watch.seconds(), 5);
  EXPECT_THROW(client.request("GET", "/hello"), Error);
}

TEST_F(HttpSlow, EndlessRequestsAreRefused) {
  HttpServerOptions options;
  options.max_body = 1000;
  options.max_header = 2000;
  options.body_timeout = options.header_timeout = 20;
  HttpServer server(options);
  add_routes(server);
  server.start();
  auto answer_to = [&](const std::string& begin, const std::string& again) {
    int fd = slow_connection(server.port());
    fds_.push_back(fd);
    push(fd, begin);
    std::string answer(12, '\0');
    std::thread sender([&] {  // until the server closes
      for (int i = 0; i < 2000; ++i)
        if (::send(fd, again.data(), again.size(), MSG_NOSIGNAL) < 0) break;
    });
    long n = ::recv(fd, answer.data(), answer.size(), MSG_WAITALL);
    ::shutdown(fd, SHUT_RDWR);
    sender.join();
    return n == 12 ? answer.substr(9) : "";
  };
  std::string chunked = "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n";
  EXPECT_EQ(answer_to("GET /hello HTTP/1.1\r\nHost: x\r\n", "X-More: 1234567890\r\n"), "431");
  EXPECT_EQ(answer_to("GET /", std::string(1000, 'a')), "431");
  EXPECT_EQ(answer_to(chunked, "1\r\nx\r\n"), "413");
  EXPECT_EQ(answer_to(chunked, "100\r\n" + std::string(256, 'y') + "\r\n"), "413");
  std::string extension = answer_to(chunked + "1;", std::string(1000, 'e'));
  EXPECT_TRUE(extension == "413" || extension == "431") << extension;
  std::string trailer = answer_to(chunked + "0\r\n", "X-More: " + std::string(200, 't') + "\r\n");
  EXPECT_TRUE(trailer == "413" || trailer == "431") << trailer;
  EXPECT_EQ(answer_to(chunked + "fffffffff\r\n", std::string(1000, 'y')), "413");
}

// A client that takes bytes, but too few: the handler is set free.
TEST_F(HttpSlow, ReadersHaveAMinimumRate) {
  HttpServerOptions options;
  options.write_timeout = 0.3;
  options.min_rate = 100 << 20;
  HttpServer server(options);
  std::atomic<double> took{-1};
  server.route("GET", "/big", [&](const HttpRequest&, HttpResponse& r) {
    Stopwatch watch;
    r.send(200, "text/plain", std::string(64 << 20, 'x'));
    took = watch.seconds();
  });
  server.start();
  fds_.push_back(slow_connection(server.port(), 65536));
  push(fds_[0], "GET /big HTTP/1.1\r\nHost: x\r\n\r\n");
  Stopwatch watch;
  std::string buffer(65536, '\0');
  while (took < 0 && watch.seconds() < 8) {
    ::recv(fds_[0], buffer.data(), buffer.size(), MSG_DONTWAIT);
    sleep_seconds(0.02);
  }
  EXPECT_GT(took, 0.2);
  EXPECT_LT(took, 3);
}

}  // namespace
}  // namespace wellspring
