#pragma once
// Whether a job could ever run: asked at submission and by `job plan`.

#include <optional>
#include <string>

#include "cluster/job/chips.h"
#include "cluster/state/state.h"

namespace wellspring::cluster {

/// Why something can never run: the HTTP status, the field at fault, and what the nearest possible is.
/// A field that begins with '.' is one of the alternative.
struct Never {
  int status = 400;
  std::string field, why;
};

/// Why no state of these nodes and quotas could run spec.accepted[alternative]; nothing: one could.
std::optional<Never> never_runs(const State& state, const JobSpec& spec, size_t alternative);

/// Writes into spec.accepted the chips that its names mean here, one alternative for each. ApiError
/// when none of them could ever run.
void settle_request(const State& state, const ChipTable& chips, JobSpec& spec);

}  // namespace wellspring::cluster
