#include "base/config.h"

#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/test_error.h"

namespace wellspring {
namespace {

template <class F>
std::string config_error(F f, Fault fault = Fault::config) {
  return error_of(f, fault);
}

const char kRun[] = R"(# a run
model: runs/m
train:
  steps: 100
  lr: 1e-3
  betas: [0.9, 0.95]
  bf16: true
  note: "12"
data:
  sources:
    - {path: a, weight: 2}
    - {path: b}
)";

std::string parse_error(const std::string& text) {
  return config_error([&] { Config::parse(text, "run.yaml"); });
}

TEST(Config, TypedValues) {
  Config c = Config::parse(kRun, "run.yaml");
  EXPECT_EQ(c.text("model"), "runs/m");
  Config train = c["train"];
  EXPECT_EQ(train.integer("steps"), 100);
  EXPECT_EQ(train.number("lr"), 1e-3);
  EXPECT_EQ(train.number("steps"), 100);
  EXPECT_EQ(train.numbers("betas"), (std::vector<double>{0.9, 0.95}));
  EXPECT_TRUE(train.boolean("bf16"));
  EXPECT_EQ(train.text("note"), "12");
  EXPECT_EQ(train.integer("warmup", 10), 10);
  auto sources = c["data"].items("sources");
  ASSERT_EQ(sources.size(), 2u);
  EXPECT_EQ(sources[0].number("weight", 1), 2);
  EXPECT_EQ(sources[1].number("weight", 1), 1);
  EXPECT_EQ(sources[1].text("path"), "b");
  EXPECT_EQ(sources[1].place("path"), "run.yaml:12 (data.sources[1].path)");
  sources[0].text("path");
  c.check_all_used();
  EXPECT_EQ(c.keys(), (std::vector<std::string>{"model", "train", "data"}));
}

TEST(Config, ErrorsNameTheLineAndTheNearestKey) {
  Config c = Config::parse("train:\n  lerning_rate: 1\n  steps: fast\n", "run.yaml");
  Config train = c["train"];
  train.number("learning_rate", 3e-4);
  EXPECT_EQ(config_error([&] { train.integer("steps"); }),
            "run.yaml:3: 'train.steps' is 'fast': want a whole number");
  EXPECT_EQ(
      config_error([&] { c.check_all_used(); }),
      "run.yaml:2: unknown key 'lerning_rate' in 'train': did you mean 'learning_rate'? Known: "
      "learning_rate, steps");
  EXPECT_EQ(config_error([&] { train.text("out"); }), "run.yaml:1: 'out' is missing in 'train'");
  Config typed = Config::parse("model:\n  widht: 3\n", "run.yaml");
  EXPECT_EQ(config_error([&] { typed["model"].integer("width"); }),
            "run.yaml:2: unknown key 'widht' in 'model': did you mean 'width'?");
  EXPECT_EQ(config_error([&] { c.text("train"); }), "run.yaml:1: 'train' is a map: want a text");
  EXPECT_EQ(config_error([&] { train["steps"]; }),
            "run.yaml:3: 'train.steps' is 'fast': want a map");
  EXPECT_EQ(config_error([&] { train.texts("steps"); }),
            "run.yaml:3: 'train.steps' is 'fast': want a list, for example [a, b]");
  EXPECT_EQ(config_error([&] { train.boolean("steps"); }),
            "run.yaml:3: 'train.steps' is 'fast': want true or false");
  EXPECT_EQ(config_error([&] {
              train.choice("steps", {"few", "fist"}, "few");
            }),
            "run.yaml:3 (train.steps): 'fast' is not one of few, fist: did you mean 'fist'?");
  EXPECT_EQ(train.choice("kind", {"adamw", "sgd"}, "adamw"), "adamw");
  EXPECT_EQ(config_error([&] { Config::parse("n: \"3\"", "x").integer("n"); }),
            "x:1: 'n' is '3': want a whole number");
}

TEST(Config, Shapes) {
  Config c = Config::parse("a: 1\nb: [x, {k: v}]\nc: {k: v}\nd:\n", "x");
  using Shape = Config::Shape;
  EXPECT_EQ(c.shape(), Shape::map);
  EXPECT_EQ(c.shape("a"), Shape::scalar);
  EXPECT_EQ(c.shape("b"), Shape::list);
  EXPECT_EQ(c.shape("c"), Shape::map);
  EXPECT_EQ(c.shape("d"), Shape::absent);
  EXPECT_EQ(c.shape("e"), Shape::absent);
  EXPECT_EQ(c.items("b")[0].shape(), Shape::scalar);
  EXPECT_EQ(c.items("b")[0].scalar(), "x");
  EXPECT_NE(config_error([&] { c.items("b")[1].scalar(); }).find("'b[1]' is a map: want a text"),
            std::string::npos);
}

TEST(Config, AUnaskedMapIsUnknown) {
  Config c = Config::parse("a: 1\nextra:\n  b: 2\n", "run.yaml");
  c.integer("a");
  EXPECT_EQ(config_error([&] { c.check_all_used(); }),
            "run.yaml:2: unknown key 'extra' in the top level. Known: a");
}

TEST(Config, BadYaml) {
  EXPECT_EQ(parse_error("a: 1\nb: 2\na: 3\n"),
            "run.yaml:3:1: key 'a' stands twice (first in line 1)");
  EXPECT_EQ(parse_error("a: [1, 2\nb: 3").rfind("run.yaml:2:", 0), 0u)
      << parse_error("a: [1, 2\nb: 3");
  EXPECT_EQ(parse_error("a: \"\xFF\""), "run.yaml:1: not valid UTF-8");
  EXPECT_EQ(parse_error(std::string("a: b\nc: \0", 9)),
            "run.yaml:2: a control character (code 0) in YAML");
  EXPECT_EQ(parse_error("- a"),
            "run.yaml:1: the top level is a list: want a map ('key: value' lines)");
  EXPECT_EQ(parse_error("a: 1\n---\nb: 2\n"),
            "run.yaml: holds more than one YAML document ('---')");
  EXPECT_NE(parse_error("a: &x [*x]"), "no error");
  EXPECT_NE(parse_error("a: *nowhere"), "no error");
  EXPECT_NE(parse_error(std::string(100000, '[')), "no error");
  EXPECT_NE(parse_error("? [a]\n: b\n"), "no error");
  EXPECT_EQ(config_error([] { Config::read("/nowhere.yaml"); }, Fault::io),
            "cannot read /nowhere.yaml: No such file or directory");
  EXPECT_TRUE(Config::parse("", "x").keys().empty());
  EXPECT_TRUE(Config::parse("# only a comment\n", "x").keys().empty());
}

TEST(Config, AliasesAreCopiedAndBombsRefused) {
  Config c = Config::parse("a: &x {n: 1}\nb: *x\n", "x");
  EXPECT_EQ(c["a"].integer("n"), 1);
  EXPECT_EQ(c["b"].integer("n"), 1);
  c.check_all_used();
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 10; ++i) {
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
    for (int k = 0; k < 10; ++k) bomb += (k ? ", *a" : "*a") + std::to_string(i - 1);
    bomb += "]\n";
  }
  EXPECT_NE(parse_error(bomb).find("more than 1000000 values"), std::string::npos);
  std::string deep = "a0: &a0 [x]\n";
  for (int i = 1; i < 600; ++i)
    deep += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [*a" + std::to_string(i - 1) +
            "]\n";
  EXPECT_NE(parse_error(deep).find("nested deeper"), std::string::npos);
}

TEST(Config, SetOverridesAndMakesMaps) {
  Config c = Config::parse(kRun, "run.yaml");
  c.set("train.lr=2e-4");
  c.set("new.deep.name=[a, b]");
  c.set("data.sources.0.weight=5");
  c.set("model=x=y");
  EXPECT_EQ(c["train"].number("lr"), 2e-4);
  EXPECT_EQ(c["new"]["deep"].texts("name"), (std::vector<std::string>{"a", "b"}));
  EXPECT_EQ(c["data"].items("sources")[0].integer("weight"), 5);
  EXPECT_EQ(c.text("model"), "x=y");
  c.set("train.lr=fast");
  EXPECT_EQ(config_error([&] { c["train"].number("lr"); }),
            "--set train.lr=fast: 'train.lr' is 'fast': want a number");
  EXPECT_NE(config_error([&] { c.set("train"); }, Fault::usage), "no error");
  EXPECT_NE(config_error([&] { c.set("model.x=1"); }, Fault::usage), "no error");
  EXPECT_NE(config_error([&] { c.set("data.sources.7.x=1"); }, Fault::usage), "no error");
  EXPECT_NE(config_error([&] { c.set("a..b=1"); }, Fault::usage), "no error");
}

TEST(Config, DefaultsStandInTheResolvedTree) {
  Config c = Config::parse("train:\n  steps: 5\n  name: 'no: it'\n  out:\n", "run.yaml");
  Config train = c["train"];
  train.integer("steps", 1);
  train.number("lr", 3e-4);
  train.number("clip", INFINITY);
  train.text("kind", "true");
  train.text("out", "runs/x");
  train.texts("stop");
  c["eval"].boolean("on", false);
  EXPECT_EQ(c.to_yaml(),
            "train:\n  steps: 5\n  name: \"no: it\"\n  out: runs/x\n  lr: 3e-04\n  clip: .inf\n"
            "  kind: \"true\"\n  stop: []\neval:\n  on: false\n");
  // A default does not count as given, and the resolved tree reads back the same.
  EXPECT_FALSE(train.has("lr"));
  Config again = Config::parse(c.to_yaml(), "again");
  EXPECT_EQ(to_text(again.to_json()), to_text(c.to_json()));
  EXPECT_TRUE(std::isinf(again["train"].number("clip")));
}

// A text with any character in any place reads back as itself, as a value, in a list and as a key.
TEST(Config, YamlRoundTripOfTexts) {
  for (int ch = 1; ch < 127; ++ch)  // JSON does not escape 127, and YAML refuses it
    for (const char* form : {"%", "%x", "x%", "x%y", "x %y", "x% y", "x % y", "%%"}) {
      std::string text;
      for (const char* f = form; *f; ++f) text += *f == '%' ? static_cast<char>(ch) : *f;
      const Json json = {{"value", text},
                         {"list", Json::array({text, "z"})},
                         {text == "list" ? "other" : text, 1}};
      Config c = Config::parse(to_text(json), "x");
      EXPECT_EQ(to_text(Config::parse(c.to_yaml(), "written").to_json()), to_text(json))
          << c.to_yaml();
    }
  const std::string most(160, '\x01');
  Config c = Config::parse(to_text(Json{{most, 1}}), "x");
  EXPECT_EQ(to_text(Config::parse(c.to_yaml(), "written").to_json()), to_text(c.to_json()));
  EXPECT_NE(config_error([&] {
              Config::parse(to_text(Json{{most + "x", 1}}), "x");
            }).find("a key of 161 bytes"),
            std::string::npos);
}

TEST(Config, YamlRoundTripOfNestedLists) {
  Config c = Config::parse(
      "a:\n  - {x: 1, y: [1, {z: 2}]}\n  - [[], {}, ~]\n  - text\nb: {}\n\"k: 1\": \"a\\nb\"\n",
      "x");
  Config again = Config::parse(c.to_yaml(), "again");
  EXPECT_EQ(to_text(again.to_json()), to_text(c.to_json())) << c.to_yaml();
  EXPECT_EQ(to_text(c.to_json()),
            R"({"a":[{"x":1,"y":[1,{"z":2}]},[[],{},null],"text"],"b":{},"k: 1":"a\nb"})");
}

}  // namespace
}  // namespace wellspring
