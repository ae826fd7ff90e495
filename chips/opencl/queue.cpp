#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "base/text.h"
#include "chips/opencl/device.h"
#include "chips/opencl/opencl.h"

namespace wellspring::opencl {
namespace {

constexpr size_t kStaged = size_t{1}
                           << 20;  // up to here the host's bytes are copied, not waited for

void CL_CALLBACK free_staged(cl_event, cl_int, void* data) { std::free(data); }

}  // namespace

OpenclQueue::OpenclQueue(OpenclDevice& d) : device_(d) {
  cl_int code;
  queue_ = api()->CreateCommandQueue(d.context, d.id, 0, &code);
  check(code, "clCreateCommandQueue");
}

Device OpenclQueue::device() const {
  static const int chip_index = [] {
    for (size_t i = 0; i < chips().size(); ++i)
      if (chips()[i].device_count == chip().device_count) return static_cast<int>(i);
    throw Error(Fault::internal, "the OpenCL chip is not registered");
  }();
  return {static_cast<uint8_t>(chip_index), static_cast<uint8_t>(device_.index)};
}

cl_kernel OpenclQueue::kernel(const device::Function& f) {
  const std::string program_key = str(f.unit, ' ', static_cast<int>(f.real));
  const std::string key = str(program_key, ' ', f.name);
  auto it = kernels_.find(key);
  if (it != kernels_.end()) return it->second;
  cl_program& program = programs_[program_key];
  if (!program) program = make_program(device_, f.unit, f.real);
  cl_int code;
  const cl_kernel made = api()->CreateKernel(program, f.name, &code);
  if (code != CL_SUCCESS)
    throw Error(Fault::internal, str("OpenCL: program ", program_key, " has no kernel '", f.name,
                                     "': ", name_of_code(code)));
  return kernels_[key] = made;
}

void OpenclQueue::launch(const device::Function& f, std::span<const device::Argument> arguments,
                         int64_t groups) {
  std::lock_guard lock(mutex_);
  const cl_kernel k = kernel(f);
  cl_uint slot = 0;
  const auto set = [&](size_t bytes, const void* value) {
    if (const cl_int code = api()->SetKernelArg(k, slot, bytes, value); code != CL_SUCCESS)
      throw Error(Fault::internal, str("OpenCL: argument ", slot, " of kernel '", f.name,
                                       "': ", name_of_code(code)));
    ++slot;
  };
  for (const device::Argument& a : arguments) {
    if (a.value) {
      set(a.bytes, a.value);
      continue;
    }
    const Place place = a.tensor ? device_.places.find(a.tensor) : Place{};
    const auto offset = static_cast<cl_long>(place.offset);
    set(sizeof(cl_mem), place.buffer ? &place.buffer : nullptr);
    set(sizeof offset, &offset);
  }
  const size_t global = static_cast<size_t>(groups) * WS_ITEMS, local = WS_ITEMS;
  const cl_int code =
      api()->EnqueueNDRangeKernel(queue_, k, 1, nullptr, &global, &local, 0, nullptr, nullptr);
  if (code != CL_SUCCESS)
    throw Error(code == CL_MEM_OBJECT_ALLOCATION_FAILURE || code == CL_OUT_OF_RESOURCES
                    ? Fault::missing
                    : Fault::internal,
                str("OpenCL: kernel '", f.name, "' of ", groups, " groups: ", name_of_code(code)));
}

void OpenclQueue::from_host(void* to, const void* from, size_t bytes) {
  const Place p = device_.places.find(to);
  if (bytes > kStaged) {
    check(api()->EnqueueWriteBuffer(queue_, p.buffer, CL_TRUE, p.offset, bytes, from, 0, nullptr,
                                    nullptr),
          "clEnqueueWriteBuffer");
    return;
  }
  void* staged = std::malloc(bytes);
  if (!staged) throw Error(Fault::missing, str("out of memory for ", human_bytes(bytes)));
  std::memcpy(staged, from, bytes);
  cl_event done = nullptr;
  const cl_int code = api()->EnqueueWriteBuffer(queue_, p.buffer, CL_FALSE, p.offset, bytes, staged,
                                                0, nullptr, &done);
  if (code != CL_SUCCESS) std::free(staged);
  check(code, "clEnqueueWriteBuffer");
  check(api()->SetEventCallback(done, CL_COMPLETE, free_staged, staged), "clSetEventCallback");
  api()->ReleaseEvent(done);
  check(api()->Flush(queue_), "clFlush");
}

void OpenclQueue::to_host(void* to, const void* from, size_t bytes) {
  const Place p = device_.places.find(from);
  check(
      api()->EnqueueReadBuffer(queue_, p.buffer, CL_TRUE, p.offset, bytes, to, 0, nullptr, nullptr),
      "clEnqueueReadBuffer");
}

void OpenclQueue::copy(void* to, const void* from, size_t bytes) {
  const Place p = device_.places.find(from), q = device_.places.find(to);
  check(api()->EnqueueCopyBuffer(queue_, p.buffer, q.buffer, p.offset, q.offset, bytes, 0, nullptr,
                                 nullptr),
        "clEnqueueCopyBuffer");
}

void OpenclQueue::finish() { check(api()->Finish(queue_), "clFinish"); }

cl_event OpenclQueue::mark() {
  cl_event event = nullptr;
  check(api()->EnqueueMarkerWithWaitList(queue_, 0, nullptr, &event),
        "clEnqueueMarkerWithWaitList");
  check(api()->Flush(queue_), "clFlush");
  return event;
}

void OpenclQueue::wait(cl_event event) {
  check(api()->EnqueueBarrierWithWaitList(queue_, 1, &event, nullptr),
        "clEnqueueBarrierWithWaitList");
}

}  // namespace wellspring::opencl
