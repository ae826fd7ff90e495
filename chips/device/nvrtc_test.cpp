// The device source as CUDA C++: every unit, for every type that it computes in, through NVRTC. No
// GPU is needed. The library comes with PyTorch (./dev setup --peers) or as PyPI's
// nvidia-cuda-nvrtc.
#include <dlfcn.h>
#include <glob.h>
#include <gtest/gtest.h>

#include "base/text.h"
#include "base/threads.h"
#include "chips/device/device.h"

namespace wellspring::device {
namespace {

// As in nvrtc.h.
using Program = void*;
struct Nvrtc {
  void* library = nullptr;
  int (*create)(Program*, const char*, const char*, int, const char* const*, const char* const*);
  int (*compile)(Program, int, const char* const*);
  int (*log_size)(Program, size_t*);
  int (*log)(Program, char*);
  int (*ptx_size)(Program, size_t*);
  int (*ptx)(Program, char*);
  int (*destroy)(Program*);
};

std::vector<std::string> candidates() {
  std::vector<std::string> paths;
  if (const char* named = std::getenv("WELLSPRING_NVRTC")) paths.emplace_back(named);
  for (const char* pattern :
       {".cache/peers/venv/lib/python3*/site-packages/nvidia/*/lib/libnvrtc.so.*",
        "/usr/local/cuda/lib64/libnvrtc.so"}) {
    glob_t found{};
    if (glob(pattern, 0, nullptr, &found) == 0)
      for (size_t i = 0; i < found.gl_pathc; ++i)
        if (std::string path = found.gl_pathv[i]; path.find(".alt.") == std::string::npos)
          paths.push_back(std::move(path));
    globfree(&found);
  }
  paths.emplace_back("libnvrtc.so");
  return paths;
}

template <class F>
void find(void* library, const char* name, F& f) {
  f = reinterpret_cast<F>(dlsym(library, name));
  ASSERT_TRUE(f) << name;
}

class DeviceSource : public testing::Test {
 protected:
  void SetUp() override {
    for (const std::string& path : candidates())
      if (!nvrtc_.library) nvrtc_.library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!nvrtc_.library)
      GTEST_SKIP() << "libnvrtc is not here: ./dev setup --peers, or pip install "
                      "nvidia-cuda-nvrtc and WELLSPRING_NVRTC=its path";
    find(nvrtc_.library, "nvrtcCreateProgram", nvrtc_.create);
    find(nvrtc_.library, "nvrtcCompileProgram", nvrtc_.compile);
    find(nvrtc_.library, "nvrtcGetProgramLogSize", nvrtc_.log_size);
    find(nvrtc_.library, "nvrtcGetProgramLog", nvrtc_.log);
    find(nvrtc_.library, "nvrtcGetPTXSize", nvrtc_.ptx_size);
    find(nvrtc_.library, "nvrtcGetPTX", nvrtc_.ptx);
    find(nvrtc_.library, "nvrtcDestroyProgram", nvrtc_.destroy);
  }

  struct Compiled {
    bool ok;
    std::string log, ptx;
  };
  Compiled compile(const std::string& text, Real real) {
    Compiled c{};
    Program program = nullptr;
    if (nvrtc_.create(&program, text.c_str(), "unit.cu", 0, nullptr, nullptr) != 0) return c;
    std::vector<std::string> options{"--gpu-architecture=compute_80"};
    for (const std::string& definition : program_definitions(real, true))
      options.push_back("-D" + definition);
    std::vector<const char*> pointers;
    for (const std::string& o : options) pointers.push_back(o.c_str());
    c.ok = nvrtc_.compile(program, static_cast<int>(pointers.size()), pointers.data()) == 0;
    size_t size = 0;
    nvrtc_.log_size(program, &size);
    c.log.resize(size);
    nvrtc_.log(program, c.log.data());
    if (c.ok) {
      nvrtc_.ptx_size(program, &size);
      c.ptx.resize(size);
      nvrtc_.ptx(program, c.ptx.data());
    }
    nvrtc_.destroy(&program);
    return c;
  }

  Nvrtc nvrtc_;
};

TEST_F(DeviceSource, CompilesAsCuda) {
  struct Program {
    std::string_view unit;
    Real real;
    Compiled compiled;
  };
  std::vector<Program> programs;
  for (const Unit& unit : units())
    for (Real real : unit.reals)  // elementwise units differ in f64 by the type alone
      if (!starts_with(unit.name, "pointwise_") || real != Real::f64)
        programs.push_back({unit.name, real, {}});
  EXPECT_GE(programs.size(), 30u);
  parallel_for(static_cast<int64_t>(programs.size()), [&](int64_t i) {
    Program& p = programs[static_cast<size_t>(i)];
    p.compiled = compile(program_text(p.unit), p.real);
  });
  for (const Program& p : programs) {
    SCOPED_TRACE(str(p.unit, " kind ", static_cast<int>(p.real)));
    EXPECT_TRUE(p.compiled.ok) << p.compiled.log;
    if (p.real == Real::i64) continue;  // some units have nothing to compute in it
    EXPECT_NE(p.compiled.ptx.find(".entry"), std::string::npos);
    // A constant or a function of the wrong width would turn the computation of an f32 program into
    // f64; three units convert from and to it.
    if (p.real != Real::f32 || p.unit == "copy" || p.unit == "index" || p.unit == "loss") continue;
    for (const char* word : {"fma.rn.f64", "add.f64", "add.rn.f64", "div.rn.f64", "sqrt.rn.f64"})
      EXPECT_EQ(p.compiled.ptx.find(word), std::string::npos) << word;
    // The sine of a large number multiplies in f64.
    if (!starts_with(p.unit, "pointwise_")) {
      EXPECT_EQ(p.compiled.ptx.find("mul.f64"), std::string::npos);
    }
  }
  EXPECT_FALSE(compile(program_text("copy") + "\nint broken = ;", Real::f32).ok);
}

}  // namespace
}  // namespace wellspring::device
