#pragma once
// The memory of /v1/responses: answers that can be asked for again and carried on.

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>

namespace wellspring {

/// What is kept of a response, as JSON texts.
struct StoredResponse {
  std::string id;
  std::string response;  // as it was sent
  std::string input;     // a list: the items of its conversation that the model was asked with
};

struct ResponseStoreOptions {
  double seconds = 3600;           // that a response is kept
  int64_t owner_responses = 1000;  // of one owner; the oldest goes for a new one
  int64_t owner_bytes = int64_t{64} << 20;
  int64_t bytes = int64_t{512} << 20;  // of all: the oldest of the owner with the most goes
  std::function<double()> clock;       // seconds; empty: monotonic_seconds
};

/// In memory alone; nobody finds what is another's. Thread-safe.
class ResponseStore {
 public:
  explicit ResponseStore(ResponseStoreOptions options = {});

  /// One that is larger than the bounds is gone at once.
  void put(const std::string& owner, StoredResponse response);
  /// Null when this owner has none of this id, or no longer.
  std::shared_ptr<const StoredResponse> find(const std::string& owner, const std::string& id);
  /// False when there was none.
  bool erase(const std::string& owner, const std::string& id);
  /// Of all that is kept.
  int64_t bytes() const;

 private:
  struct Kept {
    std::shared_ptr<const StoredResponse> response;
    int64_t bytes = 0;
    double since = 0;
  };
  struct Shelf {
    std::deque<Kept> kept;  // the oldest first
    int64_t bytes = 0;
  };
  using Shelves = std::map<std::string, Shelf>;

  // All with the mutex held.
  void drop(Shelf& shelf, std::deque<Kept>::iterator which);
  void expire();
  void keep_bounds(Shelf& shelf);

  const ResponseStoreOptions options_;
  mutable std::mutex mutex_;
  Shelves shelves_;  // by owner
  int64_t bytes_ = 0;
};

}  // namespace wellspring
