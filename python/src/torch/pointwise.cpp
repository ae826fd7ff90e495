// PyTorch's elementwise operators: those of ops/schema/pointwise.yaml that have its name, and their
// derivatives.

#include <algorithm>
#include <array>
#include <cmath>
#include <memory>
#include <string_view>

#include "ops/pointwise_call.h"
#include "python/src/torch/use.h"

namespace wellspring::python {
namespace {

constexpr int kMost = PointwiseOp::kMostOperands;
enum class Integers : uint8_t { none, numbers, all };  // all: bool too

// Where a call of PyTorch has an operator's operands.
struct Use {
  const PointwiseOp* op;
  const PointwiseOp* tanh_form;        // of gelu, chosen by an argument
  std::array<int8_t, kMost> operands;  // arguments
  int8_t parameter = -1, out = -1, text = -1;
  Integers integers = Integers::none;
};

const PointwiseOp* find(std::string_view name) {
  for (const PointwiseOp* op : pointwise_operators())
    if (op->name == name) return op;
  return nullptr;
}

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
  int64_t sizes[kMaxDims];
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
  if (c == 0 && integers != Integers::all) return false;
  if (c == 1 && integers == Integers::none) return false;
  p.result = op.result == PointwiseResult::truth ? DType::boolean : p.promoted;
  p.compute = p.promoted == DType::f64 ? DType::f64 : c == 2 ? DType::f32 : DType::i64;
  return true;
}

Attr attr_of(const Problem& p, const Scalar& s) {
  return p.compute == DType::i64
             ? Attr(s.i)
             : Attr(s.kind == Scalar::Kind::real ? s.f : static_cast<double>(s.i));
}

// Strides of a new result as TensorIterator chooses them, where that is easy to say: row-major, or
// those of the operands when all that have the result's shape agree on a dense order.
bool result_strides(const Problem& p, const int64_t** strides) {
  *strides = nullptr;
  const TensorArg* first = nullptr;
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
    if (!first && t->dims == p.dims) first = t;
  }
  if (row_major) return true;
  if (!first) return false;
  for (int i = 0; i < p.count; ++i) {
    const TensorArg* t = p.tensors[i];
    if (!t || t->dims == 0) continue;
    if (t->dims != p.dims || !std::equal(p.sizes, p.sizes + p.dims, t->sizes) ||
        !std::equal(first->strides, first->strides + p.dims, t->strides))
      return false;
  }
  int64_t span = 1;  // dense: as many places as elements
  for (int d = 0; d < p.dims; ++d) span += (p.sizes[d] - 1) * first->strides[d];
  if (span != first->numel) return false;
  *strides = first->strides;
  return true;
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

bool pointwise(Frame& f) {
  const Use& use = *static_cast<const Use*>(f.data);
  const PointwiseOp* op = use.op;
  if (use.text >= 0) {
    const Arg& a = f.args[use.text];
    if (a.kind != Kind::text) return false;
    if (std::string_view(a.text) == "tanh") op = use.tanh_form;
  }
  Problem p;
  p.count = op->operands;
  for (int i = 0; i < p.count; ++i)
    if (!read_operand(f.args[use.operands[i]], p, i)) return false;
  for (int i = 0; i < p.count; ++i)
    if ((op->masks >> i & 1) && (!p.tensors[i] || p.tensors[i]->type != torch_bridge::kBool))
      return false;
  if (!broadcast(p) || !promoted(*op, p, use.integers)) return false;
  std::array<Attr, 2 + kMost> attrs{Attr(p.compute), Attr(0), Attr(0), Attr(0), Attr(0)};
  int n = 1;
  if (op->params) {
    Scalar number = op->defaults[0];
    if (use.parameter >= 0) {
      Problem one;
      if (f.args[use.parameter].kind == Kind::tensor ||
          !read_operand(f.args[use.parameter], one, 0))
        return false;
      number = one.numbers[0];
      if (number.kind == Scalar::Kind::real && category(p.promoted) < 2) return false;
    }
    if (p.compute == DType::i64 && number.kind == Scalar::Kind::real)
      number = Scalar(static_cast<int64_t>(number.f));
    attrs[n++] = attr_of(p, number);
  }
  for (int i = 0; i < p.count; ++i) attrs[n++] = p.tensors[i] ? Attr(0) : attr_of(p, p.numbers[i]);
  TensorArg out;
  if (use.out >= 0) {
    const TensorArg* target = taken(f.args[use.out]);
    if (!target || !fits(p, *target, use.out == 0)) return false;
    out = *target;
    give_back(f, use.out);
  } else {
    const int64_t* strides;
    if (!result_strides(p, &strides)) return false;
    out = make_result(f, {p.sizes, static_cast<size_t>(p.dims)}, torch_type(p.result), strides);
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

// The derivative of an operator of one operand: (grad, the operand or the result[, a choice]).
struct BackwardUse {
  const PointwiseOp *op, *tanh_form;
  bool from_result;
  int8_t text = -1, zero = -1;  // an argument that must be 0
};

bool backward(Frame& f) {
  const BackwardUse& use = *static_cast<const BackwardUse*>(f.data);
  const PointwiseOp* op = use.op;
  if (use.text >= 0 && f.args[use.text].kind == Kind::text &&
      std::string_view(f.args[use.text].text) == "tanh")
    op = use.tanh_form;
  if (use.zero >= 0 && number_of(f.args[use.zero]) != 0.0) return false;
  const TensorArg *grad = taken(f.args[0]), *value = taken(f.args[1]);
  if (!grad || !value || grad->type != value->type || !is_float(dtype_of(*grad)) ||
      !same_sizes(*grad, *value))
    return false;
  Problem p;
  p.count = 2, p.tensors[0] = grad, p.tensors[1] = value, p.dims = grad->dims;
  std::copy(grad->sizes, grad->sizes + grad->dims, p.sizes);
  const int64_t* strides;
  if (!result_strides(p, &strides)) return false;
  const TensorArg out =
      make_result(f, {grad->sizes, static_cast<size_t>(grad->dims)}, grad->type, strides);
  if (out.numel == 0) return true;
  const View v = view_of(*value);
  run_kernel(op->backward, {view_of(out)},
             {view_of(*grad), use.from_result ? View{} : v, use.from_result ? v : View{}},
             {dtype_of(*grad) == DType::f64 ? DType::f64 : DType::f32, 0.0, 0.0, 0.0});
  return true;
}

// name of PyTorch without its overloads: our operator, whether integers are taken.
struct Named {
  const char *torch, *ours;
  Integers integers;
};
constexpr Named kBinary[] = {
    // (self, other)
    {"mul", "mul", Integers::numbers},
    {"div", "div", Integers::none},
    {"maximum", "maximum", Integers::numbers},
    {"minimum", "minimum", Integers::numbers},
};
constexpr Named kCompared[] = {{"eq", "eq", Integers::all}, {"ne", "ne", Integers::all},
                               {"lt", "lt", Integers::all}, {"le", "le", Integers::all},
                               {"gt", "gt", Integers::all}, {"ge", "ge", Integers::all}};
constexpr Named kWithAlpha[] = {{"add", "add", Integers::numbers},
                                {"sub", "sub", Integers::numbers}};
// Operators of one operand, whose names, values at odd places included, are PyTorch's.
constexpr const char* kUnary[] = {
    "exp",   "exp2", "expm1", "log",   "log1p",      "log2",  "log10", "sin",      "cos",
    "tanh",  "erf",  "sqrt",  "rsqrt", "reciprocal", "relu",  "silu",  "neg",      "abs",
    "floor", "ceil", "trunc", "round", "sigmoid",    "isnan", "isinf", "isfinite", "logical_not"};

}  // namespace

void add_pointwise(std::vector<Entry>* all) {
  // Never freed: registrations point at them.
  const auto keep = [](Use use) -> const void* { return new Use(use); };
  const auto add = [&](const std::string& name, int arguments, Use use) {
    if (use.op) all->push_back({"aten::" + name, arguments, pointwise, keep(use)});
  };
  for (const std::string name : kUnary) {
    const PointwiseOp* op = find(name);
    if (!op) continue;
    const Integers ints = op->result == PointwiseResult::truth  ? Integers::all
                          : op->result == PointwiseResult::same ? Integers::numbers
                                                                : Integers::none;
    add(name, 1, {op, nullptr, {0}, -1, -1, -1, ints});
    add(name + "_", 1, {op, nullptr, {0}, -1, 0, -1, ints});
    add(name + ".out", 2, {op, nullptr, {0}, -1, 1, -1, ints});
  }
  for (const Named& n : kBinary) {
    const PointwiseOp* op = find(n.ours);
    const std::string name = n.torch;
    for (const char* overload : {"", ".Tensor"}) {
      add(name + overload, 2, {op, nullptr, {0, 1}, -1, -1, -1, n.integers});
      add(name + "_" + overload, 2, {op, nullptr, {0, 1}, -1, 0, -1, n.integers});
    }
    add(name + ".out", 3, {op, nullptr, {0, 1}, -1, 2, -1, n.integers});
  }
  for (const Named& n : kCompared) {
    const PointwiseOp* op = find(n.ours);
    for (const char* overload : {".Tensor", ".Scalar"}) {
      add(n.torch + std::string(overload), 2, {op, nullptr, {0, 1}, -1, -1, -1, n.integers});
      add(n.torch + std::string(overload) + "_out", 3,
          {op, nullptr, {0, 1}, -1, 2, -1, n.integers});
    }
  }
  for (const Named& n : kWithAlpha) {
    const PointwiseOp* op = find(n.ours);
    add(n.torch + std::string(".Tensor"), 3, {op, nullptr, {0, 1}, 2, -1, -1, n.integers});
    add(n.torch + std::string("_.Tensor"), 3, {op, nullptr, {0, 1}, 2, 0, -1, n.integers});
    add(n.torch + std::string(".out"), 4, {op, nullptr, {0, 1}, 2, 3, -1, n.integers});
  }
  add("where.self", 3, {find("where"), nullptr, {0, 1, 2}, -1, -1, -1, Integers::all});
  add("masked_fill_.Scalar", 3, {find("where"), nullptr, {1, 2, 0}, -1, 0, -1, Integers::all});
  add("gelu", 2, {find("gelu_erf"), find("gelu_tanh"), {0}, -1, -1, 1, Integers::none});
  add("addcmul.out", 5, {find("addcmul"), nullptr, {0, 1, 2}, 3, 4, -1, Integers::none});
  add("addcmul", 4, {find("addcmul"), nullptr, {0, 1, 2}, 3, -1, -1, Integers::none});
  add("addcdiv", 4, {find("addcdiv"), nullptr, {0, 1, 2}, 3, -1, -1, Integers::none});
  const auto add_backward = [&](const char* name, int arguments, BackwardUse use) {
    all->push_back({std::string("aten::") + name, arguments, backward, new BackwardUse(use)});
  };
  add_backward("gelu_backward", 3, {find("gelu_erf"), find("gelu_tanh"), false, 2});
  add_backward("silu_backward", 2, {find("silu"), nullptr, false});
  add_backward("sigmoid_backward", 2, {find("sigmoid"), nullptr, true});
  add_backward("tanh_backward", 2, {find("tanh"), nullptr, true});
  add_backward("threshold_backward", 3, {find("relu"), nullptr, true, -1, 2});
}

}  // namespace wellspring::python
