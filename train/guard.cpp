#include "train/guard.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "base/text.h"

namespace wellspring {
namespace {

double median(std::vector<double> v) {
  auto middle = v.begin() + static_cast<std::ptrdiff_t>(v.size() / 2);
  std::nth_element(v.begin(), middle, v.end());
  return *middle;
}

}  // namespace

std::optional<std::string> TrainingGuard::check(int64_t step, double loss, double gradient_norm) {
  if (!std::isfinite(loss)) return str("the loss is ", loss);
  if (!std::isfinite(gradient_norm)) return str("the gradient norm is ", gradient_norm);
  bool high = false;
  double middle = 0;
  if (options_.spike_factor > 0 && static_cast<int>(recent_.size()) * 2 >= options_.window) {
    std::vector<double> values(recent_.begin(), recent_.end());
    middle = median(values);
    for (double& v : values) v = std::abs(v - middle);
    double limit = std::max(options_.spike_factor * median(values), options_.least_rise);
    high = loss > middle + limit;
  }
  high_ = high ? high_ + 1 : 0;
  if (high_ == 1) first_high_ = step;
  // A high loss does not enter the window, or a long spike would become the new normal.
  if (!high) {
    recent_.push_back(loss);
    if (static_cast<int>(recent_.size()) > options_.window) recent_.pop_front();
  }
  if (high_ >= options_.patience)
    return str("the loss ", loss, " has been far above its recent median ", middle, " for ", high_,
               high_ == 1 ? " step" : " steps");
  return std::nullopt;
}

}  // namespace wellspring
