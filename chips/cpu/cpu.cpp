#include "chips/cpu/cpu.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "base/index_error.h"
#include "base/text.h"
#include "chips/cpu/kernel.h"

// The tables that WS_KERNEL fills, one section per instruction set.
#define WS_TABLE(isa)                                                                        \
  extern "C" __attribute__((weak)) const wellspring::NamedKernel __start_ws_kernels_##isa[]; \
  extern "C" __attribute__((weak)) const wellspring::NamedKernel __stop_ws_kernels_##isa[];
WS_TABLE(portable)
WS_TABLE(avx2)
WS_TABLE(avx512)
WS_TABLE(avx512vnni)
WS_TABLE(avx512bf16)
#undef WS_TABLE

namespace wellspring::cpu {
namespace {

constexpr std::string_view kNames[kIsaCount] = {"portable", "avx2", "avx512", "avx512vnni", "avx512bf16"};

Isa strongest(bool (*fits)(Isa)) {
  for (int i = kIsaCount - 1; i > 0; --i)
    if (fits(static_cast<Isa>(i))) return static_cast<Isa>(i);
  return Isa::portable;
}

bool processor_has(Isa isa) {
#if defined(__x86_64__)
  __builtin_cpu_init();
  bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
              __builtin_cpu_supports("bmi2");
  bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                __builtin_cpu_supports("avx512cd");
  bool vnni = avx512 && __builtin_cpu_supports("avx512vnni");
  bool bf16 = vnni && __builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vbmi");
  return isa == Isa::portable || (isa == Isa::avx2 && avx2) || (isa == Isa::avx512 && avx512) ||
         (isa == Isa::avx512vnni && vnni) || (isa == Isa::avx512bf16 && bf16);
#else
  return isa == Isa::portable;
#endif
}

Isa choose_isa() {
  const char* wanted = std::getenv("WELLSPRING_ISA");
  if (!wanted || !*wanted) return best_isa();
  const Isa isa = parse_isa(wanted, "WELLSPRING_ISA");
  if (!processor_has(isa))
    throw Error(Fault::usage, str("WELLSPRING_ISA=", wanted, ": this processor has up to ",
                                  name_of(strongest(processor_has))));
  if (!has(isa))
    throw Error(Fault::usage, str("WELLSPRING_ISA=", wanted,
                                  ": this build has no kernels of that set; its best is ",
                                  name_of(best_isa())));
  return isa;
}

std::string processor_name() {
  std::string text = exists("/proc/cpuinfo") ? read_file("/proc/cpuinfo") : "";
  for (const std::string& line : split(text, '\n'))
    if (starts_with(line, "model name")) return std::string(trim(line.substr(line.find(':') + 1)));
  return "CPU";
}

constexpr size_t kHugePage = size_t{2} << 20;

// Whole huge pages, so that large tensors cost few page faults and TLB entries.
void* allocate(int, size_t bytes) {
  size_t extra = bytes >= kHugePage ? kHugePage : 0;
  void* p =
      mmap(nullptr, bytes + extra, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (p == MAP_FAILED)
    throw Error(Fault::missing, str("out of memory: the system refused ", human_bytes(bytes)));
  if (!extra) return p;
  char* begin = static_cast<char*>(p);
  char* aligned = reinterpret_cast<char*>((reinterpret_cast<uintptr_t>(begin) + kHugePage - 1) &
                                          ~(kHugePage - 1));
  if (aligned > begin) munmap(begin, aligned - begin);
  if (size_t rest = begin + bytes + extra - (aligned + bytes)) munmap(aligned + bytes, rest);
  madvise(aligned, bytes, MADV_HUGEPAGE);
  return aligned;
}

void release(int, void* data, size_t bytes) { munmap(data, bytes); }

void move_bytes(Queue*, void* to, const void* from, size_t bytes) { std::memcpy(to, from, bytes); }

Capabilities capabilities(int) {
  Capabilities c;
  c.name = str(processor_name(), " (", name_of(isa()), ")");
  c.dtypes = (1u << kDTypeCount) - 1;
  c.native = 1u << static_cast<int>(DType::f64) | 1u << static_cast<int>(DType::f32);
  if (isa() == Isa::avx512bf16) c.native |= 1u << static_cast<int>(DType::bf16);
  c.alignment = 64;
  c.memory = static_cast<size_t>(sysconf(_SC_PHYS_PAGES)) * sysconf(_SC_PAGESIZE);
  return c;
}

}  // namespace

std::string_view name_of(Isa isa) { return kNames[static_cast<int>(isa)]; }

Isa parse_isa(std::string_view name, const std::string& what) {
  const auto it = std::find(std::begin(kNames), std::end(kNames), name);
  if (it != std::end(kNames)) return static_cast<Isa>(it - std::begin(kNames));
  throw Error(Fault::usage, str(what, "=", name, ": expected one of ", join(std::vector<std::string>(std::begin(kNames), std::end(kNames)), ", ")));
}

bool has(Isa isa) { return processor_has(isa) && !kernels_of(isa).empty(); }

Isa best_isa() { return strongest(has); }

Isa isa() {
  static const Isa chosen = choose_isa();
  return chosen;
}

std::vector<NamedKernel> kernels_of(Isa isa) {
  const NamedKernel *begin = nullptr, *end = nullptr;
  switch (isa) {
    case Isa::portable:
      begin = __start_ws_kernels_portable, end = __stop_ws_kernels_portable;
      break;
    case Isa::avx2:
      begin = __start_ws_kernels_avx2, end = __stop_ws_kernels_avx2;
      break;
    case Isa::avx512:
      begin = __start_ws_kernels_avx512, end = __stop_ws_kernels_avx512;
      break;
    case Isa::avx512vnni:
      begin = __start_ws_kernels_avx512vnni, end = __stop_ws_kernels_avx512vnni;
      break;
    case Isa::avx512bf16:
      begin = __start_ws_kernels_avx512bf16, end = __stop_ws_kernels_avx512bf16;
      break;
  }
  std::vector<NamedKernel> kernels(begin, end);
  if (isa > Isa::avx512 && begin != end) {  // kernels that multiply; the others are avx512's
    const std::vector<NamedKernel> others = kernels_of(Isa::avx512);
    if (others.empty()) return {};
    for (const NamedKernel& other : others)
      if (std::none_of(begin, end, [&](const NamedKernel& own) {
            return std::string_view(own.name) == other.name;
          }))
        kernels.push_back(other);
  }
  return kernels;
}

namespace {
std::atomic<int64_t> scratch_held{0};
}

int64_t scratch_bytes() { return scratch_held.load(std::memory_order_relaxed); }

void* scratch(int slot, size_t bytes) {
  struct Buffers {
    void* data[8] = {};
    size_t size[8] = {};
    void give_back(int slot) {
      if (data[slot]) release(0, data[slot], size[slot]);
      scratch_held.fetch_sub(static_cast<int64_t>(size[slot]), std::memory_order_relaxed);
      data[slot] = nullptr, size[slot] = 0;
    }
    ~Buffers() {
      for (int slot = 0; slot < 8; ++slot) give_back(slot);
    }
  };
  static thread_local Buffers buffers;
  WS_CHECK(slot >= 0 && slot < 8, "scratch slot out of range");
  if (buffers.size[slot] < bytes) {
    buffers.give_back(slot);
    const size_t wanted = bytes + bytes / 4, whole = wanted >= kHugePage / 2 ? kHugePage : 4096;
    const size_t rounded = (wanted + whole - 1) / whole * whole;
    buffers.data[slot] = allocate(0, rounded);
    buffers.size[slot] = rounded;
    scratch_held.fetch_add(static_cast<int64_t>(rounded), std::memory_order_relaxed);
  }
  return buffers.data[slot];
}

void kernel_refuses(const char* kernel, const char* why) {
  throw Error(Fault::internal, str("CPU kernel '", kernel, "': ", why));
}

void divides_by_zero() { throw Error(Fault::usage, "a whole number is divided by zero"); }

void bad_index(const char* kernel, int64_t index, int64_t extent, int dim) {
  throw IndexError(str("index ", index, " is out of range for dimension ", dim, " of extent ",
                       extent, " (kernel ", kernel, ")"));
}

const Chip& chip() {
  static const Chip table = {
      .name = "cpu",
      .device_count = [] { return 1; },
      .why_absent = [] { return std::string(); },
      .capabilities = capabilities,
      .allocate = allocate,
      .free = release,
      .queue = [](int) -> Queue* { return nullptr; },
      .from_host = move_bytes,
      .to_host = move_bytes,
      .copy = move_bytes,
      .peer_copy = nullptr,
      .synchronize = [](Queue*) {},
      .record_event = [](Queue*) -> void* { return nullptr; },
      .wait_event = [](Queue*, void*) {},
      .free_event = [](void*) {},
      .kernels = [] { return kernels_of(isa()); },
      .kernel_set = [] { return name_of(isa()); },
  };
  return table;
}

}  // namespace wellspring::cpu
