// Whatever Slurm, or a job's user in its files, may say.

#include <cstdint>
#include <string>

#include "base/error.h"
#include "cluster/slurm/script.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace wellspring;
  using namespace wellspring::cluster;
  const std::string text(reinterpret_cast<const char*>(data), size);
  parse_squeue(text);
  parse_sinfo(text);
  parse_gres(text);
  parse_slurm_status(text);
  parse_slurm_claim(text);
  parse_slurm_intent(text);
  slurm_unreachable(text);
  for (auto* parse : {+[](const std::string& t) { parse_rest_jobs(t); },
                      +[](const std::string& t) { parse_rest_nodes(t); }}) {
    try {
      parse(text);
    } catch (const Error&) {
    }
  }
  return 0;
}
