#include "chips/device/space.h"

#include <cstdlib>

namespace wellspring::device {

SpaceBuilder::SpaceBuilder(const View& lead) : lead_(lead) {}

SpaceBuilder& SpaceBuilder::put(int place, const View& v) {
  if (!v.defined()) return *this;
  used_[place] = true;
  space_.types[place] = static_cast<int>(v.dtype);
  const int skipped = lead_.dims - v.dims;
  for (int d = 0; d < lead_.dims; ++d)
    steps_[place][d] = d < skipped || v.shape[d - skipped] == 1 ? 0 : v.strides[d - skipped];
  return *this;
}

WsSpace SpaceBuilder::build() {
  int order[kMaxDims], n = 0;
  for (int d = 0; d < lead_.dims; ++d) {
    if (lead_.shape[d] == 1) continue;
    int at = n++;
    for (; at > 0 && std::abs(lead_.strides[order[at - 1]]) < std::abs(lead_.strides[d]); --at)
      order[at] = order[at - 1];
    order[at] = d;
  }
  WsSpace& s = space_;
  s.total = count_of(lead_);
  s.dims = 0;
  for (int i = 0; i < n; ++i) {
    const int64_t extent = lead_.shape[order[i]];
    bool joins = s.dims > 0;
    for (int t = 0; joins && t < WS_MOST_TENSORS; ++t)
      joins = !used_[t] || s.steps[t][s.dims - 1] == steps_[t][order[i]] * extent;
    if (!joins) s.shape[s.dims++] = 1;
    s.shape[s.dims - 1] *= extent;
    for (int t = 0; t < WS_MOST_TENSORS; ++t) s.steps[t][s.dims - 1] = steps_[t][order[i]];
  }
  if (s.dims == 0) s.dims = 1, s.shape[0] = 1;  // one element
  for (int t = 0; t < WS_MOST_TENSORS; ++t) {
    bool linear = true;
    int64_t packed = 1;
    for (int d = s.dims - 1; d >= 0; packed *= s.shape[d--])
      linear = linear && (s.shape[d] == 1 || s.steps[t][d] == packed);
    if (linear) s.linear |= 1 << t;
  }
  return s;
}

}  // namespace wellspring::device
