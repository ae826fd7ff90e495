#pragma once
// The CPU as a chip: ordinary memory, work done when a call returns, kernels of the best
// instruction set that the machine has.

#include <string>
#include <string_view>
#include <vector>

#include "tensor/chip.h"

namespace wellspring::cpu {

/// Sets from weak to strong; each needs all before it.
enum class Isa { portable, avx2, avx512, avx512vnni, avx512bf16 };
inline constexpr int kIsaCount = 5;
std::string_view name_of(Isa isa);
/// The set of that name. Error(Fault::usage) that begins with `what` ("--isa") and names all.
Isa parse_isa(std::string_view name, const std::string& what);
/// Whether this processor and operating system support a set and this build has its kernels.
bool has(Isa isa);
/// The strongest of those.
Isa best_isa();
/// The set in use: best_isa(), or what WELLSPRING_ISA names. Error(Fault::usage) when it names
/// none, or one that the processor or this build lacks. Decided once, at the first call.
Isa isa();
/// All kernels of one set, whether or not it is the one in use (running them needs the processor).
std::vector<NamedKernel> kernels_of(Isa isa);
/// Bytes that kernels hold as scratch memory now, of all threads.
int64_t scratch_bytes();

const Chip& chip();

}  // namespace wellspring::cpu
