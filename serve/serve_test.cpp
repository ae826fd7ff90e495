#include <gtest/gtest.h>

#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <mutex>
#include <thread>

#include "base/error.h"
#include "base/random.h"
#include "base/text.h"
#include "base/threads.h"
#include "models/decoder/adapter.h"
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
  logits[2] = NAN;
  EXPECT_THROW(sample(logits, o, 0), Error);
  o.top_p = 0;
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

// Changes every matrix.
std::shared_ptr<const Adapter> random_adapter(const DecoderConfig& c) {
  auto out = std::make_shared<Adapter>();
  Random random(11);
  const auto values = [&](int64_t rows, int64_t columns) {
    Tensor t = Tensor::empty({rows, columns});
    for (int64_t i = 0; i < t.numel(); ++i) t.data_as<float>()[i] = static_cast<float>(random.uniform() - 0.5);
    return t;
  };
  out->layers.resize(static_cast<size_t>(c.layers));
  const int64_t heads = c.heads * c.head_width, qkv = heads + 2 * c.kv_heads * c.head_width;
  for (Adapter::Layer& l : out->layers) {
    l.matrices[static_cast<int>(BlockMatrix::qkv)] = {values(4, c.width), values(qkv, 4)};
    l.matrices[static_cast<int>(BlockMatrix::out)] = {values(4, heads), values(c.width, 4)};
    l.matrices[static_cast<int>(BlockMatrix::up)] = {values(4, c.width), values(2 * c.ffn, 4)};
    l.matrices[static_cast<int>(BlockMatrix::down)] = {values(4, c.ffn), values(c.width, 4)};
  }
  return out;
}

// Requests that have much in common, many at a time, with so few pages that some have to wait again.
struct Schedule {
  std::vector<GenerateRequest> requests;
  Schedule(uint64_t seed, int n, int64_t context, const std::shared_ptr<const Adapter>& adapter) {
    Random random(seed, 0);
    const auto below = [&](int64_t k) { return static_cast<int64_t>(random.uniform() * static_cast<double>(k)); };
    std::vector<int32_t> base(static_cast<size_t>(context));
    for (int32_t& t : base) t = static_cast<int32_t>(below(300));
    for (int i = 0; i < n; ++i) {
      GenerateRequest r;
      r.prompt.assign(base.begin(), base.begin() + below(context - 20));
      for (int64_t own = 1 + below(10); own > 0; --own) r.prompt.push_back(static_cast<int32_t>(below(300)));
      r.max_tokens = 1 + below(12);
      r.sampling.temperature = i % 3 ? 0.9 : 0;
      r.sampling.seed = static_cast<uint64_t>(i), r.sampling.top_p = i % 2 ? 0.9 : 1;
      r.owner = i % 4 ? "" : "another";
      if (i % 5 == 0) r.adapter = adapter;
      requests.push_back(std::move(r));
    }
  }
  std::vector<std::vector<int32_t>> run(Engine& engine, bool together) const {
    std::vector<std::vector<int32_t>> out(requests.size());
    std::atomic<size_t> ended{0};
    for (size_t i = 0; i < requests.size(); ++i) {
      GenerateRequest r = requests[i];
      r.on_token = [&out, i](int32_t t) { return out[i].push_back(t), true; };
      engine.submit(std::move(r), [&](const GenerateResult&, std::exception_ptr error) {
        EXPECT_FALSE(error);
        ++ended;
      });
      while (!together && ended <= i) std::this_thread::yield();
      if (together && i % 7 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    while (ended < requests.size()) std::this_thread::yield();
    return out;
  }
};

TEST(Engine, TheSameAnswerAloneAndInAnyCompany) {
  DecoderConfig c = small();
  c.context = 256, c.kv_heads = 1;
  const char* asked = std::getenv("WELLSPRING_SCHEDULES");
  const int n = asked ? std::atoi(asked) : 60;
  struct Kind {
    DType dtype, cache;
    std::optional<WeightFormat> weights;
  };
  for (const Kind& kind : {Kind{DType::f32, DType::f32, {}}, Kind{DType::bf16, DType::bf16, {}},
                           Kind{DType::bf16, DType::bf16, WeightFormat::bf16},
                           Kind{DType::f32, DType::i8, WeightFormat::q8}, Kind{DType::bf16, DType::bf16, WeightFormat::q4}}) {
    Decoder trained(c, kind.dtype, 1);
    auto model = std::make_shared<Decoder>(c, kind.dtype, Decoder::Use::inference);
    for (size_t i = 0; i < model->parameters().size(); ++i)
      model->parameters()[i]->compute.copy_from(trained.parameters()[i]->compute.detach());
    if (kind.weights) model->quantize(*kind.weights, *kind.weights == WeightFormat::bf16 ? WeightFormat::bf16 : WeightFormat::q8);
    const Schedule schedule(7, n, c.context, random_adapter(c));
    EngineOptions alone;
    alone.cache = kind.cache;
    std::vector<std::vector<int32_t>> expected(schedule.requests.size());
    for (size_t i = 0; i < expected.size(); ++i) {  // an engine of its own each, on one thread or two
      set_threads(1 + static_cast<int>(i % 2));
      GenerateRequest r = schedule.requests[i];
      r.on_token = [&](int32_t t) { return expected[i].push_back(t), true; };
      make_engine(model, alone)->generate(std::move(r));
    }
    set_threads(2);
    struct Way {
      int64_t rows;
      bool look_up;
      std::shared_ptr<const Decoder> draft;
    };
    const auto other = std::make_shared<const Decoder>(small(), kind.dtype, 2);  // guesses, mostly wrong
    for (const Way& way : {Way{5, false, nullptr}, Way{64, true, nullptr}, Way{64, false, other}, Way{64, true, model}}) {
      EngineOptions o = alone;
      o.rows = way.rows, o.sequences = 6, o.look_up = way.look_up, o.draft = way.draft;
      o.cache_bytes = 7 * PagedCache(c.layers, c.kv_heads, c.head_width, 1, kind.cache).page_bytes();
      if (way.draft)
        o.cache_bytes += 7 * PagedCache(way.draft->config().layers, way.draft->config().kv_heads, way.draft->config().head_width, 1,
                                        kind.cache).page_bytes();
      const auto engine = make_engine(model, o);
      EXPECT_EQ(schedule.run(*engine, true), expected);
      EXPECT_EQ(schedule.run(*engine, false), expected) << "one after the other, with what is kept";
      const EngineFigures f = engine->figures();
      EXPECT_GT(f.preemptions, 0);
      EXPECT_GT(f.cached_tokens, 0);
      if (way.draft) { EXPECT_GT(f.guessed, 0); }
      if (way.draft == model) { EXPECT_GT(f.guessed_right, f.guessed / 3) << "but for adapters, and what look-up guessed first: " << f.guessed; }
      EXPECT_EQ(f.free_pages + f.kept_pages, f.pages) << "a page is lost";
    }
  }
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

TEST(Engine, EmbeddingsAloneAndInCompany) {
  DecoderConfig c = small();
  c.context = 256;
  const auto model = std::make_shared<const Decoder>(c, DType::f32, 1);
  const auto embed = [&](Engine& engine, std::vector<std::vector<float>>& out, bool together) {
    for (size_t i = 0; i < out.size(); ++i) {
      GenerateRequest r;
      for (size_t k = 0; k < 1 + 23 * i; ++k) r.prompt.push_back(static_cast<int32_t>(k * 7 % 300));
      r.pooling = i % 2 ? Pooling::mean : Pooling::last;
      r.on_embedding = [&out, i](const std::vector<float>& e) { out[i] = e; };
      engine.submit(std::move(r), [](const GenerateResult&, std::exception_ptr e) { EXPECT_FALSE(e); });
      while (!together && engine.load()) std::this_thread::yield();
    }
    while (engine.load()) std::this_thread::yield();
  };
  std::vector<std::vector<float>> alone(11), company(11);
  embed(*make_engine(model), alone, false);
  EngineOptions o;
  o.rows = 10, o.sequences = 4, o.cache_bytes = 6 * PagedCache(2, 2, 16, 1, DType::f32).page_bytes();
  const auto engine = make_engine(model, o);
  embed(*engine, company, true);
  EXPECT_EQ(alone, company);
  EXPECT_EQ(alone[3].size(), 32u);
  embed(*engine, company, false);
  EXPECT_EQ(alone, company) << "with what is kept";
}

}  // namespace
}  // namespace wellspring
