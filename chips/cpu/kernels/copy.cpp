// copy: any strides, any conversion. Three ways, by geometry alone: rows whose elements follow each
// other on both sides, exchanged strides in blocks, and plain strided rows. fill is a copy of one
// element; accumulate adds.

#include "chips/cpu/kernels/convert.h"
#include "chips/cpu/kernels/copy_plan.h"
#include "chips/cpu/kernels/indices.h"
#include "chips/cpu/kernels/stream.h"
#include "chips/cpu/kernels/transpose.h"

WS_KERNELS_BEGIN

constexpr int64_t kChunk = 512;  // elements that are converted at once

// What turns a row of `in` into a row of `out`.
struct Converter {
  enum class Kind { raw1, raw2, raw4, raw8, f32, f64, i64 } kind;
  LoadRow<float> load_f32 = nullptr;
  StoreRow<float> store_f32 = nullptr;
  LoadRow<double> load_f64 = nullptr;
  StoreRow<double> store_f64 = nullptr;
  LoadRow<int64_t> load_i64 = nullptr;
  StoreRow<int64_t> store_i64 = nullptr;
  bool direct = false;  // out holds wide values itself
};

bool fits_f32(DType t) { return t == DType::f32 || t == DType::bf16 || t == DType::f16; }

Converter make_converter(DType to, DType from) {
  Converter c;
  if (to == from) {
    switch (size_of(to)) {
      case 1:
        c.kind = Converter::Kind::raw1;
        break;
      case 2:
        c.kind = Converter::Kind::raw2;
        break;
      case 4:
        c.kind = Converter::Kind::raw4;
        break;
      default:
        c.kind = Converter::Kind::raw8;
    }
    return c;
  }
  if (is_complex(to) || is_complex(from))
    cpu::kernel_refuses("copy", "conversion of complex values");
  if (fits_f32(to) && fits_f32(from)) {
    c.kind = Converter::Kind::f32, c.direct = to == DType::f32;
    c.load_f32 = loader<float>(from), c.store_f32 = storer<float>(to);
  } else if (!is_float(to) && !is_float(from)) {
    c.kind = Converter::Kind::i64, c.direct = to == DType::i64;
    c.load_i64 = loader<int64_t>(from), c.store_i64 = storer<int64_t>(to);
  } else {
    c.kind = Converter::Kind::f64, c.direct = to == DType::f64;
    c.load_f64 = loader<double>(from), c.store_f64 = storer<double>(to);
  }
  return c;
}

template <class U>
WS_INLINE void move_row(char* out, int64_t o, const char* in, int64_t i, int64_t n) {
  U* y = reinterpret_cast<U*>(out);
  const U* x = reinterpret_cast<const U*>(in);
  if (o == 1 && i == 1) {
    std::memcpy(y, x, static_cast<size_t>(n) * sizeof(U));
  } else if (o == 1 && i == 0) {
    const U v = *x;
    for (int64_t k = 0; k < n; ++k) y[k] = v;
  } else if (o == 1 && i == -1) {  // a known step, so that vectors are turned around
    for (int64_t k = 0; k < n; ++k) y[k] = x[-k];
  } else if (o == 1) {
    for (int64_t k = 0; k < n; ++k) y[k] = x[k * i];
  } else {
    for (int64_t k = 0; k < n; ++k) y[k * o] = x[k * i];
  }
}

template <class W>
WS_INLINE void convert(LoadRow<W> load_from, StoreRow<W> store_to, bool direct, char* out,
                       int64_t o, const char* in, int64_t i, int64_t n) {
  alignas(64) W buffer[kChunk];
  W* target = direct && o == 1 ? reinterpret_cast<W*>(out) : buffer;
  const W* v = load_from(in, i, n, target);
  if (target == buffer) store_to(out, o, n, v);
}

// At most kChunk elements, unless raw.
WS_INLINE void copy_row(const Converter& c, char* out, int64_t o, const char* in, int64_t i,
                        int64_t n) {
  switch (c.kind) {
    case Converter::Kind::raw1:
      return move_row<uint8_t>(out, o, in, i, n);
    case Converter::Kind::raw2:
      return move_row<uint16_t>(out, o, in, i, n);
    case Converter::Kind::raw4:
      return move_row<uint32_t>(out, o, in, i, n);
    case Converter::Kind::raw8:
      return move_row<uint64_t>(out, o, in, i, n);
    case Converter::Kind::f32:
      return convert<float>(c.load_f32, c.store_f32, c.direct, out, o, in, i, n);
    case Converter::Kind::f64:
      return convert<double>(c.load_f64, c.store_f64, c.direct, out, o, in, i, n);
    case Converter::Kind::i64:
      return convert<int64_t>(c.load_i64, c.store_i64, c.direct, out, o, in, i, n);
  }
}

// Each of m elements `times` times.
template <class U>
WS_INLINE void spread(char* out, const char* in, int64_t i, int64_t m, int64_t times) {
  U* y = reinterpret_cast<U*>(out);
  const U* x = reinterpret_cast<const U*>(in);
  if (times == 2 && i == 1) {
    for (int64_t k = 0; k < m; ++k) y[2 * k] = y[2 * k + 1] = x[k];
  } else if (times == 4 && i == 1) {
    for (int64_t k = 0; k < m; ++k) y[4 * k] = y[4 * k + 1] = y[4 * k + 2] = y[4 * k + 3] = x[k];
  } else {
    for (int64_t k = 0; k < m; ++k, y += times)
      for (int64_t r = 0; r < times; ++r) y[r] = x[k * i];
  }
}

// Whether the last dimension repeats each element of the one before a few times.
bool spreads(const PairPlan& p, const Converter& c) {
  const int last = p.dims - 1;
  return last > 0 && c.kind <= Converter::Kind::raw8 && p.i[last] == 0 && p.o[last] == 1 &&
         p.n[last] <= 16 && p.o[last - 1] == p.n[last];
}

template <class U>
void spread_rows(PairPlan p) {
  const int last = --p.dims;
  const int64_t times = p.n[last], i = p.i[last - 1];
  const bool streaming = p.count * p.out_size >= kStreamBytes;
  p.count /= times;
  for_each_row(
      p, streaming ? kChunk / times : INT64_MAX / 2,
      [&](char* y, const char* x, int64_t m) {
        if (!streaming) return spread<U>(y, x, i, m, times);
        alignas(64) char staged[kChunk * sizeof(U)];
        spread<U>(staged, x, i, m, times);
        stream_copy(y, staged, m * times * static_cast<int64_t>(sizeof(U)));
      },
      stream_done);
}

void copy_rows(const PairPlan& p, const Converter& c) {
  if (spreads(p, c))
    return with_size(static_cast<size_t>(p.out_size), [&]<class U>(U) { spread_rows<U>(p); });
  const int64_t o = p.o[p.dims - 1], i = p.i[p.dims - 1], n = p.n[p.dims - 1];
  const bool raw = c.kind <= Converter::Kind::raw8;
  const bool streaming = o == 1 && n * p.out_size >= 256 && p.count * p.out_size >= kStreamBytes;
  if (!streaming) {
    for_each_row(
        p, raw && o == 1 && i == 1 ? INT64_MAX / 2 : kChunk,
        [&](char* y, const char* x, int64_t k) { copy_row(c, y, o, x, i, k); }, [] {});
    return;
  }
  const auto row = [&](char* y, const char* x, int64_t k) {
    if (raw && i == 1) {
      stream_copy(y, x, k * p.out_size);
    } else {
      alignas(64) char staged[kChunk * 8];
      copy_row(c, staged, 1, x, i, k);
      stream_copy(y, staged, k * p.out_size);
    }
  };
  for_each_row(p, raw && i == 1 ? INT64_MAX / 2 : kChunk, row, stream_done);
}

// The dimension along which `in` has successive elements while `out` has them along the last; -1:
// none.
int exchanged(const PairPlan& p) {
  const int last = p.dims - 1;
  if (p.o[last] != 1 || p.i[last] == 1 || p.n[last] < 8) return -1;
  for (int k = 0; k < last; ++k)
    if (p.i[k] == 1 && p.n[k] >= 8) return k;
  return -1;
}

template <class U>
void copy_exchanged(PairPlan p, const Converter& c, int across) {
  constexpr int64_t kTileI = 1024 / sizeof(U), kTileJ = 1024 / sizeof(U);
  constexpr int64_t kRows = kBlockJ<U>;
  const int last = p.dims - 1;
  const int64_t ni = p.n[across], nj = p.n[last], out_ld = p.o[across], in_ld = p.i[last];
  // The other dimensions stay for the walk.
  for (int k = across; k + 1 < p.dims; ++k)
    p.n[k] = p.n[k + 1], p.o[k] = p.o[k + 1], p.i[k] = p.i[k + 1];
  const int outer = p.dims - 2;
  const int64_t ti = (ni + kTileI - 1) / kTileI, tj = (nj + kTileJ - 1) / kTileJ;
  const bool raw = c.kind <= Converter::Kind::raw8;
  bool streaming = p.count * p.out_size >= kStreamBytes && is_line(p.out);
  for (int k = 0; k < outer; ++k) streaming &= p.o[k] * p.out_size % 64 == 0;
  streaming &= out_ld * p.out_size % 64 == 0;
  parallel_for(p.count / (ni * nj) * ti * tj, [&](int64_t t) {
    const PairWalk w(p, outer, t / (ti * tj));
    const int64_t i = t / tj % ti * kTileI, j = t % tj * kTileJ;
    const int64_t wide = ni - i < kTileI ? ni - i : kTileI,
                  high = nj - j < kTileJ ? nj - j : kTileJ;
    U* out = reinterpret_cast<U*>(w.out) + i * out_ld + j;
    const char* in = w.in + (j * in_ld + i) * p.in_size;
    if (raw) {
      transpose_tile(out, out_ld, reinterpret_cast<const U*>(in), in_ld, wide, high, streaming);
    } else {
      alignas(64) U panel[kRows * kTileI];
      for (int64_t r = 0; r < high; r += kRows) {
        const int64_t rows = high - r < kRows ? high - r : kRows;
        for (int64_t k = 0; k < rows; ++k)
          for (int64_t x = 0; x < wide; x += kChunk)
            copy_row(c, reinterpret_cast<char*>(panel + k * kTileI + x), 1,
                     in + ((r + k) * in_ld + x) * p.in_size, 1,
                     wide - x < kChunk ? wide - x : kChunk);
        transpose_tile(out + r, out_ld, panel, kTileI, wide, rows, streaming);
      }
    }
    stream_done();
  }, Deal::in_turn);  // apart, lines of both threads push one another out of the caches
}

// The real (0) or imaginary (1) parts of complex values.
struct ComplexPart {
  View view;
  int64_t strides[kMaxDims];
  ComplexPart(const View& v, int part) : view(v) {
    for (int d = 0; d < v.dims; ++d) strides[d] = 2 * v.strides[d];
    view.data = static_cast<float*>(v.data) + part, view.dtype = DType::f32;
    view.strides = strides;
  }
  ComplexPart(const ComplexPart&) = delete;
};

void fill(const Call& call) {
  const View& to = call.out[0];
  if (is_complex(to.dtype)) {
    const ComplexPart real(to, 0), imaginary(to, 1);
    const Attr zero = 0.0;
    Call part = call;
    part.out = &real.view;
    fill(part);
    part.out = &imaginary.view, part.attr = &zero;
    return fill(part);
  }
  const StoreRow<double> put = storer<double>(to.dtype);
  alignas(8) char element[8];
  put(element, 1, 1, &call.attr[0].f);
  const PairPlan p = plan_pair(to, element, to.dtype, nullptr);
  if (p.count) copy_rows(p, make_converter(to.dtype, to.dtype));
}
WS_KERNEL("fill", fill)

void copy(const Call& call) {
  const View& to = call.out[0];
  const View& from = call.in[0];
  if (is_complex(to.dtype) && !is_complex(from.dtype)) {
    const ComplexPart real(to, 0), imaginary(to, 1);
    const Attr zero = 0.0;
    Call part = call;
    part.out = &real.view;
    copy(part);
    part.out = &imaginary.view, part.attr = &zero, part.attrs = 1;
    return fill(part);
  }
  const PairPlan p = plan_pair(to, from.data, from.dtype, from.strides);
  if (p.count == 0) return;
  const Converter c = make_converter(to.dtype, from.dtype);
  const int across = exchanged(p);
  if (across < 0) return copy_rows(p, c);
  switch (p.out_size) {
    case 1:
      return copy_exchanged<uint8_t>(p, c, across);
    case 2:
      return copy_exchanged<uint16_t>(p, c, across);
    case 4:
      return copy_exchanged<uint32_t>(p, c, across);
    default:
      return copy_exchanged<uint64_t>(p, c, across);
  }
}
WS_KERNEL("copy", copy)

template <class W>
void accumulate_as(const View& sum, const View& more) {
  const LoadRow<W> load_sum = loader<W>(sum.dtype), load_more = loader<W>(more.dtype);
  const StoreRow<W> put = storer<W>(sum.dtype);
  const PairPlan p = plan_pair(sum, more.data, more.dtype, more.strides);
  const int64_t o = p.o[p.dims - 1], i = p.i[p.dims - 1];
  for_each_row(
      p, kChunk,
      [&](char* y, const char* x, int64_t n) {
        alignas(64) W a[kChunk], b[kChunk];
        const W* u = load_sum(y, o, n, a);
        const W* v = load_more(x, i, n, b);
        for (int64_t k = 0; k < n; ++k) a[k] = u[k] + v[k];
        put(y, o, n, a);
      },
      [] {});
}

// out += in, for gradients.
void accumulate(const Call& call) {
  const View& sum = call.out[0];
  const View& more = call.in[0];
  if (is_complex(sum.dtype) && is_complex(more.dtype)) {
    for (int part : {0, 1})
      accumulate_as<float>(ComplexPart(sum, part).view, ComplexPart(more, part).view);
    return;
  }
  if (!is_float(sum.dtype) || !is_float(more.dtype))
    cpu::kernel_refuses("accumulate", "gradients are floating");
  if (sum.dtype == DType::f64 || more.dtype == DType::f64)
    accumulate_as<double>(sum, more);
  else
    accumulate_as<float>(sum, more);
}
WS_KERNEL("accumulate", accumulate)

WS_KERNELS_END
