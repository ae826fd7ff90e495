#include "tensor/dispatch.h"

#include <cstdio>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "base/error.h"
#include "base/progress.h"
#include "base/text.h"

namespace wellspring {
namespace {

// The kernels of one set. Entries stay where they are, missing kernels' too: KernelRef points at
// them.
struct KernelTable {
  std::string set;
  int chip = 0;
  std::unordered_map<std::string, KernelEntry> entries;
};

void print_hits() {
  const char* wanted = std::getenv("WELLSPRING_HITS");
  if (!wanted || !*wanted || std::string_view(wanted) == "0") return;
  Table table({"kernel", "chip", "ran", "calls"});
  const std::vector<KernelHits> all = kernel_hits();
  for (const KernelHits& h : all) table.row({h.kernel, h.chip, h.ran, str(h.calls)});
  if (!all.empty()) std::fputs(table.text().c_str(), stderr);
}

// All tables, by chip and set. Never destroyed: the hit log is printed at exit.
struct Tables {
  std::mutex mutex;
  std::map<std::pair<int, std::string>, std::unique_ptr<KernelTable>> all;
  const std::vector<NamedKernel>& (*stand_ins)() = nullptr;

  Tables() {
    chips();  // made before the hit log's turn at exit is asked for, so gone after it
    std::atexit(print_hits);
  }
};
Tables& tables() {
  static auto& t = *new Tables;
  return t;
}

std::atomic<KernelTable*> used_instead{nullptr};

void switch_entry(KernelTable& table, std::string_view kernel, bool on) {
  auto it = table.entries.find(std::string(kernel));
  if (it == table.entries.end() || !it->second.own) {
    std::vector<std::string> names;
    for (auto& [name, entry] : table.entries) names.push_back(name);
    auto near = nearest(kernel, names);
    throw Error(Fault::usage, str("chip ", chips()[table.chip].name, " has no kernel '", kernel,
                                  "'", near ? str("; did you mean '", *near, "'?") : ""));
  }
  it->second.kernel.store(on ? it->second.own : nullptr, std::memory_order_relaxed);
}

int chip_called(std::string_view name) {
  for (size_t i = 0; i < chips().size(); ++i)
    if (chips()[i].name == name) return static_cast<int>(i);
  return parse_device(name).chip;  // throws, and says which are known
}

// Takes out what WELLSPRING_KERNELS_OFF names of a chip's kernels.
void obey_environment(KernelTable& table) {
  const char* off = std::getenv("WELLSPRING_KERNELS_OFF");
  for (const std::string& item : split(off ? off : "", ' ')) {
    const size_t colon = item.find(':');
    try {
      const int chip = colon == std::string::npos ? 0 : chip_called(item.substr(0, colon));
      if (!item.empty() && chip == table.chip)
        switch_entry(table, colon == std::string::npos ? item : item.substr(colon + 1), false);
    } catch (const Error& e) {
      throw Error(e.fault(), str("WELLSPRING_KERNELS_OFF: ", e.what()));
    }
  }
}

// The table of a chip's set; `kernels` fills it when it is new. The lock is held.
template <class Fill>
KernelTable& table_of(int chip, std::string_view set, Fill kernels) {
  auto& all = tables().all;
  auto it = all.find({chip, std::string(set)});
  if (it == all.end()) {
    auto fresh = std::make_unique<KernelTable>();
    fresh->set = set, fresh->chip = chip;
    for (const NamedKernel& k : kernels()) {
      KernelEntry& entry = fresh->entries[k.name];
      entry.own = k.kernel;
      entry.kernel.store(k.kernel, std::memory_order_relaxed);
    }
    it = all.emplace(std::pair(chip, fresh->set), std::move(fresh)).first;
  }
  return *it->second;
}

// The set that a chip runs. The lock is held.
KernelTable& own_table(int chip) {
  static bool obeyed[kMaxChips] = {};
  const Chip& c = chips()[chip];
  KernelTable& table = table_of(chip, c.kernel_set ? c.kernel_set() : c.name, c.kernels);
  if (!obeyed[chip]) obey_environment(table), obeyed[chip] = true;
  return table;
}

KernelEntry& stand_in(const char* name) {
  std::lock_guard lock(tables().mutex);
  if (tables().stand_ins) {
    KernelTable& table = table_of(0, "reference", tables().stand_ins);
    if (auto it = table.entries.find(name); it != table.entries.end() && it->second.own)
      return it->second;
  }
  throw Error(Fault::usage, str("the CPU's kernel '", name,
                                "' is switched off, and nothing can stand in for "
                                "it: it has no slow reference"));
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

KernelEntry& KernelRef::on(int chip) const {
  WS_CHECK(chip < kMaxChips, "no such chip");
  if (KernelTable* table = used_instead.load(std::memory_order_relaxed); table && chip == 0)
      [[unlikely]] {
    std::lock_guard lock(tables().mutex);
    return table->entries[name_];
  }
  KernelEntry* entry = found_[chip].load(std::memory_order_acquire);
  if (!entry) [[unlikely]] {
    std::lock_guard lock(tables().mutex);
    entry = &own_table(chip).entries[name_];
    found_[chip].store(entry, std::memory_order_release);
  }
  return *entry;
}

UseKernels::UseKernels(std::string_view set, std::span<const NamedKernel> table)
    : before_(used_instead.load()) {
  std::lock_guard lock(tables().mutex);
  used_instead.store(&table_of(0, set, [&] { return table; }));
}
UseKernels::~UseKernels() {
  used_instead.store(static_cast<KernelTable*>(const_cast<void*>(before_)));
}

std::vector<KernelHits> kernel_hits() {
  std::lock_guard lock(tables().mutex);
  std::map<std::pair<std::string, int>, std::vector<KernelHits>> sorted;
  for (auto& [key, table] : tables().all)
    for (auto& [name, entry] : table->entries) {
      auto& rows = sorted[{name, table->chip}];
      const char* chip = chips()[table->chip].name;
      if (uint64_t n = entry.hits.load()) rows.push_back({name, chip, table->set, n});
      if (uint64_t n = entry.on_cpu.load()) rows.push_back({name, chip, "on the cpu", n});
    }
  std::vector<KernelHits> all;
  for (auto& [key, rows] : sorted) all.insert(all.end(), rows.begin(), rows.end());
  return all;
}

void switch_kernel(std::string_view chip, std::string_view kernel, bool on) {
  const int index = chip_called(chip);
  std::lock_guard lock(tables().mutex);
  switch_entry(own_table(index), kernel, on);
}

void set_stand_ins(const std::vector<NamedKernel>& (*table)()) { tables().stand_ins = table; }

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
  Device device = first->device();
  KernelEntry* entry = &kernel.on(device.chip);
  Kernel found = entry->kernel.load(std::memory_order_relaxed);
  if (!found) [[unlikely]] {
    if (!device.is_cpu()) {
      entry->on_cpu.fetch_add(1, std::memory_order_relaxed);
      return run_on_host(kernel, outs, ins, attrs);
    }
    WS_CHECK(entry->own, str("the CPU has no kernel '", kernel.name(), "'"));
    entry = &stand_in(kernel.name());
    found = entry->own;
  }
  entry->hits.fetch_add(1, std::memory_order_relaxed);
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
