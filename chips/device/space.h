#pragma once
// Brings tensors that broadcast to one shape to the WsSpace that device functions walk: dimensions
// of extent 1 go, the others are ordered by the lead's strides, and seamless neighbours become one.

#include "chips/device/device.h"

namespace wellspring::device {

class SpaceBuilder {
 public:
  /// The iteration has the shape of `lead`, a result.
  explicit SpaceBuilder(const View& lead);
  /// Puts a tensor, which broadcasts to the shape, at a place of the space.
  SpaceBuilder& put(int place, const View& v);
  WsSpace build();

 private:
  const View& lead_;
  WsSpace space_{};
  int64_t steps_[WS_MOST_TENSORS][kMaxDims] = {};
  bool used_[WS_MOST_TENSORS] = {};
};

}  // namespace wellspring::device
