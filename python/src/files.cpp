// safetensors from and to Python's dicts.

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/text.h"
#include "python/src/casters.h"
#include "python/src/module.h"
#include "tensor/safetensors.h"

namespace wellspring::python {
namespace {

// Private to this process: writing to a loaded tensor changes a copy of the page, never the file.
struct PrivateMapping {
  void* data = nullptr;
  size_t size = 0;
  explicit PrivateMapping(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    struct stat info;
    if (fd < 0 || ::fstat(fd, &info) < 0) {
      const int why = errno;
      if (fd >= 0) ::close(fd);
      throw Error(Fault::io, str(path, ": cannot be read: ", std::strerror(why)));
    }
    size = static_cast<size_t>(info.st_size);
    void* mapped =
        size ? ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, fd, 0)
             : nullptr;
    const int why = errno;
    ::close(fd);
    if (mapped == MAP_FAILED)
      throw Error(Fault::io, str(path, ": cannot be mapped: ", std::strerror(why)));
    data = mapped;
  }
  ~PrivateMapping() {
    if (data) ::munmap(data, size);
  }
  PrivateMapping(const PrivateMapping&) = delete;
  PrivateMapping& operator=(const PrivateMapping&) = delete;
};

Safetensors open_file(const std::string& path) {
  auto mapping = std::make_shared<const PrivateMapping>(path);
  const auto* data = static_cast<const char*>(mapping->data);
  return Safetensors(data, mapping->size, mapping, path);
}

nb::dict load(const std::string& path, nb::handle names) {
  const Safetensors file = open_file(path);
  nb::dict all;
  if (!names.is_none()) {
    for (nb::handle name : names) all[name] = file.tensor(nb::cast<std::string>(name));
    return all;
  }
  for (const std::string& name : file.names()) all[name.c_str()] = file.tensor(name);
  return all;
}

nb::dict metadata(const std::string& path) {
  const Safetensors file(path);
  nb::dict all;
  for (const auto& [key, value] : file.metadata()) all[key.c_str()] = value;
  return all;
}

void save(nb::dict tensors, const std::string& path, nb::handle metadata) {
  TensorList list;
  for (auto [name, tensor] : tensors)
    list.emplace_back(nb::cast<std::string>(name), nb::cast<Tensor>(tensor));
  SafetensorsMetadata notes;
  if (!metadata.is_none())
    for (auto [key, value] : nb::cast<nb::dict>(metadata))
      notes.emplace_back(nb::cast<std::string>(key), nb::cast<std::string>(value));
  nb::gil_scoped_release free;
  write_safetensors(path, list, notes);
}

}  // namespace

void bind_files(nb::module_& m) {
  m.def("load_safetensors", &load, nb::arg("path"), nb::arg("names").none() = nb::none(),
        "The tensors of a safetensors file by name (or those of `names`). The file is mapped: "
        "nothing is read before it is used, and writing to a tensor does not change the file.");
  m.def("safetensors_metadata", &metadata, nb::arg("path"),
        "The strings that a safetensors file carries beside its tensors.");
  m.def("save_safetensors", &save, nb::arg("tensors"), nb::arg("path"),
        nb::arg("metadata").none() = nb::none(),
        "Writes a dict of tensors as one safetensors file, whole or not at all.");
}

}  // namespace wellspring::python
