// Random calls of pointwise operators, of reductions, scans and sorts.

#include <algorithm>

#include "ops/pointwise_call.h"
#include "ops/random_entries.h"
#include "ops/reduce.h"
#include "ops/scan.h"
#include "ops/softmax.h"
#include "ops/sort.h"

namespace wellspring::random_calls {
namespace {

constexpr Entry kReductions[] = {
    {"sum", [](C c, X x) -> Tensors { return {sum(x, c.dims(x.dims()), c.coin())}; }},
    {"mean", [](C c, X x) -> Tensors { return {mean(x, c.dims(x.dims()), c.coin())}; }, real},
    {"var_mean",
     [](C c, X x) -> Tensors {
       return list_of(var_mean(x, c.dims(x.dims()), c.below(2), c.coin()));
     },
     real},
    {"amax", [](C c, X x) -> Tensors { return {amax(x, c.dims(x.dims()), c.coin())}; }},
    {"amin", [](C c, X x) -> Tensors { return {amin(x, c.dims(x.dims()), c.coin())}; }},
    {"any", [](C c, X x) -> Tensors { return {any(x, c.dims(x.dims()), c.coin())}; }},
    {"all", [](C c, X x) -> Tensors { return {all(x, c.dims(x.dims()), c.coin())}; }},
    {"argmax",
     [](C c, X x) -> Tensors {
       return {argmax(x, c.coin() ? std::optional<int>(c.dim(x.dims())) : std::nullopt, c.coin())};
     }},
    {"max", [](C c, X x) -> Tensors { return list_of(max(x, c.dim(x.dims()), c.coin())); }},
    {"min", [](C c, X x) -> Tensors { return list_of(min(x, c.dim(x.dims()), c.coin())); }},
    {"vector_norm",
     [](C c, X x) -> Tensors { return {vector_norm(x, c.below(5), c.dims(x.dims()), c.coin())}; },
     real},
    {"logsumexp", [](C c, X x) -> Tensors { return {logsumexp(x, c.dims(x.dims()), c.coin())}; },
     real},
    {"count_nonzero", [](C c, X x) -> Tensors { return {count_nonzero(x, c.dims(x.dims()))}; }},
    {"softmax", [](C c, X x) -> Tensors { return {softmax(x, c.dim(x.dims()))}; }, real},
    {"log_softmax", [](C c, X x) -> Tensors { return {log_softmax(x, c.dim(x.dims()))}; }, real},
    {"sum out",
     [](C c, X x) -> Tensors {
       const Tensor out = c.tensor(c.coin() ? Shape{0} : c.shape(), c.any_dtype());
       NoGrad none;
       return {sum_out(out, x, c.dims(x.dims()), c.coin())};
     }},
};

constexpr Entry kScans[] = {
    {"cumsum", [](C c, X x) -> Tensors { return {cumsum(x, c.dim(x.dims()))}; }},
    {"cummax", [](C c, X x) -> Tensors { return list_of(cummax(x, c.dim(x.dims()))); }},
    {"cummin", [](C c, X x) -> Tensors { return list_of(cummin(x, c.dim(x.dims()))); }},
    {"logcumsumexp", [](C c, X x) -> Tensors { return {logcumsumexp(x, c.dim(x.dims()))}; }, real},
    {"cumprod", [](C c, X x) -> Tensors { return {cumprod(x, c.dim(x.dims()))}; }, real},
    {"cumsum dtype",
     [](C c, X x) -> Tensors { return {cumsum(x, c.dim(x.dims()), c.any_dtype())}; }},
    {"cumsum out",
     [](C c, X x) -> Tensors {
       const Tensor out = c.tensor(c.coin() ? Shape{0} : x.shape(), c.any_dtype());
       NoGrad none;
       return {cumsum_out(out, x, c.dim(x.dims()))};
     }},
};

constexpr Entry kSorts[] = {
    {"sort", [](C c, X x) -> Tensors { return list_of(sort(x, c.dim(x.dims()), c.coin())); }},
    {"topk",
     [](C c, X x) -> Tensors { return list_of(topk(x, c.below(9), c.dim(x.dims()), c.coin())); }},
    {"kthvalue",
     [](C c, X x) -> Tensors {
       return list_of(kthvalue(x, c.below(9), c.dim(x.dims()), c.coin()));
     }},
    {"argsort",
     [](C c, X x) -> Tensors { return {argsort(x, c.dim(x.dims()), c.coin(), c.coin())}; }},
    {"msort", [](C, X x) -> Tensors { return {msort(x)}; }},
    {"median", [](C c, X x) -> Tensors { return list_of(median(x, c.dim(x.dims()), c.coin())); }},
    {"mode", [](C c, X x) -> Tensors { return list_of(mode(x, c.dim(x.dims()), c.coin())); }},
    {"aminmax", [](C c, X x) -> Tensors { return list_of(aminmax(x, c.dim(x.dims()), c.coin())); }},
    {"unique", [](C, X x) -> Tensors { return list_of(unique(x)); }},
    {"unique_consecutive", [](C, X x) -> Tensors { return list_of(unique_consecutive(x)); }},
    {"isin",
     [](C c, X x) -> Tensors { return {isin(x, c.tensor(c.shape(0, 2), x.dtype()), c.coin())}; }},
    {"bincount",
     [](C c) -> Tensors {
       const Shape s{c.below(70)};
       const Tensor x = c.ids(s, 0, 1 + c.below(30));
       return {bincount(x, c.tensor_or_none(s, c.floating()), c.below(9))};
     }},
    {"quantile",
     [](C c, X x) -> Tensors {
       return {quantile(x, 0.25 * c.below(6), c.dim(x.dims()), c.coin())};
     },
     real},
    {"histc",
     [](C c, X x) -> Tensors { return {histc(x, c.below(20), c.below(3) - 2, c.below(5))}; }, real},
    {"bucketize",
     [](C c) -> Tensors {
       const Tensor x = real_of<1>(c), edges = c.tensor({c.below(20)}, x.dtype());
       return {bucketize(x, std::get<0>(sort(edges)), c.coin(), c.coin())};
     }},
};
}  // namespace

Tensors call_pointwise(Choices& c) {
  const auto all = pointwise_operators();
  const PointwiseOp& op = *all[(c.below(256) * 2 + c.below(2)) % all.size()];
  c.chosen = op.name;
  const Shape shape = c.shape();
  const int form = c.below(4);  // plain twice as often
  Tensors tensors;
  std::vector<Operand> operands;
  tensors.reserve(3);
  for (int i = 0; i < op.operands; ++i) {
    const bool mask = op.masks >> i & 1;
    if (i && !mask && c.rarely(4)) {
      operands.emplace_back(Scalar(c.below(7) - 3));
      continue;
    }
    DType t = c.rarely(5) ? c.any_dtype() : c.floating();
    if (mask) t = DType::boolean;
    if (op.result == PointwiseResult::integer) t = c.coin() ? DType::i64 : DType::u8;
    tensors.push_back(c.tensor(i ? c.broadcastable(shape) : shape, t));
    operands.emplace_back(tensors.back());
  }
  const auto with = [&](auto run) {
    using List = std::initializer_list<Operand>;
    return operands.size() == 1   ? run(List{operands[0]})
           : operands.size() == 2 ? run(List{operands[0], operands[1]})
                                  : run(List{operands[0], operands[1], operands[2]});
  };
  using Numbers = std::initializer_list<double>;
  const auto& d = op.defaults;
  return with([&](auto list) -> Tensors {
    const auto go = [&](Numbers numbers) -> Tensors {
      if (form == 2 && operands[0].tensor && !op.masks)
        return {pointwise_in_place(op, list, numbers)};
      if (form != 3) return {pointwise(op, list, numbers)};
      DType t = c.any_dtype();
      if (t == DType::f64) t = DType::f32;  // its digits would be those of f32
      const Tensor out = c.tensor(c.rarely(3) ? Shape{0} : shape, t);
      NoGrad none;
      return {pointwise_out(op, out, list, numbers)};
    };
    return op.params == 0   ? go({})
           : op.params == 1 ? go({d[0]})
           : op.params == 2 ? go({d[0], d[1]})
                            : go({d[0], d[1], d[2]});
  });
}

Tensors call_reduce(Choices& c) { return one_of(c, kReductions); }
Tensors call_scan(Choices& c) { return one_of(c, kScans); }
Tensors call_sort(Choices& c) { return one_of(c, kSorts); }

}  // namespace wellspring::random_calls
