// Checks, promotion, launch and derivative of every pointwise operator.

#include "ops/pointwise.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

#include "base/error.h"
#include "base/text.h"
#include "ops/out.h"
#include "ops/pointwise_call.h"
#include "ops/shape.h"
#include "tensor/autograd.h"

namespace wellspring {
namespace {

constexpr int kMost = PointwiseOp::kMostOperands;

[[noreturn]] void fail(const PointwiseOp& op, const std::string& why) {
  throw Error(Fault::usage, str(op.name, ": ", why));
}

// 0 bool, 1 integer, 2 floating.
int category(DType t) { return is_float(t) ? 2 : t == DType::boolean ? 0 : 1; }

// Of two tensors of the same rank in promotion.
DType promote(DType a, DType b) {
  if (a == b) return a;
  if (category(a) != category(b)) return category(a) > category(b) ? a : b;
  if (category(a) == 2) return size_of(a) == size_of(b) ? DType::f32 : std::min(a, b);
  if (size_of(a) == size_of(b)) return DType::i16;  // i8 with u8
  return size_of(a) > size_of(b) ? a : b;
}

// One call, checked: what both kernels need.
struct Problem {
  std::array<Tensor, kMost> tensors;  // undefined where the operand is a number
  Shape shape;
  DType promoted{}, result{}, compute{};
  Device device;
  std::vector<Attr> attrs;  // of the forward kernel
};

Shape broadcast(const PointwiseOp& op, const Problem& p) {
  Shape shape;
  for (const Tensor& t : p.tensors) {
    if (!t.defined()) continue;
    const Shape& s = t.shape();
    while (shape.size() < s.size()) {
      Shape longer{1};
      for (int64_t v : shape) longer.push_back(v);
      shape = longer;
    }
    for (int d = 1; d <= s.size(); ++d) {
      int64_t& ours = shape[shape.size() - d];
      const int64_t theirs = s[s.size() - d];
      if (ours == 1) ours = theirs;
      if (theirs == 1 || theirs == ours) continue;
      std::string shapes;
      for (const Tensor& o : p.tensors)
        if (o.defined()) shapes += (shapes.empty() ? "" : " and ") + o.shape().text();
      fail(op, str("shapes ", shapes, " do not broadcast: dimension -", d, " is ", ours, " and ",
                   theirs));
    }
  }
  return shape;
}

Attr number_attr(const PointwiseOp& op, const Problem& p, const Scalar& s) {
  if (p.compute != DType::i64) return Attr(s.f);
  if (s.kind == Scalar::Kind::real) {
    if (s.f != std::trunc(s.f) || std::abs(s.f) > 9e18)
      fail(op, str("the number ", s.f, " does not fit operands of dtype ", name_of(p.promoted)));
    return Attr(static_cast<int64_t>(s.f));
  }
  return Attr(op.wraps ? wrapped(s.i, p.promoted) : s.i);
}

Problem examine(const PointwiseOp& op, std::span<const Operand> operands,
                std::span<const double> params) {
  Problem p;
  std::vector<Operand> promoting;
  const Tensor* first = nullptr;
  for (int i = 0; i < op.operands; ++i) {
    const Operand& o = operands[i];
    const bool mask = op.masks >> i & 1;
    if (!mask) promoting.push_back(o);
    if (!o.tensor) continue;
    if (!o.tensor->defined()) fail(op, str("operand ", i, " is undefined"));
    if (is_complex(o.tensor->dtype()))
      fail(op, str("complex operands are not taken: ", o.tensor->text()));
    if (mask && o.tensor->dtype() != DType::boolean && o.tensor->dtype() != DType::u8)
      fail(op, str("operand ", i, " must be bool, but is ", o.tensor->text()));
    p.tensors[i] = *o.tensor;
    if (!first) first = o.tensor;
  }
  p.device = first->device();
  p.shape = broadcast(op, p);
  p.promoted = promoted_dtype(promoting);
  p.result = op.result == PointwiseResult::truth                               ? DType::boolean
             : op.result == PointwiseResult::floating && !is_float(p.promoted) ? DType::f32
                                                                               : p.promoted;
  if (op.result == PointwiseResult::integer && is_float(p.promoted))
    fail(op, str("operands are integers or bool, but promote to ", name_of(p.promoted)));
  const DType inside = op.result == PointwiseResult::floating ? p.result : p.promoted;
  p.compute = inside == DType::f64 ? DType::f64 : is_float(inside) ? DType::f32 : DType::i64;
  if (op.wraps && p.compute == DType::i64)
    for (Tensor& t : p.tensors)  // of a 0-d tensor, too
      if (t.defined() && size_of(t.dtype()) > size_of(p.promoted)) t = to(t, p.promoted);
  p.attrs.push_back(p.compute);
  for (double v : params) p.attrs.push_back(number_attr(op, p, v));
  for (int i = 0; i < op.operands; ++i)
    p.attrs.push_back(operands[i].tensor ? Attr(0) : number_attr(op, p, operands[i].number));
  return p;
}

void run(const PointwiseOp& op, const Problem& p, const Tensor& out) {
  if (out.numel() == 0) return;
  launch(op.kernel, std::span(&out, 1), std::span(p.tensors.data(), op.operands), p.attrs);
}

// What the backward pass keeps.
struct Kept {
  const PointwiseOp* op;
  Saved operands[kMost], result;
  Shape shapes[kMost], shape;
  DType dtypes[kMost] = {};
  std::vector<Attr> attrs;
};

Tensors gradients(const Kept& k, BackwardContext& c) {
  const PointwiseOp& op = *k.op;
  Tensors results(op.operands), outs(op.operands), ins(op.operands + 2);
  ins[0] = c.grad();
  uint32_t needs = 0;
  bool any = false;
  for (int i = 0; i < op.operands; ++i) {
    if (!(op.gradients >> i & 1) || !c.needs(i)) continue;
    if ((op.passes >> i & 1) && c.grad().dtype() == k.dtypes[i]) {
      results[i] = c.grad();
      continue;
    }
    results[i] = outs[i] = Tensor::empty(k.shape, k.dtypes[i], c.grad().device());
    needs |= op.needs[i], any = true;
  }
  if (any && k.shape.numel()) {
    for (int i = 0; i < op.operands; ++i)
      if (needs >> (1 + i) & 1) ins[1 + i] = c.saved(k.operands[i]);
    if (needs >> (1 + op.operands) & 1) ins.back() = c.saved(k.result);
    launch(op.backward, outs, ins, k.attrs);
  }
  for (int i = 0; i < op.operands; ++i)
    if (results[i].defined() && !(k.shapes[i] == k.shape))
      results[i] = sum_to(results[i], k.shapes[i]);
  return results;
}

// Keeps what the wanted gradients read. `keep` gives the tensor to save for an operand.
template <class F>
Kept keep_operands(const PointwiseOp& op, const Problem& p, F&& keep) {
  Kept k;
  k.op = &op, k.shape = p.shape;
  uint32_t needs = 0;
  for (int i = 0; i < op.operands; ++i) {
    const Tensor& t = p.tensors[i];
    if (!t.defined()) continue;
    k.shapes[i] = t.shape(), k.dtypes[i] = t.dtype();
    if (t.requires_grad()) needs |= op.needs[i];
  }
  for (int i = 0; i < op.operands; ++i)
    if (p.tensors[i].defined() && (needs >> (1 + i) & 1)) k.operands[i] = Saved(keep(p.tensors[i]));
  k.attrs = {p.compute == DType::f64 ? DType::f64 : DType::f32};
  k.attrs.insert(k.attrs.end(), p.attrs.begin() + 1, p.attrs.begin() + 1 + op.params);
  k.attrs.emplace_back(0.0);  // g
  k.attrs.insert(k.attrs.end(), p.attrs.begin() + 1 + op.params, p.attrs.end());
  k.attrs.emplace_back(0.0);  // the result
  return k;
}

bool reads_result(const PointwiseOp& op, const Problem& p) {
  for (int i = 0; i < op.operands; ++i)
    if (p.tensors[i].defined() && p.tensors[i].requires_grad() &&
        (op.needs[i] >> (1 + op.operands) & 1))
      return true;
  return false;
}

void put_on_tape(const PointwiseOp& op, const Problem& p, const Tensor& out, Kept kept) {
  if (reads_result(op, p)) kept.result = Saved(out);
  record(op.name, {p.tensors.begin(), p.tensors.begin() + op.operands}, {out},
         [kept = std::move(kept)](BackwardContext& c) { return gradients(kept, c); });
}

// Whether the operator, as called, has a gradient to record.
bool recorded(const PointwiseOp& op, const Problem& p) {
  if (op.result == PointwiseResult::truth || !is_float(p.result)) return false;
  if (!op.gradients) return false;
  return should_record(std::span(p.tensors.data(), op.operands));
}

// Refuses a target that overlaps an operand partly. Operands that may overlap it, interleaved in a
// way that is not examined, are replaced by copies.
void separate(const PointwiseOp& op, Problem& p, const Tensor& target) {
  for (Tensor& t : p.tensors) {
    check_overlap(op.name, target, t);
    if (overlap_of(target, t) == Overlap::apart) continue;
    const Tensor copy = Tensor::empty(t.shape(), t.dtype(), t.device());
    copy.copy_from(t);
    t = copy;
  }
}

}  // namespace

int64_t wrapped(int64_t number, DType dtype) {
  switch (dtype) {
    case DType::u8:
      return static_cast<uint8_t>(number);
    case DType::i8:
      return static_cast<int8_t>(number);
    case DType::i16:
      return static_cast<int16_t>(number);
    case DType::i32:
      return static_cast<int32_t>(number);
    default:
      return number;
  }
}

DType promoted_dtype(std::span<const Operand> operands) {
  std::optional<DType> rank[3];  // with dimensions, 0-d, numbers
  for (const Operand& o : operands) {
    const DType t = o.tensor                                 ? o.tensor->dtype()
                    : o.number.kind == Scalar::Kind::boolean ? DType::boolean
                    : o.number.kind == Scalar::Kind::integer ? DType::i64
                                                             : DType::f32;
    std::optional<DType>& r = rank[!o.tensor ? 2 : o.tensor->dims() == 0 ? 1 : 0];
    r = r ? promote(*r, t) : t;
  }
  std::optional<DType> result;
  for (const auto& r : rank)
    if (r && (!result || category(*r) > category(*result))) result = r;
  WS_CHECK(result, "promotion of no operands");
  return *result;
}

Tensor pointwise(const PointwiseOp& op, std::initializer_list<Operand> operands,
                 std::initializer_list<double> params) {
  const Problem p =
      examine(op, {operands.begin(), operands.size()}, {params.begin(), params.size()});
  const Tensor out = Tensor::empty(p.shape, p.result, p.device);
  run(op, p, out);
  if (recorded(op, p))
    put_on_tape(op, p, out, keep_operands(op, p, [](const Tensor& t) { return t; }));
  return out;
}

const Tensor& pointwise_in_place(const PointwiseOp& op, std::initializer_list<Operand> operands,
                                 std::initializer_list<double> params) {
  Problem p = examine(op, {operands.begin(), operands.size()}, {params.begin(), params.size()});
  const Tensor& target = *operands.begin()->tensor;
  check_target(op.name, target, p.result, p.device, "the tensor changed in place");
  if (!(target.shape() == p.shape))
    fail(op, str("the result is ", p.shape.text(), ", but the tensor changed in place is ",
                 target.text()));
  const bool on_tape = recorded(op, p);
  // Values that the derivative reads are copied before they are overwritten.
  std::optional<Kept> kept;
  if (on_tape)
    kept = keep_operands(op, p, [&](const Tensor& t) {
      if (t.storage() != target.storage()) return t;
      const Tensor copy = Tensor::empty(t.shape(), t.dtype(), t.device());
      copy.copy_from(t);
      return copy;
    });
  Problem apart = p;
  separate(op, apart, target);
  mark_in_place(op.name, target, on_tape);
  run(op, apart, target);
  if (on_tape) put_on_tape(op, p, target, std::move(*kept));
  return target;
}

const Tensor& pointwise_out(const PointwiseOp& op, const Tensor& out,
                            std::initializer_list<Operand> operands,
                            std::initializer_list<double> params) {
  Problem p = examine(op, {operands.begin(), operands.size()}, {params.begin(), params.size()});
  check_target(op.name, out, p.result, p.device);
  if (recorded(op, p))
    fail(op,
         "a result written to out has no gradient; use the plain form, or NoGrad "
         "(Python: with wellspring.no_grad())");
  mark_in_place(op.name, out, false);
  if (!(out.shape() == p.shape)) {
    for (const Tensor& t : p.tensors)
      if (t.defined() && t.storage() == out.storage() && out.numel())
        fail(op, str("the result is ", p.shape.text(), ", but out, which is an operand, too, is ",
                     out.text()));
    fit_shape(op.name, out, p.shape);
  }
  separate(op, p, out);
  run(op, p, out);
  return out;
}

}  // namespace wellspring
