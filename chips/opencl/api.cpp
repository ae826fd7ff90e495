#include "chips/opencl/api.h"

#include <dlfcn.h>

#include <cstdlib>

#include "base/error.h"
#include "base/text.h"

namespace wellspring::opencl {
namespace {

struct Loaded {
  Api api;
  bool there = false;
  std::string why;
};

Loaded load() {
  Loaded l;
  const char* named = std::getenv("WELLSPRING_OPENCL");
  const char* path = named && *named ? named : "libOpenCL.so.1";
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    l.why = str("OpenCL is not installed (", dlerror(),
                "); install ocl-icd-libopencl1 and the driver of the device (for the processor: "
                "pocl-opencl-icd)");
    return l;
  }
  l.there = true;
#define WS_FIND(name)                                                               \
  l.api.name = reinterpret_cast<decltype(&::cl##name)>(dlsym(library, "cl" #name)); \
  if (!l.api.name)                                                                  \
    l.there = false, l.why = str(path, " has no function cl" #name, "; it is too old");
  WS_OPENCL_FUNCTIONS(WS_FIND)
#undef WS_FIND
  return l;
}

const Loaded& loaded() {
  static const Loaded l = load();
  return l;
}

struct Code {
  cl_int code;
  const char* name;
};
constexpr Code kCodes[] = {
    {CL_DEVICE_NOT_AVAILABLE, "CL_DEVICE_NOT_AVAILABLE"},
    {CL_MEM_OBJECT_ALLOCATION_FAILURE, "CL_MEM_OBJECT_ALLOCATION_FAILURE"},
    {CL_OUT_OF_RESOURCES, "CL_OUT_OF_RESOURCES"},
    {CL_OUT_OF_HOST_MEMORY, "CL_OUT_OF_HOST_MEMORY"},
    {CL_BUILD_PROGRAM_FAILURE, "CL_BUILD_PROGRAM_FAILURE"},
    {CL_INVALID_VALUE, "CL_INVALID_VALUE"},
    {CL_INVALID_BUFFER_SIZE, "CL_INVALID_BUFFER_SIZE"},
    {CL_INVALID_BINARY, "CL_INVALID_BINARY"},
    {CL_INVALID_KERNEL_NAME, "CL_INVALID_KERNEL_NAME"},
    {CL_INVALID_KERNEL_ARGS, "CL_INVALID_KERNEL_ARGS"},
    {CL_INVALID_ARG_SIZE, "CL_INVALID_ARG_SIZE"},
    {CL_INVALID_WORK_GROUP_SIZE, "CL_INVALID_WORK_GROUP_SIZE"},
    {-1001, "CL_PLATFORM_NOT_FOUND"},
};

}  // namespace

const Api* api() { return loaded().there ? &loaded().api : nullptr; }
const std::string& why_no_api() { return loaded().why; }

std::string name_of_code(cl_int code) {
  for (const Code& c : kCodes)
    if (c.code == code) return str(c.name, " (", code, ")");
  return str("code ", code);
}

void check(cl_int code, const char* call) {
  if (code != CL_SUCCESS)
    throw Error(Fault::missing, str("OpenCL: ", call, " failed with ", name_of_code(code)));
}

}  // namespace wellspring::opencl
