// embedding and picking by index; operands as in the CPU's sources of the same names.

#include "chips/device/device.h"

namespace wellspring::device {
namespace {

// out {y [.., D]}, in {weight [V, D], ids}.
void embedding(const Call& call) {
  const View &y = call.out[0], &weight = call.in[0], &ids = call.in[1];
  WsRows r{};
  r.rows = count_of(ids), r.n = weight.shape[1], r.inner = 1;
  r.types[0] = type_of(y), r.types[1] = type_of(weight), r.types[2] = type_of(ids);
  Launch(call, {"index", "embedding"})
      .tensor(y)
      .tensor(weight)
      .tensor(ids)
      .value(r)
      .run_items(r.rows * r.n);
}
WS_DEVICE_KERNEL("embedding", embedding, takes_dtypes);

// out {grad f32 [V, D]}, in {dy, ids}, attr {accumulate}.
void embedding_backward(const Call& call) {
  const View &grad = call.out[0], &dy = call.in[0], &ids = call.in[1];
  WsRows r{};
  r.rows = count_of(ids), r.n = grad.shape[1], r.inner = 1;
  r.types[0] = type_of(dy), r.types[1] = type_of(ids);
  if (!call.attr[0].i) {
    WsSpace space{};
    space.total = space.shape[0] = count_of(grad), space.dims = 1, space.linear = 1;
    space.types[0] = type_of(grad);
    const float zero = 0;
    Launch(call, {"copy", "fill_float"})
        .tensor(grad)
        .value(space)
        .value(zero)
        .run_items(space.total);
  }
  Launch(call, {"index", "embedding_backward"})
      .tensor(grad)
      .tensor(dy)
      .tensor(ids)
      .value(r)
      .run_items(r.n);
}
WS_DEVICE_KERNEL("embedding_backward", embedding_backward, takes_dtypes);

// Lines of `source` along dim. With an index of the source's shape, or 1-d along dim.
WsLines lines_of(const View& x, const View& index, const View& source, int dim, bool by_place) {
  WsLines l{};
  l.lines = 1, l.length = source.shape[dim];
  for (int d = 0; d < source.dims; ++d) {
    if (d == dim) continue;
    l.lines *= source.shape[d];
    if (source.shape[d] == 1) continue;
    l.n[l.dims] = source.shape[d];
    l.x_step[l.dims] = x.strides[d], l.source_step[l.dims] = source.strides[d];
    l.index_step[l.dims++] = by_place ? index.strides[d] : 0;
  }
  l.x_along = x.strides[dim], l.source_along = source.strides[dim];
  l.index_along = index.strides[by_place ? dim : 0];
  l.type = type_of(x), l.index_type = type_of(index);
  return l;
}

void pick(const Call& call, bool by_place) {
  const View &y = call.out[0], &x = call.in[0], &index = call.in[1];
  const WsLines l = lines_of(x, index, y, static_cast<int>(call.attr[0].i), by_place);
  const size_t size = size_of(x.dtype);
  const char* name = size == 1 ? "pick_1" : size == 2 ? "pick_2" : size == 4 ? "pick_4" : "pick_8";
  Launch(call, {"index", name})
      .tensor(y)
      .tensor(x)
      .tensor(index)
      .value(l)
      .run_items(l.lines * l.length);
}
void index_select(const Call& call) { pick(call, false); }
WS_DEVICE_KERNEL("index_select", index_select, nullptr);
void gather(const Call& call) { pick(call, true); }
WS_DEVICE_KERNEL("gather", gather, nullptr);

void add(const Call& call, bool by_place) {
  const View &x = call.out[0], &index = call.in[0], &source = call.in[1];
  const WsLines l = lines_of(x, index, source, static_cast<int>(call.attr[0].i), by_place);
  Launch(call, {"index", x.dtype == DType::f64 ? "add_double" : "add_float"})
      .tensor(x)
      .tensor(index)
      .tensor(source)
      .value(l)
      .run_items(l.lines);
}
bool takes_add(const Call& call) {
  return takes_dtypes(call) && is_float(call.out[0].dtype) && call.out[0].dtype == call.in[1].dtype;
}
void index_add(const Call& call) { add(call, false); }
WS_DEVICE_KERNEL("index_add", index_add, takes_add);
void scatter_add(const Call& call) { add(call, true); }
WS_DEVICE_KERNEL("scatter_add", scatter_add, takes_add);

}  // namespace
}  // namespace wellspring::device
