#include "serve/request_figures.h"

#include <algorithm>
#include <cstdio>

#include "base/text.h"
#include "serve/metrics.h"

namespace wellspring {
namespace {

constexpr std::array kBounds = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1,  0.25,  0.5,
                                1.0,   2.5,    5.0,   10.0, 25.0,  50.0, 100.0, 250.0};  // seconds

struct Histogram {
  std::array<int64_t, kBounds.size() + 1> counts{};
  double sum = 0;
  void add(double seconds) {
    ++counts[static_cast<size_t>(std::lower_bound(kBounds.begin(), kBounds.end(), seconds) - kBounds.begin())];
    sum += seconds;
  }
};

std::string number(double v) {
  char text[40];
  std::snprintf(text, sizeof text, "%.9g", v);
  return text;
}

std::string histogram_text(const char* name, const std::string& labels, const Histogram& h) {
  std::string out;
  int64_t all = 0;
  for (size_t i = 0; i < h.counts.size(); ++i) {
    all += h.counts[i];
    out += str("wellspring_", name, "_bucket{", labels, ",le=\"", i < kBounds.size() ? number(kBounds[i]) : "+Inf", "\"} ",
               all, "\n");
  }
  return out + str("wellspring_", name, "_sum{", labels, "} ", number(h.sum), "\n", "wellspring_", name, "_count{", labels,
                   "} ", all, "\n");
}

enum End { kStop, kLength, kCancelled, kFailed, kEnds };
constexpr const char* kEndNames[] = {"stop", "length", "cancelled", "error"};

struct HistogramRow {
  const char *name, *help;
};
constexpr HistogramRow kHistograms[] = {
    {"time_to_first_token_seconds", "from a request to its first token, waiting included"},
    {"time_per_output_token_seconds", "mean time of the later tokens of an answer"},
    {"e2e_request_latency_seconds", "from a request to its last token"}};

}  // namespace

struct RequestFigures::Series {
  std::string labels;
  mutable std::mutex mutex;  // of what follows
  std::array<int64_t, kEnds> ends{};
  std::array<Histogram, std::size(kHistograms)> times;

  // Those that were left or failed say nothing about how long answers take.
  void add(const GenerateResult& r, bool failed) {
    using Finish = GenerateResult::Finish;
    std::lock_guard lock(mutex);
    const End end = failed                          ? kFailed
                    : r.finish == Finish::stop      ? kStop
                    : r.finish == Finish::cancelled ? kCancelled
                                                    : kLength;
    ++ends[end];
    if (end == kFailed || end == kCancelled) return;
    times[0].add(r.prompt_seconds);
    if (r.tokens > 1) times[1].add(r.seconds / static_cast<double>(r.tokens - 1));
    times[2].add(r.prompt_seconds + r.seconds);
  }
};

namespace {

class MeasuredEngine : public Engine {
 public:
  using OnResult = std::function<void(const GenerateResult&, bool failed)>;
  MeasuredEngine(Engine& engine, OnResult on_result) : engine_(engine), on_result_(std::move(on_result)) {}

  int64_t submit(GenerateRequest request, OnEnd on_end) override {
    return engine_.submit(std::move(request),
                          [on_result = on_result_, on_end = std::move(on_end)](const GenerateResult& r, std::exception_ptr e) {
                            on_result(r, e != nullptr);
                            if (on_end) on_end(r, e);
                          });
  }
  void cancel(int64_t ticket) override { engine_.cancel(ticket); }
  int64_t load() const override { return engine_.load(); }
  EngineFigures figures() const override { return engine_.figures(); }

 private:
  Engine& engine_;
  const OnResult on_result_;
};

}  // namespace

RequestFigures::RequestFigures() = default;
RequestFigures::~RequestFigures() = default;

void RequestFigures::count_status(int status) {
  std::lock_guard lock(mutex_);
  ++statuses_[status];
}

void RequestFigures::count_left() {
  std::lock_guard lock(mutex_);
  ++left_;
}

std::unique_ptr<Engine> RequestFigures::measured(Engine& engine, const std::string& model, const std::string& adapter) {
  std::shared_ptr<Series> series;
  {
    std::lock_guard lock(mutex_);
    std::shared_ptr<Series>& known = series_[{model, adapter}];
    if (!known) {
      known = std::make_shared<Series>();
      known->labels = metric_label("model", model) + "," + metric_label("adapter", adapter);
    }
    series = known;
  }
  return std::make_unique<MeasuredEngine>(engine, [series](const GenerateResult& r, bool failed) { series->add(r, failed); });
}

std::string RequestFigures::text() const {
  std::lock_guard lock(mutex_);
  std::string out = metric_head("responses_total", "counter", "answers of HTTP by status; 499: the client had gone");
  for (const auto& [status, n] : statuses_) out += str("wellspring_responses_total{status=\"", status, "\"} ", n, "\n");
  out += str(metric_head("requests_cancelled_total", "counter", "requests whose client went away before the end"),
             "wellspring_requests_cancelled_total ", left_, "\n");
  out += metric_head("answers_total", "counter", "answers by how they ended");
  for (const auto& [names, s] : series_) {
    std::lock_guard inner(s->mutex);
    for (size_t i = 0; i < kEnds; ++i)
      out += str("wellspring_answers_total{", s->labels, ",finish=\"", kEndNames[i], "\"} ", s->ends[i], "\n");
  }
  for (size_t i = 0; i < std::size(kHistograms); ++i) {
    out += metric_head(kHistograms[i].name, "histogram", kHistograms[i].help);
    for (const auto& [names, s] : series_) {
      std::lock_guard inner(s->mutex);
      out += histogram_text(kHistograms[i].name, s->labels, s->times[i]);
    }
  }
  return out;
}

}  // namespace wellspring
