#include "base/http.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <thread>

#include "base/error.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "base/time.h"

namespace wellspring {
namespace {

class Http : public testing::Test {
 protected:
  void SetUp() override { set_log_level(LogLevel::off); }
  void TearDown() override { set_log_level(LogLevel::info); }

  static void add_routes(HttpServer& server) {
    server.route("GET", "/hello", [](const HttpRequest& q, HttpResponse& r) {
      r.header("X-Query", std::string(q.parameter("name")));
      r.send(200, "text/plain", "hello");
    });
    server.route("POST", "/echo", [](const HttpRequest& q, HttpResponse& r) {
      r.send(200, std::string(q.header("content-type")), q.body);
    });
    server.route("GET", "/models/{id}/files/{path*}", [](const HttpRequest& q, HttpResponse& r) {
      r.send(200, "text/plain", str(q.part("id"), "|", q.part("path")));
    });
    server.route("GET", "/count", [](const HttpRequest&, HttpResponse& r) {
      r.begin_stream(200, "text/event-stream");
      for (int i = 0; i < 3; ++i) r.write(str("data: ", i, "\n\n"));
      r.end();
    });
    server.route("GET", "/break", [](const HttpRequest&, HttpResponse& r) {
      r.begin_stream(200, "text/plain");
      r.write("half");
      throw Error(Fault::data, "broken off");
    });
    server.route("POST", "/json", [](const HttpRequest& q, HttpResponse& r) {
      r.send(200, "application/json", to_text(parse_json(q.body, "request body")));
    });
    server.route("GET", "/silent", [](const HttpRequest&, HttpResponse&) {});
    server.route("GET", "/full",
                 [](const HttpRequest&, HttpResponse&) { throw Error(Fault::try_again, "busy"); });
  }

  static HttpServerOptions quick() {
    HttpServerOptions o;
    o.max_body = 1000;
    o.max_header = 2000;
    o.header_timeout = 0.1;
    o.body_timeout = 0.1;
    o.idle_timeout = 5;
    o.drain_timeout = 2;
    return o;
  }
};

struct Live {
  explicit Live(HttpServerOptions options = {}) : server(options) {}
  HttpServer server;
  std::string url(const std::string& path) const {
    return str("http://127.0.0.1:", server.port(), path);
  }
};

// A client of bare bytes.
struct Raw {
  explicit Raw(int port) : fd(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>(port));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    EXPECT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
    timeval limit{5, 0};
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  }
  ~Raw() { ::close(fd); }
  void send(std::string_view s) { ::send(fd, s.data(), s.size(), MSG_NOSIGNAL); }
  // Until the other side closes.
  std::string rest() {
    std::string out;
    char buffer[4096];
    for (ssize_t n; (n = ::recv(fd, buffer, sizeof buffer, 0)) > 0;)
      out.append(buffer, static_cast<size_t>(n));
    return out;
  }
  std::string some() {
    char buffer[4096];
    ssize_t n = ::recv(fd, buffer, sizeof buffer, 0);
    return std::string(buffer, static_cast<size_t>(std::max<ssize_t>(0, n)));
  }
  int fd;
};

TEST_F(Http, AnswersAndRoutes) {
  Live live;
  add_routes(live.server);
  live.server.start();
  ASSERT_GT(live.server.port(), 0);
  HttpResult r = http_request("GET", live.url("/hello?name=a%20b+c&x"));
  EXPECT_EQ(r.status, 200);
  EXPECT_EQ(r.body, "hello");
  EXPECT_EQ(r.header("x-query"), "a b c");
  EXPECT_EQ(r.header("content-type"), "text/plain");
  r = http_request("POST", live.url("/echo"), {{"Content-Type", "x/y"}}, std::string(100000, 'z'));
  EXPECT_EQ(r.body, std::string(100000, 'z'));
  EXPECT_EQ(r.header("content-type"), "x/y");
  EXPECT_EQ(http_request("GET", live.url("/models/a%2Fb/files/c/d.txt")).status, 404);
  EXPECT_EQ(http_request("GET", live.url("/models/m/files/c/d.txt")).body, "m|c/d.txt");
  r = http_request("HEAD", live.url("/hello"));
  EXPECT_EQ(r.status, 200);
  EXPECT_EQ(r.header("content-length"), "5");
  EXPECT_EQ(r.body, "");
}

TEST_F(Http, ErrorsAreJson) {
  Live live;
  add_routes(live.server);
  live.server.start();
  HttpResult r = http_request("GET", live.url("/nothing"));
  EXPECT_EQ(r.status, 404);
  EXPECT_EQ(parse_json(r.body, "body")["error"],
            (Json{{"message", "no such path: /nothing"},
                  {"type", "invalid_request_error"},
                  {"param", nullptr},
                  {"code", "unknown_url"}}));
  r = http_request("GET", live.url("/echo"));
  EXPECT_EQ(r.status, 405);
  EXPECT_EQ(parse_json(r.body, "body")["error"]["code"], "method_not_supported");
  EXPECT_EQ(r.header("allow"), "POST");
  r = http_request("POST", live.url("/json"), {}, "{\"a\": ");
  EXPECT_EQ(r.status, 400);
  std::string message = parse_json(r.body, "body")["error"]["message"];
  EXPECT_EQ(message.rfind("request body:1:7: not valid JSON", 0), 0u) << message;
  EXPECT_EQ(http_request("GET", live.url("/silent")).status, 500);
  EXPECT_EQ(http_request("GET", live.url("/full")).status, 503);
}

TEST_F(Http, Streams) {
  Live live;
  add_routes(live.server);
  live.server.start();
  std::string all;
  HttpResult r = http_request("GET", live.url("/count"), {}, {}, [&](std::string_view chunk) {
    all += chunk;
    return true;
  });
  EXPECT_EQ(all, "data: 0\n\ndata: 1\n\ndata: 2\n\n");
  EXPECT_EQ(r.header("content-type"), "text/event-stream");
  EXPECT_EQ(r.header("transfer-encoding"), "chunked");
  EXPECT_THROW(http_request("GET", live.url("/break")), Error);
  Raw old(live.server.port());
  old.send("GET /count HTTP/1.0\r\n\r\n");
  std::string text = old.rest();
  EXPECT_TRUE(ends_with(text, "\r\n\r\n" + all)) << text;
}

TEST_F(Http, AStreamLearnsThatItsClientHasGone) {
  std::atomic<bool> noticed{false}, asked{false};
  Live live;
  live.server.route("GET", "/endless", [&](const HttpRequest&, HttpResponse& r) {
    r.begin_stream(200, "text/plain");
    for (int i = 0; i < 5000; ++i) {
      if (!asked && r.client_gone()) asked = true;
      if (!r.write("tick\n")) {
        noticed = true;
        return;
      }
      sleep_seconds(0.001);
    }
  });
  live.server.start();
  int chunks = 0;
  http_request("GET", live.url("/endless"), {}, {}, [&](std::string_view) { return ++chunks < 3; });
  Stopwatch watch;
  while (!noticed && watch.seconds() < 4) sleep_seconds(0.002);
  EXPECT_TRUE(noticed);
  EXPECT_TRUE(asked);
}

TEST_F(Http, KeepsConnectionsAndPipelines) {
  HttpServer server;
  add_routes(server);
  std::string one = "GET /hello HTTP/1.1\r\nHost: x\r\n\r\n";
  std::string two = server.answer(one + one);
  EXPECT_EQ(split(two, '\n').size(), 2 * 6 + 1u) << two;
  EXPECT_NE(two.find("Connection: keep-alive"), std::string::npos);
  std::string closed =
      server.answer("GET /hello HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" + one);
  EXPECT_EQ(closed.find("hello", closed.find("hello") + 1), std::string::npos);
  // Chunked bodies, "100 Continue" and absolute targets.
  EXPECT_TRUE(
      ends_with(server.answer("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
                              "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"),
                "\r\n\r\nabcde"));
  EXPECT_EQ(server
                .answer("POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n"
                        "Content-Length: 2\r\n\r\nab")
                .rfind("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n", 0),
            0u);
  EXPECT_TRUE(ends_with(server.answer("GET http://x/hello?q HTTP/1.1\r\nHost: x\r\n\r\n"),
                        "\r\n\r\nhello"));
}

TEST_F(Http, RefusesWhatIsTooBigOrBroken) {
  HttpServer server(quick());
  add_routes(server);
  auto status = [&](const std::string& bytes) {
    std::string answer = server.answer(bytes);
    return answer.size() < 12 ? "" : answer.substr(9, 3);
  };
  EXPECT_EQ(status("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n"), "413");
  EXPECT_EQ(status("POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n500\r\n" +
                   std::string(0x500, 'x') + "\r\n0\r\n\r\n"),
            "413");
  EXPECT_EQ(status("GET /hello HTTP/1.1\r\nHost: x\r\nX: " + std::string(3000, 'y') + "\r\n\r\n"),
            "431");
  EXPECT_EQ(status("GET /" + std::string(3000, 'y') + " HTTP/1.1\r\nHost: x\r\n\r\n"), "431");
  EXPECT_EQ(status("nonsense\r\n\r\n"), "400");
  EXPECT_EQ(status("GET /hello HTTP/1.1\r\n\r\n"), "400");  // no Host
  EXPECT_EQ(status("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n"), "400");
  EXPECT_EQ(status("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: "
                   "chunked\r\n\r\n0\r\n\r\n"),
            "400");
  EXPECT_EQ(server.answer("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc"), "");
  EXPECT_EQ(server.answer(""), "");
}

TEST_F(Http, EveryAnswerIsALineOfTheLog) {
  HttpServerOptions o = quick();
  o.access_log = true;
  HttpServer server(o);
  add_routes(server);
  std::vector<int> observed;
  server.observer([&](int status) { observed.push_back(status); });
  FILE* lines = std::tmpfile();
  set_log_descriptor(::fileno(lines));
  set_log_level(LogLevel::info);
  server.answer("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
  server.answer("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1001\r\n\r\n");
  server.answer("nonsense\r\n\r\n");
  server.answer("");  // no answer, no line
  set_log_descriptor(2);
  char text[4096] = {};
  ::pread(::fileno(lines), text, sizeof text - 1, 0);
  std::fclose(lines);
  const std::string log = text;
  for (const char* part : {" GET /hello 200 ", " 413 ", " 400 "})
    EXPECT_NE(log.find(part), std::string::npos) << part << log;
  EXPECT_EQ(observed, (std::vector<int>{200, 413, 400}));
}

TEST_F(Http, SlowClientsTimeOut) {
  Live live(quick());
  add_routes(live.server);
  live.server.start();
  Raw head(live.server.port()), body(live.server.port());
  head.send("GET /hel");
  body.send("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nab");
  EXPECT_EQ(head.rest().substr(0, 12), "HTTP/1.1 408");
  EXPECT_EQ(body.rest().substr(0, 12), "HTTP/1.1 408");
}

TEST_F(Http, TheBodysLimitMayDependOnWhoAsks) {
  HttpServerOptions o = quick();
  o.body_limit = [](const HttpRequest& q) {
    return q.header("authorization").empty() ? 10 : q.path == "/echo" ? 2000 : 0;
  };
  HttpServer server(o);
  server.route("POST", "/echo", [](const HttpRequest& q, HttpResponse& r) { r.send(200, "text/plain", q.body); });
  const auto status = [&](const std::string& headers, const std::string& body) {
    const std::string answer = server.answer(str("POST /echo?x HTTP/1.1\r\nHost: x\r\n", headers, "\r\n", body));
    return answer.substr(9, 3) + (answer.find("exceeds 10 bytes") != std::string::npos ? " 10" : "");
  };
  EXPECT_EQ(status("Content-Length: 10\r\n", std::string(10, 'x')), "200");
  EXPECT_EQ(status("Content-Length: 11\r\n", std::string(11, 'x')), "413 10");
  EXPECT_EQ(status("Transfer-Encoding: chunked\r\n", "b\r\n12345678901\r\n0\r\n\r\n"), "413 10");
  EXPECT_EQ(status("Authorization: a\r\nContent-Length: 1000\r\n", std::string(1000, 'x')), "200");
  EXPECT_EQ(status("Authorization: a\r\nContent-Length: 1001\r\n", std::string(1001, 'x')), "413");  // max_body
}

TEST_F(Http, BodiesTogetherAreLimited) {
  HttpServerOptions o;
  o.max_bodies = 3000;
  Live live(o);
  live.server.route("POST", "/echo", [](const HttpRequest& q, HttpResponse& r) { r.send(200, "text/plain", q.body); });
  live.server.start();
  Raw first(live.server.port());
  first.send("POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2000\r\n\r\nbegins");
  EXPECT_NE(first.some().find("100 Continue"), std::string::npos);  // it is being read
  EXPECT_EQ(http_request("POST", live.url("/echo"), {}, std::string(2000, 'y')).status, 503);
  EXPECT_EQ(http_request("POST", live.url("/echo"), {}, std::string(900, 'y')).status, 200);
  first.send(std::string(1994, 'x'));
  EXPECT_NE(first.some().find("200 OK"), std::string::npos);
  // The answer may be here a moment before the body's room is given back.
  const auto at_last = [&](size_t size) {
    int got = 503;
    for (const double end = monotonic_seconds() + 5; got == 503 && monotonic_seconds() < end;)
      got = http_request("POST", live.url("/echo"), {}, std::string(size, 'y')).status;
    return got;
  };
  EXPECT_EQ(at_last(2000), 200);
  EXPECT_EQ(at_last(9000), 200) << "alone it may";
}

TEST_F(Http, AClientMayBeKeptFromAddresses) {
  Live live;
  live.server.route("GET", "/", [](const HttpRequest&, HttpResponse& r) { r.send(200, "text/plain", "here"); });
  live.server.start();
  HttpClientOptions o;
  std::vector<std::string> asked;
  bool may = false;
  o.may_connect = [&](const std::string& address) { return asked.push_back(address), may; };
  const std::string url = str("http://localhost:", live.server.port(), "/");
  EXPECT_THROW(http_request("GET", url, {}, {}, {}, o), Error);
  EXPECT_NE(std::find(asked.begin(), asked.end(), "127.0.0.1"), asked.end());
  may = true;
  EXPECT_EQ(http_request("GET", url, {}, {}, {}, o).body, "here");
}

TEST_F(Http, TooBigBodyOverASocketIsAnswered) {
  Live live(quick());
  add_routes(live.server);
  live.server.start();
  EXPECT_EQ(http_request("POST", live.url("/echo"), {}, std::string(3 << 20, 'x')).status, 413);
}

TEST_F(Http, PortInUse) {
  Live live;
  live.server.start();
  HttpServerOptions same;
  same.port = live.server.port();
  HttpServer other(same);
  try {
    other.start();
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.fault(), Fault::io);
    EXPECT_EQ(std::string(e.what()), str("port ", same.port,
                                         " on 127.0.0.1 is in use: choose another "
                                         "one, or 0 for any free one"));
  }
}

TEST_F(Http, MoreClientsThanThreads) {
  HttpServerOptions o;
  o.max_connections = 3;
  Live live(o);
  add_routes(live.server);
  live.server.start();
  // Three silent kept connections hold the three threads; a fourth client is served all the same.
  Raw a(live.server.port()), b(live.server.port()), c(live.server.port());
  for (Raw* raw : {&a, &b, &c}) {
    raw->send("GET /hello HTTP/1.1\r\nHost: x\r\n\r\n");
    EXPECT_NE(raw->some().find("hello"), std::string::npos);
  }
  EXPECT_EQ(http_request("GET", live.url("/hello")).status, 200);
  std::atomic<int> good{0};
  std::vector<std::thread> clients;
  for (int i = 0; i < 6; ++i)
    clients.emplace_back([&] {
      for (int k = 0; k < 20; ++k)
        if (http_request("GET", live.url("/hello")).body == "hello") ++good;
    });
  for (auto& client : clients) client.join();
  EXPECT_EQ(good, 120);
  // Nor do three that never send anything hold them for long.
  Raw d(live.server.port()), e(live.server.port()), f(live.server.port());
  EXPECT_EQ(http_request("GET", live.url("/hello")).status, 200);
}

TEST_F(Http, ConnectionsBeyondThoseThatWaitAreToldWhen) {
  HttpServerOptions o;
  o.max_connections = 1;
  Live live(o);
  add_routes(live.server);
  std::atomic<bool> go{false};
  live.server.route("GET", "/slow", [&](const HttpRequest&, HttpResponse& r) {
    while (!go) sleep_seconds(0.001);
    r.send(200, "text/plain", "whole");
  });
  live.server.start();
  std::vector<std::unique_ptr<Raw>> held;  // one is served, two wait
  for (int i = 0; i < 3; ++i) {
    held.push_back(std::make_unique<Raw>(live.server.port()));
    held.back()->send("GET /slow HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
  }
  const std::string refused = Raw(live.server.port()).rest();
  EXPECT_EQ(refused.rfind("HTTP/1.1 503 ", 0), 0u) << refused;
  EXPECT_NE(refused.find("\r\nRetry-After: 1\r\n"), std::string::npos) << refused;
  EXPECT_NE(refused.find("too many connections"), std::string::npos) << refused;
  go = true;
  for (const auto& raw : held) EXPECT_TRUE(ends_with(raw->rest(), "whole"));
}

TEST_F(Http, StopDrains) {
  Live live(quick());
  std::atomic<bool> inside{false};
  live.server.route("GET", "/slow", [&](const HttpRequest&, HttpResponse& r) {
    inside = true;
    sleep_seconds(0.2);
    r.send(200, "text/plain", "whole");
  });
  live.server.start();
  std::string body;
  std::thread client([&] { body = http_request("GET", live.url("/slow")).body; });
  Raw idle(live.server.port());
  while (!inside) sleep_seconds(0.001);
  Stopwatch watch;
  live.server.stop();
  EXPECT_LT(watch.seconds(), 1.5);
  client.join();
  EXPECT_EQ(body, "whole");
  EXPECT_EQ(idle.rest(), "");
  EXPECT_THROW(http_request("GET", live.url("/slow")), Error);
}

TEST_F(Http, ClientErrors) {
  auto fault = [](const std::string& url) {
    try {
      http_request("GET", url);
    } catch (const Error& e) {
      return e.fault();
    }
    return Fault::internal;
  };
  EXPECT_EQ(fault("ftp://x/"), Fault::usage);
  EXPECT_EQ(fault("http://:1/"), Fault::usage);
  EXPECT_EQ(fault("http://x:99999/"), Fault::usage);
  EXPECT_EQ(fault("http://127.0.0.1:1/"), Fault::io);
  EXPECT_EQ(url_encode("a b/中"), "a%20b%2F%E4%B8%AD");
  EXPECT_EQ(url_decode("a%20b%2F%E4%B8%AD%zz%4"), "a b/中%zz%4");
}

TEST_F(Http, FilterComesBeforeRoutes) {
  HttpServerOptions o = quick();
  o.request_ids = true;
  HttpServer server(o);
  add_routes(server);
  server.filter([](HttpRequest& q, HttpResponse& r) {
    r.header("X-Seen", q.id);
    q.user = "ada";
    if (q.path == "/count") r.send(401, "text/plain", "no");
    if (q.path == "/echo") throw Error(Fault::try_again, "busy");
  });
  server.route("GET", "/who", [](const HttpRequest& q, HttpResponse& r) { r.send(200, "text/plain", q.user); });
  server.start();
  const auto get = [&](const std::string& path) {
    return http_request("GET", str("http://127.0.0.1:", server.port(), path), {{"X-Request-Id", "one"}});
  };
  EXPECT_EQ(get("/who").body, "ada");
  EXPECT_EQ(get("/who").header("x-request-id"), "one");
  EXPECT_EQ(get("/count").status, 401);
  EXPECT_EQ(get("/echo").status, 503);
  const HttpResult unknown = get("/nowhere");
  EXPECT_EQ(unknown.status, 404);
  EXPECT_EQ(unknown.header("x-seen"), "one");
}

TEST_F(Http, ALateAnswerLooksAsIfNobodyWaited) {
  HttpServer server(quick());
  server.route("GET", "/late", [](const HttpRequest&, HttpResponse& r) {
    r.late_after(0.05);
    EXPECT_FALSE(r.client_gone() || r.late());
    while (!r.client_gone()) std::this_thread::yield();
    EXPECT_TRUE(r.late() && !r.ended());
    r.late_after(0);
    EXPECT_FALSE(r.client_gone());
    r.send(504, "text/plain", "late");
    EXPECT_TRUE(r.ended());
  });
  server.start();
  EXPECT_EQ(http_request("GET", str("http://127.0.0.1:", server.port(), "/late")).body, "late");
}

TEST_F(Http, TheServerMakesAllAnswersLate) {
  HttpServer server(quick());
  server.route("GET", "/late", [&](const HttpRequest&, HttpResponse& r) {
    EXPECT_FALSE(r.late());
    server.make_late();
    EXPECT_TRUE(r.late() && r.client_gone());
    r.send(503, "text/plain", "stopping");
  });
  server.start();
  EXPECT_EQ(http_request("GET", str("http://127.0.0.1:", server.port(), "/late")).body, "stopping");
}

TEST_F(Http, APortIsTakenBeforeAnybodyIsConnected) {
  HttpServer first(quick());
  first.bind();
  const std::string url = str("http://127.0.0.1:", first.port(), "/");
  EXPECT_THROW(http_request("GET", url), Error);
  first.route("GET", "/", [](const HttpRequest&, HttpResponse& r) { r.send(200, "text/plain", "here"); });
  first.start();
  EXPECT_EQ(http_request("GET", url).body, "here");
  HttpServerOptions same = quick();
  same.port = first.port();
  EXPECT_THROW(HttpServer(same).bind(), Error);
  HttpServer(quick()).bind();  // and goes without having been started
}

TEST(Loopback, NoNameThatBeginsSo) {
  for (const char* yes : {"localhost", "127.0.0.1", "127.1.2.3", "::1"}) EXPECT_TRUE(is_loopback(yes)) << yes;
  for (const char* no : {"127.evil.example", "127", "10.0.0.1", "0.0.0.0", "::", ""}) EXPECT_FALSE(is_loopback(no)) << no;
}

}  // namespace
}  // namespace wellspring
