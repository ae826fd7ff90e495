// A request gets the same tokens and bits alone and in any company: random schedules, each answer beside that of an
// engine of its own.
#include <bit>
#include <chrono>
#include <cstdlib>
#include <random>
#include <thread>

#include "base/random.h"
#include "base/threads.h"
#include "base/time.h"
#include "models/decoder/adapter.h"
#include "nn/paged_cache.h"
#include "serve/constraint.h"
#include "serve/test_served.h"

namespace wellspring {
namespace {

constexpr int64_t kIds = 300, kWritten = 258;  // ids; those that have a text
constexpr int kTogether = 24;                  // requests of a schedule

DecoderConfig small_config(int64_t context = 256) {
  DecoderConfig c;
  c.vocab = kIds, c.width = 32, c.layers = 2, c.heads = 2, c.kv_heads = 1, c.head_width = 16, c.ffn = 48, c.context = context;
  c.init.vector_std = c.init.matrix_std = 0.5;
  return c;
}

// Longer than what attention and products take at once.
DecoderConfig wide_config() {
  DecoderConfig c = small_config(700);
  c.width = 256, c.layers = 1, c.heads = 4, c.kv_heads = 2, c.head_width = 64, c.ffn = 736;
  c.init.vector_std = c.init.matrix_std = 0.2;
  return c;
}

int64_t page_bytes(const DecoderConfig& c, DType cache) { return PagedCache(c.layers, c.kv_heads, c.head_width, 1, cache).page_bytes(); }

// Changes every matrix.
std::shared_ptr<const Adapter> random_adapter(const DecoderConfig& c, uint64_t seed) {
  auto out = std::make_shared<Adapter>();
  Random random(seed);
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

// A model as it is served: its weights and its cache.
struct Kind {
  const char* name;
  DType dtype, cache;
  std::optional<WeightFormat> weights;
  bool wide = false;
  std::shared_ptr<const Decoder> model = {}, other = {};  // other: guesses for it, mostly wrong
  std::vector<std::shared_ptr<const Adapter>> adapters = {};

  void make() {
    const DecoderConfig c = wide ? wide_config() : small_config();
    Decoder trained(c, dtype, 1);
    auto m = std::make_shared<Decoder>(c, dtype, Decoder::Use::inference);
    for (size_t i = 0; i < m->parameters().size(); ++i) m->parameters()[i]->compute.copy_from(trained.parameters()[i]->compute.detach());
    if (weights) m->quantize(*weights, *weights == WeightFormat::bf16 ? WeightFormat::bf16 : WeightFormat::q8);
    model = m, other = std::make_shared<const Decoder>(small_config(64), dtype, 2);
    adapters = {random_adapter(c, 11), random_adapter(c, 12)};
  }
};

std::vector<Kind> kinds() {
  using W = WeightFormat;
  std::vector<Kind> all = {{"f32", DType::f32, DType::f32, {}},
                           {"q4", DType::bf16, DType::bf16, W::q4},
                           {"packed bf16", DType::bf16, DType::bf16, W::bf16},
                           {"q8 in f32, cache i8", DType::f32, DType::i8, W::q8},
                           {"bf16", DType::bf16, DType::bf16, {}},
                           {"q4, cache i8", DType::bf16, DType::i8, W::q4},
                           {"packed bf16, cache i8", DType::bf16, DType::i8, W::bf16},
                           {"q8", DType::bf16, DType::bf16, W::q8},
                           {"q8_groups, cache i8", DType::bf16, DType::i8, W::q8_groups},
                           {"wide f32", DType::f32, DType::f32, {}, true},
                           {"wide q4", DType::bf16, DType::bf16, W::q4, true},
                           {"wide packed bf16, cache i8", DType::bf16, DType::i8, W::bf16, true},
                           {"wide q8", DType::bf16, DType::bf16, W::q8, true},
                           {"wide bf16", DType::bf16, DType::bf16, {}, true}};
  for (Kind& k : all) k.make();
  return all;
}

// All that came of a request, in the order in which it came.
struct Answer {
  std::vector<uint32_t> bits;
  bool cancelled = false;
  std::string error;
  void add(double x) {
    const auto b = std::bit_cast<uint64_t>(x);
    bits.push_back(static_cast<uint32_t>(b)), bits.push_back(static_cast<uint32_t>(b >> 32));
  }
};

// A request, and what its client does.
struct Asked {
  GenerateRequest request;
  std::function<std::shared_ptr<TokenConstraint>()> form;  // may be empty
  size_t leaves_after = 0;                                 // has enough with so many tokens; 0: never
  int cancelled_after = -1;                                // cancelled when so many others have come; below 0: not
  std::string what;

  int64_t submit(Engine& engine, Answer& a, std::atomic<int>& ended) const {
    GenerateRequest r = request;
    if (form) r.constraint = form();
    r.on_token = [&a, left = leaves_after](int32_t token) mutable {
      a.bits.push_back(static_cast<uint32_t>(token));
      return left == 0 || --left > 0;
    };
    r.on_logprobs = [&a](const std::vector<TokenProbability>& all) {
      for (const auto& p : all) a.bits.push_back(static_cast<uint32_t>(p.token)), a.bits.push_back(std::bit_cast<uint32_t>(p.log_probability));
    };
    r.on_prompt_logprobs = r.on_logprobs;
    r.on_embedding = [&a](const std::vector<float>& all) {
      for (const float x : all) a.bits.push_back(std::bit_cast<uint32_t>(x));
    };
    r.on_beams = [&a](const std::vector<Beam>& all) {
      for (const Beam& b : all) {
        a.bits.insert(a.bits.end(), b.tokens.begin(), b.tokens.end());
        a.add(b.log_probability), a.add(b.score), a.bits.push_back(b.ended);
      }
    };
    return engine.submit(std::move(r), [&a, &ended](const GenerateResult& result, std::exception_ptr error) {
      a.cancelled = result.finish == GenerateResult::Finish::cancelled;
      if (!a.cancelled) a.bits.push_back(static_cast<uint32_t>(result.finish)), a.bits.push_back(static_cast<uint32_t>(result.tokens));
      try {
        if (error) std::rethrow_exception(error);
      } catch (const std::exception& e) {
        a.error = e.what();
      }
      ++ended;
    });
  }

  // Of what was cancelled, the beginning; a search that was cancelled tells what it had by then.
  bool same(const Answer& alone, const Answer& here) const {
    if (!here.cancelled) return alone.bits == here.bits && alone.error == here.error;
    return request.beams ||
           (here.bits.size() <= alone.bits.size() && std::equal(here.bits.begin(), here.bits.end(), alone.bits.begin()));
  }
};

// Draws requests that have much in common.
class Draw {
 public:
  Draw(uint64_t seed, const ModelText& text, const Kind& kind) : random_(seed, 1), text_(text), kind_(kind), bases_(2) {
    for (auto& base : bases_)
      for (int64_t i = 0; i < kind_.model->config().context; ++i)  // the second one repeats itself: what look-up guesses is often right
        base.push_back(&base == &bases_[1] && i >= 7 ? base[static_cast<size_t>(i) - 7] : static_cast<int32_t>(random_.below(kWritten)));
  }

  // One, or several answers to one prompt.
  std::vector<Asked> next() {
    Asked a = plain();
    GenerateRequest& r = a.request;
    if (chance(0.1)) {
      r.pooling = chance(0.5) ? Pooling::mean : Pooling::last, a.what += " embedding";
    } else if (chance(0.1)) {
      r.beams = 1 + below(4), r.length_penalty = random_.uniform() * 2, a.what += str(" beams ", r.beams);
    } else {
      sampling(a);
    }
    if (chance(0.1)) a.cancelled_after = static_cast<int>(below(6)), a.what += " cancelled";
    std::vector<Asked> all = {a};
    if (r.pooling == Pooling::none && !r.beams && chance(0.15))
      for (int64_t k = 1 + below(3); k > 0; --k) {
        all.push_back(a);
        all.back().request.sampling.seed = Random(r.sampling.seed, static_cast<uint64_t>(k)).next_u64();
      }
    return all;
  }

  int64_t below(int64_t n) { return static_cast<int64_t>(random_.below(static_cast<uint64_t>(n))); }
  bool chance(double p) { return random_.uniform() < p; }

 private:
  Asked plain() {
    Asked a;
    GenerateRequest& r = a.request;
    const auto& base = bases_[static_cast<size_t>(below(2))];
    r.prompt.assign(base.begin(), base.begin() + below(kind_.model->config().context - 30));
    for (int64_t own = 1 + below(chance(0.5) ? 2 : 10); own > 0; --own) r.prompt.push_back(static_cast<int32_t>(below(kIds)));
    r.max_tokens = 1 + below(20), r.owner = chance(0.3) ? "another" : "";
    if (chance(0.3)) r.adapter = kind_.adapters[static_cast<size_t>(below(2))];
    if (chance(0.4)) r.vocab = kWritten;
    if (chance(0.5))
      for (int64_t n = 1 + below(20); n > 0; --n) r.stop_tokens.push_back(static_cast<int32_t>(below(kIds)));
    if (chance(0.3)) r.min_tokens = below(8);
    a.what = str(r.prompt.size(), " and ", r.max_tokens, " tokens", r.adapter ? ", adapter" : "");
    return a;
  }

  void sampling(Asked& a) {
    GenerateRequest& r = a.request;
    SamplingOptions& o = r.sampling;
    o.seed = random_.next_u64(), o.temperature = chance(0.4) ? 0 : 0.1 + random_.uniform();
    if (chance(0.3)) o.top_p = 0.5 + random_.uniform() / 2;
    if (chance(0.2)) o.top_k = 1 + below(40);
    if (chance(0.1)) o.min_p = random_.uniform() / 10;
    if (chance(0.1)) o.typical_p = 0.5 + random_.uniform() / 2;
    if (chance(0.2)) o.repetition_penalty = 0.8 + random_.uniform();
    if (chance(0.2)) o.frequency_penalty = random_.uniform() * 2 - 1;
    if (chance(0.2)) o.presence_penalty = random_.uniform() * 2 - 1;
    if (chance(0.2))
      for (int64_t n = 1 + below(8); n > 0; --n)
        o.bias.emplace_back(static_cast<int32_t>(below(kIds)), chance(0.3) ? -INFINITY : static_cast<float>(random_.uniform() * 8 - 4));
    if (chance(0.5)) r.top_logprobs = chance(0.5) ? 0 : below(8);
    const bool written = std::all_of(r.prompt.begin(), r.prompt.end(), [](int32_t t) { return t < kWritten; });
    if (r.top_logprobs >= 0 && written && chance(0.6)) {
      r.prompt_logprobs = true, a.what += " scored";
      if (chance(0.3)) r.max_tokens = 0;
    }
    if (chance(0.1)) a.leaves_after = static_cast<size_t>(1 + below(5)), a.what += " leaves";
    if (chance(0.3)) bound(a);
    a.what += str(o.temperature > 0 ? " drawn" : " greedy", r.top_logprobs >= 0 ? str(" logprobs ", r.top_logprobs) : "");
  }

  void bound(Asked& a) {
    using K = GrammarText::Kind;
    static const GrammarText kForms[] = {
        {K::regex, "[a-f]{3,9}(x|yz)*", {}},
        {K::json_object, "", {}},
        {K::json_schema, R"({"type": "object", "properties": {"a": {"enum": ["x", "yy", 3]}, "b": {"type": "array", "items": {"type": "integer"}}}, "required": ["a"]})", {}},
        {K::gbnf, "root ::= (\"-\" | pair){1,9}\npair ::= [a-d] root? \";\"", {}},
        {K::regex, "[0-9]+", {}}};
    const auto which = static_cast<size_t>(below(std::size(kForms)));
    const Grammar g = text_.grammar(kForms[which]);
    const bool later = chance(0.2);
    a.form = [g, later, &text = text_]() -> std::shared_ptr<TokenConstraint> {
      if (later) return constrain_after("e", g, text);
      return constrain(g, text);
    };
    a.request.vocab = kWritten;
    a.request.stop_tokens.push_back(kTurnEnd);
    a.what += str(" form ", which, later ? " later" : "");
    if (which + 1 != std::size(kForms) || !chance(0.3)) return;
    for (int32_t digit = '0'; digit <= '9'; ++digit) a.request.sampling.bias.emplace_back(digit, -INFINITY);
    a.what += ", impossible";
  }

  Random random_;
  const ModelText& text_;
  const Kind& kind_;
  std::vector<std::vector<int32_t>> bases_;
};

// What schedules are made of, and what they did in all.
struct Schedules {
  TemporaryFolder folder;
  std::unique_ptr<ModelText> text;
  std::vector<Kind> all = kinds();
  EngineFigures sum;
  int64_t cancelled = 0, failed = 0;
  std::atomic<int> ended{0};
  uint64_t seed = 0;

  Schedules() {
    write_byte_tokenizer(folder.path());
    text = std::make_unique<ModelText>(folder.path(), small_config());
  }

  // Ends the program when nothing ended for minutes: a test that waits for ever says nothing.
  void wait_for(int n) {
    Stopwatch still;
    for (int before = ended; before < n; std::this_thread::sleep_for(std::chrono::microseconds(50))) {
      if (before != ended) before = ended, still = {};
      if (still.seconds() < 300) continue;
      std::fprintf(stderr, "nothing ended for 5 minutes, %d of %d requests had; again with WELLSPRING_SCHEDULES=1 WELLSPRING_SEED=%lu\n", before,
                   n, seed);
      std::abort();
    }
  }

  std::vector<Answer> alone(const Kind& kind, Draw& draw, const std::vector<Asked>& asked) {
    std::vector<Answer> out(asked.size());
    EngineOptions o;
    o.cache = kind.cache, o.sequences = 8;
    for (size_t i = 0; i < asked.size(); ++i) {
      set_threads(static_cast<int>(1 + draw.below(3)));
      const auto engine = make_engine(kind.model, o);
      ended = 0;
      asked[i].submit(*engine, out[i], ended);
      wait_for(1);
    }
    return out;
  }

  // Few pages and small passes: some have to wait again, prompts are cut.
  EngineOptions crowded(const Kind& kind, Draw& draw, std::string& what) {
    EngineOptions o;
    o.cache = kind.cache, o.rows = draw.chance(0.5) ? 1 + draw.below(12) : 16 + draw.below(240), o.sequences = 4 + draw.below(12);
    o.look_up = draw.chance(0.4), o.draft_tokens = 1 + draw.below(6);
    if (draw.chance(0.5)) o.draft = draw.chance(0.6) ? kind.model : kind.other;
    const int64_t whole = (kind.model->config().context + PagedCache::kPage - 1) / PagedCache::kPage, pages = whole + draw.below(2 * whole);
    o.cache_bytes = pages * page_bytes(kind.model->config(), kind.cache);
    if (o.draft) o.cache_bytes += pages * page_bytes(o.draft->config(), kind.cache);
    what = str(kind.name, ", ", pages, " pages, ", o.rows, " rows, ", o.sequences, " together", o.look_up ? ", look-up" : "",
               !o.draft ? "" : o.draft == kind.model ? ", itself as draft" : ", another draft");
    return o;
  }

  // Arrivals in bursts, and pauses between. Then all again at once, with what was kept.
  void run_twice(Engine& engine, Draw& draw, const std::vector<Asked>& asked, const std::vector<Answer>& expected) {
    for (const bool again : {false, true}) {
      std::vector<Answer> out(asked.size());
      std::vector<int64_t> tickets;
      ended = 0;
      for (size_t i = 0; i < asked.size(); ++i) {
        tickets.push_back(asked[i].submit(engine, out[i], ended));
        if (!again && draw.chance(0.4)) std::this_thread::sleep_for(std::chrono::microseconds(draw.below(1500)));
        for (size_t k = 0; k <= i; ++k)
          if (asked[k].cancelled_after == static_cast<int>(i - k)) engine.cancel(tickets[k]);
      }
      wait_for(static_cast<int>(asked.size()));
      for (size_t i = 0; i < asked.size(); ++i) {
        cancelled += out[i].cancelled, failed += !out[i].error.empty();
        EXPECT_TRUE(asked[i].same(expected[i], out[i]))
            << "request " << i << (again ? " again: " : ": ") << asked[i].what << "; " << out[i].bits.size() << " words, alone "
            << expected[i].bits.size() << ", the same up to "
            << std::mismatch(out[i].bits.begin(), out[i].bits.end(), expected[i].bits.begin(), expected[i].bits.end()).first - out[i].bits.begin()
            << " " << out[i].error << " " << expected[i].error;
      }
    }
  }

  void run(uint64_t next) {
    seed = next;
    const Kind& kind = all[seed % all.size()];
    Draw draw(seed, *text, kind);
    std::vector<Asked> asked;
    while (asked.size() < kTogether)
      for (Asked& a : draw.next()) asked.push_back(std::move(a));
    const std::vector<Answer> expected = alone(kind, draw, asked);
    std::string what;
    const EngineOptions options = crowded(kind, draw, what);
    const auto threads = static_cast<int>(1 + draw.below(3));
    SCOPED_TRACE(str(what, ", ", threads, " threads; again with WELLSPRING_SCHEDULES=1 WELLSPRING_SEED=", seed));
    set_threads(threads);
    const auto engine = make_engine(kind.model, options);
    run_twice(*engine, draw, asked, expected);
    const EngineFigures f = engine->figures();
    EXPECT_EQ(f.free_pages + f.kept_pages, f.pages) << "a page is lost";
    sum.requests += f.requests, sum.tokens += f.tokens, sum.preemptions += f.preemptions, sum.cached_tokens += f.cached_tokens;
    sum.guessed += f.guessed, sum.guessed_right += f.guessed_right;
  }
};

TEST(Engine, TheSameAnswerAloneAndInAnyCompany) {
  const char *asked = std::getenv("WELLSPRING_SCHEDULES"), *from = std::getenv("WELLSPRING_SEED");
  const int n = asked ? std::atoi(asked) : 28, before = threads();
  const uint64_t first = from ? std::strtoull(from, nullptr, 10) : std::random_device{}();
  Schedules schedules;
  for (int i = 0; i < n && !HasFailure(); ++i) schedules.run(first + static_cast<uint64_t>(i));
  set_threads(before);
  const EngineFigures& f = schedules.sum;
  std::printf("note: %d schedules, %ld arrivals, %ld tokens, %ld cancelled, %ld failed, %ld preemptions, %ld tokens found, guesses right %ld of %ld\n",
              n, f.requests, f.tokens, schedules.cancelled, schedules.failed, f.preemptions, f.cached_tokens, f.guessed_right, f.guessed);
  if (n < 20 || HasFailure()) return;
  EXPECT_GT(f.preemptions, 0);
  EXPECT_GT(f.cached_tokens, f.requests);
  EXPECT_GT(f.guessed_right, f.guessed / 10);
  EXPECT_GT(schedules.cancelled, 0);
  EXPECT_GT(schedules.failed, 0);
}

}  // namespace
}  // namespace wellspring
