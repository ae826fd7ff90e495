// Any bytes are a GGUF model, whose weights and tokenizer can be used, or Error(Fault::data).

#include <memory>
#include <string>
#include <vector>

#include "base/error.h"
#include "base/json.h"
#include "models/decoder/config.h"
#include "models/decoder/gguf_model.h"
#include "text/tokenizer.h"

namespace {

using namespace wellspring;

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
    const GgufModel model = read_gguf_model({Gguf(copy->data(), copy->size(), copy, "fuzz")});
    data_errors_only([&] { DecoderConfig::from_json(model.config(), "fuzz"); });
    for (const std::string& name : model.names()) {
      data_errors_only([&] { model.tensor(name); });
      data_errors_only([&] { model.tensor(name, DType::bf16); });
    }
    data_errors_only([&] {
      model.tokenizer_config();
      const std::string json = model.tokenizer_json();
      if (!json.empty()) Tokenizer::parse(json, "fuzz").encode("a b 12");
    });
  });
  return 0;
}
