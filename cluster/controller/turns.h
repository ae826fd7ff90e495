#pragma once
// How many answers that last (logs that are followed, events that are waited for, terminals) one token
// has at a time: each holds a thread, and no user may hold them all.

#include <map>
#include <mutex>
#include <string>

namespace wellspring::cluster {

/// Thread-safe; outlives the turns that it gives.
class Turns {
 public:
  explicit Turns(int each) : each_(each) {}

  /// Held for as long as it lives; false: the token has as many as it may.
  class Turn {
   public:
    Turn(Turns& turns, const std::string& token) : turns_(turns), token_(token) {
      std::lock_guard lock(turns_.mutex_);
      int& count = turns_.counts_[token_];
      if ((granted_ = count < turns_.each_)) ++count;
    }
    ~Turn() {
      if (!granted_) return;
      std::lock_guard lock(turns_.mutex_);
      if (--turns_.counts_[token_] == 0) turns_.counts_.erase(token_);
    }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;
    explicit operator bool() const { return granted_; }

   private:
    Turns& turns_;
    const std::string token_;
    bool granted_ = false;
  };
  int each() const { return each_; }

 private:
  const int each_;
  std::mutex mutex_;
  std::map<std::string, int> counts_;
};

}  // namespace wellspring::cluster
