#pragma once
// What every CPU kernel source includes. Such a source is compiled once per instruction set, with
// WS_ISA naming the set: everything in it lives in WS_KERNELS_BEGIN/END, an anonymous namespace
// inside one per set, so that no function compiled for a newer set can be linked into another. Do
// not include headers with inline functions that are not always inlined (std containers, strings):
// an AVX-512 copy of them could be the one that the linker keeps. Own state: stack and scratch()
// only.

#include <cstddef>
#include <cstdint>

#include "base/threads.h"
#include "tensor/chip.h"
#include "tensor/dtype.h"

// WS_ISA: portable | avx2 | avx512 | avx512vnni | avx512bf16 ; WS_ISA_LEVEL: 0 | 1 | 2 | 2 | 3
#define WS_CONCAT_(a, b) a##b
#define WS_CONCAT(a, b) WS_CONCAT_(a, b)
#define WS_STRING_(a) #a
#define WS_STRING(a) WS_STRING_(a)

#define WS_KERNELS_BEGIN              \
  namespace wellspring {              \
  namespace WS_CONCAT(isa_, WS_ISA) { \
    namespace {
#define WS_KERNELS_END \
  }                    \
  }                    \
  }
/// The same without the anonymous namespace: for a function that other kernel sources of the set
/// call.
#define WS_SHARED_BEGIN  \
  namespace wellspring { \
  namespace WS_CONCAT(isa_, WS_ISA) {
#define WS_SHARED_END \
  }                   \
  }

/// Puts a kernel into the table of its instruction set (a linker section, so no code runs at load;
/// entries have their natural alignment, so that they lie without gaps):
///   WS_KERNEL("softmax", softmax)
#define WS_KERNEL(name_text, function)                           \
  __attribute__((section("ws_kernels_" WS_STRING(WS_ISA)), used, \
                 aligned(alignof(::wellspring::NamedKernel))))   \
  const ::wellspring::NamedKernel WS_CONCAT(entry_, function){name_text, function};

namespace wellspring::cpu {

/// Scratch memory of the running thread: at least `bytes`, 64-byte aligned, kept and reused by the
/// next call with the same `slot` (0-7) on this thread; contents are undefined.
void* scratch(int slot, size_t bytes);

/// Throws Error(Fault::internal) with the kernel's name: for a dtype or layout that the operator's
/// checks should have kept away.
[[noreturn]] void kernel_refuses(const char* kernel, const char* why);

/// Throws Error(Fault::usage): a whole number is divided by zero.
[[noreturn]] void divides_by_zero();

/// Throws IndexError: an index that does not lie in [0, extent) of dimension `dim`.
[[noreturn]] void bad_index(const char* kernel, int64_t index, int64_t extent, int dim);

}  // namespace wellspring::cpu
