#pragma once
// What a server has answered, for Prometheus: statuses, how answers ended, how long they took.

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "serve/engine.h"

namespace wellspring {

/// Thread-safe. One set of series for each model and adapter that has answered.
class RequestFigures {
 public:
  RequestFigures();
  ~RequestFigures();
  /// An answer of HTTP with this status.
  void count_status(int status);
  /// A request whose client went away before its end.
  void count_left();
  /// The same engine, whose answers are counted and timed under these names; `adapter` may be empty. `engine` must
  /// outlive it, and this object need not outlive what is submitted.
  std::unique_ptr<Engine> measured(Engine& engine, const std::string& model, const std::string& adapter);
  /// In Prometheus' text form.
  std::string text() const;

 private:
  struct Series;
  mutable std::mutex mutex_;
  std::map<int, int64_t> statuses_;
  int64_t left_ = 0;
  std::map<std::pair<std::string, std::string>, std::shared_ptr<Series>> series_;  // by model and adapter
};

}  // namespace wellspring
