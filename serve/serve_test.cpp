#include <gtest/gtest.h>

#include <cmath>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/http.h"
#include "base/json.h"
#include "base/text.h"
#include "models/decoder/model.h"
#include "nn/sampler.h"
#include "serve/api.h"
#include "serve/api_request.h"
#include "serve/engine.h"
#include "serve/model_text.h"
#include "serve/session.h"
#include "serve/stop_filter.h"
#include "text/tokenizer.h"

namespace wellspring {
namespace {

TEST(Sampler, GreedyTopKTopP) {
  std::vector<float> logits = {0, 3, 1, 3, -INFINITY};
  SamplingOptions o;
  o.temperature = 0;
  EXPECT_EQ(sample(logits, o, 0), 1);
  o.temperature = 1;
  int counts[5] = {};
  for (uint64_t i = 0; i < 4000; ++i) ++counts[sample(logits, o, i)];
  double total = 1 + 2 * std::exp(3.0) + std::exp(1.0);
  EXPECT_NEAR(counts[0] / 4000.0, 1 / total, 0.01);
  EXPECT_NEAR(counts[1] / 4000.0, std::exp(3.0) / total, 0.03);
  EXPECT_EQ(counts[4], 0);
  EXPECT_EQ(sample(logits, o, 17), sample(logits, o, 17));
  o.top_k = 1;
  for (uint64_t i = 0; i < 50; ++i) EXPECT_EQ(sample(logits, o, i), 1);
  o.top_k = 0, o.top_p = 0.5;
  for (uint64_t i = 0; i < 200; ++i) EXPECT_EQ(sample(logits, o, i) % 2, 1);
  logits[2] = NAN;
  EXPECT_THROW(sample(logits, o, 0), Error);
  o.top_p = 0;
  EXPECT_THROW(o.check(), Error);
}

TEST(StopFilter, HoldsBackWhatMayBeAStop) {
  StopFilter f({"END", "\n\n"});
  EXPECT_EQ(f.push("abE"), "ab");
  EXPECT_EQ(f.push("Nx"), "ENx");
  EXPECT_EQ(f.push("y\n"), "y");
  EXPECT_EQ(f.push("z"), "\nz");
  EXPECT_EQ(f.push("EN"), "");
  EXPECT_EQ(f.push("D more"), "");
  EXPECT_TRUE(f.stopped());
  EXPECT_EQ(f.push("x"), "");
  StopFilter g({"END"});
  EXPECT_EQ(g.push("aEN"), "a");
  EXPECT_EQ(g.finish(), "EN");
  EXPECT_FALSE(g.stopped());
}

DecoderConfig small() {
  DecoderConfig c;
  c.vocab = 300, c.width = 32, c.layers = 2, c.heads = c.kv_heads = 2, c.head_width = 16,
  c.ffn = 48, c.context = 64;
  c.init.vector_std = c.init.matrix_std = 0.5;
  return c;
}

TEST(Engine, AnswersInOrderAndLikeTheWholeSequence) {
  auto model = std::make_shared<const Decoder>(small(), DType::f32, 1);
  auto engine = make_simple_engine(model);
  auto answer = [&](std::vector<int32_t> prompt, int64_t n) {
    std::vector<int32_t> out;
    GenerateRequest r;
    r.prompt = std::move(prompt), r.max_tokens = n, r.sampling.temperature = 0;
    r.on_token = [&](int32_t t) { return out.push_back(t), true; };
    GenerateResult result = engine->generate(std::move(r));
    EXPECT_EQ(result.finish, GenerateResult::Finish::length);
    EXPECT_EQ(result.tokens, static_cast<int64_t>(out.size()));
    return out;
  };
  std::vector<int32_t> first = answer({1, 2, 3}, 10);
  ASSERT_EQ(first.size(), 10u);
  EXPECT_EQ(answer({1, 2, 3}, 10), first) << "with the prompt already in the cache";
  answer({1, 9}, 4);
  EXPECT_EQ(answer({1, 2, 3}, 10), first);
  Session session(model);
  std::vector<int32_t> all = {1, 2, 3};
  for (int32_t expected : first) {
    session.truncate(0);
    SamplingOptions greedy;
    greedy.temperature = 0;
    Tensor logits = session.prefill(all);
    EXPECT_EQ(sample({logits.data_as<float>(), 300}, greedy, 0), expected);
    all.push_back(expected);
  }
  EXPECT_EQ(answer(std::vector<int32_t>(60, 1), 100).size(), 4u) << "ends with the context";
  auto refused = [&](std::vector<int32_t> prompt, int64_t n) {
    GenerateRequest r;
    r.prompt = std::move(prompt), r.max_tokens = n;
    EXPECT_THROW(engine->generate(std::move(r)), Error);
  };
  refused({}, 1);
  refused({300}, 1);
  refused({-1}, 1);
  refused({1}, 0);
  refused(std::vector<int32_t>(64, 1), 1);
}

TEST(Engine, CancelsWaitingAndRunning) {
  auto engine = make_simple_engine(std::make_shared<const Decoder>(small(), DType::f32, 1));
  std::mutex mutex;
  std::vector<GenerateResult::Finish> ends;
  std::vector<int64_t> tickets;
  std::atomic<bool> go{false};
  for (int i = 0; i < 3; ++i) {
    GenerateRequest r;
    r.prompt = {1}, r.max_tokens = 40;
    r.on_token = [&](int32_t) {
      while (!go) std::this_thread::yield();
      return true;
    };
    tickets.push_back(
        engine->submit(std::move(r), [&](const GenerateResult& result, std::exception_ptr) {
          std::lock_guard lock(mutex);
          ends.push_back(result.finish);
        }));
  }
  engine->cancel(tickets[0]);
  engine->cancel(tickets[1]);
  go = true;
  while (engine->load()) std::this_thread::yield();
  engine.reset();
  ASSERT_EQ(ends.size(), 3u);
  EXPECT_EQ(ends[1], GenerateResult::Finish::cancelled);
  EXPECT_EQ(ends[2], GenerateResult::Finish::length);
}

TEST(ApiRequest, ErrorsNameTheField) {
  auto error_of = [](const std::string& body, bool chat = false) {
    try {
      read_api_request(body, chat);
    } catch (const Error& e) {
      EXPECT_EQ(e.fault(), Fault::data);
      return std::string(e.what());
    }
    return std::string();
  };
  EXPECT_EQ(error_of(R"({"prompt": "x"})"), "");
  EXPECT_NE(error_of("{"), "");
  EXPECT_NE(error_of("[]").find("JSON object"), std::string::npos);
  EXPECT_NE(error_of("{}").find("'prompt' is missing"), std::string::npos);
  EXPECT_NE(error_of(R"({"prompt": 1})").find("'prompt'"), std::string::npos);
  EXPECT_NE(
      error_of(R"({"prompt": "x", "temperature": "hot"})").find("'temperature' must be a number"),
      std::string::npos);
  EXPECT_NE(error_of(R"({"prompt": "x", "n": 2})").find("'n'"), std::string::npos);
  EXPECT_NE(error_of(R"({"prompt": "x", "stop": [1]})").find("'stop'"), std::string::npos);
  EXPECT_NE(error_of(R"({"messages": []})", true).find("'messages'"), std::string::npos);
  EXPECT_NE(
      error_of(R"({"messages": [{"role": "x", "content": ""}]})", true).find("messages[0].role"),
      std::string::npos);
}

// A server over a model with a tokenizer of bytes.
class Served : public testing::Test {
 protected:
  Served() {
    Json vocab = Json::object();
    auto spelled = [](int b) {  // GPT-2's printable form of a byte
      std::string s;
      static int next;
      if (b == 0) next = 256;
      bool plain = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
      utf8_append(s, static_cast<char32_t>(plain ? b : next++));
      return s;
    };
    for (int b = 0; b < 256; ++b) vocab[spelled(b)] = b;
    Json json = {{"version", "1.0"},
                 {"added_tokens", Json::array()},
                 {"normalizer", nullptr},
                 {"pre_tokenizer",
                  {{"type", "ByteLevel"},
                   {"add_prefix_space", false},
                   {"trim_offsets", true},
                   {"use_regex", true}}},
                 {"post_processor", nullptr},
                 {"decoder",
                  {{"type", "ByteLevel"},
                   {"add_prefix_space", true},
                   {"trim_offsets", true},
                   {"use_regex", true}}},
                 {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", Json::array()}}}};
    write_file_atomic(folder_.path() + "/tokenizer.json", to_text(json));
    model_ = std::make_shared<const Decoder>(small(), DType::f32, 1);
    text_ = std::make_unique<ModelText>(folder_.path(), model_->config());
    engine_ = make_simple_engine(model_);
    served_ = {"tiny", engine_.get(), text_.get(), model_->config().context};
    add_api_routes(server_, served_);
    server_.start();
  }
  ~Served() override { server_.stop(); }
  HttpResult post(const std::string& path, const std::string& body) {
    return http_request("POST", str("http://127.0.0.1:", server_.port(), path),
                        {{"Content-Type", "application/json"}}, body);
  }

  TemporaryFolder folder_;
  std::shared_ptr<const Decoder> model_;
  std::unique_ptr<ModelText> text_;
  std::unique_ptr<Engine> engine_;
  ServedModel served_;
  HttpServer server_;
};

TEST_F(Served, CompletionsWholeAndStreamedAgree) {
  std::string body = R"({"model": "tiny", "prompt": "ab", "max_tokens": 12, "seed": 3)";
  HttpResult whole = post("/v1/completions", body + "}");
  ASSERT_EQ(whole.status, 200) << whole.body;
  Json json = parse_json(whole.body, "answer");
  EXPECT_EQ(json["choices"][0]["finish_reason"], "length");
  EXPECT_EQ(json["usage"]["prompt_tokens"], 2);
  EXPECT_EQ(json["usage"]["completion_tokens"], 12);
  HttpResult stream = post(
      "/v1/completions", body + R"(, "stream": true, "stream_options": {"include_usage": true}})");
  ASSERT_EQ(stream.status, 200);
  std::string text;
  bool done = false;
  for (const std::string& line : split(stream.body, '\n')) {
    if (!starts_with(line, "data: ")) continue;
    if (line == "data: [DONE]") {
      done = true;
      continue;
    }
    Json event = parse_json(line.substr(6), "event");
    if (!event["choices"].empty())
      text += event["choices"][0]["text"].get<std::string>();
    else
      EXPECT_EQ(event["usage"]["completion_tokens"], 12);
  }
  EXPECT_TRUE(done);
  EXPECT_EQ(text, json["choices"][0]["text"].get<std::string>());
}

TEST_F(Served, Chat) {
  std::string body =
      R"({"messages": [{"role": "user", "content": "hi"}], "max_tokens": 5, "temperature": 0)";
  HttpResult whole = post("/v1/chat/completions", body + "}");
  ASSERT_EQ(whole.status, 200) << whole.body;
  Json json = parse_json(whole.body, "answer");
  EXPECT_EQ(json["choices"][0]["message"]["role"], "assistant");
  HttpResult stream = post("/v1/chat/completions", body + R"(, "stream": true})");
  EXPECT_NE(stream.body.find("\"delta\":{\"role\":\"assistant\""), std::string::npos)
      << stream.body;
  EXPECT_NE(stream.body.find("data: [DONE]"), std::string::npos);
}

TEST_F(Served, StopStringsAndErrors) {
  HttpResult all =
      post("/v1/completions", R"({"prompt": "ab", "max_tokens": 8, "temperature": 0})");
  std::string text = parse_json(all.body, "a")["choices"][0]["text"];
  std::string stop = to_text(Json(text.substr(text.size() / 2)));
  if (utf8_valid(text.substr(text.size() / 2))) {
    HttpResult cut =
        post("/v1/completions",
             R"({"prompt": "ab", "max_tokens": 8, "temperature": 0, "stop": )" + stop + "}");
    EXPECT_EQ(parse_json(cut.body, "a")["choices"][0]["finish_reason"], "stop");
  }
  EXPECT_EQ(post("/v1/completions", "{broken").status, 400);
  EXPECT_EQ(post("/v1/completions", R"({"prompt": ")" + std::string(100, 'x') + R"("})").status,
            400);
  EXPECT_EQ(post("/v1/completions", R"({"prompt": "x", "temperature": -1})").status, 400);
  EXPECT_EQ(post("/v1/completions", R"({"prompt": "x", "stream": true, "top_p": 2})").status, 400);
  EXPECT_EQ(post("/v1/completions", R"({"prompt": [999]})").status, 400);
  EXPECT_EQ(post("/v1/completions", R"({"prompt": "x", "model": "other"})").status, 404);
  EXPECT_EQ(post("/v1/nothing", "{}").status, 404);
  std::string base = str("http://127.0.0.1:", server_.port());
  EXPECT_EQ(parse_json(http_request("GET", base + "/v1/models").body, "a")["data"][0]["id"],
            "tiny");
  EXPECT_EQ(parse_json(http_request("GET", base + "/v1/models/tiny").body, "a")["id"], "tiny");
  EXPECT_EQ(http_request("GET", base + "/v1/models/other").status, 404);
  EXPECT_EQ(parse_json(http_request("GET", base + "/health").body, "a")["status"], "ok");
}

TEST_F(Served, ManyClientsAtOnce) {
  std::vector<std::thread> clients;
  std::atomic<int> good{0};
  for (int i = 0; i < 6; ++i)
    clients.emplace_back([&, i] {
      HttpResult r =
          post("/v1/completions", str(R"({"prompt": "ab", "max_tokens": 6, "seed": )", i, "}"));
      good += r.status == 200;
    });
  for (std::thread& t : clients) t.join();
  EXPECT_EQ(good, 6);
}

}  // namespace
}  // namespace wellspring
