#pragma once
// The functions of libOpenCL that we call, found at run time: one build runs with and without it.

#define CL_TARGET_OPENCL_VERSION 120
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS
#include <CL/cl.h>

#include <string>

namespace wellspring::opencl {

// The formatter does not agree with itself on these lines.
// clang-format off
#define WS_OPENCL_FUNCTIONS(F) \
  F(GetPlatformIDs) F(GetPlatformInfo) F(GetDeviceIDs) F(GetDeviceInfo) F(CreateContext) \
  F(CreateCommandQueue) F(CreateBuffer) F(ReleaseMemObject) F(EnqueueReadBuffer) \
  F(EnqueueWriteBuffer) F(EnqueueCopyBuffer) F(Finish) F(Flush) F(EnqueueMarkerWithWaitList) \
  F(EnqueueBarrierWithWaitList) F(ReleaseEvent) F(SetEventCallback) \
  F(CreateProgramWithSource) F(CreateProgramWithBinary) F(BuildProgram) \
  F(GetProgramBuildInfo) F(GetProgramInfo) F(ReleaseProgram) F(CreateKernel) F(SetKernelArg) \
  F(EnqueueNDRangeKernel)
// clang-format on

struct Api {
#define WS_MEMBER(name) decltype(&::cl##name) name = nullptr;
  WS_OPENCL_FUNCTIONS(WS_MEMBER)
#undef WS_MEMBER
};

/// The library, loaded at the first call; null when it is not there, and `why_no_api` says why.
const Api* api();
const std::string& why_no_api();

/// Throws Error(Fault::missing) naming the call and the code, unless the code is CL_SUCCESS.
void check(cl_int code, const char* call);
/// "CL_OUT_OF_RESOURCES (-5)".
std::string name_of_code(cl_int code);

}  // namespace wellspring::opencl
