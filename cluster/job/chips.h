#pragma once
// The one table of chip types, shared by job files, quotas, nodes and records.

#include <string>
#include <string_view>
#include <vector>

#include "base/config.h"

namespace wellspring::cluster {

/// A type of accelerator; a kind of CPU counts as one.
struct ChipKind {
  std::string name;    // canonical: lower case, as it stands in the state and in records
  std::string vendor;  // "NVIDIA"
  std::string title;   // as its maker writes it: "A100 80 GB"
  int memory_gb = 0;   // of its own, of one device, as sold; 0: unknown, or the host's (CPUs)
  std::vector<std::string> precisions;  // of chip_precisions(); empty: unknown
  std::vector<std::string> aliases;     // other names, in any case
  std::string source;                   // where memory and precisions come from
};

/// The chip types of a cluster: the built-in ones and those that the administrator adds. Reading is
/// thread-safe.
class ChipTable {
 public:
  /// The built-in types.
  ChipTable();
  /// Those alone, made once.
  static const ChipTable& built_in();

  /// Adds a type. Error(Fault::config) when its name is none (is_name, lower case), a precision is
  /// unknown, or a name or alias means another type already.
  void add(const ChipKind& kind);
  /// Adds what stands under `chips` in the administrator's configuration:
  ///   chips: [{name: x1, vendor: Example, memory: 64, precisions: [bf16, fp32], aliases: }]
  /// Error(Fault::config) with file and line.
  void add_from(const Config& config);

  /// The type of that name or alias in any case ('_' and ' ' count as '-'), or null.
  const ChipKind* find(std::string_view name) const;
  /// find(); Error(Fault::data) that names the nearest and how to see them all when there is none.
  const ChipKind& get(std::string_view name) const;
  /// Canonical names of what a user who asks for `name` accepts, the strongest first: for "cpu" all
  /// CPU kinds, for any other the type itself. Errors as get().
  std::vector<std::string> meant(std::string_view name) const;
  const std::vector<ChipKind>& all() const { return kinds_; }

 private:
  std::vector<ChipKind> kinds_;
};

/// fp64, fp32, tf32, bf16, fp16, fp8, fp4, int8, int4.
const std::vector<std::string>& chip_precisions();

/// The CPU kind of this machine ("cpu", "cpu-avx2", "cpu-avx512", "cpu-avx512vnni", "cpu-avx512bf16"): the strongest
/// set of instructions that processor and system support, by the rules of the program's CPU chip.
/// Costs a microsecond; loads nothing.
std::string chip_of_this_machine();

}  // namespace wellspring::cluster
