// The module wellspring._core: errors, threads, memory, switches; the other parts stand beside it.

#include "python/src/module.h"

#include <nanobind/stl/pair.h>

#include "base/index_error.h"
#include "base/log.h"
#include "base/text.h"
#include "base/threads.h"
#include "ops/generator.h"
#include "ops/registry.h"
#include "python/src/casters.h"
#include "tensor/allocator.h"
#include "tensor/autograd.h"
#include "tensor/hit_log.h"
#include "tensor/switches.h"

namespace wellspring::python {
namespace {

// By whose fault it is, as PyTorch's exceptions: shapes and dtypes RuntimeError, places that do not
// exist IndexError, files OSError, content ValueError.
PyObject* exception_of(const Error& e) {
  if (dynamic_cast<const IndexError*>(&e)) return PyExc_IndexError;
  switch (e.fault()) {
    case Fault::io:
      return PyExc_OSError;
    case Fault::data:
    case Fault::config:
      return PyExc_ValueError;
    case Fault::internal:
      return PyExc_SystemError;
    default:
      return PyExc_RuntimeError;
  }
}

// `with wellspring.no_grad():`. The object may be entered again inside itself.
template <class Scope, class... Arguments>
class Scopes {
 public:
  explicit Scopes(Arguments... arguments) : arguments_(std::move(arguments)...) {}
  Scopes(const Scopes&) = delete;
  Scopes& operator=(const Scopes&) = delete;
  void enter() {
    std::apply([this](const Arguments&... a) { open_.push_back(std::make_unique<Scope>(a...)); },
               arguments_);
  }
  void leave() { open_.pop_back(); }

 private:
  std::tuple<Arguments...> arguments_;
  std::vector<std::unique_ptr<Scope>> open_;
};

template <class Scope, class... Arguments, class... Extra>
void bind_scope(nb::module_& m, const char* name, const char* doc, const Extra&... extra) {
  using S = Scopes<Scope, Arguments...>;
  nb::class_<S>(m, name, doc)
      .def(nb::init<Arguments...>(), extra...)
      .def(
          "__enter__", [](S& s) -> S& { return s.enter(), s; }, nb::rv_policy::reference)
      .def("__exit__", [](S& s, nb::args) { s.leave(); });
}

nb::list operator_list() {
  nb::list all;
  for (const OperatorInfo& op : operators()) {
    nb::dict d;
    const std::pair<const char*, std::string_view> fields[] = {
        {"name", op.name},       {"family", op.family},     {"cpp", op.declarations},
        {"aten", op.aten},       {"pytorch", op.pytorch},   {"dtypes", op.dtypes},
        {"kernels", op.kernels}, {"gradient", op.gradient}, {"doc", op.doc}};
    for (const auto& [key, value] : fields) d[key] = nb::str(value.data(), value.size());
    all.append(d);
  }
  return all;
}

// Of a thread that may compute without Python's lock.
void warn_python(std::string_view part, std::string_view message) {
  nb::gil_scoped_acquire lock;
  const std::string text = str(part, ": ", message);
  if (PyErr_WarnEx(PyExc_UserWarning, text.c_str(), 1)) throw nb::python_error();
}

}  // namespace

void bind_errors(nb::module_&) {
  set_warning_handler(warn_python);
  nb::register_exception_translator([](const std::exception_ptr& p, void*) {
    try {
      std::rethrow_exception(p);
    } catch (const Error& e) {
      PyErr_SetString(exception_of(e), e.what());
    }
  });
}

void bind_runtime(nb::module_& m) {
  m.attr("__version__") = WELLSPRING_VERSION;
  m.def("set_num_threads", &set_threads, nb::arg("n"),
        "Sets the number of threads that kernels run on. The bits of results do not depend on it.");
  m.def("manual_seed", &manual_seed, nb::arg("seed"),
        "Starts the generator that random operators without a seed of their own draw from anew.");
  m.def("get_num_threads", &threads, "The number of threads that kernels run on.");
  bind_scope<NoGrad>(m, "no_grad", "Scope without recording: `with wellspring.no_grad(): ...`.");
  bind_scope<KernelScope, std::string>(
      m, "kernels",
      "Scope of a choice of kernels on top of what holds, for the whole process: `with "
      "wellspring.kernels('exclude softmax'): ...`. The choice is written as for set_kernels().",
      nb::arg("choice"));
  m.def("is_grad_enabled", &grad_enabled, "Whether operators record for backward().");
  m.def("operators", &operator_list,
        "Every operator as a dict: name, family, declarations, ATen names, dtypes, gradient, doc.");
  m.def(
      "kernel_hits",
      [] {
        nb::list rows;
        for (const KernelHits& h : kernel_hits())
          rows.append(nb::make_tuple(h.kernel, h.chip, h.ran, h.calls));
        return rows;
      },
      "What ran since the start: (kernel, chip, set of kernels, calls).");
  m.def("set_kernels", &set_kernels, nb::arg("choice"),
        "Which kernels run in this process and what it starts: 'all', 'only NAME...' or "
        "'exclude NAME...' of operators, families, kernels and CHIP:NAME; what is off, the CPU's "
        "kernel or the slow reference answers.");
  m.def("kernels_chosen", &kernels_chosen, "What set_kernels() and the environment chose.");
  m.def(
      "memory",
      [](Device device) {
        const MemoryFigures f = memory_figures(device);
        nb::dict d;
        d["in_use"] = f.in_use, d["peak"] = f.peak, d["reserved"] = f.reserved;
        return d;
      },
      nb::arg("device") = Device{},
      "Bytes of tensors: in use, their peak, reserved from the system.");
  m.def("empty_cache", &empty_cache, nb::arg("device") = Device{},
        "Gives memory that no tensor uses back to the system.");
}

}  // namespace wellspring::python

NB_MODULE(_core, m) {
  using namespace wellspring::python;
  m.doc() = "Wellspring's tensors and operators.";
  nanobind::set_leak_warnings(false);  // modules of a process that ends by a signal
  bind_errors(m);
  bind_dtypes(m);
  bind_tensor(m);
  bind_exchange(m);
  bind_indexing(m);
  bind_operators(m);
  bind_runtime(m);
  bind_files(m);
  bind_torch(m);
}
