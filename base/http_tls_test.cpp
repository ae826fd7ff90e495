#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <thread>

#include "base/crypto.h"
#include "base/error.h"
#include "base/file.h"
#include "base/http.h"
#include "base/json.h"
#include "base/log.h"
#include "base/test_error.h"
#include "base/text.h"
#include "base/time.h"

namespace wellspring {
namespace {

class HttpTls : public testing::Test {
 protected:
  void SetUp() override { set_log_level(LogLevel::off); }
  void TearDown() override { set_log_level(LogLevel::info); }

  static const Certificate& ca() {
    static const Certificate it = make_ca("test CA");
    return it;
  }
  static HttpServerOptions with(const Certificate& certificate) {
    HttpServerOptions o;
    o.certificate = certificate.cert_pem;
    o.key = certificate.key_pem;
    return o;
  }
  struct Running {
    explicit Running(const HttpServerOptions& options) : server(options) {
      server.route("GET", "/hello",
                   [](const HttpRequest&, HttpResponse& r) { r.send(200, "text/plain", "hello"); });
      server.route("POST", "/echo", [](const HttpRequest& q, HttpResponse& r) {
        r.send(200, "text/plain", q.body);
      });
      server.start();
    }
    std::string url(const std::string& host = "127.0.0.1",
                    const std::string& scheme = "https") const {
      return str(scheme, "://", host, ":", server.port(), "/hello");
    }
    std::string unreachable(const std::string& host = "127.0.0.1") const {
      return str("cannot reach ", host, ":", server.port(), ": ");
    }
    HttpServer server;
  };
  static HttpClientOptions trusting(const std::string& ca_pem,
                                    const std::string& fingerprint = "") {
    HttpClientOptions o;
    o.ca_pem = ca_pem;
    o.ca_fingerprint = fingerprint;
    o.read_timeout = o.connect_timeout = 5;
    return o;
  }
  static HttpResult get(const std::string& url, const HttpClientOptions& options) {
    return http_request("GET", url, {}, {}, {}, options);
  }
  static std::string refusal(const std::string& url, const HttpClientOptions& options) {
    return error_of([&] { get(url, options); }, Fault::io);
  }
};

TEST_F(HttpTls, Good) {
  TemporaryFolder folder;
  auto file = [&](const std::string& name, const std::string& text) {
    std::string path = join_path(folder.path(), name);
    write_file_atomic(path, text);
    return path;
  };
  Certificate own = issue_certificate(ca(), {"localhost", "127.0.0.1"}, 10);
  HttpServerOptions options;
  options.certificate = file("own.pem", own.cert_pem);
  options.key = file("own.key", own.key_pem);
  Running run(options);
  HttpClientOptions trust = trusting(file("ca.pem", ca().cert_pem));
  EXPECT_EQ(get(run.url(), trust).body, "hello");
  EXPECT_EQ(get(run.url("localhost"), trust).body, "hello");
  HttpClient client(str("https://127.0.0.1:", run.server.port()), {}, trust);
  std::string big(5 << 20, 'b');
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(client.request("GET", "/hello").body, "hello");
    EXPECT_TRUE(client.request("POST", "/echo", big).body == big);
  }
}

TEST_F(HttpTls, WhoIsNotToBeTrusted) {
  Running run(with(issue_certificate(ca(), {"127.0.0.1", "*.in.example"}, 10)));
  HttpClientOptions right = trusting(ca().cert_pem);
  std::string wrong = refusal(run.url(), trusting(make_ca("test CA").cert_pem));
  EXPECT_EQ(wrong.rfind(run.unreachable() + "the server's certificate is not to be trusted: ", 0),
            0u)
      << wrong;
  EXPECT_EQ(refusal(run.url("localhost"), right),
            run.unreachable("localhost") + "the server's certificate is not for 'localhost'");
  // Without a CA: the system's, which know nothing of this one.
  refusal(run.url(), trusting(""));

  int64_t now = static_cast<int64_t>(unix_seconds());
  Running expired(with(issue_certificate(ca(), {"127.0.0.1"}, 1, now - 2 * 86400)));
  EXPECT_EQ(refusal(expired.url(), right),
            expired.unreachable() + "the server's certificate has expired");
  Running early(with(issue_certificate(ca(), {"127.0.0.1"}, 1, now + 3600)));
  EXPECT_NE(refusal(early.url(), right).find("not yet valid"), std::string::npos);
}

TEST_F(HttpTls, PinnedFingerprint) {
  std::string print = fingerprint(ca().cert_pem);
  Running run(with(issue_certificate(ca(), {"127.0.0.1"}, 10)));
  EXPECT_EQ(get(run.url(), trusting("", print)).body, "hello");
  std::string colons;
  for (size_t i = 0; i < 64; i += 2) colons += (i ? ":" : "") + print.substr(i, 2);
  for (char& c : colons) c = static_cast<char>(std::toupper(c));
  EXPECT_EQ(get(run.url(), trusting("", colons)).body, "hello");
  EXPECT_EQ(refusal(run.url("localhost"), trusting("", print)),
            run.unreachable("localhost") + "the server's certificate is not for 'localhost'");
  std::string other = fingerprint(make_ca("test CA").cert_pem);
  EXPECT_EQ(refusal(run.url(), trusting("", other)),
            run.unreachable() + "the server's certificate chain holds no CA with the fingerprint " +
                other + ": it is another server, or its CA was made anew");
  // The right CA's certificate shown by somebody whose own is not from it.
  Certificate false_ca = make_ca("test CA");
  Certificate fake = issue_certificate(false_ca, {"127.0.0.1"}, 10);
  std::string leaf = fake.cert_pem.substr(0, fake.cert_pem.find("-----BEGIN", 1));
  Running shown(with({leaf + ca().cert_pem, fake.key_pem}));
  std::string message = refusal(shown.url(), trusting("", print));
  EXPECT_NE(message.find("is not to be trusted"), std::string::npos) << message;
  // And by somebody whose own certificate is expired, or whose leaf signs another leaf.
  Running expired(
      with(issue_certificate(ca(), {"127.0.0.1"}, 1, static_cast<int64_t>(unix_seconds()) - 3e5)));
  EXPECT_EQ(refusal(expired.url(), trusting("", print)),
            expired.unreachable() + "the server's certificate has expired");
  // A pinned leaf is no CA: neither is a fingerprint of another length a fingerprint.
  Certificate own = issue_certificate(ca(), {"127.0.0.1"}, 10);
  Running leaf_only(with(own));
  refusal(leaf_only.url(), trusting("", fingerprint(own.cert_pem)));
  EXPECT_EQ(error_of([&] { get(run.url(), trusting("", "abc")); }),
            "'abc' is not the SHA-256 of a certificate: 64 hex digits");
}

TEST_F(HttpTls, PlainAndTlsMeet) {
  Running secure(with(issue_certificate(ca(), {"127.0.0.1"}, 10))), plain{{}};
  HttpResult r = get(secure.url("127.0.0.1", "http"), {});
  EXPECT_EQ(r.status, 400);
  const Json error = parse_json(r.body, "body")["error"];
  EXPECT_EQ(error["message"], "this port speaks TLS: use https://");
  EXPECT_EQ(error["code"], "tls_required");
  EXPECT_EQ(refusal(plain.url(), trusting(ca().cert_pem)),
            plain.unreachable() + "it does not speak TLS on this port: use http://");
}

TEST_F(HttpTls, CertificateFilesThatDoNotFit) {
  auto start = [](const HttpServerOptions& options) {
    return [&options] { HttpServer(options).start(); };
  };
  HttpServerOptions o = with(issue_certificate(ca(), {"127.0.0.1"}, 10));
  o.key = ca().key_pem;
  EXPECT_EQ(error_of(start(o), Fault::config),
            "the server's key does not belong to its certificate");
  o.key = "/nonexistent/key.pem";
  EXPECT_NE(error_of(start(o), Fault::io).find("/nonexistent/key.pem"), std::string::npos);
  o.key = "";
  EXPECT_EQ(error_of(start(o)), "TLS needs both a certificate and its key");
}

// Handshakes that do not come on block neither the acceptor nor those that do.
TEST_F(HttpTls, SlowHandshakes) {
  HttpServerOptions options = with(issue_certificate(ca(), {"127.0.0.1"}, 10));
  options.header_timeout = 0.5;
  Running run(options);
  std::vector<int> slow;
  for (int i = 0; i < 30; ++i) {
    int fd = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(static_cast<uint16_t>(run.server.port()));
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(::connect(fd, reinterpret_cast<sockaddr*>(&to), sizeof to), 0);
    if (i % 2) {
      ASSERT_EQ(::send(fd, "\x16\x03\x01\x02", 4, MSG_NOSIGNAL), 4);
    }
    slow.push_back(fd);
  }
  Stopwatch watch;
  for (int i = 0; i < 10; ++i) EXPECT_EQ(get(run.url(), trusting(ca().cert_pem)).body, "hello");
  EXPECT_LT(watch.seconds(), 2);
  timeval limit{5, 0};
  for (int fd : slow) {
    char none[100];
    ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    while (::recv(fd, none, sizeof none, 0) > 0) {
    }
    ::close(fd);
  }
  EXPECT_LT(watch.seconds(), 4);
}

TEST_F(HttpTls, KeptClient) {
  HttpServerOptions options;
  options.idle_timeout = 0.1;
  Running run(options);
  std::string base = str("http://127.0.0.1:", run.server.port());
  std::vector<std::string> peers;
  HttpServer server;
  server.route("GET", "/base/peer", [&](const HttpRequest& q, HttpResponse& r) {
    EXPECT_EQ(q.header("authorization"), "secret");
    EXPECT_EQ(q.header("x-one"), "1");
    r.send(200, "text/plain", q.peer);
  });
  server.start();
  HttpClient client(str("http://127.0.0.1:", server.port(), "/base/"),
                    {{"Authorization", "secret"}});
  std::string first = client.request("GET", "/peer", {}, {{"X-One", "1"}}).body;
  EXPECT_EQ(client.request("GET", "/peer", {}, {{"X-One", "1"}}).body, first);
  // Stopped half-way: the connection is not used again.
  client.request("GET", "/peer", {}, {{"X-One", "1"}}, [](std::string_view) { return true; });
  client.close();
  EXPECT_NE(client.request("GET", "/peer", {}, {{"X-One", "1"}}).body, first);
  EXPECT_THROW(client.request("GET", "/pe er"), Error);
  EXPECT_THROW(HttpClient("http://x/?y"), Error);

  // A server that closes its idle connections: a new one, without a word.
  HttpClient other(base);
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(other.request("POST", "/echo", "hi").body, "hi");
    sleep_seconds(0.15);
  }
  run.server.stop();
  EXPECT_THROW(other.request("GET", "/hello"), Error);
}

// A server that takes a second request on a kept connection and closes without an answer.
TEST_F(HttpTls, KeptClientDoesNotPostTwice) {
  int listener = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof at;
  ASSERT_EQ(::bind(listener, reinterpret_cast<sockaddr*>(&at), sizeof at), 0);
  ASSERT_EQ(::listen(listener, 10), 0);
  ::getsockname(listener, reinterpret_cast<sockaddr*>(&at), &size);
  int connections = 0;
  std::thread server([&] {
    for (int fd; (fd = ::accept(listener, nullptr, nullptr)) >= 0; ::close(fd)) {
      char buffer[1000];
      ++connections;
      std::string answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
      if (::recv(fd, buffer, sizeof buffer, 0) <= 0) continue;
      ::send(fd, answer.data(), answer.size(), MSG_NOSIGNAL);
      ::recv(fd, buffer, sizeof buffer, 0);
    }
  });
  {
    HttpClient client(str("http://127.0.0.1:", ntohs(at.sin_port)));
    EXPECT_EQ(client.request("POST", "/").body, "ok");
    std::string message = error_of([&] { client.request("POST", "/"); }, Fault::io);
    EXPECT_TRUE(ends_with(message, "it may have been carried out")) << message;
    EXPECT_EQ(client.request("GET", "/").body, "ok");
    EXPECT_EQ(client.request("GET", "/").body, "ok");  // asked once more
  }
  ::shutdown(listener, SHUT_RDWR);
  server.join();
  ::close(listener);
  EXPECT_EQ(connections, 3);
}

}  // namespace
}  // namespace wellspring
