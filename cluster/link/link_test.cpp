// Two ends of a link over a real connection; and an end that does not keep to the rules.
#include "cluster/link/link.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "base/error.h"
#include "base/http.h"
#include "base/json.h"
#include "base/log.h"
#include "base/text.h"
#include "base/time.h"

namespace wellspring::cluster {
namespace {

class Links : public testing::Test {
 protected:
  void SetUp() override { set_log_level(LogLevel::off); }
  void TearDown() override {
    if (near_) near_->close();
    if (near_thread_.joinable()) near_thread_.join();
    server_.stop();
    set_log_level(LogLevel::info);
  }

  /// The far end is in the server; `opened` is called there for each channel, on a thread of its own.
  void begin(std::function<void(Channel&, const Json&)> opened, std::function<void(const Json&)> message = {}) {
    server_.route("GET", "/link", [this, opened, message](const HttpRequest&, HttpResponse& r) {
      Link link(r.upgrade("wellspring-link"),
                {.message = message,
                 .opened =
                     [this, opened](std::shared_ptr<Channel> channel, const Json& what) {
                       ++helpers_;
                       std::thread([this, opened, channel, what] {
                         opened(*channel, what);
                         --helpers_;
                       }).detach();
                     }},
                false);
      link.run([] { return 20.0; });
      while (helpers_) sleep_seconds(0.001);
      far_closed_ = true;
    });
    server_.start();
  }
  std::shared_ptr<HttpDuplex> dial() {
    return http_upgrade(str("http://127.0.0.1:", server_.port(), "/link"), "wellspring-link");
  }
  Link& connect() {
    near_ = std::make_unique<Link>(dial(), Link::Handlers{}, true);
    near_thread_ = std::thread([this] { near_->run([] { return 20.0; }); });
    return *near_;
  }
  bool far_closes() {
    for (int i = 0; i < 500 && !far_closed_; ++i) sleep_seconds(0.01);
    return far_closed_;
  }

  HttpServer server_;
  std::unique_ptr<Link> near_;
  std::thread near_thread_;
  std::atomic<int> helpers_{0};
  std::atomic<bool> far_closed_{false};
};

void echo(Channel& channel, const Json&) {
  while (!channel.over())
    if (const auto part = channel.read(5))
      if (!channel.write(*part)) return;
  channel.finish();
}

TEST_F(Links, CarryMoreThanAWindow) {
  begin(echo);
  const auto channel = connect().open({{"what", "echo"}});
  std::string sent;
  for (int i = 0; sent.size() < (3 << 20); ++i) append(sent, i);
  std::thread writer([&] {
    EXPECT_TRUE(channel->write(sent));
    channel->finish();
  });
  EXPECT_EQ(channel->read_all(10, 1 << 30), sent);
  writer.join();
  EXPECT_TRUE(channel->over() && channel->closing());
  EXPECT_EQ(channel->failure(), "");
}

TEST_F(Links, ForgetChannelsThatAreOver) {
  // More than may be open at a time, on both sides.
  begin([](Channel& channel, const Json& what) {
    channel.write(what.at("say").get<std::string>());
    what.at("how") == "finish" ? channel.finish() : channel.close("enough");
  });
  Link& link = connect();
  for (int i = 0; i < 20'000; ++i) {
    const auto channel = link.open({{"say", "x"}, {"how", i % 2 ? "finish" : "close"}});
    if (i % 3 == 0) continue;  // nobody waits for the answer
    ASSERT_EQ(channel->read_all(10, 100), "x") << i << ": " << channel->failure();
  }
  EXPECT_FALSE(link.closed()) << link.reason();
}

TEST_F(Links, AChannelOutlivesItsLink) {
  begin([](Channel& channel, const Json&) {
    channel.write("left");
    channel.finish();
    sleep_seconds(0.2);
  });
  auto channel = connect().open({{"what", 1}});
  channel->finish();  // both directions have ended, something is unread
  for (int i = 0; i < 500 && !channel->closing(); ++i) sleep_seconds(0.01);
  near_->close();
  near_thread_.join();
  near_ = nullptr;
  EXPECT_EQ(channel->read(1).value_or(""), "left");
  EXPECT_FALSE(channel->read(0.01));
  EXPECT_FALSE(channel->write("x"));
  EXPECT_EQ(channel->failure(), "");
  channel->close();
}

TEST_F(Links, AFailureIsTold) {
  begin([](Channel& channel, const Json&) { channel.close("no such thing"); });
  const auto channel = connect().open({{"what", 1}});
  EXPECT_EQ(channel->read_all(5, 100), "");
  EXPECT_TRUE(channel->over());
  EXPECT_EQ(channel->failure(), "no such thing");
}

// What an end that breaks the rules sends; the link has to end.
class RogueLinks : public Links {
 protected:
  bool refused(const std::vector<Frame>& frames) {
    begin([](Channel& channel, const Json&) {
      for (int i = 0; i < 300 && !channel.closing(); ++i) sleep_seconds(0.01);  // reads nothing
    });
    FrameLink rogue(dial());
    rogue.send_all(frames);
    return far_closes();
  }
};

TEST_F(RogueLinks, MoreThanTheWindow) {
  std::vector<Frame> frames = {{'O', 1, "{}"}};
  for (int i = 0; i < 400; ++i) frames.push_back({'D', 1, std::string(1000, 'x')});
  EXPECT_TRUE(refused(frames));
}

TEST_F(RogueLinks, MoreInOneFrame) { EXPECT_TRUE(refused({{'O', 1, "{}"}, {'D', 1, std::string(400 << 10, 'x')}})); }

TEST_F(RogueLinks, TheWholeWindowIsTaken) {
  std::vector<Frame> frames = {{'O', 1, "{}"}};
  for (int i = 0; i < 5; ++i) frames.push_back({'D', 1, std::string((64 << 10) - 1, 'x')});
  begin([](Channel& channel, const Json&) {
    sleep_seconds(0.2);
    std::string all = channel.read_all(0.3, 1 << 20);
    channel.write(str(all.size()));
    channel.finish();
  });
  FrameLink link(dial());
  link.send_all(frames);
  std::string answer;
  while (const auto frame = link.receive(5)) {
    if (frame->type == 'D') answer += frame->payload;
    if (frame->type == 'E') break;
  }
  EXPECT_EQ(answer, str(5 * ((64 << 10) - 1)));
}

TEST_F(RogueLinks, TwoOfOneNumber) { EXPECT_TRUE(refused({{'O', 1, "{}"}, {'O', 1, "{}"}})); }
TEST_F(RogueLinks, NumbersOfTheOtherSide) { EXPECT_TRUE(refused({{'O', 2, "{}"}})); }
TEST_F(RogueLinks, NoObject) { EXPECT_TRUE(refused({{'O', 1, "[]"}})); }
TEST_F(RogueLinks, NoMessage) { EXPECT_TRUE(refused({{'M', 0, "7"}})); }
TEST_F(RogueLinks, BytesBehindTheEnd) { EXPECT_TRUE(refused({{'O', 1, "{}"}, {'E', 1, ""}, {'D', 1, "x"}})); }
TEST_F(RogueLinks, UnknownFrames) { EXPECT_TRUE(refused({{'O', 1, "{}"}, {'?', 1, "x"}})); }

TEST_F(RogueLinks, TooManyChannels) {
  std::vector<std::shared_ptr<Channel>> kept;
  server_.route("GET", "/link", [&](const HttpRequest&, HttpResponse& r) {
    Link link(r.upgrade("wellspring-link"),
              {.message = {}, .opened = [&](std::shared_ptr<Channel> channel, const Json&) { kept.push_back(channel); }}, false);
    link.run([] { return 20.0; });
    far_closed_ = true;
  });
  server_.start();
  FrameLink rogue(dial());
  std::vector<Frame> frames;
  for (uint32_t i = 0; i < 10'000; ++i) frames.push_back({'O', 2 * i + 1, "{}"});
  rogue.send_all(frames);
  EXPECT_TRUE(far_closes());
  EXPECT_LT(kept.size(), 9000u);
}

TEST_F(Links, AMessageThatMakesItsHandlerThrowEndsTheLink) {
  begin(echo, [](const Json& m) { m.at("text").get<std::string>(); });
  Link& link = connect();
  link.send({{"text", 5}});
  EXPECT_TRUE(far_closes());
}

}  // namespace
}  // namespace wellspring::cluster
