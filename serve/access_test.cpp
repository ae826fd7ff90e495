#include <gtest/gtest.h>

#include <atomic>
#include <thread>

#include "base/crypto.h"
#include "base/error.h"
#include "base/http.h"
#include "base/json.h"
#include "base/text.h"
#include "serve/access.h"
#include "serve/api.h"
#include "serve/api_error.h"
#include "serve/models.h"
#include "serve/test_model.h"
#include "serve/test_served.h"

namespace wellspring {
namespace {

const std::string kAda = "ada-has-a-long-key-0123", kBo = "bo-has-another-key-4567";

TEST(ApiKeys, Lines) {
  const auto keys =
      parse_api_keys(str("# people\n\nada ", kAda, "\r\n  bo\tsha256:", hex(sha256(kBo)), "\nada ",
                         kAda, "-new\n"),
                     "keys");
  ASSERT_EQ(keys.size(), 3u);
  EXPECT_EQ(keys[1].name, "bo");
  EXPECT_EQ(keys[1].hash, sha256(kBo));
  EXPECT_EQ(keys[2].name, "ada") << "two keys of one";
  const std::string long_name(65, 'x');
  for (const std::string& bad :
       {std::string("\n# none\n"), std::string("ada"), std::string("ada short"), "a/b " + kAda,
        long_name + " " + kAda, "ada " + kAda + " more", std::string("ada sha256:12"),
        "ada " + std::string(513, 'k'), "ada " + kAda + "\nbo " + kAda})
    try {
      parse_api_keys(bad, "keys");
      ADD_FAILURE() << bad;
    } catch (const Error& e) {
      EXPECT_EQ(e.fault(), Fault::data);
      EXPECT_EQ(std::string(e.what()).find(kAda), std::string::npos) << "the key is not told";
    }
  std::string many;
  for (int i = 0; i < 1001; ++i) many += str("n", i, " a-key-that-is-long-enough-", i, "\n");
  EXPECT_THROW(parse_api_keys(many, "keys"), Error);
  EXPECT_THROW(single_api_key("short"), Error);
  EXPECT_EQ(single_api_key(kAda).hash, sha256(kAda));
}

TEST(Access, OthersNeedKeys) {
  for (const char* address : {"0.0.0.0", "::", "192.168.1.5", "example.org", "127.evil.example"}) {
    AccessOptions o;
    o.address = address;
    EXPECT_THROW(Access{o}, Error) << address;
    o.keys = {single_api_key(kAda)};
    EXPECT_NO_THROW(Access{o}) << address;
  }
  for (const char* address : {"127.0.0.1", "localhost", "::1", "127.1.2.3"}) {
    AccessOptions o;
    o.address = address;
    EXPECT_NO_THROW(Access{o}) << address;
  }
  AccessOptions o;
  o.origins = {"chat.example.org"};
  EXPECT_THROW(Access{o}, Error);
}

TEST(Access, SlotsAndDrain) {
  AccessOptions o;
  o.key_requests = 2;
  Access access(o);
  const auto status = [&](const std::string& user) {
    try {
      access.enter(user);
      return 200;
    } catch (const ApiError& e) {
      EXPECT_GT(e.retry_after, 0);
      return e.status;
    }
  };
  {
    const auto one = access.enter("ada"), two = access.enter("ada");
    EXPECT_EQ(status("ada"), 429);
    EXPECT_EQ(status("bo"), 200);
    EXPECT_EQ(access.limited(), 1);
    EXPECT_FALSE(access.drain(0.01));
    EXPECT_EQ(status("bo"), 503);
  }
  EXPECT_TRUE(access.drain(0));
}

// A server of one model whose engine does as it is told, with keys for ada and bo.
class Front : public testing::Test {
 protected:
  void start(AccessOptions access, double request_seconds = 0, bool share_prompts = false) {
    write_byte_tokenizer(folder_.path());
    DecoderConfig config;
    config.vocab = 300;
    text_ = std::make_unique<ModelText>(folder_.path(), config);
    model_ = std::make_shared<FakeModel>("tiny", text_.get());
    access_ = std::make_shared<Access>(std::move(access));
    models_ = std::make_shared<Models>(
        std::vector<ModelSource>{{"tiny", {"other-name"}, 0, 64, [this] { return model_; }}}, 0);
    HttpServerOptions o;
    o.request_ids = true;
    o.max_body = 4096;
    server_ = std::make_unique<HttpServer>(o);
    add_api_routes(*server_, {models_, access_, request_seconds, share_prompts});
  }
  static AccessOptions with_keys() {
    AccessOptions o;
    o.keys = {{"ada", sha256(kAda)}, {"bo", sha256(kBo)}};
    return o;
  }
  // The answer to one request, in memory: status line and headers, empty line, body.
  std::string ask(const std::string& method, const std::string& path,
                  const std::string& headers = "", const std::string& body = "",
                  const std::string& host = "localhost") {
    return server_->answer(
        str(method, " ", path, " HTTP/1.1\r\nHost: ", host, "\r\nConnection: close\r\n", headers,
            body.empty() ? "" : str("Content-Length: ", body.size(), "\r\n"), "\r\n", body));
  }
  static int status_of(const std::string& answer) {
    return static_cast<int>(parse_int(answer.substr(9, 3)).value_or(0));
  }
  static std::string code_of(const std::string& answer) {
    const Json error = parse_json(answer.substr(answer.find("\r\n\r\n") + 4), "answer")["error"];
    EXPECT_TRUE(error["message"].is_string() && error["type"].is_string() &&
                error.contains("param"));
    return error["code"];
  }
  std::string complete(const std::string& headers = "", const std::string& more = "") {
    return ask("POST", "/v1/completions", headers, R"({"prompt": "x")" + more + "}");
  }
  static std::string bearer(const std::string& key) {
    return str("Authorization: Bearer ", key, "\r\n");
  }

  TemporaryFolder folder_;
  std::unique_ptr<ModelText> text_;
  std::shared_ptr<FakeModel> model_;
  std::shared_ptr<Access> access_;
  std::shared_ptr<Models> models_;
  std::unique_ptr<HttpServer> server_;
};

TEST_F(Front, Keys) {
  start(with_keys());
  for (const std::string& headers : {std::string(), bearer("wrong-key-wrong-key"), bearer(""),
                                     bearer(kAda + "x"), "Authorization: Basic " + kAda + "\r\n"}) {
    const std::string answer = complete(headers);
    EXPECT_EQ(status_of(answer), 401) << headers;
    EXPECT_EQ(code_of(answer), "invalid_api_key");
    EXPECT_NE(answer.find("WWW-Authenticate: Bearer"), std::string::npos);
  }
  EXPECT_EQ(access_->strangers(), 5);
  EXPECT_EQ(status_of(complete(bearer(kAda))), 200);
  EXPECT_EQ(status_of(complete("authorization: bearer  " + kBo + " \r\n")), 200);
  EXPECT_EQ(model_->engine.owners, (std::vector<std::string>{"ada", "bo"}));
  for (const char* path : {"/", "/chat/chat.js", "/chat/chat.css", "/lib/dom.js", "/icon.svg",
                           "/health", "/health/live", "/health/ready"})
    EXPECT_EQ(status_of(ask("GET", path)), 200) << path;
  for (const char* path :
       {"/v1/models", "/metrics", "/v1/models/tiny", "/nowhere", "//", "/chat/../metrics"})
    EXPECT_EQ(status_of(ask("GET", path)), 401) << path;
  EXPECT_EQ(status_of(ask("POST", "/tokenize", "", R"({"prompt": "x"})")), 401);
  EXPECT_EQ(status_of(ask("GET", "/metrics", bearer(kBo))), 200);
}

TEST_F(Front, StoredResponsesAreOfOneKey) {
  start(with_keys());
  const std::string first =
      ask("POST", "/v1/responses", bearer(kAda), R"({"input": "x", "max_output_tokens": 3})");
  ASSERT_EQ(status_of(first), 200) << first;
  const std::string id = parse_json(first.substr(first.find("\r\n\r\n") + 4), "answer")["id"];
  const std::string path = "/v1/responses/" + id;
  const std::string next = str(R"({"input": "y", "previous_response_id": ")", id, "\"}");
  for (const auto& [key, status] : {std::pair(kBo, 404), std::pair(kAda, 200)}) {
    EXPECT_EQ(status_of(ask("GET", path, bearer(key))), status);
    EXPECT_EQ(status_of(ask("GET", path + "/input_items", bearer(key))), status);
    EXPECT_EQ(status_of(ask("POST", "/v1/responses", bearer(key), next)), status);
    EXPECT_EQ(status_of(ask("DELETE", path, bearer(key))), status);
  }
  EXPECT_EQ(code_of(ask("GET", path, bearer(kAda))), "response_not_found") << "deleted";
  EXPECT_EQ(code_of(ask("POST", "/v1/responses", bearer(kAda), next)),
            "previous_response_not_found");
  EXPECT_EQ(status_of(ask("GET", path)), 401);
  EXPECT_EQ(model_->engine.owners, (std::vector<std::string>{"ada", "ada"}));
}

TEST_F(Front, WordsAndCallsAreItemsOfAResponse) {
  start({});
  model_->engine.says =
      "Look.\n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"x\": 1}}\n</tool_call>\n"
      "<tool_call>\n{\"name\": \"g\", \"arguments\": {}}\n</tool_call>";
  const std::string body = R"({"input": "x", "tools": [{"type": "function", "name": "f"},
                              {"type": "function", "name": "g"}])";
  const std::string whole = ask("POST", "/v1/responses", "", body + "}");
  Json output = parse_json(whole.substr(whole.find("\r\n\r\n") + 4), "answer")["output"];
  ASSERT_EQ(output.size(), 3u) << whole;
  EXPECT_EQ(output[0]["content"][0]["text"], "Look.");
  EXPECT_EQ(output[1]["arguments"], R"({"x": 1})");
  EXPECT_EQ(output[1]["status"], "completed");
  EXPECT_EQ(output[2]["name"], "g");
  server_->start();
  const std::string events =
      http_request("POST", str("http://127.0.0.1:", server_->port(), "/v1/responses"), {},
                   body + R"(, "stream": true})").body;
  size_t item = 0;
  for (const std::string& line : split(events, '\n')) {
    if (!starts_with(line, "data: ")) continue;
    const Json event = parse_json(line.substr(6), "event");
    if (event["type"] != "response.output_item.done") continue;
    Json done = event["item"];
    EXPECT_EQ(event["output_index"], item);
    for (Json* one : {&done, &output[item]}) one->erase("id"), one->erase("call_id");
    EXPECT_EQ(done, output[item++]);
  }
  EXPECT_EQ(item, 3u);
}

TEST_F(Front, AResponseThatFailsInItsStreamSaysSo) {
  start({});
  server_->start();
  model_->engine.hold = true;
  std::string all;
  http_request("POST", str("http://127.0.0.1:", server_->port(), "/v1/responses"), {},
               R"({"input": "x", "stream": true})", [&](std::string_view chunk) {
                 all += chunk;
                 model_->engine.release(
                     std::make_exception_ptr(Error(Fault::internal, "out of water")));
                 return true;
               });
  EXPECT_NE(all.find("event: response.created\n"), std::string::npos) << all;
  const size_t last = all.find("event: response.failed\ndata: ");
  ASSERT_NE(last, std::string::npos) << all;
  const Json event = parse_json(split(all.substr(last), '\n')[1].substr(6), "event");
  EXPECT_EQ(event["response"]["status"], "failed");
  EXPECT_EQ(event["response"]["error"]["message"], "out of water");
}

TEST_F(Front, OpenMetricsAndSharedPrompts) {
  AccessOptions o = with_keys();
  o.open_metrics = true;
  start(o, 0, true);
  EXPECT_EQ(status_of(ask("GET", "/metrics")), 200);
  EXPECT_EQ(status_of(complete(bearer(kAda))), 200);
  EXPECT_EQ(model_->engine.owners, std::vector<std::string>{""});
}

TEST_F(Front, Hosts) {
  AccessOptions o;
  o.hosts = {"Spring.example:8080"};
  start(o);
  for (const char* host : {"localhost:8080", "127.0.0.1", "[::1]:80", "LOCALHOST",
                           "192.168.1.9:8080", "spring.example", "spring.example:1"})
    EXPECT_EQ(status_of(ask("GET", "/v1/models", "", "", host)), 200) << host;
  for (const char* host :
       {"evil.example", "localhost.evil.example", "127.0.0.1.evil.example", "", "[", "1.2.3"}) {
    EXPECT_EQ(status_of(ask("GET", "/v1/models", "", "", host)), 421) << host;
    EXPECT_EQ(status_of(ask("GET", "/", "", "", host)), 421) << host;
    EXPECT_EQ(status_of(ask("GET", "/health", "", "", host)), 200) << host;
  }
}

TEST_F(Front, Origins) {
  AccessOptions o = with_keys();
  o.origins = {"https://Chat.example"};
  start(o);
  const std::string asks =
      "Access-Control-Request-Method: POST\r\nAccess-Control-Request-Headers: "
      "authorization,x-stainless-os\r\n";
  const std::string foreign = "Origin: https://evil.example\r\n",
                    known = "Origin: https://chat.example\r\n";
  EXPECT_EQ(status_of(complete(bearer(kAda) + foreign)), 403);
  EXPECT_EQ(status_of(complete(bearer(kAda) + "Origin: null\r\n")), 403);
  EXPECT_EQ(status_of(ask("OPTIONS", "/v1/completions", foreign + asks)), 403);
  EXPECT_EQ(status_of(ask("GET", "/health", foreign)), 403);
  EXPECT_EQ(status_of(complete(bearer(kAda) + "Origin: http://localhost\r\n")), 200)
      << "the chat page";
  const std::string answer = complete(bearer(kAda) + known);
  EXPECT_EQ(status_of(answer), 200);
  EXPECT_NE(answer.find("Access-Control-Allow-Origin: https://chat.example\r\n"),
            std::string::npos);
  EXPECT_NE(complete(known).find("Access-Control-Allow-Origin"), std::string::npos)
      << "a page may read a refusal";
  const std::string preflight = ask("OPTIONS", "/v1/completions", known + asks);
  EXPECT_EQ(status_of(preflight), 204);
  EXPECT_NE(preflight.find("Access-Control-Allow-Headers: authorization,x-stainless-os\r\n"),
            std::string::npos);
  EXPECT_EQ(status_of(ask("OPTIONS", "/v1/completions", bearer(kAda))), 405);
}

TEST_F(Front, RequestIds) {
  start({});
  EXPECT_NE(ask("GET", "/nowhere", "X-Request-Id: my-id.7\r\n").find("X-Request-Id: my-id.7\r\n"),
            std::string::npos);
  for (const std::string& bad :
       {std::string("two words"), std::string(129, 'x'), std::string("\xc3\xa9"), std::string()})
    EXPECT_NE(ask("GET", "/health", "X-Request-Id: " + bad + "\r\n").find("X-Request-Id: req-"),
              std::string::npos)
        << bad;
  const std::string large =
      ask("POST", "/v1/completions", "X-Request-Id: big\r\n", std::string(5000, ' '));
  EXPECT_EQ(status_of(large), 413);
  EXPECT_EQ(code_of(large), "request_too_large");
  EXPECT_EQ(code_of(ask("GET", "/nowhere")), "unknown_url");
  EXPECT_EQ(code_of(ask("GET", "/v1/completions")), "method_not_supported");
  EXPECT_NE(large.find("X-Request-Id: big\r\n"), std::string::npos);
}

TEST_F(Front, UnknownModel) {
  start({});
  const std::string answer = complete("", R"(, "model": "gpt-9")");
  EXPECT_EQ(status_of(answer), 404);
  EXPECT_EQ(code_of(answer), "model_not_found");
  EXPECT_EQ(status_of(ask("GET", "/v1/models/gpt-9")), 404);
  EXPECT_EQ(status_of(complete("", R"(, "model": "other-name")")), 200);
  EXPECT_NE(ask("GET", "/v1/models").find(R"("loaded":true)"), std::string::npos);
}

TEST_F(Front, FullIs429) {
  start({});
  model_->engine.full = true;
  for (const char* stream : {"", R"(, "stream": true)"}) {
    const std::string answer = complete("", stream);
    EXPECT_EQ(status_of(answer), 429);
    EXPECT_EQ(code_of(answer), "rate_limit_exceeded");
    EXPECT_NE(answer.find("Retry-After: 1\r\n"), std::string::npos);
  }
}

TEST_F(Front, TooManyOfOneKey) {
  AccessOptions o = with_keys();
  o.key_requests = 1;
  start(o);
  model_->engine.hold = true;
  std::thread first([&] { EXPECT_EQ(status_of(complete(bearer(kAda))), 200); });
  while (!model_->engine.load()) std::this_thread::yield();
  model_->engine.hold = false;
  const std::string answer = complete(bearer(kAda));
  EXPECT_EQ(status_of(answer), 429);
  EXPECT_NE(answer.find("Retry-After: "), std::string::npos);
  EXPECT_EQ(status_of(complete(bearer(kBo))), 200);
  model_->engine.release();
  first.join();
  EXPECT_EQ(status_of(complete(bearer(kAda))), 200);
}

TEST_F(Front, LateAnswersEnd) {
  start({}, 0.2);
  model_->engine.hold = true;
  const std::string whole = complete();
  EXPECT_EQ(status_of(whole), 504);
  EXPECT_EQ(code_of(whole), "request_timeout");
  EXPECT_NE(whole.find("X-Should-Retry: false"), std::string::npos);
  const std::string stream = complete("", R"(, "stream": true)");
  EXPECT_EQ(status_of(stream), 200);
  EXPECT_NE(stream.find(R"(data: {"error":{"message":)"), std::string::npos) << stream;
  EXPECT_EQ(stream.find("[DONE]"), std::string::npos);
  EXPECT_TRUE(ends_with(stream, "0\r\n\r\n")) << "the connection goes on";
  EXPECT_EQ(model_->engine.load(), 0) << "both were cancelled";
}

TEST_F(Front, Draining) {
  start({});
  model_->engine.hold = true;
  std::thread first([&] { EXPECT_EQ(status_of(complete()), 200); });
  while (!model_->engine.load()) std::this_thread::yield();
  EXPECT_EQ(status_of(ask("GET", "/health/ready")), 200);
  EXPECT_FALSE(access_->drain(0.01));
  EXPECT_EQ(status_of(ask("GET", "/health/ready")), 503);
  EXPECT_NE(ask("GET", "/health/ready").find("draining"), std::string::npos);
  EXPECT_EQ(status_of(ask("GET", "/health/live")), 200);
  EXPECT_EQ(status_of(complete()), 503);
  EXPECT_EQ(status_of(ask("GET", "/v1/models")), 200);
  model_->engine.release();
  EXPECT_TRUE(access_->drain(10));
  first.join();
}

TEST_F(Front, ThePage) {
  start({});
  const std::string page = ask("GET", "/");
  EXPECT_NE(page.find("Content-Security-Policy: default-src 'none'; script-src 'self'"),
            std::string::npos);
  EXPECT_NE(page.find("Content-Type: text/html"), std::string::npos);
  EXPECT_EQ(page.find("<style"), std::string::npos);
  EXPECT_NE(ask("GET", "/chat/chat.js").find("Content-Type: text/javascript"), std::string::npos);
  for (const char* path : {"/chat/nothing.js", "/chat/", "/chat/../chat/chat.js", "/lib/table.js"})
    EXPECT_EQ(status_of(ask("GET", path)), 404) << path;
}

}  // namespace
}  // namespace wellspring
