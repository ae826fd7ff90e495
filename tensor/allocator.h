#pragma once
// The caching allocator over a chip's raw memory: big segments, best fit with splitting and
// merging. Freed blocks are kept and reused, so that in steady state no page is touched for the
// first time.

#include <cstddef>
#include <cstdint>

#include "tensor/chip.h"

namespace wellspring {

struct MemoryFigures {
  int64_t in_use = 0;    // bytes handed out now
  int64_t peak = 0;      // highest in_use since reset_peak_memory
  int64_t reserved = 0;  // bytes taken from the chip
};

/// Memory of at least `bytes` (rounded up to 256; 0 gives null). Thread-safe. When the chip is out
/// of memory, cached segments are given back and it tries once more, then throws
/// Error(Fault::missing) with the size asked for and the figures.
void* allocate_memory(Device device, size_t bytes);
void free_memory(Device device, void* data);
MemoryFigures memory_figures(Device device);
void reset_peak_memory(Device device);
/// Gives segments that are wholly free back to the chip.
void empty_cache(Device device);

}  // namespace wellspring
