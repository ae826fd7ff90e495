#include "nn/kv_cache.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "ops/shape.h"
#include "tensor/autograd.h"

namespace wellspring {
namespace {

constexpr int64_t kFirst = 256;  // tokens of room at the start

class ContiguousCache : public KvCache {
 public:
  ContiguousCache(int64_t layers, int64_t batch, int64_t kv_heads, int64_t head_width,
                  int64_t context, DType dtype)
      : batch_(batch),
        heads_(kv_heads),
        width_(head_width),
        context_(context),
        dtype_(dtype),
        layers_(layers) {}

  int64_t length() const override { return length_; }

  Views put(int64_t layer, const Tensor& keys, const Tensor& values) override {
    NoGrad no_grad;
    const int64_t tokens = keys.size(1), end = length_ + tokens;
    if (end > context_)
      throw Error(Fault::usage, str("the sequence of ", end,
                                    " tokens exceeds the model's context of ", context_));
    Views& held = layers_[layer];
    reserve(held.keys, end, keys.device());
    reserve(held.values, end, values.device());
    copy_(narrow(held.keys, 1, length_, tokens), keys);
    copy_(narrow(held.values, 1, length_, tokens), values);
    return held;
  }

  void advance(int64_t tokens) override { length_ += tokens; }
  void truncate(int64_t length) override {
    WS_CHECK(length >= 0 && length <= length_, "truncating a cache to more than it holds");
    length_ = length;
  }
  int64_t bytes() const override {
    int64_t sum = 0;
    for (const Views& v : layers_)
      if (v.keys.defined()) sum += 2 * static_cast<int64_t>(v.keys.storage()->bytes);
    return sum;
  }

 private:
  void reserve(Tensor& t, int64_t tokens, Device device) {
    const int64_t room = t.defined() ? t.size(1) : 0;
    if (room >= tokens) return;
    const int64_t wanted = std::min(context_, std::max({tokens, 2 * room, kFirst}));
    Tensor bigger = Tensor::empty({batch_, wanted, heads_, width_}, dtype_, device);
    if (length_) copy_(narrow(bigger, 1, 0, length_), narrow(t, 1, 0, length_));
    t = bigger;
  }

  int64_t batch_, heads_, width_, context_, length_ = 0;
  DType dtype_;
  std::vector<Views> layers_;
};

}  // namespace

std::unique_ptr<KvCache> make_contiguous_cache(int64_t layers, int64_t batch, int64_t kv_heads,
                                               int64_t head_width, int64_t context, DType dtype) {
  return std::make_unique<ContiguousCache>(layers, batch, kv_heads, head_width, context, dtype);
}

}  // namespace wellspring
