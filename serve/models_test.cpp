#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <thread>

#include "base/error.h"
#include "base/file.h"
#include "serve/api_error.h"
#include "serve/models.h"
#include "serve/test_model.h"

namespace wellspring {
namespace {

// Models "a", "b", "c" of 10, 20 and 30 bytes that note their loads.
struct Shelf {
  explicit Shelf(int64_t memory) : models(sources(), memory) {}
  std::vector<ModelSource> sources() {
    std::vector<ModelSource> out;
    for (int i = 0; i < 3; ++i) {
      const std::string name(1, static_cast<char>('a' + i));
      out.push_back({name,
                     {name + "-alias"},
                     10 * (i + 1),
                     64,
                     [this, i, name]() -> std::shared_ptr<const LoadedModel> {
                       ++loading, ++loads[i];
                       while (closed) std::this_thread::sleep_for(std::chrono::milliseconds(1));
                       --loading;
                       if (broken) throw Error(Fault::data, "model.safetensors is cut");
                       return std::make_shared<FakeModel>(name, nullptr, 10 * (i + 1));
                     }});
    }
    return out;
  }
  bool loaded(size_t i) { return models.list()[i].loaded; }
  int status_of(const std::string& name) {
    try {
      models.get(name);
      return 200;
    } catch (const ApiError& e) {
      return e.status;
    }
  }

  std::atomic<int> loading{0}, loads[3]{};
  std::atomic<bool> closed{false}, broken{false};
  Models models;
};

TEST(Models, LoadedAnewWhenItsFileWasChanged) {
  std::atomic<bool> changed{false};
  std::atomic<int> loads{0};
  Models models({{"a", {}, 10, 64,
                  [&]() -> std::shared_ptr<const LoadedModel> {
                    if (changed.exchange(false) && loads == 2) throw Error(Fault::try_again, "still being written");
                    auto model = std::make_shared<FakeModel>("a", nullptr, 10);
                    model->served.check = [&changed, old = ++loads, &loads] {
                      if (changed || old != loads) throw ApiError(503, "model_changed", "model.safetensors was changed", 2);
                    };
                    return model;
                  }}},
                10);
  const auto first = models.get("a");
  EXPECT_EQ(models.get("a"), first);
  changed = true;
  const auto second = models.get("a");  // its memory is free, though somebody still holds it
  EXPECT_NE(second, first);
  EXPECT_THROW(first->served.check(), ApiError);
  EXPECT_EQ(models.list()[0].loads, 2);
  changed = true;
  EXPECT_THROW(models.get("a"), Error);
  EXPECT_FALSE(models.list()[0].loaded);
  EXPECT_EQ(models.get("a")->served.name, "a");
  EXPECT_EQ(loads, 3);
}

TEST(Models, LoadedOnceByNameOrAlias) {
  Shelf s(0);
  EXPECT_FALSE(s.loaded(0));
  EXPECT_EQ(s.models.get("")->served.name, "a");
  EXPECT_EQ(s.models.get("b-alias")->served.name, "b");
  EXPECT_EQ(s.models.get("b")->served.name, "b");
  EXPECT_EQ(s.loads[1], 1);
  EXPECT_TRUE(s.loaded(0) && s.loaded(1) && !s.loaded(2));
  try {
    s.models.get("nobody");
    FAIL();
  } catch (const ApiError& e) {
    EXPECT_EQ(e.status, 404);
    EXPECT_EQ(e.code, "model_not_found");
    EXPECT_NE(std::string(e.what()).find("'a', 'b', 'c'"), std::string::npos) << e.what();
  }
}

TEST(Models, TwoWithOneName) {
  const auto source = [](const std::string& name, const std::string& alias) {
    return ModelSource{name, {alias}, 0, 0, [] { return std::make_shared<FakeModel>(""); }};
  };
  EXPECT_THROW(Models({source("a", "x"), source("b", "a")}, 0), Error);
  EXPECT_THROW(Models({source("", "x")}, 0), Error);
  EXPECT_THROW(Models({}, 0), Error);
  EXPECT_THROW(Models({{"a", {}, 100, 0, {}}}, 99), Error) << "the first does not fit";
}

TEST(Models, TheLongestUnusedGoes) {
  Shelf s(40);
  s.models.get("a"), s.models.get("b"), s.models.get("a");
  s.models.get("c");  // 30 beside 10
  EXPECT_TRUE(s.loaded(0) && !s.loaded(1) && s.loaded(2));
  s.models.get("b");  // 20: "a" was used before "c", but is not enough
  EXPECT_TRUE(!s.loaded(0) && s.loaded(1) && !s.loaded(2));
  EXPECT_EQ(s.loads[1], 2);
  EXPECT_EQ(s.models.list()[1].loads, 2);
}

TEST(Models, WhoAnswersKeepsItsModel) {
  Shelf s(30);
  auto held = s.models.get("b");
  EXPECT_EQ(s.status_of("c"), 429);
  EXPECT_EQ(s.status_of("a"), 200);
  EXPECT_TRUE(s.loaded(1));
  held.reset();
  EXPECT_EQ(s.status_of("c"), 200);
  EXPECT_FALSE(s.loaded(0) || s.loaded(1));
  Shelf small(25);
  EXPECT_EQ(small.status_of("c"), 503) << "never";
}

TEST(Models, OthersGoOnWhileOneLoads) {
  Shelf s(0);
  s.models.get("a");
  s.closed = true;
  std::vector<std::future<std::shared_ptr<const LoadedModel>>> waiting;
  for (int i = 0; i < 4; ++i)
    waiting.push_back(std::async(std::launch::async, [&] { return s.models.get("b"); }));
  while (!s.loading) std::this_thread::yield();
  EXPECT_EQ(s.models.get("a")->served.name, "a");
  EXPECT_EQ(s.models.get("b", [] { return true; }), nullptr) << "who leaves does not wait";
  s.closed = false;
  for (auto& w : waiting) EXPECT_EQ(w.get()->served.name, "b");
  EXPECT_EQ(s.loads[1], 1);
}

TEST(Models, AFailureIsToldToAllWhoWaitedAndTriedAgain) {
  Shelf s(0);
  s.closed = s.broken = true;
  std::vector<std::future<std::shared_ptr<const LoadedModel>>> waiting;
  for (int i = 0; i < 3; ++i)
    waiting.push_back(std::async(std::launch::async, [&] { return s.models.get("b"); }));
  while (!s.loading) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  s.closed = false;
  for (auto& w : waiting) EXPECT_THROW(w.get(), Error);
  s.broken = false;
  EXPECT_EQ(s.models.get("b")->served.name, "b");
}

TEST(Models, ManyAskForMoreThanFits) {
  Shelf s(45);
  std::atomic<int> good{0}, busy{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < 6; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 60; ++i) try {
          const std::string name(1, static_cast<char>('a' + (t * 7 + i * 5) % 3));
          const auto model = s.models.get(name);
          EXPECT_EQ(model->served.name, name);
          ++good;
        } catch (const ApiError& e) {
          EXPECT_EQ(e.status, 429);
          ++busy;
        }
    });
  for (std::thread& t : threads) t.join();
  EXPECT_EQ(good + busy, 360);
  EXPECT_GT(good, 0);
  int64_t bytes = 0;
  for (const ModelState& m : s.models.list()) bytes += m.loaded ? m.bytes : 0;
  EXPECT_LE(bytes, 45);
}

TEST(ModelsFile, ErrorsNameTheLine) {
  TemporaryFolder folder;
  const std::string path = folder.path() + "/models.yaml";
  const auto read = [&](const std::string& text) {
    write_file_atomic(path, text);
    ModelSpec common;
    common.weights = "q8";
    return read_models_file(path, common);
  };
  const auto specs = read(
      "models:\n  - path: some/where/small\n  - {name: big, path: x, weights: q4, cache: i8, "
      "aliases: [gpt-x]}\n");
  ASSERT_EQ(specs.size(), 2u);
  EXPECT_EQ(specs[0].name, "small");
  EXPECT_EQ(specs[0].weights, "q8");
  EXPECT_EQ(specs[1].weights, "q4");
  EXPECT_EQ(specs[1].aliases, std::vector<std::string>{"gpt-x"});
  for (const char* bad :
       {"models:\n  - {name: x}\n", "models:\n  - {path: x, wieghts: q4}\n",
        "models:\n  - {path: x, weights: q5}\n", "models:\n  - {path: x, cache: f64}\n",
        "other: 1\n", "models: []\n", "models:\n  - {path: x, cache_gb: -1}\n"})
    try {
      read(bad);
      ADD_FAILURE() << bad;
    } catch (const Error& e) {
      EXPECT_EQ(e.fault(), Fault::config) << bad;
      EXPECT_NE(std::string(e.what()).find("models.yaml"), std::string::npos) << e.what();
    }
}

}  // namespace
}  // namespace wellspring
