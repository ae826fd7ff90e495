#pragma once
// How many steps a run makes when its time is limited.

#include <cstdint>
#include <vector>

#include "base/json_fwd.h"

namespace wellspring {

/// The number of steps as a function of the step: fixed, or decided from measured speed after the
/// first steps and looked at again at 1/4, 1/2, 3/4, 7/8 and 15/16 of the way. Every decision is an
/// entry that is kept with the run, so a resumed run follows the same learning rates.
class StepPlan {
 public:
  /// At most `steps` (0: any number) within `seconds` (0: any time); the first `probe` steps are
  /// measured, or fewer when they take a fifth of the time.
  StepPlan(int64_t steps, double seconds, int64_t probe);

  /// Steps that the run has in all, as known when `step` steps are done.
  int64_t steps(int64_t step) const;
  /// Whether time has been turned into a number of steps.
  bool decided() const { return !entries_.empty(); }
  /// To be told after every step: steps done and seconds used. `reserve`: seconds that are needed
  /// after the last step. True when an entry was added.
  bool consider(int64_t step, double seconds, double reserve);

  /// [{"at": 8, "steps": 1500}, ...].
  Json to_json() const;
  /// Error(Fault::data) naming `where`.
  void restore(const Json& entries, const std::string& where);

 private:
  struct Entry {
    int64_t at, steps;
  };
  struct Mark {
    int64_t step = 0;
    double seconds = 0;
  };
  bool due(int64_t step, double seconds) const;
  int64_t most_;
  double seconds_;
  int64_t probe_;
  std::vector<Entry> entries_;
  Mark mark_;  // where the present measurement began
  bool marked_ = false;
};

}  // namespace wellspring
