#include <gtest/gtest.h>
#include <poll.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "base/crypto.h"
#include "base/error.h"
#include "base/frames.h"
#include "base/http.h"
#include "base/log.h"
#include "base/random.h"
#include "base/test_error.h"
#include "base/text.h"
#include "base/time.h"

namespace wellspring {
namespace {

// Plain (false) and over TLS (true).
class HttpUpgrade : public testing::TestWithParam<bool> {
 protected:
  static void SetUpTestSuite() {
    ca() = make_ca("test CA");
    own() = issue_certificate(ca(), {"127.0.0.1"}, 1);
  }
  void SetUp() override { set_log_level(LogLevel::off); }
  void TearDown() override { set_log_level(LogLevel::info); }
  static Certificate& ca() {
    static Certificate it;
    return it;
  }
  static Certificate& own() {
    static Certificate it;
    return it;
  }
  static HttpServerOptions server_options() {
    HttpServerOptions o;
    if (GetParam()) {
      o.certificate = own().cert_pem;
      o.key = own().key_pem;
    }
    o.drain_timeout = 3;
    return o;
  }
  static HttpClientOptions client_options() {
    HttpClientOptions o;
    o.ca_pem = ca().cert_pem;
    o.read_timeout = 5;
    return o;
  }
  static std::string url(const HttpServer& server, const std::string& path) {
    return str(GetParam() ? "https" : "http", "://127.0.0.1:", server.port(), path);
  }
  static auto open(const HttpServer& server, const std::string& path) {
    return http_upgrade(url(server, path), "test-bytes", {}, client_options());
  }
};

std::string read_exactly(HttpDuplex& duplex, size_t n) {
  std::string out(n, '\0');
  size_t have = 0;
  while (have < n) {
    long got = duplex.read(out.data() + have, n - have, 10);
    if (got <= 0) break;
    have += static_cast<size_t>(got);
  }
  out.resize(have);
  return out;
}

TEST_P(HttpUpgrade, EchoesAndEnds) {
  HttpServer server(server_options());
  std::atomic<long> last{99};
  server.route("GET", "/link", [&](const HttpRequest& q, HttpResponse& r) {
    auto duplex = r.upgrade("test-bytes");
    EXPECT_EQ(duplex->peer(), q.peer);
    char buffer[100];
    long n;
    while ((n = duplex->read(buffer, sizeof buffer, 5)) > 0)
      duplex->write({buffer, static_cast<size_t>(n)});
    last = n;
  });
  server.start();
  auto duplex = open(server, "/link");
  for (const char* text : {"a", "bcd", "efghi"}) {
    EXPECT_TRUE(duplex->write(text));
    EXPECT_EQ(read_exactly(*duplex, std::string_view(text).size()), text);
  }
  char none;
  Stopwatch watch;
  EXPECT_EQ(duplex->read(&none, 1, 0.05), HttpDuplex::kTimeout);
  EXPECT_GE(watch.seconds(), 0.05);
  pollfd wait{duplex->descriptor(), POLLIN, 0};
  EXPECT_EQ(::poll(&wait, 1, 0), 0);
  EXPECT_TRUE(duplex->write("x"));
  EXPECT_EQ(::poll(&wait, 1, 2000), 1);
  EXPECT_EQ(read_exactly(*duplex, 1), "x");
  EXPECT_FALSE(duplex->buffered());
  duplex.reset();
  for (watch.restart(); last == 99 && watch.seconds() < 3;) sleep_seconds(0.001);
  EXPECT_EQ(last, HttpDuplex::kEnd);
}

TEST_P(HttpUpgrade, Refused) {
  HttpServerOptions options = server_options();
  options.max_streams = 1;
  HttpServer server(options);
  server.route("GET", "/link", [](const HttpRequest&, HttpResponse& r) {
    char none;
    r.upgrade("test-bytes")->read(&none, 1, 5);
  });
  server.route("GET", "/no", [](const HttpRequest&, HttpResponse& r) {
    r.send_error(403, "the token has expired");
  });
  server.start();
  std::string place = str("127.0.0.1:", server.port());
  EXPECT_EQ(error_of([&] { open(server, "/no"); }),
            place + " refuses /no as test-bytes with 403: the token has expired");
  EXPECT_EQ(error_of([&] { open(server, "/none"); }),
            place + " refuses /none as test-bytes with 404: no such path: /none");
  EXPECT_EQ(error_of([&] { http_upgrade(url(server, "/link"), "other", {}, client_options()); }),
            place +
                " refuses /link as other with 400: /link is for connections upgraded to "
                "test-bytes: send 'Connection: Upgrade' and 'Upgrade: test-bytes'");
  HttpClient client(url(server, ""), {}, client_options());
  EXPECT_EQ(client.request("GET", "/link").status, 400);
  auto first = open(server, "/link");
  std::string second = error_of([&] { open(server, "/link"); }, Fault::try_again);
  EXPECT_NE(second.find("with 503: too many open connections"), std::string::npos) << second;
}

TEST_P(HttpUpgrade, BothDirectionsAtOnce) {
  constexpr size_t kBytes = 50 << 20, kBlock = 1 << 20;
  auto pattern = [](size_t block, int side) {
    std::string out(kBlock, '\0');
    uint64_t x = block * 2654435761u + static_cast<uint64_t>(side) + 1;
    for (size_t i = 0; i < kBlock; i += 8) {
      x = x * 6364136223846793005u + 1442695040888963407u;
      std::memcpy(out.data() + i, &x, 8);
    }
    return out;
  };
  auto side = [&](HttpDuplex& duplex, int own) {
    std::thread writer([&] {
      for (size_t i = 0; i < kBytes / kBlock; ++i)
        if (!duplex.write(pattern(i, own))) return;
    });
    size_t right = 0;
    for (size_t i = 0; i < kBytes / kBlock; ++i)
      right += read_exactly(duplex, kBlock) == pattern(i, 1 - own);
    writer.join();
    return right;
  };
  HttpServer server(server_options());
  std::atomic<size_t> at_server{0};
  server.route("GET", "/link", [&](const HttpRequest&, HttpResponse& r) {
    auto duplex = r.upgrade("test-bytes");
    at_server = side(*duplex, 0);
  });
  server.start();
  auto duplex = open(server, "/link");
  EXPECT_EQ(side(*duplex, 1), kBytes / kBlock);
  char none;
  EXPECT_EQ(duplex->read(&none, 1, 5), HttpDuplex::kEnd);
  EXPECT_EQ(at_server, kBytes / kBlock);
}

TEST_P(HttpUpgrade, ManyWritersDoNotMix) {
  HttpServer server(server_options());
  server.route("GET", "/link", [&](const HttpRequest&, HttpResponse& r) {
    FrameLink link(r.upgrade("test-bytes"));
    std::vector<std::thread> writers;
    for (uint32_t w = 0; w < 4; ++w)
      writers.emplace_back([&, w] {
        for (uint32_t i = 0; i < 300; ++i)
          EXPECT_TRUE(link.send(static_cast<uint8_t>(w), i,
                                std::string(i * 37 % 3000, static_cast<char>('a' + w))));
      });
    for (auto& writer : writers) writer.join();
    link.receive(5);
  });
  server.start();
  FrameLink link(open(server, "/link"));
  uint32_t next[4] = {};
  for (int i = 0; i < 1200; ++i) {
    auto frame = link.receive(5);
    ASSERT_TRUE(frame);
    ASSERT_LT(frame->type, 4);
    EXPECT_EQ(frame->channel, next[frame->type]++);
    EXPECT_EQ(frame->payload,
              std::string(frame->channel * 37 % 3000, static_cast<char>('a' + frame->type)));
  }
}

TEST_P(HttpUpgrade, CloseWakesReaderAndWriter) {
  HttpServer server(server_options());
  std::shared_ptr<HttpDuplex> kept;
  std::atomic<bool> there{false};
  server.route("GET", "/link", [&](const HttpRequest&, HttpResponse& r) {
    kept = r.upgrade("test-bytes");
    there = true;
    std::string block(1 << 20, 'x');
    while (kept->write(block)) {
    }
  });
  server.start();
  auto duplex = open(server, "/link");
  while (!there) sleep_seconds(0.001);
  // The server's side: one thread waits in write(), for the client reads nothing; one in read().
  std::atomic<long> read{99};
  std::thread reader([&] {
    char none;
    read = kept->read(&none, 1, 20);
  });
  sleep_seconds(0.1);
  EXPECT_EQ(read, 99);
  Stopwatch watch;
  kept->close();
  reader.join();
  EXPECT_EQ(read, HttpDuplex::kEnd);
  EXPECT_FALSE(kept->write("more"));
  server.stop();
  EXPECT_LT(watch.seconds(), 2.5);
  EXPECT_EQ(kept->descriptor(), -1);  // outlives its handler, of no use
  // A client's side.
  std::thread other([&] {
    char none;
    while (duplex->read(&none, 1, 20) > 0) {
    }
  });
  duplex->close();
  other.join();
  EXPECT_LT(watch.seconds(), 4);
}

TEST_P(HttpUpgrade, StopEndsIt) {
  HttpServer server(server_options());
  std::atomic<bool> there{false};
  server.route("GET", "/link", [&](const HttpRequest&, HttpResponse& r) {
    FrameLink link(r.upgrade("test-bytes"));
    there = true;
    while (link.receive(20)) {
    }
    link.send(7, 0, "bye");
  });
  server.start();
  FrameLink link(open(server, "/link"));
  while (!there) sleep_seconds(0.001);
  std::thread stopper([&] { server.stop(); });
  Stopwatch watch;
  auto last = link.receive(5);
  ASSERT_TRUE(last);
  EXPECT_EQ(last->payload, "bye");
  EXPECT_FALSE(link.receive(5));
  EXPECT_TRUE(link.closed());
  EXPECT_EQ(link.reason(), "the other side ended it");
  stopper.join();
  EXPECT_LT(watch.seconds(), 2.5);
}

INSTANTIATE_TEST_SUITE_P(Http, HttpUpgrade, testing::Bool(),
                         [](const auto& info) { return info.param ? "Tls" : "Plain"; });

TEST(HttpUpgradeBytes, BytesRightBehindTheRequestAreNotLost) {
  HttpServer server;
  server.route("GET", "/link", [&](const HttpRequest&, HttpResponse& r) {
    auto duplex = r.upgrade("x");
    EXPECT_TRUE(duplex->buffered());
    duplex->write(read_exactly(*duplex, 5) + "!");
  });
  std::string answer = server.answer(
      "GET /link HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: "
      "X\r\n\r\nhello");
  EXPECT_EQ(answer.rfind("HTTP/1.1 101 ", 0), 0u);
  EXPECT_TRUE(ends_with(answer, "\r\n\r\nhello!")) << answer;
}

TEST(Frames, AnyPiecesGiveTheSameFrames) {
  std::string bytes;
  std::vector<Frame> frames;
  uint32_t x = 1;
  for (int i = 0; i < 200; ++i) {
    x = x * 1664525 + 1013904223;
    frames.push_back(
        {static_cast<uint8_t>(x >> 8), x * 7, std::string(x % (i % 20 ? 50 : 70000), 'f')});
    append_frame(bytes, frames.back().type, frames.back().channel, frames.back().payload);
  }
  for (size_t piece : {1ul, 2ul, 9ul, 10ul, 1000ul, 65536ul, bytes.size()}) {
    FrameParser parser;
    size_t n = 0;
    for (size_t at = 0; at < bytes.size(); at += piece) {
      parser.feed(std::string_view(bytes).substr(at, piece));
      while (auto frame = parser.next()) {
        ASSERT_LT(n, frames.size());
        EXPECT_EQ(frame->type, frames[n].type);
        EXPECT_EQ(frame->channel, frames[n].channel);
        EXPECT_TRUE(frame->payload == frames[n].payload);
        ++n;
      }
    }
    EXPECT_EQ(n, frames.size());
    EXPECT_EQ(parser.pending(), 0u);
  }
}

TEST(Frames, TooBigIsRefusedFromItsHeader) {
  FrameParser parser(100);
  std::string bytes;
  append_frame(bytes, 1, 2, std::string(100, 'x'));
  append_frame(bytes, 1, 2, std::string(101, 'x'));
  parser.feed(std::string_view(bytes).substr(0, 109 + 9));
  EXPECT_TRUE(parser.next());
  EXPECT_EQ(error_of([&] { parser.next(); }, Fault::data),
            "a frame of 101 bytes: at most 100 may come");
}

TEST(Frames, LinkEndsOnTooBigAndKeepsWhatCameBefore) {
  set_log_level(LogLevel::off);
  HttpServer server;
  server.route("GET", "/link", [&](const HttpRequest&, HttpResponse& r) {
    FrameLink link(r.upgrade("x"));
    link.send_all({{1, 10, "one"}, {2, 20, ""}, {3, 30, std::string(5000, 'z')}});
    link.receive(5);
  });
  server.start();
  FrameLink link(http_upgrade(str("http://127.0.0.1:", server.port(), "/link"), "x"), 1000);
  auto one = link.receive(5), two = link.receive(5);
  ASSERT_TRUE(one && two);
  EXPECT_EQ(one->payload, "one");
  EXPECT_EQ(two->channel, 20u);
  EXPECT_FALSE(link.closed());
  EXPECT_FALSE(link.receive(5));
  EXPECT_TRUE(link.closed());
  EXPECT_EQ(link.reason(), "a frame of 5000 bytes: at most 1000 may come");
  EXPECT_FALSE(link.send(1, 1, "x"));
  set_log_level(LogLevel::info);
}

}  // namespace
}  // namespace wellspring
