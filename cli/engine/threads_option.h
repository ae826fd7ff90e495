#pragma once
// -t/--threads of the commands that compute.

#include <cstdint>

#include "base/args.h"
#include "base/error.h"
#include "base/text.h"
#include "base/threads.h"

namespace wellspring {

/// Made before Args::parse(), which it must outlive.
class ThreadsOption {
 public:
  explicit ThreadsOption(Args& args) : args_(args) {
    args.option("-t,--threads", &count_, "N", "threads that compute (WELLSPRING_THREADS, else a thread for each processor)");
  }
  /// After parse(), before anything is computed. Error(Fault::usage) outside 1 to 65536.
  void apply() const {
    if (!args_.given("--threads")) return;
    if (count_ < 1 || count_ > 65536) throw Error(Fault::usage, str("--threads is ", count_, "; expected 1 to 65536"));
    set_threads(static_cast<int>(count_));
  }

 private:
  const Args& args_;
  int64_t count_ = 0;
};

}  // namespace wellspring
