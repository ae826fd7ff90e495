#pragma once
// The tables behind KernelRef, for dispatch, switches and the hit log alone.

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>

#include "tensor/dispatch.h"

namespace wellspring {

/// The kernels of one set. Entries stay where they are, missing kernels' too: KernelRef points at
/// them.
struct KernelTable {
  std::string set;
  int chip = 0;
  std::unordered_map<std::string, KernelEntry> entries;
  bool is_reference() const { return set == "reference"; }
};

/// All tables, by chip and set. Never destroyed: the hit log is printed at exit.
struct KernelTables {
  std::mutex mutex;
  std::map<std::pair<int, std::string>, std::unique_ptr<KernelTable>> all;
  const std::vector<NamedKernel>& (*stand_ins)() = nullptr;
  KernelNames names;
};
KernelTables& kernel_tables();

/// The set that a chip runs; obeys the environment's switches. The lock is held.
KernelTable& own_table(int chip);
/// The reference's entry of a kernel; null when there is none. The lock is held.
KernelEntry* reference_entry(const std::string& kernel);
/// Whether a chip of this name has such a kernel, whatever is on.
bool has_kernel(int chip, const std::string& kernel);

/// Makes what the switches say true of a table. The lock is held.
void apply_switches(KernelTable& table);

/// What a launch does besides: 0 nothing.
struct Watching {
  static constexpr int kHits = 1, kShadow = 2;
};
extern std::atomic<int> watching;
/// Runs a kernel of a set with whatever is watched.
void run_watched(const char* kernel, const KernelEntry& entry, Kernel found, const Call& call,
                 std::span<const Tensor> outs, std::span<const Tensor> ins, Device device);
/// Adds a call to the detailed log, if it is on.
void log_call(const char* kernel, Device device, std::string_view ran, const Call& call,
              double seconds);
/// Reads the environment and asks for a turn at exit; once.
void start_hit_log();

/// A call's tensors on the host: where an output shares memory with another tensor, all of that
/// memory is copied, once. `always`: what is on the host already is copied, too.
struct HostCopies {
  std::vector<Tensor> outs, ins;
  HostCopies(std::span<const Tensor> outs, std::span<const Tensor> ins, bool always);
};

/// The tensors of a call as text: "f32[2,5]|f32[2,5]", outputs first; "-" for an undefined one.
std::string shapes_of(const Call& call);

}  // namespace wellspring
