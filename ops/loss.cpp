// Checks and derivatives of the losses. N rows, D width, V vocabulary.

#include "ops/loss.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/index_error.h"
#include "base/text.h"
#include "ops/packed.h"
#include "tensor/autograd.h"
#include "tensor/dispatch.h"

namespace wellspring {
namespace {

KernelRef kCrossEntropy("cross_entropy"), kCrossEntropyBackward("cross_entropy_backward");
KernelRef kNll("nll_loss"), kNllBackward("nll_loss_backward");
KernelRef kMatmul("matmul"), kColumnSum("column_sum"), kAccumulate("accumulate"), kScale("scale");

constexpr int64_t kChunkBytes = int64_t{128} << 20;  // of the logits that exist at a time

struct Targets {
  Tensor ids;     // packed
  int64_t count;  // that are not ignore_index
};

Targets check_targets(const char* op, const Tensor& targets, int64_t rows, int64_t classes,
                      int64_t ignore) {
  if (!targets.defined() || (targets.dtype() != DType::i32 && targets.dtype() != DType::i64) ||
      targets.dims() != 1 || targets.size(0) != rows)
    throw Error(Fault::usage,
                str(op, ": targets must be i32 or i64[", rows, "], one per row, but are ",
                    targets.defined() ? targets.text() : "undefined"));
  const std::vector<int64_t> t = targets.to_vector<int64_t>();
  int64_t count = 0;
  for (size_t i = 0; i < t.size(); ++i) {
    if (t[i] == ignore) continue;
    ++count;
    if (t[i] < 0 || t[i] >= classes)
      throw IndexError(str(op, ": target ", t[i], " of row ", i, " is outside the ", classes,
                           " classes (ignore_index is ", ignore, ")"));
  }
  return {packed(targets), count};
}

Targets check_rows(const char* op, const char* operand, const Tensor& x, const Tensor& targets,
                   int64_t ignore) {
  check_f32_or_bf16(op, operand, x);
  if (x.dims() != 2)
    throw Error(Fault::usage,
                str(op, ": ", operand, " must be [rows, classes], but is ", x.text()));
  return check_targets(op, targets, x.size(0), x.size(1), ignore);
}

// f64 and f16 go through the named forms.
bool has_no_kernel(const Tensor& x) {
  return x.defined() && (x.dtype() == DType::f64 || x.dtype() == DType::f16) && x.dims() == 2;
}

// factor * sum / count in f64, in the order of the rows; NaN when no row counts.
Tensor mean_of(const Tensor& losses, int64_t count, double factor = 1) {
  double sum = 0;
  for (float v : losses.to_vector<float>()) sum += static_cast<double>(v);
  const double mean =
      count ? factor * sum / static_cast<double>(count) : std::numeric_limits<double>::quiet_NaN();
  return Tensor::full({}, mean, DType::f32, losses.device());
}

// The rows' share of the mean times what flows into the loss.
double share_of(BackwardContext& c, int64_t count) {
  return count ? c.grad().item() / static_cast<double>(count) : 0;
}

Tensor rows_of(const Tensor& t, int64_t from, int64_t n) {
  Shape shape = t.shape();
  shape[0] = n;
  return t.as_strided(shape, t.strides(), t.offset() + from * t.strides()[0]);
}

Tensor transposed(const Tensor& t) {
  return t.as_strided({t.size(1), t.size(0)}, {t.strides()[1], t.strides()[0]}, t.offset());
}

// One call of linear_cross_entropy, and the gradients that it leaves for the backward pass.
struct HeadCall {
  Tensor x, weight, bias, targets;
  double logit_scale, factor;
  int64_t ignore;
  Tensor losses, dx, dweight, dbias;  // dx ... dbias only where wanted
};

// The first elements of each f32 row of `chunk`, seen as bf16.
Tensor rows_as_bf16(const Tensor& chunk) {
  auto data = std::make_shared<TensorData>();
  data->storage = chunk.storage();
  data->shape = chunk.shape();
  data->strides = {2 * chunk.strides()[0], 1};
  data->offset = 2 * chunk.offset();
  data->dtype = DType::bf16;
  data->is_view = true;
  return Tensor(std::move(data));
}

void add_bias_gradient(const HeadCall& h, const Tensor& g, bool first) {
  const Tensor part = first ? h.dbias : Tensor::empty(h.dbias.shape(), DType::f32, g.device());
  launch(kColumnSum, {part}, {g});
  if (!first) launch(kAccumulate, {h.dbias}, {part});
}

// Rows [from, from + n): logits, losses, and from them the gradients, in the memory of `chunk`.
void run_chunk(const HeadCall& h, const Tensor& chunk, int64_t from, int64_t n) {
  const Tensor logits = rows_of(chunk, 0, n), x = rows_of(h.x, from, n);
  const bool wanted = h.dx.defined() || h.dweight.defined() || h.dbias.defined();
  launch(kMatmul, {logits}, {x, transposed(h.weight), h.bias}, {false});
  const Tensor g = !wanted ? Tensor() : h.x.dtype() == DType::bf16 ? rows_as_bf16(logits) : logits;
  launch(kCrossEntropy, {rows_of(h.losses, from, n), Tensor(), g},
         {logits, rows_of(h.targets, from, n)}, {h.logit_scale, h.factor, h.ignore});
  if (h.dx.defined()) launch(kMatmul, {rows_of(h.dx, from, n)}, {g, h.weight, Tensor()}, {false});
  if (h.dweight.defined()) launch(kMatmul, {h.dweight}, {transposed(g), x, Tensor()}, {from > 0});
  if (h.dbias.defined()) add_bias_gradient(h, g, from == 0);
}

// Rows of a chunk: as many as fit, in chunks of about the same size; from the shape alone.
int64_t chunk_rows(int64_t rows, int64_t classes) {
  const int64_t most = std::max<int64_t>(kChunkBytes / 4 / classes, 1),
                chunks = (rows + most - 1) / most;
  const int64_t even = (rows + chunks - 1) / chunks, rounded = (even + 15) / 16 * 16;
  return rounded <= most ? rounded : even;
}

void check_head(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const char* op = "linear_cross_entropy";
  check_f32_or_bf16(op, "x", x);
  check_f32_or_bf16(op, "weight", weight);
  if (x.dims() != 2 || weight.dims() != 2 || x.size(1) != weight.size(1) ||
      x.dtype() != weight.dtype())
    throw Error(Fault::usage,
                str(op,
                    ": x must be [rows, width] and weight [classes, width] of one dtype, "
                    "but they are ",
                    x.text(), " and ", weight.text()));
  if (weight.size(0) == 0 || weight.size(1) == 0)
    throw Error(Fault::usage, str(op, ": weight ", weight.text(), " has no classes or no width"));
  if (!bias.defined()) return;
  check_f32_or_bf16(op, "bias", bias);
  if (bias.dims() != 1 || bias.size(0) != weight.size(0))
    throw Error(Fault::usage,
                str(op, ": bias must be [", weight.size(0), "], but is ", bias.text()));
}

void allocate_gradients(HeadCall& h, bool x, bool weight, bool bias) {
  const auto make = [&](const Tensor& like, DType dtype) {
    return h.x.size(0) ? Tensor::empty(like.shape(), dtype, like.device())
                       : Tensor::zeros(like.shape(), dtype, like.device());
  };
  if (x) h.dx = make(h.x, h.x.dtype());
  if (weight) h.dweight = make(h.weight, DType::f32);
  if (bias) h.dbias = make(h.bias, DType::f32);
}

// t times a number: itself when that is 1, and never in place, for the gradients may be asked for
// again.
Tensor scaled(const Tensor& t, double by) {
  if (!t.defined() || by == 1) return t;
  const Tensor result = Tensor::empty(t.shape(), t.dtype(), t.device());
  launch(kScale, {result}, {t}, {by});
  return result;
}

}  // namespace

Tensor cross_entropy(const Tensor& logits, const Tensor& targets, int64_t ignore_index) {
  if (has_no_kernel(logits)) return cross_entropy_loss(logits, targets, {}, "mean", ignore_index);
  const Targets t = check_rows("cross_entropy", "logits", logits, targets, ignore_index);
  const bool recorded = should_record({&logits});
  const Tensor x = packed(logits), losses = Tensor::empty({x.size(0)}, DType::f32, x.device());
  const Tensor lse = recorded ? Tensor::empty({x.size(0)}, DType::f32, x.device()) : Tensor();
  launch(kCrossEntropy, {losses, lse, Tensor()}, {x, t.ids}, {1.0, 1.0, ignore_index});
  const Tensor loss = mean_of(losses, t.count);
  if (!recorded) return loss;
  record("cross_entropy", {logits}, {loss},
         [x = Saved(x), ids = Saved(t.ids), lse = Saved(lse), count = t.count,
          ignore_index](BackwardContext& c) -> Tensors {
           const Tensor logits = c.saved(x),
                        d = Tensor::empty(logits.shape(), logits.dtype(), logits.device());
           launch(kCrossEntropyBackward, {d}, {logits, c.saved(ids), c.saved(lse)},
                  {share_of(c, count), ignore_index});
           return {d};
         });
  return loss;
}

Tensor nll_loss(const Tensor& log_probabilities, const Tensor& targets, int64_t ignore_index) {
  if (has_no_kernel(log_probabilities))
    return nll_loss_nd(log_probabilities, targets, {}, "mean", ignore_index);
  const Targets t =
      check_rows("nll_loss", "log_probabilities", log_probabilities, targets, ignore_index);
  const Tensor x = packed(log_probabilities),
               losses = Tensor::empty({x.size(0)}, DType::f32, x.device());
  launch(kNll, {losses}, {x, t.ids}, {ignore_index});
  const Tensor loss = mean_of(losses, t.count);
  if (!should_record({&log_probabilities})) return loss;
  record("nll_loss", {log_probabilities}, {loss},
         [ids = Saved(t.ids), shape = x.shape(), dtype = x.dtype(), count = t.count,
          ignore_index](BackwardContext& c) -> Tensors {
           const Tensor d = Tensor::empty(shape, dtype, c.grad().device());
           launch(kNllBackward, {d}, {c.saved(ids)}, {-share_of(c, count), ignore_index});
           return {d};
         });
  return loss;
}

Tensor linear_cross_entropy(const Tensor& x, const Tensor& weight, const Tensor& targets,
                            double logit_scale, double loss_scale, int64_t ignore_index,
                            const Tensor& bias) {
  check_head(x, weight, bias);
  if (!std::isfinite(logit_scale) || !std::isfinite(loss_scale))
    throw Error(Fault::usage, str("linear_cross_entropy: logit_scale ", logit_scale,
                                  " and loss_scale ", loss_scale, " must be finite"));
  const int64_t rows = x.size(0), classes = weight.size(0);
  const Targets t = check_targets("linear_cross_entropy", targets, rows, classes, ignore_index);
  const bool recorded = should_record({&x, &weight, &bias});
  HeadCall h{packed(x),
             packed(weight),
             packed(bias),
             t.ids,
             logit_scale,
             t.count ? logit_scale * loss_scale / static_cast<double>(t.count) : 0,
             ignore_index,
             Tensor::empty({rows}, DType::f32, x.device()),
             {},
             {},
             {}};
  if (recorded)
    allocate_gradients(h, x.requires_grad(), weight.requires_grad(),
                       bias.defined() && bias.requires_grad());
  if (rows > 0) {
    const int64_t most = chunk_rows(rows, classes);
    const Tensor chunk = Tensor::empty({most, classes}, DType::f32, x.device());
    for (int64_t from = 0; from < rows; from += most)
      run_chunk(h, chunk, from, std::min(most, rows - from));
  }
  const Tensor loss = mean_of(h.losses, t.count, loss_scale);
  if (!recorded) return loss;
  record("linear_cross_entropy", {x, weight, bias}, {loss},
         [dx = h.dx, dweight = h.dweight, dbias = h.dbias](BackwardContext& c) -> Tensors {
           const double by = c.grad().item();
           return {scaled(dx, by), scaled(dweight, by), scaled(dbias, by)};
         });
  return loss;
}

}  // namespace wellspring
