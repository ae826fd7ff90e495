// Borders around tensors.

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "ops/arrange.h"
#include "ops/index.h"
#include "ops/shape.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace wellspring {
namespace {

KernelRef kCopy("copy"), kFill("fill");

std::string text_of(const std::vector<int64_t>& pad) {
  std::string text = "[";
  for (size_t i = 0; i < pad.size(); ++i) text += str(i ? ", " : "", pad[i]);
  return text + "]";
}

[[noreturn]] void fail(const Tensor& x, const std::vector<int64_t>& pad, const std::string& why) {
  throw Error(Fault::usage, str("pad of ", x.text(), " by ", text_of(pad), ": ", why));
}

// Elements before and after each dimension of x.
std::vector<std::pair<int64_t, int64_t>> borders(const Tensor& x, const std::vector<int64_t>& pad) {
  if (pad.size() % 2) fail(x, pad, "pairs of numbers are wanted");
  if (static_cast<int>(pad.size() / 2) > x.dims()) fail(x, pad, "there are fewer dimensions");
  std::vector<std::pair<int64_t, int64_t>> all(x.dims());
  for (size_t i = 0; i < pad.size() / 2; ++i)
    all[x.dims() - 1 - static_cast<int>(i)] = {pad[2 * i], pad[2 * i + 1]};
  return all;
}

// Copies what stays of x into the middle of y and fills the rest, each element once.
void put_bordered(const Tensor& y, const Tensor& x,
                  const std::vector<std::pair<int64_t, int64_t>>& border, double value) {
  Tensor target = y, source = x;
  for (int d = 0; d < x.dims(); ++d) {
    const auto [before, after] = border[d];
    const int64_t had = x.shape()[d], extent = target.shape()[d];
    // Place k of the source stands at k + before of the target.
    const int64_t from = std::clamp<int64_t>(-before, 0, had),
                  to = std::clamp<int64_t>(extent - before, from, had);
    const int64_t start = std::clamp<int64_t>(from + before, 0, extent),
                  rest = extent - start - (to - from);
    if (start) launch(kFill, {narrow(target, d, 0, start)}, {}, {value});
    if (rest) launch(kFill, {narrow(target, d, extent - rest, rest)}, {}, {value});
    target = narrow(target, d, start, to - from), source = narrow(source, d, from, to - from);
  }
  if (target.numel()) launch(kCopy, {target}, {source});
}

}  // namespace

Tensor constant_pad_nd(const Tensor& x, const std::vector<int64_t>& pad, Scalar value) {
  const auto border = borders(x, pad);
  Shape shape = x.shape();
  for (int d = 0; d < x.dims(); ++d) {
    int64_t sum = 0;
    if (__builtin_add_overflow(shape[d], border[d].first, &sum) ||
        __builtin_add_overflow(sum, border[d].second, &shape[d]) || shape[d] < 0)
      fail(x, pad, str("dimension ", d, " would have a negative or too large extent"));
  }
  if (is_complex(x.dtype())) fail(x, pad, "complex tensors are not filled");
  const Tensor y = Tensor::empty(shape, x.dtype(), x.device());
  {
    NoGrad none;
    if (y.numel()) put_bordered(y, x.detach(), border, value.f);
  }
  if (is_float(x.dtype()) && should_record({&x}))
    record("constant_pad_nd", {x}, {y}, [pad](BackwardContext& c) -> Tensors {
      std::vector<int64_t> back(pad);
      for (int64_t& n : back) n = -n;
      return {constant_pad_nd(c.grad(), back, 0)};
    });
  return y;
}

namespace {

// Where the element at place k of a bordered dimension of extent n comes from.
int64_t origin(std::string_view mode, int64_t k, int64_t n) {
  if (mode == "replicate") return std::clamp<int64_t>(k, 0, n - 1);
  if (mode == "circular") return ((k % n) + n) % n;
  k = k < 0 ? -k : k;
  return k < n ? k : 2 * (n - 1) - k;
}

// `count` places of dimension d, backwards from `first`.
Tensor reversed(const Tensor& t, int d, int64_t first, int64_t count) {
  Shape sizes = t.shape(), strides = t.strides();
  sizes[d] = count, strides[d] = -strides[d];
  return t.as_strided(sizes, strides, t.offset() + first * t.strides()[d]);
}

// y has x in its middle: borders come from what stands already, one dimension after the other.
Tensor put_mirrored(const Tensor& x, const Shape& shape, std::string_view mode,
                    const std::vector<std::pair<int64_t, int64_t>>& border) {
  NoGrad none;
  const Tensor y = Tensor::empty(shape, x.dtype(), x.device());
  const auto middle = [&](int from) {  // all of the dimensions before `from`
    Tensor t = y;
    for (int d = from; d < x.dims(); ++d) t = narrow(t, d, border[d].first, x.shape()[d]);
    return t;
  };
  launch(kCopy, {middle(0)}, {x.detach()});
  for (int d = 0; d < x.dims(); ++d) {
    const Tensor t = middle(d + 1);
    const auto [before, after] = border[d];
    const int64_t n = x.shape()[d], end = before + n;
    const auto source = [&](int64_t edge, int64_t mirrored, int64_t around, int64_t count) {
      if (mode == "reflect") return reversed(t, d, mirrored, count);
      if (mode == "circular") return narrow(t, d, around, count);
      Shape sizes = t.shape();
      sizes[d] = count;
      return expand(narrow(t, d, edge, 1), sizes);
    };
    if (before) launch(kCopy, {narrow(t, d, 0, before)}, {source(before, 2 * before, n, before)});
    if (after) launch(kCopy, {narrow(t, d, end, after)}, {source(end - 1, end - 2, before, after)});
  }
  return y;
}

}  // namespace

Tensor pad(const Tensor& x, const std::vector<int64_t>& pad, std::string_view mode, Scalar value) {
  if (mode == "constant") return constant_pad_nd(x, pad, value);
  if (mode != "reflect" && mode != "replicate" && mode != "circular")
    throw Error(
        Fault::usage,
        str("pad: mode is 'constant', 'reflect', 'replicate' or 'circular', not '", mode, "'"));
  const auto border = borders(x, pad);
  Shape shape = x.shape();
  bool grows = x.numel() > 0 && x.device().is_cpu();  // others may know no negative strides
  for (int d = 0; d < x.dims(); ++d) {
    const auto [before, after] = border[d];
    if (!before && !after) continue;
    const int64_t n = x.shape()[d], most = mode == "reflect"    ? n - 1
                                           : mode == "circular" ? n
                                                                : INT64_MAX / 4;
    if (n == 0 || before > most || after > most || n + before + after < 0)
      fail(x, pad, str("the border does not fit dimension ", d, " in mode '", mode, "'"));
    shape[d] = n + before + after;
    grows = grows && before >= 0 && after >= 0;
  }
  if (grows && !should_record({&x})) return put_mirrored(x, shape, mode, border);
  Tensor y = x;
  for (int d = 0; d < x.dims(); ++d) {
    const auto [before, after] = border[d];
    if (!before && !after) continue;
    const int64_t n = x.shape()[d];
    std::vector<int64_t> places;
    for (int64_t k = -before; k < n + after; ++k) places.push_back(origin(mode, k, n));
    y = index_select(y, d, Tensor::from(places, {static_cast<int64_t>(places.size())}, x.device()));
  }
  return y.same(x) ? clone(x) : y;
}

}  // namespace wellspring
