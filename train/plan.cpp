#include "train/plan.h"

#include <algorithm>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"

namespace wellspring {
namespace {

constexpr int64_t kUnknown = int64_t{1} << 40;
constexpr int64_t kWarm = 2;  // the first steps touch fresh memory

}  // namespace

StepPlan::StepPlan(int64_t steps, double seconds, int64_t probe)
    : most_(steps > 0 ? steps : kUnknown), seconds_(seconds), probe_(std::max(probe, kWarm + 1)) {}

int64_t StepPlan::steps(int64_t step) const {
  int64_t n = most_;
  for (const Entry& e : entries_)
    if (e.at <= step) n = e.steps;
  return n;
}

bool StepPlan::due(int64_t step, double seconds) const {
  if (entries_.empty()) return step >= probe_ || seconds >= 0.2 * seconds_;
  const Entry& last = entries_.back();
  for (double share : {0.25, 0.5, 0.75, 0.875, 0.9375}) {
    auto place = static_cast<int64_t>(share * static_cast<double>(last.steps));
    if (place > last.at) return step >= place && step > last.at;
  }
  return false;
}

bool StepPlan::consider(int64_t step, double seconds, double reserve) {
  if (seconds_ <= 0) return false;
  if (!marked_ || (entries_.empty() && step <= kWarm)) {
    mark_ = {step, seconds};
    marked_ = true;
    return false;
  }
  if (step <= mark_.step || !due(step, seconds)) return false;
  const double one = (seconds - mark_.seconds) / static_cast<double>(step - mark_.step);
  const double left = std::max(0.0, seconds_ - reserve - seconds);
  // Two percent in hand: what is measured later than the last look can only be slower.
  auto fit = static_cast<int64_t>(0.98 * left / std::max(one, 1e-9));
  entries_.push_back({step, std::min(most_, step + std::max<int64_t>(fit, 0))});
  mark_ = {step, seconds};
  return true;
}

Json StepPlan::to_json() const {
  Json list = Json::array();
  for (const Entry& e : entries_) list.push_back({{"at", e.at}, {"steps", e.steps}});
  return list;
}

void StepPlan::restore(const Json& entries, const std::string& where) {
  entries_.clear();
  auto wrong = [&] {
    throw Error(Fault::data, str(where, ": expected [{\"at\": N, \"steps\": N}, ...]"));
  };
  if (!entries.is_array()) wrong();
  for (const Json& e : entries) {
    if (!e.is_object() || !e.contains("at") || !e["at"].is_number_integer() ||
        !e.contains("steps") || !e["steps"].is_number_integer())
      wrong();
    entries_.push_back({e["at"], e["steps"]});
  }
}

}  // namespace wellspring
