// copy, fill, accumulate, scale; operands as in chips/cpu/kernels/copy.cpp and loss.cpp.

#include "chips/device/space.h"

namespace wellspring::device {
namespace {

bool has_double(const Call& call) {
  return queue_of(call).dtypes() >> static_cast<int>(DType::f64) & 1;
}
// Whether f32 holds every value of a dtype.
bool fits_f32(DType t) { return t != DType::f64 && t != DType::i64 && t != DType::i32; }

WsSpace space_of(const View& y, const View* x) {
  SpaceBuilder builder(y);
  builder.put(0, y);
  if (x) builder.put(1, *x);
  return builder.build();
}

void copy(const Call& call) {
  const View &y = call.out[0], &x = call.in[0];
  const WsSpace space = space_of(y, &x);
  const char* name;
  if (y.dtype == x.dtype) {
    const size_t size = size_of(y.dtype);
    name = size == 1 ? "copy_1" : size == 2 ? "copy_2" : size == 4 ? "copy_4" : "copy_8";
  } else if (!is_float(y.dtype) && !is_float(x.dtype)) {
    name = "copy_long";
  } else {
    name = fits_f32(y.dtype) && fits_f32(x.dtype) ? "copy_float" : "copy_double";
  }
  Launch(call, {"copy", name}).tensor(y).tensor(x).value(space).run_items(space.total);
}
bool takes_copy(const Call& call) {
  const DType to = call.out[0].dtype, from = call.in[0].dtype;
  if (to == from) return true;
  if (!takes_dtypes(call)) return false;
  return has_double(call) || (!is_float(to) && !is_float(from)) || (fits_f32(to) && fits_f32(from));
}
WS_DEVICE_KERNEL("copy", copy, takes_copy);

void fill(const Call& call) {
  const View& y = call.out[0];
  const WsSpace space = space_of(y, nullptr);
  const double value = call.attr[0].f;
  const auto narrow = static_cast<float>(value);
  if (y.dtype != DType::f64 && (is_float(y.dtype) || !has_double(call))) {
    Launch(call, {"copy", "fill_float"})
        .tensor(y)
        .value(space)
        .value(narrow)
        .run_items(space.total);
    return;
  }
  Launch(call, {"copy", "fill_double"}).tensor(y).value(space).value(value).run_items(space.total);
}
bool takes_fill(const Call& call) {
  const DType t = call.out[0].dtype;
  if (!takes_dtypes(call)) return false;
  return has_double(call) || is_float(t) ||
         static_cast<double>(static_cast<float>(call.attr[0].f)) == call.attr[0].f;
}
WS_DEVICE_KERNEL("fill", fill, takes_fill);

void accumulate(const Call& call) {
  const View &y = call.out[0], &x = call.in[0];
  const WsSpace space = space_of(y, &x);
  const bool wide = y.dtype == DType::f64 || x.dtype == DType::f64;
  Launch(call, {"copy", wide ? "accumulate_double" : "accumulate_float"})
      .tensor(y)
      .tensor(x)
      .value(space)
      .run_items(space.total);
}
WS_DEVICE_KERNEL("accumulate", accumulate, takes_dtypes);

void scale(const Call& call) {
  const View &y = call.out[0], &x = call.in[0];
  const WsSpace space = space_of(y, &x);
  const double wide = call.attr[0].f;
  const auto factor = static_cast<float>(wide);
  if (y.dtype == DType::f64 || x.dtype == DType::f64)
    Launch(call, {"copy", "scale_double"})
        .tensor(y)
        .tensor(x)
        .value(space)
        .value(wide)
        .run_items(space.total);
  else
    Launch(call, {"copy", "scale_float"})
        .tensor(y)
        .tensor(x)
        .value(space)
        .value(factor)
        .run_items(space.total);
}
WS_DEVICE_KERNEL("scale", scale, takes_dtypes);

}  // namespace
}  // namespace wellspring::device
