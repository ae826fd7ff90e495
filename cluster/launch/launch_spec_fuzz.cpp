// What wellspring-launch takes from a socket.
#include "cluster/launch/fields.h"
#include "cluster/launch/spec.h"

using namespace wellspring::cluster::launch;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view bytes(reinterpret_cast<const char*>(data), size);
  Spec spec, again;
  std::string error;
  for (const std::string& given : {std::string(bytes), "WSL1" + std::string(bytes)})
    if (parse_spec(given, &spec, &error) && !parse_spec(format_spec(spec), &again, &error))
      __builtin_trap();
  Header header;
  if (parse_header(bytes, &header) && !parse_header(format_header(header), &header))
    __builtin_trap();
  End end;
  parse_end(bytes, &end);
  Beside beside;
  if (parse_beside(bytes, &beside) && !parse_beside(format_beside(beside), &beside))
    __builtin_trap();
  return 0;
}
