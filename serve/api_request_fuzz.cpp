// Any body is either a request or Error(Fault::data).

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "serve/api_request.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace wellspring;
  std::string_view body(reinterpret_cast<const char*>(data), size);
  for (bool chat : {false, true}) {
    try {
      read_api_request(body, chat);
    } catch (const Error& e) {
      if (e.fault() != Fault::data) throw;
    }
  }
  return 0;
}
