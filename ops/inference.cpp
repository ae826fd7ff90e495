// Checks of what a server needs. N rows, K columns, H heads, Hk key heads, D head width, P pages.

#include "ops/inference.h"

#include "base/error.h"
#include "base/index_error.h"
#include "base/text.h"
#include "ops/packed.h"
#include "tensor/dispatch.h"

namespace wellspring {
namespace {

constexpr int64_t kBlockRows = 16, kGroup = 32, kPage = 64;  // as the kernels have them

KernelRef kLinear("linear_quantized"), kEmbedding("embedding_quantized"), kPut("kv_put"), kAttention("attention_paged"),
    kQuantize("quantize_weight");

std::string text_of(const Tensor& t) { return t.defined() ? t.text() : "undefined"; }

void need(bool right, const char* op, const char* operand, const std::string& wanted, const Tensor& t) {
  if (!right) throw Error(Fault::usage, str(op, ": ", operand, " must be packed ", wanted, ", but is ", text_of(t)));
}

bool is(const Tensor& t, DType dtype, const Shape& shape) {
  return t.defined() && t.dtype() == dtype && t.shape() == shape && t.is_contiguous();
}

void check_weight(const char* op, const Tensor& values, const Tensor& scales, const Tensor& levels, int64_t rows,
                  int64_t width) {
  const int64_t blocks = (rows + kBlockRows - 1) / kBlockRows, groups = (width + kGroup - 1) / kGroup;
  if (rows < 0) throw Error(Fault::usage, str(op, ": a weight of ", rows, " rows"));
  if (values.defined() && values.dtype() == DType::bf16) {
    const Shape words{blocks, (width + 3) / 4 * 2, 32};
    need(is(values, DType::bf16, words), op, "values", str("bf16", words.text(), " for a weight [", rows, ", ", width, "]"), values);
    if (scales.defined() || levels.defined()) throw Error(Fault::usage, str(op, ": values of 16 bits have no scales and levels"));
    return;
  }
  const Shape wanted{blocks, groups, levels.defined() ? 256 : 512};
  need(is(values, DType::u8, wanted), op, "values", str("u8", wanted.text(), " for a weight [", rows, ", ", width, "]"), values);
  const bool by_row = !levels.defined() && is(scales, DType::f32, {blocks, kBlockRows});
  need(by_row || is(scales, DType::f16, {blocks, groups, kBlockRows}), op, "scales",
       str("f16", Shape{blocks, groups, kBlockRows}.text(), levels.defined() ? "" : str(" or f32", Shape{blocks, kBlockRows}.text())),
       scales);
  need(!levels.defined() || is(levels, DType::i8, {16}), op, "levels", "i8[16]", levels);
}

// Packed from the second dimension on: pages may be any distance apart.
bool is_pages(const Tensor& t, DType dtype, const Shape& shape) {
  if (!t.defined() || t.dtype() != dtype || !(t.shape() == shape)) return false;
  int64_t packed = 1;
  for (int d = t.dims() - 1; d > 0; packed *= t.size(d--))
    if (t.size(d) > 1 && t.strides()[d] != packed) return false;
  return t.size(0) < 2 || t.strides()[0] >= packed;
}

struct Pages {
  int64_t count, Hk, D;
};

Pages check_pages(const char* op, const Tensor& keys, const Tensor& values, const Tensor& key_scales,
                  const Tensor& value_scales) {
  const bool known = keys.defined() && keys.dims() == 4 && keys.size(3) == kPage && is_pages(keys, keys.dtype(), keys.shape()) &&
                     (keys.dtype() == DType::f32 || keys.dtype() == DType::bf16 || keys.dtype() == DType::i8);
  need(known, op, "keys", "f32, bf16 or i8 [pages, heads, width, 64]", keys);
  const Pages p{keys.size(0), keys.size(1), keys.size(2)};
  need(is_pages(values, keys.dtype(), {p.count, p.Hk, kPage, p.D}), op, "values",
       str(name_of(keys.dtype()), Shape{p.count, p.Hk, kPage, p.D}.text()), values);
  for (const Tensor* s : {&key_scales, &value_scales}) {
    const char* name = s == &key_scales ? "key_scales" : "value_scales";
    if (keys.dtype() == DType::i8)
      need(is_pages(*s, DType::f32, {p.count, p.Hk, kPage}), op, name, str("f32", Shape{p.count, p.Hk, kPage}.text()), *s);
    else if (s->defined())
      throw Error(Fault::usage, str(op, ": ", name, " belong to i8 alone, not to ", name_of(keys.dtype())));
  }
  return p;
}

void check_heads(const char* op, const char* operand, const Tensor& t, int64_t D) {
  check_f32_or_bf16(op, operand, t);
  if (t.dims() != 3 || t.size(2) != D || (D > 1 && t.strides()[2] != 1))
    throw Error(Fault::usage, str(op, ": ", operand, " must be [rows, heads, ", D, "] with a last stride of 1, but is ", t.text()));
}

void check_segments(const Tensor& q, const Pages& p, const Tensor& tables, const Tensor& segments) {
  constexpr const char* op = "attention_paged";
  need(segments.defined() && segments.dims() == 2 && is(segments, DType::i32, {segments.size(0), 3}), op, "segments",
       "i32 [sequences, 3]", segments);
  const int64_t sequences = segments.size(0);
  need(tables.defined() && tables.dims() == 2 && is(tables, DType::i32, {sequences, tables.size(1)}), op, "tables",
       str("i32 [", sequences, ", most pages]"), tables);
  const std::vector<int32_t> s = segments.to_vector<int32_t>(), t = tables.to_vector<int32_t>();
  const int64_t most = tables.size(1);
  for (int64_t i = 0; i < sequences; ++i) {
    const int64_t row = s[3 * i], rows = s[3 * i + 1], position = s[3 * i + 2];
    if (row < 0 || rows < 0 || position < 0 || row + rows > q.size(0))
      throw Error(Fault::usage, str(op, ": segment ", i, " has rows ", row, " to ", row + rows, " of ", q.size(0),
                                    ", from position ", position));
    const int64_t used = rows ? (position + rows + kPage - 1) / kPage : 0;
    if (used > most)
      throw Error(Fault::usage, str(op, ": sequence ", i, " needs ", used, " pages; its table has ", most));
    for (int64_t j = 0; j < used; ++j)
      if (t[i * most + j] < 0 || t[i * most + j] >= p.count)
        throw IndexError(str(op, ": page ", t[i * most + j], " of sequence ", i, " is not one of ", p.count));
  }
}

}  // namespace

Tensor linear_quantized(const Tensor& x, const Tensor& values, const Tensor& scales, const Tensor& levels, int64_t rows,
                        const Tensor& bias, std::optional<DType> dtype, bool swiglu) {
  constexpr const char* op = "linear_quantized";
  check_f32_or_bf16(op, "x", x);
  if (x.dims() < 1) throw Error(Fault::usage, str(op, ": x must have a row, but is ", x.text()));
  const DType type = dtype.value_or(x.dtype());
  if (type != DType::f32 && type != DType::bf16)
    throw Error(Fault::usage, str(op, ": the result is f32 or bf16, not ", name_of(type)));
  check_weight(op, values, scales, levels, rows, x.size(x.dims() - 1));
  need(!bias.defined() || is(bias, DType::f32, {rows}), op, "bias", str("f32[", rows, "]"), bias);
  if (swiglu && rows % (2 * kBlockRows))
    throw Error(Fault::usage, str(op, ": with swiglu the rows must be a multiple of ", 2 * kBlockRows, ", not ", rows));
  Shape shape = x.shape();
  shape[shape.size() - 1] = swiglu ? rows / 2 : rows;
  const Tensor y = Tensor::empty(shape, type, x.device());
  launch(kLinear, {y}, {packed(x), values, scales, levels, bias}, {swiglu});
  return y;
}

Tensor embedding_quantized(const Tensor& values, const Tensor& scales, const Tensor& levels, int64_t rows, int64_t width,
                           const Tensor& ids) {
  constexpr const char* op = "embedding_quantized";
  check_weight(op, values, scales, levels, rows, width);
  if (!ids.defined() || ids.dtype() != DType::i32 || ids.dims() == kMaxDims)
    throw Error(Fault::usage, str(op, ": ids must be i32, not ", text_of(ids)));
  for (const int32_t id : ids.to_vector<int32_t>())
    if (id < 0 || id >= rows) throw IndexError(str(op, ": id ", id, " is outside the table of ", rows, " rows"));
  Shape shape = ids.shape();
  shape.push_back(width);
  const Tensor y = Tensor::empty(shape, DType::f32, values.device());
  launch(kEmbedding, {y}, {values, scales, levels, packed(ids)});
  return y;
}

std::tuple<Tensor, Tensor> quantize_weight(const Tensor& w, const Tensor& levels, bool by_row, const Tensor& feedback) {
  constexpr const char* op = "quantize_weight";
  check_f32_or_bf16(op, "w", w);
  if (w.dims() != 2) throw Error(Fault::usage, str(op, ": w must be [rows, columns], but is ", w.text()));
  need(!levels.defined() || is(levels, DType::i8, {16}), op, "levels", "i8[16]", levels);
  if (levels.defined()) {
    if (by_row) throw Error(Fault::usage, str(op, ": 4 bits have a scale for each group"));
    const int8_t* l = levels.data_as<int8_t>();
    for (int i = 0; i < 16; ++i)
      if (l[i] == -128 || (i && l[i] <= l[i - 1])) throw Error(Fault::usage, str(op, ": levels must rise, from -127"));
  }
  if (feedback.defined() && !levels.defined()) throw Error(Fault::usage, str(op, ": feedback belongs to 4 bits alone"));
  const Shape square{w.size(1), w.size(1)};
  need(!feedback.defined() || is(feedback, DType::f32, square), op, "feedback", str("f32", square.text()), feedback);
  const int64_t blocks = (w.size(0) + kBlockRows - 1) / kBlockRows, groups = (w.size(1) + kGroup - 1) / kGroup;
  const Tensor values = Tensor::empty({blocks, groups, levels.defined() ? 256 : 512}, DType::u8, w.device());
  const Tensor scales = by_row ? Tensor::empty({blocks, kBlockRows}, DType::f32, w.device())
                               : Tensor::empty({blocks, groups, kBlockRows}, DType::f16, w.device());
  launch(kQuantize, {values, scales}, {packed(w), levels, feedback});
  return {values, scales};
}

Tensor interleave_weight(const Tensor& w) {
  constexpr const char* op = "interleave_weight";
  check_f32_or_bf16(op, "w", w);
  if (w.dims() != 2) throw Error(Fault::usage, str(op, ": w must be [rows, columns], but is ", w.text()));
  const Tensor values = Tensor::empty({(w.size(0) + kBlockRows - 1) / kBlockRows, (w.size(1) + 3) / 4 * 2, 32}, DType::bf16, w.device());
  launch(kQuantize, {values, Tensor()}, {packed(w), Tensor(), Tensor()});
  return values;
}

void kv_put_(const Tensor& keys, const Tensor& values, const Tensor& key_scales, const Tensor& value_scales,
             const Tensor& k, const Tensor& v, const Tensor& slots) {
  constexpr const char* op = "kv_put_";
  const Pages p = check_pages(op, keys, values, key_scales, value_scales);
  check_heads(op, "k", k, p.D), check_heads(op, "v", v, p.D);
  if (k.size(1) != p.Hk || !(v.shape() == k.shape()))
    throw Error(Fault::usage, str(op, ": k ", k.text(), " and v ", v.text(), " do not fit pages of ", p.Hk, " heads"));
  need(is(slots, DType::i32, {k.size(0)}), op, "slots", str("i32[", k.size(0), "]"), slots);
  for (const int32_t s : slots.to_vector<int32_t>())
    if (s < 0 || s >= p.count * kPage) throw IndexError(str(op, ": slot ", s, " is outside ", p.count, " pages"));
  launch(kPut, {keys, values, key_scales, value_scales}, {k, v, slots});
  for (const Tensor* t : {&keys, &values, &key_scales, &value_scales})
    if (t->defined()) t->changed();
}

Tensor attention_paged(const Tensor& q, const Tensor& keys, const Tensor& values, const Tensor& key_scales,
                       const Tensor& value_scales, const Tensor& tables, const Tensor& segments, double scale) {
  constexpr const char* op = "attention_paged";
  const Pages p = check_pages(op, keys, values, key_scales, value_scales);
  check_heads(op, "q", q, p.D);
  if (p.Hk == 0 ? q.size(1) != 0 : q.size(1) % p.Hk)
    throw Error(Fault::usage, str(op, ": ", q.size(1), " heads of q cannot share ", p.Hk, " key heads"));
  check_segments(q, p, tables, segments);
  const Tensor y = Tensor::empty(q.shape(), q.dtype(), q.device());
  launch(kAttention, {y}, {q, keys, values, key_scales, value_scales, tables, segments}, {scale});
  return y;
}

}  // namespace wellspring
