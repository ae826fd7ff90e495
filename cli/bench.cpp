// wellspring bench: what a server does under load.

#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>

#include "base/args.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/process.h"
#include "base/progress.h"
#include "base/text.h"
#include "base/time.h"
#include "cli/load_generator.h"

namespace wellspring {
namespace {

// What the command line says besides the options of the load.
struct BenchLine {
  std::string target, slo, prompts, prompt_tokens = "128", output_tokens = "64", serve_options;
  std::string duration;
  int64_t seed = 1;
  bool json = false;
};

LengthRange length_range(const std::string& flag, const std::string& text) {
  const size_t dash = text.find('-');
  const auto low = parse_int(text.substr(0, dash));
  const auto high = dash == text.npos ? low : parse_int(text.substr(dash + 1));
  if (!low || !high || *low < 1 || *high < *low)
    throw Error(Fault::usage,
                str(flag, " is '", text, "'; expected a number of tokens, or 16-256"));
  return {*low, *high};
}

// "ttft=500ms,tpot=50ms,e2e=10s"
LoadGoals goals_of(const std::string& text) {
  LoadGoals goals;
  if (text.empty()) return goals;
  for (const std::string& part : split(text, ',')) {
    const size_t equals = part.find('=');
    const std::string name(trim(part.substr(0, equals)));
    const auto seconds =
        equals == part.npos ? std::nullopt : parse_duration(trim(part.substr(equals + 1)));
    auto* goal = name == "ttft"   ? &goals.first
                 : name == "tpot" ? &goals.token
                 : name == "e2e"  ? &goals.whole
                                  : nullptr;
    if (!goal || !seconds)
      throw Error(
          Fault::usage,
          str("--slo holds '", part,
              "'; expected ttft=, tpot= or e2e= with a duration, as in ttft=500ms,tpot=50ms"));
    *goal = *seconds;
  }
  return goals;
}

// One prompt a line; in a .jsonl file each line is a JSON string.
std::vector<std::string> prompts_of(const std::string& path) {
  std::vector<std::string> prompts;
  const std::string text = read_file(path);
  int64_t number = 0;
  for (const std::string& line : split(text, '\n')) {
    ++number;
    if (trim(line).empty()) continue;
    if (!ends_with(path, ".jsonl")) {
      prompts.push_back(line);
      continue;
    }
    const std::string where = str(path, ": line ", number);
    const Json value = parse_json(line, where);
    if (!value.is_string()) throw Error(Fault::data, str(where, ": a JSON string was expected"));
    prompts.push_back(value.get<std::string>());
  }
  if (prompts.empty()) throw Error(Fault::data, str(path, ": there is no prompt in it"));
  return prompts;
}

// A server of our own for a model, which ends with this object.
class OwnServer {
 public:
  OwnServer(const std::string& model, const std::string& words) {
    char self[4096];
    const ssize_t n = ::readlink("/proc/self/exe", self, sizeof self);
    if (n <= 0) throw Error(Fault::io, "/proc/self/exe cannot be read: start the server by hand");
    ProcessOptions options;
    options.argv = {std::string(self, static_cast<size_t>(n)), "serve", model, "--port", "0"};
    for (const std::string& word : split(words, ' '))
      if (!word.empty()) options.argv.push_back(word);
    options.log_path = log();
    write_file_atomic(log(), "");
    process_.emplace(Process::start(options));
    while (url.empty()) {
      if (stop_requested()) throw Error(Fault::try_again, "stopped before the server was ready");
      const auto status = process_->wait(0.05);
      const std::string said = read_file(log());
      if (status)
        throw Error(Fault::io, str("'wellspring serve ", model, "' ended with status ", *status,
                                   ": ", trim(said)));
      const size_t at = said.find("http://");
      if (at != said.npos && said.find('\n', at) != said.npos)
        url = said.substr(at, said.find_first_of(" \n", at) - at);
    }
  }
  ~OwnServer() { process_->stop(10); }
  std::string url;

 private:
  std::string log() const { return join_path(folder_.path(), "log"); }
  TemporaryFolder folder_;
  std::optional<Process> process_;
};

std::string milliseconds(double seconds) {
  char text[32];
  std::snprintf(text, sizeof text, seconds < 0.1 ? "%.2f" : "%.0f", seconds * 1e3);
  return text;
}

std::string decimal(double value) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", value);
  return text;
}

const std::vector<std::pair<const char*, Durations LoadReport::*>>& measures() {
  static const std::vector<std::pair<const char*, Durations LoadReport::*>> kAll = {
      {"ttft", &LoadReport::first},
      {"tpot", &LoadReport::token},
      {"inter_token", &LoadReport::gap},
      {"e2e", &LoadReport::whole}};
  return kAll;
}

Json report_json(const LoadOptions& o, const LoadReport& r) {
  Json latency = Json::object();
  for (const auto& [name, member] : measures()) {
    const Durations& d = r.*member;
    if (d.count() == 0) continue;
    latency[name] = {{"count", d.count()},     {"mean", d.mean()},        {"p50", d.quantile(0.5)},
                     {"p90", d.quantile(0.9)}, {"p99", d.quantile(0.99)}, {"max", d.most()}};
  }
  Json out = {{"url", o.url}, {"model", o.model}};
  if (o.rate > 0)
    out["rate"] = o.rate;
  else
    out["concurrency"] = o.concurrency;
  out["seconds"] = r.seconds;
  out["requests"] = {{"sent", r.sent},         {"answered", r.answered}, {"failed", r.failures()},
                     {"given_up", r.given_up}, {"repeated", r.repeated}, {"late", r.late}};
  out["errors"] = r.failed;
  out["tokens"] = {
      {"prompt", r.prompt_tokens}, {"cached", r.cached_tokens}, {"output", r.output_tokens}};
  out["per_second"] = {{"requests", static_cast<double>(r.answered) / r.seconds},
                       {"prompt_tokens", static_cast<double>(r.prompt_tokens) / r.seconds},
                       {"output_tokens", static_cast<double>(r.output_tokens) / r.seconds}};
  out["latency"] = std::move(latency);
  if (o.goals.any())
    out["goodput"] = {
        {"requests_per_second", static_cast<double>(r.good) / r.seconds},
        {"share", static_cast<double>(r.good) / static_cast<double>(std::max<int64_t>(1, r.sent))}};
  return out;
}

std::string report_text(const LoadOptions& o, const LoadReport& r) {
  const auto rate = [&](int64_t n) { return decimal(static_cast<double>(n) / r.seconds); };
  std::string out =
      str(o.url, ", model ", o.model, ": ",
          o.rate > 0 ? str(o.rate, " requests/s at random moments")
                     : str(o.concurrency, " clients, each asks when it was answered"),
          "\n", r.sent, " requests in ", human_duration(r.seconds), ": ", r.answered, " answered, ",
          r.failures(), " failed", r.given_up ? str(", ", r.given_up, " given up") : "", "\n");
  for (const auto& [kind, count] : r.failed) {
    const auto said = r.messages.find(kind);
    out += str("  ", kind, ": ", count,
               said->second.empty() ? "" : str(" (", trim(said->second), ")"), "\n");
  }
  out += str(rate(r.answered), " requests/s, ", rate(r.output_tokens), " tokens/s made, ",
             rate(r.prompt_tokens), " tokens/s of prompts (", r.cached_tokens, " of ",
             r.prompt_tokens, " found computed)\n");
  if (o.goals.any())
    out += str("goodput: ", rate(r.good), " requests/s within the limits, ",
               decimal(100 * static_cast<double>(r.good) /
                       static_cast<double>(std::max<int64_t>(1, r.sent))),
               "% of those sent\n");
  Table table({"ms", "mean", "p50", "p90", "p99", "max"});
  for (const auto& [name, member] : measures()) {
    const Durations& d = r.*member;
    if (d.count())
      table.row({name, milliseconds(d.mean()), milliseconds(d.quantile(0.5)),
                 milliseconds(d.quantile(0.9)), milliseconds(d.quantile(0.99)),
                 milliseconds(d.most())});
  }
  return r.answered ? out + table.text() : out;
}

// The address of the API itself, as clients have it as base_url.
std::string api_url(std::string url) {
  while (url.ends_with('/')) url.pop_back();
  return url.ends_with("/v1") ? url : url + "/v1";
}

LoadReport measured(const LoadOptions& o) {
  const bool by_count = o.requests > 0;
  const double expected = by_count     ? static_cast<double>(o.requests)
                          : o.rate > 0 ? o.rate * o.duration
                                       : o.duration;
  Progress progress("load", static_cast<int64_t>(expected),
                    by_count || o.rate > 0 ? "requests" : "s");
  const auto done = [&](const LoadReport& r) {
    return by_count || o.rate > 0 ? r.sent - r.in_flight
                                  : static_cast<int64_t>(std::min(r.seconds, o.duration));
  };
  LoadReport report = run_load(o, [&](const LoadReport& r) {
    progress.update(done(r), str(r.in_flight, " running, ", r.failures(), " failed, first token ",
                                 milliseconds(r.first.quantile(0.5)), " ms"));
    return stop_requested() == 0;
  });
  progress.update(done(report));
  progress.finish(str(report.failures(), " failed"));
  return report;
}

void add_load_options(Args& args, LoadOptions& o, BenchLine& line) {
  args.option(
      "--rate", &o.rate, "N",
      "requests per second, at random moments (Poisson), whether the server keeps up or not");
  args.option("--concurrency", &o.concurrency, "N",
              "instead: so many clients, each asks when it was answered (1)");
  args.option("--duration", &line.duration, "TIME",
              "in which requests begin: 90, 5m (30 s, without --requests)");
  args.option("--requests", &o.requests, "N", "so many at most");
  args.option("--prompt-tokens", &line.prompt_tokens, "N|A-B", "length of random prompts (128)");
  args.option("--output-tokens", &line.output_tokens, "N|A-B", "length of answers (64)");
  args.option("--prompts", &line.prompts, "FILE",
              "prompts instead of random ones: a line each, or a JSON string each (.jsonl)");
  args.flag("--chat", &o.chat, "ask /v1/chat/completions; needs --prompts");
  args.option("--shared-tokens", &o.shared_tokens, "N",
              "the beginning that random prompts have in common (0)");
  args.option("--shared-share", &o.shared_share, "S", "the share of them that has it (0.5)");
  args.option("--ids-below", &o.ids_below, "N", "random token ids are below this (256)");
  args.option("--temperature", &o.temperature, "T", "(0)");
  args.flag("--may-end", &o.may_end,
            "answers may be shorter: ignore_eos is not sent, which not all servers know");
  args.flag("--whole", &o.whole, "whole answers instead of streams: only e2e is measured");
  args.option("--slo", &line.slo, "LIMITS", "what counts as good: ttft=500ms,tpot=50ms,e2e=10s");
  args.option("--model", &o.model, "NAME", "(the first that the server offers)");
  args.option("--api-key", &o.key, "KEY", "(what WELLSPRING_API_KEY says)");
  args.option("--ca", &o.ca, "FILE", "certificates to trust, for https (the system's)");
  args.option("--connections", &o.connections, "N", "with --rate: at most at a time (1024)");
  args.option("--timeout", &o.timeout, "S", "without a byte (600)");
  args.option("--seed", &line.seed, "N", "of moments, lengths and tokens (1)");
  args.option("--serve-options", &line.serve_options, "WORDS",
              "for the server of a MODEL: '--weights q4 --sequences 16'");
}

int bench_serve(int argc, char** argv) {
  LoadOptions o;
  BenchLine line;
  Args args("wellspring bench serve",
            "Put load on a server with OpenAI's API and measure its answers: time to the first "
            "token (ttft), per token after "
            "it (tpot), between pieces (inter_token), and whole (e2e). Times count from the moment "
            "a request was due, so a "
            "server that stalls does not look better than it is. Ctrl-C ends it and shows what was "
            "measured.");
  args.positional("URL|MODEL", &line.target,
                  "http://host:port of a server, or a model folder to serve meanwhile");
  add_load_options(args, o, line);
  args.flag("--json", &line.json, "print JSON (times in seconds)");
  args.example(
      "wellspring bench serve runs/demo/run --rate 20 --requests 40 --prompt-tokens 16 "
      "--output-tokens 8");
  if (!args.parse(argc, argv)) return 0;
  if (args.given("--rate") && args.given("--concurrency"))
    throw Error(Fault::usage,
                "--rate (requests come by themselves) or --concurrency (clients wait for answers), "
                "not both");
  if (args.given("--rate") && o.rate <= 0) throw Error(Fault::usage, "--rate is above 0");
  if (args.given("--requests") && o.requests < 1)
    throw Error(Fault::usage, "--requests is above 0");
  if (!line.duration.empty()) {
    const auto seconds = parse_duration(line.duration);
    if (!seconds || *seconds <= 0)
      throw Error(Fault::usage,
                  str("--duration is '", line.duration, "'; expected a time like 90 or 5m"));
    o.duration = *seconds;
  } else if (o.requests > 0) {
    o.duration = 0;
  }
  o.prompt_tokens = length_range("--prompt-tokens", line.prompt_tokens);
  o.output_tokens = length_range("--output-tokens", line.output_tokens);
  o.goals = goals_of(line.slo);
  o.seed = static_cast<uint64_t>(line.seed);
  if (!line.prompts.empty()) o.prompts = prompts_of(line.prompts);
  if (const char* key = std::getenv("WELLSPRING_API_KEY"); key && o.key.empty()) o.key = key;

  install_stop_signals();
  const bool is_url = line.target.starts_with("http://") || line.target.starts_with("https://");
  if (!is_url && !exists(line.target))
    throw Error(Fault::io, str(line.target, " is neither an http:// URL nor a model folder"));
  std::optional<OwnServer> own;
  if (!is_url) own.emplace(line.target, line.serve_options);
  o.url = api_url(is_url ? line.target : own->url);
  if (o.model.empty()) o.model = first_model(o);
  try_once(o);
  const LoadReport report = measured(o);
  const std::string shown =
      line.json ? to_text(report_json(o, report), 2) + "\n" : report_text(o, report);
  std::fwrite(shown.data(), 1, shown.size(), stdout);
  if (report.late > 0)
    std::fprintf(stderr,
                 "warning: %lld requests were sent over 10 ms after they were due: the machine or "
                 "--connections is too small for this rate (their times count all the same)\n",
                 static_cast<long long>(report.late));
  if (const int signal = stop_requested()) return 128 + signal;
  return report.answered > 0 ? 0 : EX_TEMPFAIL;
}

}  // namespace

int command_bench(int argc, char** argv) {
  return run_verbs("wellspring bench", "Measure what a server does.",
                   {{"serve", "put load on a server and measure its answers", bench_serve}}, argc,
                   argv);
}

}  // namespace wellspring
