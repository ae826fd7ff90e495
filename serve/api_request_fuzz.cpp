// Any body is either a request or Error(Fault::data).

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "base/json.h"
#include "serve/api_request.h"
#include "serve/response_request.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace wellspring;
  std::string_view body(reinterpret_cast<const char*>(data), size);
  for (const int api : {0, 1, 2}) {
    try {
      if (api < 2)
        read_api_request(body, api == 1);
      else
        read_response_request(body, [](const std::string&) { return Json::array(); });
    } catch (const Error& e) {
      if (e.fault() != Fault::data) throw;
    }
  }
  return 0;
}
