#include "train/trainer.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/progress.h"
#include "base/text.h"
#include "base/threads.h"
#include "base/time.h"
#include "tensor/allocator.h"
#include "tensor/autograd.h"
#include "train/checkpoint.h"
#include "train/plan.h"
#include "train/report.h"
#include "train/run_folder.h"
#include "train/samples.h"
#include "train/speed.h"

namespace wellspring {
namespace {

Tensor rows_of(const Tensor& t, int64_t begin, int64_t rows) {
  Shape shape = t.shape();
  shape[0] = rows;
  return t.as_strided(shape, t.strides(), t.offset() + begin * t.strides()[0]);
}

std::string fixed(double v, int digits) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.*f", digits, v);
  return buffer;
}

// Steps that are measured before the number of steps is decided.
int64_t probe_steps(const TrainOptions& o) { return std::clamp<int64_t>(o.schedule.warmup, 6, 20); }

// What the run computes on; a chip's name ends with the instruction set in use.
Json placement(Device device) {
  return {{"device", device_name(device)},
          {"name", chips()[device.chip].capabilities(device.index).name},
          {"threads", threads()}};
}

// "rows 8 to 11 (train-00000.tokens document 3 token 17 ... )" of what Run::batch() noted.
std::string rows_text(const Json& batch) {
  const Json& rows = batch["rows"];
  auto place = [](const Json& r) {
    return str(base_name(r["shard"].get<std::string>()), " document ", r["document"].get<int64_t>(),
               " token ", r["offset"].get<int64_t>());
  };
  const auto first = batch["first_row"].get<int64_t>(),
             last = first + static_cast<int64_t>(rows.size()) - 1;
  return str("rows ", first, " to ", last, " (", place(rows.front()), " ... ", place(rows.back()),
             ")");
}

class Run {
 public:
  Run(const TrainOptions& options, RunFolder& folder, bool quiet);
  TrainResult go();

 private:
  void begin_or_resume();
  void restore(const std::string& checkpoint);
  void step();
  void guard(double loss, double norm);
  Json batch(double loss, double norm) const;
  void evaluate();
  void checkpoint(bool last);
  void report(const char* state, const std::vector<Sample>& samples = {});
  void finish();
  void show(const std::string& line);
  double used() const { return before_ + watch_.seconds(); }
  double reserve() const;
  int64_t tokens_per_step() const { return o_.batch * o_.sequence; }
  Json facts() const;

  const TrainOptions& o_;
  RunFolder& folder_;
  Loader loader_;
  HeldOut held_out_;
  std::unique_ptr<Decoder> model_;
  std::unique_ptr<AdamW> optimizer_;
  TrainingGuard guard_;
  Json rise_;  // the batch with which the present rise of the loss began
  StepPlan plan_;
  std::unique_ptr<Progress> progress_;
  std::vector<int32_t> rows_;  // [B, T + 1]
  Tensor ids_, targets_;
  double flops_, gemm_ = 0;
  int64_t done_ = 0, first_ = 0;                // steps of the run; where this attempt began
  double before_ = 0;                           // seconds that earlier attempts used
  Stopwatch watch_;                             // since this attempt's first step
  double step_seconds_ = 0;                     // in steps of this attempt
  double eval_seconds_ = 0, save_seconds_ = 0;  // the last ones
  int64_t saved_ = -1;                          // step of the newest checkpoint
  TrainResult result_;
};

Run::Run(const TrainOptions& options, RunFolder& folder, bool quiet)
    : o_(options),
      folder_(folder),
      loader_(options.train,
              {.batch = options.batch, .length = options.sequence, .seed = options.seed}),
      held_out_(options.eval, options.sequence, std::max<int64_t>(1, 4096 / options.sequence),
                options.eval_tokens),
      guard_(options.guard),
      plan_(options.steps, options.max_seconds, probe_steps(options)),
      rows_(static_cast<size_t>(options.batch * (options.sequence + 1))),
      ids_(Tensor::empty({options.batch, options.sequence}, DType::i32)),
      targets_(Tensor::empty({options.batch, options.sequence}, DType::i32)),
      flops_(training_flops(options.model, options.sequence)) {
  write_file_atomic(folder_.attempt_path("run.yaml"), o_.resolved);
  write_file_atomic(folder_.attempt_path("placement.json"),
                    to_text(placement(o_.device), 1) + "\n");
  folder_.status("running", Json::object());
  begin_or_resume();
  gemm_ = measure_gemm(o_.dtype, o_.device);
  if (!quiet)
    progress_ = std::make_unique<Progress>("train", 0, "tokens", done_ * tokens_per_step());
  folder_.status("running", facts());
  show(str(human_count(static_cast<double>(o_.model.parameters())), " parameters, ",
           std::string(name_of(o_.dtype)), ", ",
           human_count(static_cast<double>(loader_.epoch_tokens())),
           " tokens of text, matrix products at ", fixed(gemm_ * 1e-9, 0), " GF/s"));
}

void Run::begin_or_resume() {
  const std::vector<int64_t> steps = checkpoint_steps(folder_.path());
  folder_.prune_checkpoints(
      static_cast<int>(std::max<size_t>(steps.size(), 1)));  // left-overs of a kill
  const std::string from = !steps.empty()     ? checkpoint_path(folder_.path(), steps.back())
                           : o_.start.empty() ? std::string()
                                              : find_model_folder(o_.start);
  if (from.empty()) {
    model_ = std::make_unique<Decoder>(o_.model, o_.dtype, o_.seed);
  } else {
    // What shapes the weights must agree; dropout and learning rates may be new.
    auto shape = [](DecoderConfig c) {
      c.dropout = 0, c.init = {}, c.bos = -1, c.eos = {};
      return to_text(c.to_json());
    };
    const std::string wanted = shape(o_.model), found = shape(read_decoder_config(from));
    if (wanted != found)
      throw Error(Fault::config,
                  str(from, " holds a model of another shape than the configuration: ", found,
                      " instead of ", wanted));
    model_ = std::make_unique<Decoder>(o_.model, o_.dtype, Decoder::Use::training);
    load_weights(*model_, from);
  }
  model_->move_to(o_.device);
  optimizer_ = std::make_unique<AdamW>(model_->parameters(), o_.optimizer);
  const std::string plan_path = join_path(folder_.path(), "plan.json");
  if (!steps.empty())
    restore(from);
  else if (exists(plan_path))
    remove_all(plan_path);
}

void Run::restore(const std::string& checkpoint) {
  const TrainState state = read_train_state(checkpoint);
  if (state.seed != o_.seed)
    throw Error(Fault::config, str(checkpoint, " was trained with seed ", state.seed,
                                   ", the configuration says ", o_.seed));
  restore_optimizer(checkpoint, state, *optimizer_);
  loader_.restore(parse_json(state.data, checkpoint));
  // Decisions made after that checkpoint hold as well: the run goes the same way again.
  const std::string plan_path = join_path(folder_.path(), "plan.json");
  if (exists(plan_path))
    plan_.restore(read_json(plan_path), plan_path);
  else
    plan_.restore(parse_json(state.plan, checkpoint), checkpoint);
  done_ = first_ = saved_ = state.step;
  before_ = state.seconds;
  folder_.log(str("resumed at step ", done_));
}

Json Run::facts() const {
  return {{"parameters", o_.model.parameters()},
          {"machine", chips()[o_.device.chip].capabilities(o_.device.index).name},
          {"dtype", name_of(o_.dtype)},
          {"gemm_gigaflops", gemm_ * 1e-9},
          {"step", done_},
          {"steps", plan_.steps(done_)}};
}

void Run::show(const std::string& line) {
  folder_.log(line);
  if (progress_) progress_->message(line);
}

double Run::reserve() const {
  // Before the first evaluation: a forward pass takes a third of a step.
  double one = step_seconds_ / static_cast<double>(std::max<int64_t>(done_ - first_, 1));
  double evaluation = eval_seconds_ > 0 ? eval_seconds_
                                        : one * static_cast<double>(held_out_.tokens()) /
                                              static_cast<double>(3 * tokens_per_step());
  double saving =
      save_seconds_ > 0 ? save_seconds_ : 12e-9 * static_cast<double>(o_.model.parameters());
  return evaluation + saving;
}

// The batch of the step that is being made: which rows, and what came of them.
Json Run::batch(double loss, double norm) const {
  auto number = [](double v) { return std::isfinite(v) ? Json(v) : Json(str(v)); };
  Json rows = Json::array();
  for (const Loader::RowPlace& row : loader_.last_rows())
    rows.push_back({{"source", row.source},
                    {"shard", row.shard},
                    {"document", row.document},
                    {"offset", row.offset}});
  return {{"step", done_ + 1},
          {"loss", number(loss)},
          {"gradient_norm", number(norm)},
          {"first_row", done_ * o_.batch},
          {"rows", rows}};
}

void Run::guard(double loss, double norm) {
  const auto why = guard_.check(done_ + 1, loss, norm);
  if (guard_.rise() == done_ + 1) rise_ = batch(loss, norm);
  if (!why) return;
  Json bad = batch(loss, norm);
  bad["why"] = *why;
  std::string began;
  if (guard_.rise() && *guard_.rise() <= done_) {
    bad["rise"] = rise_;
    began = str("; the rise began at step ", *guard_.rise(), " with ", rows_text(rise_));
  }
  const std::string file = folder_.attempt_path("bad_batch.json");
  write_file_atomic(file, to_text(bad, 1) + "\n");
  throw Error(Fault::data,
              str("training stopped at step ", done_ + 1, ": ", *why, ". Its batch is ",
                  rows_text(bad), began, "; all of them in ", file, ". ",
                  saved_ >= 0 ? str("The checkpoint of step ", saved_,
                                    " is whole: lower the learning rate and --resume")
                              : std::string("Lower the learning rate, or lengthen the warm-up")));
}

void Run::step() {
  Stopwatch watch;
  loader_.next(rows_.data());
  for (int64_t r = 0; r < o_.batch; ++r) {
    const int32_t* row = rows_.data() + r * (o_.sequence + 1);
    std::copy_n(row, o_.sequence, ids_.data_as<int32_t>() + r * o_.sequence);
    std::copy_n(row + 1, o_.sequence, targets_.data_as<int32_t>() + r * o_.sequence);
  }
  ids_.changed(), targets_.changed();
  Schedule schedule = o_.schedule;
  schedule.steps = plan_.steps(done_);
  schedule.decay_steps =
      std::max<int64_t>(1, std::llround(o_.decay_share * static_cast<double>(schedule.steps)));
  const double rate = schedule.at(done_);
  const double loss = gradients(*model_, ids_, targets_, o_.micro_batch, o_.seed, done_);
  const double norm = optimizer_->gradient_norm();
  guard(loss, norm);
  clipped_step(*optimizer_, rate, o_.clip, norm);
  ++done_;
  const double seconds = watch.seconds();
  step_seconds_ += seconds;
  const double tokens_per_second = static_cast<double>(tokens_per_step()) / seconds;
  const double share = tokens_per_second * flops_ / gemm_;
  const auto memory = memory_figures(o_.device).peak;
  folder_.metric({{"step", done_},
                  {"time", utc_now(true)},
                  {"tokens", done_ * tokens_per_step()},
                  {"loss", loss},
                  {"learning_rate", rate},
                  {"gradient_norm", norm},
                  {"seconds", seconds},
                  {"tokens_per_second", tokens_per_second},
                  {"gemm_share", share},
                  {"memory", memory}});
  result_.loss = loss;
  if (plan_.consider(done_, used(), reserve())) {
    write_file_atomic(join_path(folder_.path(), "plan.json"), to_text(plan_.to_json()) + "\n");
    folder_.log(
        str("step ", done_, ": the time is enough for ", plan_.steps(done_), " steps in all"));
  }
  if (!progress_) return;
  progress_->set_total(o_.steps > 0 || plan_.decided() ? plan_.steps(done_) * tokens_per_step()
                                                       : 0);
  progress_->update(done_ * tokens_per_step(),
                    str("loss ", fixed(loss, 3), ", ", fixed(100 * share, 0), "% of GEMM, ",
                        human_bytes(static_cast<double>(memory))));
}

void Run::evaluate() {
  if (held_out_.empty()) return;
  Stopwatch watch;
  std::vector<HeldOutScore> scores = held_out_.score(*model_, [] { return stop_requested() != 0; });
  if (scores.empty()) return;
  eval_seconds_ = watch.seconds();
  Json by_name = Json::object();
  std::string line = str("step ", done_, ": held out");
  for (const HeldOutScore& s : scores) {
    by_name[s.name] = s.bits_per_byte();
    line += str(" ", s.name, " ", fixed(s.bits_per_byte(), 3));
  }
  folder_.metric({{"step", done_},
                  {"eval_loss", scores.back().loss()},
                  {"eval_bpb", scores.back().bits_per_byte()},
                  {"eval", by_name},
                  {"eval_tokens", scores.back().tokens},
                  {"eval_seconds", eval_seconds_}});
  show(line + " bits per byte");
  result_.held_out = std::move(scores);
}

void Run::checkpoint(bool last) {
  if (saved_ == done_) return;
  Stopwatch watch;
  TrainState state;
  state.step = done_;
  state.seconds = used();
  state.seed = o_.seed;
  state.data = to_text(loader_.position());
  state.plan = to_text(plan_.to_json());
  try {
    save_checkpoint(folder_, *model_, *optimizer_, state, o_.tokenizer);
  } catch (const Error& e) {
    const std::string previous = saved_ >= 0 ? str("the checkpoint of step ", saved_, " is whole")
                                             : std::string("there is no earlier one");
    if (last || e.fault() != Fault::io)
      throw Error(e.fault(), str("the checkpoint of step ", done_, " could not be written (",
                                 previous, "): ", e.what()));
    show(str("warning: the checkpoint of step ", done_, " could not be written (", previous,
             "; training goes on): ", e.what()));
    return;
  }
  saved_ = done_;
  save_seconds_ = watch.seconds();
  folder_.prune_checkpoints(static_cast<int>(o_.keep));
}

void Run::report(const char* state, const std::vector<Sample>& samples) {
  folder_.status(state, facts());
  write_report(folder_.path(), samples);
}

void Run::finish() {
  evaluate();
  checkpoint(/*last=*/true);
  std::vector<Sample> samples;
  if (!o_.samples.empty() && !stop_requested())
    samples = write_samples(*model_, o_.tokenizer, o_.samples, o_.sample_tokens, o_.seed);
  report("finished", samples);
}

TrainResult Run::go() {
  watch_.restart();
  while (done_ < plan_.steps(done_) && !stop_requested()) {
    step();
    const bool end = done_ >= plan_.steps(done_);
    if (end || stop_requested()) break;
    if (o_.eval_every > 0 && done_ % o_.eval_every == 0) {
      evaluate();
      report("running");
    }
    if (o_.checkpoint_every > 0 && done_ % o_.checkpoint_every == 0) checkpoint(/*last=*/false);
  }
  result_.stopped = done_ < plan_.steps(done_);
  if (result_.stopped) {
    checkpoint(/*last=*/true);
    report("stopped");
  } else {
    finish();
  }
  result_.step = done_;
  result_.tokens = done_ * tokens_per_step();
  result_.seconds = used();
  if (step_seconds_ > 0) {
    result_.tokens_per_second =
        static_cast<double>((done_ - first_) * tokens_per_step()) / step_seconds_;
    result_.gemm_share = result_.tokens_per_second * flops_ / gemm_;
  }
  result_.checkpoint = checkpoint_path(folder_.path(), saved_);
  result_.report = join_path(folder_.path(), "report.html");
  if (progress_)
    progress_->finish(str("loss ", fixed(result_.loss, 3), ", ", fixed(100 * result_.gemm_share, 0),
                          "% of GEMM"));
  return result_;
}

}  // namespace

double gradients(const Decoder& model, const Tensor& ids, const Tensor& targets,
                 int64_t micro_batch, uint64_t seed, int64_t step) {
  const int64_t rows = ids.size(0);
  if (micro_batch < 1 || rows % micro_batch)
    throw Error(Fault::usage, str(rows, " rows are no multiple of micro-batches of ", micro_batch));
  const int64_t pieces = rows / micro_batch;
  double sum = 0;
  for (int64_t i = 0; i < pieces; ++i) {
    Dropout dropout(model.config().dropout, seed, static_cast<uint64_t>(step * pieces + i));
    Tensor loss = model.loss(rows_of(ids, i * micro_batch, micro_batch),
                             rows_of(targets, i * micro_batch, micro_batch),
                             1.0 / static_cast<double>(pieces), &dropout);
    sum += loss.item();
    backward(loss);
  }
  return sum;
}

void clipped_step(AdamW& optimizer, double rate, double clip, double norm) {
  optimizer.step(rate, clip > 0 && norm > clip ? clip / norm : 1);
}

TrainResult train(const TrainOptions& options, const std::string& out, bool resume, bool quiet) {
  if (const std::vector<int64_t> steps = checkpoint_steps(out); !steps.empty() && !resume)
    throw Error(Fault::usage, str("run folder ", out, " holds checkpoints (the newest of step ",
                                  steps.back(), "): go on with --resume, or give another --out"));
  RunFolder folder(out);
  try {
    return Run(options, folder, quiet).go();
  } catch (const Error& e) {
    try {
      folder.status("failed", {{"error", e.what()}});
    } catch (const Error&) {
      // A full disk: the error itself is what matters.
    }
    throw;
  }
}

}  // namespace wellspring
