#pragma once
// From an operator to a chip's kernel. An operator checks its arguments, allocates outputs and
// calls launch(). Here too, because the tape sums gradients by launching: the hit log, which counts
// what ran where (kernel_hits(), or WELLSPRING_HITS=1 in the environment for a table on the error
// output at exit), and the switches that take a kernel out (switch_kernel(), or
// WELLSPRING_KERNELS_OFF="softmax opencl:matmul").

#include <atomic>
#include <initializer_list>
#include <span>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace wellspring {

/// One kernel of one set of kernels, with its counters. Never destroyed.
struct KernelEntry {
  std::atomic<Kernel> kernel{nullptr};       // what runs: null when the chip has none, or it is off
  Kernel own = nullptr;                      // what the chip has
  std::atomic<uint64_t> hits{0}, on_cpu{0};  // calls of it; calls that the CPU's had to answer
};

/// A kernel by name, with the entry of each chip once found. Define as a static in the operator's
/// source: `static KernelRef kSoftmax("softmax");`. Thread-safe.
class KernelRef {
 public:
  explicit constexpr KernelRef(const char* name) : name_(name) {}
  const char* name() const { return name_; }
  /// The chip's entry. Error(Fault::usage) when WELLSPRING_KERNELS_OFF names what is not there.
  KernelEntry& on(int chip) const;

 private:
  const char* name_;
  mutable std::atomic<KernelEntry*> found_[kMaxChips] = {};
};

/// Scope in which the CPU's kernels come from another set (another instruction set, the slow
/// reference). For checks: engine thread only, and a kernel that the set lacks is an error.
class UseKernels {
 public:
  /// `set` names the set in the hit log; all tables of one name are the same.
  UseKernels(std::string_view set, std::span<const NamedKernel> table);
  ~UseKernels();
  UseKernels(const UseKernels&) = delete;
  UseKernels& operator=(const UseKernels&) = delete;

 private:
  const void* before_;
};

/// Runs a kernel on the device of the first defined tensor. All tensors lie on that device (else
/// Error(Fault::usage) with the operator and both devices). Undefined tensors become undefined
/// views. Outputs' versions are not touched: operators that write in place call mark_in_place
/// themselves. When the chip has no such kernel (or it is off), the CPU's runs on copies, and the
/// hit log says so.
void launch(const KernelRef& kernel, std::initializer_list<Tensor> outs,
            std::initializer_list<Tensor> ins, std::initializer_list<Attr> attrs = {});
void launch(const KernelRef& kernel, std::span<const Tensor> outs, std::span<const Tensor> ins,
            std::span<const Attr> attrs);

/// A line of the hit log. Thread-safe.
struct KernelHits {
  std::string kernel, chip;
  std::string
      ran;  // the set: "avx2", "reference", the chip's name; "on the cpu" when its kernel stood in
  uint64_t calls = 0;
};
/// What ran since the start, by kernel, chip and set.
std::vector<KernelHits> kernel_hits();

/// Takes a chip's kernel out, or puts it back: the CPU's then stands in for a chip's, the slow
/// reference for the CPU's. Error(Fault::usage) when there is no such chip or kernel. Takes effect
/// with the next launch.
void switch_kernel(std::string_view chip, std::string_view kernel, bool on);

/// The set of kernels that stands in for CPU kernels that are off (ops/reference registers it).
void set_stand_ins(const std::vector<NamedKernel>& (*table)());

}  // namespace wellspring
