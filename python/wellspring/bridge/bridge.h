#pragma once
// Between PyTorch and the kernels. PyTorch's stable ABI has neither numbers as arguments (add,
// addmm) nor a way to the kernel that a registration shadows, so bridge.cpp, one small file, is
// compiled against the headers of one version of PyTorch. It turns a call's arguments into the
// plain structs below and back; all that computes lies behind them, in wellspring/_core, for any
// version.

#include <cstdint>

namespace wellspring::torch_bridge {

/// Raised when a struct or function here changes its meaning.
inline constexpr int kBridgeVersion = 3;

/// PyTorch's own numbers of element types (c10::ScalarType).
enum : int8_t {
  kU8 = 0,
  kI8 = 1,
  kI16 = 2,
  kI32 = 3,
  kI64 = 4,
  kF16 = 5,
  kF32 = 6,
  kF64 = 7,
  kC64 = 9,
  kBool = 11,
  kBF16 = 15
};

/// A tensor of PyTorch, borrowed for the call.
struct TensorArg {
  void* handle = nullptr;   // c10::TensorImpl*; null: no tensor
  void* storage = nullptr;  // c10::StorageImpl*
  void* data = nullptr;
  const int64_t* sizes = nullptr;
  const int64_t* strides = nullptr;
  int64_t numel = 0;
  int32_t dims = 0;
  int8_t type = kF32;
  bool plain = false;   // strided, on the CPU, neither conjugated nor negated lazily
  bool number = false;  // a Python number as a 0-d tensor: weak in promotion
};

enum class Kind : uint8_t { none, tensor, integer, real, boolean, ints, tensors, text, other };

struct Arg {
  Kind kind = Kind::none;
  union {
    int64_t i;
    double f;
    const char* text;
    const int64_t* ints;
    const TensorArg* tensors;
  };
  int64_t count = 0;  // of ints (bools too) and tensors
  TensorArg tensor;
  Arg() : i(0) {}
};

/// One call. A kernel reads `args`, allocates results, and returns true; or returns false with
/// nothing changed, and PyTorch's own kernel answers.
struct Frame {
  static constexpr int kMostResults = 4;
  const Arg* args = nullptr;
  int count = 0;
  const void* data = nullptr;  // given to install()
  /// What is returned: a new tensor's handle, or null for argument result_args[i] (-1: undefined).
  void* results[kMostResults] = {};
  int result_args[kMostResults] = {-1, -1, -1, -1};
  int result_count = 0;
};
using KernelFunction = bool (*)(Frame&);

/// A registration's counters.
struct Counters {
  uint64_t ours = 0, theirs = 0;           // calls that our kernel answered; that went to PyTorch's
  double seconds = 0, theirs_seconds = 0;  // inside them, when timing is on
};

struct Bridge {
  int version;
  const char* torch_version;
  /// Puts a kernel on an operator ("aten::add.Tensor") at a dispatch key; returns a registration,
  /// or null when this PyTorch has no such operator, with another number of arguments, or no kernel
  /// there.
  void* (*install)(const char* name, const char* key, int arguments, KernelFunction kernel,
                   const void* data);
  /// Takes an operator that PyTorch composes of others, above its autograd. Results of `forward`
  /// are the operator's, then what `backward` needs besides the arguments. Arguments of `backward`
  /// are the gradient, the operator's, what was kept, and a list of which gradients are wanted; its
  /// results are those of the `count` differentiable arguments. Where it returns false, or the
  /// gradient is to be derived again, PyTorch's own composition is derived.
  void* (*install_composite)(const char* name, int arguments, KernelFunction forward,
                             const void* forward_data, KernelFunction backward,
                             const void* backward_data, const int* differentiable, int count);
  /// Whether install() would find this operator.
  bool (*knows)(const char* name, const char* key, int arguments);
  /// PyTorch's kernel is back.
  void (*remove)(void* registration);
  Counters (*counters)(void* registration);
  void (*reset)(void* registration);
  void (*set_timing)(bool on);
  /// Calls of this thread alone go to PyTorch's kernels while on.
  void (*set_bypass)(bool on);
  /// A new tensor; strides null: row-major. Its handle belongs to Frame::results or to release().
  TensorArg (*empty)(const int64_t* sizes, const int64_t* strides, int32_t dims, int8_t type);
  void (*release)(void* handle);
  /// A row-major tensor on memory that is there already, `bytes` of it from `data`; drop(owner)
  /// when nobody needs it any more.
  TensorArg (*adopt)(const int64_t* sizes, int32_t dims, int8_t type, void* data, int64_t bytes,
                     void* owner, void (*drop)(void*));
  /// Raises the version of a tensor that a kernel wrote to.
  void (*changed)(void* handle);
  int (*threads)();
};

}  // namespace wellspring::torch_bridge
