// Any bytes are either a valid file, all of whose tensors can be read, or Error(Fault::data).

#include <memory>
#include <string>

#include "base/error.h"
#include "tensor/safetensors.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace wellspring;
  auto copy = std::make_shared<std::string>(reinterpret_cast<const char*>(data), size);
  try {
    Safetensors file(copy->data(), copy->size(), copy, "fuzz");
    for (const std::string& name : file.names()) {
      try {
        Tensor t = file.tensor(name);
        if (t.numel() > 0) {
          volatile char first = *static_cast<const char*>(t.data());
          (void)first;
        }
      } catch (const Error& e) {
        if (e.fault() != Fault::data) throw;
      }
    }
  } catch (const Error& e) {
    if (e.fault() != Fault::data) throw;
  }
  return 0;
}
