// Reductions; operands as in chips/cpu/kernels/reduce.cpp and reduce_arg.cpp: out has x's
// dimensions, extent 1 where they are reduced, and is row-major.

#include "chips/device/reduce.h"

#include <cstdlib>
#include <string>

#include "tensor/tensor.h"

namespace wellspring::device {
namespace {

constexpr int64_t kMostShare = 8192;  // reduced elements that a group, or an item, takes at most
constexpr int64_t kWanted = 256;      // groups that keep a device busy

// Adds a dimension, to the last one where the two are one.
void add(ws_long* n, ws_long* step, int& dims, int64_t extent, int64_t stride) {
  if (extent == 1) return;
  if (dims && step[dims - 1] == stride * extent) {
    n[dims - 1] *= extent, step[dims - 1] = stride;
  } else {
    n[dims] = extent, step[dims++] = stride;
  }
}

WsReduce plan(const View& out, const View& x) {
  WsReduce r{};
  r.outputs = r.count = r.pieces = 1;
  for (int d = 0; d < x.dims; ++d) {
    const bool gone = out.shape[d] == 1 && x.shape[d] != 1;
    if (gone)
      add(r.reduced_n, r.reduced_step, r.reduced_dims, x.shape[d], x.strides[d]);
    else
      add(r.kept_n, r.kept_step, r.kept_dims, x.shape[d], x.strides[d]);
    (gone ? r.count : r.outputs) *= x.shape[d];
  }
  r.type = type_of(x), r.out_type = type_of(out);
  return r;
}

// Whether a group reads along the reduced elements of one output: they lie closer than the outputs
// do, or there are too few outputs for an item each.
bool along_rows(const WsReduce& r) {
  if (!r.reduced_dims) return false;
  if (!r.kept_dims) return true;
  const int64_t reduced = std::abs(r.reduced_step[r.reduced_dims - 1]),
                kept = std::abs(r.kept_step[r.kept_dims - 1]);
  return reduced && (!kept || reduced < kept) && r.count >= 16;
}

// Pieces by the shape alone: as many as keep a device busy, none shorter than kMostShare needs.
void cut(WsReduce& r, bool rows) {
  const int64_t groups = rows ? r.outputs : (r.outputs + WS_ITEMS - 1) / WS_ITEMS;
  const int64_t most = (r.count + kMostShare - 1) / kMostShare;
  const int64_t least_share = rows ? 1024 : 64;
  int64_t pieces = groups >= kWanted ? 1 : (kWanted + groups - 1) / (groups ? groups : 1);
  if (pieces > r.count / least_share) pieces = r.count / least_share;
  if (pieces < most) pieces = most;
  if (pieces < 1) pieces = 1;
  r.share = (r.count + pieces - 1) / pieces;
  r.pieces = r.share ? (r.count + r.share - 1) / r.share : 1;
  if (r.pieces < 1) r.pieces = 1;
}

DType dtype_of(Real real) {
  return real == Real::f64 ? DType::f64 : real == Real::f32 ? DType::f32 : DType::i64;
}

struct Shape2 {
  bool rows;
  int64_t groups;
};
Shape2 shape_of(WsReduce& r) {
  const bool rows = along_rows(r);
  cut(r, rows);
  return {rows, (rows ? r.outputs : (r.outputs + WS_ITEMS - 1) / WS_ITEMS) * r.pieces};
}

}  // namespace

void fold(const Call& call, const char* op, Real real, WsReduce r, const void* out, const void* x,
          const void* centers) {
  if (!r.outputs) return;
  const Shape2 shape = shape_of(r);
  const std::string name = std::string(shape.rows ? "fold_rows_" : "fold_columns_") + op;
  Tensor parts;
  if (r.pieces > 1)
    parts = Tensor::empty({r.pieces, r.outputs}, dtype_of(real), queue_of(call).device());
  Launch(call, {"reduce", name.c_str(), real})
      .tensor(r.pieces > 1 ? parts.data() : out)
      .tensor(x)
      .tensor(centers)
      .value(r)
      .run(shape.groups);
  if (r.pieces == 1) return;
  const std::string join = std::string("fold_pieces_") + op;
  Launch(call, {"reduce", join.c_str(), real})
      .tensor(out)
      .tensor(parts.data())
      .value(r)
      .run_items(r.outputs);
}

void fold_pieces(const Call& call, const char* op, WsReduce r, const void* out, const void* parts) {
  const std::string join = std::string("fold_pieces_") + op;
  Launch(call, {"reduce", join.c_str(), Real::f32})
      .tensor(out)
      .tensor(parts)
      .value(r)
      .run_items(r.outputs);
}

namespace {

template <const char* const& op>
void reduce(const Call& call) {
  const View &out = call.out[0], &x = call.in[0];
  fold(call, op, real_of(x.dtype), plan(out, x), out.data, x.data, nullptr);
}

constexpr const char *kSum = "sum", *kProd = "prod", *kMean = "mean", *kAmax = "amax",
                     *kAmin = "amin", *kAny = "any", *kAll = "all";
constexpr Kernel kSumKernel = reduce<kSum>, kProdKernel = reduce<kProd>,
                 kMeanKernel = reduce<kMean>, kAmaxKernel = reduce<kAmax>,
                 kAminKernel = reduce<kAmin>, kAnyKernel = reduce<kAny>, kAllKernel = reduce<kAll>;
WS_DEVICE_KERNEL("reduce_sum", kSumKernel, takes_dtypes);
WS_DEVICE_KERNEL("reduce_prod", kProdKernel, takes_dtypes);
WS_DEVICE_KERNEL("reduce_mean", kMeanKernel, takes_dtypes);
WS_DEVICE_KERNEL("reduce_amax", kAmaxKernel, takes_dtypes);
WS_DEVICE_KERNEL("reduce_amin", kAminKernel, takes_dtypes);
WS_DEVICE_KERNEL("reduce_any", kAnyKernel, takes_dtypes);
WS_DEVICE_KERNEL("reduce_all", kAllKernel, takes_dtypes);

void var(const Call& call) {
  const View &out = call.out[0], &x = call.in[0];
  WsReduce r = plan(out, x);
  if (!r.outputs) return;
  const Real real = real_of(x.dtype);
  const Tensor means = Tensor::empty({r.outputs}, dtype_of(real), queue_of(call).device());
  WsReduce first = r;
  first.out_type = static_cast<int>(dtype_of(real));
  fold(call, "mean", real, first, means.data(), x.data, nullptr);
  r.correction = call.attr[0].i;
  fold(call, "var", real, r, out.data, x.data, means.data());
}
WS_DEVICE_KERNEL("reduce_var", var, takes_dtypes);

void sum_squares(const Call& call) {
  const View& x = call.in[0];
  WsReduce r{};
  r.outputs = r.pieces = 1, r.count = count_of(x);
  r.type = type_of(x), r.out_type = type_of(call.out[0]);
  for (int d = 0; d < x.dims; ++d)
    add(r.reduced_n, r.reduced_step, r.reduced_dims, x.shape[d], x.strides[d]);
  fold(call, "squares", Real::f64, r, call.out[0].data, x.data, nullptr);
}
WS_DEVICE_KERNEL("sum_squares", sum_squares, takes_dtypes);

// out [N], in [M, N].
void column_sum(const Call& call) {
  const View &out = call.out[0], &x = call.in[0];
  WsReduce r{};
  r.outputs = x.shape[1], r.count = x.shape[0], r.pieces = 1;
  add(r.kept_n, r.kept_step, r.kept_dims, x.shape[1], x.strides[1]);
  add(r.reduced_n, r.reduced_step, r.reduced_dims, x.shape[0], x.strides[0]);
  r.type = type_of(x), r.out_type = type_of(out);
  fold(call, "sum", real_of(x.dtype), r, out.data, x.data, nullptr);
}
bool takes_column_sum(const Call& call) { return takes_dtypes(call) && is_packed(call.out[0]); }
WS_DEVICE_KERNEL("column_sum", column_sum, takes_column_sum);

void arg(const Call& call, const std::string& op) {
  const View &out = call.out[0], &x = call.in[0];
  WsReduce r = plan(out, x);
  if (!r.outputs) return;
  const Real real = real_of(x.dtype);
  const Shape2 shape = shape_of(r);
  Tensor values, places;
  if (r.pieces > 1) {
    const Device device = queue_of(call).device();
    values = Tensor::empty({r.pieces, r.outputs}, dtype_of(real), device);
    places = Tensor::empty({r.pieces, r.outputs}, DType::i64, device);
  }
  const auto at = [](const Tensor& t) { return t.defined() ? t.data() : nullptr; };
  const std::string name = op + (shape.rows ? "_rows" : "_columns"), join = op + "_pieces";
  Launch(call, {"reduce_arg", name.c_str(), real})
      .tensor(out)
      .tensor(x)
      .tensor(at(values))
      .tensor(at(places))
      .value(r)
      .run(shape.groups);
  if (r.pieces > 1)
    Launch(call, {"reduce_arg", join.c_str(), real})
        .tensor(out)
        .tensor(at(values))
        .tensor(at(places))
        .value(r)
        .run_items(r.outputs);
}
void argmax(const Call& call) { arg(call, "argmax"); }
WS_DEVICE_KERNEL("reduce_argmax", argmax, takes_dtypes);
void argmin(const Call& call) { arg(call, "argmin"); }
WS_DEVICE_KERNEL("reduce_argmin", argmin, takes_dtypes);

}  // namespace
}  // namespace wellspring::device
