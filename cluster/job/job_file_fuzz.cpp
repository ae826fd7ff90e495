// Any bytes as a job file: an error by the user's fault, or specs that keep the rules and come back
// from their JSON form as they went.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/error.h"
#include "base/json.h"
#include "cluster/job/job_file.h"

using namespace wellspring;
using namespace wellspring::cluster;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string text(reinterpret_cast<const char*>(data), size);
  try {
    const JobFile file = parse_job_file(text, "fuzz", "/nowhere");
    for (size_t i = 0; i < file.jobs.size(); ++i) {
      const FileJob& job = file.jobs[i];
      for (const FileJob::After& after : job.after)
        if (after.job < 0 || after.job >= static_cast<int>(i)) std::abort();
      if (!(spec_from_json(parse_json(to_text(to_json(job.spec)), "again"), "again") == job.spec))
        std::abort();
      if (job.place("accepted[0].count").empty()) std::abort();
    }
  } catch (const Error& e) {
    if (e.fault() != Fault::config && e.fault() != Fault::io) std::abort();
  }
  return 0;
}
