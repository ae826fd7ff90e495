#pragma once
#include <string>
#include <vector>

namespace wellspring {

/// A text that the model wrote, for the report.
struct Sample {
  std::string prompt, text;
};

/// Writes RUN/report.html: one self-contained file with curves (loss, evaluation, learning rate,
/// throughput, gradient norm), the figures of the run, its configuration and `samples`. Reads
/// metrics.jsonl and the newest attempt's files. `extra` is HTML put under the figures ("" for
/// none).
void write_report(const std::string& run_folder, const std::vector<Sample>& samples,
                  const std::string& extra = "");

}  // namespace wellspring
