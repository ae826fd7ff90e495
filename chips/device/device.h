#pragma once
// What chips that compile their kernels (OpenCL, CUDA) share. A kernel has two halves: device
// source in a dialect of C that all their compilers take (chips/device/source/), and the host's
// half here (chips/device/*.cpp), which plans a call and launches functions of programs. A chip
// brings memory, a queue that can launch, and a compiler.

#include <array>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <vector>

#include "tensor/chip.h"

namespace wellspring::device {

using ws_long = int64_t;
#include "chips/device/source/structs.inc"

/// The types that a program can be compiled to compute in.
enum class Real { f32, f64, i64 };

/// One argument: a device address, or the bytes of a value.
struct Argument {
  const void* tensor = nullptr;
  const void* value = nullptr;  // null: it is a tensor
  size_t bytes = 0;
};

/// A function of a program. `unit` names a piece of device source; programs are compiled when one
/// of their functions is first launched.
struct Function {
  const char* unit;
  const char* name;
  Real real = Real::f32;
};

/// A queue that launches device functions, in groups of WS_ITEMS items.
class DeviceQueue : public Queue {
 public:
  virtual ~DeviceQueue() = default;
  virtual void launch(const Function& f, std::span<const Argument> arguments, int64_t groups) = 0;
  /// Bits (1 << DType) of what its kernels take.
  virtual uint32_t dtypes() const = 0;
  /// Where its tensors lie: for scratch memory of a call.
  virtual Device device() const = 0;
};

inline DeviceQueue& queue_of(const Call& call) { return *static_cast<DeviceQueue*>(call.queue); }

/// Collects arguments and launches: `Launch(call, {"copy",
/// "copy_4"}).tensor(y).value(space).run(n)`.
class Launch {
 public:
  Launch(const Call& call, Function f) : queue_(queue_of(call)), function_(f) {}
  Launch& tensor(const void* data) {
    arguments_[count_++] = {data, nullptr, 0};
    return *this;
  }
  Launch& tensor(const View& v) { return tensor(v.defined() ? v.data : nullptr); }
  /// The value lives until run().
  template <class T>
  Launch& value(const T& v) {
    static_assert(std::is_trivially_copyable_v<T>);
    arguments_[count_++] = {nullptr, &v, sizeof v};
    return *this;
  }
  /// Nothing when there are no groups.
  void run(int64_t groups) {
    if (groups > 0) queue_.launch(function_, {arguments_.data(), count_}, groups);
  }
  /// Groups for `items` items.
  void run_items(int64_t items) { run((items + WS_ITEMS - 1) / WS_ITEMS); }

 private:
  DeviceQueue& queue_;
  Function function_;
  std::array<Argument, 16> arguments_;
  size_t count_ = 0;
};

/// The kernels that all device chips have.
std::vector<NamedKernel> kernels();
struct Registrar {
  Registrar(const char* name, Kernel kernel, bool (*takes)(const Call&));
};
/// Whether a device takes all dtypes of a call.
bool takes_dtypes(const Call& call);

/// The text of a program: dialect, structures, elements and the unit.
std::string program_text(std::string_view unit);
/// What tells a compiler which type to compute in and whether there is double: names with values.
std::vector<std::string> program_definitions(Real real, bool has_double);
/// All units, for tests and for compiling ahead; `reals`: which types each can compute in.
struct Unit {
  std::string_view name;
  std::vector<Real> reals;
};
std::vector<Unit> units();

/// Throws Error(Fault::internal): for a call that the operator's checks should have kept away.
[[noreturn]] void refuse(const char* kernel, const char* why);

inline bool is_packed(const View& v) {
  int64_t step = 1;
  for (int d = v.dims - 1; d >= 0; --d) {
    if (v.shape[d] != 1 && v.strides[d] != step) return false;
    step *= v.shape[d];
  }
  return true;
}
inline int64_t count_of(const View& v) {
  int64_t n = 1;
  for (int d = 0; d < v.dims; ++d) n *= v.shape[d];
  return n;
}
inline int type_of(const View& v) { return v.defined() ? static_cast<int>(v.dtype) : 0; }
/// The type to compute floating elements in.
inline Real real_of(DType t) {
  return t == DType::f64 ? Real::f64 : is_float(t) ? Real::f32 : Real::i64;
}

}  // namespace wellspring::device

/// Registers a kernel's host half; the third argument says which calls it takes.
#define WS_DEVICE_KERNEL(name, function, takes) \
  static const ::wellspring::device::Registrar registrar_of_##function(name, function, takes)
