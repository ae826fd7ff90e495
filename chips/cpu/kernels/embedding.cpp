// embedding: out {y [.., D]}, in {weight [V, D], ids [..]}: rows of the weight, converted.
// embedding_backward: out {grad f32 [V, D]}, in {dy [.., D], ids}, attr {accumulate}: the rows of
// dy added up by id. The ids are sorted by counting, so that each row of the table is written once,
// by one tile, in the order of the ids.

#include "chips/cpu/kernels/rows.h"
#include "chips/cpu/kernels/stream.h"

WS_KERNELS_BEGIN

struct Ids {
  const void* data;
  bool wide;
  int64_t operator[](int64_t i) const {
    return wide ? static_cast<const int64_t*>(data)[i] : static_cast<const int32_t*>(data)[i];
  }
};
inline Ids ids_of(const char* kernel, const View& v) {
  if (v.dtype != DType::i64 && v.dtype != DType::i32)
    cpu::kernel_refuses(kernel, "ids are i32 or i64");
  return {v.data, v.dtype == DType::i64};
}

void embedding(const Call& call) {
  const Rows y = packed_rows("embedding", call.out[0]),
             weight = packed_rows("embedding", call.in[0]);
  const Ids ids = ids_of("embedding", call.in[1]);
  const int64_t width = y.width;
  each_row(y.count, width, [&](int64_t row) {
    const int64_t id = ids[row];
    if (y.half == weight.half) {
      std::memcpy(y.data + row * y.bytes(), weight.data + id * y.bytes(),
                  static_cast<size_t>(y.bytes()));
    } else if (weight.half) {
      weight.read(id, y.floats(row));
    } else {
      y.finish(row, weight.floats(id));
    }
  });
}
WS_KERNEL("embedding", embedding)

// Where the places of each id stand in `order`: id v has order[start[v]] ... order[start[v + 1] -
// 1].
struct ById {
  int32_t *start, *order;
};
inline ById sort_by_id(const Ids& ids, int64_t count, int64_t rows) {
  auto* memory = static_cast<int32_t*>(
      cpu::scratch(0, static_cast<size_t>(rows + 2 + count) * sizeof(int32_t)));
  const ById by{memory, memory + rows + 2};
  std::memset(by.start, 0, static_cast<size_t>(rows + 2) * sizeof(int32_t));
  for (int64_t i = 0; i < count; ++i) ++by.start[ids[i] + 2];
  for (int64_t v = 0; v < rows; ++v) by.start[v + 2] += by.start[v + 1];
  // Filling moves start[v + 1] from the begin of v to its end, which is the begin of v + 1.
  for (int64_t i = 0; i < count; ++i) by.order[by.start[ids[i] + 1]++] = static_cast<int32_t>(i);
  return by;
}

WS_INLINE void add_row(const Rows& dy, int64_t row, float* to, bool fresh) {
  const auto add = [&](const auto* from) {
    each_vector(dy.width, [&](int64_t i, int n) {
      const vf v = load_n(from + i, n);
      store_n(to + i, fresh ? v : load_n(to + i, n) + v, n);
    });
  };
  dy.half ? add(dy.halves(row)) : add(dy.floats(row));
}

WS_INLINE void zero_row(float* to, int64_t width, bool past_caches) {
  if (!past_caches) {
    std::memset(to, 0, static_cast<size_t>(width) * sizeof(float));
    return;
  }
  alignas(64) const float zeros[kLanes] = {};
  for (int64_t i = 0; i < width; i += kLanes) put_line(to + i, zeros, true);
}

void embedding_backward(const Call& call) {
  const Rows grad = packed_rows("embedding_backward", call.out[0]);
  const Rows dy = packed_rows("embedding_backward", call.in[0]);
  const Ids ids = ids_of("embedding_backward", call.in[1]);
  const bool accumulate = call.attr[0].i != 0;
  if (grad.half) cpu::kernel_refuses("embedding_backward", "the gradient is f32");
  const int64_t width = grad.width;
  const bool past_caches =
      grad.count * width * 4 > kStreamBytes && width % kLanes == 0 && is_line(grad.data);
  const ById by = sort_by_id(ids, dy.width ? dy.count : 0, grad.count);
  const int64_t per = rows_per_tile(width);
  parallel_for(tiles_of(grad.count, per), [&](int64_t tile) {
    const int64_t last = (tile + 1) * per < grad.count ? (tile + 1) * per : grad.count;
    for (int64_t row = tile * per; row < last; ++row) {
      const int32_t begin = by.start[row], end = by.start[row + 1];
      for (int32_t i = begin; i < end; ++i)
        add_row(dy, by.order[i], grad.floats(row), i == begin && !accumulate);
      if (begin == end && !accumulate) zero_row(grad.floats(row), width, past_caches);
    }
    if (past_caches) stream_done();
  });
}
WS_KERNEL("embedding_backward", embedding_backward)

WS_KERNELS_END
