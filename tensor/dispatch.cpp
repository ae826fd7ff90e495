#include "tensor/dispatch.h"

#include <tuple>
#include <utility>

#include "base/error.h"
#include "base/text.h"
#include "base/time.h"
#include "tensor/kernel_tables.h"

namespace wellspring {

KernelTables& kernel_tables() {
  static auto& t = *[] {
    chips();  // made before the hit log's turn at exit is asked for, so gone after it
    return new KernelTables;
  }();
  return t;
}

namespace {

std::atomic<KernelTable*> used_instead{nullptr};

// The table of a chip's set; `kernels` fills it when it is new. The lock is held.
template <class Fill>
KernelTable& table_of(int chip, std::string_view set, Fill kernels) {
  auto& all = kernel_tables().all;
  auto it = all.find({chip, std::string(set)});
  if (it == all.end()) {
    start_hit_log();
    auto fresh = std::make_unique<KernelTable>();
    fresh->set = set, fresh->chip = chip;
    for (const NamedKernel& k : kernels()) {
      KernelEntry& entry = fresh->entries[k.name];
      entry.own = k.kernel, entry.takes = k.takes;
      entry.kernel.store(k.kernel, std::memory_order_relaxed);
    }
    for (auto& [name, entry] : fresh->entries) entry.table = fresh.get();
    apply_switches(*fresh);  // throws when they are wrong: then there is no table
    it = all.emplace(std::pair(chip, fresh->set), std::move(fresh)).first;
  }
  return *it->second;
}

// The entry of a name, made when the set lacks it. The lock is held.
KernelEntry& entry_of(KernelTable& table, const char* name) {
  KernelEntry& entry = table.entries[name];
  entry.table = &table;
  return entry;
}

thread_local bool t_no_stand_ins = false;

KernelEntry& stand_in(const char* name) {
  if (t_no_stand_ins)
    throw Error(Fault::usage, str("the CPU's kernel '", name, "' is switched off"));
  std::lock_guard lock(kernel_tables().mutex);
  if (KernelEntry* entry = reference_entry(name)) return *entry;
  throw Error(Fault::usage,
              str("the CPU's kernel '", name,
                  "' is switched off, and nothing can stand in for it: it has no slow "
                  "reference"));
}

// Runs the CPU's kernel on host copies and brings the outputs back. Outputs may be partly written
// or read (accumulation), so their values travel too.
void run_on_host(const KernelRef& kernel, std::span<const Tensor> outs, std::span<const Tensor> ins,
                 std::span<const Attr> attrs) {
  const HostCopies host(outs, ins, false);
  launch(kernel, host.outs, host.ins, attrs);
  for (size_t i = 0; i < outs.size(); ++i)
    if (outs[i].defined()) outs[i].copy_from(host.outs[i]);
}

bool is_off_for(const KernelEntry& entry, const Call& call) {
  const ShapeList* shapes = entry.off_for.load(std::memory_order_acquire);
  return shapes && shapes->contains(shapes_of(call));
}

// The CPU's kernel for a call, or what stands in for it.
std::pair<KernelEntry*, Kernel> on_cpu(const KernelRef& kernel, const Call& call) {
  KernelEntry* entry = &kernel.on(0);
  const Kernel found = entry->kernel.load(std::memory_order_relaxed);
  if (found && !is_off_for(*entry, call)) [[likely]]
    return {entry, found};
  WS_CHECK(entry->own, str("the CPU has no kernel '", kernel.name(), "'"));
  KernelEntry& other = stand_in(kernel.name());
  return {&other, other.own};
}

}  // namespace

NoStandIns::NoStandIns(bool on) : before_(std::exchange(t_no_stand_ins, on)) {}
NoStandIns::~NoStandIns() { t_no_stand_ins = before_; }

void launch(const KernelRef& kernel, const Call& call) {
  const auto [entry, found] = on_cpu(kernel, call);
  entry->hits.fetch_add(1, std::memory_order_relaxed);
  if (!watching.load(std::memory_order_relaxed)) [[likely]]
    return found(call);
  std::vector<Tensor> outs, ins;
  const auto on = [](const View& v) { return v.defined() ? Tensor::wrap(v) : Tensor(); };
  for (int i = 0; i < call.outs; ++i) outs.push_back(on(call.out[i]));
  for (int i = 0; i < call.ins; ++i) ins.push_back(on(call.in[i]));
  run_watched(kernel.name(), *entry, found, call, outs, ins, Device{});
}

HostCopies::HostCopies(std::span<const Tensor> out, std::span<const Tensor> in, bool always) {
  std::map<Storage*, int> uses;
  std::map<Storage*, std::shared_ptr<Storage>> copied;
  for (std::span<const Tensor> list : {out, in})
    for (const Tensor& t : list)
      if (t.defined()) ++uses[t.storage().get()];
  for (std::span<const Tensor> list : {out, in})
    for (const Tensor& t : list)
      if (t.defined() && (always || (list.data() == out.data() && uses[t.storage().get()] > 1)))
        if (auto& copy = copied[t.storage().get()]; !copy) copy = copy_storage(*t.storage(), {});
  const auto on_host = [&](const Tensor& t) {
    if (!t.defined()) return Tensor();
    auto it = copied.find(t.storage().get());
    return it == copied.end() ? t.to_device({}) : t.on(it->second);
  };
  for (const Tensor& t : out) outs.push_back(on_host(t));
  for (const Tensor& t : in) ins.push_back(on_host(t));
}

KernelTable& own_table(int chip) {
  const Chip& c = chips()[chip];
  return table_of(chip, c.kernel_set ? c.kernel_set() : c.name, c.kernels);
}

KernelEntry* reference_entry(const std::string& kernel) {
  if (!kernel_tables().stand_ins) return nullptr;
  KernelTable& table = table_of(0, "reference", kernel_tables().stand_ins);
  auto it = table.entries.find(kernel);
  return it != table.entries.end() && it->second.own ? &it->second : nullptr;
}

bool has_kernel(int chip, const std::string& kernel) {
  for (const NamedKernel& k : chips()[chip].kernels())
    if (kernel == k.name) return true;
  return false;
}

KernelEntry& KernelRef::on(int chip) const {
  WS_CHECK(chip < kMaxChips, "no such chip");
  if (KernelTable* table = used_instead.load(std::memory_order_relaxed); table && chip == 0)
      [[unlikely]] {
    std::lock_guard lock(kernel_tables().mutex);
    return entry_of(*table, name_);
  }
  KernelEntry* entry = found_[chip].load(std::memory_order_acquire);
  if (!entry) [[unlikely]] {
    std::lock_guard lock(kernel_tables().mutex);
    entry = &entry_of(own_table(chip), name_);
    found_[chip].store(entry, std::memory_order_release);
  }
  return *entry;
}

UseKernels::UseKernels(std::string_view set, std::span<const NamedKernel> table)
    : before_(used_instead.load()) {
  std::lock_guard lock(kernel_tables().mutex);
  used_instead.store(&table_of(0, set, [&] { return table; }));
}
UseKernels::~UseKernels() {
  used_instead.store(static_cast<KernelTable*>(const_cast<void*>(before_)));
}

void set_stand_ins(const std::vector<NamedKernel>& (*table)()) {
  kernel_tables().stand_ins = table;
}
std::vector<NamedKernel> stand_ins() {
  return kernel_tables().stand_ins ? kernel_tables().stand_ins() : std::vector<NamedKernel>{};
}
void set_kernel_names(const KernelNames& names) { kernel_tables().names = names; }
std::string operators_of_kernel(std::string_view kernel) {
  const KernelNames& names = kernel_tables().names;
  return names.operators_of ? names.operators_of(kernel) : "";
}

void launch(const KernelRef& kernel, std::span<const Tensor> outs, std::span<const Tensor> ins,
            std::span<const Attr> attrs) {
  View few[8];
  std::vector<View> many(outs.size() + ins.size() > 8 ? outs.size() + ins.size() : 0);
  View* views = many.empty() ? few : many.data();
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
  const Device device = first->device();
  Call call;
  call.out = views, call.outs = static_cast<int>(outs.size());
  call.in = views + outs.size(), call.ins = static_cast<int>(ins.size());
  call.attr = attrs.data(), call.attrs = static_cast<int>(attrs.size());
  KernelEntry* entry;
  Kernel found;
  if (!device.is_cpu()) {
    entry = &kernel.on(device.chip);
    found = entry->kernel.load(std::memory_order_relaxed);
    call.queue = chips()[device.chip].queue(device.index);
    if (!found || (entry->takes && !entry->takes(call)) || is_off_for(*entry, call)) {
      entry->on_cpu.fetch_add(1, std::memory_order_relaxed);
      const Stopwatch watch;
      run_on_host(kernel, outs, ins, attrs);
      return log_call(kernel.name(), device, "on the cpu", call, watch.seconds());
    }
    for (const Tensor& t : outs)
      if (t.defined()) t.storage()->queue = call.queue;
  } else {
    std::tie(entry, found) = on_cpu(kernel, call);
  }
  entry->hits.fetch_add(1, std::memory_order_relaxed);
  if (watching.load(std::memory_order_relaxed)) [[unlikely]]
    return run_watched(kernel.name(), *entry, found, call, outs, ins, device);
  found(call);
}

void launch(const KernelRef& kernel, std::initializer_list<Tensor> outs,
            std::initializer_list<Tensor> ins, std::initializer_list<Attr> attrs) {
  launch(kernel, std::span(outs.begin(), outs.size()), std::span(ins.begin(), ins.size()),
         std::span(attrs.begin(), attrs.size()));
}

}  // namespace wellspring
