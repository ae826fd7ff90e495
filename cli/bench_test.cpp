// wellspring bench serve against a server that answers as it is told.
#include <gtest/gtest.h>
#include <signal.h>

#include <atomic>
#include <functional>
#include <mutex>

#include "base/file.h"
#include "base/http.h"
#include "base/json.h"
#include "base/log.h"
#include "base/process.h"
#include "base/text.h"
#include "base/time.h"
#include "cli/test_program.h"

namespace wellspring {
namespace {

class BenchServe : public ::testing::Test {
 protected:
  using Answer = std::function<void(const Json& body, HttpResponse& response, int number)>;

  void SetUp() override { set_log_level(LogLevel::off); }
  void TearDown() override { set_log_level(LogLevel::info); }

  // The number counts from 0; that one is sent before the load, to see whether anything works.
  void start(const Answer& answer) {
    server_.route("GET", "/v1/models", [](const HttpRequest&, HttpResponse& r) {
      r.send(200, "application/json", R"({"data": [{"id": "some model"}]})");
    });
    for (const char* path : {"/v1/completions", "/v1/chat/completions"})
      server_.route("POST", path, [&, answer](const HttpRequest& q, HttpResponse& r) {
        {
          std::lock_guard lock(mutex_);
          key_ = std::string(q.header("authorization"));
          bodies_.push_back(parse_json(q.body, "body"));
        }
        answer(parse_json(q.body, "body"), r, number_++);
      });
    server_.start();
  }

  static void piece(HttpResponse& r, const std::string& text) {
    r.write(str(R"(data: {"choices": [{"index": 0, "text": ")", text, "\"}]}\n\n"));
  }
  static void usage(HttpResponse& r, int tokens) {
    r.write(str(R"(data: {"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": )",
                tokens, R"(, "prompt_tokens_details": {"cached_tokens": 3}}})", "\n\n"));
    r.write("data: [DONE]\n\n");
    r.end();
  }
  static void good(HttpResponse& r) {
    r.begin_stream(200, "text/event-stream");
    piece(r, "a");
    usage(r, 1);
  }

  ProcessResult run(std::vector<std::string> words, double timeout = 0) {
    words.insert(words.begin(), {program(), "bench", "serve"});
    ProcessOptions options;
    options.argv = words;
    options.timeout = timeout;
    return run_process(options);
  }
  Json measured(std::vector<std::string> words, double timeout = 0, int status = 0) {
    words.insert(words.begin(), {url(), "--json"});
    const ProcessResult r = run(words, timeout);
    EXPECT_EQ(r.status, status) << r.error;
    return parse_json(r.output, "report");
  }
  std::string url() const { return str("http://127.0.0.1:", server_.port(), "/"); }

  std::mutex mutex_;
  std::vector<Json> bodies_;
  std::string key_;
  std::atomic<int> number_{0};
  HttpServer server_;
};

TEST_F(BenchServe, MeasuresStreams) {
  start([](const Json&, HttpResponse& r, int) {
    sleep_seconds(0.06);
    r.begin_stream(200, "text/event-stream");
    for (int i = 0; i < 5; ++i) {
      if (i) sleep_seconds(0.03);
      piece(r, "word");
    }
    usage(r, 5);
  });
  const Json r = measured({"--concurrency", "4", "--requests", "20", "--prompt-tokens", "5-9",
                           "--output-tokens", "5", "--api-key", "secret", "--shared-tokens", "4",
                           "--shared-share", "1", "--slo", "ttft=50ms"});
  EXPECT_EQ(r["requests"]["sent"], 20);
  EXPECT_EQ(r["requests"]["answered"], 20);
  EXPECT_EQ(r["tokens"]["output"], 100);
  EXPECT_EQ(r["tokens"]["prompt"], 140);
  EXPECT_EQ(r["tokens"]["cached"], 60);
  EXPECT_EQ(r["model"], "some model");
  EXPECT_EQ(r["goodput"]["share"], 0);
  for (const auto& [name, least] :
       {std::pair("ttft", 0.06), {"tpot", 0.03}, {"inter_token", 0.03}, {"e2e", 0.18}}) {
    const Json& d = r["latency"][name];
    EXPECT_GT(d["p50"], 0.99 * least) << name;
    EXPECT_LT(d["p50"], 2 * least + 0.05) << name;
    EXPECT_LE(d["p50"], d["p90"]);
    EXPECT_LE(d["p90"], d["p99"]);
    EXPECT_LE(d["p99"], d["max"]);
  }
  EXPECT_EQ(r["latency"]["inter_token"]["count"], 80);
  EXPECT_EQ(key_, "Bearer secret");
  for (const Json& body : bodies_) {
    EXPECT_EQ(body["max_tokens"], 5);
    EXPECT_TRUE(body["ignore_eos"] && body["stream"] && body["stream_options"]["include_usage"]);
    EXPECT_GE(body["prompt"].size(), 5u);
    EXPECT_LE(body["prompt"].size(), 9u);
    for (size_t i = 0; i < 4; ++i) EXPECT_EQ(body["prompt"][i], bodies_[0]["prompt"][i]);
  }
}

TEST_F(BenchServe, ARequestThatHadToWaitForTheClientHasWaited) {
  start([](const Json&, HttpResponse& r, int) {
    sleep_seconds(0.1);
    good(r);
  });
  const Json r = measured({"--rate", "40", "--duration", "1", "--connections", "1"});
  const auto sent = r["requests"]["sent"].get<int>();
  EXPECT_GT(sent, 15);
  EXPECT_GT(r["requests"]["late"], sent / 2);
  EXPECT_GT(r["latency"]["e2e"]["max"],
            0.1 * sent - 1.3);  // all after one another, from within the second
  EXPECT_GT(r["latency"]["e2e"]["p50"], 0.5);
}

TEST_F(BenchServe, AnOpenLoopDoesNotWait) {
  start([](const Json&, HttpResponse& r, int) {
    sleep_seconds(0.3);
    good(r);
  });
  const Json r = measured({"--rate", "60", "--duration", "1", "--seed", "3"});
  EXPECT_GT(r["requests"]["sent"], 30);
  EXPECT_LT(r["requests"]["sent"], 100);
  EXPECT_LT(r["latency"]["e2e"]["p50"], 0.6);
  const Json again = measured({"--rate", "60", "--duration", "1", "--seed", "3"});
  EXPECT_EQ(r["requests"]["sent"], again["requests"]["sent"]);
}

TEST_F(BenchServe, CountsFailuresByKind) {
  start([](const Json&, HttpResponse& r, int number) {
    switch (number % 8) {
      case 1:
        return r.send_error(429, "slower");
      case 2:
        return r.send_error(503, "full");
      case 3:
        return r.send(502, "text/html", "<html>bad gateway</html>");
      case 4:
        r.begin_stream(200, "text/event-stream");
        piece(r, "and then nothing");
        return r.end();
      case 5:
        r.begin_stream(200, "text/event-stream");
        r.write("data: {no json\n\n");
        return r.end();
      case 6:
        r.begin_stream(200, "text/event-stream");
        r.write("data: {\"error\": {\"message\": \"out of luck\"}}\n\n");
        return r.end();
      default:
        return good(r);
    }
  });
  const Json r = measured({"--concurrency", "1", "--requests", "16"});
  EXPECT_EQ(r["requests"]["sent"], 16);
  EXPECT_EQ(r["requests"]["answered"], 4);
  const Json expected = {
      {"429", 2},      {"502", 2}, {"503", 2}, {"broken off", 2}, {"error in stream", 2},
      {"malformed", 2}};
  EXPECT_EQ(r["errors"], expected);
  number_ = 0;
  const ProcessResult shown = run({url(), "--concurrency", "1", "--requests", "8"});
  EXPECT_NE(shown.output.find("503: 1 (full)"), std::string::npos) << shown.output;
  EXPECT_NE(shown.output.find("out of luck"), std::string::npos) << shown.output;
}

TEST_F(BenchServe, WhatWasMeasuredIsShownWhenItIsStopped) {
  start([](const Json&, HttpResponse& r, int number) {
    if (number < 4) return good(r);
    while (!r.client_gone()) sleep_seconds(0.01);
  });
  const Json r = measured({"--concurrency", "2", "--duration", "100"}, 1.5, 128 + SIGTERM);
  EXPECT_EQ(r["requests"]["answered"], 3);
  EXPECT_EQ(r["requests"]["given_up"], 2);
  EXPECT_EQ(r["requests"]["failed"], 0);
}

TEST_F(BenchServe, ChatsAndWholeAnswers) {
  start([](const Json&, HttpResponse& r, int) {
    r.send(
        200, "application/json",
        R"({"choices": [{"message": {"content": "x"}}],
                "usage": {"prompt_tokens": 2, "completion_tokens": 3}})");
  });
  TemporaryFolder folder;
  const std::string path = join_path(folder.path(), "prompts.jsonl");
  write_file_atomic(path, "\"one\\nline\"\n\n\"two\"\n");
  const Json r = measured(
      {"--chat", "--prompts", path, "--whole", "--requests", "4", "--model", "m", "--may-end"});
  EXPECT_EQ(r["tokens"]["output"], 12);
  EXPECT_FALSE(r["latency"].contains("ttft"));
  ASSERT_EQ(bodies_.size(), 5u);
  EXPECT_EQ(bodies_[1]["messages"][0]["content"], "one\nline");
  EXPECT_EQ(bodies_[2]["messages"][0]["content"], "two");
  EXPECT_FALSE(bodies_[1].contains("stream") || bodies_[1].contains("ignore_eos"));
  EXPECT_EQ(bodies_[1]["model"], "m");
}

TEST_F(BenchServe, Refuses) {
  start([](const Json&, HttpResponse& r, int) { r.send_error(401, "no such key"); });
  const auto says = [&](const std::vector<std::string>& words, int status, const char* what) {
    const ProcessResult r = run(words);
    EXPECT_EQ(r.status, status) << r.error;
    EXPECT_NE(r.error.find(what), std::string::npos) << r.error;
  };
  says({url()}, 65, "no such key");
  says({"http://127.0.0.1:1"}, 74, "127.0.0.1:1");
  says({"no/such/model"}, 74, "no/such/model");
  says({url(), "--rate", "5", "--concurrency", "5"}, 64, "not both");
  says({url(), "--rate", "0"}, 64, "--rate");
  says({url(), "--slo", "first=5ms"}, 64, "ttft=");
  says({url(), "--prompt-tokens", "9-5"}, 64, "--prompt-tokens");
  says({url(), "--duration", "soon"}, 64, "--duration");
  says({url(), "--chat"}, 64, "give a file");
  says({url(), "--prompts", "/dev/null"}, 65, "no prompt");
}

}  // namespace
}  // namespace wellspring
