#include "base/lost_pages.h"

#include <sys/mman.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <mutex>
#include <utility>

#include "base/error.h"
#include "base/file.h"

namespace wellspring {
namespace {

struct Slot {
  std::atomic<uintptr_t> begin{0}, end{0};  // end is 0: free
  std::atomic<bool> lost{false};
};
constexpr int kSlots = 4096;
Slot slots[kSlots];
static_assert(std::atomic<uintptr_t>::is_always_lock_free &&
              std::atomic<bool>::is_always_lock_free);

struct sigaction before {};

// Whoever reads the mapping keeps it alive, so its slot cannot change meanwhile.
Slot* find(uintptr_t address) {
  for (Slot& s : slots)
    if (address < s.end.load(std::memory_order_acquire) &&
        address >= s.begin.load(std::memory_order_relaxed))
      return &s;
  return nullptr;
}

// All of the mapping becomes zeros: one page at a time would make a mapping of each.
bool zero(const Slot& s) {
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  const uintptr_t begin = s.begin, size = (s.end - begin + page - 1) / page * page;
  return ::mmap(reinterpret_cast<void*>(begin), size, PROT_READ,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) != MAP_FAILED;
}

void on_bus_error(int, siginfo_t* info, void*) {
  const int error = errno;
  Slot* slot = info->si_code > 0 ? find(reinterpret_cast<uintptr_t>(info->si_addr)) : nullptr;
  if (slot) {
    slot->lost = true;  // before the reader goes on
    if (zero(*slot)) {
      errno = error;
      return;
    }
  }
  ::sigaction(SIGBUS, &before, nullptr);             // the access fails again, as it used to
  if (info->si_code <= 0) ::raise(SIGBUS);           // somebody sent it
}

}  // namespace

PageGuard::PageGuard(const void* data, size_t size) {
  static std::mutex mutex;
  std::lock_guard lock(mutex);
  for (int i = 0; i < kSlots && slot_ < 0; ++i)
    if (slots[i].end == 0) slot_ = i;
  if (slot_ < 0) return;
  Slot& s = slots[slot_];
  s.lost = false;
  s.begin = reinterpret_cast<uintptr_t>(data);
  s.end.store(s.begin + size, std::memory_order_release);
}

PageGuard::~PageGuard() {
  if (slot_ >= 0) slots[slot_].end = 0;
}

PageGuard::PageGuard(PageGuard&& other) noexcept : slot_(std::exchange(other.slot_, -1)) {}
PageGuard& PageGuard::operator=(PageGuard&& other) noexcept {
  std::swap(slot_, other.slot_);
  return *this;
}

bool PageGuard::lost() const { return slot_ >= 0 && slots[slot_].lost; }

void survive_lost_pages() {
  static const bool once = [] {
    struct sigaction action {};
    action.sa_sigaction = on_bus_error;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    return ::sigaction(SIGBUS, &action, &before) == 0;
  }();
  WS_CHECK(once, "SIGBUS can be handled");
}

}  // namespace wellspring
