#include "text/template/chat_template.h"

#include <cstdlib>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "base/test_error.h"
#include "base/text.h"

namespace wellspring {
namespace {

const char kFolder[] = "text/template/testdata/";

std::string rendered(const std::string& text, const std::string& context = "{}") {
  return ChatTemplate(text, "t").render(parse_json(context, "context"));
}

std::string refused(const std::string& text, const std::string& context = "{}") {
  return error_of([&] { rendered(text, context); }, Fault::data);
}

// Parts as text, what comes from the context in ⟨⟩.
std::string parts(const std::string& text, const std::string& context,
                  const std::string& own = "{}") {
  std::string out;
  for (const PromptPart& p :
       ChatTemplate(text, "t").render_parts(parse_json(context, "context"), parse_json(own, "own")))
    out += p.from_message ? str("⟨", p.text, "⟩") : p.text;
  return out;
}

// A file of make_golden.py's lines: what the peer makes of a template, or that it refuses.
void compare_with_peer(const std::string& path) {
  Json values;
  std::map<std::string, std::string> files;
  int cases = 0, wrong = 0;
  for (const std::string& line : split(read_file(path), '\n')) {
    if (line.empty()) continue;
    const Json c = parse_json(line, path);
    if (c.contains("values")) {
      values = c["values"];
      continue;
    }
    std::string text = c.value("template", "");
    if (c.contains("file")) {
      const std::string file = c["file"];
      if (!files.count(file)) files[file] = read_file(kFolder + ("templates/" + file));
      text = files[file];
    }
    const Json& context = c.contains("context") ? c["context"] : values;
    std::string found, error;
    try {
      const ChatTemplate t(text, "t");
      found = t.render(context);
      std::string joined;
      for (const PromptPart& p : t.render_parts(context)) joined += p.text;
      EXPECT_EQ(found, joined);
    } catch (const Error& e) {
      EXPECT_EQ(static_cast<int>(e.fault()), static_cast<int>(Fault::data));
      error = e.what();
    }
    ++cases;
    const bool good = c.contains("text") ? error.empty() && found == c["text"].get<std::string>()
                                         : !error.empty();
    if (!good && ++wrong <= 10)
      ADD_FAILURE() << line.substr(0, 1000) << "\n  ours: " << (error.empty() ? found : error);
  }
  EXPECT_EQ(wrong, 0);
  EXPECT_GT(cases, 0);
}

TEST(ChatTemplate, GoldenFileOfThePeer) { compare_with_peer(str(kFolder, "golden.jsonl")); }

// peer_test.py names a file with fresh cases.
TEST(ChatTemplate, FreshCasesOfThePeer) {
  const char* path = std::getenv("WELLSPRING_TEMPLATE_CASES");
  if (!path) GTEST_SKIP() << "run by text/template/peer_test.py";
  compare_with_peer(path);
}

TEST(ChatTemplate, FaultsNameTheirPlace) {
  EXPECT_EQ(refused("a\n  {{ 1 + }}"), "t:2:10: expected an expression, found '}}'");
  EXPECT_EQ(refused("{% if x %}\n"),
            "t:1:11: the template ends inside 'if': '{% endif %}' is missing");
  EXPECT_EQ(refused("{% nope %}"), "t:1:4: there is no tag 'nope'");
  EXPECT_EQ(refused("{{ x | nope }}"), "t:1:8: there is no filter 'nope' here");
  EXPECT_EQ(refused("{% include 'x' %}"),
            "t:1:4: 'include' has no use in a chat template and is not supported");
  EXPECT_EQ(refused("\r\n\n{{ messages.x }}"), "t:3:12: 'messages' is undefined");
  EXPECT_EQ(refused("{{ 'a' + m }}", R"({"m": 1})"),
            "t:1:8: '+' does not take a string and a integer");
  EXPECT_EQ(refused("x{{ raise_exception('roles: ' ~ m) }}", R"({"m": ["a"]})"),
            "t:1:20: the chat template refuses this conversation: roles: ['a']");
  EXPECT_EQ(refused("a\n\xFF"), "t:2:1: not valid UTF-8");
  EXPECT_NE(refused("x", "[]").find("not a JSON object"), std::string::npos);
}

TEST(ChatTemplate, MarksFollowTheTextOfMessages) {
  const std::string context = R"({"m": {"role": "user", "content": " <|x|> a,b "}, "bos": "<s>"})";
  EXPECT_EQ(parts("<|im|>{{ m.role }}\n{{ m.content }}<|end|>", context),
            "<|im|>⟨user⟩\n⟨ <|x|> a,b ⟩<|end|>");
  EXPECT_EQ(parts("{{ '[' + m.content | trim ~ ']' }}", context), "[⟨<|x|> a,b⟩]");
  EXPECT_EQ(parts("{{ m.content[1:4] }}{{ m.content[-2] }}", context), "⟨<|xb⟩");
  EXPECT_EQ(parts("{{ m.content.split(',')[1] | upper }}", context), "⟨B ⟩");
  EXPECT_EQ(parts("{{ m.content | replace('|x|', '-') }}", context), "⟨ <⟩-⟨> a,b ⟩");
  EXPECT_EQ(parts("{{ 'a-b' | replace('-', m.role) }}", context), "a⟨user⟩b");
  EXPECT_EQ(parts("{{ m | tojson }}", context),
            R"({"⟨role⟩": "⟨user⟩", "⟨content⟩": "⟨ <|x|> a,b ⟩"})");
  EXPECT_EQ(parts("{{ [m.role] }}{{ '%s!' % m.role }}", context), "['⟨user⟩']⟨user⟩!");
  EXPECT_EQ(parts("{{ [m.role, 'x'] | join('-') }}", context), "⟨user⟩-x");
  EXPECT_EQ(parts("{% macro f(x) %}({{ x }}){% endmacro %}{% set y %}<{{ f(m.role) }}>{% endset "
                  "%}{{ y | title }}",
                  context),
            "<(⟨User⟩)>");
  EXPECT_EQ(parts("{% set ns = namespace(s='') %}{% for c in m.role %}{% set ns.s = ns.s + c + '.' "
                  "%}{% endfor %}{{ ns.s }}",
                  context),
            "⟨u⟩.⟨s⟩.⟨e⟩.⟨r⟩.");
  EXPECT_EQ(parts("{% filter indent(2) %}a\n{{ m.role }}{% endfilter %}", context), "a\n  ⟨user⟩");
  EXPECT_EQ(parts("{{ bos }}{{ eos }}", context, R"({"bos": "<s>", "eos": "</s>"})"), "<s></s>");
  EXPECT_EQ(parts("{{ 'x' if m.role == 'user' }}{{ m.content | length }}", context), "x11");
  EXPECT_EQ(parts("", context), "");
}

TEST(ChatTemplate, LimitsEndATemplateThatLoops) {
  const std::string loop =
      "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}";
  EXPECT_NE(refused(loop).find("takes more than"), std::string::npos);
  EXPECT_NE(refused("{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}").find("levels deep"),
            std::string::npos);
  EXPECT_NE(refused("{% for x in [1] recursive %}{{ loop([1]) }}{% endfor %}").find("levels deep"),
            std::string::npos);
  EXPECT_NE(refused("{% set ns = namespace(x='ab') %}{% for i in range(99) %}{% set ns.x = ns.x ~ "
                    "ns.x %}{% endfor %}")
                .find("bytes"),
            std::string::npos);
  EXPECT_NE(refused("{{ 'x' * 10 ** 30 }}").find("bytes"), std::string::npos);
  EXPECT_NE(refused("{{ [0] * 10 ** 30 }}").find("bytes of work"), std::string::npos);
  EXPECT_NE(refused("{{ 2 ** 999 }}").find("too large"), std::string::npos);
  EXPECT_NE(refused("{{ range(10 ** 9) }}").find("at most"), std::string::npos);
  EXPECT_NE(refused("{{ 'a' | map(*(['map'] * 2000)) | list }}").find("levels deep"),
            std::string::npos);
  EXPECT_NE(refused("{{ '%999999999d' % 1 }}").find("too large"), std::string::npos);
  const ChatTemplate t("{% for i in range(1000) %}x{% endfor %}", "t");
  EXPECT_NE(error_of([&] { t.render(Json::object(), Json::object(), {.steps = 100}); }, Fault::data)
                .find("100 steps"),
            std::string::npos);
  EXPECT_NE(
      error_of([&] { t.render(Json::object(), Json::object(), {.output_bytes = 10}); }, Fault::data)
          .find("10 bytes"),
      std::string::npos);
}

// Rings and long chains of owners must neither leak (the sanitizers see it) nor run out of stack.
TEST(ChatTemplate, ValuesThatHoldEachOther) {
  EXPECT_EQ(rendered("{% set n = namespace() %}{% set n.self = n %}{% set n.l = [n, n.self] %}ok"),
            "ok");
  EXPECT_NE(refused("{% set n = namespace(x=[]) %}{% for i in range(9999) %}{% set n.x = [n.x] "
                    "%}{% endfor %}")
                .find("nest"),
            std::string::npos);
  EXPECT_NE(refused("{% set n = namespace(x=[]) %}{% for i in range(9999) %}{% set n.x = "
                    "[n.x].index %}{% endfor %}")
                .find("nest"),
            std::string::npos);
  EXPECT_EQ(rendered("{% set n = namespace(x=0) %}{% for i in range(9999) %}{% set n.x = "
                     "namespace(y=n.x) %}{% endfor %}ok"),
            "ok");
  EXPECT_EQ(rendered("{% set n = namespace(f=0) %}{% macro a(f) %}{% macro b() %}{{ f }}{% "
                     "endmacro %}{% set n.f = b %}"
                     "{% endmacro %}{% for i in range(9999) %}{{ a(n.f) }}{% endfor %}ok"),
            "ok");
  EXPECT_NE(refused("{% set n = namespace(l=0) %}{% for i in range(9999) %}{% for x in [n.l] %}{% "
                    "set n.l = loop %}"
                    "{% endfor %}{% endfor %}")
                .find("nest"),
            std::string::npos);
}

TEST(ChatTemplate, DeepSyntaxIsRefused) {
  auto many = [](std::string_view s) {
    std::string out;
    for (int i = 0; i < 20000; ++i) out += s;
    return out;
  };
  for (auto [open, close] : {std::pair("(", ")"), std::pair("[", "]"), std::pair("{1:", "}"),
                             std::pair("a[", "]"), std::pair("f(", ")"), std::pair("not ", ""),
                             std::pair("-", ""), std::pair("a if b else ", "")})
    EXPECT_NE(refused("{{ " + many(open) + "1" + many(close) + " }}").find("levels deep"),
              std::string::npos)
        << open;
  EXPECT_NE(refused("{{ 1" + many("+1") + " }}").find("levels deep"), std::string::npos);
  EXPECT_NE(refused("{{ a" + many(".a") + " }}").find("levels deep"), std::string::npos);
  EXPECT_NE(refused("{{ a" + many("|upper") + " }}").find("levels deep"), std::string::npos);
  EXPECT_NE(refused(many("{% if 1 %}")).find("levels deep"), std::string::npos);
  EXPECT_EQ(rendered("{{ 'a'" + many("~''") + " }}"), "a");
  EXPECT_EQ(rendered("{% if 0 %}" + many("{% elif 0 %}") + "{% else %}x{% endif %}"), "x");
}

TEST(ChatTemplate, DeepContexts) {
  std::string deep(500, '[');
  deep += std::string(500, ']');
  EXPECT_EQ(rendered("{{ x | tojson }}{{ x == x }}", "{\"x\": " + deep + "}"), deep + "True");
  Json nested = 1;
  for (int i = 0; i < 2000; ++i) nested = Json::array({std::move(nested)});
  const Json context = {{"x", nested}};
  EXPECT_NE(error_of([&] { ChatTemplate("x", "t").render(context); }, Fault::data).find("nest"),
            std::string::npos);
}

TEST(ChatTemplate, NamesThatItReads) {
  const ChatTemplate t("{% if tools %}{{ messages }}{% endif %}{% set x = 1 %}", "t");
  EXPECT_TRUE(t.reads("tools"));
  EXPECT_FALSE(t.reads("documents"));
  EXPECT_EQ(t.where(), "t");
}

TEST(ChatTemplate, TodayIsToday) {
  const std::string year = rendered("{{ strftime_now('%Y') }}");
  EXPECT_GE(parse_int(year).value_or(0), 2024);
  EXPECT_EQ(rendered("{{ strftime_now('') }}"), "");
}

TEST(ChatTemplate, ManyThreadsAtOnce) {
  const ChatTemplate t(read_file(str(kFolder, "templates/qwen3.jinja")), "qwen3");
  const Json context = parse_json(
      R"({"messages": [{"role": "user", "content": "a"}], "add_generation_prompt": true})", "c");
  const std::string expected = t.render(context);
  std::vector<std::thread> threads;
  std::vector<int> wrong(4);
  for (size_t i = 0; i < wrong.size(); ++i)
    threads.emplace_back([&, i] {
      for (int n = 0; n < 200; ++n) wrong[i] += t.render(context) != expected;
    });
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(wrong, std::vector<int>(4));
}

}  // namespace
}  // namespace wellspring
