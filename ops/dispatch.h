#pragma once
// From an operator to a chip's kernel. An operator checks its arguments, allocates outputs and calls
// launch(); everything that watches or switches kernels (hit log, switches, shadow mode) sits in here.

#include <atomic>
#include <initializer_list>
#include <span>

#include "tensor/tensor.h"

namespace wellspring {

/// A kernel by name, with the pointers of each chip once found. Define as a static in the operator's
/// source: `static KernelRef kSoftmax("softmax");`
class KernelRef {
 public:
  explicit constexpr KernelRef(const char* name) : name_(name) {}
  const char* name() const { return name_; }
  /// The chip's kernel, or null when it has none.
  Kernel on(int chip) const;

 private:
  const char* name_;
  static constexpr int kMaxChips = 16;
  mutable std::atomic<Kernel> found_[kMaxChips] = {};
  mutable std::atomic<uint32_t> looked_{0};
};

/// Scope in which the CPU's kernels come from another table (another instruction set, the slow
/// reference). For checks: engine thread only, and a kernel that the table lacks is an error.
class UseKernels {
 public:
  explicit UseKernels(std::span<const NamedKernel> table);
  ~UseKernels();
  UseKernels(const UseKernels&) = delete;
  UseKernels& operator=(const UseKernels&) = delete;

 private:
  const void* before_;
};

/// Runs a kernel on the device of the first defined tensor. All tensors lie on that device (else
/// Error(Fault::usage) with the operator and both devices). Undefined tensors become undefined views.
/// Outputs' versions are not touched: operators that write in place call mark_in_place themselves.
/// When the chip has no such kernel, the CPU's runs on copies, and the hit log says so.
void launch(const KernelRef& kernel, std::initializer_list<Tensor> outs,
            std::initializer_list<Tensor> ins, std::initializer_list<Attr> attrs = {});
void launch(const KernelRef& kernel, std::span<const Tensor> outs, std::span<const Tensor> ins,
            std::span<const Attr> attrs);

}  // namespace wellspring
