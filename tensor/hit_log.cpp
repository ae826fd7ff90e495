#include "tensor/hit_log.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/progress.h"
#include "base/text.h"
#include "base/time.h"
#include "tensor/host_copy.h"
#include "tensor/kernel_tables.h"

namespace wellspring {

std::atomic<int> watching{0};

namespace {

struct Detail {
  uint64_t calls = 0;
  double seconds = 0;
};
struct HitLog {
  std::mutex mutex;
  // kernel, chip, ran, shapes
  std::map<std::array<std::string, 4>, Detail> details;
  int64_t shadow_calls = 0;
  std::map<std::pair<std::string, std::string>, ShadowError> errors;
  std::map<const KernelEntry*, int64_t> seen;
};
// Never destroyed: printed at exit.
HitLog& hit_log() {
  static auto& l = *new HitLog;
  return l;
}

std::string printed(double v, const char* format) {
  char text[48];
  std::snprintf(text, sizeof text, format, v);
  return text;
}

Json as_json(const std::vector<KernelHits>& hits, const std::vector<ShadowError>& errors) {
  Json rows = Json::array(), shadow = Json::array();
  for (const KernelHits& h : hits)
    rows.push_back({{"operators", split(operators_of_kernel(h.kernel), ' ')},
                    {"kernel", h.kernel},
                    {"chip", h.chip},
                    {"ran", h.ran},
                    {"calls", h.calls},
                    {"seconds", h.seconds},
                    {"shapes", h.shapes}});
  for (const ShadowError& e : errors)
    shadow.push_back({{"kernel", e.kernel},
                      {"chip", e.chip},
                      {"calls", e.calls},
                      {"greatest", e.greatest},
                      {"relative", e.relative},
                      {"not_numbers", e.not_numbers},
                      {"shapes", e.shapes}});
  return {{"hits", rows}, {"shadow", shadow}};
}

std::string as_table(const std::vector<KernelHits>& hits) {
  Table table({"kernel", "chip", "ran", "calls", "ms", "operator", "shapes"});
  for (const KernelHits& h : hits)
    table.row({h.kernel, h.chip, h.ran, str(h.calls), printed(1e3 * h.seconds, "%.3f"),
               operators_of_kernel(h.kernel), h.shapes});
  return table.text();
}
std::string as_table(const std::vector<ShadowError>& errors) {
  Table table({"kernel", "chip", "compared", "greatest", "relative", "NaN", "shapes"});
  for (const ShadowError& e : errors)
    table.row({e.kernel, e.chip, str(e.calls), printed(e.greatest, "%.3g"),
               printed(e.relative, "%.3g"), str(e.not_numbers), e.shapes});
  return table.text();
}

void print_at_exit() {
  const char* wanted = std::getenv("WELLSPRING_HITS");
  const std::string how = wanted ? wanted : "";
  const std::vector<KernelHits> hits = kernel_details();
  const std::vector<ShadowError> errors = shadow_errors();
  if (how.empty() || how == "0" || how == "1") {
    if (how == "1" && !hits.empty()) std::fputs(as_table(hits).c_str(), stderr);
    if (!errors.empty()) std::fputs(as_table(errors).c_str(), stderr);
    return;
  }
  const std::string text = to_text(as_json(hits, errors), 2) + "\n";
  if (how == "json") {
    std::fputs(text.c_str(), stderr);
    return;
  }
  std::string path = how;
  if (const size_t at = path.find("%p"); at != std::string::npos)
    path.replace(at, 2, std::to_string(getpid()));
  try {
    write_file_atomic(path, text);
  } catch (const std::exception& e) {
    std::fprintf(stderr, "WELLSPRING_HITS: %s\n", e.what());
  }
}

void watch(int what, bool on) {
  if (on)
    watching.fetch_or(what);
  else
    watching.fetch_and(~what);
}

std::vector<double> values_of(const Tensor& t) {
  return t.defined() && !is_complex(t.dtype()) ? t.to_vector<double>() : std::vector<double>();
}

// Adds the difference of two results to what is known of a kernel.
void compare(ShadowError& e, const std::vector<double>& ours, const std::vector<double>& expected,
             const std::string& shapes) {
  double greatest = 0, squares = 0;
  int64_t finite = 0;
  for (size_t i = 0; i < ours.size(); ++i) {
    if (!std::isfinite(ours[i]) || !std::isfinite(expected[i])) {
      e.not_numbers +=
          !(ours[i] == expected[i] || (std::isnan(ours[i]) && std::isnan(expected[i])));
      continue;
    }
    greatest = std::max(greatest, std::abs(ours[i] - expected[i]));
    squares += expected[i] * expected[i], ++finite;
  }
  const double size = finite ? std::sqrt(squares / static_cast<double>(finite)) : 0;
  const double relative = greatest == 0 ? 0 : greatest / std::max(size, 1e-30);
  e.greatest = std::max(e.greatest, greatest);
  if (relative > e.relative || e.shapes.empty()) e.relative = relative, e.shapes = shapes;
}

// A call of the reference on copies made before the kernel ran.
class Shadow {
 public:
  Shadow(const char* kernel, const KernelEntry& entry, const Call& call,
         std::span<const Tensor> outs, std::span<const Tensor> ins)
      : kernel_(kernel), call_(call) {
    {
      std::lock_guard lock(hit_log().mutex);
      int64_t& seen = hit_log().seen[&entry];
      if (seen >= hit_log().shadow_calls) return;
      ++seen;
    }
    {
      std::lock_guard lock(kernel_tables().mutex);
      if (KernelEntry* e = reference_entry(kernel)) reference_ = e->own;
    }
    if (reference_) copies_.emplace(outs, ins, true);
  }
  void compare_with(std::span<const Tensor> outs, const char* chip) {
    if (!reference_) return;
    std::vector<View> views;
    for (const auto* list : {&copies_->outs, &copies_->ins})
      for (const Tensor& t : *list) views.push_back(t.defined() ? t.view() : View());
    Call call = call_;
    call.out = views.data(), call.in = views.data() + copies_->outs.size(), call.queue = nullptr;
    try {
      reference_(call);
    } catch (const Error&) {
      return;  // it refuses what the kernel takes
    }
    std::vector<std::vector<double>> ours, expected;
    for (size_t i = 0; i < outs.size(); ++i)
      ours.push_back(values_of(outs[i])), expected.push_back(values_of(copies_->outs[i]));
    const std::string shapes = shapes_of(call_);
    std::lock_guard lock(hit_log().mutex);
    ShadowError& e = hit_log().errors[{kernel_, chip}];
    e.kernel = kernel_, e.chip = chip, ++e.calls;
    for (size_t i = 0; i < ours.size(); ++i) compare(e, ours[i], expected[i], shapes);
  }

 private:
  const char* kernel_;
  const Call& call_;
  Kernel reference_ = nullptr;
  std::optional<HostCopies> copies_;
};

}  // namespace

void start_hit_log() {
  static bool started = false;
  if (started) return;
  const char* hits = std::getenv("WELLSPRING_HITS");
  const char* shadow = std::getenv("WELLSPRING_SHADOW");
  if (hits && *hits && std::string_view(hits) != "0") set_hit_details(true);
  if (shadow && *shadow) {
    const auto n = parse_int(shadow);
    if (!n || *n < 0)
      throw Error(Fault::usage, str("WELLSPRING_SHADOW=", shadow, ": expected a number of calls"));
    set_shadow(*n);
  }
  hit_log();
  std::atexit(print_at_exit);
  started = true;
}

void set_hit_details(bool on) { watch(Watching::kHits, on); }

void set_shadow(int64_t calls) {
  std::lock_guard lock(hit_log().mutex);
  hit_log().shadow_calls = calls, hit_log().seen.clear();
  if (calls > 0) hit_log().errors.clear();
  watch(Watching::kShadow, calls > 0);
}

void log_call(const char* kernel, Device device, std::string_view ran, const Call& call,
              double seconds) {
  if (!(watching.load(std::memory_order_relaxed) & Watching::kHits)) return;
  const std::string shapes = shapes_of(call);
  std::lock_guard lock(hit_log().mutex);
  Detail& d = hit_log().details[{kernel, chips()[device.chip].name, std::string(ran), shapes}];
  ++d.calls, d.seconds += seconds;
}

void run_watched(const char* kernel, const KernelEntry& entry, Kernel found, const Call& call,
                 std::span<const Tensor> outs, std::span<const Tensor> ins, Device device) {
  const int what = watching.load(std::memory_order_relaxed);
  const Chip& chip = chips()[device.chip];
  std::optional<Shadow> shadow;
  if ((what & Watching::kShadow) && !entry.table->is_reference())
    shadow.emplace(kernel, entry, call, outs, ins);
  if (call.queue) chip.synchronize(call.queue);
  const Stopwatch watch;
  found(call);
  if (call.queue) chip.synchronize(call.queue);
  log_call(kernel, device, entry.table->set, call, watch.seconds());
  if (shadow) shadow->compare_with(outs, chip.name);
}

std::string shapes_of(const Call& call) {
  std::string text;
  for (int i = 0; i < call.outs + call.ins; ++i) {
    const View& v = i < call.outs ? call.out[i] : call.in[i - call.outs];
    if (i) text += '|';
    if (!v.defined()) {
      text += '-';
      continue;
    }
    text += name_of(v.dtype);
    text += '[';
    for (int d = 0; d < v.dims; ++d) text += (d ? "," : "") + std::to_string(v.shape[d]);
    text += ']';
  }
  return text;
}

std::vector<KernelHits> kernel_hits() {
  std::map<std::array<std::string, 3>, double> seconds;
  {
    std::lock_guard lock(hit_log().mutex);
    for (const auto& [key, d] : hit_log().details) seconds[{key[0], key[1], key[2]}] += d.seconds;
  }
  std::lock_guard lock(kernel_tables().mutex);
  std::map<std::pair<std::string, int>, std::vector<KernelHits>> sorted;
  for (auto& [key, table] : kernel_tables().all)
    for (auto& [name, entry] : table->entries) {
      auto& rows = sorted[{name, table->chip}];
      const char* chip = chips()[table->chip].name;
      const auto add = [&](const std::string& ran, uint64_t n) {
        if (n) rows.push_back({name, chip, ran, n, seconds[{name, chip, ran}], ""});
      };
      add(table->set, entry.hits.load());
      add("on the cpu", entry.on_cpu.load());
    }
  std::vector<KernelHits> all;
  for (auto& [key, rows] : sorted) all.insert(all.end(), rows.begin(), rows.end());
  return all;
}

std::vector<KernelHits> kernel_details() {
  std::vector<KernelHits> all;
  {
    std::lock_guard lock(hit_log().mutex);
    for (const auto& [key, d] : hit_log().details)
      all.push_back({key[0], key[1], key[2], d.calls, d.seconds, key[3]});
  }
  std::stable_sort(all.begin(), all.end(),
                   [](const KernelHits& a, const KernelHits& b) { return a.seconds > b.seconds; });
  return all;
}

std::vector<ShadowError> shadow_errors() {
  std::vector<ShadowError> all;
  {
    std::lock_guard lock(hit_log().mutex);
    for (const auto& [key, e] : hit_log().errors) all.push_back(e);
  }
  std::stable_sort(all.begin(), all.end(), [](const ShadowError& a, const ShadowError& b) {
    return a.not_numbers != b.not_numbers ? a.not_numbers > b.not_numbers : a.relative > b.relative;
  });
  return all;
}

}  // namespace wellspring
