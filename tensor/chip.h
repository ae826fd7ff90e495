#pragma once
// The chip interface: a table of functions that one folder chips/<chip>/ fills and registers at run
// time. Everything above reaches memory, queues and kernels of a chip through this table alone.

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/dtype.h"

namespace wellspring {

inline constexpr int kMaxDims = 8;
inline constexpr int kMaxChips = 16;

/// One device: which registered chip, and which of its devices. `Device{}` is the CPU.
struct Device {
  uint8_t chip = 0;   // index into chips(); 0 is always the CPU
  uint8_t index = 0;  // device of that chip
  bool operator==(const Device&) const = default;
  bool is_cpu() const { return chip == 0; }
};

/// An in-order stream of work on one device. Chips derive theirs; the CPU's is null (work is done
/// when the call returns).
struct Queue {};

/// What a kernel sees of a tensor. Shapes and strides are in elements; a stride may be 0 (expanded)
/// or any other value; `data` points at the first element. Lives for the call only.
struct View {
  void* data = nullptr;
  DType dtype = DType::f32;
  int dims = 0;
  const int64_t* shape = nullptr;
  const int64_t* strides = nullptr;
  bool defined() const { return shape != nullptr; }
};

/// A scalar argument of a kernel.
union Attr {
  int64_t i;
  double f;
  constexpr Attr(int64_t v) : i(v) {}                         // NOLINT
  constexpr Attr(int v) : i(v) {}                             // NOLINT
  constexpr Attr(bool v) : i(v) {}                            // NOLINT
  constexpr Attr(uint64_t v) : i(static_cast<int64_t>(v)) {}  // NOLINT
  constexpr Attr(double v) : f(v) {}                          // NOLINT
  constexpr Attr(DType v) : i(static_cast<int64_t>(v)) {}     // NOLINT
};

/// One call of a kernel: outputs are allocated by the caller with their final shapes and dtypes, an
/// absent optional input has defined() == false. The order of each list is part of the kernel's
/// name.
struct Call {
  const View* out = nullptr;
  const View* in = nullptr;
  const Attr* attr = nullptr;
  int outs = 0, ins = 0, attrs = 0;
  Queue* queue = nullptr;
};
using Kernel = void (*)(const Call&);

struct NamedKernel {
  const char* name;
  Kernel kernel;
  /// Whether it takes a call (its dtypes, its sizes); null: it takes all. Else the CPU's runs.
  bool (*takes)(const Call&) = nullptr;
};

/// What a device can do.
struct Capabilities {
  std::string name;       // "AMD EPYC ... (avx512bf16)"
  uint32_t dtypes = 0;    // bit (1 << DType) per type its kernels take
  uint32_t native = 0;    // those of them that its matrix units multiply without converting
  size_t alignment = 64;  // of allocations, bytes
  size_t memory = 0;      // bytes
};

/// The table of one kind of chip. All functions are callable from any thread, and throw Error on
/// failure (out of memory: Fault::missing with sizes). Pointers from `allocate` are device
/// addresses: only this chip's functions may follow them (the CPU's are ordinary memory).
struct Chip {
  const char* name;
  /// Number of devices now; 0 when the driver or the hardware is absent, and `why_absent` says why.
  int (*device_count)();
  std::string (*why_absent)();
  Capabilities (*capabilities)(int device);
  /// Raw memory; callers are the caching allocator (tensor/allocator.h) only.
  void* (*allocate)(int device, size_t bytes);
  void (*free)(int device, void* data, size_t bytes);
  /// The device's default queue.
  Queue* (*queue)(int device);
  /// Copies in queue order. `from_host` returns when it has taken the bytes (the host's memory may
  /// then go), `to_host` when they have arrived.
  void (*from_host)(Queue*, void* device_data, const void* host, size_t bytes);
  void (*to_host)(Queue*, void* host, const void* device_data, size_t bytes);
  void (*copy)(Queue*, void* to, const void* from, size_t bytes);
  /// Between two devices of this chip; null when it goes through the host.
  void (*peer_copy)(Queue* from_queue, const void* from, Queue* to_queue, void* to, size_t bytes);
  /// Waits until all work put on the queue is done.
  void (*synchronize)(Queue*);
  /// Marks a point of a queue / makes another queue of the chip wait for it.
  void* (*record_event)(Queue*);
  void (*wait_event)(Queue*, void* event);
  void (*free_event)(void* event);
  /// The kernels, found by name once.
  std::vector<NamedKernel> (*kernels)();
  /// Which of several sets of kernels that is ("avx2"); null when the chip has but one.
  std::string_view (*kernel_set)();
};

/// Registers a chip (once, at load); returns its index. The CPU registers first and has index 0.
int register_chip(const Chip& chip);
/// All registered chips, in order of their index.
const std::vector<Chip>& chips();
/// From "cpu", "cpu:0", "opencl:1". Error(Fault::usage) for an unknown chip (with the nearest
/// name), Error(Fault::missing) when it has no such device (saying why).
Device parse_device(std::string_view text);
std::string device_name(Device device);

}  // namespace wellspring
