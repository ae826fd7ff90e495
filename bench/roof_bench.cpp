// Measures what the machine can do at most, for the share-of-roof column of the benchmarks. Reads
// lines "f32|bf16|read|copy seconds" from standard input and answers each with the rate that all of
// the process's threads reach together: multiply-adds in flop/s (bf16: of the best instructions for
// bf16 factors, which without AVX512-BF16 are those of f32), reading of DRAM, and copying (read +
// written) in byte/s. Of multiply-adds the best pass counts, of memory the median one.
#if defined(__x86_64__)
#include <immintrin.h>
#endif

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <iostream>
#include <sstream>
#include <string>
#include <vector>

#include "base/threads.h"

namespace wellspring {
namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// Of repeated calls for `budget` seconds, in order.
std::vector<double> seconds_of(double budget, const std::function<void()>& f) {
  f();
  std::vector<double> times;
  for (const double end = now() + budget; now() < end || times.size() < 3;) {
    const double begin = now();
    f();
    times.push_back(now() - begin);
  }
  std::sort(times.begin(), times.end());
  return times;
}

// Each returns the flops done. Twelve sums in registers are more than latency x units needs.
#if defined(__x86_64__)
#define WS_PEAK(name, features, vector, zero, step, flops)               \
  __attribute__((target(features), noinline)) double name(int64_t n) {   \
    vector acc[12];                                                      \
    _Pragma("GCC unroll 12") for (int j = 0; j < 12; ++j) acc[j] = zero; \
    for (int64_t i = 0; i < n; ++i) {                                    \
      _Pragma("GCC unroll 12") for (int j = 0; j < 12; ++j) {            \
        acc[j] = step;                                                   \
        __asm__ volatile("" : "+v"(acc[j]));                             \
      }                                                                  \
    }                                                                    \
    return static_cast<double>(n) * 12 * flops;                          \
  }
WS_PEAK(peak_avx2, "avx2,fma", __m256, _mm256_setzero_ps(),
        _mm256_fmadd_ps(_mm256_set1_ps(1.0f), _mm256_set1_ps(0.5f), acc[j]), 16)
WS_PEAK(peak_avx512, "avx512f", __m512, _mm512_setzero_ps(),
        _mm512_fmadd_ps(_mm512_set1_ps(1.0f), _mm512_set1_ps(0.5f), acc[j]), 32)
WS_PEAK(peak_bf16, "avx512f,avx512bf16", __m512, _mm512_setzero_ps(),
        _mm512_dpbf16_ps(acc[j], (__m512bh)_mm512_set1_epi32(0x3f803f80),
                         (__m512bh)_mm512_set1_epi32(0x3f003f00)),
        64)
#endif

using Peak = double (*)(int64_t);
Peak peak_of(bool bf16) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (bf16 && __builtin_cpu_supports("avx512bf16")) return peak_bf16;
  if (__builtin_cpu_supports("avx512f")) return peak_avx512;
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return peak_avx2;
#endif
  return nullptr;
}

double multiply_rate(bool bf16, double budget) {
  const Peak peak = peak_of(bf16);
  if (!peak) return 0;
  std::vector<double> done(threads());
  const double time = seconds_of(budget, [&] {
    parallel_for(threads(), [&](int64_t tile) { done[tile] = peak(1 << 18); });
  })[0];
  double flops = 0;
  for (const double d : done) flops += d;
  return flops / time;
}

constexpr int64_t kPart = 1 << 21, kParts = 128;  // bytes: far more than the last cache holds

double memory_rate(bool copy, double budget) {
  char* from = static_cast<char*>(std::aligned_alloc(4096, kPart * kParts));
  char* to = copy ? static_cast<char*>(std::aligned_alloc(4096, kPart * kParts)) : nullptr;
  if (!from || (copy && !to)) return 0;
  std::memset(from, 1, kPart * kParts);
  if (copy) std::memset(to, 1, kPart * kParts);
  std::vector<uint64_t> sums(kParts);
  // The median: others use the same memory, and what is compared with it cannot pick its moment.
  const std::vector<double> times = seconds_of(budget, [&] {
    parallel_for(kParts, [&](int64_t part) {
      typedef uint64_t wide __attribute__((vector_size(16)));
      const wide* p = reinterpret_cast<const wide*>(from + part * kPart);
      if (copy) {
        std::memcpy(to + part * kPart, p, kPart);
        return;
      }
      wide sum[8] = {};
      for (int64_t i = 0; i < kPart / 16; i += 8) {
#pragma GCC unroll 8
        for (int j = 0; j < 8; ++j) sum[j] += p[i + j];
      }
      for (int j = 1; j < 8; ++j) sum[0] += sum[j];
      sums[part] = sum[0][0] + sum[0][1];
    });
  });
  const double time = times[times.size() / 2];
  uint64_t total = 0;
  for (const uint64_t s : sums) total += s;
  std::free(from);
  std::free(to);
  if (!copy && total == 0) return 0;  // never: it keeps the sums alive
  return (copy ? 2.0 : 1.0) * kPart * kParts / time;
}

int run() {
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    std::string what;
    double budget = 0;
    words >> what >> budget;
    if (what == "f32" || what == "bf16")
      std::cout << multiply_rate(what == "bf16", budget) << std::endl;
    else if (what == "read" || what == "copy")
      std::cout << memory_rate(what == "copy", budget) << std::endl;
    else {
      std::cerr << "roof_bench: cannot read '" << line << "'\n";
      return 64;
    }
  }
  return 0;
}

}  // namespace
}  // namespace wellspring

int main() { return wellspring::run(); }
