#pragma once
// What ran: kernels by chip and set, counted always; with shapes and times when asked for.
//
//   WELLSPRING_HITS=1        a table on the error output at exit
//   WELLSPRING_HITS=json     the same as JSON
//   WELLSPRING_HITS=FILE     JSON into a file; %p in its name is the process
//   WELLSPRING_SHADOW=N      the first N calls of each kernel once more by the reference, in f64,
//   on
//                            copies; at exit a table of the differences on the error output, or
//                            beside the hits in the JSON
//
// Asked for, times are true: each launch on a device is waited for.

#include <cstdint>
#include <string>
#include <vector>

namespace wellspring {

/// A line of the hit log.
struct KernelHits {
  std::string kernel, chip;
  std::string
      ran;  // the set: "avx2", "reference", the chip's name; "on the cpu" when its kernel stood in
  uint64_t calls = 0;
  double seconds = 0;  // counted while the log is detailed
  std::string shapes;  // of kernel_details(): "f32[2,5]|f32[2,5]", outputs first
};
/// What ran since the start, by kernel, chip and set. Thread-safe.
std::vector<KernelHits> kernel_hits();
/// The same by shapes, longest first: what ran while the log was detailed. Thread-safe.
std::vector<KernelHits> kernel_details();
/// Shapes and times from now on, or no more.
void set_hit_details(bool on);

/// What shadow mode found of one kernel.
struct ShadowError {
  std::string kernel, chip;
  int64_t calls = 0;        // compared
  double greatest = 0;      // |ours - reference|
  double relative = 0;      // greatest over the root of the mean square of the reference's result
  int64_t not_numbers = 0;  // elements that are NaN or infinite on one side only
  std::string shapes;       // of the call with the greatest relative difference
};
/// The first `calls` calls of each kernel from now on, what was found before forgotten; 0: no more.
void set_shadow(int64_t calls);
/// Greatest relative difference first.
std::vector<ShadowError> shadow_errors();

}  // namespace wellspring
