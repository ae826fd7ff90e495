// /v1/responses: its requests, its memory, and answers whole and as events.
#include <thread>

#include "base/error.h"
#include "serve/response_request.h"
#include "serve/response_store.h"
#include "serve/test_served.h"

namespace wellspring {
namespace {

const Json kTool = {{"type", "function"},
                    {"name", "get_weather"},
                    {"description", "of a place"},
                    {"strict", true},
                    {"parameters",
                     {{"type", "object"},
                      {"properties",
                       {{"days", {{"type", "integer"}, {"minimum", 1}, {"maximum", 9}}},
                        {"unit", {{"enum", {"C", "F"}}}}}},
                      {"required", {"days", "unit"}},
                      {"additionalProperties", false}}}};

StoredResponse stored(const std::string& id, size_t bytes = 0) {
  return {id, std::string(bytes, 'x'), "[]"};
}

TEST(ResponseStore, KeepsEachOwnersOwnForATime) {
  double now = 0;
  ResponseStoreOptions o;
  o.seconds = 10;
  o.clock = [&] { return now; };
  ResponseStore store(o);
  store.put("ada", stored("a"));
  now = 5;
  store.put("ada", stored("b"));
  EXPECT_TRUE(store.find("ada", "a"));
  EXPECT_FALSE(store.find("bo", "a"));
  EXPECT_FALSE(store.erase("bo", "a"));
  now = 11;
  EXPECT_FALSE(store.find("ada", "a"));
  EXPECT_TRUE(store.find("ada", "b")) << "a later one stays";
  EXPECT_TRUE(store.erase("ada", "b"));
  EXPECT_FALSE(store.erase("ada", "b"));
  EXPECT_EQ(store.bytes(), 0);
}

TEST(ResponseStore, TheOldestGoFirst) {
  ResponseStoreOptions o;
  o.owner_responses = 3, o.owner_bytes = 5000, o.bytes = 8000;
  ResponseStore store(o);
  for (const char* id : {"1", "2", "3", "4"}) store.put("ada", stored(id));
  EXPECT_FALSE(store.find("ada", "1"));
  EXPECT_TRUE(store.find("ada", "2"));
  store.put("ada", stored("5", 4000));
  EXPECT_TRUE(store.find("ada", "4"));
  store.put("ada", stored("6", 4000));
  EXPECT_FALSE(store.find("ada", "5")) << "too many bytes of one";
  store.put("bo", stored("7", 2000));
  store.put("cy", stored("8", 3000));
  EXPECT_FALSE(store.find("ada", "6")) << "who has the most gives when all have too many";
  EXPECT_TRUE(store.find("bo", "7"));
  store.put("bo", stored("9", 9000));
  EXPECT_FALSE(store.find("bo", "9")) << "more than may be kept at all";
  EXPECT_TRUE(store.find("cy", "8"));
  EXPECT_LE(store.bytes(), 8000);
}

TEST(ResponseStore, ManyThreads) {
  ResponseStoreOptions o;
  o.owner_responses = 8;
  ResponseStore store(o);
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&store, t] {
      const std::string owner = str("owner", t % 2);
      for (int i = 0; i < 200; ++i) {
        const std::string id = str(t, "-", i);
        store.put(owner, stored(id));
        const auto found = store.find(owner, id);
        EXPECT_TRUE(!found || found->id == id);
        if (i % 3 == 0) store.erase(owner, id);
      }
    });
  for (std::thread& t : threads) t.join();
  EXPECT_LE(store.bytes(), 2 * 8 * 300);
  EXPECT_GT(store.bytes(), 0);
}

TEST(ResponseRequest, ErrorsNameTheField) {
  const auto error_of = [](const std::string& more) {
    try {
      read_response_request(R"({"input": "x")" + more + "}",
                            [](const std::string&) { return Json::array(); });
    } catch (const Error& e) {
      EXPECT_EQ(e.fault(), Fault::data) << more;
      return std::string(e.what());
    }
    return std::string();
  };
  for (const char* good :
       {"", R"(, "background": false, "reasoning": {"effort": null}, "include": [], "n": 1)",
        R"(, "reasoning": {"effort": "high", "summary": "auto"}, "text": {"verbosity": "low"})",
        R"(, "input": [{"type": "reasoning", "summary": []}, {"role": "user", "content": "x"}])",
        R"(, "truncation": "auto", "unheard_of": 1, "user": "me", "metadata": {"a": "b"})",
        R"(, "tools": [], "tool_choice": "auto", "text": {"format": {"type": "text"}})"})
    EXPECT_EQ(error_of(good), "") << good;
  for (const auto& [more, said] : std::vector<std::pair<std::string, std::string>>{
           {R"(, "background": true)", "'background' is not offered"},
           {R"(, "reasoning": {"effort": 3})", "'reasoning.effort'"},
           {R"(, "reasoning_effort": "low")", "use 'reasoning.effort'"},
           {R"(, "conversation": "conv_1")", "use 'previous_response_id'"},
           {R"(, "max_tokens": 5)", "use 'max_output_tokens'"},
           {R"(, "n": 2)", "'n'"},
           {R"(, "include": ["reasoning.encrypted_content"])", "reasoning.encrypted_content"},
           {R"(, "truncation": "middle")", "'truncation' must be auto or disabled"},
           {R"(, "max_output_tokens": 0)", "'max_output_tokens' must be"},
           {R"(, "temperature": "hot")", "'temperature' must be a number"},
           {R"(, "top_logprobs": 21)", "'top_logprobs' must be 0 to 20"},
           {R"(, "metadata": {"a": 1})", "'metadata'"},
           {R"(, "store": 1)", "'store'"},
           {R"(, "instructions": ["x"])", "'instructions' must be text"},
           {R"(, "tools": [{"type": "web_search"}])", "'tools[0].type' must be function"},
           {R"(, "tools": [{"type": "function"}])", "'tools[0].name'"},
           {R"(, "tools": [{"type": "function", "name": "f", "parameters": 1}])",
            "'tools[0].parameters'"},
           {R"(, "tools": [{"type": "function", "name": "f"}], "top_logprobs": 1)",
            "'top_logprobs' must be left out"},
           {R"(, "tool_choice": {"type": "function", "name": "f"})", "'tool_choice.name'"},
           {R"(, "tool_choice": {"type": "allowed_tools"})", "'tool_choice'"},
           {R"(, "text": {"format": {"type": "xml"}})", "'text.format.type'"},
           {R"(, "text": {"format": {"type": "json_schema"}})", "'text.format.schema'"},
           {R"(, "text": {"verbosity": 3})", "'text.verbosity'"},
           {R"(, "tools": [{"type": "function", "name": "a b"}])", "'tools[0].name' must be 1 to 64 letters"},
           {R"(, "input": null)", "'input' is missing"},
           {R"(, "input": [])", "'input'"},
           {R"(, "input": [{"role": "robot", "content": "x"}])", "'input[0].role'"},
           {R"(, "input": [{"role": "user"}])", "'input[0].content'"},
           {R"(, "input": [{"role": "user", "content": [{"type": "input_image"}]}])",
            "'input_image' is not offered"},
           {R"(, "input": [{"type": "item_reference", "id": "x"}])", "send the item itself"},
           {R"(, "input": [{"type": "function_call_output", "call_id": "x", "output": "y"}])",
            "'input[0].call_id'"}})
    EXPECT_NE(error_of(more).find(said), std::string::npos) << more << ": " << error_of(more);
}

struct Event {
  std::string name;
  Json data;
};

class Responses : public Served {
 protected:
  Responses() : Served(read_file("text/template/testdata/templates/qwen2_5.jinja"), 2048) {}
  static Json question(const Json& input, int64_t most = 12) {
    return {{"input", input}, {"max_output_tokens", most}, {"seed", 5}};
  }
  Json respond(const Json& body) { return ask("/v1/responses", body); }
  std::vector<Event> stream(Json body) {
    body["stream"] = true;
    const HttpResult r = post("/v1/responses", to_text(body));
    EXPECT_EQ(r.status, 200) << r.body;
    std::vector<Event> out;
    for (const std::string& line : split(r.body, '\n')) {
      if (starts_with(line, "event: ")) out.push_back({line.substr(7), Json()});
      if (starts_with(line, "data: ")) out.back().data = parse_json(line.substr(6), "event");
    }
    for (size_t i = 0; i < out.size(); ++i) {
      EXPECT_EQ(out[i].data["sequence_number"], i);
      EXPECT_EQ(out[i].data["type"], out[i].name);
    }
    return out;
  }
  HttpResult at(const char* method, const Json& id, const std::string& more = "") {
    return http_request(method, str("http://127.0.0.1:", server_.port(), "/v1/responses/",
                                    id.get<std::string>(), more));
  }
  // Without what differs between two responses to one request.
  static Json essence(Json r) {
    for (const char* key : {"id", "created_at", "completed_at"}) r.erase(key);
    r["usage"]["input_tokens_details"].erase("cached_tokens");
    for (Json& item : r["output"]) item.erase("id"), item.erase("call_id");
    return r;
  }
  static std::string text_of(const Json& r) { return r["output"][0]["content"][0]["text"]; }
};

TEST_F(Responses, WholeAndStreamedAgree) {
  Json q = question("hi");
  q["top_logprobs"] = 2, q["metadata"] = {{"a", "b"}};
  const Json whole = respond(q);
  EXPECT_EQ(whole["object"], "response");
  EXPECT_EQ(whole["status"], "incomplete");
  EXPECT_EQ(whole["incomplete_details"]["reason"], "max_output_tokens");
  EXPECT_EQ(whole["output"][0]["status"], "incomplete");
  EXPECT_EQ(whole["usage"]["output_tokens"], 12);
  EXPECT_EQ(whole["metadata"], q["metadata"]);
  EXPECT_EQ(whole["output"][0]["content"][0]["logprobs"].size(), 12u);
  const auto events = stream(q);
  std::vector<std::string> names;
  std::string text;
  size_t logprobs = 0;
  for (const Event& e : events) {
    if (names.empty() || names.back() != e.name) names.push_back(e.name);
    if (e.name != "response.output_text.delta") continue;
    text += e.data["delta"].get<std::string>(), logprobs += e.data["logprobs"].size();
  }
  EXPECT_EQ(names, (std::vector<std::string>{
                       "response.created", "response.in_progress", "response.output_item.added",
                       "response.content_part.added", "response.output_text.delta",
                       "response.output_text.done", "response.content_part.done",
                       "response.output_item.done", "response.incomplete"}));
  EXPECT_EQ(text, text_of(whole));
  EXPECT_LE(logprobs, 12u);
  EXPECT_EQ(essence(events.back().data["response"]), essence(whole));
}

TEST_F(Responses, CarryOn) {
  Json q = question("hi");
  q["instructions"] = "be short";
  const Json first = respond(q);
  const Json parts = Json::array(
      {{{"type", "input_text"}, {"text", "mo"}}, {{"type", "input_text"}, {"text", "re"}}});
  q = question(Json::array({{{"role", "user"}, {"content", parts}}}));
  q["previous_response_id"] = first["id"];
  const Json second = respond(q);
  const auto user = [](const char* text) { return Json{{"role", "user"}, {"content", text}}; };
  const Json said = {{"role", "assistant"}, {"content", text_of(first)}};
  const Json chat = ask("/v1/chat/completions",
                        {{"messages", Json::array({user("hi"), said, user("more")})},
                         {"max_tokens", 12},
                         {"seed", 5}});
  EXPECT_EQ(text_of(second), chat["choices"][0]["message"]["content"]);
  EXPECT_EQ(second["usage"]["input_tokens"], chat["usage"]["prompt_tokens"]);
  EXPECT_EQ(second["previous_response_id"], first["id"]);
  EXPECT_EQ(parse_json(at("GET", second["id"]).body, "a"), second);
  const auto items = [&](const std::string& query) {
    return parse_json(at("GET", second["id"], "/input_items" + query).body, "a");
  };
  const Json all = items("?order=asc");
  ASSERT_EQ(all["data"].size(), 3u);
  EXPECT_EQ(all["data"][2]["content"][0]["text"], "more");
  EXPECT_EQ(all["data"][1]["role"], "assistant");
  EXPECT_EQ(all["has_more"], false);
  const Json one = items("?limit=1&after=" + all["data"][2]["id"].get<std::string>());
  EXPECT_EQ(one["data"], Json::array({all["data"][1]})) << "the latest first";
  EXPECT_EQ(one["has_more"], true);
  for (const char* bad : {"?limit=0", "?limit=x", "?order=up", "?after=y"})
    EXPECT_EQ(at("GET", second["id"], str("/input_items", bad)).status, 400) << bad;
  EXPECT_EQ(parse_json(at("DELETE", first["id"]).body, "a")["deleted"], true);
  EXPECT_EQ(at("GET", first["id"]).status, 404);
  EXPECT_EQ(post("/v1/responses", to_text(q)).status, 404);
  q["previous_response_id"] = second["id"];
  EXPECT_EQ(respond(q)["status"], "incomplete") << "a later one carries the whole conversation";
  q["store"] = false;
  EXPECT_EQ(at("GET", respond(q)["id"]).status, 404);
}

TEST_F(Responses, AreCountedBeforeTheyAreAsked) {
  Json q = question("hi");
  q["instructions"] = "be short", q["tools"] = Json::array({kTool});
  const Json first = respond(q);
  EXPECT_EQ(ask("/v1/responses/input_tokens", q),
            (Json{{"object", "response.input_tokens"}, {"input_tokens", first["usage"]["input_tokens"]}}));
  Json next = question("more");
  next["previous_response_id"] = first["id"];
  EXPECT_EQ(ask("/v1/responses/input_tokens", next)["input_tokens"], respond(next)["usage"]["input_tokens"]);
}

TEST_F(Responses, ThoughtsAreNotSaidAgain) {
  const Json user = {{"role", "user"}, {"content", "x"}};
  const Json thought = {{"type", "reasoning"}, {"id", "rs_1"}, {"summary", Json::array()}};
  const Json plain = respond(question(Json::array({user})));
  const Json both = respond(question(Json::array({thought, user})));
  EXPECT_EQ(text_of(both), text_of(plain));
  EXPECT_EQ(both["usage"]["input_tokens"], plain["usage"]["input_tokens"]);
}

TEST_F(Responses, ToolsAreCalledAndAnswered) {
  Json q = question("weather?", 400);
  q["tools"] = Json::array({kTool});
  q["tool_choice"] = "required", q["parallel_tool_calls"] = false;
  const Json whole = respond(q);
  ASSERT_EQ(whole["status"], "completed") << whole;
  ASSERT_EQ(whole["output"].size(), 1u);
  const Json& call = whole["output"][0];
  EXPECT_EQ(call["type"], "function_call");
  EXPECT_EQ(call["name"], "get_weather");
  EXPECT_TRUE(parse_json(call["arguments"].get<std::string>(), "a")["days"].is_number_integer());
  EXPECT_EQ(whole["tools"], q["tools"]);
  std::string arguments;
  const auto events = stream(q);
  for (const Event& e : events) {
    if (e.name == "response.function_call_arguments.delta")
      arguments += e.data["delta"].get<std::string>();
    if (e.name == "response.function_call_arguments.done") {
      EXPECT_EQ(e.data["arguments"], arguments);
    }
  }
  EXPECT_EQ(arguments, call["arguments"]);
  EXPECT_EQ(events.back().name, "response.completed");
  EXPECT_EQ(essence(events.back().data["response"]), essence(whole));

  const Json result = {
      {"type", "function_call_output"}, {"call_id", call["call_id"]}, {"output", "12 C"}};
  Json next = question(Json::array({result}), 4);
  next["previous_response_id"] = whole["id"];
  const Json by_id = respond(next);
  next.erase("previous_response_id");
  next["input"] = Json::array({{{"role", "user"}, {"content", "weather?"}}, call, result});
  const Json by_items = respond(next);
  EXPECT_EQ(text_of(by_id), text_of(by_items));
  EXPECT_EQ(by_id["usage"]["input_tokens"], by_items["usage"]["input_tokens"]);
  Json chat = {{"max_tokens", 4}, {"seed", 5}};
  const Json function = {{"name", call["name"]}, {"arguments", call["arguments"]}};
  const Json called = {{"id", call["call_id"]}, {"type", "function"}, {"function", function}};
  chat["messages"] = Json::array(
      {{{"role", "user"}, {"content", "weather?"}},
       {{"role", "assistant"}, {"content", nullptr}, {"tool_calls", Json::array({called})}},
       {{"role", "tool"}, {"tool_call_id", call["call_id"]}, {"content", "12 C"}}});
  EXPECT_EQ(text_of(by_id), ask("/v1/chat/completions", chat)["choices"][0]["message"]["content"]);
  q["tool_choice"] = {{"type", "function"}, {"name", "get_weather"}};
  EXPECT_EQ(respond(q)["output"][0]["name"], "get_weather");
}

TEST_F(Responses, FormsAndLengths) {
  Json q = question("a", 400);
  q["text"]["format"] = {{"type", "json_schema"}, {"name", "x"}, {"schema", kTool["parameters"]}};
  const Json r = respond(q);
  ASSERT_EQ(r["status"], "completed") << r;
  EXPECT_TRUE(parse_json(text_of(r), "answer")["days"].is_number_integer());
  EXPECT_EQ(r["text"], q["text"]);
  q["tools"] = Json::array({kTool});
  EXPECT_EQ(post("/v1/responses", to_text(q)).status, 400) << "two forms";

  Json long_talk = Json::array();
  for (int i = 0; i < 8; ++i)
    for (const char* role : {"user", "assistant"})
      long_talk.push_back(
          {{"role", role}, {"content", std::string(200, static_cast<char>('a' + i))}});
  long_talk.push_back({{"role", "user"}, {"content", "end"}});
  Json cut = question(long_talk);
  EXPECT_EQ(post("/v1/responses", to_text(cut)).status, 400) << "beyond the context";
  cut["truncation"] = "auto";
  const int64_t used = respond(cut)["usage"]["input_tokens"];
  EXPECT_LE(used, 2048 - 12);
  EXPECT_GT(used, 2048 - 12 - 700) << "no more than is needed";
}

TEST_F(Responses, NothingBrokenIsAnswered) {
  for (const char* bad : {"{broken", "[]", "{}", R"({"input": "x", "temperature": -1})",
                          R"({"input": "x", "stream": true, "top_p": 2})"})
    EXPECT_EQ(post("/v1/responses", bad).status, 400) << bad;
  EXPECT_EQ(post("/v1/responses", R"({"input": "x", "model": "other"})").status, 404);
  EXPECT_EQ(at("GET", "resp_none").status, 404);
}

}  // namespace
}  // namespace wellspring
