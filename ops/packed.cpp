#include "ops/packed.h"

#include "base/error.h"
#include "base/text.h"
#include "tensor/dispatch.h"

namespace wellspring {

static KernelRef kCopy("copy");

Tensor packed(const Tensor& t) { return t.defined() ? packed_as(t, t.dtype()) : t; }

Tensor packed_as(const Tensor& t, DType dtype) {
  if (!t.defined()) return t;
  if (t.is_contiguous() && t.dtype() == dtype) return t.detach();
  const Tensor copy = Tensor::empty(t.shape(), dtype, t.device());
  launch(kCopy, {copy}, {t.detach()});
  return copy;
}

bool is_exclusive(const Tensor& t) {
  return t.defined() && t.handle().use_count() == 1 && t.storage().use_count() == 1 &&
         !t.storage()->owner && t.is_contiguous();
}

void check_f32_or_bf16(const char* op, const char* operand, const Tensor& t) {
  if (!t.defined()) throw Error(Fault::usage, str(op, ": ", operand, " is undefined"));
  if (t.dtype() != DType::f32 && t.dtype() != DType::bf16)
    throw Error(Fault::usage, str(op, ": ", operand, " must be f32 or bf16, not ", t.text()));
}

}  // namespace wellspring
