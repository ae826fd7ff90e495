#include "train/trainer.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cmath>

#include "base/config.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/random.h"
#include "base/test_error.h"
#include "base/text.h"
#include "base/threads.h"
#include "data/encoder.h"
#include "data/prepare.h"
#include "ops/check.h"
#include "tensor/allocator.h"
#include "tensor/autograd.h"
#include "tensor/chip.h"
#include "train/checkpoint.h"
#include "train/plan.h"
#include "train/run_folder.h"

namespace wellspring {
namespace {

DecoderConfig small_model(double dropout = 0) {
  DecoderConfig c;
  c.vocab = 257, c.width = 64, c.layers = 2, c.heads = c.kv_heads = 2, c.head_width = 32;
  c.ffn = 96, c.context = 64;
  c.dropout = dropout;
  return c;
}

struct Batch {
  Tensor ids, targets;
};
Batch random_batch(int64_t rows, int64_t length, uint64_t seed = 3) {
  Random random(seed);
  Batch b{Tensor::empty({rows, length}, DType::i32), Tensor::empty({rows, length}, DType::i32)};
  for (int64_t i = 0; i < rows * length; ++i) {
    b.ids.data_as<int32_t>()[i] = static_cast<int32_t>(random.below(257));
    b.targets.data_as<int32_t>()[i] = static_cast<int32_t>(random.below(257));
  }
  return b;
}

TEST(Plan, FixedStepsStay) {
  StepPlan plan(100, 0, 8);
  for (int64_t step = 1; step < 100; ++step) EXPECT_FALSE(plan.consider(step, step * 9.0, 0));
  EXPECT_EQ(plan.steps(50), 100);
}

// A machine that slows down to half its speed on the way: the run still ends in time.
TEST(Plan, EndsInTimeOnASlowingMachine) {
  for (double slow : {1.0, 2.0}) {
    StepPlan plan(0, 100, 8);
    double seconds = 0;
    int64_t step = 0;
    while (step < plan.steps(step)) {
      seconds += seconds < 50 ? 0.1 : 0.1 * slow;
      plan.consider(++step, seconds, 5);
    }
    EXPECT_LE(seconds, 97) << slow;
    EXPECT_GE(seconds, 85) << slow;
  }
}

// Steps so slow that the probe alone would take longer than the run may.
TEST(Plan, EndsInTimeWithSlowSteps) {
  StepPlan plan(0, 12, 20);
  double seconds = 0;
  int64_t step = 0;
  while (step < plan.steps(step)) plan.consider(++step, seconds += 1.1, 1);
  EXPECT_LE(seconds, 12);
  EXPECT_GE(seconds, 8);
}

TEST(Plan, NeverMoreThanTheStepsAskedFor) {
  StepPlan plan(40, 1000, 8);
  int64_t step = 0;
  while (step < plan.steps(step)) {
    ++step;
    plan.consider(step, static_cast<double>(step), 0);
  }
  EXPECT_EQ(step, 40);
}

TEST(Plan, RestoredPlanGivesTheSameSteps) {
  StepPlan plan(0, 100, 4);
  for (int64_t step = 1; step < 300; ++step)
    plan.consider(step, static_cast<double>(step) * 0.25, 1);
  StepPlan again(0, 100, 4);
  again.restore(plan.to_json(), "test");
  for (int64_t step = 0; step < 300; ++step) EXPECT_EQ(plan.steps(step), again.steps(step));
  // What was decided is not decided again.
  EXPECT_FALSE(again.consider(5, 1000, 0));
  EXPECT_NE(error_of(
                [&] {
                  again.restore(Json{{"at", 3}}, "plan.json");
                },
                Fault::data)
                .find("plan.json"),
            std::string::npos);
}

TEST(Gradients, MicroBatchesGiveTheSameSum) {
  Decoder whole(small_model(), DType::f32, 1), parts(small_model(), DType::f32, 1);
  Batch b = random_batch(8, 32);
  const double one = gradients(whole, b.ids, b.targets, 8),
               four = gradients(parts, b.ids, b.targets, 2);
  EXPECT_NEAR(one, four, 1e-5);
  for (size_t i = 0; i < whole.parameters().size(); ++i) {
    const std::vector<float> x = whole.parameters()[i]->grad().to_vector<float>();
    const std::vector<float> y = parts.parameters()[i]->grad().to_vector<float>();
    double difference = 0, size = 0;
    for (size_t k = 0; k < x.size(); ++k)
      difference += std::pow(x[k] - y[k], 2), size += std::pow(x[k], 2);
    EXPECT_LT(difference, 1e-9 * size) << whole.parameters()[i]->name;
  }
  EXPECT_NE(error_of([&] { gradients(whole, b.ids, b.targets, 3); }, Fault::usage).find("8 rows"),
            std::string::npos);
}

TEST(Gradients, DropoutFollowsTheStep) {
  Decoder model(small_model(0.3), DType::f32, 1);
  Batch b = random_batch(4, 32);
  const double first = gradients(model, b.ids, b.targets, 2, 5, 7);
  EXPECT_EQ(first, gradients(model, b.ids, b.targets, 2, 5, 7));
  EXPECT_NE(first, gradients(model, b.ids, b.targets, 2, 5, 8));
  EXPECT_NE(first, gradients(model, b.ids, b.targets, 2, 6, 7));
}

TEST(AdamW, LearnsABatchAndClips) {
  Decoder model(small_model(), DType::f32, 1);
  AdamW optimizer(model.parameters(), {});
  Batch b = random_batch(4, 16);
  double first = 0, last = 0;
  for (int step = 0; step < 40; ++step) {
    last = gradients(model, b.ids, b.targets, 4);
    if (step == 0) first = last;
    clipped_step(optimizer, 3e-3, 1, optimizer.gradient_norm());
    EXPECT_FALSE(model.parameters()[0]->grad().defined());
  }
  EXPECT_NEAR(first, std::log(257.0), 0.3);
  EXPECT_LT(last, 0.5 * first);
  EXPECT_EQ(optimizer.steps(), 40);
}

// In steady state no page is touched for the first time: everything that a step needs, the steps
// before had.
TEST(AdamW, StepsCauseNoPageFaults) {
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
  GTEST_SKIP() << "a sanitizer's own memory faults";
#endif
  DecoderConfig c = small_model(0.1);
  c.width = 128, c.heads = c.kv_heads = 4, c.ffn = 256, c.context = 128;
  for (DType dtype : {DType::f32, DType::bf16}) {
    Decoder model(c, dtype, 1);
    AdamW optimizer(model.parameters(), {});
    Batch b = random_batch(16, 128);
    auto steps = [&] {
      for (int i = 0; i < 5; ++i) {
        gradients(model, b.ids, b.targets, 8, 1, i);
        clipped_step(optimizer, 1e-4, 1, optimizer.gradient_norm());
      }
    };
    auto faults = [] {
      rusage used;
      getrusage(RUSAGE_SELF, &used);
      return used.ru_minflt;
    };
    steps();
    const auto reserved = memory_figures({}).reserved;
    const long before = faults();
    steps();
    EXPECT_LT(faults() - before, 20) << name_of(dtype);  // of 4 kB; a step takes tens of MB
    EXPECT_EQ(memory_figures({}).reserved, reserved) << name_of(dtype);
  }
}

// Weight decay alone (no gradient pressure): matrices shrink, vectors do not.
TEST(AdamW, DecaysMatricesOnly) {
  Decoder model(small_model(), DType::f32, 1);
  AdamW optimizer(model.parameters(), {0.9, 0.95, 1e-8, 0.5});
  std::vector<float> before;
  for (Parameter* p : model.parameters()) {
    before.push_back(p->master.to_vector<float>()[0]);
    p->compute.set_grad(Tensor::zeros(p->shape()));
  }
  optimizer.step(0.1);
  for (size_t i = 0; i < before.size(); ++i) {
    const Parameter& p = *model.parameters()[i];
    const float after = p.master.to_vector<float>()[0];
    EXPECT_FLOAT_EQ(after, p.shape().size() > 1 ? before[i] * (1 - 0.1f * 0.5f) : before[i])
        << p.name;
  }
}

// The optimizer keeps the bf16 copy as rounding the master would give it: a resumed run starts from
// that.
TEST(AdamW, ComputeCopyIsTheRoundedMaster) {
  Decoder model(small_model(), DType::bf16, 1);
  AdamW optimizer(model.parameters(), {});
  Batch b = random_batch(4, 32);
  gradients(model, b.ids, b.targets, 4);
  optimizer.step(1e-2);
  for (Parameter* p : model.parameters()) {
    Tensor fresh = Tensor::empty(p->shape(), p->compute.dtype());
    fresh.copy_from(p->master);
    EXPECT_TRUE(same_bits(fresh, p->compute.detach())) << p->name;
  }
}

// A dataset of bytes with documents in two languages.
class RunTest : public ::testing::Test {
 protected:
  void SetUp() override {
    data_ = join_path(folder_.path(), "data");
    const std::string text = join_path(folder_.path(), "text");
    make_directories(text);
    Random random(11);
    for (int d = 0; d < 60; ++d) {
      std::string document;
      for (int i = 0; i < 40; ++i)
        document += d % 3 ? str("word", random.below(40), " ")
                          : std::string(random.below(2) ? "软件包" : "系统");
      write_file_atomic(join_path(text, str(d, ".txt")), document + "\n");
    }
    PrepareOptions options;
    options.pipeline.eval_share = 0.2;
    prepare_dataset({{"text", text}}, data_, byte_encoder(), options);
  }

  Config config(const std::string& extra = "") {
    Config c = Config::parse(
        str("seed: 3\ntokenizer: bytes\ndata: {train: [{path: ", data_, "}], eval: [{path: ", data_,
            "}]}\nmodel: {width: 64, layers: 2, heads: 2, ffn: 96, context: 64}\n"
            "train:\n  dtype: f32\n  sequence: 64\n  batch: 4\n  steps: 12\n"
            "  schedule: {learning_rate: 3.0e-3, warmup: 2}\n  checkpoint_every: 4\n",
            extra),
        "run.yaml");
    return c;
  }
  TrainOptions options(const std::vector<std::string>& settings = {}) {
    Config c = config();
    for (const std::string& s : settings) c.set(s);
    return TrainOptions::read(c);
  }
  std::string run(const std::string& name) { return join_path(folder_.path(), name); }

  TemporaryFolder folder_;
  std::string data_;
};

TEST_F(RunTest, OptionsNameWhatIsWrong) {
  EXPECT_EQ(options().model.vocab, 257);
  EXPECT_EQ(options().model.eos, std::vector<int32_t>{256});
  auto wrong = [&](const std::string& setting, Fault fault = Fault::config) {
    return error_of([&] { options({setting}); }, fault);
  };
  EXPECT_NE(wrong("train.schedule.lerning_rate=1").find("did you mean 'learning_rate'"),
            std::string::npos);
  EXPECT_NE(wrong("sede=1").find("did you mean 'seed'"), std::string::npos);
  EXPECT_NE(wrong("train.dtype=bf61").find("did you mean 'bf16'"), std::string::npos);
  EXPECT_NE(wrong("train.sequence=65").find("context of 64"), std::string::npos);
  EXPECT_NE(wrong("train.micro_batch=3").find("micro_batch"), std::string::npos);
  EXPECT_NE(wrong("train.steps=0").find("max_seconds"), std::string::npos);
  EXPECT_NE(wrong("data.train.0.path=/nowhere").find("/nowhere"), std::string::npos);
  EXPECT_NE(wrong("model.vocab=100").find("257"), std::string::npos);
  EXPECT_NE(wrong("samples=[hello]").find("samples"), std::string::npos);
}

TEST_F(RunTest, PresetsRead) {
  for (auto& [name, text] : presets()) {
    Config c = Config::parse(text, name);
    c.set("tokenizer=bytes");
    c.set("samples=[]");
    for (const char* key : {"train", "eval"}) c.set(str("data.", key, "=[{path: ", data_, "}]"));
    EXPECT_GT(TrainOptions::read(c).max_seconds, 0) << name;
  }
  EXPECT_NE(error_of([] { preset("huor"); }, Fault::usage).find("did you mean 'hour'"),
            std::string::npos);
}

TEST_F(RunTest, TrainsEvaluatesAndWritesItsFolder) {
  TrainResult r = train(options({"train.eval_every=6"}), run("a"), false, true);
  EXPECT_FALSE(r.stopped);
  EXPECT_EQ(r.step, 12);
  EXPECT_EQ(r.tokens, 12 * 4 * 64);
  ASSERT_EQ(r.held_out.size(), 3u);
  EXPECT_EQ(r.held_out[0].name, "en");
  EXPECT_EQ(r.held_out[1].name, "zh");
  EXPECT_EQ(r.held_out[0].nats + r.held_out[1].nats, r.held_out[2].nats);
  EXPECT_EQ(r.held_out[2].tokens, r.held_out[2].bytes);  // tokens are bytes: none is left out
  EXPECT_LT(r.held_out[2].bits_per_byte(), 8);
  EXPECT_EQ(checkpoint_steps(run("a")), (std::vector<int64_t>{8, 12}));
  EXPECT_EQ(live_curve(run("a")).size(), 12u);
  // Every file of train/run_folder.h.
  EXPECT_TRUE(exists(r.report));
  for (const char* name :
       {"config.json", "model.safetensors", "optimizer.safetensors", "state.json", "owner"})
    EXPECT_TRUE(exists(join_path(r.checkpoint, name))) << name;
  EXPECT_EQ(read_file(join_path(r.checkpoint, "owner")), read_file(join_path(run("a"), "owner")));
  const std::string attempt = join_path(run("a"), "attempts/1");
  for (const char* name : {"run.yaml", "placement.json", "log.txt", "status.json"})
    EXPECT_GT(file_size(join_path(attempt, name)), 0) << name;
  EXPECT_EQ(Config::read(join_path(attempt, "run.yaml"))["train"].integer("steps", 0), 12);
  const Json placement = read_json(join_path(attempt, "placement.json"));
  EXPECT_EQ(placement["device"], device_name({}));
  EXPECT_EQ(placement["threads"], threads());
  EXPECT_EQ(placement["name"], chips()[0].capabilities(0).name);
  EXPECT_TRUE(
      placement["name"].get<std::string>().ends_with(")"));  // the instruction set: "... (avx2)"
  EXPECT_EQ(read_json(join_path(attempt, "status.json"))["state"], "finished");
  for (const Json& step : live_curve(run("a")))
    for (const char* key :
         {"attempt", "step", "time", "tokens", "loss", "tokens_per_second", "gemm_share", "memory"})
      EXPECT_TRUE(step.contains(key)) << key;
  // A second run into the same folder must be asked for.
  EXPECT_NE(
      error_of([&] { train(options(), run("a"), false, true); }, Fault::usage).find("--resume"),
      std::string::npos);
}

TEST_F(RunTest, ResumedRunEndsInTheSameBytes) {
  for (const char* dtype : {"f32", "bf16"}) {
    const std::vector<std::string> settings = {str("train.dtype=", dtype), "model.dropout=0.1",
                                               "train.micro_batch=2"};
    TrainResult whole = train(options(settings), run(str("whole-", dtype)), false, true);
    // The first part ends where its checkpoint of step 8 stands; the rest goes on from there.
    const std::string parts = run(str("parts-", dtype));
    train(options(settings), parts, false, true);
    remove_all(checkpoint_path(parts, 12));
    TrainResult resumed = train(options(settings), parts, true, true);
    EXPECT_EQ(resumed.step, 12);
    for (const char* name : {"model.safetensors", "optimizer.safetensors"})
      EXPECT_TRUE(read_file(join_path(whole.checkpoint, name)) ==
                  read_file(join_path(resumed.checkpoint, name)))
          << dtype << " " << name;
  }
}

TEST_F(RunTest, ResumeRefusesWhatDoesNotFit) {
  train(options(), run("a"), false, true);
  auto wrong = [&](const std::string& setting, Fault fault) {
    return error_of([&] { train(options({setting}), run("a"), true, true); }, fault);
  };
  EXPECT_NE(wrong("model.width=32", Fault::config).find("another shape"), std::string::npos);
  EXPECT_NE(wrong("seed=4", Fault::config).find("seed"), std::string::npos);
  const std::string state = join_path(checkpoint_path(run("a"), 12), "state.json");
  const std::string good = read_file(state);
  write_file_atomic(state, "{}");
  EXPECT_NE(wrong("seed=3", Fault::data).find("state.json"), std::string::npos);
  write_file_atomic(state, good);
  const std::string moments = join_path(checkpoint_path(run("a"), 12), "optimizer.safetensors");
  write_file_atomic(moments, read_file(moments).substr(0, 5000));
  EXPECT_NE(wrong("seed=3", Fault::data).find("optimizer.safetensors"), std::string::npos);
}

TEST_F(RunTest, GuardNamesStepAndBatch) {
  const std::string what = error_of(
      [&] {
        train(options({"train.schedule.learning_rate=1.0e+30", "train.schedule.warmup=0"}),
              run("a"), false, true);
      },
      Fault::data);
  EXPECT_NE(what.find("training stopped at step 2"), std::string::npos) << what;
  EXPECT_NE(what.find("rows 4 to 7"), std::string::npos) << what;
  Json bad = read_json(join_path(run("a"), "attempts/1/bad_batch.json"));
  EXPECT_EQ(bad["rows"].size(), 4u);
  Json status = read_json(join_path(run("a"), "attempts/1/status.json"));
  EXPECT_EQ(status["state"], "failed");
}

// With a rate of 0 the loss goes up and down with the batches alone, which a guard of no patience
// takes for a spike.
TEST_F(RunTest, GuardNamesWhereASpikeBegan) {
  const std::string what = error_of(
      [&] {
        train(options({"train.schedule.learning_rate=0", "train.steps=60",
                       "train.guard.spike_factor=1.0e-3", "train.guard.least_rise=0",
                       "train.guard.patience=2", "train.guard.window=4"}),
              run("a"), false, true);
      },
      Fault::data);
  const Json bad = read_json(join_path(run("a"), "attempts/1/bad_batch.json"));
  const auto step = bad["step"].get<int64_t>();
  EXPECT_EQ(bad["rise"]["step"], step - 1);
  EXPECT_EQ(bad["rise"]["rows"].size(), 4u);
  EXPECT_NE(bad["rise"]["rows"], bad["rows"]);
  for (const std::string& part :
       {str("training stopped at step ", step, ":"),
        str("for 2 steps. Its batch is rows ", 4 * step - 4, " to ", 4 * step - 1),
        str("the rise began at step ", step - 1, " with rows ", 4 * step - 8, " to ",
            4 * step - 5)})
    EXPECT_NE(what.find(part), std::string::npos) << part << "\n" << what;
}

TEST_F(RunTest, TimeLimitDecidesTheSteps) {
  TrainResult r =
      train(options({"train.steps=0", "train.max_seconds=3", "train.checkpoint_every=0"}), run("a"),
            false, true);
  EXPECT_FALSE(r.stopped);
  EXPECT_LT(r.seconds, 30);  // ten times the limit: a busy machine must not fail it
  const Json plan = read_json(join_path(run("a"), "plan.json"));
  EXPECT_EQ(r.step, plan.back()["steps"]);
  EXPECT_GE(plan[0]["at"], 2) << plan.dump();  // the probe: 6 steps, fewer where they take long
}

}  // namespace
}  // namespace wellspring
