#pragma once
// From an operator to a chip's kernel. An operator checks its arguments, allocates outputs and
// calls launch(). Here, not in ops/, because the tape sums gradients by launching, too. What ran is
// in tensor/hit_log.h, what may run in tensor/switches.h.

#include <atomic>
#include <initializer_list>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace wellspring {

struct KernelTable;
using ShapeList = std::set<std::string>;

/// One kernel of one set of kernels, with its counters. Never destroyed.
struct KernelEntry {
  std::atomic<Kernel> kernel{nullptr};   // what runs: null when the chip has none, or it is off
  Kernel own = nullptr;                  // what the chip has
  bool (*takes)(const Call&) = nullptr;  // which calls; null: all
  std::atomic<const ShapeList*> off_for{nullptr};  // shapes that it is off for; null: none
  std::atomic<uint64_t> hits{0}, on_cpu{0};        // calls of it; that the CPU's answered
  const KernelTable* table = nullptr;
};

/// A kernel by name, with the entry of each chip once found. Define as a static in the operator's
/// source: `static KernelRef kSoftmax("softmax");`. Thread-safe.
class KernelRef {
 public:
  explicit constexpr KernelRef(const char* name) : name_(name) {}
  const char* name() const { return name_; }
  /// The chip's entry. Error(Fault::usage) when WELLSPRING_KERNELS names what is not there.
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
/// themselves. When the chip has no such kernel, or it does not take the call, or it is off, the
/// CPU's runs on copies, and the hit log says so.
void launch(const KernelRef& kernel, std::initializer_list<Tensor> outs,
            std::initializer_list<Tensor> ins, std::initializer_list<Attr> attrs = {});
void launch(const KernelRef& kernel, std::span<const Tensor> outs, std::span<const Tensor> ins,
            std::span<const Attr> attrs);

/// The same on views of CPU memory that is another library's.
void launch(const KernelRef& kernel, const Call& call);

/// Scope of the calling thread in which nothing stands in for a CPU kernel that is off: launch()
/// throws Error(Fault::usage) before anything has run.
class NoStandIns {
 public:
  explicit NoStandIns(bool on = true);
  ~NoStandIns();
  NoStandIns(const NoStandIns&) = delete;
  NoStandIns& operator=(const NoStandIns&) = delete;

 private:
  bool before_;
};

/// The set of kernels that stands in for CPU kernels that are off (ops/reference registers it).
void set_stand_ins(const std::vector<NamedKernel>& (*table)());
/// That set; empty when nothing registered one.
std::vector<NamedKernel> stand_ins();

/// How operators and kernels are called in terms of one another (ops registers it). Null: unknown.
struct KernelNames {
  std::vector<std::string> (*kernels_of)(std::string_view operator_or_family) = nullptr;
  std::string (*operators_of)(std::string_view kernel) = nullptr;  // separated by spaces
  std::vector<std::string> (*all)() = nullptr;                     // operators and families
};
void set_kernel_names(const KernelNames& names);
/// The operators that a kernel belongs to, separated by spaces; empty when nobody knows.
std::string operators_of_kernel(std::string_view kernel);

}  // namespace wellspring
