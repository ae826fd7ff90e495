#include "data/loader.h"

#include <gtest/gtest.h>

#include <map>
#include <set>

#include "base/random.h"
#include "data/permutation.h"
#include "data/test_data.h"

namespace wellspring {
namespace {

class LoaderTest : public ::testing::Test {
 protected:
  LoaderTest() {
    Random random(7);
    auto lengths = [&](int n) {
      std::vector<int64_t> out;
      for (int i = 0; i < n; ++i) out.push_back(static_cast<int64_t>(random.below(60)));
      return out;
    };
    write_dataset(data_, {{"a", 100, {lengths(20), lengths(31)}, {5, 17, 3}},
                          {"b", 20000, {lengths(40)}, {9}}});
  }
  TemporaryFolder folder_;
  std::string data_ = join_path(folder_.path(), "data");

  LoaderOptions options(int64_t batch, int64_t length, int64_t rank = 0, int64_t world = 1) {
    LoaderOptions o;
    o.batch = batch, o.length = length, o.rank = rank, o.world = world, o.seed = 3;
    return o;
  }
  static std::vector<int32_t> take(Loader& loader, const LoaderOptions& o) {
    std::vector<int32_t> out(static_cast<size_t>(o.batch * (o.length + 1)));
    loader.next(out.data());
    return out;
  }
};

TEST(Permutation, IsOne) {
  for (uint64_t n : {1, 2, 3, 5, 16, 17, 1000}) {
    Permutation p(n, 42, 1), q(n, 42, 2);
    std::set<uint64_t> seen;
    uint64_t fixed = 0;
    for (uint64_t i = 0; i < n; ++i) {
      EXPECT_LT(p(i), n);
      seen.insert(p(i));
      fixed += p(i) == q(i);
    }
    EXPECT_EQ(seen.size(), n);
    if (n == 1000) {
      EXPECT_LT(fixed, 20u);
    }
  }
}

TEST_F(LoaderTest, EveryTokenOnceAnEpoch) {
  LoaderOptions o = options(1, 7);
  Loader loader({{data_, "a", 0}}, o);
  std::map<int32_t, int> seen;
  std::vector<int32_t> row(8), document(8);
  const int64_t tokens = loader.epoch_tokens(), whole = (tokens + 6) / 7;
  for (int64_t epoch = 0; epoch < 2; ++epoch) {
    seen.clear();
    int32_t last = -1;
    int joins = 0;
    for (int64_t r = 0; r < whole; ++r) {
      loader.next(row.data(), document.data());
      joins += row[0] == last;
      last = row[7];
      EXPECT_EQ(document[0], 0);
      for (size_t i = 0; i < 7; ++i) {
        ++seen[row[i]];
        // Within a document tokens count up; EOS (0) ends it.
        EXPECT_EQ(document[i + 1] - document[i], row[i] == 0 ? 1 : 0);
        if (row[i] != 0 && row[i + 1] != 0) {
          EXPECT_EQ(row[i + 1], row[i] + 1);
        }
      }
    }
    EXPECT_LT(joins, whole / 8);  // rows that lie side by side seldom come one after the other
    int twice = seen[0] - 51;
    for (auto [token, n] : seen) {
      if (token == 0) continue;
      EXPECT_GE(n, 1);
      EXPECT_LE(n, 2);
      twice += n - 1;
    }
    EXPECT_EQ(static_cast<int64_t>(seen.size()), tokens - 51 + 1);
    EXPECT_EQ(twice, whole * 7 - tokens);
  }
  EXPECT_NEAR(loader.epochs(), 2, 0.04);
}

TEST_F(LoaderTest, EpochsAreShuffledAnew) {
  LoaderOptions o =
      options(1, static_cast<int64_t>(Loader({{data_, "b", 0}}, options(1, 1)).epoch_tokens()));
  Loader loader({{data_, "b", 0}}, o);
  auto first = take(loader, o), second = take(loader, o);
  EXPECT_NE(first, second);
  first.pop_back(), second.pop_back();
  std::sort(first.begin(), first.end()), std::sort(second.begin(), second.end());
  EXPECT_EQ(first, second);
}

TEST_F(LoaderTest, RanksShareTheSameRows) {
  for (int64_t world : {2, 4}) {
    LoaderOptions whole = options(8, 11);
    Loader one({{data_, "", 0}}, whole);
    std::vector<Loader> ranks;
    LoaderOptions part = options(8 / world, 11);
    for (int64_t r = 0; r < world; ++r)
      ranks.emplace_back(std::vector<MixPart>{{data_, "", 0}}, options(8 / world, 11, r, world));
    for (int step = 0; step < 40; ++step) {
      auto all = take(one, whole);
      std::vector<int32_t> joined;
      for (Loader& l : ranks)
        for (int32_t t : take(l, part)) joined.push_back(t);
      EXPECT_EQ(joined, all);
      EXPECT_EQ(ranks[0].position(), one.position());
    }
  }
}

TEST_F(LoaderTest, PositionIsExact) {
  LoaderOptions o = options(3, 13);
  std::vector<MixPart> mix = {{data_, "a", 3}, {data_, "b", 1}};
  for (int stop : {0, 1, 5, 37, 200}) {
    Loader loader(mix, o);
    for (int i = 0; i < stop; ++i) take(loader, o);
    Json saved = parse_json(to_text(loader.position()), "position");
    Loader other(mix, o);
    take(other, o);
    other.restore(saved);
    EXPECT_EQ(other.position(), saved);
    for (int i = 0; i < 20; ++i) EXPECT_EQ(take(loader, o), take(other, o));
  }
}

TEST_F(LoaderTest, WeightsAreKept) {
  LoaderOptions o = options(1, 9);
  Loader loader({{data_, "a", 3}, {data_, "b", 1}}, o);
  int b = 0;
  for (int i = 1; i <= 400; ++i) {
    auto row = take(loader, o);
    b += *std::max_element(row.begin(), row.end()) >= 20000;
    EXPECT_NEAR(b, i / 4.0, 1.01);
  }
}

TEST_F(LoaderTest, SeedsDiffer) {
  LoaderOptions o = options(4, 20), p = o;
  p.seed = 4;
  Loader a({{data_, "", 0}}, o), b({{data_, "", 0}}, p), c({{data_, "", 0}}, o);
  auto first = take(a, o);
  EXPECT_NE(first, take(b, p));
  EXPECT_EQ(first, take(c, o));
}

TEST_F(LoaderTest, BadOptions) {
  auto make = [&](std::vector<MixPart> parts, LoaderOptions o) {
    return [=] { Loader(parts, o); };
  };
  LoaderOptions o = options(2, 8);
  EXPECT_NE(error_of(make({}, o), Fault::config).find("at least one"), std::string::npos);
  EXPECT_NE(error_of(make({{data_, "c", 0}}, o), Fault::config).find("it has a, b"),
            std::string::npos);
  EXPECT_NE(error_of(make({{data_, "a", 1}, {data_, "b", 0}}, o), Fault::config).find("weight"),
            std::string::npos);
  EXPECT_NE(error_of(make({{data_, "a", 1}, {data_, "", 1}}, o), Fault::config).find("twice"),
            std::string::npos);
  EXPECT_NE(error_of(make({{data_, "", 0}}, options(0, 8)), Fault::config).find("batch"),
            std::string::npos);
  EXPECT_NE(error_of(make({{data_, "", 0}}, options(1, 8, 2, 2)), Fault::config).find("rank"),
            std::string::npos);
  EXPECT_NE(error_of(make({{folder_.path(), "", 0}}, o), Fault::data).find("dataset.json"),
            std::string::npos);
  EXPECT_NE(error_of(make({{data_ + "x", "", 0}}, o), Fault::io).find("does not exist"),
            std::string::npos);
}

TEST_F(LoaderTest, BadPositions) {
  LoaderOptions o = options(2, 8);
  Loader loader({{data_, "", 0}}, o);
  take(loader, o);
  const Json good = loader.position();
  auto broken = [&](const std::function<void(Json&)>& change) {
    Json j = good;
    change(j);
    std::string what = error_of([&] { loader.restore(j); }, Fault::data);
    EXPECT_EQ(loader.position(), good);
    return what;
  };
  EXPECT_NE(broken([](Json& j) { j["seed"] = 9; }).find("seed"), std::string::npos);
  EXPECT_NE(broken([](Json& j) { j["version"] = 99; }).find("version"), std::string::npos);
  EXPECT_NE(broken([](Json& j) { j.erase("rows"); }).find("rows"), std::string::npos);
  EXPECT_NE(broken([](Json& j) { j["sources"].erase(1); }).find("sources"), std::string::npos);
  EXPECT_NE(broken([](Json& j) { j["sources"][1]["tokens"] = 1; }).find("source 1"),
            std::string::npos);
  EXPECT_NE(broken([](Json& j) { j["length"] = 12; }).find("length"), std::string::npos);
  EXPECT_NE(broken([](Json& j) { j["sources"][0]["rows"] = -1; }).find("rows"), std::string::npos);
  EXPECT_NE(broken([](Json& j) { j = 3; }).find("version"), std::string::npos);
}

TEST_F(LoaderTest, EvalWindowsCoverEachTokenOnce) {
  for (int64_t overlap : {0, 3}) {
    EvalOptions o;
    o.batch = 2, o.length = 5, o.overlap = overlap;
    EvalWindows windows(data_, o);
    EXPECT_EQ(windows.total_tokens(), 5 + 17 + 3 + 9);
    EXPECT_EQ(windows.total_bytes(), 3 * windows.total_tokens());
    for (int pass = 0; pass < 2; ++pass, windows.rewind()) {
      std::vector<int32_t> in(10), target(10);
      std::vector<int64_t> document(2);
      std::map<int64_t, std::vector<int32_t>> scored;
      while (windows.next(in.data(), target.data(), document.data()))
        for (size_t r = 0; r < 2; ++r)
          for (size_t t = 0; t < 5; ++t) {
            int32_t want = target[r * 5 + t];
            if (want == EvalWindows::kIgnore) continue;
            EXPECT_EQ(in[r * 5 + t], scored[document[r]].empty() ? 0 : want - 1);
            scored[document[r]].push_back(want);
          }
      ASSERT_EQ(scored.size(), 4u);
      for (int64_t d = 0; d < 4; ++d)
        EXPECT_EQ(static_cast<int64_t>(scored[d].size()),
                  windows.documents()[static_cast<size_t>(d)].tokens);
    }
    o.language = "zh";
    EXPECT_EQ(EvalWindows(data_, o).total_tokens(), 17);
    o.language = "fr";
    EXPECT_NE(error_of([&] { EvalWindows(data_, o); }, Fault::data).find("fr"), std::string::npos);
  }
}

TEST_F(LoaderTest, LastRowsSayWhereABatchBegan) {
  LoaderOptions o;
  o.batch = 3, o.length = 4, o.seed = 5;
  Loader loader({{data_, "", 0}}, o);
  std::vector<int32_t> rows(3 * 5);
  EXPECT_TRUE(loader.last_rows().empty());
  for (int n = 0; n < 5; ++n) {
    loader.next(rows.data());
    std::vector<Loader::RowPlace> places = loader.last_rows();
    ASSERT_EQ(places.size(), 3u);
    for (size_t r = 0; r < 3; ++r) {
      Shard shard(places[r].shard);
      int32_t first = 0;  // the end of the document when its tokens are used up
      if (places[r].offset < shard.length(places[r].document))
        shard.copy(places[r].document, places[r].offset, 1, &first);
      EXPECT_EQ(rows[r * 5], first);
    }
  }
}

TEST_F(LoaderTest, EvalWindowsSpreadTheTokensAskedFor) {
  EvalOptions o;
  o.most_tokens = 20;
  EvalWindows some(data_, o);
  EXPECT_LE(some.total_tokens(), 20);
  EXPECT_GE(some.total_tokens(), 8);
  EXPECT_EQ(some.total_bytes(), 3 * some.total_tokens());
  o.most_tokens = 1;  // shorter than any: the shortest stands for all
  EXPECT_EQ(EvalWindows(data_, o).total_tokens(), 3);
  o.by_length = true;
  o.most_tokens = 0;
  EvalWindows sorted(data_, o);
  EXPECT_EQ(sorted.total_tokens(), 34);
  for (size_t i = 1; i < sorted.documents().size(); ++i)
    EXPECT_LE(sorted.documents()[i - 1].tokens, sorted.documents()[i].tokens);
  o.most_tokens = 1000;
  EXPECT_EQ(EvalWindows(data_, o).total_tokens(), 34);
}

}  // namespace
}  // namespace wellspring
