// Rows by index: embedding, and the loss of class indices.

#include <cstring>

#include "python/src/torch/rows.h"

namespace wellspring::python {
namespace {

using torch_bridge::kF32;
KernelRef kEmbedding("embedding"), kEmbeddingBackward("embedding_backward"), kCopy("copy"),
    kNll("nll_loss"), kNllBackward("nll_loss_backward");

bool is_table(const TensorArg* t) {
  return t && t->dims == 2 && t->numel > 0 && is_contiguous(*t) &&
         (dtype_of(*t) == DType::f32 || dtype_of(*t) == DType::bf16);
}

bool embedding(Frame& f) {  // weight, indices, padding_idx, scale_grad_by_freq, sparse
  const TensorArg *weight = taken(f.args[0]), *ids = taken(f.args[1]);
  int64_t counted;
  if (!is_table(weight) || !takes_ids(ids, weight->sizes[0], kNone, &counted) ||
      ids->dims == kMaxDims)
    return false;
  int64_t sizes[kMaxDims];
  std::copy(ids->sizes, ids->sizes + ids->dims, sizes);
  sizes[ids->dims] = weight->sizes[1];
  const TensorArg y = make_result(f, {sizes, static_cast<size_t>(ids->dims + 1)}, weight->type);
  run_kernel(kEmbedding, {view_of(y)}, {view_of(*weight), view_of(*ids)});
  return true;
}

// grad_output, indices, num_weights, padding_idx, scale_grad_by_freq
bool embedding_backward(Frame& f) {
  const TensorArg *dy = taken(f.args[0]), *ids = taken(f.args[1]);
  int64_t counted;
  const int64_t rows = f.args[2].i, padding = f.args[3].i;
  if (!dy || (dy->type != kF32 && dy->type != torch_bridge::kBF16) || dy->dims < 1 ||
      !is_contiguous(*dy) || f.args[4].i || rows <= 0 || !takes_ids(ids, rows, kNone, &counted))
    return false;
  const int64_t width = dy->sizes[dy->dims - 1];
  if (width == 0 || dy->numel != ids->numel * width) return false;
  const int64_t sizes[] = {rows, width};
  const TensorArg grad = make_result(f, sizes, dy->type);
  if (dy->type == kF32) {
    run_kernel(kEmbeddingBackward, {view_of(grad)}, {view_of(*dy), view_of(*ids)}, {false});
  } else {  // sums are f32
    std::vector<float> from(static_cast<size_t>(dy->numel)), sums(static_cast<size_t>(grad.numel));
    const OwnView wide = packed_view(from.data(), DType::f32, {ids->numel, width}),
                  narrow = packed_view(dy->data, DType::bf16, {ids->numel, width}),
                  places = packed_view(ids->data, dtype_of(*ids), {ids->numel}),
                  sum = packed_view(sums.data(), DType::f32, {rows, width});
    run_kernel(kCopy, {wide.view()}, {narrow.view()});
    run_kernel(kEmbeddingBackward, {sum.view()}, {wide.view(), places.view()}, {false});
    run_kernel(kCopy, {view_of(grad)}, {sum.view()});
  }
  if (padding >= 0 && padding < rows)
    std::memset(static_cast<char*>(grad.data) + padding * width * size_of(dtype_of(grad)), 0,
                static_cast<size_t>(width) * size_of(dtype_of(grad)));
  return true;
}

enum Reduction : int64_t { kKeep = 0, kMean = 1, kSum = 2 };

// self, target, weight, reduction, ignore_index -> output, total_weight
bool nll(Frame& f) {
  const TensorArg *x = taken(f.args[0]), *target = taken(f.args[1]);
  const int64_t reduction = f.args[3].i, ignored = f.args[4].i;
  int64_t counted;
  if (!is_table(x) || x->type != kF32 || !is_none(f.args[2]) || reduction == kKeep || !target ||
      target->dims != 1 || target->sizes[0] != x->sizes[0] ||
      !takes_ids(target, x->sizes[1], ignored, &counted))
    return false;
  std::vector<float> losses(static_cast<size_t>(x->sizes[0]));
  const OwnView to = packed_view(losses.data(), DType::f32, {x->sizes[0]});
  run_kernel(kNll, {to.view()}, {view_of(*x), view_of(*target)}, {ignored});
  double sum = 0;
  for (const float l : losses) sum += static_cast<double>(l);
  const TensorArg output = make_result(f, {}, kF32), total = make_result(f, {}, kF32);
  *static_cast<float*>(output.data) =
      static_cast<float>(reduction == kMean ? sum / static_cast<double>(counted) : sum);
  *static_cast<float*>(total.data) = static_cast<float>(counted);
  return true;
}

// grad_output, self, target, weight, reduction, ignore_index, total_weight
bool nll_backward(Frame& f) {
  const TensorArg *g = taken(f.args[0]), *x = taken(f.args[1]), *target = taken(f.args[2]),
                  *total = taken(f.args[6]);
  const int64_t reduction = f.args[4].i, ignored = f.args[5].i;
  int64_t counted;
  if (!g || g->dims != 0 || g->type != kF32 || !is_table(x) || x->type != kF32 ||
      !is_none(f.args[3]) || reduction == kKeep || !target || target->dims != 1 ||
      target->sizes[0] != x->sizes[0] || !total || total->type != kF32 || total->numel != 1 ||
      !takes_ids(target, x->sizes[1], ignored, &counted))
    return false;
  const double grad = *static_cast<const float*>(g->data),
               count = *static_cast<const float*>(total->data);
  const TensorArg dx = make_like(f, *x);
  run_kernel(kNllBackward, {view_of(dx)}, {view_of(*target)},
             {reduction == kMean ? -grad / count : -grad, ignored});
  return true;
}

}  // namespace

void add_loss(std::vector<Entry>* all) {
  all->push_back({"aten::embedding", 5, embedding});
  all->push_back({"aten::embedding_dense_backward", 5, embedding_backward});
  all->push_back({"aten::nll_loss_forward", 5, nll});
  all->push_back({"aten::nll_loss_backward", 7, nll_backward});
}

}  // namespace wellspring::python
