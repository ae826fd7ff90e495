#pragma once
// The parts of the module `wellspring._core`. Each function adds its names.

#include <nanobind/nanobind.h>

namespace wellspring::python {

void bind_dtypes(nanobind::module_& m);
void bind_errors(nanobind::module_& m);
void bind_runtime(nanobind::module_& m);
void bind_tensor(nanobind::module_& m);
void bind_exchange(nanobind::module_& m);
void bind_indexing(nanobind::module_& m);
void bind_files(nanobind::module_& m);
void bind_operators(nanobind::module_& m);  // generated from ops/schema
void bind_torch(nanobind::module_& m);      // what wellspring.torch calls

/// The class Tensor, which several parts add methods to.
nanobind::handle tensor_class();

}  // namespace wellspring::python
