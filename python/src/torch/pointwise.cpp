// One call of an elementwise operator of PyTorch; which there are stands in pointwise_table.cpp.

#include "python/src/torch/pointwise.h"

#include <algorithm>
#include <cmath>

namespace wellspring::python {
namespace {

constexpr int kMost = PointwiseOp::kMostOperands;

int category(DType t) { return is_float(t) ? 2 : t == DType::boolean ? 0 : 1; }

DType promote(DType a, DType b) {
  if (a == b) return a;
  if (category(a) != category(b)) return category(a) > category(b) ? a : b;
  if (category(a) == 2) return size_of(a) == size_of(b) ? DType::f32 : std::min(a, b);
  if (size_of(a) == size_of(b)) return DType::i16;
  return size_of(a) > size_of(b) ? a : b;
}

// One call: operands as tensors or numbers, broadcast shape, dtypes.
struct Problem {
  const TensorArg* tensors[kMost] = {};
  Scalar numbers[kMost] = {0, 0, 0};
  int64_t sizes[kMaxDims], strides[kMaxDims];  // the latter when the operands disagree
  int dims = 0, count = 0;
  DType promoted{}, result{}, compute{};
};

bool broadcast(Problem& p) {
  for (int i = 0; i < p.count; ++i)
    if (p.tensors[i]) p.dims = std::max(p.dims, p.tensors[i]->dims);
  std::fill(p.sizes, p.sizes + p.dims, 1);
  for (int i = 0; i < p.count; ++i) {
    const TensorArg* t = p.tensors[i];
    if (!t) continue;
    for (int d = 0; d < t->dims; ++d) {
      int64_t& ours = p.sizes[p.dims - t->dims + d];
      if (ours == 1)
        ours = t->sizes[d];
      else if (t->sizes[d] != 1 && t->sizes[d] != ours)
        return false;
    }
  }
  return true;
}

// The result's dtype as PyTorch has it; false where its default dtype would have a say.
bool promoted(const PointwiseOp& op, Problem& p, Integers integers) {
  std::optional<DType> rank[3];
  for (int i = 0; i < p.count; ++i) {
    if (op.masks >> i & 1) continue;
    const TensorArg* t = p.tensors[i];
    const DType type = t                                            ? dtype_of(*t)
                       : p.numbers[i].kind == Scalar::Kind::boolean ? DType::boolean
                       : p.numbers[i].kind == Scalar::Kind::integer ? DType::i64
                                                                    : DType::f32;
    std::optional<DType>& r = rank[!t || t->number ? 2 : t->dims == 0 ? 1 : 0];
    r = r ? promote(*r, type) : type;
  }
  std::optional<DType> result = rank[0];
  for (int i : {1, 2})
    if (rank[i] && (!result || category(*rank[i]) > category(*result))) {
      if (i == 2) return false;
      result = rank[i];
    }
  if (!result) return false;
  p.promoted = *result;
  const int c = category(p.promoted);
  if (c == 2 && op.result == PointwiseResult::integer) return false;
  if (c == 0 && integers != Integers::all) return false;
  if (c == 1 && integers == Integers::none) return false;
  p.result = op.result == PointwiseResult::truth ? DType::boolean : p.promoted;
  p.compute = p.promoted == DType::f64 ? DType::f64 : c == 2 ? DType::f32 : DType::i64;
  return true;
}

Attr attr_of(const PointwiseOp& op, const Problem& p, const Scalar& s) {
  return p.compute == DType::i64
             ? Attr(op.wraps ? wrapped(s.i, p.promoted) : s.i)
             : Attr(s.kind == Scalar::Kind::real ? s.f : static_cast<double>(s.i));
}

// Whether dimension a lies outside of b in memory: the first operand decides that has strides
// there. 1, -1, or 0 when none does.
int outer(const Problem& p, int a, int b) {
  for (int i = 0; i < p.count; ++i) {
    const TensorArg* t = p.tensors[i];
    if (!t) continue;
    const int missing = p.dims - t->dims;
    const auto stride = [&](int d) {
      if (d < missing || (t->sizes[d - missing] == 1 && p.sizes[d] != 1)) return int64_t{0};
      return t->strides[d - missing];
    };
    const int64_t x = stride(a), y = stride(b);
    if (x == 0 || y == 0) continue;
    if (x != y) return x > y ? 1 : -1;
    if (p.sizes[a] > p.sizes[b]) return 1;
  }
  return 0;
}

// Strides of a new result in the order of memory that its operands have, as TensorIterator finds
// it: an insertion sort that moves a dimension outwards only past what is surely inside of it.
void ordered_strides(Problem& p) {
  int order[kMaxDims];  // from the innermost
  for (int d = 0; d < p.dims; ++d) order[d] = p.dims - 1 - d;
  for (int i = 1; i < p.dims; ++i)
    for (int moved = i, at = i - 1; at >= 0; --at) {
      const int c = outer(p, order[at], order[moved]);
      if (c > 0) {
        std::swap(order[at], order[moved]);
        moved = at;
      } else if (c < 0) {
        break;
      }
    }
  int64_t next = 1;
  for (int d = 0; d < p.dims; ++d) p.strides[order[d]] = next, next *= p.sizes[order[d]];
}

enum class Order : uint8_t { row_major, same, mixed };

// How the operands lie in memory: row-major; all with the strides of `first`, which are dense; or
// in several ways.
Order order_of(const Problem& p, const TensorArg** first) {
  *first = nullptr;
  bool row_major = true;
  for (int i = 0; i < p.count; ++i) {
    const TensorArg* t = p.tensors[i];
    if (!t) continue;
    int64_t before = INT64_MAX;
    for (int d = 0; d < t->dims; ++d) {
      if (t->sizes[d] == 1 || t->strides[d] == 0) continue;
      row_major = row_major && t->strides[d] <= before;
      before = t->strides[d];
    }
    if (!*first && t->dims == p.dims) *first = t;
  }
  if (row_major) return Order::row_major;
  if (!*first) return Order::mixed;
  for (int i = 0; i < p.count; ++i) {
    const TensorArg* t = p.tensors[i];
    if (!t || t->dims == 0) continue;
    if (t->dims != p.dims || !std::equal(p.sizes, p.sizes + p.dims, t->sizes) ||
        !std::equal((*first)->strides, (*first)->strides + p.dims, t->strides))
      return Order::mixed;
  }
  int64_t span = 1;  // dense: as many places as elements
  for (int d = 0; d < p.dims; ++d) span += (p.sizes[d] - 1) * (*first)->strides[d];
  return span == (*first)->numel ? Order::same : Order::mixed;
}

// The target of a call in place or with out=.
bool fits(const Problem& p, const TensorArg& target, bool in_place) {
  if (!takes(target) || target.dims != p.dims ||
      !std::equal(p.sizes, p.sizes + p.dims, target.sizes))
    return false;
  if (in_place ? category(dtype_of(target)) < category(p.result) : dtype_of(target) != p.result)
    return false;
  for (int d = 0; d < target.dims; ++d)
    if (target.strides[d] == 0 && target.sizes[d] > 1) return false;
  for (int i = 0; i < p.count; ++i)
    if (p.tensors[i] && may_overlap(*p.tensors[i], target) && !same_place(*p.tensors[i], target))
      return false;
  return true;
}

bool read_operand(const Arg& a, Problem& p, int i) {
  if (a.kind == Kind::tensor) {
    p.tensors[i] = taken(a);
    return p.tensors[i] != nullptr;
  }
  if (a.kind == Kind::real)
    p.numbers[i] = Scalar(a.f);
  else if (a.kind == Kind::integer)
    p.numbers[i] = Scalar(a.i);
  else if (a.kind == Kind::boolean)
    p.numbers[i] = Scalar(a.i != 0);
  else
    return false;
  return true;
}

// The operator that the call means, and where its operands are; null when it is not ours.
const PointwiseOp* chosen(const Frame& f, const PointwiseUse& use, std::array<int8_t, kMost>* at) {
  *at = use.operands;
  if (use.zero >= 0 && number_of(f.args[use.zero]) != 0.0) return nullptr;
  if (use.text >= 0) {
    const Arg& a = f.args[use.text];
    if (a.kind == Kind::text && use.alternative && std::string_view(a.text) == use.alternative_text)
      return use.alternative;
    return a.kind == Kind::none || (a.kind == Kind::text && std::string_view(a.text) == "none")
               ? use.op
               : nullptr;
  }
  for (int i : {1, 2})  // clamp without one of its bounds
    if (use.without[i - 1] && is_none(f.args[use.operands[i]])) {
      (*at)[1] = use.operands[3 - i];
      return use.without[i - 1];
    }
  if (use.exponent >= 0) {
    const Arg& a = f.args[use.exponent];
    const auto e = a.kind == Kind::tensor ? std::nullopt : number_of(a);
    for (const auto& [value, op] : use.powers)
      if (op && e == value) return op;
  }
  return use.op;
}

}  // namespace

bool pointwise(Frame& f) {
  const PointwiseUse& use = *static_cast<const PointwiseUse*>(f.data);
  std::array<int8_t, kMost> at;
  const PointwiseOp* op = chosen(f, use, &at);
  if (!op) return false;
  Problem p;
  p.count = op->operands;
  for (int i = 0; i < p.count; ++i)
    if (!read_operand(f.args[at[i]], p, i)) return false;
  for (int i = 0; i < p.count; ++i)
    if ((op->masks >> i & 1) && (!p.tensors[i] || p.tensors[i]->type != torch_bridge::kBool))
      return false;
  if (!broadcast(p) || !promoted(*op, p, use.integers)) return false;
  for (int i = 0; op->wraps && i < p.count; ++i)  // a 0-d tensor of wider integers
    if (const TensorArg* t = p.tensors[i];
        t && p.compute == DType::i64 && size_of(dtype_of(*t)) > size_of(p.promoted))
      return false;
  static_assert(PointwiseOp::kMostParams + kMost == 6);
  std::array<Attr, 7> attrs{Attr(p.compute), Attr(0), Attr(0), Attr(0), Attr(0), Attr(0), Attr(0)};
  int n = 1;
  for (int i = 0; i < op->params; ++i) {
    Scalar number = op->defaults[i];
    if (const int8_t place = use.parameters[i]; place >= 0 && !is_none(f.args[place])) {
      Problem one;
      if (f.args[place].kind == Kind::tensor || !read_operand(f.args[place], one, 0)) return false;
      number = one.numbers[0];
      if (number.kind == Scalar::Kind::real && category(p.promoted) < 2) return false;
    }
    if (p.compute == DType::i64 && number.kind == Scalar::Kind::real)
      number = Scalar(static_cast<int64_t>(number.f));
    attrs[n++] = attr_of(*op, p, number);
  }
  for (int i = 0; i < p.count; ++i)
    attrs[n++] = p.tensors[i] ? Attr(0) : attr_of(*op, p, p.numbers[i]);
  TensorArg out;
  if (use.out >= 0) {
    const TensorArg* target = taken(f.args[use.out]);
    if (!target || !fits(p, *target, use.in_place)) return false;
    out = *target;
    give_back(f, use.out);
  } else {
    const TensorArg* first;
    const Order order = use.row_major ? Order::row_major : order_of(p, &first);
    if (order == Order::mixed) ordered_strides(p);
    out = make_result(f, {p.sizes, static_cast<size_t>(p.dims)}, torch_type(p.result),
                      order == Order::row_major ? nullptr
                      : order == Order::same    ? first->strides
                                                : p.strides);
  }
  if (out.numel == 0) return true;
  View ins[kMost];
  for (int i = 0; i < p.count; ++i)
    if (p.tensors[i]) ins[i] = view_of(*p.tensors[i]);
  const View to = view_of(out);
  run_kernel(op->kernel, {&to, 1}, {ins, static_cast<size_t>(p.count)},
             {attrs.data(), static_cast<size_t>(n)});
  return true;
}

bool pointwise_backward(Frame& f) {
  const PointwiseBackward& use = *static_cast<const PointwiseBackward*>(f.data);
  const PointwiseOp* op = use.op;
  if (use.text >= 0 && f.args[use.text].kind == Kind::text &&
      std::string_view(f.args[use.text].text) == "tanh")
    op = use.tanh_form;
  if (use.zero >= 0 && number_of(f.args[use.zero]) != 0.0) return false;
  const TensorArg *grad = taken(f.args[0]), *value = taken(f.args[use.value]);
  if (!grad || !value || grad->type != value->type || !is_float(dtype_of(*grad)) ||
      !same_sizes(*grad, *value))
    return false;
  Problem p;
  p.count = 2, p.tensors[0] = grad, p.tensors[1] = value, p.dims = grad->dims;
  std::copy(grad->sizes, grad->sizes + grad->dims, p.sizes);
  constexpr size_t kOthers = 1 + 3;  // the dtype, and a value for each input
  std::array<Attr, kOthers + PointwiseOp::kMostParams> attrs{
      Attr(dtype_of(*grad) == DType::f64 ? DType::f64 : DType::f32),
      Attr(0.0),
      Attr(0.0),
      Attr(0.0),
      Attr(0.0),
      Attr(0.0),
      Attr(0.0)};
  for (int i = 0; i < op->params; ++i) {
    const auto number = use.parameters[i] < 0 || is_none(f.args[use.parameters[i]])
                            ? std::optional(op->defaults[i])
                            : number_of(f.args[use.parameters[i]]);
    if (!number) return false;
    attrs[1 + i] = *number;
  }
  const TensorArg* first;
  const Order order = order_of(p, &first);
  if (order == Order::mixed) return false;  // PyTorch knows which of the two decides
  const TensorArg out = make_result(f, {grad->sizes, static_cast<size_t>(grad->dims)}, grad->type,
                                    order == Order::same ? first->strides : nullptr);
  if (out.numel == 0) return true;
  const View v = view_of(*value), to = view_of(out),
             ins[] = {view_of(*grad), use.from_result ? View{} : v, use.from_result ? v : View{}};
  run_kernel(op->backward, {&to, 1}, ins,
             {attrs.data(), kOthers + static_cast<size_t>(op->params)});
  return true;
}

}  // namespace wellspring::python
