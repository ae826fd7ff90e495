// The one file that includes PyTorch's headers; see bridge.h.

#include <ATen/EmptyTensor.h>
#include <ATen/Parallel.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <ATen/core/stack.h>
#include <torch/version.h>

#include <chrono>
#include <deque>
#include <memory>
#include <mutex>
#include <vector>

#include <bridge.h>  // beside this file; whoever compiles it names the folder

namespace wellspring::torch_bridge {
namespace {

std::atomic<bool> g_timing{false};
thread_local bool t_bypass = false;

TensorArg describe(const at::Tensor& t) {
  TensorArg a;
  if (!t.defined()) return a;
  c10::TensorImpl* impl = t.unsafeGetTensorImpl();
  a.handle = impl;
  const c10::DispatchKeySet keys = impl->key_set();
  a.plain =
      impl->layout() == c10::kStrided && impl->device().is_cpu() && impl->has_storage() &&
      !keys.has_any(c10::DispatchKeySet({c10::DispatchKey::Conjugate, c10::DispatchKey::Negative,
                                         c10::DispatchKey::ZeroTensor, c10::DispatchKey::Python,
                                         c10::DispatchKey::Functionalize}));
  if (!a.plain) return a;
  a.storage = impl->unsafe_storage().unsafeGetStorageImpl();
  a.data = const_cast<void*>(impl->data());
  const c10::IntArrayRef sizes = impl->sizes();
  a.sizes = sizes.data();
  a.dims = static_cast<int32_t>(sizes.size());
  a.strides = impl->strides().data();
  a.numel = impl->numel();
  a.type = static_cast<int8_t>(c10::typeMetaToScalarType(impl->dtype()));
  a.number = impl->is_wrapped_number();
  return a;
}

// Lists of a call; almost none needs it.
struct Lists {
  std::deque<std::vector<int64_t>> ints;
  std::deque<std::vector<TensorArg>> tensors;
};

void read(const c10::IValue& v, Arg* a, std::unique_ptr<Lists>* lists) {
  if (v.isTensor()) {
    a->tensor = describe(v.toTensor());
    a->kind = a->tensor.handle ? Kind::tensor : Kind::none;
  } else if (v.isInt()) {
    a->kind = Kind::integer, a->i = v.toInt();
  } else if (v.isDouble()) {
    a->kind = Kind::real, a->f = v.toDouble();
  } else if (v.isBool()) {
    a->kind = Kind::boolean, a->i = v.toBool();
  } else if (v.isNone()) {
    a->kind = Kind::none;
  } else if (v.isString()) {
    a->kind = Kind::text, a->text = v.toStringRef().c_str();
  } else if (v.isIntList()) {
    if (!*lists) *lists = std::make_unique<Lists>();
    const auto& kept = (*lists)->ints.emplace_back(v.toIntVector());
    a->kind = Kind::ints, a->ints = kept.data(), a->count = static_cast<int64_t>(kept.size());
  } else if (v.isBoolList()) {
    if (!*lists) *lists = std::make_unique<Lists>();
    auto& kept = (*lists)->ints.emplace_back();
    for (const bool b : v.toBoolList()) kept.push_back(b);
    a->kind = Kind::ints, a->ints = kept.data(), a->count = static_cast<int64_t>(kept.size());
  } else if (v.isTensorList() || v.isOptionalTensorList()) {
    if (!*lists) *lists = std::make_unique<Lists>();
    auto& kept = (*lists)->tensors.emplace_back();
    for (const c10::IValue& t : v.toListRef())
      kept.push_back(t.isTensor() ? describe(t.toTensor()) : TensorArg());
    a->kind = Kind::tensors, a->tensors = kept.data(), a->count = static_cast<int64_t>(kept.size());
  } else {
    a->kind = Kind::other;
  }
}

// The time of a call, when that is wanted.
class Timed {
 public:
  using Clock = std::chrono::steady_clock;
  Timed() : on_(g_timing.load(std::memory_order_relaxed)) {
    if (on_) begin_ = Clock::now();
  }
  void add_to(std::atomic<int64_t>& total) const {
    if (on_)
      total += std::chrono::duration_cast<std::chrono::nanoseconds>(Clock::now() - begin_).count();
  }

 private:
  bool on_;
  Clock::time_point begin_;
};

// What was called.
class Counted {
 public:
  Counters counters() const {
    return {ours_.load(), theirs_.load(), static_cast<double>(nanoseconds_.load()) * 1e-9,
            static_cast<double>(theirs_nanoseconds_.load()) * 1e-9};
  }
  void reset() { ours_ = 0, theirs_ = 0, nanoseconds_ = 0, theirs_nanoseconds_ = 0; }

 protected:
  std::atomic<uint64_t> ours_{0}, theirs_{0};
  std::atomic<int64_t> nanoseconds_{0}, theirs_nanoseconds_{0};
};

class Registration final : public c10::OperatorKernel, public Counted {
 public:
  Registration(c10::SafeKernelFunction shadowed, size_t arguments, KernelFunction kernel,
               const void* data)
      : shadowed_(std::move(shadowed)), arguments_(arguments), kernel_(kernel), data_(data) {}

  void operator()(const c10::OperatorHandle& op, c10::DispatchKeySet keys,
                  torch::jit::Stack* stack) {
    constexpr size_t kMost = 24;
    if (t_bypass || arguments_ > kMost) return theirs(op, keys, stack);
    alignas(Arg) unsigned char memory[kMost * sizeof(Arg)];
    Arg* args = reinterpret_cast<Arg*>(memory);
    std::unique_ptr<Lists> lists;
    const size_t first = stack->size() - arguments_;
    for (size_t i = 0; i < arguments_; ++i) read((*stack)[first + i], new (args + i) Arg, &lists);
    Frame frame;
    frame.args = args, frame.count = static_cast<int>(arguments_), frame.data = data_;
    const Timed timed;
    if (!kernel_(frame)) return theirs(op, keys, stack);
    ours_.fetch_add(1, std::memory_order_relaxed);
    timed.add_to(nanoseconds_);
    c10::IValue results[Frame::kMostResults];
    for (int i = 0; i < frame.result_count; ++i) {
      if (frame.results[i])
        results[i] =
            at::Tensor(c10::intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl>::reclaim(
                static_cast<c10::TensorImpl*>(frame.results[i])));
      else
        results[i] = frame.result_args[i] >= 0 ? (*stack)[first + frame.result_args[i]]
                                               : c10::IValue(at::Tensor());
    }
    stack->erase(stack->end() - static_cast<std::ptrdiff_t>(arguments_), stack->end());
    for (int i = 0; i < frame.result_count; ++i) stack->emplace_back(std::move(results[i]));
  }

 private:
  void theirs(const c10::OperatorHandle& op, c10::DispatchKeySet keys, torch::jit::Stack* stack) {
    if (t_bypass) return shadowed_.callBoxed(op, keys, stack);
    theirs_.fetch_add(1, std::memory_order_relaxed);
    const Timed timed;
    shadowed_.callBoxed(op, keys, stack);
    timed.add_to(theirs_nanoseconds_);
  }

  c10::SafeKernelFunction shadowed_;
  size_t arguments_;
  KernelFunction kernel_;
  const void* data_;
};

}  // namespace
}  // namespace wellspring::torch_bridge

#include <composite.h>

namespace wellspring::torch_bridge {
namespace {

struct Installed {
  Counted* kernel;  // the dispatcher owns it
  c10::RegistrationHandleRAII handle;
};

c10::OperatorName name_of(const char* name) {
  const std::string full(name);
  const size_t dot = full.find('.');
  return {full.substr(0, dot), dot == std::string::npos ? "" : full.substr(dot + 1)};
}

// An operator that has a kernel there (of its own, elsewhere than on the CPU) and as many
// arguments.
std::optional<c10::OperatorHandle> find(const char* name, c10::DispatchKey at, int arguments) {
  auto op = c10::Dispatcher::singleton().findSchema(name_of(name));
  if (op && (!(at == c10::DispatchKey::CPU ? op->hasComputedKernelForDispatchKey(at)
                                           : op->hasKernelForDispatchKey(at)) ||
             op->schema().arguments().size() != static_cast<size_t>(arguments)))
    op.reset();
  return op;
}

template <class Functor>
void* put(const char* name, c10::DispatchKey at, std::unique_ptr<Functor> functor) {
  Functor* raw = functor.get();
  // That a kernel is replaced, on purpose, is no news.
  struct Silent final : c10::WarningHandler {
    void process(const c10::Warning&) override {}
  } silent;
  const c10::WarningUtils::WarningHandlerGuard guard(&silent);
  return new Installed{
      raw, c10::Dispatcher::singleton().registerImpl(
               name_of(name), at, c10::KernelFunction::makeFromBoxedFunctor(std::move(functor)),
               std::nullopt, nullptr, "wellspring")};
}

void* install(const char* name, const char* key, int arguments, KernelFunction kernel,
              const void* data) {
  const c10::DispatchKey at = c10::parseDispatchKey(key);
  const auto op = find(name, at, arguments);
  if (!op) return nullptr;
  return put(name, at,
             std::make_unique<Registration>(op->getComputedKernelForDispatchKey(at),
                                            op->schema().arguments().size(), kernel, data));
}

void* install_composite(const char* name, int arguments, KernelFunction forward,
                        const void* forward_data, KernelFunction backward,
                        const void* backward_data, const int* differentiable, int count) {
  const c10::DispatchKey at = c10::DispatchKey::AutogradCPU;
  const auto op = c10::Dispatcher::singleton().findSchema(name_of(name));
  if (!op || !op->hasComputedKernelForDispatchKey(at) ||
      op->schema().arguments().size() != static_cast<size_t>(arguments))
    return nullptr;
  const auto parts =
      std::make_shared<CompositeParts>(CompositeParts{op->getComputedKernelForDispatchKey(at),
                                                      *op,
                                                      backward,
                                                      backward_data,
                                                      op->schema().arguments().size(),
                                                      {differentiable, differentiable + count}});
  return put(name, at, std::make_unique<Composite>(parts, forward, forward_data));
}

TensorArg adopt(const int64_t* sizes, int32_t dims, int8_t type, void* data, int64_t bytes,
                void* owner, void (*drop)(void*)) {
  at::Tensor t = at::detail::make_tensor<c10::TensorImpl>(
      c10::make_intrusive<c10::StorageImpl>(c10::StorageImpl::use_byte_size_t(),
                                            static_cast<size_t>(bytes),
                                            c10::DataPtr(data, owner, drop, c10::Device(c10::kCPU)),
                                            c10::GetAllocator(c10::kCPU), true),
      c10::DispatchKeySet(c10::DispatchKey::CPU),
      c10::scalarTypeToTypeMeta(static_cast<c10::ScalarType>(type)));
  t.unsafeGetTensorImpl()->set_sizes_contiguous(c10::IntArrayRef(sizes, static_cast<size_t>(dims)));
  const TensorArg a = describe(t);
  t.unsafeReleaseTensorImpl();
  return a;
}

const Bridge kBridge = {
    kBridgeVersion,
    TORCH_VERSION,
    install,
    install_composite,
    [](const char* name, const char* key, int arguments) {
      return find(name, c10::parseDispatchKey(key), arguments).has_value();
    },
    [](void* r) { delete static_cast<Installed*>(r); },
    [](void* r) { return static_cast<Installed*>(r)->kernel->counters(); },
    [](void* r) { static_cast<Installed*>(r)->kernel->reset(); },
    [](bool on) { g_timing = on; },
    [](bool on) { t_bypass = on; },
    [](const int64_t* sizes, const int64_t* strides, int32_t dims, int8_t type) {
      const c10::IntArrayRef shape(sizes, static_cast<size_t>(dims));
      const auto dtype = static_cast<c10::ScalarType>(type);
      at::Tensor t = strides
                         ? at::Tensor(at::detail::empty_strided_cpu(
                               shape, c10::IntArrayRef(strides, static_cast<size_t>(dims)), dtype))
                         : at::Tensor(at::detail::empty_cpu(shape, dtype));
      const TensorArg a = describe(t);
      t.unsafeReleaseTensorImpl();
      return a;
    },
    [](void* handle) {
      at::Tensor(c10::intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl>::reclaim(
          static_cast<c10::TensorImpl*>(handle)));
    },
    adopt,
    [](void* handle) { static_cast<c10::TensorImpl*>(handle)->bump_version(); },
    [] { return at::get_num_threads(); },
};

}  // namespace
}  // namespace wellspring::torch_bridge

extern "C" __attribute__((visibility("default"))) const wellspring::torch_bridge::Bridge*
wellspring_torch_bridge() {
  return &wellspring::torch_bridge::kBridge;
}
