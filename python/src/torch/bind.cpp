// Installing and removing kernels inside PyTorch; what python/wellspring/torch.py calls.

#include "python/src/casters.h"

#include <dlfcn.h>
#include <malloc.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <map>

#include "base/error.h"
#include "base/text.h"
#include "python/src/module.h"
#include "python/src/torch/use.h"
#include "tensor/switches.h"

namespace wellspring::python {
namespace {

bool changes_arguments(const std::string& name) {
  const size_t dot = name.find('.');
  return name[std::min(dot, name.size()) - 1] == '_' ||
         (dot != std::string::npos && name.find("out", dot) != std::string::npos);
}

const std::vector<Entry>& entries() {
  static const auto& all = *[] {
    auto* list = new std::vector<Entry>;
    for (auto* add : {add_pointwise, add_matmul, add_norm, add_softmax, add_loss, add_attention,
                      add_reduce, add_copy, add_optimizer, add_random, add_channels, add_composite,
                      add_conv, add_transforms, add_terms, add_named})
      add(list);
    for (Entry& e : *list) e.changes_arguments = changes_arguments(e.name);
    return list;
  }();
  return all;
}

std::map<std::string, void*>& installed() {
  static auto& all = *new std::map<std::string, void*>;
  return all;
}

// What was counted of operators while they were installed.
std::map<std::string, torch_bridge::Counters>& counted_before() {
  static auto& all = *new std::map<std::string, torch_bridge::Counters>;
  return all;
}
torch_bridge::Counters sum(const torch_bridge::Counters& a, const torch_bridge::Counters& b) {
  return {a.ours + b.ours, a.theirs + b.theirs, a.seconds + b.seconds,
          a.theirs_seconds + b.theirs_seconds};
}

void load_bridge(const std::string& path) {
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library)
    throw Error(Fault::missing, str("the bridge to PyTorch cannot be loaded: ", ::dlerror()));
  using Get = const Bridge* (*)();
  const auto get = reinterpret_cast<Get>(::dlsym(library, "wellspring_torch_bridge"));
  if (!get || get()->version != torch_bridge::kBridgeVersion)
    throw Error(Fault::missing, str(path, " is of another version of Wellspring; remove it"));
  set_bridge(get());
  kernels_chosen();  // now, so that a wrong WELLSPRING_KERNELS is said and not taken for a refusal
}

// Those that this PyTorch has.
nb::list names() {
  nb::list all;
  for (const Entry& e : entries())
    if (bridge().knows(e.name.c_str(), "CPU", e.arguments))
      all.append(nb::make_tuple(e.name, e.random));
  return all;
}

// Where tensors go that are none of ours: there PyTorch's kernel always answers, and is counted.
constexpr const char* kForeign[] = {"SparseCPU", "SparseCsrCPU", "QuantizedCPU"};

void install_counted(const Entry& e) {
  static auto& never = *new std::map<std::string, Entry>;  // registrations point at them
  for (const char* key : kForeign) {
    const std::string name = e.name + " " + key;
    const Entry& entry =
        never.try_emplace(name, Entry{name, e.arguments, [](Frame&) { return false; }})
            .first->second;
    if (void* r = bridge().install(e.name.c_str(), key, e.arguments, answer, &entry))
      installed()[name] = r;
  }
}

// Installs what is wanted and not there; returns the names that are in place afterwards.
nb::list install(const std::vector<std::string>& wanted) {
  nb::list there;
  for (const Entry& e : entries()) {
    if (std::ranges::find(wanted, e.name) == wanted.end()) continue;
    auto it = installed().find(e.name);
    if (it == installed().end()) {
      void* r = e.derivative
                    ? bridge().install_composite(e.name.c_str(), e.arguments, answer, &e, answer,
                                                 e.derivative, e.differentiable.data(),
                                                 static_cast<int>(e.differentiable.size()))
                    : bridge().install(e.name.c_str(), "CPU", e.arguments, answer, &e);
      if (!r) continue;
      installed()[e.name] = r;
      install_counted(e);
    }
    there.append(e.name);
  }
  return there;
}

void remove(const std::vector<std::string>& which) {
  for (auto it = installed().begin(); it != installed().end();) {
    const std::string name = it->first.substr(0, it->first.find(' '));
    if (std::ranges::find(which, name) == which.end()) {
      ++it;
      continue;
    }
    auto& before = counted_before()[it->first];
    before = sum(before, bridge().counters(it->second));
    bridge().remove(it->second);
    it = installed().erase(it);
  }
}

nb::list counters() {
  auto all = counted_before();
  std::erase_if(all, [](const auto& c) { return c.second.ours + c.second.theirs == 0; });
  for (const auto& [name, r] : installed()) all[name] = sum(all[name], bridge().counters(r));
  nb::list rows;
  for (const auto& [name, c] : all)
    rows.append(nb::make_tuple(name, c.ours, c.theirs, c.seconds, c.theirs_seconds));
  return rows;
}

nb::list shapes() {
  nb::list rows;
  for (const auto& [key, c] : shape_counts())
    rows.append(nb::make_tuple(key.first, key.second, c.ours, c.theirs, c.seconds));
  return rows;
}

// glibc gives blocks of 128 KB and more back to the system, so that each is touched for the first
// time again and again; kept, they are reused.
bool keep_memory(bool keep) {
  constexpr int kMostMaps = 65536, kTrim = 128 * 1024;
  return mallopt(M_MMAP_MAX, keep ? 0 : kMostMaps) == 1 &&
         mallopt(M_TRIM_THRESHOLD, keep ? 2147483647 : kTrim) == 1 &&
         mallopt(M_TOP_PAD, keep ? 64 << 20 : kTrim) == 1;
}

}  // namespace

void bind_torch(nb::module_& m) {
  nb::module_ t = m.def_submodule("_torch");
  t.def("load", &load_bridge);
  t.def("torch_version", [] { return std::string(bridge().torch_version); });
  t.def("names", &names);
  t.def("install",
        [](nb::handle wanted) { return install(nb::cast<std::vector<std::string>>(wanted)); });
  t.def("remove", [](nb::handle which) { remove(nb::cast<std::vector<std::string>>(which)); });
  t.def("counters", &counters);
  t.def("reset", [] {
    for (const auto& [name, r] : installed()) bridge().reset(r);
    counted_before().clear();
    reset_shape_counts();
  });
  t.def("set_timing", [](bool on) {
    bridge().set_timing(on);
    watch_shapes(on);
  });
  t.def("shapes", &shapes);
  t.def("set_bypass", [](bool on) { bridge().set_bypass(on); });
  t.def("keep_memory", &keep_memory);
}

}  // namespace wellspring::python
