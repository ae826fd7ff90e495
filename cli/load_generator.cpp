#include "cli/load_generator.h"

#include <algorithm>
#include <cmath>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <numeric>
#include <system_error>
#include <thread>

#include "base/error.h"
#include "base/http.h"
#include "base/json.h"
#include "base/random.h"
#include "base/text.h"
#include "base/time.h"
#include "cli/load_answer.h"

namespace wellspring {
namespace {

constexpr double kLeast = 1e-6, kStep = 1.01;
constexpr double kLate = 0.01;  // seconds

HttpHeaders headers_of(const LoadOptions& o) {
  HttpHeaders headers = {{"Content-Type", "application/json"}};
  if (!o.key.empty()) headers.emplace_back("Authorization", "Bearer " + o.key);
  return headers;
}

HttpClientOptions client_options(const LoadOptions& o) {
  HttpClientOptions options;
  options.read_timeout = o.timeout;
  options.ca_pem = o.ca;
  return options;
}

const char* path_of(const LoadOptions& o) { return o.chat ? "/chat/completions" : "/completions"; }

int64_t drawn(Random& draw, const LengthRange& range) {
  return range.low +
         static_cast<int64_t>(draw.below(static_cast<uint64_t>(range.high - range.low) + 1));
}

// The prompt of request `index`; of the random ones a share begins alike.
Json prompt_of(const LoadOptions& o, Random& draw, int64_t index) {
  if (!o.prompts.empty()) return o.prompts[static_cast<size_t>(index) % o.prompts.size()];
  const auto below = static_cast<uint64_t>(o.ids_below);
  const int64_t length = drawn(draw, o.prompt_tokens);
  const int64_t shared = draw.uniform() < o.shared_share ? std::min(length, o.shared_tokens) : 0;
  Random common(o.seed, 1);
  Json ids = Json::array();
  for (int64_t i = 0; i < length; ++i) ids.push_back((i < shared ? common : draw).below(below));
  return ids;
}

std::string body_of(const LoadOptions& o, int64_t index) {
  Random draw(o.seed, static_cast<uint64_t>(index) + 2);
  Json body = {{"model", o.model}};
  Json prompt = prompt_of(o, draw, index);
  if (o.chat)
    body["messages"] = Json::array({{{"role", "user"}, {"content", std::move(prompt)}}});
  else
    body["prompt"] = std::move(prompt);
  body["max_tokens"] = drawn(draw, o.output_tokens);
  body["temperature"] = o.temperature;
  if (!o.may_end) body["ignore_eos"] = true;
  if (!o.whole) body["stream"] = true, body["stream_options"] = {{"include_usage", true}};
  return to_text(body);
}

void check(const LoadOptions& o) {
  const auto is_range = [](const LengthRange& r) {
    return r.low >= 1 && r.high >= r.low && r.high <= 1'000'000;
  };
  const auto need = [](bool ok, const char* what) {
    if (!ok) throw Error(Fault::usage, what);
  };
  need(o.rate >= 0 && o.rate <= 1e6, "the rate is 0 to a million requests per second");
  need(o.concurrency >= 1 && o.concurrency <= 20000, "the concurrency is 1 to 20000");
  need(o.connections >= 1 && o.connections <= 20000, "the connections are 1 to 20000");
  need(o.duration > 0 || o.requests > 0, "without a duration there is a number of requests");
  need(is_range(o.prompt_tokens) && is_range(o.output_tokens), "a length is 1 to a million tokens");
  need(o.ids_below >= 1 && o.ids_below <= INT32_MAX, "token ids are below 1 to 2^31");
  need(o.shared_share >= 0 && o.shared_share <= 1, "a share is 0 to 1");
  need(!o.chat || !o.prompts.empty(), "a chat's prompts are texts: give a file of them");
  need(o.timeout > 0, "the timeout is above 0");
}

// Threads that take the arrivals in turn. One at a time waits for the next, the others are at work:
// when it goes to work itself and nobody is free, one more is made.
class Load {
 public:
  explicit Load(const LoadOptions& o)
      : o_(o),
        headers_(headers_of(o)),
        client_options_(client_options(o)),
        times_(o.seed, 0),
        limit_(o.rate > 0 ? o.connections : o.concurrency) {}

  ~Load() { stop(); }

  LoadReport run(const std::function<bool(const LoadReport&)>& going) {
    start_ = monotonic_seconds();
    std::unique_lock lock(mutex_);
    for (int64_t i = 0; i < (o_.rate > 0 ? 1 : limit_); ++i) add_worker();
    while (working_ > 0) {
      done_.wait_for(lock, std::chrono::milliseconds(100), [&] { return working_ == 0; });
      report_.seconds = monotonic_seconds() - start_;
      if (stopping_) continue;
      const LoadReport now = report_;
      lock.unlock();
      const bool go = going(now);
      if (!go) interrupt();
      lock.lock();
    }
    report_.seconds = std::max(last_end_ - start_, 1e-9);
    const LoadReport out = report_;
    lock.unlock();
    stop();
    return out;
  }

 private:
  struct Arrival {
    int64_t index = 0;
    double at = 0;
  };
  struct Outcome {
    std::string failure, message;
    double sent = 0, ended = 0;
    bool repeated = false;
    LoadAnswer answer;
  };

  // The mutex is held.
  void add_worker() {
    clients_.push_back(std::make_unique<HttpClient>(o_.url, headers_, client_options_));
    HttpClient& client = *clients_.back();
    try {
      threads_.emplace_back([this, &client] { work(client); });
      ++working_;
    } catch (const std::system_error& e) {  // no more threads: those that are there go on
      clients_.pop_back();
      if (working_ == 0) throw Error(Fault::try_again, str("cannot start a thread: ", e.what()));
      limit_ = working_;
    }
  }

  void work(HttpClient& client) {
    Arrival arrival;
    bool used = false;
    while (next(arrival)) {
      const std::string body = body_of(o_, arrival.index);
      if (!wait_until(arrival.at)) break;
      used = add(arrival, ask(client, body, used));
    }
    std::lock_guard lock(mutex_);
    if (--working_ == 0) done_.notify_all();
    turn_.notify_all();
  }

  // Takes the next arrival; false when there is none. In the open loop its taker is the one who
  // waits.
  bool next(Arrival& arrival) {
    std::unique_lock lock(mutex_);
    ++free_;
    turn_.wait(lock, [&] { return stopping_ || over_ || o_.rate == 0 || !waits_; });
    --free_;
    if (stopping_ || over_) return false;
    const double now = monotonic_seconds();
    if (o_.rate > 0)
      due_ -= std::log1p(-times_.uniform()) / o_.rate;
    else
      due_ = now - start_;
    if ((o_.requests > 0 && taken_ >= o_.requests) || (o_.duration > 0 && due_ >= o_.duration)) {
      over_ = true;
      turn_.notify_all();
      return false;
    }
    arrival = {taken_++, start_ + due_};
    waits_ = true;
    return true;
  }

  bool wait_until(double at) {
    std::unique_lock lock(mutex_);
    for (double left; !stopping_ && (left = at - monotonic_seconds()) > 0;)
      stop_.wait_for(lock, std::chrono::duration<double>(left), [&] { return stopping_; });
    waits_ = false;
    if (stopping_) return false;
    ++report_.sent, ++report_.in_flight;
    if (o_.rate > 0 && monotonic_seconds() - at > kLate) ++report_.late;
    if (o_.rate > 0 && free_ == 0 && working_ < limit_) add_worker();
    turn_.notify_one();
    return true;
  }

  Outcome ask(HttpClient& client, const std::string& body, bool kept) {
    Outcome out{{}, {}, monotonic_seconds(), 0, false, LoadAnswer(o_.whole)};
    for (bool again = true; again;) {
      again = false;
      try {
        const HttpResult r = client.request("POST", path_of(o_), body, {}, [&](std::string_view b) {
          return out.answer.feed(b, monotonic_seconds());
        });
        out.failure = out.answer.judge(r.status), out.message = out.answer.message();
      } catch (const Error& e) {
        const bool waited = monotonic_seconds() - out.sent >= o_.timeout;
        // The server may close a connection that it kept just as it is used: nobody's fault.
        again = kept && !out.repeated && !waited && !out.answer.begun() && !is_stopping();
        out.repeated |= again;
        out.failure = out.answer.begun() ? "broken off" : waited ? "timeout" : "connection";
        out.message = e.what();
      }
    }
    out.ended = monotonic_seconds();
    return out;
  }

  // Returns whether the connection can be kept.
  bool add(const Arrival& arrival, const Outcome& out) {
    std::lock_guard lock(mutex_);
    --report_.in_flight;
    last_end_ = std::max(last_end_, out.ended);
    report_.repeated += out.repeated;
    if (!out.failure.empty()) {
      if (stopping_ && (out.failure[0] < '0' || out.failure[0] > '9')) {  // no status
        ++report_.given_up;
      } else {
        ++report_.failed[out.failure];
        report_.messages[out.failure] = out.message;
      }
      return out.answer.begun();
    }
    ++report_.answered;
    const LoadAnswer& a = out.answer;
    report_.prompt_tokens += a.prompt_tokens, report_.cached_tokens += a.cached_tokens;
    report_.output_tokens += a.output_tokens;
    const double whole = out.ended - arrival.at;
    report_.whole.add(whole);
    bool good = !o_.goals.whole || whole <= *o_.goals.whole;
    if (!a.times.empty()) {
      const double first = a.times.front() - arrival.at;
      report_.first.add(first);
      good &= !o_.goals.first || first <= *o_.goals.first;
      for (size_t i = 1; i < a.times.size(); ++i) report_.gap.add(a.times[i] - a.times[i - 1]);
      if (a.output_tokens > 1) {
        const double token =
            (a.times.back() - a.times.front()) / static_cast<double>(a.output_tokens - 1);
        report_.token.add(token);
        good &= !o_.goals.token || token <= *o_.goals.token;
      }
    }
    report_.good += good;
    return true;
  }

  bool is_stopping() {
    std::lock_guard lock(mutex_);
    return stopping_;
  }

  void interrupt() {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    stop_.notify_all(), turn_.notify_all();
    for (auto& client : clients_) client->interrupt();
  }

  void stop() {
    interrupt();
    for (std::thread& t : threads_) t.join();
    threads_.clear();
  }

  const LoadOptions& o_;
  const HttpHeaders headers_;
  const HttpClientOptions client_options_;
  std::mutex mutex_;  // of what follows
  std::condition_variable turn_, stop_, done_;
  Random times_;
  int64_t limit_;  // of threads
  double start_ = 0, due_ = 0, last_end_ = 0;
  int64_t taken_ = 0, free_ = 0, working_ = 0;
  bool waits_ = false, over_ = false, stopping_ = false;
  LoadReport report_;
  std::vector<std::unique_ptr<HttpClient>> clients_;
  std::vector<std::thread> threads_;
};

}  // namespace

void Durations::add(double seconds) {
  seconds = std::max(seconds, 0.0);
  ++count_, sum_ += seconds, most_ = std::max(most_, seconds);
  static const auto kBuckets = static_cast<size_t>(std::log(1e4 / kLeast) / std::log(kStep)) + 1;
  if (buckets_.empty()) buckets_.resize(kBuckets);
  const double at = std::log(std::max(seconds, kLeast) / kLeast) / std::log(kStep);
  ++buckets_[std::min(static_cast<size_t>(at), kBuckets - 1)];
}

double Durations::quantile(double q) const {
  if (!count_) return 0;
  const auto rank = std::max<int64_t>(1, std::llround(std::ceil(q * static_cast<double>(count_))));
  int64_t seen = 0;
  size_t i = 0;
  while (i + 1 < buckets_.size() && (seen += buckets_[i]) < rank) ++i;
  return std::min(most_, kLeast * std::pow(kStep, static_cast<double>(i) + 0.5));
}

int64_t LoadReport::failures() const {
  return std::accumulate(failed.begin(), failed.end(), int64_t{0},
                         [](int64_t n, const auto& entry) { return n + entry.second; });
}

LoadReport run_load(const LoadOptions& options,
                    const std::function<bool(const LoadReport&)>& going) {
  check(options);
  return Load(options).run(going);
}

std::string first_model(const LoadOptions& o) {
  const HttpResult r =
      http_request("GET", o.url + "/models", headers_of(o), {}, {}, client_options(o));
  try {
    const Json body = parse_json(r.body, "list of models");
    if (r.status == 200) return body.at("data").at(0).at("id").get<std::string>();
    throw Error(Fault::data, body.at("error").at("message").get<std::string>());
  } catch (const Json::exception&) {
    throw Error(Fault::data, str(o.url, "/models answers with status ", r.status,
                                 ", not with a list of models: give --model"));
  }
}

void try_once(const LoadOptions& o) {
  check(o);
  LoadAnswer answer(o.whole);
  const HttpResult r = http_request(
      "POST", o.url + path_of(o), headers_of(o), body_of(o, int64_t{1} << 40),
      [&](std::string_view b) { return answer.feed(b, 0); }, client_options(o));
  const std::string failure = answer.judge(r.status);
  if (failure.empty()) return;
  throw Error(r.status == 429 || r.status == 503 ? Fault::try_again : Fault::data,
              str(o.url, path_of(o), " answers with ", failure, ": ", answer.message()));
}

}  // namespace wellspring
