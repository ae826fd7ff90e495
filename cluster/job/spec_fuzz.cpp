// Any bytes as the JSON form of a job: an error of data, or a spec that comes back as it went.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/error.h"
#include "base/json.h"
#include "cluster/job/spec.h"

using namespace wellspring;
using namespace wellspring::cluster;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    const std::string text(reinterpret_cast<const char*>(data), size);
    const JobSpec spec = spec_from_json(parse_json(text, "fuzz"), "fuzz");
    if (!(spec_from_json(parse_json(to_text(to_json(spec)), "again"), "again") == spec))
      std::abort();
  } catch (const Error& e) {
    if (e.fault() != Fault::data) std::abort();
  }
  return 0;
}
