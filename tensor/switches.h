#pragma once
// Which kernels run, by name. A kernel that is off is answered by the next in line: another chip's
// by the CPU's, the CPU's by the slow reference.
//
//   choice   all | only NAME... | exclude NAME...     several follow each other after ';'
//   NAME     an operator (all its kernels, so every overload), a family or a kernel; "CHIP:NAME" on
//   one
//            chip alone; "NAME@SHAPES" for calls of these shapes alone, as the hit log writes them
//
// `only` leaves on what has no reference. WELLSPRING_KERNELS in the environment makes a choice for
// the process; choices made here are put there, so that programs started later make them, too.

#include <string>
#include <string_view>

namespace wellspring {

/// Replaces the choice of this process. Error(Fault::usage) for a name that nothing has, with the
/// nearest. Takes effect with the next launch.
void set_kernels(std::string_view choice);
/// What holds now, scopes and all: "exclude softmax; only opencl:matmul"; "all" at first.
std::string kernels_chosen();

/// A choice on top of what holds, until the scope ends: `KernelScope slow("exclude softmax");`. For
/// the whole process; scopes end in the opposite order.
class KernelScope {
 public:
  explicit KernelScope(std::string_view choice);
  ~KernelScope();
  KernelScope(const KernelScope&) = delete;
  KernelScope& operator=(const KernelScope&) = delete;
};

}  // namespace wellspring
