#pragma once
// Runs the case lists: values against the slow reference on every instruction set, gradients
// against the reference's and against finite differences, the same bits for any number of threads,
// and speed. Tolerances against f64: |ours - reference| <= atol * length + rtol * |reference| with
//   f64 1e-12, 1e-11; f32 2e-6, 4e-6; bf16 1e-4, 0.016; f16 1e-4, 0.002; integers exactly.
// and for the published sets 1e-4, with rtol f64 1e-7; f32 1.3e-6; bf16 0.016; f16 1e-3. NaN
// answers NaN and an infinity itself.

#include <string>
#include <string_view>
#include <vector>

#include "chips/cpu/cpu.h"
#include "ops/cases.h"

namespace wellspring {

struct CheckOptions {
  std::vector<cpu::Isa> isas;  // empty: all that this processor has
  Device device;               // another than the CPU: values and gradients there, and no more
  bool gradients = true;
  bool threads = true;  // 1, 2, 3, 16 and 64 threads give the same bits
  bool full = false;    // the large published cases, too
  bool first = false;   // only the first case, with values and gradients: for slow builds
};

struct CheckResult {
  std::string op, name;  // operator, case
  std::string what;      // "values avx2", "gradient opencl:0", "differences", "threads"
  bool ok = true;
  std::string detail;  // what differs, where
  std::string on_cpu;  // on a device: the kernels that the CPU's stood in for, of those that ran
};

/// Checks all cases of one operator that are not only for speed.
std::vector<CheckResult> check_operator(std::string_view op, const CheckOptions& options = {});

/// Compares two tensors by the rule above (or the case's own tolerances); empty when they agree,
/// else what differs, where. `slack` multiplies both tolerances.
std::string difference(const Tensor& ours, const Tensor& expected, const OperatorCase& c,
                       double slack = 1);
/// Whether two tensors hold the same bits (shape and dtype too).
bool same_bits(const Tensor& a, const Tensor& b);

struct SpeedResult {
  std::string op, name, pass;  // pass: "forward" or "backward"
  double seconds = 0;          // median of the runs
  double gigabytes = 0;        // per second, 0 when the case says nothing of bytes
  double gigaflops = 0;        // per second, 0 when the case says nothing of operations
};

/// Times the cases of one operator that are for speed.
std::vector<SpeedResult> time_operator(std::string_view op);

/// What the machine can do now: copying 64 MB (read + written), and f32 and bf16 matrix products:
/// the greater of our own of 1024^3 and of multiply-adds in registers alone (which no product
/// exceeds).
struct Roof {
  double gigabytes = 0, gigaflops_f32 = 0, gigaflops_bf16 = 0;
};
Roof measure_roof();

}  // namespace wellspring
