#include "chips/device/device.h"

#include "base/error.h"
#include "base/text.h"
#include "chips/device/sources.h"

namespace wellspring::device {
namespace {

std::vector<NamedKernel>& table() {
  static std::vector<NamedKernel> all;
  return all;
}

std::string_view source(std::string_view name) {
  for (const Source& s : sources())
    if (s.name == name) return s.text;
  throw Error(Fault::internal, str("there is no device source '", name, "'"));
}

// The units that are written by hand: the sources before them, and the types that they compute in.
struct Written {
  const char *name, *before;
  bool f64, i64;
};
constexpr Written kWritten[] = {
    {"copy", "", false, false},           {"reduce", "", true, true},
    {"reduce_arg", "reduce", true, true}, {"softmax", "group", true, false},
    {"norm", "group", false, false},      {"matmul", "", true, false},
    {"index", "", false, false},          {"loss", "group index", false, false},
    {"attention", "group", false, false}, {"elementwise", "", false, false},
};

}  // namespace

std::vector<NamedKernel> kernels() { return table(); }

Registrar::Registrar(const char* name, Kernel kernel, bool (*takes)(const Call&)) {
  table().push_back({name, kernel, takes});
}

bool takes_dtypes(const Call& call) {
  const uint32_t known = queue_of(call).dtypes();
  for (int i = 0; i < call.outs + call.ins; ++i) {
    const View& v = i < call.outs ? call.out[i] : call.in[i - call.outs];
    if (v.defined() && !(known >> static_cast<int>(v.dtype) & 1)) return false;
  }
  return true;
}

std::string program_text(std::string_view unit) {
  std::string text;
  const auto add = [&](std::string_view name) {
    text += str("#line 1 \"", name, "\"\n", source(name), "\n");
  };
  for (const char* name : {"dialect", "structs", "elements"}) add(name);
  for (const Written& w : kWritten) {
    if (unit != w.name) continue;
    for (const std::string& name : split(w.before, ' '))
      if (!name.empty()) add(name);
    add(unit);
    return text;
  }
  add("pointwise");
  text += "#if WS_KIND != 2\n";
  add("device_math");
  text += "#endif\n";
  add(unit);
  return text;
}

std::vector<std::string> program_definitions(Real real, bool has_double) {
  std::vector<std::string> all{str("WS_KIND=", static_cast<int>(real))};
  if (has_double) all.emplace_back("WS_DOUBLE=1");
  return all;
}

std::vector<Unit> units() {
  std::vector<Unit> all;
  for (const Written& w : kWritten) {
    Unit u{w.name, {Real::f32}};
    if (w.f64) u.reals.push_back(Real::f64);
    if (w.i64) u.reals.push_back(Real::i64);
    all.push_back(std::move(u));
  }
  for (const Source& s : sources())
    if (starts_with(s.name, "pointwise_"))
      all.push_back({s.name, {Real::f32, Real::f64, Real::i64}});
  return all;
}

void refuse(const char* kernel, const char* why) {
  throw Error(Fault::internal, str("device kernel '", kernel, "': ", why));
}

}  // namespace wellspring::device
