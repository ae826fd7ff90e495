// The named losses of PyTorch: over classes with weights and reductions, and term by term.

#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/index_error.h"
#include "base/text.h"
#include "ops/loss.h"
#include "ops/pointwise.h"
#include "ops/reduce.h"
#include "ops/shape.h"
#include "ops/softmax.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace wellspring {
namespace {

KernelRef kGather("gather"), kScatterAdd("scatter_add");

enum class Reduction { none, mean, sum };

Reduction reduction_of(const char* op, std::string_view name) {
  if (name == "none") return Reduction::none;
  if (name == "mean") return Reduction::mean;
  if (name == "sum") return Reduction::sum;
  throw Error(Fault::usage,
              str(op, ": reduction is \"none\", \"mean\" or \"sum\", not \"", name, "\""));
}

Tensor reduced_terms(const Tensor& terms, Reduction r) {
  return r == Reduction::none ? terms : r == Reduction::mean ? mean(terms) : sum(terms);
}

DType wide_of(DType t) { return t == DType::f64 ? DType::f64 : DType::f32; }

// What classes and targets say together.
struct Picks {
  Tensor index;   // of the shape of the targets with a dimension for the class; ignored ones pick 0
  Tensor weight;  // each one's, 0 where ignored
  Tensor counts;  // bool: not ignored
  double total = 0;
};

// x is [C] or [N, C, ...]; the class dimension of the first is 0.
int class_dim(const Tensor& x) { return x.dims() > 1 ? 1 : 0; }

Picks pick(const char* op, const Tensor& x, const Tensor& targets, const Tensor& weight,
           int64_t ignore) {
  if (!x.defined() || !is_float(x.dtype()) || x.dims() == 0)
    throw Error(Fault::usage, str(op, ": scores are floating [N, C, ...] or [C], but are ",
                                  x.defined() ? x.text() : "undefined"));
  const int at = class_dim(x);
  Shape expected, picked = x.shape();
  for (int d = 0; d < x.dims(); ++d)
    if (d != at) expected.push_back(x.shape()[d]);
  picked[at] = 1;
  const int64_t classes = x.shape()[at];
  if (!targets.defined() || (targets.dtype() != DType::i64 && targets.dtype() != DType::i32) ||
      !(targets.shape() == expected))
    throw Error(Fault::usage,
                str(op, ": targets for scores ", x.text(), " are i32 or i64", expected.text(),
                    ", but are ", targets.defined() ? targets.text() : "undefined"));
  if (weight.defined() && !(weight.shape() == Shape{classes}))
    throw Error(Fault::usage,
                str(op, ": weight is [", classes, "], one for each class, but is ", weight.text()));
  std::vector<int64_t> index = targets.to_vector<int64_t>();
  const std::vector<double> given =
      weight.defined() ? weight.to_vector<double>() : std::vector<double>();
  const Tensor weights = Tensor::zeros(expected, wide_of(x.dtype())),
               counts = Tensor::zeros(expected, DType::boolean);
  Picks p;
  for (size_t i = 0; i < index.size(); ++i) {
    if (index[i] == ignore) {
      index[i] = 0;
      continue;
    }
    if (index[i] < 0 || index[i] >= classes)
      throw IndexError(str(op, ": target ", index[i], " is outside the ", classes,
                           " classes (ignore_index is ", ignore, ")"));
    counts.data_as<uint8_t>()[i] = 1;
    const double w = given.empty() ? 1 : given[static_cast<size_t>(index[i])];
    if (weights.dtype() == DType::f64)
      weights.data_as<double>()[i] = w;
    else
      weights.data_as<float>()[i] = static_cast<float>(w);
    p.total += w;
  }
  p.index = Tensor::from(std::span<const int64_t>(index), picked, x.device());
  p.weight = weights.to_device(x.device()), p.counts = counts.to_device(x.device());
  return p;
}

// The scores of the targets, where they have classes to pick from.
Tensor picked_scores(const char* op, const Tensor& x, const Picks& p, const Shape& shape) {
  const Tensor y = Tensor::empty(p.index.shape(), x.dtype(), x.device());
  const int at = class_dim(x);
  if (y.numel()) {
    if (x.shape()[at] == 0) throw Error(Fault::usage, str(op, ": there are no classes"));
    launch(kGather, {y}, {x.detach(), p.index}, {at});
  }
  const Tensor result = y.as_strided(shape, contiguous_strides(shape), 0);
  if (should_record({&x}))
    record(op, {x}, {result},
           [index = p.index, at, of = x.shape(), dtype = x.dtype()](BackwardContext& c) -> Tensors {
             const Tensor dx = Tensor::zeros(of, dtype, index.device());
             const Tensor g = reshape(to(c.grad(), dtype), index.shape());
             if (g.numel()) launch(kScatterAdd, {dx}, {index, g}, {at});
             return {dx};
           });
  return result;
}

// The terms' sum over the sum of their weights; NaN when nothing counts.
Tensor weighted(const Tensor& terms, const Picks& p, Reduction r, DType dtype) {
  if (r == Reduction::none) return to(terms, dtype);
  const Tensor total = sum(terms);
  return to(r == Reduction::sum ? total : div(total, p.total), dtype);
}

Tensor nll(const char* op, const Tensor& x, const Picks& p, Reduction r) {
  const Tensor scores = to(picked_scores(op, x, p, p.weight.shape()), wide_of(x.dtype()));
  // An ignored score of -inf or NaN counts for nothing.
  const Tensor terms = where(p.counts, mul(scores, neg(p.weight)), Scalar(0.0));
  return weighted(terms, p, r, x.dtype());
}

Tensor class_weights(const Tensor& weight, const Tensor& like) {
  Shape shape;
  for (int d = 0; d < like.dims(); ++d) shape.push_back(d == class_dim(like) ? like.shape()[d] : 1);
  return to(reshape(weight, shape), like.dtype());
}

// -sum of logp times weights times `by`, over the classes.
Tensor over_classes(const Tensor& logp, const Tensor& weight, const Tensor& by) {
  Tensor terms = by.defined() ? mul(logp, by) : logp;
  if (weight.defined()) terms = mul(terms, class_weights(weight, logp));
  return neg(sum(terms, {class_dim(logp)}));
}

Tensor with_probabilities(const Tensor& logp, const Tensor& targets, const Tensor& weight,
                          Reduction r, double smoothing, DType dtype) {
  const double classes = static_cast<double>(logp.shape()[class_dim(logp)]);
  Tensor p = targets.dtype() == logp.dtype() ? targets : to(targets, logp.dtype());
  if (smoothing > 0) p = add(mul(p, 1 - smoothing), smoothing / classes);
  const Tensor terms = over_classes(logp, weight, p);
  return to(reduced_terms(terms, r), dtype);
}

Tensor with_smoothing(const Tensor& logp, const Picks& p, const Tensor& weight, Reduction r,
                      double smoothing, DType dtype) {
  const double classes = static_cast<double>(logp.shape()[class_dim(logp)]);
  const Tensor plain = nll("cross_entropy_loss", logp, p, r);
  const Tensor all = where(p.counts, over_classes(logp, weight, {}), Scalar(0.0));
  const Tensor smooth = weighted(all, p, r, logp.dtype());
  return to(add(mul(plain, 1 - smoothing), smooth, smoothing / classes), dtype);
}

void check_within_one(const char* op, const Tensor& x) {
  if (x.numel() == 0) return;
  NoGrad no_grad;
  if (all(logical_and(ge(x, 0), le(x, 1))).item() == 0)
    throw Error(Fault::usage, str(op, ": x ", x.text(), " has elements outside [0, 1]"));
}

}  // namespace

Tensor nll_loss(const Tensor& log_probabilities, const Tensor& targets, const Tensor& weight,
                std::string_view reduction, int64_t ignore_index) {
  const Picks p = pick("nll_loss", log_probabilities, targets, weight, ignore_index);
  return nll("nll_loss", log_probabilities, p, reduction_of("nll_loss", reduction));
}
Tensor nll_loss_nd(const Tensor& log_probabilities, const Tensor& targets, const Tensor& weight,
                   std::string_view reduction, int64_t ignore_index) {
  // Rows of classes without weights have kernels of their own.
  const Tensor& x = log_probabilities;
  if (reduction == "mean" && !weight.defined() && x.defined() && x.dims() == 2 &&
      (x.dtype() == DType::f32 || x.dtype() == DType::bf16))
    return to(nll_loss(x, targets, ignore_index), x.dtype());
  const Picks p = pick("nll_loss_nd", log_probabilities, targets, weight, ignore_index);
  return nll("nll_loss_nd", log_probabilities, p, reduction_of("nll_loss_nd", reduction));
}
std::tuple<Tensor, Tensor> nll_loss_forward(const Tensor& log_probabilities, const Tensor& targets,
                                            const Tensor& weight, std::string_view reduction,
                                            int64_t ignore_index) {
  const char* op = "nll_loss_forward";
  const Picks p = pick(op, log_probabilities, targets, weight, ignore_index);
  const Reduction r = reduction_of(op, reduction);
  return {nll(op, log_probabilities, p, r),
          Tensor::full({}, r == Reduction::none ? 0 : p.total, log_probabilities.dtype(),
                       log_probabilities.device())};
}

Tensor cross_entropy_loss(const Tensor& logits, const Tensor& targets, const Tensor& weight,
                          std::string_view reduction, int64_t ignore_index,
                          double label_smoothing) {
  const char* op = "cross_entropy_loss";
  const Reduction r = reduction_of(op, reduction);
  if (!(label_smoothing >= 0 && label_smoothing <= 1))
    throw Error(Fault::usage, str(op, ": label_smoothing is in [0, 1], not ", label_smoothing));
  if (!logits.defined() || !is_float(logits.dtype()) || logits.dims() == 0)
    throw Error(Fault::usage, str(op, ": logits are floating [N, C, ...] or [C], but are ",
                                  logits.defined() ? logits.text() : "undefined"));
  const bool classes = !targets.defined() || !is_float(targets.dtype());
  const DType dtype = logits.dtype();
  if (classes && r == Reduction::mean && !weight.defined() && label_smoothing == 0 &&
      logits.dims() == 2 && (dtype == DType::f32 || dtype == DType::bf16))
    return to(cross_entropy(logits, targets, ignore_index), dtype);
  const Tensor logp = log_softmax(logits, class_dim(logits), wide_of(dtype));
  if (!classes) {
    if (!(targets.shape() == logits.shape()))
      throw Error(Fault::usage, str(op, ": probabilities ", targets.text(),
                                    " must have the shape of logits ", logits.text()));
    Tensor loss = with_probabilities(logp, targets, weight, r, label_smoothing, wide_of(dtype));
    // The mean is over the places, which have no classes.
    return to(loss, dtype);
  }
  const Picks p = pick(op, logp, targets, weight, ignore_index);
  return label_smoothing > 0 ? with_smoothing(logp, p, weight, r, label_smoothing, dtype)
                             : to(nll(op, logp, p, r), dtype);
}

Tensor mse_loss(const Tensor& x, const Tensor& y, std::string_view reduction) {
  return reduced_terms(mse_terms(x, y), reduction_of("mse_loss", reduction));
}
Tensor l1_loss(const Tensor& x, const Tensor& y, std::string_view reduction) {
  return reduced_terms(l1_terms(x, y), reduction_of("l1_loss", reduction));
}
Tensor huber_loss(const Tensor& x, const Tensor& y, std::string_view reduction, double delta) {
  if (!(delta > 0)) throw Error(Fault::usage, str("huber_loss: delta is positive, not ", delta));
  return reduced_terms(huber_terms(x, y, delta), reduction_of("huber_loss", reduction));
}
Tensor smooth_l1_loss(const Tensor& x, const Tensor& y, std::string_view reduction, double beta) {
  if (!(beta >= 0))
    throw Error(Fault::usage, str("smooth_l1_loss: beta is not negative, but ", beta));
  return reduced_terms(smooth_l1_terms(x, y, beta), reduction_of("smooth_l1_loss", reduction));
}
Tensor soft_margin_loss(const Tensor& x, const Tensor& y, std::string_view reduction) {
  return reduced_terms(soft_margin_terms(x, y), reduction_of("soft_margin_loss", reduction));
}

Tensor binary_cross_entropy(const Tensor& x, const Tensor& y, const Tensor& weight,
                            std::string_view reduction) {
  const Reduction r = reduction_of("binary_cross_entropy", reduction);
  check_within_one("binary_cross_entropy", x);
  const Tensor terms = bce_terms(x, y);
  return reduced_terms(weight.defined() ? mul(terms, weight) : terms, r);
}
Tensor binary_cross_entropy_with_logits(const Tensor& x, const Tensor& y, const Tensor& weight,
                                        const Tensor& pos_weight, std::string_view reduction) {
  const Reduction r = reduction_of("binary_cross_entropy_with_logits", reduction);
  const Tensor terms = pos_weight.defined() ? bce_logits_terms(x, y, pos_weight)
                                            : bce_logits_terms(x, y, Scalar(1.0));
  return reduced_terms(weight.defined() ? mul(terms, weight) : terms, r);
}

Tensor kl_div(const Tensor& x, const Tensor& y, std::string_view reduction, bool log_target) {
  const Tensor terms = log_target ? kl_log_terms(x, y) : kl_terms(x, y);
  if (reduction == "batchmean") {
    if (terms.dims() == 0) throw Error(Fault::usage, "kl_div: a 0-d x has no batch");
    return div(sum(terms), static_cast<double>(terms.size(0)));
  }
  return reduced_terms(terms, reduction_of("kl_div", reduction));
}

Tensor margin_ranking_loss(const Tensor& x, const Tensor& y, const Tensor& target, double margin,
                           std::string_view reduction) {
  const Reduction r = reduction_of("margin_ranking_loss", reduction);
  return reduced_terms(clamp_min(add(mul(neg(target), sub(x, y)), margin), 0), r);
}

}  // namespace wellspring
