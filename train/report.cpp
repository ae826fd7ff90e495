#include "train/report.h"

#include <cmath>
#include <cstdio>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "train/chart.h"
#include "train/run_folder.h"

namespace wellspring {
namespace {

constexpr const char* kStyle = R"(
:root{color-scheme:light dark;--ink:#1b1f24;--soft:#667;--line:#d8dce2;--back:#fff;--card:#f6f7f9}
@media(prefers-color-scheme:dark){:root{--ink:#e6e9ee;--soft:#98a2b0;--line:#333a44;--back:#14171b;--card:#1c2127}}
body{font:16px/1.5 system-ui,"Noto Sans CJK SC",sans-serif;color:var(--ink);background:var(--back);
max-width:1100px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}
.charts{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,480px),1fr));gap:1rem}
.chart{width:100%;background:var(--card);border-radius:8px}
.chart text{font-size:12px;fill:var(--soft)}.chart .title{font-size:14px;font-weight:600;fill:var(--ink)}
.grid{stroke:var(--line)}.axis{stroke:var(--soft)}
polyline{fill:none;stroke:currentColor;stroke-width:1.6}circle{fill:currentColor}
.s0{color:#2f6fde}.s1{color:#d9622b}.s2{color:#2a9d6f}.chart g text{fill:currentColor}
table{border-collapse:collapse}td,th{padding:.25rem .8rem .25rem 0;border-bottom:1px solid var(--line);text-align:left}
td.n{text-align:right;font-variant-numeric:tabular-nums}
pre,blockquote{background:var(--card);border-radius:8px;padding:.8rem 1rem;overflow-x:auto;white-space:pre-wrap;margin:.6rem 0}
blockquote b{color:var(--soft);font-weight:400}
)";

Series curve(const std::vector<Json>& steps, const std::string& key, const std::string& name,
             bool points = false) {
  Series s{name, {}, {}, points};
  for (const Json& j : steps)
    if (j.contains(key) && j[key].is_number()) s.x.push_back(j["step"]), s.y.push_back(j[key]);
  return s;
}

std::string figure(double v, const char* format) {
  char b[48];
  std::snprintf(b, sizeof b, format, v);
  return b;
}

class Figures {
 public:
  void add(const std::string& what, const std::string& value) {
    rows_ += str("<tr><td>", html_escape(what), "</td><td class=\"n\">", html_escape(value),
                 "</td></tr>\n");
  }
  std::string html() const { return "<table>" + rows_ + "</table>"; }

 private:
  std::string rows_;
};

std::string last_attempt(const std::string& run) {
  int64_t last = 0;
  for (const std::string& name : list_directory(join_path(run, "attempts")))
    last = std::max(last, parse_int(name).value_or(0));
  return join_path(join_path(run, "attempts"), str(last));
}

}  // namespace

void write_report(const std::string& run_folder, const std::vector<Sample>& samples,
                  const std::string& extra) {
  std::vector<Json> steps = live_curve(run_folder);
  std::string attempt = last_attempt(run_folder);
  Json status = exists(join_path(attempt, "status.json"))
                    ? read_json(join_path(attempt, "status.json"))
                    : Json::object();

  Figures figures;
  figures.add("state", status.value("state", "unknown"));
  if (!steps.empty()) {
    const Json& last = steps.back();
    figures.add("steps", str(last.value("step", int64_t{0})));
    figures.add("tokens", human_count(last.value("tokens", 0.0)));
    double best = INFINITY, rate = 0, seconds = 0;
    int64_t n = 0;
    for (const Json& j : steps) {
      if (j.contains("eval_bpb")) best = std::min(best, j["eval_bpb"].get<double>());
      if (j.contains("tokens_per_second")) rate += j["tokens_per_second"].get<double>(), ++n;
      seconds += j.value("seconds", 0.0);
    }
    figures.add("last training loss (nats a token)", figure(last.value("loss", NAN), "%.4f"));
    if (std::isfinite(best)) figures.add("best held-out bits per byte", figure(best, "%.4f"));
    if (n) figures.add("mean tokens a second", figure(rate / static_cast<double>(n), "%.0f"));
    figures.add("time in steps", human_duration(seconds));
    if (last.contains("gemm_share"))
      figures.add("share of the machine's GEMM peak",
                  figure(100 * last["gemm_share"].get<double>(), "%.0f %%"));
    if (last.contains("memory"))
      figures.add("peak memory", human_bytes(last["memory"].get<double>()));
  }
  for (auto& [key, value] : status.items())
    if (key == "parameters" || key == "machine")
      figures.add(key,
                  value.is_string() ? value.get<std::string>() : human_count(value.get<double>()));

  // With the folder that it lies in: many runs are called "run".
  const std::string parent = base_name(parent_path(run_folder));
  const bool named = !parent.empty() && parent != "." && parent != "..";
  std::string name = base_name(run_folder);
  name = html_escape(named ? join_path(parent, name) : name);
  std::string html =
      str("<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>", name,
          "</title><meta name=\"viewport\" content=\"width=device-width\"><style>", kStyle,
          "</style></head><body><h1>", name, "</h1>\n", figures.html(), extra,
          "<h2>Curves</h2><div class=\"charts\">\n");
  html +=
      svg_chart("Loss", "step", "nats a token",
                {curve(steps, "loss", "training"), curve(steps, "eval_loss", "held out", true)});
  html += svg_chart("Held-out bits per byte", "step", "bits a byte",
                    {curve(steps, "eval_bpb", "held out")});
  html += svg_chart("Learning rate", "step", "rate", {curve(steps, "learning_rate", "rate")});
  html += svg_chart("Throughput", "step", "tokens a second",
                    {curve(steps, "tokens_per_second", "tokens/s")});
  html += svg_chart("Gradient norm", "step", "norm",
                    {curve(steps, "gradient_norm", "before clipping")}, true);
  html += "</div>\n";
  if (!samples.empty()) html += "<h2>Samples</h2>\n";
  for (const Sample& s : samples)
    html += str("<blockquote><b>", html_escape(s.prompt), "</b>", html_escape(s.text),
                "</blockquote>\n");
  if (exists(join_path(attempt, "run.yaml")))
    html += str("<h2>Configuration</h2><pre>",
                html_escape(read_file(join_path(attempt, "run.yaml"))), "</pre>\n");
  html += "</body></html>\n";
  write_file_atomic(join_path(run_folder, "report.html"), html);
}

}  // namespace wellspring
