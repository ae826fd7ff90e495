#include "ops/dispatch.h"

#include <cstring>
#include <mutex>
#include <unordered_map>

#include "base/error.h"
#include "base/text.h"

namespace wellspring {
namespace {

using Table = std::unordered_map<std::string_view, Kernel>;

std::atomic<const Table*> used_instead{nullptr};

const Table& table_of(int chip) {
  static std::mutex mutex;
  static std::unordered_map<int, Table> tables;
  std::lock_guard lock(mutex);
  auto [it, fresh] = tables.try_emplace(chip);
  if (fresh)
    for (const NamedKernel& k : chips()[chip].kernels()) it->second.emplace(k.name, k.kernel);
  return it->second;
}

// Runs the CPU's kernel on host copies and brings the outputs back.
void run_on_host(const KernelRef& kernel, std::span<const Tensor> outs, std::span<const Tensor> ins,
                 std::span<const Attr> attrs) {
  std::vector<Tensor> host_outs, host_ins;
  for (const Tensor& t : ins) host_ins.push_back(t.defined() ? t.to_device({}) : Tensor());
  // Outputs may be partly written or read (accumulation), so their values travel too.
  for (const Tensor& t : outs) host_outs.push_back(t.defined() ? t.to_device({}) : Tensor());
  launch(kernel, host_outs, host_ins, attrs);
  for (size_t i = 0; i < outs.size(); ++i)
    if (outs[i].defined()) outs[i].copy_from(host_outs[i]);
}

}  // namespace

Kernel KernelRef::on(int chip) const {
  if (const Table* table = used_instead.load(std::memory_order_relaxed); table && chip == 0)
      [[unlikely]] {
    auto it = table->find(name_);
    return it == table->end() ? nullptr : it->second;
  }
  if (chip >= kMaxChips) return nullptr;
  if (!(looked_.load(std::memory_order_acquire) >> chip & 1)) {
    const Table& table = table_of(chip);
    auto it = table.find(name_);
    found_[chip].store(it == table.end() ? nullptr : it->second, std::memory_order_relaxed);
    looked_.fetch_or(1u << chip, std::memory_order_release);
  }
  return found_[chip].load(std::memory_order_relaxed);
}

UseKernels::UseKernels(std::span<const NamedKernel> table) : before_(used_instead.load()) {
  auto* fresh = new Table;
  for (const NamedKernel& k : table) fresh->emplace(k.name, k.kernel);
  used_instead.store(fresh);
}
UseKernels::~UseKernels() {
  delete used_instead.load();
  used_instead.store(static_cast<const Table*>(before_));
}

void launch(const KernelRef& kernel, std::span<const Tensor> outs, std::span<const Tensor> ins,
            std::span<const Attr> attrs) {
  constexpr int kMost = 64;
  View views[kMost];
  WS_CHECK(outs.size() + ins.size() <= kMost, "a kernel takes at most 64 tensors");
  const Tensor* first = nullptr;
  int n = 0;
  for (std::span<const Tensor> list : {outs, ins})
    for (const Tensor& t : list) {
      if (t.defined()) {
        if (!first) first = &t;
        if (t.device() != first->device())
          throw Error(Fault::usage, str(kernel.name(), ": ", first->text(), " and ", t.text(),
                                        " are on different devices (", device_name(first->device()),
                                        ", ", device_name(t.device()), "); move one with to()"));
        views[n] = t.view();
      }
      ++n;
    }
  WS_CHECK(first, str(kernel.name(), ": no tensor given"));
  Device device = first->device();
  Kernel found = kernel.on(device.chip);
  if (!found) {
    WS_CHECK(!device.is_cpu(), str("the CPU has no kernel '", kernel.name(), "'"));
    return run_on_host(kernel, outs, ins, attrs);
  }
  Call call;
  call.out = views, call.outs = static_cast<int>(outs.size());
  call.in = views + outs.size(), call.ins = static_cast<int>(ins.size());
  call.attr = attrs.data(), call.attrs = static_cast<int>(attrs.size());
  if (!device.is_cpu()) {
    call.queue = chips()[device.chip].queue(device.index);
    for (const Tensor& t : outs)
      if (t.defined()) t.storage()->queue = call.queue;
  }
  found(call);
}

void launch(const KernelRef& kernel, std::initializer_list<Tensor> outs,
            std::initializer_list<Tensor> ins, std::initializer_list<Attr> attrs) {
  launch(kernel, std::span(outs.begin(), outs.size()), std::span(ins.begin(), ins.size()),
         std::span(attrs.begin(), attrs.size()));
}

}  // namespace wellspring
