// Any bytes are either a valid file, all of which can be read, or Error(Fault::data).

#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "tensor/gguf.h"

namespace {

using namespace wellspring;

void read_value(const Gguf& file, std::string_view key, const GgufValue& value) {
  switch (value.kind) {
    case GgufKind::text:
      file.text(key);
      break;
    case GgufKind::boolean:
      file.boolean(key);
      break;
    case GgufKind::array:
      if (value.element == GgufKind::text)
        file.texts(key);
      else
        file.numbers(key), file.integers(key);
      break;
    default:
      file.number(key);
      file.integer(key);
  }
}

template <class F>
void data_errors_only(F f) {
  try {
    f();
  } catch (const Error& e) {
    if (e.fault() != Fault::data) throw;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  auto copy = std::make_shared<std::string>(reinterpret_cast<const char*>(data), size);
  data_errors_only([&] {
    const Gguf file(copy->data(), copy->size(), copy, "fuzz");
    for (const auto& [key, value] : file.metadata())
      data_errors_only([&] { read_value(file, key, value); });
    for (const GgufTensor& t : file.tensors()) {
      if (t.numel() == 0) continue;
      std::vector<float> row(static_cast<size_t>(t.row_size()));
      data_errors_only([&] {
        t.read_rows(0, 1, row.data());
        t.read_rows(t.rows() - 1, 1, row.data());
      });
    }
  });
  return 0;
}
