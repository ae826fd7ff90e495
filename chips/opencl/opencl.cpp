#include "chips/opencl/opencl.h"

#include <pthread.h>

#include <atomic>
#include <bit>

#include "base/error.h"
#include "base/text.h"
#include "chips/opencl/device.h"

namespace wellspring::opencl {
namespace {

std::atomic<bool> g_found{false}, g_forked{false};

template <class T>
T info(cl_device_id id, cl_device_info what) {
  T value{};
  check(api()->GetDeviceInfo(id, what, sizeof value, &value, nullptr), "clGetDeviceInfo");
  return value;
}
std::string text_of(cl_device_id id, cl_device_info what) {
  char text[1024] = {};
  check(api()->GetDeviceInfo(id, what, sizeof text - 1, text, nullptr), "clGetDeviceInfo");
  return std::string(trim(text));
}
std::string text_of(cl_platform_id id, cl_platform_info what) {
  char text[1024] = {};
  check(api()->GetPlatformInfo(id, what, sizeof text - 1, text, nullptr), "clGetPlatformInfo");
  return std::string(trim(text));
}

uint32_t bit(DType t) { return 1u << static_cast<int>(t); }

std::unique_ptr<OpenclDevice> open(cl_platform_id platform, cl_device_id id, int index) {
  auto d = std::make_unique<OpenclDevice>();
  d->index = index, d->platform = platform, d->id = id;
  d->name = str(text_of(id, CL_DEVICE_NAME), " (", text_of(platform, CL_PLATFORM_NAME), ")");
  d->version = str(text_of(platform, CL_PLATFORM_VERSION), '\n', text_of(id, CL_DEVICE_NAME), '\n',
                   text_of(id, CL_DEVICE_VERSION), '\n', text_of(id, CL_DRIVER_VERSION));
  d->has_double = info<cl_device_fp_config>(id, CL_DEVICE_DOUBLE_FP_CONFIG) != 0;
  for (DType t : {DType::f32, DType::bf16, DType::f16, DType::i64, DType::i32, DType::i16,
                  DType::i8, DType::u8, DType::boolean})
    d->dtypes |= bit(t);
  if (d->has_double) d->dtypes |= bit(DType::f64);
  d->memory = info<cl_ulong>(id, CL_DEVICE_GLOBAL_MEM_SIZE);
  d->largest = info<cl_ulong>(id, CL_DEVICE_MAX_MEM_ALLOC_SIZE);
  cl_int code;
  d->context = api()->CreateContext(nullptr, 1, &id, nullptr, nullptr, &code);
  check(code, "clCreateContext");
  d->queue = std::make_unique<OpenclQueue>(*d);
  return d;
}

// What one of the drivers cannot do is no reason to do without the others.
bool is_usable(cl_device_id id) {
  return info<cl_bool>(id, CL_DEVICE_AVAILABLE) &&
         info<cl_bool>(id, CL_DEVICE_COMPILER_AVAILABLE) &&
         info<cl_bool>(id, CL_DEVICE_ENDIAN_LITTLE) ==
             (std::endian::native == std::endian::little) &&
         info<size_t>(id, CL_DEVICE_MAX_WORK_GROUP_SIZE) >= WS_ITEMS;
}

struct Found {
  std::vector<std::unique_ptr<OpenclDevice>> devices;
  std::string why;
};

Found find() {
  Found found;
  if (!api()) {
    found.why = why_no_api();
    return found;
  }
  cl_uint count = 0;
  if (api()->GetPlatformIDs(0, nullptr, &count) != CL_SUCCESS || !count) {
    found.why =
        "OpenCL is installed, but no driver of a device; for the processor install pocl-opencl-icd";
    return found;
  }
  std::vector<cl_platform_id> platforms(count);
  check(api()->GetPlatformIDs(count, platforms.data(), nullptr), "clGetPlatformIDs");
  found.why = "no OpenCL driver here has a device with a compiler";
  for (cl_platform_id platform : platforms) {
    try {
      cl_uint n = 0;
      if (api()->GetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, 0, nullptr, &n) != CL_SUCCESS) continue;
      std::vector<cl_device_id> ids(n);
      check(api()->GetDeviceIDs(platform, CL_DEVICE_TYPE_ALL, n, ids.data(), nullptr),
            "clGetDeviceIDs");
      for (cl_device_id id : ids)
        if (is_usable(id))
          found.devices.push_back(open(platform, id, static_cast<int>(found.devices.size())));
    } catch (const Error& e) {
      found.why = e.what();
    }
  }
  pthread_atfork(nullptr, nullptr, [] { g_forked = true; });
  g_found = true;
  return found;
}

// Never destroyed: tensors of static lifetime may be freed after main.
Found& found() {
  static Found& f = *new Found(find());
  return f;
}

OpenclDevice& device_at(int index) { return *devices()[static_cast<size_t>(index)]; }
OpenclQueue& of(Queue* queue) {
  if (is_forked_child()) devices();  // throws
  return *static_cast<OpenclQueue*>(queue);
}

void* allocate(int index, size_t bytes) {
  OpenclDevice& d = device_at(index);
  if (bytes > d.largest)
    throw Error(Fault::missing, str(d.name, " gives at most ", human_bytes(d.largest),
                                    " at a time, not ", human_bytes(bytes)));
  cl_int code;
  const cl_mem buffer = api()->CreateBuffer(d.context, CL_MEM_READ_WRITE, bytes, nullptr, &code);
  if (code != CL_SUCCESS)
    throw Error(Fault::missing,
                str(d.name, " refused ", human_bytes(bytes), ": ", name_of_code(code)));
  return d.places.add(buffer, bytes);
}

void release(int index, void* data, size_t bytes) {
  if (is_forked_child()) return;  // the parent's driver holds it
  OpenclDevice& d = device_at(index);
  // Work on the queue holds the buffer until it is done.
  api()->ReleaseMemObject(d.places.remove(data, bytes));
}

}  // namespace

bool is_forked_child() { return g_forked && g_found; }

const std::vector<std::unique_ptr<OpenclDevice>>& devices() {
  if (is_forked_child())
    throw Error(Fault::missing,
                "OpenCL does not work in a process forked from one that uses it: start the child "
                "as a new program, or fork before the first use");
  return found().devices;
}

std::string why_no_devices() { return found().why; }

const Chip& chip() {
  static const Chip table = {
      .name = "opencl",
      .device_count = [] { return static_cast<int>(devices().size()); },
      .why_absent = why_no_devices,
      .capabilities =
          [](int index) {
            const OpenclDevice& d = device_at(index);
            return Capabilities{d.name, d.dtypes, 0, 128, d.memory};
          },
      .allocate = allocate,
      .free = release,
      .queue = [](int index) -> Queue* { return device_at(index).queue.get(); },
      .from_host = [](Queue* q, void* to, const void* from,
                      size_t n) { of(q).from_host(to, from, n); },
      .to_host = [](Queue* q, void* to, const void* from, size_t n) { of(q).to_host(to, from, n); },
      .copy = [](Queue* q, void* to, const void* from, size_t n) { of(q).copy(to, from, n); },
      .peer_copy = nullptr,
      .synchronize = [](Queue* q) { of(q).finish(); },
      .record_event = [](Queue* q) -> void* { return of(q).mark(); },
      .wait_event = [](Queue* q, void* event) { of(q).wait(static_cast<cl_event>(event)); },
      .free_event = [](void* event) { api()->ReleaseEvent(static_cast<cl_event>(event)); },
      .kernels = device::kernels,
      .kernel_set = nullptr,
  };
  return table;
}

}  // namespace wellspring::opencl
