#pragma once
// One OpenCL device: its context, memory, queue and programs.

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "chips/device/device.h"
#include "chips/opencl/api.h"

namespace wellspring::opencl {

/// A buffer and a place in it, for a device address.
struct Place {
  cl_mem buffer = nullptr;
  size_t offset = 0;
};

/// Buffers by device address. An address is a range of the process's own that is reserved and never
/// mapped: arithmetic on it works as on any pointer, and following it faults at once.
class Memory {
 public:
  void* add(cl_mem buffer, size_t bytes);
  /// Forgets a buffer, which the caller releases.
  cl_mem remove(void* address, size_t bytes);
  Place find(const void* address);

 private:
  struct Segment {
    cl_mem buffer;
    size_t bytes;
  };
  std::mutex mutex_;
  std::map<uintptr_t, Segment> segments_;
};

class OpenclQueue;

struct OpenclDevice {
  int index = 0;
  cl_platform_id platform = nullptr;
  cl_device_id id = nullptr;
  cl_context context = nullptr;
  std::string name, version;  // version: of platform, device and driver, for the cache
  uint32_t dtypes = 0;
  bool has_double = false, is_little = true;
  size_t memory = 0, largest = 0;
  Memory places;
  std::unique_ptr<OpenclQueue> queue;
};

/// All usable devices of all platforms, found at the first call; kept for ever.
/// Error(Fault::missing) in a process that was forked from one that had found devices: drivers do
/// not survive that.
const std::vector<std::unique_ptr<OpenclDevice>>& devices();
/// Why there are none.
std::string why_no_devices();
bool is_forked_child();

class OpenclQueue : public device::DeviceQueue {
 public:
  explicit OpenclQueue(OpenclDevice& d);
  void launch(const device::Function& f, std::span<const device::Argument> arguments,
              int64_t groups) override;
  uint32_t dtypes() const override { return device_.dtypes; }
  Device device() const override;

  void from_host(void* to, const void* from, size_t bytes);
  void to_host(void* to, const void* from, size_t bytes);
  void copy(void* to, const void* from, size_t bytes);
  void finish();
  cl_event mark();
  void wait(cl_event event);

 private:
  cl_kernel kernel(const device::Function& f);

  OpenclDevice& device_;
  cl_command_queue queue_ = nullptr;
  std::mutex mutex_;  // of kernels, whose arguments are state, and programs
  std::unordered_map<std::string, cl_program> programs_;
  std::unordered_map<std::string, cl_kernel> kernels_;
};

/// A unit of the device source, compiled for a device or taken from the cache on disk.
cl_program make_program(const OpenclDevice& d, const char* unit, device::Real real);

}  // namespace wellspring::opencl
