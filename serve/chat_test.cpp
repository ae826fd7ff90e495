// Chat templates, grammars and tools, from requests to answers.
#include "base/error.h"
#include "base/random.h"
#include "nn/sampler.h"
#include "serve/api_request.h"
#include "serve/constraint.h"
#include "serve/test_served.h"
#include "serve/tool_calls.h"
#include "text/template/chat_template.h"

namespace wellspring {
namespace {

std::string template_text(const std::string& name) {
  return read_file("text/template/testdata/templates/" + name + ".jinja");
}

const Json kWeather = Json::array({{{"type", "function"},
                                    {"function",
                                     {{"name", "get_weather"},
                                      {"parameters",
                                       {{"type", "object"},
                                        {"properties", {{"days", {{"$ref", "#/$defs/days"}}}, {"unit", {{"enum", {"C", "F"}}}}}},
                                        {"required", {"days", "unit"}},
                                        {"additionalProperties", false},
                                        {"$defs", {{"days", {{"type", "integer"}, {"minimum", 1}, {"maximum", 9}}}}}}}}}}});

Json user(const std::string& words) { return {{"role", "user"}, {"content", words}}; }

TEST(ToolFormat, OfPublishedKindsOfTemplates) {
  const Json own = {{"bos_token", "<s>"}, {"eos_token", "</s>"}};
  struct Row {
    const char *name, *begin, *between, *end, *name_key, *arguments_key;
    bool several;
  };
  for (const Row& row : {Row{"qwen2_5", "<tool_call>\n", "\n</tool_call>\n<tool_call>\n", "\n</tool_call>", "name", "arguments", true},
                         Row{"llama3", "", "", "", "name", "parameters", false},
                         Row{"mistral", "[TOOL_CALLS] [", ", ", "]", "name", "arguments", true},
                         Row{"phi_tools", "<|tool_call|>[", ", ", "]<|/tool_call|>", "name", "arguments", true},
                         Row{"command_r", "Action:\n```json\n[\n  ", ",\n  ", "\n]\n```", "name", "arguments", true}}) {
    const ChatTemplate t(template_text(row.name), row.name);
    const ToolFormat f = find_tool_format(t, own);
    EXPECT_TRUE(f.in_template) << row.name;
    EXPECT_EQ(f.begin, row.begin) << row.name;
    EXPECT_EQ(f.between, row.between) << row.name;
    EXPECT_EQ(f.end, row.end) << row.name;
    EXPECT_EQ(f.name_key, row.name_key) << row.name;
    EXPECT_EQ(f.arguments_key, row.arguments_key) << row.name;
    EXPECT_EQ(f.several, row.several) << row.name;
  }
  for (const char* name : {"chatml", "gemma", "qwen3", "llama2", "phi", "smollm", "harmony", "glm", "deepseek_v3", "mistral_blocks"})
    EXPECT_FALSE(find_tool_format(ChatTemplate(template_text(name), name), own).in_template) << name;
}

TEST(ToolFormat, IsWhatStandsBehindWordsAndThoughts) {
  const ToolFormat f = find_tool_format(
      ChatTemplate("{% if tools %}{{ tools | tojson }}{% endif %}{% for m in messages %}<|{{ m.role }}|>"
                   "{% if m.role == 'assistant' %}<think>\n\n</think>\n\n{% endif %}{{ m.content }}"
                   "{% for c in m.tool_calls %}\n<call>{{ c | tojson }}</call>{% endfor %}<|end|>\n{% endfor %}"
                   "{% if add_generation_prompt %}<|assistant|>{% endif %}",
                   "t"),
      Json::object());
  EXPECT_TRUE(f.in_template);
  EXPECT_EQ(f.trigger(), "<call>{\"id\":");
  EXPECT_EQ(f.name_key, "name");
}

// An answer in pieces of every size gives the same calls.
TEST(ToolCallReader, ReadsPiecesOfAnySize) {
  const ToolFormat hermes;
  ToolFormat list;
  list.begin = "[TOOL_CALLS] [", list.between = ", ", list.end = "]";
  ToolFormat bare;
  bare.begin = bare.between = bare.end = "", bare.arguments_key = "parameters";
  struct Case {
    const ToolFormat& format;
    std::string text, content;
    std::vector<std::pair<std::string, std::string>> calls;
  };
  const std::vector<Case> cases = {
      {hermes, "I look. \n<tool_call>\n{\"name\": \"f\", \"arguments\": {\"a\": \"}{\\\"\", \"b\": [1, {}]}}\n</tool_call>\n<tool_call>\n"
               "{\"name\":\"g\",\"arguments\":{}}\n</tool_call>",
       "I look.", {{"f", "{\"a\": \"}{\\\"\", \"b\": [1, {}]}"}, {"g", "{}"}}},
      {hermes, "no <tool and no more", "no <tool and no more", {}},
      {list, "[TOOL_CALLS][{\"name\": \"f\", \"arguments\": {\"x\": 1}, \"id\": \"abc\"}, {\"name\": \"g\", \"arguments\": {} }]", "",
       {{"f", "{\"x\": 1}"}, {"g", "{}"}}},
      {bare, "\n{\"name\": \"f\", \"parameters\": {\"x\": true}}", "", {{"f", "{\"x\": true}"}}},
      {bare, "a {\"name\": \"f\"}", "a {\"name\": \"f\"}", {}},
      {hermes, "<tool_call>{\"arguments\": {\"late\": 1}, \"name\": \"f\"}", "", {{"f", "{\"late\": 1}"}}},
  };
  for (const Case& c : cases)
    for (size_t step : {size_t{1}, size_t{2}, size_t{7}, c.text.size()}) {
      ToolCallReader reader(c.format, false);
      std::string content;
      std::vector<ToolCallDelta> deltas;
      for (size_t at = 0; at < c.text.size(); at += step) reader.push(std::string_view(c.text).substr(at, step), content, deltas);
      reader.finish(content);
      EXPECT_EQ(content, c.content);
      ASSERT_EQ(reader.calls(), static_cast<int64_t>(c.calls.size())) << c.text;
      std::vector<std::pair<std::string, std::string>> calls(c.calls.size());
      for (const ToolCallDelta& d : deltas) {
        auto& [name, arguments] = calls[static_cast<size_t>(d.index)];
        EXPECT_EQ(d.id.size(), d.name.empty() ? 0u : 9u);
        name += d.name, arguments += d.arguments;
      }
      EXPECT_EQ(calls, c.calls) << step;
    }
}

TEST(ToolCallReader, CountsWhatIsComplete) {
  ToolCallReader reader({}, true);
  std::string content;
  std::vector<ToolCallDelta> deltas;
  const auto calls_with = [&](const char* text) {
    reader.push(text, content, deltas);
    return reader.calls();
  };
  EXPECT_EQ(calls_with("{\"name\": \"f\", \"arguments\": {\"a\": 1}"), 0);
  EXPECT_EQ(calls_with("}"), 1);
  EXPECT_EQ(calls_with("\n{\"x\": 1}\n"), 1) << "no call";
  EXPECT_EQ(calls_with("{\"name\": \"g\", \"arguments\": {}}"), 2);
  EXPECT_EQ(deltas.back().index, 1);
}

class Chat : public Served {
 protected:
  Chat() : Served(template_text("qwen2_5"), 2048) {}
  Json question(const std::string& words) { return {{"messages", Json::array({user(words)})}, {"max_tokens", 400}, {"seed", 5}}; }
};

TEST_F(Chat, SpecialTokensComeFromTheTemplateAlone) {
  const std::vector<int32_t> ids = text_->chat({{"messages", Json::array({user("<|im_end|>x")})}});
  EXPECT_EQ(std::count(ids.begin(), ids.end(), kTurnBegin), 2);
  EXPECT_EQ(std::count(ids.begin(), ids.end(), kTurnEnd), 1);
  EXPECT_EQ(text_->tokenizer().decode(ids), "<|im_start|>user\n<|im_end|>x<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(text_->stop_tokens(), std::vector<int32_t>{kTurnEnd}) << "seen in the template";
}

TEST_F(Chat, AnswersObeySchemasRegexesAndGrammars) {
  Json q = question("a");
  q["response_format"] = {{"type", "json_schema"}, {"json_schema", {{"name", "x"}, {"schema", kWeather[0]["function"]["parameters"]}}}};
  const Json one = ask("/v1/chat/completions", q)["choices"][0];
  ASSERT_EQ(one["finish_reason"], "stop") << one;
  const Json value = parse_json(one["message"]["content"].get<std::string>(), "answer");
  EXPECT_EQ(value.size(), 2u);
  EXPECT_TRUE(value["days"].get<int>() >= 1 && value["days"].get<int>() <= 9) << value;
  EXPECT_TRUE(value["unit"] == "C" || value["unit"] == "F") << value;
  const auto text = [&](const char* field, const Json& v) {
    Json body = {{"prompt", "a"}, {"max_tokens", 50}, {"seed", 7}};
    body[field] = v;
    return ask("/v1/completions", body)["choices"][0]["text"].get<std::string>();
  };
  EXPECT_EQ(text("regex", "[0-9]{3}-x").size(), 5u);
  EXPECT_EQ(text("guided_regex", "ab{2}"), "abb");
  EXPECT_EQ(text("grammar", "root ::= \"yes\" | \"no\"").find_first_not_of("yesno"), std::string::npos);
  const std::string chosen = text("guided_choice", {"red\n", "gr\"een"});
  EXPECT_TRUE(chosen == "red\n" || chosen == "gr\"een") << chosen;
  Json min = {{"prompt", "a"}, {"max_tokens", 50}, {"regex", "abc"}, {"min_tokens", 20}};
  EXPECT_EQ(ask("/v1/completions", min)["choices"][0]["text"], "abc") << "a grammar's end goes before min_tokens";
  for (const char* bad : {R"({"prompt": "a", "regex": "("})", R"({"prompt": "a", "grammar": "root ::= x"})",
                          R"({"prompt": "a", "regex": "a", "grammar": "root ::= \"a\""})",
                          R"({"prompt": "a", "response_format": {"type": "xml"}})",
                          R"({"prompt": "a", "response_format": {"type": "json_schema", "json_schema": {"schema": {"type": "objekt"}}}})"})
    EXPECT_EQ(post("/v1/completions", bad).status, 400) << bad;
}

TEST_F(Chat, ToolsAreCalled) {
  Json q = question("weather?");
  q["tools"] = kWeather, q["tool_choice"] = "required", q["parallel_tool_calls"] = false;
  const Json one = ask("/v1/chat/completions", q)["choices"][0];
  ASSERT_EQ(one["finish_reason"], "tool_calls") << one;
  ASSERT_EQ(one["message"]["tool_calls"].size(), 1u);
  const Json& call = one["message"]["tool_calls"][0];
  EXPECT_EQ(call["function"]["name"], "get_weather");
  EXPECT_TRUE(one["message"]["content"].is_null());
  const Json arguments = parse_json(call["function"]["arguments"].get<std::string>(), "arguments");
  EXPECT_TRUE(arguments["days"].is_number_integer()) << arguments;
  std::string name, text, reason;
  for (const Json& e : events("/v1/chat/completions", q)) {
    const Json& c = e["choices"][0];
    if (c["delta"].contains("tool_calls")) {
      const Json& f = c["delta"]["tool_calls"][0]["function"];
      name += f.value("name", ""), text += f.value("arguments", "");
    }
    if (!c["finish_reason"].is_null()) reason = c["finish_reason"];
  }
  EXPECT_EQ(name, "get_weather");
  EXPECT_EQ(text, call["function"]["arguments"]);
  EXPECT_EQ(reason, "tool_calls");
  // The call and its result go back.
  Json next = q;
  next["messages"].push_back(one["message"]);
  next["messages"].push_back({{"role", "tool"}, {"tool_call_id", call["id"]}, {"content", "12 C"}});
  next["tool_choice"] = "none", next["max_tokens"] = 4;
  EXPECT_EQ(ask("/v1/chat/completions", next)["choices"][0]["finish_reason"], "length");
  Json named = q;
  named["tool_choice"] = {{"type", "function"}, {"function", {{"name", "other"}}}};
  EXPECT_EQ(post("/v1/chat/completions", to_text(named)).status, 400);
  named["tool_choice"] = "auto";
  named["response_format"] = {{"type", "json_object"}};
  EXPECT_EQ(post("/v1/chat/completions", to_text(named)).status, 400) << "two grammars";
}

TEST_F(Chat, StopTextsLeaveCallsAlone) {
  Json q = question("weather?");
  q["tools"] = kWeather, q["tool_choice"] = "required", q["parallel_tool_calls"] = false;
  const Json expected = ask("/v1/chat/completions", q)["choices"][0]["message"]["tool_calls"][0]["function"];
  Json r = {{"input", "weather?"}, {"max_output_tokens", 400}, {"seed", 5}, {"tool_choice", "required"}, {"parallel_tool_calls", false}};
  r["tools"] = Json::array({kWeather[0]["function"]});
  r["tools"][0]["type"] = "function";
  for (const char* stop : {"\n", "a", "\"", "}", "name"}) {
    q["stop"] = r["stop"] = Json::array({stop});
    const Json one = ask("/v1/chat/completions", q)["choices"][0];
    EXPECT_EQ(one["finish_reason"], "tool_calls") << stop;
    ASSERT_EQ(one["message"]["tool_calls"].size(), 1u) << stop;
    EXPECT_EQ(one["message"]["tool_calls"][0]["function"], expected) << stop;
    std::string text, reason;
    for (const Json& e : events("/v1/chat/completions", q)) {
      const Json& c = e["choices"][0];
      if (c["delta"].contains("tool_calls")) text += c["delta"]["tool_calls"][0]["function"].value("arguments", "");
      if (!c["finish_reason"].is_null()) reason = c["finish_reason"];
    }
    EXPECT_EQ(text, expected["arguments"]) << stop;
    EXPECT_EQ(reason, "tool_calls") << stop;
    const Json response = ask("/v1/responses", r);
    EXPECT_EQ(response["status"], "completed") << stop;
    ASSERT_EQ(response["output"].size(), 1u) << response;
    EXPECT_EQ(response["output"][0]["arguments"], expected["arguments"]) << stop;
  }
  q["max_tokens"] = 12;
  const Json cut = ask("/v1/chat/completions", q)["choices"][0];
  EXPECT_EQ(cut["finish_reason"], "length");
  q["tool_choice"] = "auto", q["stop"] = "aa", q["logit_bias"] = {{"97", 100}};
  const Json words = ask("/v1/chat/completions", q);
  EXPECT_EQ(words["choices"][0]["finish_reason"], "stop");
  EXPECT_EQ(words["choices"][0]["message"]["content"], "");
  EXPECT_EQ(words["usage"]["completion_tokens"], 2);
}

// Tools' schemas are full of what no grammar holds.
TEST_F(Chat, ToolsWithAnySchema) {
  Json q = question("weather?");
  q["tools"] = kWeather, q["tool_choice"] = "required", q["parallel_tool_calls"] = false;
  Json& parameters = q["tools"][0]["function"]["parameters"];
  parameters["properties"]["places"] = {{"type", "array"}, {"items", {{"type", "boolean"}}}, {"maxItems", 2}, {"uniqueItems", true}};
  parameters["required"].push_back("places");
  parameters["not"] = {{"required", {"zz"}}};
  q["tools"].push_back({{"type", "function"}, {"function", {{"name", "other"}, {"strict", true}, {"parameters", {{"type", "object"}, {"additionalProperties", false}}}}}});
  const Json one = ask("/v1/chat/completions", q)["choices"][0];
  ASSERT_EQ(one["finish_reason"], "tool_calls") << one;
  q["tool_choice"] = {{"type", "function"}, {"function", {{"name", "get_weather"}}}};
  const Json named = ask("/v1/chat/completions", q)["choices"][0]["message"]["tool_calls"][0]["function"];
  const Json arguments = parse_json(named["arguments"].get<std::string>(), "arguments");
  EXPECT_TRUE(arguments["days"].is_number_integer() && arguments["places"].is_array() && arguments["places"].size() <= 2) << arguments;
  q["tool_choice"] = "auto";
  ask("/v1/chat/completions", q);
  q["tools"][0]["function"]["strict"] = true;
  const HttpResult refused = post("/v1/chat/completions", to_text(q));
  EXPECT_EQ(refused.status, 400);
  EXPECT_NE(refused.body.find("parameters of 'get_weather' #/not: "), std::string::npos) << refused.body;
}

TEST_F(Chat, IsCountedBeforeItIsAsked) {
  Json q = question("how many?");
  q["tools"] = kWeather, q["max_tokens"] = 1;
  for (const char* choice : {"auto", "required", "none"}) {
    q["tool_choice"] = choice;
    const Json count = ask("/tokenize", q);
    EXPECT_EQ(count["count"], ask("/v1/chat/completions", q)["usage"]["prompt_tokens"]) << choice;
    EXPECT_EQ(count["count"], count["tokens"].size());
  }
  EXPECT_EQ(refusal("/tokenize", {{"messages", {{{"role", "x"}}}}})["param"], "messages[0].role");
}

TEST_F(Chat, PromptsEndWhereTheRequestSays) {
  const auto prompt = [&](const Json& more, const std::string& answer) {
    Json q = question("hi");
    q["messages"].push_back({{"role", "assistant"}, {"content", answer}});
    q.update(more);
    return text_->tokenizer().decode(ask("/tokenize", q)["tokens"].get<std::vector<int32_t>>());
  };
  const std::string said = "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\nOnce <|im_end|> upon";
  const std::string words = "Once <|im_end|> upon";
  EXPECT_TRUE(ends_with(prompt(Json::object(), words), said + "<|im_end|>\n<|im_start|>assistant\n"));
  EXPECT_TRUE(ends_with(prompt({{"add_generation_prompt", false}}, words), said + "<|im_end|>\n"));
  EXPECT_TRUE(ends_with(prompt({{"continue_final_message", true}}, words), said));
  EXPECT_TRUE(ends_with(prompt({{"continue_final_message", true}}, words + " "), said + " "));
  for (const char* like_the_template : {"end", "|", "i", "assistant"})
    EXPECT_TRUE(ends_with(prompt({{"continue_final_message", true}}, like_the_template), str("<|im_start|>assistant\n", like_the_template)));
  Json q = question("hi");
  q["messages"].push_back({{"role", "assistant"}, {"content", words}});
  q["continue_final_message"] = true;
  const std::vector<int32_t> ids = ask("/tokenize", q)["tokens"];
  EXPECT_EQ(std::count(ids.begin(), ids.end(), kTurnEnd), 1) << "what is spelled in words is no token";
  q["add_generation_prompt"] = true;
  EXPECT_EQ(refusal("/v1/chat/completions", q)["param"], "add_generation_prompt");
  Json bad = question("hi");
  bad["continue_final_message"] = true;
  EXPECT_EQ(refusal("/v1/chat/completions", bad)["param"], "messages[0]");
}

TEST(ChatManner, IsTheTemplatesToRead) {
  const auto context = [](const std::string& more) {
    return *read_api_request(R"({"messages": [{"role": "user", "content": "x"}])" + more + "}", true).context;
  };
  const Json high = context(R"(, "reasoning_effort": "high", "verbosity": "low")");
  EXPECT_EQ(high["reasoning_effort"], "high");
  EXPECT_EQ(high["enable_thinking"], true);
  EXPECT_EQ(high["verbosity"], "low");
  EXPECT_EQ(context(R"(, "reasoning_effort": "none")")["enable_thinking"], false);
  EXPECT_EQ(context(R"(, "reasoning_effort": "none", "chat_template_kwargs": {"enable_thinking": true})")["enable_thinking"], true);
  EXPECT_FALSE(context("").contains("enable_thinking"));
}

// Random tokens until the trigger, which is forced; then the grammar holds.
TEST_F(Chat, FreeTextUntilACallBegins) {
  const ToolFormat& f = text_->tool_format();
  JsonGrammarOptions options;
  options.before = f.begin.substr(f.trigger().size()), options.after = f.end;
  const Grammar g = grammar_from_json_schema(tool_call_schema(f, kWeather, options), options);
  for (uint64_t seed = 0; seed < 20; ++seed) {
    auto c = constrain_after(std::string(f.trigger()), g, *text_);
    Random random(seed);
    std::vector<uint64_t> allowed;
    for (int i = 0; i < 10; ++i) {
      ASSERT_FALSE(c->mask(allowed));
      c->accept(static_cast<int32_t>(random.below(256)));
    }
    for (const int32_t t : text_->tokenizer().encode(std::string(f.trigger()))) c->accept(t);
    std::string text;
    while (!c->ended()) {
      ASSERT_TRUE(c->mask(allowed));
      std::vector<int32_t> may;
      for (int32_t t = 0; t < 258; ++t)
        if (allowed[static_cast<size_t>(t) / 64] >> (t % 64) & 1) may.push_back(t);
      const int32_t t = may[random.below(may.size())];
      c->accept(t);
      if (t != kTurnEnd) text += text_->tokenizer().decode({&t, 1});
      ASSERT_LT(text.size(), 2000u);
    }
    const size_t end = text.find("</tool_call>");
    ASSERT_NE(end, std::string::npos) << text;
    EXPECT_EQ(parse_json(text.substr(0, end), "call")["name"], "get_weather");
  }
}

// Of a model without an end token, too.
TEST_F(Chat, AFormThatIsCompleteEndsTheAnswer) {
  const std::string file = folder_.path() + "/tokenizer.json";
  std::string tokenizer = read_file(file);
  tokenizer.replace(tokenizer.find("<|im_end|>"), 10, "<|other|>");
  write_file_atomic(file, tokenizer);
  remove_all(folder_.path() + "/chat_template.jinja");
  const ModelText text(folder_.path(), model_->config());
  ASSERT_TRUE(text.stop_tokens().empty());
  const auto answer = [&](const GrammarText& form, int64_t most) {
    GenerateRequest r;
    std::string out;
    r.prompt = {1}, r.max_tokens = most, r.vocab = text.vocab(), r.constraint = constrain(text.grammar(form), text);
    r.on_token = [&](int32_t t) { return out += text.tokenizer().decode({&t, 1}), true; };
    const bool stop = engine_->generate(std::move(r)).finish == GenerateResult::Finish::stop;
    return out + (stop ? " stop" : " length");
  };
  using K = GrammarText::Kind;
  EXPECT_EQ(answer({K::regex, "ab", {}}, 9), "ab stop");
  EXPECT_EQ(answer({K::regex, "ab", {}}, 1), "a length");
  EXPECT_EQ(answer({K::json_schema, R"({"enum": [17]})", {}}, 9), "17 stop");
  EXPECT_EQ(answer({K::gbnf, "root ::= \"\"", {}}, 9), " stop");
  GrammarText tools{K::json_schema, "", {}};
  tools.text = tool_call_schema({}, kWeather, tools.json);
  EXPECT_EQ(answer(tools, 900).find(" length"), std::string::npos);
}

// Guesses change nothing, under grammars neither.
TEST_F(Chat, GuessesUnderGrammars) {
  const auto answer = [&](EngineOptions o, const Grammar& g, EngineFigures* figures) {
    const auto engine = make_engine(model_, o);
    std::vector<std::vector<int32_t>> all;
    for (uint64_t seed = 0; seed < 4; ++seed) {
      GenerateRequest r;
      r.prompt = text_->prompt("count"), r.sampling.seed = seed, r.max_tokens = 120, r.vocab = text_->vocab();
      r.stop_tokens = text_->stop_tokens(), r.constraint = constrain(g, *text_);
      all.emplace_back();
      r.on_token = [&](int32_t t) { return all.back().push_back(t), true; };
      engine->generate(std::move(r));
    }
    if (figures) *figures = engine->figures();
    return all;
  };
  JsonGrammarOptions options;
  const std::string calls = tool_call_schema(text_->tool_format(), kWeather, options);
  for (const Grammar& g : {grammar_from_regex("((one|two), ){30}"), grammar_from_json_schema(calls, options)}) {
    const auto plain = answer({}, g, nullptr);
    EngineOptions look, draft;
    look.look_up = true, draft.draft = model_;
    EngineFigures by_look, by_draft;
    EXPECT_EQ(answer(look, g, &by_look), plain);
    EXPECT_EQ(answer(draft, g, &by_draft), plain);
    EXPECT_GT(by_look.guessed_right + by_draft.guessed_right, 0);
  }
}

TEST(ModelTextErrors, NameTheTemplate) {
  TemporaryFolder folder;
  write_byte_tokenizer(folder.path(), "{% if %}");
  DecoderConfig c;
  c.vocab = 300;
  try {
    ModelText text(folder.path(), c);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find("chat_template.jinja:1:"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace wellspring
