// Any layout and dtype of an elementwise operator, brought to rows of its compute type. The
// elements are cut into chunks, in the order of the output's memory: a chunk lies in one row when
// rows are long, or goes over several short ones. An operand is read where it lies when it can be,
// else gathered and converted into a buffer that stays in the L1 cache.

#include "chips/cpu/kernels/pointwise.h"

#include "chips/cpu/kernels/pointwise_runs.h"
#include "chips/cpu/kernels/stream.h"

WS_KERNELS_BEGIN

constexpr int64_t kChunk = 1024;            // elements of a buffer
constexpr int64_t kLongChunk = 8 * kChunk;  // when nothing needs a buffer
constexpr int64_t kTile = 32 * kChunk;      // elements of a parallel tile
constexpr int64_t kLongRow = 64;            // shorter rows are gathered together
constexpr int kMostTensors = kPointwiseSlots + 3;

// The iteration: up to kMaxDims dimensions shared by all tensors, merged where they can be.
struct Space {
  int dims = 0;
  int64_t shape[kMaxDims];
  int64_t total = 1;
};

// One tensor in that space.
struct Place {
  char* data = nullptr;  // null: absent
  DType dtype{};
  int64_t size = 0;  // bytes of an element
  int64_t strides[kMaxDims] = {};
  bool linear = false;  // the elements lie one after another, in the space's order
  bool single = false;  // one element for all
};

struct Plan {
  const Pointwise* kernel;
  const PointwiseResultLoop* loops;  // of its results
  RowType type;
  int64_t element, number;  // bytes of an element that rows read, and of a repeated one
  DType native, native_out;
  Space space;
  Place place[kMostTensors];  // ins, then outs
  bool stream[3] = {};
  uint32_t slots = 0;  // that wanted results read
  bool by_rows = false;
  bool whole_rows = false;  // a chunk is a row, read and written where it lies
  int64_t chunk, chunks_per_row, chunks, chunks_per_tile;
  alignas(64) char numbers[kPointwiseSlots][64];  // repeated, for slots that are numbers
  alignas(64) char one[64];  // ones, for places past the end: a division by them does no harm
};

void refuse(const Plan& plan, const char* why) { cpu::kernel_refuses(plan.kernel->name, why); }

// The strides of a view in the space of `shape`, from the right; 0 where it is repeated.
void align_strides(Place& place, const View& view, const View& shape) {
  place.data = static_cast<char*>(view.data);
  place.dtype = view.dtype, place.size = static_cast<int64_t>(size_of(view.dtype));
  const int skipped = shape.dims - view.dims;
  for (int d = 0; d < shape.dims; ++d)
    place.strides[d] = d < skipped || view.shape[d - skipped] == 1 ? 0 : view.strides[d - skipped];
}

int64_t magnitude(int64_t v) { return v < 0 ? -v : v; }

// Dimensions of extent 1 go, the others are ordered by the strides of `lead` (an output).
void order_dimensions(Plan& plan, const View& shape, const Place& lead, int tensors) {
  int order[kMaxDims], n = 0;
  for (int d = 0; d < shape.dims; ++d) {
    if (shape.shape[d] == 1) continue;
    int at = n++;
    for (; at > 0 && magnitude(lead.strides[order[at - 1]]) < magnitude(lead.strides[d]); --at)
      order[at] = order[at - 1];
    order[at] = d;
  }
  plan.space.dims = n;
  for (int i = 0; i < n; ++i) plan.space.shape[i] = shape.shape[order[i]];
  for (int t = 0; t < tensors; ++t) {
    if (!plan.place[t].data) continue;
    int64_t moved[kMaxDims];
    for (int i = 0; i < n; ++i) moved[i] = plan.place[t].strides[order[i]];
    for (int i = 0; i < n; ++i) plan.place[t].strides[i] = moved[i];
  }
}

// Neighbouring dimensions that every tensor passes through in one stride become one.
void merge_dimensions(Plan& plan, int tensors) {
  Space& s = plan.space;
  int last = 0;
  for (int d = 1; d < s.dims; ++d) {
    bool one = true;
    for (int t = 0; t < tensors; ++t)
      if (const Place& p = plan.place[t]; p.data)
        one &= p.strides[last] == p.strides[d] * s.shape[d];
    if (one)
      s.shape[last] *= s.shape[d];
    else
      s.shape[++last] = s.shape[d];
    for (int t = 0; t < tensors; ++t) plan.place[t].strides[last] = plan.place[t].strides[d];
  }
  if (s.dims == 0) {  // one element
    s.shape[0] = 1;
    for (int t = 0; t < tensors; ++t) plan.place[t].strides[0] = t < plan.kernel->ins ? 0 : 1;
  }
  s.dims = s.dims ? last + 1 : 1;
  for (int d = 0; d < s.dims; ++d) s.total *= s.shape[d];
  for (int t = 0; t < tensors; ++t) {
    Place& p = plan.place[t];
    int64_t packed = 1;
    p.linear = p.single = true;
    for (int d = s.dims - 1; d >= 0; packed *= s.shape[d--])
      p.linear &= p.strides[d] == packed, p.single &= p.strides[d] == 0;
  }
}

// Fills a vector with one value.
template <class U>
WS_INLINE void repeat_word(char* to, const void* value) {
  U word;
  std::memcpy(&word, value, sizeof word);
  for (size_t at = 0; at < 64; at += sizeof word) std::memcpy(to + at, &word, sizeof word);
}
void repeat(char* to, const void* value, int64_t size) {
  if (size == 4) return repeat_word<uint32_t>(to, value);
  if (size == 8) return repeat_word<uint64_t>(to, value);
  if (size == 2) return repeat_word<uint16_t>(to, value);
  repeat_word<uint8_t>(to, value);
}
void repeat_number(const Plan& plan, char* to, const Attr& number) {
  const float f = static_cast<float>(number.f);
  if (plan.type == kRowF32 || plan.type == kRowBf16)
    repeat(to, &f, 4);
  else
    repeat(to, &number, plan.number);  // of an integer the lower bytes
}

// In what run_pointwise() reads and writes runs: 0 f32, 1 f64, 2 i64.
int run_type(RowType t) { return t == kRowF64 ? 1 : t == kRowF32 || t == kRowBf16 ? 0 : 2; }

void set_type(Plan& plan, RowType type, DType native) {
  constexpr int8_t kElement[kRowTypes] = {4, 8, 8, 2, 4, 2, 1};
  plan.type = type, plan.native = native;
  plan.native_out = plan.kernel->truth ? DType::boolean : native;
  plan.element = kElement[type], plan.number = type == kRowBf16 ? 4 : kElement[type];
}

// Whether all elements of a row are one.
bool repeats(const Plan& plan, const Place& p) {
  return p.single || (plan.by_rows && p.strides[plan.space.dims - 1] == 0);
}

// Rows of bf16 and of narrow integers, where the kernel has them and all operands lie as they need.
void choose_narrow(Plan& plan, const Call& call) {
  const Pointwise& k = *plan.kernel;
  RowType type = plan.type;
  const Place* first = nullptr;
  const auto near = [&](const Place& p, int64_t least) {
    const int64_t stride = p.strides[plan.space.dims - 1];
    return p.linear || (plan.by_rows && stride >= least && stride <= 1);
  };
  for (int t = 0; t < k.ins; ++t) {
    const Place& p = plan.place[t];
    if (!p.data) continue;
    if (type == kRowF32 && repeats(plan, p)) continue;  // read as f32, of any dtype
    if (first && p.dtype != first->dtype) return;
    if (!near(p, 0) && !p.single) return;
    first = &p;
  }
  if (!first) return;
  if (type == kRowF32 && first->dtype == DType::bf16) type = kRowBf16;
  if (type == kRowI64 && first->dtype == DType::i32) type = kRowI32;
  if (type == kRowI64 && first->dtype == DType::i16) type = kRowI16;
  if (type == kRowI64 && (first->dtype == DType::i8 || first->dtype == DType::u8)) type = kRowI8;
  if (type == plan.type) return;
  for (int o = 0; o < k.outs; ++o) {
    const Place& p = plan.place[k.ins + o];
    if (!p.data) continue;
    if (!plan.loops[o].row[type] || !near(p, 1)) return;
    if (p.dtype != (k.truth ? DType::boolean : first->dtype)) return;
  }
  if (type == kRowI32)
    for (int a = 1; a < call.attrs; ++a)
      if (call.attr[a].i != static_cast<int32_t>(call.attr[a].i)) return;
  set_type(plan, type, first->dtype);
}

// Whether a result is stored past the caches: large, and not the place of an input.
bool streams(const Plan& plan, const Place& out) {
  if (plan.space.total * out.size < kStreamBytes || out.strides[plan.space.dims - 1] != 1)
    return false;
  for (int t = 0; t < plan.kernel->ins; ++t)
    if (plan.place[t].data == out.data) return false;
  return true;
}

void cut(Plan& plan) {
  const Pointwise& k = *plan.kernel;
  const Space& s = plan.space;
  bool buffers = false;
  for (int t = 0; t < k.ins; ++t)
    buffers |= (plan.slots >> t & 1) && plan.place[t].data && plan.place[t].dtype != plan.native &&
               !repeats(plan, plan.place[t]);
  for (int o = 0; o < k.outs; ++o) {
    const Place& p = plan.place[k.ins + o];
    plan.stream[o] = p.data && streams(plan, p);
    buffers |= p.data && (p.dtype != plan.native_out || plan.stream[o]);
  }
  const int64_t row = s.shape[s.dims - 1];
  for (int t = 0; t < k.ins + k.outs; ++t)
    if (const Place& p = plan.place[t]; p.data)
      buffers |= plan.by_rows ? magnitude(p.strides[s.dims - 1]) > 1 || p.strides[s.dims - 1] < 0
                              : !p.linear;
  plan.chunk = buffers ? kChunk : kLongChunk;
  const int64_t length = plan.by_rows ? row : s.total;
  plan.chunks_per_row = (length + plan.chunk - 1) / plan.chunk;
  plan.chunks = plan.chunks_per_row * (s.total / length);
  plan.whole_rows = plan.by_rows && s.dims > 1 && !buffers && plan.chunks_per_row == 1;
  const int64_t usual = length < plan.chunk ? length : plan.chunk;
  plan.chunks_per_tile = kTile / usual ? kTile / usual : 1;
}

// Whether the last input is the number for which the kernel has a loop of its own.
bool is_special(const Plan& plan, const Call& call) {
  const Pointwise& k = *plan.kernel;
  if (!k.special.row[plan.type] || call.in[k.ins - 1].defined()) return false;
  const Attr& number = call.attr[call.attrs - 1];
  return (run_type(plan.type) == 2 ? static_cast<double>(number.i) : number.f) == k.number;
}

void make_plan(Plan& plan, const Call& call) {
  const Pointwise& k = *plan.kernel;
  const int tensors = k.ins + k.outs;
  if (call.ins != k.ins || call.outs != k.outs || call.attrs != 1 + k.params + k.ins)
    refuse(plan, "called with another number of tensors or attributes");
  const DType compute = static_cast<DType>(call.attr[0].i);
  set_type(plan,
           compute == DType::f32   ? kRowF32
           : compute == DType::f64 ? kRowF64
                                   : kRowI64,
           compute);
  plan.loops = is_special(plan, call) ? &k.special : k.loops;
  int lead = -1;
  for (int o = k.outs - 1; o >= 0; --o) {
    if (!call.out[o].defined()) continue;
    lead = o, plan.slots |= plan.loops[o].slots;
    if (!plan.loops[o].row[plan.type]) refuse(plan, "does not compute in this dtype");
  }
  if (lead < 0) refuse(plan, "called without a result");
  for (int t = 0; t < tensors; ++t) {
    const View& v = t < k.ins ? call.in[t] : call.out[t - k.ins];
    if (v.defined() && (t >= k.ins || (plan.slots >> t & 1)))
      align_strides(plan.place[t], v, call.out[lead]);
  }
  order_dimensions(plan, call.out[lead], plan.place[k.ins + lead], tensors);
  merge_dimensions(plan, tensors);
  if (!plan.space.total) return;
  plan.by_rows = plan.space.dims == 1 || plan.space.shape[plan.space.dims - 1] >= kLongRow;
  choose_narrow(plan, call);
  for (int t = 0; t < k.ins; ++t)
    if (!plan.place[t].data) repeat_number(plan, plan.numbers[t], call.attr[1 + k.params + t]);
  for (int p = 0; p < k.params; ++p) repeat_number(plan, plan.numbers[k.ins + p], call.attr[1 + p]);
  const uint16_t half = 0x3f80;
  if (plan.type == kRowBf16)
    repeat(plan.one, &half, 2);
  else
    repeat_number(plan, plan.one, run_type(plan.type) == 2 ? Attr(1) : Attr(1.0));
  cut(plan);
}

// Where a chunk lies: its first element's index in each dimension, and how many follow.
struct Chunk {
  int64_t index[kMaxDims];
  int64_t linear, n;
};

Chunk chunk_at(const Plan& plan, int64_t number) {
  const Space& s = plan.space;
  Chunk c;
  const int64_t row = plan.by_rows ? s.shape[s.dims - 1] : s.total;
  const int64_t in_row = number % plan.chunks_per_row * plan.chunk;
  c.n = row - in_row < plan.chunk ? row - in_row : plan.chunk;
  c.linear = number / plan.chunks_per_row * row + in_row;
  int64_t rest = c.linear;
  for (int d = s.dims - 1; d >= 0; rest /= s.shape[d--]) c.index[d] = rest % s.shape[d];
  return c;
}

// The chunk after that one.
void advance(const Plan& plan, Chunk& c, int64_t number) {
  if (!plan.by_rows) {
    c = chunk_at(plan, number);
    return;
  }
  const Space& s = plan.space;
  const int last = s.dims - 1;
  c.linear += c.n;
  if ((c.index[last] += c.n) == s.shape[last]) {
    c.index[last] = 0;
    for (int d = last - 1; d >= 0 && ++c.index[d] == s.shape[d]; --d) c.index[d] = 0;
  }
  const int64_t left = s.shape[last] - c.index[last];
  c.n = left < plan.chunk ? left : plan.chunk;
}

char* address(const Plan& plan, const Place& p, const int64_t* index) {
  int64_t at = 0;
  for (int d = 0; d < plan.space.dims; ++d) at += index[d] * p.strides[d];
  return p.data + at * p.size;
}

// Calls run(address, first element of the chunk, number of elements) for each piece of a chunk that
// lies in one row.
template <class F>
WS_INLINE void for_pieces(const Plan& plan, const Place& p, const Chunk& c, F&& run) {
  const Space& s = plan.space;
  const int last = s.dims - 1;
  int64_t index[kMaxDims];
  for (int d = 0; d <= last; ++d) index[d] = c.index[d];
  for (int64_t done = 0; done < c.n;) {
    const int64_t left = s.shape[last] - index[last], n = c.n - done < left ? c.n - done : left;
    run(address(plan, p, index), done, n);
    done += n, index[last] = 0;
    for (int d = last - 1; d >= 0 && ++index[d] == s.shape[d]; --d) index[d] = 0;
  }
}

// Buffers of one thread.
struct Buffers {
  alignas(64) char slot[kPointwiseSlots][kChunk * 8];
  alignas(64) char out[kChunk * 8], narrow[kChunk * 8];
  alignas(64) char one[kPointwiseSlots][64];
  alignas(64) char tail[kPointwiseSlots][64], tail_out[64];
};

// Fills a vector with an element, as rows of the plan read it.
void repeat_element(const Plan& plan, const Place& p, const char* from, char* to) {
  int64_t value = 0;
  if (p.dtype != plan.native || plan.type == kRowBf16) {
    read_run(run_type(plan.type), &value, from, p.dtype, 0, 1);
    from = reinterpret_cast<const char*>(&value);
  }
  repeat(to, from, plan.number);
}

// Points a slot of the row at the chunk's values.
void fetch(const Plan& plan, const Chunk& c, int slot, Buffers& b, PointwiseRow& row) {
  const Place* p = slot < plan.kernel->ins && plan.place[slot].data ? &plan.place[slot] : nullptr;
  row.step[slot] = 0;
  if (!p) {
    row.in[slot] = plan.numbers[slot];
    return;
  }
  const int last = plan.space.dims - 1;
  const int64_t stride = p->strides[last];
  if (repeats(plan, *p)) {
    repeat_element(plan, *p, address(plan, *p, c.index), b.one[slot]);
    row.in[slot] = b.one[slot];
    return;
  }
  row.step[slot] = 1;
  if (p->dtype == plan.native && (p->linear || (plan.by_rows && stride == 1))) {
    row.in[slot] = p->linear ? p->data + c.linear * p->size : address(plan, *p, c.index);
    return;
  }
  row.in[slot] = b.slot[slot];
  for_pieces(plan, *p, c, [&](const char* from, int64_t first, int64_t n) {
    read_run(run_type(plan.type), b.slot[slot] + first * plan.element, from, p->dtype, stride, n);
  });
}

// Whole vectors where the numbers lie; what is left over goes through padded buffers.
void compute(const Plan& plan, const PointwiseResultLoop& loop, PointwiseRow& given, int64_t n,
             Buffers& b) {
  const int64_t lanes = kVectorBytes / plan.element, whole = n / lanes * lanes, left = n - whole;
  const int64_t out_size = plan.kernel->truth ? 1 : plan.element;
  given.n = whole;
  if (whole) loop.row[plan.type](given);
  if (!left) return;
  PointwiseRow row = given;
  for (int s = 0; s < kPointwiseSlots; ++s) {
    if (!(loop.slots >> s & 1) || !row.step[s]) continue;
    std::memcpy(b.tail[s], plan.one, sizeof b.tail[s]);
    std::memcpy(b.tail[s], static_cast<const char*>(row.in[s]) + whole * plan.element,
                left * plan.element);
    row.in[s] = b.tail[s];
  }
  char* out = static_cast<char*>(row.out);
  row.n = lanes, row.out = b.tail_out;
  loop.row[plan.type](row);
  std::memcpy(out + whole * out_size, b.tail_out, left * out_size);
}

void result(const Plan& plan, const Chunk& c, int o, PointwiseRow& row, Buffers& b) {
  const Place& p = plan.place[plan.kernel->ins + o];
  const int64_t stride = p.strides[plan.space.dims - 1];
  const bool near = p.linear || (plan.by_rows && stride == 1);
  const PointwiseResultLoop& loop = plan.loops[o];
  char* there = p.linear ? p.data + c.linear * p.size : address(plan, p, c.index);
  if (near && p.dtype == plan.native_out && !plan.stream[o]) {
    row.out = there;
    return compute(plan, loop, row, c.n, b);
  }
  row.out = b.out;
  compute(plan, loop, row, c.n, b);
  const int from = plan.kernel->truth ? 3 : run_type(plan.type);
  if (near && plan.stream[o]) {
    const bool same = p.dtype == plan.native_out;
    if (!same) write_run(from, b.out, b.narrow, p.dtype, 1, c.n);
    return stream_copy(there, same ? b.out : b.narrow, c.n * p.size);
  }
  const int64_t size = plan.kernel->truth ? 1 : plan.element;
  for_pieces(plan, p, c, [&](char* to, int64_t first, int64_t n) {
    write_run(from, b.out + first * size, to, p.dtype, stride, n);
  });
}

// Whole rows where they lie: between two of them only addresses change.
void run_whole_rows(const Plan& plan, int64_t first, int64_t end, Buffers& b) {
  const Pointwise& k = *plan.kernel;
  const int last = plan.space.dims - 1;
  Chunk c = chunk_at(plan, first);
  PointwiseRow row{};
  char* at[kMostTensors] = {};
  for (int s = 0; s < kPointwiseSlots; ++s)
    if (plan.slots >> s & 1) fetch(plan, c, s, b, row);
  int moving[kMostTensors], count = 0;
  for (int t = 0; t < k.ins + k.outs; ++t) {
    const Place& p = plan.place[t];
    if (p.data && !(t < k.ins && p.single)) moving[count++] = t;
  }
  for (int64_t i = first; i < end; ++i) {
    const bool anew = i == first || c.index[last - 1] == 0;
    for (int m = 0; m < count; ++m) {
      const int t = moving[m];
      const Place& p = plan.place[t];
      at[t] = anew ? address(plan, p, c.index) : at[t] + p.strides[last - 1] * p.size;
      if (t >= k.ins) continue;
      if (row.step[t])
        row.in[t] = at[t];
      else
        repeat_element(plan, p, at[t], b.one[t]);
    }
    for (int o = 0; o < k.outs; ++o) {
      if (!plan.place[k.ins + o].data) continue;
      row.out = at[k.ins + o];
      compute(plan, plan.loops[o], row, c.n, b);
    }
    for (int d = last - 1; d >= 0 && ++c.index[d] == plan.space.shape[d]; --d) c.index[d] = 0;
  }
}

WS_KERNELS_END

WS_SHARED_BEGIN

void run_pointwise(const Call& call, const Pointwise& kernel) {
  Plan plan;
  plan.kernel = &kernel;
  make_plan(plan, call);
  if (plan.space.total == 0) return;
  const int64_t tiles = (plan.chunks + plan.chunks_per_tile - 1) / plan.chunks_per_tile;
  parallel_for(tiles, [&](int64_t tile) {
    Buffers buffers;
    const int64_t first = tile * plan.chunks_per_tile, after = first + plan.chunks_per_tile,
                  end = after < plan.chunks ? after : plan.chunks;
    if (plan.whole_rows) return run_whole_rows(plan, first, end, buffers);
    Chunk chunk = chunk_at(plan, first);
    PointwiseRow row{};
    for (int64_t i = first; i < end; advance(plan, chunk, ++i)) {
      for (int s = 0; s < kPointwiseSlots; ++s)
        if (plan.slots >> s & 1) fetch(plan, chunk, s, buffers, row);
      for (int o = 0; o < kernel.outs; ++o)
        if (plan.place[kernel.ins + o].data) result(plan, chunk, o, row, buffers);
    }
    stream_done();
  });
}

WS_SHARED_END
