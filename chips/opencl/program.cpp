// Programs: compiled once per machine, then taken from the cache on disk.
//
// A file of the cache holds what the program was made of (the device, the driver's version,
// options, source) and what the compiler made of it. It is used only when the first part is the
// same, byte by byte; anything else, a broken file too, is compiled anew.

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"
#include "base/time.h"
#include "chips/opencl/device.h"
#include "chips/opencl/opencl.h"

namespace wellspring::opencl {
namespace {

std::atomic<int> g_compiled{0}, g_loaded{0};

// WELLSPRING_CACHE, or wellspring/ in the user's cache folder; empty: no cache.
std::string cache_folder() {
  const auto named = [](const char* variable) {
    const char* value = std::getenv(variable);
    return std::string(value ? value : "");
  };
  if (const char* own = std::getenv("WELLSPRING_CACHE"))
    return *own ? join_path(own, "opencl") : std::string();
  if (const std::string folder = named("XDG_CACHE_HOME"); !folder.empty())
    return join_path(folder, "wellspring/opencl");
  if (const std::string home = named("HOME"); !home.empty())
    return join_path(home, ".cache/wellspring/opencl");
  return "";
}

uint64_t hash_of(std::string_view text) {  // FNV-1a: names files only, whose content is compared
  uint64_t h = 0xcbf29ce484222325u;
  for (char c : text) h = (h ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
  return h;
}

struct Recipe {
  std::string unit, options, text, key;
  std::string path;  // in the cache; empty: no cache
};

Recipe recipe_of(const OpenclDevice& d, const char* unit, device::Real real) {
  Recipe r;
  r.unit = unit;
  for (const std::string& definition : device::program_definitions(real, d.has_double))
    r.options += " -D " + definition;
  // Constants without a suffix are of the type computed in.
  if (real != device::Real::f64) r.options += " -cl-single-precision-constant";
  r.text = device::program_text(unit);
  r.key = str("wellspring program 1\n", d.version, '\n', r.options, '\n', r.text);
  if (const std::string folder = cache_folder(); !folder.empty()) {
    char digits[17];
    std::snprintf(digits, sizeof digits, "%016lx", static_cast<unsigned long>(hash_of(r.key)));
    r.path = join_path(folder, str(unit, '-', digits, ".bin"));
  }
  return r;
}

std::string build_log(const OpenclDevice& d, cl_program program) {
  size_t size = 0;
  api()->GetProgramBuildInfo(program, d.id, CL_PROGRAM_BUILD_LOG, 0, nullptr, &size);
  std::string log(size, '\0');
  api()->GetProgramBuildInfo(program, d.id, CL_PROGRAM_BUILD_LOG, size, log.data(), nullptr);
  return std::string(trim(log.c_str()));
}

cl_program load(const OpenclDevice& d, const Recipe& r) {
  if (r.path.empty() || !exists(r.path)) return nullptr;
  std::string content;
  try {
    content = read_file(r.path);
  } catch (const Error&) {
    return nullptr;
  }
  const uint64_t begin = r.key.size() + 8;
  if (content.size() <= begin || content.compare(0, r.key.size(), r.key) != 0) return nullptr;
  uint64_t sum;
  std::memcpy(&sum, content.data() + r.key.size(), 8);
  const std::string_view binary = std::string_view(content).substr(begin);
  if (hash_of(binary) != sum) return nullptr;
  const auto* data = reinterpret_cast<const unsigned char*>(binary.data());
  const size_t size = binary.size();
  cl_int code, status = CL_SUCCESS;
  const cl_program program =
      api()->CreateProgramWithBinary(d.context, 1, &d.id, &size, &data, &status, &code);
  if (code != CL_SUCCESS) return nullptr;
  if (status == CL_SUCCESS &&
      api()->BuildProgram(program, 1, &d.id, r.options.c_str(), nullptr, nullptr) == CL_SUCCESS)
    return program;
  api()->ReleaseProgram(program);
  return nullptr;
}

void save(const Recipe& r, cl_program program) {
  if (r.path.empty()) return;
  size_t size = 0;
  if (api()->GetProgramInfo(program, CL_PROGRAM_BINARY_SIZES, sizeof size, &size, nullptr) !=
          CL_SUCCESS ||
      !size)
    return;
  std::string binary(size, '\0');
  auto* data = reinterpret_cast<unsigned char*>(binary.data());
  if (api()->GetProgramInfo(program, CL_PROGRAM_BINARIES, sizeof data, &data, nullptr) !=
      CL_SUCCESS)
    return;
  const uint64_t sum = hash_of(binary);
  try {
    make_directories(parent_path(r.path));
    write_file_atomic(r.path,
                      str(r.key, std::string_view(reinterpret_cast<const char*>(&sum), 8), binary));
  } catch (const Error& e) {
    log_debug("opencl", "programs are not cached: ", e.what());
  }
}

}  // namespace

ProgramCounts program_counts() { return {g_compiled, g_loaded}; }

cl_program make_program(const OpenclDevice& d, const char* unit, device::Real real) {
  const Stopwatch watch;
  const Recipe r = recipe_of(d, unit, real);
  if (const cl_program program = load(d, r)) {
    ++g_loaded;
    log_debug("opencl", "loaded ", unit, r.options, " in ", 1e3 * watch.seconds(), " ms");
    return program;
  }
  const char* text = r.text.c_str();
  cl_int code;
  const cl_program program = api()->CreateProgramWithSource(d.context, 1, &text, nullptr, &code);
  check(code, "clCreateProgramWithSource");
  code = api()->BuildProgram(program, 1, &d.id, r.options.c_str(), nullptr, nullptr);
  if (code != CL_SUCCESS)
    throw Error(Fault::internal, str("OpenCL: ", d.name, " does not compile ", unit, r.options,
                                     ": ", name_of_code(code), "\n", build_log(d, program)));
  save(r, program);
  ++g_compiled;
  log_debug("opencl", "compiled ", unit, r.options, " in ", 1e3 * watch.seconds(), " ms");
  return program;
}

}  // namespace wellspring::opencl
