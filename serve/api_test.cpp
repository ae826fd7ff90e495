#include <gtest/gtest.h>

#include <atomic>
#include <cstring>
#include <set>
#include <thread>
#include <tuple>

#include "base/error.h"
#include "serve/api_request.h"
#include "serve/test_served.h"

namespace wellspring {
namespace {

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
  EXPECT_NE(error_of(R"({"prompt": "x", "n": 65})").find("'n'"), std::string::npos);
  EXPECT_NE(error_of(R"({"prompt": "x", "n": 2, "best_of": 1})").find("'best_of'"), std::string::npos);
  EXPECT_NE(error_of(R"({"prompt": "x", "temprature": 1})").find("did you mean 'temperature'"), std::string::npos);
  EXPECT_EQ(error_of(R"({"prompt": "x", "my_own_note": 1})"), "");
  EXPECT_NE(error_of(R"({"prompt": "x", "use_beam_search": true, "top_p": 0.5})").find("'top_p'"), std::string::npos);
  EXPECT_NE(error_of(R"({"prompt": "x", "stop": [1]})").find("'stop'"), std::string::npos);
  EXPECT_NE(error_of(R"({"messages": []})", true).find("'messages'"), std::string::npos);
  EXPECT_NE(
      error_of(R"({"messages": [{"role": "x", "content": ""}]})", true).find("messages[0].role"),
      std::string::npos);
}

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
                            R"({"messages": [{"role": "user", "content": "x"}], "max_tokens": 3, "logprobs": true, "top_logprobs": 2, "ignore_eos": true})");
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
  EXPECT_NE(figures.find("\nwellspring_generated_tokens_total{model=\"tiny\"} 3\n"), std::string::npos) << figures;
  EXPECT_EQ(http_request("GET", base + "/health/ready").status, 200);
}

// What is the same each time.
Json lasting(Json answer) {
  for (const char* field : {"id", "created"}) answer.erase(field);
  if (answer.contains("usage")) answer["usage"].erase("prompt_tokens_details");
  return answer;
}

TEST_F(Served, AnswersAreTheSameInACrowd) {
  std::vector<std::pair<std::string, Json>> all;
  for (int i = 0; i < 5; ++i) {
    const Json any = {{"prompt", std::string(static_cast<size_t>(3 + 9 * i), 'x') + std::to_string(i)}, {"seed", i}, {"max_tokens", 8}};
    const Json messages = {{{"role", "user"}, {"content", str("hi ", i)}}};
    for (const Json& more : {Json{{"n", 3}}, Json{{"best_of", 4}, {"n", 2}, {"logprobs", 2}}, Json{{"use_beam_search", true}, {"best_of", 4}, {"n", 4}},
                             Json{{"temperature", 0}, {"logprobs", 5}}, Json{{"regex", "[a-c]{2,}"}, {"repetition_penalty", 1.3}},
                             Json{{"stop", {"a", "\n"}}, {"logit_bias", {{"97", 4}}}, {"frequency_penalty", 1}}}) {
      all.emplace_back("/v1/completions", any);
      all.back().second.update(more);
    }
    all.emplace_back("/v1/chat/completions", Json{{"messages", messages}, {"seed", i}, {"max_tokens", 9}, {"logprobs", true}, {"top_logprobs", 3}});
    all.emplace_back("/v1/chat/completions", Json{{"messages", messages}, {"seed", i}, {"max_tokens", 30}, {"response_format", {{"type", "json_object"}}}});
    all.emplace_back("/v1/embeddings", Json{{"input", {any["prompt"], "y"}}, {"pooling", i % 2 ? "mean" : "last"}});
  }
  std::vector<Json> alone;
  for (const auto& [path, body] : all) alone.push_back(lasting(ask(path, body)));
  std::atomic<size_t> same{0};
  std::vector<std::thread> clients;
  for (size_t k = 0; k < 8; ++k)
    clients.emplace_back([&, k] {
      for (size_t j = 0; j < all.size(); ++j) {
        const size_t i = k % 2 ? (j + 5 * k) % all.size() : all.size() - 1 - j;
        same += lasting(parse_json(post(all[i].first, to_text(all[i].second)).body, "answer")) == alone[i];
      }
    });
  for (std::thread& t : clients) t.join();
  EXPECT_EQ(same, 8 * all.size());
}

TEST_F(Served, SeveralAnswersToSeveralPrompts) {
  const Json body = {{"prompt", {"ab", "cd"}}, {"n", 3}, {"max_tokens", 6}, {"seed", 3}, {"temperature", 1}};
  const Json all = ask("/v1/completions", body);
  ASSERT_EQ(all["choices"].size(), 6u);
  EXPECT_EQ(all["usage"]["prompt_tokens"], 4);
  EXPECT_EQ(all["usage"]["completion_tokens"], 36);
  std::set<std::string> texts;
  for (size_t i = 0; i < 6; ++i) {
    EXPECT_EQ(all["choices"][i]["index"], i);
    texts.insert(all["choices"][i]["text"].get<std::string>());
  }
  EXPECT_GT(texts.size(), 4u) << "each draws by itself";
  Json alone = body;
  alone["n"] = 1, alone["prompt"] = "cd";
  EXPECT_EQ(ask("/v1/completions", alone)["choices"][0]["text"], all["choices"][3]["text"]);
  std::vector<std::string> streamed(6);
  for (const Json& e : events("/v1/completions", body))
    for (const Json& c : e["choices"]) streamed[c["index"].get<size_t>()] += c["text"].get<std::string>();
  for (size_t i = 0; i < 6; ++i) EXPECT_EQ(streamed[i], all["choices"][i]["text"].get<std::string>()) << i;
}

TEST_F(Served, ManyPromptsComeAFewAtATime) {
  Json prompts = Json::array();
  for (int i = 0; i < 300; ++i) prompts.push_back(i % 2 ? "ab" : "cd");
  const Json all = ask("/v1/completions", {{"prompt", prompts}, {"max_tokens", 2}, {"seed", 3}});
  ASSERT_EQ(all["choices"].size(), 300u);
  EXPECT_EQ(all["choices"][298]["text"], all["choices"][0]["text"]);
  EXPECT_EQ(all["usage"]["completion_tokens"], 600);
  prompts.push_back(std::string(100, 'x'));
  EXPECT_EQ(post("/v1/completions", to_text({{"prompt", prompts}, {"max_tokens", 1}})).status, 400);
}

class FewPlaces : public Served {
 protected:
  FewPlaces() : Served("", 64, few()) {}
  static EngineOptions few() {
    EngineOptions o;
    o.sequences = o.waiting = 2;
    return o;
  }
};

TEST_F(FewPlaces, OneRequestMayHaveManyParts) {
  EXPECT_EQ(ask("/v1/completions", {{"prompt", "a"}, {"n", 8}, {"max_tokens", 2}})["choices"].size(), 8u);
  EXPECT_EQ(ask("/v1/completions", {{"prompt", "a"}, {"n", 2}, {"use_beam_search", true}, {"max_tokens", 2}})["choices"].size(), 2u);
  const Json many(100, "abc");
  EXPECT_EQ(ask("/v1/embeddings", {{"input", many}})["data"].size(), 100u);
  std::vector<std::thread> clients;
  for (int i = 0; i < 3; ++i)
    clients.emplace_back([&] {
      EXPECT_EQ(ask("/v1/completions", {{"prompt", many}, {"max_tokens", 2}})["choices"].size(), 100u);
      for (const Json& e : events("/v1/completions", {{"prompt", many}, {"max_tokens", 2}})) EXPECT_FALSE(e.contains("error"));
    });
  for (std::thread& t : clients) t.join();
  const std::string figures = http_request("GET", str("http://127.0.0.1:", server_.port(), "/metrics")).body;
  EXPECT_NE(figures.find("\nwellspring_requests_total{model=\"tiny\"} 9\n"), std::string::npos) << figures;
  EXPECT_NE(figures.find("\nwellspring_refused_total{model=\"tiny\"} 0\n"), std::string::npos) << figures;
}

TEST_F(Served, StopTextsWaitForTheLeastTokens) {
  Json body = {{"prompt", "b"}, {"max_tokens", 9}, {"stop", "aa"}, {"logit_bias", {{"97", 100}}}};
  EXPECT_EQ(ask("/v1/completions", body)["usage"]["completion_tokens"], 2);
  body["min_tokens"] = 3;
  const Json later = ask("/v1/completions", body);
  EXPECT_EQ(later["choices"][0]["text"], "aaa");
  EXPECT_EQ(later["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(later["usage"]["completion_tokens"], 5);
  body["min_tokens"] = 9;
  EXPECT_EQ(ask("/v1/completions", body)["choices"][0]["text"], "aaaaaaaaa");
  body["min_tokens"] = 10;
  const HttpResult refused = post("/v1/completions", to_text(body));
  EXPECT_EQ(refused.status, 400);
  EXPECT_NE(refused.body.find("'min_tokens' must be 0 to 9"), std::string::npos) << refused.body;
}

TEST_F(Served, LogProbabilitiesOfAPrompt) {
  const auto score = [&](const Json& prompt, int64_t most) {
    return ask("/v1/completions", {{"prompt", prompt}, {"max_tokens", most}, {"echo", true}, {"logprobs", 2}, {"seed", 1}});
  };
  const Json whole = score("ab\u00e9d", 0), &one = whole["choices"][0], &l = one["logprobs"];
  EXPECT_EQ(one["text"], "ab\u00e9d");
  EXPECT_EQ(one["finish_reason"], "length");
  EXPECT_EQ(whole["usage"]["completion_tokens"], 0);
  EXPECT_EQ(l["tokens"], Json::parse(R"(["a", "b", "\ufffd", "\ufffd", "d"])"));
  EXPECT_EQ(l["text_offset"], Json::parse("[0, 1, 2, 2, 3]"));
  EXPECT_TRUE(l["token_logprobs"][0].is_null() && l["top_logprobs"][0].is_null());
  ASSERT_EQ(l["top_logprobs"].size(), 5u);
  // Step by step: the same numbers, to the last digit.
  for (const auto& [before, next, at] : {std::tuple("a", "b", 1), std::tuple("ab\u00e9", "d", 4)}) {
    const Json step = ask("/v1/completions", {{"prompt", before}, {"max_tokens", 1}, {"regex", next}, {"logprobs", 2}})["choices"][0];
    EXPECT_EQ(step["logprobs"]["token_logprobs"][0], l["token_logprobs"][at]) << at;
    EXPECT_EQ(step["logprobs"]["top_logprobs"][0], l["top_logprobs"][at]) << at;
    EXPECT_EQ(step["logprobs"]["text_offset"][0], 0);
  }
  // In batches, of ids, again, and with an answer behind it.
  const std::vector<int32_t> ids = text_->prompt("ab\u00e9d");
  const Json all = score({ids, ids, {98}}, 0)["choices"];
  EXPECT_EQ(all[0]["logprobs"], l);
  EXPECT_EQ(all[1]["logprobs"], l);
  EXPECT_EQ(all[2]["logprobs"]["token_logprobs"], Json::parse("[null]"));
  const Json more = score("ab\u00e9d", 3)["choices"][0];
  const Json plain = ask("/v1/completions", {{"prompt", "ab\u00e9d"}, {"max_tokens", 3}, {"logprobs", 2}, {"seed", 1}})["choices"][0];
  EXPECT_EQ(more["text"], "ab\u00e9d" + plain["text"].get<std::string>());
  Json tokens = l["token_logprobs"];
  for (const Json& p : plain["logprobs"]["token_logprobs"]) tokens.push_back(p);
  EXPECT_EQ(more["logprobs"]["token_logprobs"], tokens);
  EXPECT_EQ(more["logprobs"]["text_offset"][5], 4);
  EXPECT_EQ(score(std::string(64, 'x'), 0)["choices"][0]["logprobs"]["tokens"].size(), 64u) << "the whole context";
  for (const char* bad : {R"("max_tokens": 0)", R"("max_tokens": 0, "echo": true)", R"("max_tokens": 0, "logprobs": 1)",
                          R"("max_tokens": -1, "echo": true, "logprobs": 1)", R"("echo": true, "logprobs": 1, "stream": true)"})
    EXPECT_EQ(post("/v1/completions", str(R"({"prompt": "ab", )", bad, "}")).status, 400) << bad;
}

TEST_F(Served, TheBestOfSeveral) {
  const Json body = {{"prompt", "ab"}, {"n", 5}, {"max_tokens", 6}, {"seed", 3}, {"logprobs", 0}};
  double best = -1e9;
  std::string text;
  const Json all = ask("/v1/completions", body);
  for (const Json& c : all["choices"]) {
    double sum = 0;
    for (const Json& p : c["logprobs"]["token_logprobs"]) sum += p.get<double>();
    if (sum > best) best = sum, text = c["text"];
  }
  const Json one = ask("/v1/completions", {{"prompt", "ab"}, {"best_of", 5}, {"max_tokens", 6}, {"seed", 3}});
  ASSERT_EQ(one["choices"].size(), 1u);
  EXPECT_EQ(one["choices"][0]["text"], text);
  EXPECT_TRUE(one["choices"][0]["logprobs"].is_null());
  EXPECT_EQ(post("/v1/completions", R"({"prompt": "a", "best_of": 2, "stream": true})").status, 400);
}

TEST_F(Served, BeamsTheBestFirst) {
  const Json body = {{"prompt", "ab"}, {"n", 2}, {"best_of", 4}, {"max_tokens", 6}, {"use_beam_search", true}};
  const Json all = ask("/v1/completions", body);
  ASSERT_EQ(all["choices"].size(), 2u);
  EXPECT_NE(all["choices"][0]["text"], all["choices"][1]["text"]);
  const Json greedy = ask("/v1/completions", {{"prompt", "ab"}, {"max_tokens", 6}, {"temperature", 0}});
  Json one = body;
  one["n"] = one["best_of"] = 1;
  EXPECT_EQ(ask("/v1/completions", one)["choices"][0]["text"], greedy["choices"][0]["text"]);
  one["stream"] = true;
  EXPECT_EQ(post("/v1/completions", to_text(one)).status, 400);
}

TEST_F(Served, EchoAndStopTokens) {
  const Json one = ask("/v1/completions", {{"prompt", "ab"}, {"max_tokens", 8}, {"temperature", 0}});
  const Json echoed = ask("/v1/completions", {{"prompt", "ab"}, {"max_tokens", 8}, {"temperature", 0}, {"echo", true}});
  EXPECT_EQ(echoed["choices"][0]["text"].get<std::string>(), "ab" + one["choices"][0]["text"].get<std::string>());
  Json ids = Json::array();
  for (int i = 0; i < 256; ++i) ids.push_back(i);
  const Json ended = ask("/v1/completions", {{"prompt", "ab"}, {"max_tokens", 8}, {"stop_token_ids", ids}, {"logit_bias", {{"97", 100}}}});
  EXPECT_EQ(ended["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(ended["choices"][0]["text"], "");
}

TEST_F(Served, Embeddings) {
  const Json one = ask("/v1/embeddings", {{"input", {"abc", "x", ""}}});
  ASSERT_EQ(one["data"].size(), 3u);
  EXPECT_EQ(one["usage"]["prompt_tokens"], 5) << "an empty text is one token";
  const auto values = one["data"][0]["embedding"].get<std::vector<float>>();
  ASSERT_EQ(values.size(), 32u);
  double length = 0;
  for (const float x : values) length += x * x;
  EXPECT_NEAR(length, 1, 1e-5);
  const Json ids = ask("/v1/embeddings", {{"input", {97, 98, 99}}});
  EXPECT_EQ(ids["data"][0]["embedding"], one["data"][0]["embedding"]);
  const Json mean = ask("/v1/embeddings", {{"input", "abc"}, {"pooling", "mean"}, {"normalize", false}});
  EXPECT_NE(mean["data"][0]["embedding"], one["data"][0]["embedding"]);
  // base64 is the bytes of the same values.
  const std::string text = ask("/v1/embeddings", {{"input", "abc"}, {"encoding_format", "base64"}})["data"][0]["embedding"];
  ASSERT_EQ(text.size(), (32 * 4 + 2) / 3 * 4u);
  std::string bytes;
  uint32_t bits = 0;
  int have = 0;
  for (const char c : text) {
    if (c == '=') break;
    const std::string_view letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    bits = bits << 6 | static_cast<uint32_t>(letters.find(c)), have += 6;
    if (have >= 8) bytes += static_cast<char>(bits >> (have -= 8) & 255);
  }
  ASSERT_EQ(bytes.size(), 128u);
  EXPECT_EQ(std::memcmp(bytes.data(), values.data(), 128), 0);
  Json many = Json::array();
  for (int i = 0; i < 100; ++i) many.push_back("abc");
  EXPECT_EQ(ask("/v1/embeddings", {{"input", many}})["data"][99]["embedding"], one["data"][0]["embedding"]);
  for (const char* bad : {"{}", R"({"input": []})", R"({"input": [[]]})", R"({"input": "a", "dimensions": 3})", R"({"input": [-1]})",
                          R"({"input": "a", "pooling": "max"})", R"({"input": [999]})"})
    EXPECT_EQ(post("/v1/embeddings", bad).status, 400) << bad;
  EXPECT_EQ(post("/v1/embeddings", R"({"input": ")" + std::string(64, 'x') + R"("})").status, 200) << "the whole context";
  EXPECT_EQ(post("/v1/embeddings", R"({"input": ")" + std::string(65, 'x') + R"("})").status, 400);
}

}  // namespace
}  // namespace wellspring
