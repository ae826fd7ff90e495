#include "tensor/host_copy.h"

#include <cstring>

#include "base/error.h"
#include "tensor/tensor.h"

namespace wellspring {
namespace {

// Reads any real dtype as double or int64, whichever holds it without loss.
struct Value {
  double f = 0;
  int64_t i = 0;
  bool integral = false;
};

Value read(DType t, const char* p) {
  auto as = [p]<class T>(T v) {
    std::memcpy(&v, p, sizeof v);
    return v;
  };
  auto whole = [](int64_t i) { return Value{static_cast<double>(i), i, true}; };
  auto real = [](double f) { return Value{f, 0, false}; };
  switch (t) {
    case DType::f64:
      return real(as(double{}));
    case DType::f32:
      return real(as(float{}));
    case DType::bf16:
      return real(to_float(as(bf16_t{})));
    case DType::f16:
      return real(to_float(as(f16_t{})));
    case DType::i64:
      return whole(as(int64_t{}));
    case DType::i32:
      return whole(as(int32_t{}));
    case DType::i16:
      return whole(as(int16_t{}));
    case DType::i8:
      return whole(as(int8_t{}));
    case DType::u8:
      return whole(as(uint8_t{}));
    case DType::boolean:
      return whole(as(uint8_t{}) != 0);
    case DType::c64:
      break;
  }
  throw Error(Fault::usage, "complex values convert only to complex");
}

int64_t truncate(double f) {
  // Out of range and NaN give the lowest value, as the processor's own conversion does.
  return f >= -9223372036854775808.0 && f < 9223372036854775808.0 ? static_cast<int64_t>(f)
                                                                  : INT64_MIN;
}

void write(DType t, char* p, const Value& v) {
  auto put = [p](auto x) { std::memcpy(p, &x, sizeof x); };
  int64_t i = v.integral ? v.i : truncate(v.f);
  switch (t) {
    case DType::f64:
      return put(v.f);
    case DType::f32:
      return put(static_cast<float>(v.f));
    case DType::bf16:
      return put(to_bf16(static_cast<float>(v.f)));
    case DType::f16:
      return put(to_f16(static_cast<float>(v.f)));
    case DType::i64:
      return put(i);
    case DType::i32:
      return put(static_cast<int32_t>(i));
    case DType::i16:
      return put(static_cast<int16_t>(i));
    case DType::i8:
      return put(static_cast<int8_t>(i));
    case DType::u8:
      return put(static_cast<uint8_t>(i));
    case DType::boolean:
      return put(static_cast<uint8_t>(v.integral ? v.i != 0 : v.f != 0));
    case DType::c64: {
      put(static_cast<float>(v.integral ? static_cast<double>(v.i) : v.f));
      const float imaginary = 0;
      std::memcpy(p + sizeof imaginary, &imaginary, sizeof imaginary);
      return;
    }
  }
  throw Error(Fault::usage, "complex values convert only to complex");
}

bool is_packed(const View& v) {
  int64_t step = 1;
  for (int d = v.dims - 1; d >= 0; step *= v.shape[d--])
    if (v.shape[d] != 1 && v.strides[d] != step) return false;
  return true;
}

}  // namespace

void host_copy(const View& to, const View& from) {
  int64_t n = 1;
  for (int d = 0; d < to.dims; ++d) n *= to.shape[d];
  if (n == 0) return;
  size_t to_size = size_of(to.dtype), from_size = size_of(from.dtype);
  if (to.dtype == from.dtype && is_packed(to) && is_packed(from)) {
    std::memcpy(to.data, from.data, static_cast<size_t>(n) * to_size);
    return;
  }
  int64_t index[kMaxDims] = {}, to_at = 0, from_at = 0;
  for (int64_t k = 0; k < n; ++k) {
    char* target = static_cast<char*>(to.data) + to_at * static_cast<int64_t>(to_size);
    const char* source =
        static_cast<const char*>(from.data) + from_at * static_cast<int64_t>(from_size);
    if (to.dtype == from.dtype)
      std::memcpy(target, source, to_size);
    else
      write(to.dtype, target, read(from.dtype, source));
    for (int d = to.dims - 1; d >= 0; --d) {
      to_at += to.strides[d], from_at += from.strides[d];
      if (++index[d] < to.shape[d]) break;
      to_at -= to.strides[d] * to.shape[d], from_at -= from.strides[d] * to.shape[d];
      index[d] = 0;
    }
  }
}

}  // namespace wellspring
