#include "base/fault_point.h"

#include <atomic>

namespace wellspring {
namespace {
std::atomic<FaultHook> fault_hook{nullptr};
}  // namespace

void set_fault_hook(FaultHook hook) { fault_hook = hook; }

void fault_point(const char* place) {
  if (const FaultHook hook = fault_hook.load(std::memory_order_relaxed)) hook(place);
}

}  // namespace wellspring
