// cat and copy_, which contiguous, clone and conversions of dtype end in.

#include "python/src/torch/use.h"

namespace wellspring::python {
namespace {

KernelRef kCopy("copy");

bool copy(Frame& f) {  // self, src, non_blocking
  const TensorArg *to = taken(f.args[0]), *from = taken(f.args[1]);
  if (!to || !from || from->dims > to->dims || to->numel == 0 || may_overlap(*to, *from))
    return false;
  OwnView in;
  in.data = from->data, in.dtype = dtype_of(*from);
  for (int d = 0; d < to->dims; ++d) {
    const int own = d - (to->dims - from->dims);
    if (own < 0 || from->sizes[own] == 1)
      in.add(to->sizes[d], 0);
    else if (from->sizes[own] == to->sizes[d])
      in.add(to->sizes[d], from->strides[own]);
    else
      return false;
    if (to->strides[d] == 0 && to->sizes[d] > 1) return false;
  }
  // Floats to integers: values out of range are the processor's own there.
  if (is_float(in.dtype) && !is_float(dtype_of(*to))) return false;
  run_kernel(kCopy, {view_of(*to)}, {in.view()});
  give_back(f, 0);
  return true;
}

bool cat(Frame& f) {  // tensors, dim
  const Arg& list = f.args[0];
  if (list.kind != Kind::tensors || list.count == 0 || f.args[1].kind != Kind::integer)
    return false;
  const TensorArg& first = list.tensors[0];
  if (!takes(first) || first.dims == 0) return false;
  const int64_t dim = f.args[1].i < 0 ? f.args[1].i + first.dims : f.args[1].i;
  if (dim < 0 || dim >= first.dims) return false;
  int64_t sizes[kMaxDims];
  std::copy(first.sizes, first.sizes + first.dims, sizes);
  sizes[dim] = 0;
  for (int64_t i = 0; i < list.count; ++i) {
    const TensorArg& t = list.tensors[i];
    if (!takes(t) || t.dims != first.dims || t.type != first.type || t.numel == 0) return false;
    if (channels_last(t) || (first.dims > 4 && !is_contiguous(t)))
      return false;  // so may be the result
    for (int d = 0; d < t.dims; ++d)
      if (d != dim && t.sizes[d] != sizes[d]) return false;
    sizes[dim] += t.sizes[dim];
  }
  const TensorArg out = make_result(f, {sizes, static_cast<size_t>(first.dims)}, first.type);
  int64_t before = 0;
  for (int64_t i = 0; i < list.count; ++i) {
    const TensorArg& t = list.tensors[i];
    View part = view_of(t);
    part.data = static_cast<char*>(out.data) +
                before * out.strides[dim] * static_cast<int64_t>(size_of(dtype_of(out)));
    part.strides = out.strides;
    run_kernel(kCopy, {part}, {view_of(t)});
    before += t.sizes[dim];
  }
  return true;
}

}  // namespace

void add_copy(std::vector<Entry>* all) {
  all->push_back({"aten::copy_", 3, copy});
  all->push_back({"aten::cat", 2, cat});
}

}  // namespace wellspring::python
