#include "python/src/torch/use.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>

#include "base/error.h"
#include "base/text.h"
#include "base/threads.h"

namespace wellspring::python {
namespace {

using namespace torch_bridge;
const Bridge* g_bridge = nullptr;

std::atomic<bool> g_watching{false};

// What was counted while watching. Never destroyed: threads may still run at exit.
struct ShapeLog {
  std::mutex mutex;
  std::map<std::pair<std::string, std::string>, ShapeCounts> counts;
};
ShapeLog& shape_log() {
  static auto& log = *new ShapeLog;
  return log;
}

std::string shapes_of(const Frame& f) {
  std::string all;
  const auto add = [&](const TensorArg& t) {
    if (!t.handle) return;
    all += all.empty() ? "" : ", ";
    if (!t.plain) return void(all += "not strided");
    const auto dtype = dtype_of(t.type);
    all += str(dtype ? name_of(*dtype) : "other", "[");
    for (int d = 0; d < t.dims; ++d) all += str(d ? ", " : "", t.sizes[d]);
    all += "]";
  };
  for (int i = 0; i < f.count; ++i) {
    const Arg& a = f.args[i];
    if (a.kind == Kind::tensor) add(a.tensor);
    if (a.kind != Kind::tensors) continue;
    for (int64_t k = 0; k < std::min<int64_t>(a.count, 3); ++k) add(a.tensors[k]);
    if (a.count > 3) all += str(", ... ", a.count - 3, " more");
  }
  return all;
}

// Bytes that a tensor's elements lie in, from its first element.
struct Extent {
  const char *begin, *end;
};
Extent extent_of(const TensorArg& t) {
  const auto size = static_cast<int64_t>(size_of(*dtype_of(t.type)));
  int64_t last = 0;
  for (int d = 0; d < t.dims; ++d) last += (t.sizes[d] - 1) * t.strides[d];
  const char* begin = static_cast<const char*>(t.data);
  return {begin, begin + (t.numel ? (last + 1) * size : 0)};
}

}  // namespace

const Bridge& bridge() { return *g_bridge; }
void set_bridge(const Bridge* b) { g_bridge = b; }

std::optional<DType> dtype_of(int8_t t) {
  switch (t) {
    case kF32:
      return DType::f32;
    case kBF16:
      return DType::bf16;
    case kF64:
      return DType::f64;
    case kF16:
      return DType::f16;
    case kI64:
      return DType::i64;
    case kI32:
      return DType::i32;
    case kI16:
      return DType::i16;
    case kI8:
      return DType::i8;
    case kU8:
      return DType::u8;
    case kBool:
      return DType::boolean;
    default:
      return std::nullopt;
  }
}

int8_t torch_type(DType dtype) {
  constexpr int8_t types[kDTypeCount] = {kF64, kF32, kBF16, kF16,  kI64, kI32,
                                         kI16, kI8,  kU8,   kBool, kC64};
  return types[static_cast<int>(dtype)];
}

bool takes(const TensorArg& t) {
  return t.handle && t.plain && t.dims <= kMaxDims && dtype_of(t.type).has_value();
}
const TensorArg* taken(const Arg& a) {
  return a.kind == Kind::tensor && takes(a.tensor) ? &a.tensor : nullptr;
}

bool is_contiguous(const TensorArg& t) {
  int64_t expected = 1;
  for (int d = t.dims - 1; d >= 0; --d) {
    if (t.sizes[d] != 1 && t.strides[d] != expected) return false;
    expected *= t.sizes[d];
  }
  return true;
}

bool channels_last(const TensorArg& t) {
  if (t.dims != 4 || t.strides[1] == 0) return false;
  int64_t least = 0;
  for (const int d : {1, 3, 2, 0}) {
    if (t.strides[d] < least || (d == 0 && least == t.strides[1])) return false;
    least = t.strides[d] * std::max<int64_t>(1, t.sizes[d]);
  }
  return true;
}

bool same_sizes(const TensorArg& a, const TensorArg& b) {
  return a.dims == b.dims && std::equal(a.sizes, a.sizes + a.dims, b.sizes);
}

bool may_overlap(const TensorArg& a, const TensorArg& b) {
  if (a.storage != b.storage) return false;
  const Extent x = extent_of(a), y = extent_of(b);
  return x.begin < y.end && y.begin < x.end;
}

bool same_place(const TensorArg& a, const TensorArg& b) {
  return a.data == b.data && a.type == b.type && same_sizes(a, b) &&
         std::equal(a.strides, a.strides + a.dims, b.strides);
}

OwnView packed_view(void* data, DType dtype, std::initializer_list<int64_t> sizes) {
  OwnView v;
  v.data = data, v.dtype = dtype;
  for (int64_t s : sizes) v.add(s, 1);
  for (int d = v.dims - 2; d >= 0; --d) v.strides[d] = v.strides[d + 1] * v.sizes[d + 1];
  return v;
}

TensorArg make_result(Frame& f, std::span<const int64_t> sizes, int8_t type,
                      const int64_t* strides) {
  const TensorArg t =
      bridge().empty(sizes.data(), strides, static_cast<int32_t>(sizes.size()), type);
  f.results[f.result_count++] = t.handle;
  return t;
}

TensorArg make_ordered_like(Frame& f, const TensorArg& t) {
  int order[kMaxDims];
  int64_t strides[kMaxDims], next = 1;
  for (int d = 0; d < t.dims; ++d) order[d] = d;
  std::stable_sort(order, order + t.dims,
                   [&](int a, int b) { return t.strides[a] > t.strides[b]; });
  for (int i = t.dims - 1; i >= 0; --i) strides[order[i]] = next, next *= t.sizes[order[i]];
  return make_result(f, {t.sizes, static_cast<size_t>(t.dims)}, t.type, strides);
}

void run_kernel(const KernelRef& kernel, std::span<const View> outs, std::span<const View> ins,
                std::span<const Attr> attrs) {
  if (const int n = bridge().threads(); n != threads() && n > 0) set_threads(n);
  Call call;
  call.out = outs.data(), call.outs = static_cast<int>(outs.size());
  call.in = ins.data(), call.ins = static_cast<int>(ins.size());
  call.attr = attrs.data(), call.attrs = static_cast<int>(attrs.size());
  launch(kernel, call);
}

void run_kernel(const KernelRef& kernel, std::initializer_list<View> outs,
                std::initializer_list<View> ins, std::initializer_list<Attr> attrs) {
  run_kernel(kernel, std::span(outs.begin(), outs.size()), std::span(ins.begin(), ins.size()),
             std::span(attrs.begin(), attrs.size()));
}

void watch_shapes(bool on) { g_watching = on; }
std::map<std::pair<std::string, std::string>, ShapeCounts> shape_counts() {
  std::lock_guard lock(shape_log().mutex);
  return shape_log().counts;
}
void reset_shape_counts() {
  std::lock_guard lock(shape_log().mutex);
  shape_log().counts.clear();
}

namespace {

bool try_kernel(const Entry& entry, Frame& f) {
  // A kernel that is off leaves the call to PyTorch, unless something may have been overwritten.
  const NoStandIns left_to_pytorch(!entry.changes_arguments);
  try {
    return entry.kernel(f);
  } catch (const Error& e) {
    if (e.fault() != Fault::usage) throw;
  }
  for (int i = 0; i < f.result_count; ++i)
    if (f.results[i]) bridge().release(f.results[i]);
  return false;
}

}  // namespace

bool answer(Frame& f) {
  const Entry& entry = *static_cast<const Entry*>(f.data);
  f.data = entry.data;
  if (!g_watching.load(std::memory_order_relaxed)) return try_kernel(entry, f);
  using Clock = std::chrono::steady_clock;
  std::string shapes = shapes_of(f);  // before: results may move what it reads
  const auto begin = Clock::now();
  const bool took = try_kernel(entry, f);
  const std::chrono::duration<double> spent = Clock::now() - begin;
  std::lock_guard lock(shape_log().mutex);
  ShapeCounts& c = shape_log().counts[{entry.name, std::move(shapes)}];
  ++(took ? c.ours : c.theirs);
  if (took) c.seconds += spent.count();
  return took;
}

std::optional<double> number_of(const Arg& a) {
  if (a.kind == Kind::real) return a.f;
  if (a.kind == Kind::integer || a.kind == Kind::boolean) return static_cast<double>(a.i);
  return std::nullopt;
}

}  // namespace wellspring::python
