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

TEST_F(Served, ErrorsHaveAParamAndACode) {
  const Json said = Json::array({{{"role", "user"}, {"content", "x"}}});
  const auto tool = [](const Json& name) { return Json{{"type", "function"}, {"function", {{"name", name}}}}; };
  const auto chat = [&](const Json& last) {
    Json all = said;
    all.push_back(last);
    return Json{{"messages", all}};
  };
  const std::string ask_chat = "/v1/chat/completions", complete = "/v1/completions";
  const std::string id_9 = "logit_bias.999999";
  struct Row {
    std::string path;
    Json body;
    std::string param, code;
  };
  for (const Row& row : std::vector<Row>{
           {complete, Json::object(), "prompt", "missing_required_parameter"},
           {complete, {{"prompt", "x"}, {"temperature", -1}}, "temperature", "invalid_value"},
           {complete, {{"prompt", "x"}, {"top_p", 1.5}}, "top_p", "invalid_value"},
           {complete, {{"prompt", "x"}, {"max_tokens", 0}}, "max_tokens", "invalid_value"},
           {complete, {{"prompt", "x"}, {"temperature", "hot"}}, "temperature", "invalid_type"},
           {complete, {{"prompt", "x"}, {"temprature", 1}}, "temprature", "unknown_parameter"},
           {complete, {{"prompt", std::string(100, 'x')}}, "prompt", "context_length_exceeded"},
           {complete, {{"prompt", {999}}}, "prompt", "invalid_prompt"},
           {complete, {{"prompt", "x"}, {"regex", "("}}, "regex", "invalid_value"},
           {complete, {{"prompt", "x"}, {"logit_bias", {{"999999", 1}}}}, id_9, "invalid_value"},
           {complete, {{"prompt", "x"}, {"allowed_token_ids", {999999}}}, "allowed_token_ids", "invalid_value"},
           {complete, {{"prompt", "x"}, {"bad_words", {"a"}}}, "bad_words", "unsupported_parameter"},
           {complete, {{"prompt", "x"}, {"messages", said}}, "messages", "unsupported_parameter"},
           {complete, {{"prompt", "x"}, {"tool_choice", "required"}}, "tool_choice", "unsupported_parameter"},
           {complete, {{"prompt", "x"}, {"stop_token_ids", {999999}}}, "stop_token_ids", "invalid_value"},
           {complete, {{"prompt", "x"}, {"structured_outputs", {{"regex", "("}}}}, "structured_outputs", "invalid_value"},
           {complete, {{"prompt", "x"}, {"structured_outputs", {{"json", 5}}}}, "structured_outputs", "invalid_type"},
           {complete, {{"prompt", "x"}, {"regex", std::string((1 << 20) + 1, 'x')}}, "regex", "invalid_value"},
           {ask_chat, chat({{"role", "user"}, {"content", std::string(100, 'x')}}), "messages", "context_length_exceeded"},
           {ask_chat, chat({{"role", "robot"}, {"content", "x"}}), "messages[1].role", "invalid_value"},
           {ask_chat, chat({{"role", "user"}, {"content", 1}}), "messages[1].content", "invalid_type"},
           {ask_chat, chat({{"role", "user"}, {"content", {{{"type", "image_url"}, {"image_url", {{"url", "x"}}}}}}}),
            "messages[1].content[0].type", "invalid_value"},
           {ask_chat, chat({{"role", "tool"}, {"content", "x"}}), "messages[1].tool_call_id", "missing_required_parameter"},
           {ask_chat, chat({{"role", "tool"}, {"content", "x"}, {"tool_call_id", "c"}}), "messages[1].tool_call_id", "invalid_value"},
           {ask_chat, {{"messages", said}, {"tools", {tool("a b")}}}, "tools[0].function.name", "invalid_value"},
           {ask_chat, {{"messages", said}, {"tools", {tool(std::string(65, 'x'))}}}, "tools[0].function.name", "invalid_value"},
           {ask_chat, {{"messages", said}, {"tools", {tool("f"), tool("f")}}}, "tools[1].function.name", "invalid_value"},
           {"/v1/responses", {{"input", "x"}, {"instruction", "y"}}, "instruction", "unknown_parameter"},
           {"/v1/embeddings", {{"input", std::string(100, 'x')}}, "input", "context_length_exceeded"},
           {"/v1/embeddings", {{"input", "x"}, {"dimensions", 3}}, "dimensions", "invalid_value"},
           {"/tokenize", {{"prompt", 1}}, "prompt", "invalid_type"},
           {"/v1/responses", {{"input", std::string(100, 'x')}}, "input", "context_length_exceeded"},
       }) {
    const Json error = refusal(row.path, row.body);
    EXPECT_EQ(error["param"], row.param) << error;
    EXPECT_EQ(error["code"], row.code) << error;
  }
  EXPECT_NE(refusal(ask_chat, chat({{"role", "user"}, {"content", {{{"type", "image_url"}}}}}))["message"].get<std::string>().find(
                "this model takes text alone, no 'image_url'"),
            std::string::npos);
  Json broken = parse_json(post(complete, "{").body, "answer")["error"];
  EXPECT_EQ(broken["code"], "invalid_json");
  EXPECT_TRUE(broken["param"].is_null());
  const Json other = parse_json(post(complete, R"({"prompt": "x", "model": "other"})").body, "answer")["error"];
  EXPECT_EQ(other["param"], "model");
  EXPECT_EQ(other["code"], "model_not_found");
}

TEST_F(Served, NothingThatChangesAnAnswerIsPassedOver) {
  for (const auto& [field, asks, neutral] : std::vector<std::tuple<std::string, Json, Json>>{
           {"functions", {{{"name", "f"}}}, Json::array()}, {"suffix", "x", ""},
           {"web_search_options", Json::object(), nullptr}, {"bad_words", {"x"}, Json::array()},
           {"truncate_prompt_tokens", 5, nullptr},          {"skip_special_tokens", false, true},
           {"return_tokens_as_token_ids", true, false},     {"return_token_ids", true, false},
           {"prompt_logprobs", 1, false},                 {"documents", {"x"}, Json::array()},
           {"mirostat", 2, 0},                              {"dry_multiplier", 0.8, 0},
           {"xtc_probability", 0.5, 0.0},                   {"repeat_penalty", 1.1, 1.0},
           {"modalities", {"audio"}, {"text"}}}) {
    Json body = {{"prompt", "x"}, {"max_tokens", 1}};
    body[field] = asks;
    const Json error = refusal("/v1/completions", body);
    EXPECT_EQ(error["param"], field);
    EXPECT_NE(error["message"].get<std::string>().find(str("'", field, "' is not offered")), std::string::npos);
    body[field] = neutral;
    ask("/v1/completions", body);
  }
}

TEST_F(Served, FieldsOfOtherServers) {
  const Json base = {{"prompt", "ab"}, {"max_tokens", 8}, {"temperature", 0}};
  const auto text = [&](const Json& more) {
    Json body = base;
    body.update(more);
    return ask("/v1/completions", body)["choices"][0]["text"].get<std::string>();
  };
  const std::string plain = text(Json::object());
  EXPECT_EQ(ask("/v1/completions", {{"prompt", "ab"}, {"n_predict", 3}, {"ignore_eos", true}})["usage"]["completion_tokens"], 3);
  EXPECT_EQ(ask("/v1/completions", {{"prompt", "ab"}, {"n_predict", -1}, {"ignore_eos", true}})["usage"]["completion_tokens"], 62);
  EXPECT_EQ(text({{"top_p", 0}, {"temperature", 1}}), plain) << "the likeliest alone";
  EXPECT_EQ(text({{"allowed_token_ids", {98, 99}}, {"temperature", 1}}).find_first_not_of("bc"), std::string::npos);
  refusal("/v1/completions", {{"prompt", "a"}, {"allowed_token_ids", {98}}, {"regex", "a"}});
  refusal("/v1/completions", {{"prompt", "a"}, {"allowed_token_ids", Json::array()}});
  EXPECT_EQ(text({{"structured_outputs", {{"regex", "abcd"}, {"json_object", nullptr}}}}), "abcd");
  EXPECT_EQ(text({{"structured_outputs", {{"json_object", true}}}}).front(), '{');
  EXPECT_EQ(text({{"guided_json_object", true}}).front(), '{');
  EXPECT_EQ(text({{"regex", "abcd"}, {"stop", {"x", "bc"}}}), "a");
  EXPECT_EQ(text({{"regex", "abcd"}, {"stop", {"x", "bc"}}, {"include_stop_str_in_output", true}}), "abc");
  EXPECT_EQ(text({{"add_special_tokens", false}}), plain) << "this tokenizer puts nothing around a text";
  const auto cached = [&](const char* salt) {
    Json body = {{"prompt", "abcdefgh"}, {"max_tokens", 2}, {"cache_salt", salt}};
    return ask("/v1/completions", body)["usage"]["prompt_tokens_details"]["cached_tokens"].get<int>();
  };
  EXPECT_EQ(cached("one"), 0);
  EXPECT_EQ(cached("two"), 0);
  EXPECT_EQ(cached("one"), 7);
}

TEST_F(Served, AnswersNameWhatDecidesTheirBits) {
  const std::string bits = ask("/v1/completions", {{"prompt", "a"}})["system_fingerprint"];
  EXPECT_TRUE(starts_with(bits, "ws-")) << bits;
  EXPECT_TRUE(ends_with(bits, "-f32-f32-f32")) << bits;
  EXPECT_NE(bits, fingerprint_of(*model_, DType::i8));
  const Json chat = {{"messages", {{{"role", "user"}, {"content", "x"}}}}, {"max_tokens", 2}};
  EXPECT_EQ(ask("/v1/chat/completions", chat)["system_fingerprint"], bits);
  for (const Json& e : events("/v1/chat/completions", chat)) EXPECT_EQ(e["system_fingerprint"], bits);
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
  EXPECT_EQ(parse_json(http_request("GET", base + "/v1/models/tiny").body, "a")["max_model_len"], 64);
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
    ASSERT_LE(l["top_logprobs"][i].size(), 3u);  // two tokens may have one text; the likeliest is the token itself
    double most = -1e9;
    for (const auto& [text, p] : l["top_logprobs"][i].items()) most = std::max(most, p.get<double>());
    EXPECT_EQ(l["token_logprobs"][i].get<double>(), most) << "greedy takes the most likely";
    EXPECT_LT(most, 0);
  }
  // The token itself stands among the likely ones in any case, and where it begins in the text.
  const Json drawn = {{"prompt", "ab"}, {"max_tokens", 12}, {"temperature", 3}, {"seed", 4}, {"ignore_eos", true}};
  for (const int k : {0, 1}) {
    Json body = drawn;
    body["logprobs"] = k;
    const Json choice = ask("/v1/completions", body)["choices"][0];
    const Json& lp = choice["logprobs"];
    int64_t beside = 0, at = 0;
    for (size_t i = 0; i < 12; ++i) {
      const std::string token = lp["tokens"][i];
      EXPECT_EQ(lp["top_logprobs"][i][token], lp["token_logprobs"][i]);
      beside += lp["top_logprobs"][i].size() > 1;
      const int64_t offset = lp["text_offset"][i];
      EXPECT_GE(offset, at);
      EXPECT_LE(offset, at + 1) << "a token is a byte here";
      at = offset;
    }
    EXPECT_EQ(lp["text_offset"][0], 0);
    EXPECT_EQ(beside > 0, k > 0);
    Json streamed = Json::array();
    for (const Json& e : events("/v1/completions", body))
      if (const Json& some = e["choices"][0]["logprobs"]; !some.is_null())
        for (const Json& offset : some["text_offset"]) streamed.push_back(offset);
    EXPECT_EQ(streamed, lp["text_offset"]);
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
  // A special token is text where it was given, and none in an answer.
  const Json special = score({'a', kTurnBegin, 'b'}, 0)["choices"][0];
  EXPECT_EQ(special["text"], "a<|im_start|>b");
  EXPECT_EQ(special["logprobs"]["text_offset"], Json::parse("[0, 1, 13]"));
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
  EXPECT_EQ(ask("/v1/embeddings", {{"input", "abc"}, {"dimensions", 32}})["data"][0]["embedding"], one["data"][0]["embedding"]);
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
