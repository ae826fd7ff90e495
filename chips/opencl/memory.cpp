#include <sys/mman.h>

#include "base/error.h"
#include "base/text.h"
#include "chips/opencl/device.h"

namespace wellspring::opencl {

void* Memory::add(cl_mem buffer, size_t bytes) {
  void* address =
      mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (address == MAP_FAILED)
    throw Error(Fault::missing, str("no addresses are left for ", human_bytes(bytes)));
  std::lock_guard lock(mutex_);
  segments_[reinterpret_cast<uintptr_t>(address)] = {buffer, bytes};
  return address;
}

cl_mem Memory::remove(void* address, size_t bytes) {
  std::lock_guard lock(mutex_);
  auto it = segments_.find(reinterpret_cast<uintptr_t>(address));
  WS_CHECK(it != segments_.end(), "memory of no OpenCL buffer is freed");
  const cl_mem buffer = it->second.buffer;
  segments_.erase(it);
  munmap(address, bytes);
  return buffer;
}

Place Memory::find(const void* address) {
  const auto at = reinterpret_cast<uintptr_t>(address);
  std::lock_guard lock(mutex_);
  auto it = segments_.upper_bound(at);
  WS_CHECK(it != segments_.begin(), "an address of no OpenCL buffer");
  --it;
  WS_CHECK(at - it->first <= it->second.bytes, "an address of no OpenCL buffer");
  return {it->second.buffer, at - it->first};
}

}  // namespace wellspring::opencl
