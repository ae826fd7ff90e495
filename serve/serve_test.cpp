#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "base/http.h"
#include "base/json.h"
#include "base/random.h"
#include "base/text.h"
#include "base/threads.h"
#include "models/decoder/model.h"
#include "nn/paged_cache.h"
#include "nn/sampler.h"
#include "serve/api.h"
#include "serve/api_request.h"
#include "serve/engine.h"
#include "serve/model_text.h"
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
  auto engine = make_engine(model);
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
  std::vector<int32_t> all = {1, 2, 3};
  for (int32_t expected : first) {
    SamplingOptions greedy;
    greedy.temperature = 0;
    const auto n = static_cast<int64_t>(all.size());
    const Tensor logits = model->logits(Tensor::from(std::span<const int32_t>(all), {1, n}));
    EXPECT_EQ(sample({logits.data_as<float>() + (n - 1) * 300, 300}, greedy, 0), expected);
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

// Requests that have much in common, many at a time, with so few pages that some have to wait again.
struct Schedule {
  std::vector<GenerateRequest> requests;
  explicit Schedule(uint64_t seed, int n, int64_t context) {
    Random random(seed, 0);
    const auto below = [&](int64_t k) { return static_cast<int64_t>(random.uniform() * static_cast<double>(k)); };
    std::vector<int32_t> base(static_cast<size_t>(context));
    for (int32_t& t : base) t = static_cast<int32_t>(below(300));
    for (int i = 0; i < n; ++i) {
      GenerateRequest r;
      r.prompt.assign(base.begin(), base.begin() + below(context - 20));
      for (int64_t own = 1 + below(10); own > 0; --own) r.prompt.push_back(static_cast<int32_t>(below(300)));
      r.max_tokens = 1 + below(12);
      r.sampling.temperature = i % 3 ? 0.9 : 0;
      r.sampling.seed = static_cast<uint64_t>(i), r.sampling.top_p = i % 2 ? 0.9 : 1;
      r.owner = i % 4 ? "" : "another";
      requests.push_back(std::move(r));
    }
  }
  std::vector<std::vector<int32_t>> run(Engine& engine, bool together) const {
    std::vector<std::vector<int32_t>> out(requests.size());
    std::atomic<size_t> ended{0};
    for (size_t i = 0; i < requests.size(); ++i) {
      GenerateRequest r = requests[i];
      r.on_token = [&out, i](int32_t t) { return out[i].push_back(t), true; };
      engine.submit(std::move(r), [&](const GenerateResult&, std::exception_ptr error) {
        EXPECT_FALSE(error);
        ++ended;
      });
      while (!together && ended <= i) std::this_thread::yield();
      if (together && i % 7 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    while (ended < requests.size()) std::this_thread::yield();
    return out;
  }
};

TEST(Engine, TheSameAnswerAloneAndInAnyCompany) {
  DecoderConfig c = small();
  c.context = 256, c.kv_heads = 1;
  const char* asked = std::getenv("WELLSPRING_SCHEDULES");
  const int n = asked ? std::atoi(asked) : 60;
  struct Kind {
    DType dtype, cache;
    std::optional<WeightFormat> weights;
  };
  for (const Kind& kind : {Kind{DType::f32, DType::f32, {}}, Kind{DType::bf16, DType::bf16, {}},
                           Kind{DType::bf16, DType::bf16, WeightFormat::bf16},
                           Kind{DType::f32, DType::i8, WeightFormat::q8}, Kind{DType::bf16, DType::bf16, WeightFormat::q4}}) {
    Decoder trained(c, kind.dtype, 1);
    auto model = std::make_shared<Decoder>(c, kind.dtype, Decoder::Use::inference);
    for (size_t i = 0; i < model->parameters().size(); ++i)
      model->parameters()[i]->compute.copy_from(trained.parameters()[i]->compute.detach());
    if (kind.weights) model->quantize(*kind.weights, *kind.weights == WeightFormat::bf16 ? WeightFormat::bf16 : WeightFormat::q8);
    const Schedule schedule(7, n, c.context);
    EngineOptions alone;
    alone.cache = kind.cache;
    std::vector<std::vector<int32_t>> expected(schedule.requests.size());
    for (size_t i = 0; i < expected.size(); ++i) {  // an engine of its own each, on one thread or two
      set_threads(1 + static_cast<int>(i % 2));
      GenerateRequest r = schedule.requests[i];
      r.on_token = [&](int32_t t) { return expected[i].push_back(t), true; };
      make_engine(model, alone)->generate(std::move(r));
    }
    set_threads(2);
    for (const int64_t rows : {5, 64}) {
      EngineOptions o = alone;
      o.rows = rows, o.sequences = 6;
      o.cache_bytes = 7 * PagedCache(c.layers, c.kv_heads, c.head_width, 1, kind.cache).page_bytes();
      const auto engine = make_engine(model, o);
      EXPECT_EQ(schedule.run(*engine, true), expected);
      EXPECT_EQ(schedule.run(*engine, false), expected) << "one after the other, with what is kept";
      const EngineFigures f = engine->figures();
      EXPECT_GT(f.preemptions, 0);
      EXPECT_GT(f.cached_tokens, 0);
      EXPECT_EQ(f.free_pages + f.kept_pages, f.pages) << "a page is lost";
    }
  }
}

TEST(Engine, CancelsWaitingAndRunning) {
  auto engine = make_engine(std::make_shared<const Decoder>(small(), DType::f32, 1));
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
    engine_ = make_engine(model_);
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

TEST_F(Served, LogProbabilitiesBiasAndLengths) {
  const auto json_of = [&](const std::string& path, const std::string& body) {
    const HttpResult r = post(path, body);
    EXPECT_EQ(r.status, 200) << r.body;
    return parse_json(r.body, "answer");
  };
  const Json one = json_of("/v1/completions", R"({"prompt": "ab", "max_tokens": 5, "temperature": 0, "logprobs": 3})");
  const Json& l = one["choices"][0]["logprobs"];
  ASSERT_EQ(l["tokens"].size(), 5u);
  for (size_t i = 0; i < 5; ++i) {
    ASSERT_LE(l["top_logprobs"][i].size(), 3u);  // two tokens may have one text
    double most = -1e9;
    for (const auto& [text, p] : l["top_logprobs"][i].items()) most = std::max(most, p.get<double>());
    EXPECT_EQ(l["token_logprobs"][i].get<double>(), most) << "greedy takes the most likely";
    EXPECT_LT(most, 0);
  }
  const Json chat = json_of("/v1/chat/completions",
                            R"({"messages": [{"role": "user", "content": "x"}], "max_tokens": 3, "logprobs": true, "top_logprobs": 2})");
  EXPECT_EQ(chat["choices"][0]["logprobs"]["content"].size(), 3u);
  EXPECT_EQ(chat["choices"][0]["logprobs"]["content"][0]["top_logprobs"].size(), 2u);
  // A token that is barred, and one that alone may stand.
  const std::string forced = json_of("/v1/completions", R"({"prompt": "ab", "max_tokens": 4, "logit_bias": {"97": 100}})")["choices"][0]["text"];
  const int32_t id = 97;
  std::string four;
  for (int i = 0; i < 4; ++i) four += text_->tokenizer().decode({&id, 1});
  EXPECT_EQ(forced, four);
  for (const char* bad : {R"("logprobs": 21)", R"("logit_bias": {"x": 1})", R"("logit_bias": {"1": 1000})", R"("min_p": 2)",
                          R"("repetition_penalty": 0)", R"("min_tokens": -1)"})
    EXPECT_EQ(post("/v1/completions", str(R"({"prompt": "ab", )", bad, "}")).status, 400) << bad;
  const Json again = json_of("/v1/completions", R"({"prompt": "abcdefgh", "max_tokens": 2})");
  const Json cached = json_of("/v1/completions", R"({"prompt": "abcdefgh", "max_tokens": 2})");
  EXPECT_EQ(cached["usage"]["prompt_tokens_details"]["cached_tokens"], 7);
}

TEST_F(Served, TokensAndFigures) {
  const Json there = parse_json(post("/tokenize", R"({"prompt": "hello"})").body, "a");
  EXPECT_EQ(there["count"], there["tokens"].size());
  const Json back = parse_json(post("/detokenize", to_text({{"tokens", there["tokens"]}})).body, "a");
  EXPECT_EQ(back["prompt"], "hello");
  EXPECT_EQ(post("/detokenize", R"({"tokens": [-1]})").status, 400);
  EXPECT_EQ(post("/tokenize", "[]").status, 400);
  post("/v1/completions", R"({"prompt": "ab", "max_tokens": 3, "ignore_eos": true})");
  const std::string base = str("http://127.0.0.1:", server_.port());
  const std::string figures = http_request("GET", base + "/metrics").body;
  EXPECT_NE(figures.find("\nwellspring_generated_tokens_total 3\n"), std::string::npos) << figures;
  EXPECT_EQ(http_request("GET", base + "/health/ready").status, 200);
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
