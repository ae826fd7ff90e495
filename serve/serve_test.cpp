#include <gtest/gtest.h>

#include <atomic>
#include <cmath>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "models/decoder/model.h"
#include "nn/paged_cache.h"
#include "nn/sampler.h"
#include "serve/beam_search.h"
#include "serve/draft.h"
#include "serve/engine.h"
#include "serve/stop_filter.h"

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
  o.top_p = 0;
  for (uint64_t i = 0; i < 50; ++i) EXPECT_EQ(sample(logits, o, i), 1) << "the likeliest alone";
  logits[2] = NAN;
  EXPECT_THROW(sample(logits, o, 0), Error);
  o.top_p = -0.1;
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
  StopFilter shown({"EN", "\n\n"}, 1);
  EXPECT_EQ(shown.push("a E"), "a ");
  EXPECT_EQ(shown.push("ND"), "EN");
  EXPECT_TRUE(shown.stopped());
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

// What of a client's request comes later is not refused, but no more of it runs than of others.
TEST(Engine, PlacesAreForRequestsNotForTheirParts) {
  EngineOptions o;
  o.sequences = o.waiting = 2;
  auto engine = make_engine(std::make_shared<const Decoder>(small(), DType::f32, 1), o);
  std::mutex mutex;
  std::string ends;
  std::atomic<bool> ready{false}, go{false}, both{false};
  const auto submit = [&](char name, int64_t part_of) {
    GenerateRequest r;
    r.prompt = {1}, r.max_tokens = 3, r.part_of = part_of;
    r.on_token = [&, n = 0](int32_t) mutable {
      if (++n == 2) both = true;  // two of the first request run
      while (n == 1 ? !ready : !go) std::this_thread::yield();
      return true;
    };
    return engine->submit(std::move(r), [&, name](const GenerateResult&, std::exception_ptr) {
      std::lock_guard lock(mutex);
      ends += name;
    });
  };
  const int64_t first = submit('a', 0);
  for (int i = 0; i < 5; ++i) submit('a', first);
  ready = true;
  while (!both && engine->load()) std::this_thread::yield();
  ASSERT_TRUE(both) << "the engine answers nothing";
  submit('b', 0), submit('c', 0);
  try {
    submit('d', 0);
    ADD_FAILURE() << "a third one waits";
  } catch (const Error& e) {
    EXPECT_EQ(e.fault(), Fault::try_again);
    EXPECT_EQ(std::string(e.what()), "2 requests wait already: try again later");
  }
  submit('a', first);
  const EngineFigures f = engine->figures();
  EXPECT_EQ(f.running, 1);
  EXPECT_EQ(f.waiting, 2);
  EXPECT_EQ(f.requests, 3);
  EXPECT_EQ(f.refused, 1);
  go = true;
  while (engine->load()) std::this_thread::yield();
  for (char name : {'x', 'y', 'z'}) submit(name, 0);  // all find a place, or wait
  while (engine->load()) std::this_thread::yield();
  engine.reset();
  ASSERT_EQ(ends.size(), 12u) << ends;
  EXPECT_LT(ends.find('c'), 6u) << ends;
  EXPECT_LT(ends.find('b'), ends.find('c')) << ends;
}

// The log-probabilities of a prompt are those that it had when it was made, bit for bit.
TEST(Engine, ScoresAPromptAsIfItHadBeenMade) {
  const auto engine = make_engine(std::make_shared<const Decoder>(small(), DType::f32, 1));
  using All = std::vector<std::vector<TokenProbability>>;
  const auto ask = [&](std::vector<int32_t> prompt, int64_t max_tokens, bool score, All& of_prompt, std::vector<int32_t>& made) {
    All out;
    GenerateRequest r;
    r.prompt = std::move(prompt), r.max_tokens = max_tokens, r.sampling.seed = 3;
    r.top_logprobs = 4, r.prompt_logprobs = score;
    r.on_token = [&](int32_t t) { return made.push_back(t), true; };
    r.on_logprobs = [&](const std::vector<TokenProbability>& p) { out.push_back(p); };
    r.on_prompt_logprobs = [&](const std::vector<TokenProbability>& p) { of_prompt.push_back(p); };
    const GenerateResult result = engine->generate(std::move(r));
    EXPECT_EQ(result.tokens, max_tokens);
    EXPECT_TRUE(!score || result.cached_tokens == 0);
    return out;
  };
  const auto same = [](const All& a, const All& b) {
    return std::equal(a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
      return std::equal(x.begin(), x.end(), y.begin(), y.end(), [](const TokenProbability& p, const TokenProbability& q) {
        return p.token == q.token && p.log_probability == q.log_probability;
      });
    });
  };
  std::vector<int32_t> made, more;
  All none, scored, again;
  const All expected = ask({1}, 63, false, none, made);
  EXPECT_TRUE(none.empty());
  made.insert(made.begin(), 1);
  ask(made, 0, true, scored, more);  // all of the context
  EXPECT_EQ(scored.size(), 63u);
  EXPECT_TRUE(same(scored, expected));
  made.pop_back();
  const All last = ask(made, 1, true, again, more);
  again.insert(again.end(), last.begin(), last.end());
  again.resize(62), scored.resize(62);
  EXPECT_TRUE(same(again, scored)) << "with all of it kept";
}

TEST(Guesses, LookUpFindsTheLatest) {
  const std::vector<int32_t> t = {1, 2, 3, 9, 1, 2, 3, 4, 5, 1, 2, 3};
  EXPECT_EQ(look_up(t, 2), (std::vector<int32_t>{4, 5}));
  EXPECT_EQ(look_up(t, 9), (std::vector<int32_t>{4, 5, 1, 2, 3}));
  EXPECT_TRUE(look_up(std::vector<int32_t>{1, 2, 3, 4}, 4).empty());
  EXPECT_EQ(look_up(std::vector<int32_t>{7, 7, 7, 7}, 4), std::vector<int32_t>{7});
}

// Beam search by its definition: whole sequences through the model, no cache.
std::vector<Beam> beams_by_definition(const Decoder& model, const GenerateRequest& r) {
  BeamSearch search(r.beams, r.length_penalty, r.stop_tokens);
  std::vector<Beam> live(1);
  for (int64_t step = 1;; ++step) {
    std::vector<std::vector<TokenProbability>> likely;
    std::vector<BeamSearch::Parent> parents;
    for (const Beam& b : live) {
      std::vector<int32_t> all = r.prompt;
      all.insert(all.end(), b.tokens.begin(), b.tokens.end());
      const auto n = static_cast<int64_t>(all.size());
      const Tensor logits = model.logits(Tensor::from(std::span<const int32_t>(all), {1, n}));
      likely.push_back(log_probabilities({logits.data_as<float>() + (n - 1) * logits.size(2), static_cast<size_t>(logits.size(2))}, 0, 2 * r.beams));
      likely.back().erase(likely.back().begin());
    }
    for (size_t i = 0; i < live.size(); ++i) parents.push_back({&live[i].tokens, live[i].log_probability, &likely[i]});
    const auto next = search.step(parents);
    std::vector<Beam> go;
    for (const auto& n : next) {
      Beam b = live[n.parent];
      b.tokens.push_back(n.token), b.log_probability = n.log_probability;
      go.push_back(b);
    }
    live = go;
    if (live.empty() || step == r.max_tokens) break;
  }
  for (const Beam& b : live) search.cut(b.tokens, b.log_probability);
  return search.found();
}

TEST(Engine, BeamsAreThoseOfTheDefinition) {
  const auto model = std::make_shared<const Decoder>(small(), DType::f32, 1);
  EngineOptions tight;
  tight.rows = 7, tight.sequences = 9;
  tight.cache_bytes = 5 * PagedCache(2, 2, 16, 1, DType::f32).page_bytes();
  const auto engine = make_engine(model, tight);
  std::vector<std::vector<Beam>> found(12);
  std::vector<GenerateRequest> requests;
  for (size_t i = 0; i < found.size(); ++i) {
    GenerateRequest r;
    for (size_t k = 0; k < 3 + 3 * i; ++k) r.prompt.push_back(static_cast<int32_t>((k * 37 + i / 2) % 300));
    r.beams = static_cast<int64_t>(1 + i % 4), r.max_tokens = static_cast<int64_t>(4 + i % 5);
    r.length_penalty = i % 2 ? 1 : 0.5;
    for (int32_t t = 0; t < 60; ++t) r.stop_tokens.push_back(t * 5 % 300);
    requests.push_back(r);
    r.on_beams = [&found, i](const std::vector<Beam>& b) { found[i] = b; };
    engine->submit(std::move(r), [](const GenerateResult&, std::exception_ptr e) { EXPECT_FALSE(e); });
  }
  while (engine->load()) std::this_thread::yield();
  int64_t ended = 0;
  for (size_t i = 0; i < found.size(); ++i) {
    const std::vector<Beam> expected = beams_by_definition(*model, requests[i]);
    ASSERT_EQ(found[i].size(), expected.size()) << i;
    for (size_t k = 0; k < expected.size(); ++k) {
      EXPECT_EQ(found[i][k].tokens, expected[k].tokens) << i << " " << k;
      EXPECT_NEAR(found[i][k].score, expected[k].score, 1e-4);
      ended += found[i][k].ended;
    }
  }
  EXPECT_GT(ended, 0);
  const EngineFigures f = engine->figures();
  EXPECT_EQ(f.free_pages + f.kept_pages, f.pages) << "a page is lost";
}

// Two searches of which the memory holds one: the older goes on to its end, they do not take each other's pages by turns.
TEST(Engine, AnOlderSearchKeepsItsPages) {
  DecoderConfig c = small();
  c.context = 128;
  const auto model = std::make_shared<const Decoder>(c, DType::f32, 1);
  EngineOptions tight;
  tight.rows = 8, tight.cache_bytes = 8 * PagedCache(2, 2, 16, 1, DType::f32).page_bytes();
  const auto engine = make_engine(model, tight);
  for (int32_t i = 0; i < 2; ++i) {
    GenerateRequest r;
    r.prompt.assign(58, 7 + i), r.beams = 3, r.max_tokens = 40;
    engine->submit(std::move(r), [](const GenerateResult& result, std::exception_ptr e) {
      EXPECT_FALSE(e);
      EXPECT_EQ(result.tokens, 40);
    });
  }
  while (engine->load()) std::this_thread::yield();
  EXPECT_LT(engine->figures().passes, 300) << "402 when a search becomes the youngest with each token, else 184";
}

}  // namespace
}  // namespace wellspring
