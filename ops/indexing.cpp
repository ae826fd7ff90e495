#include "ops/indexing.h"

#include "base/index_error.h"
#include "base/text.h"
#include "ops/packed.h"
#include "ops/reduce.h"
#include "ops/shape.h"
#include "tensor/autograd.h"

namespace wellspring {

void fail_index(const char* op, const Tensor& x, const Tensor& index, const std::string& why) {
  throw Error(Fault::usage, str(op, " of ", x.text(), " by index ", index.text(), ": ", why));
}

namespace {

[[noreturn]] void out_of_range(const std::string& message, bool places) {
  if (places) throw Error(Fault::usage, message);
  throw IndexError(message);
}

}  // namespace

void check_index(const char* op, const Tensor& x, int dim, const Tensor& index, bool places) {
  if (index.dtype() != DType::i32 && index.dtype() != DType::i64)
    fail_index(op, x, index, "it must be i32 or i64");
  if (x.device().is_cpu() || index.numel() == 0) return;
  NoGrad none;
  const double low = amin(index).item(), high = amax(index).item();
  if (low < 0 || high >= static_cast<double>(x.shape()[dim]))
    out_of_range(str(op, " of ", x.text(), " by index ", index.text(), ": index ",
                     static_cast<int64_t>(low < 0 ? low : high), " is out of range for dimension ",
                     dim, " of extent ", x.shape()[dim]),
                 places);
}

void check_list(const char* op, const Tensor& x, int dim, const Tensor& index) {
  if (index.dims() != 1) fail_index(op, x, index, "it must be 1-d");
  check_index(op, x, dim, index);
}

void check_places(const char* op, const Tensor& x, int dim, const Tensor& index) {
  if (index.dims() != x.dims()) fail_index(op, x, index, "both must have as many dimensions");
  for (int i = 0; i < x.dims(); ++i)
    if (i != dim && index.shape()[i] > x.shape()[i])
      fail_index(op, x, index, str("dimension ", i, " is too long"));
  check_index(op, x, dim, index, true);
}

void check_written(const char* op, const Tensor& x, const Tensor& source) {
  if (x.dtype() != source.dtype() || is_complex(x.dtype()))
    throw Error(Fault::usage, str(op, ": ", x.text(), " and source ", source.text(),
                                  " must be of one dtype, not complex"));
  for (int i = 0; i < x.dims(); ++i)
    if (x.strides()[i] == 0 && x.shape()[i] > 1)
      throw Error(Fault::usage,
                  str(op, " in place on ", x.text(), ": elements share memory; clone() it first"));
}

void launch_by_index(const char* op, const Tensor& x, const Tensor& index, const KernelRef& kernel,
                     std::initializer_list<Tensor> outs, std::initializer_list<Tensor> ins,
                     std::initializer_list<Attr> attrs, bool places) {
  try {
    launch(kernel, outs, ins, attrs);
  } catch (const IndexError& e) {
    out_of_range(str(op, " of ", x.text(), " by index ", index.text(), ": ", e.what()), places);
  }
}

Tensor as_line(const Tensor& x) { return x.dims() == 0 ? unsqueeze(x, 0) : x; }

Tensor apart(const Tensor& x, const Tensor& source) {
  if (source.storage() != x.storage()) return source.detach();
  NoGrad none;
  return clone(source.detach());
}

}  // namespace wellspring
