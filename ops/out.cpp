// Checks of targets, their shapes, and copies of results into them.

#include "ops/out.h"

#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "ops/arrange.h"

namespace wellspring {
namespace {

[[noreturn]] void fail(const char* op, const std::string& why) {
  throw Error(Fault::usage, str(op, ": ", why));
}

int category(DType t) { return is_complex(t) ? 3 : is_float(t) ? 2 : t == DType::boolean ? 0 : 1; }

struct Extent {
  const char *begin, *end;
};
Extent extent_of(const Tensor& t) {
  int64_t low = 0, high = 0;
  for (int d = 0; d < t.dims(); ++d) {
    const int64_t span = (t.shape()[d] - 1) * t.strides()[d];
    (span < 0 ? low : high) += span;
  }
  const int64_t size = static_cast<int64_t>(size_of(t.dtype()));
  const char* at = static_cast<const char*>(t.data());
  return {at + low * size, at + (high + 1) * size};
}
bool is_dense(const Tensor& t) {
  const Extent e = extent_of(t);
  return e.end - e.begin == t.numel() * static_cast<int64_t>(size_of(t.dtype()));
}
bool same_place(const Tensor& a, const Tensor& b) {
  return a.data() == b.data() && a.dtype() == b.dtype() && a.shape() == b.shape() &&
         a.strides() == b.strides();
}

}  // namespace

bool can_hold(DType to, DType from) {
  return is_complex(to) ? from == to : category(to) >= category(from);
}

Overlap overlap_of(const Tensor& target, const Tensor& operand) {
  if (!operand.defined() || operand.storage() != target.storage() || operand.numel() == 0 ||
      target.numel() == 0 || same_place(target, operand))
    return Overlap::apart;
  const Extent ours = extent_of(target), theirs = extent_of(operand);
  if (theirs.end <= ours.begin || ours.end <= theirs.begin) return Overlap::apart;
  return is_dense(operand) && is_dense(target) ? Overlap::partly : Overlap::perhaps;
}

void check_target(const char* op, const Tensor& target, DType result, Device device,
                  const char* what) {
  if (!target.defined()) fail(op, str(what, " is undefined"));
  if (!(target.device() == device))
    fail(op, str("the result is on ", device_name(device), ", but ", what, " ", target.text(),
                 " is on ", device_name(target.device())));
  if (!can_hold(target.dtype(), result))
    fail(op, str("the result is ", name_of(result), ", which ", what, " of dtype ",
                 name_of(target.dtype()), " cannot hold"));
  for (int d = 0; d < target.dims(); ++d)
    if (target.strides()[d] == 0 && target.shape()[d] > 1)
      fail(op, str("the target ", target.text(),
                   " repeats its elements (an expanded view); clone() it first"));
}

void check_overlap(const char* op, const Tensor& target, const Tensor& operand) {
  if (overlap_of(target, operand) == Overlap::partly)
    fail(op, str("the target ", target.text(), " and the operand ", operand.text(),
                 " overlap partly in memory; clone() one of them first"));
}

void fit_shape(const char* op, const Tensor& out, const Shape& shape) {
  if (out.shape() == shape) return;
  if (out.numel())
    warn(op, str("out was resized from shape ", out.shape().text(), " to ", shape.text(),
                 ", that of the result; give an empty tensor, or resize_(out, 0) first"));
  resize_(out, shape);
}

OutForm::OutForm(const char* op, std::initializer_list<const Tensor*> outs)
    : op_(op), outs_(outs), recording_(grad_enabled()) {
  for (const Tensor* out : outs_)
    if (!out->defined()) fail(op_, "out is undefined");
}

void OutForm::reads(const Tensor& x) const {
  if (!x.defined()) return;
  if (recording_ && x.requires_grad())
    fail(op_,
         "a result written to out has no gradient; use the plain form, or NoGrad "
         "(Python: with wellspring.no_grad())");
  for (const Tensor* out : outs_) check_overlap(op_, *out, x);
}
void OutForm::reads(const std::optional<Tensor>& x) const {
  if (x) reads(*x);
}
void OutForm::reads(std::span<const Tensor> list) const {
  for (const Tensor& x : list) reads(x);
}

void OutForm::write(std::initializer_list<Tensor> results) const {
  WS_CHECK(results.size() == outs_.size(), "as many results as targets");
  for (size_t i = 0; i < outs_.size(); ++i) {
    const Tensor& result = results.begin()[i];
    check_target(op_, *outs_[i], result.dtype(), result.device());
    for (size_t j = 0; j < i; ++j)
      if (same_place(*outs_[i], *outs_[j]) && outs_[i]->numel())
        fail(op_, str("two results go to the same tensor ", outs_[i]->text()));
      else
        check_overlap(op_, *outs_[i], *outs_[j]);
  }
  for (size_t i = 0; i < outs_.size(); ++i) {
    const Tensor& result = results.begin()[i];
    mark_in_place(op_, *outs_[i], false);
    fit_shape(op_, *outs_[i], result.shape());
    outs_[i]->copy_from(result);
  }
}

}  // namespace wellspring
