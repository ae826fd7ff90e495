#include "serve/response_store.h"

#include <algorithm>

#include "base/time.h"

namespace wellspring {
namespace {

ResponseStoreOptions with_clock(ResponseStoreOptions o) {
  if (!o.clock) o.clock = monotonic_seconds;
  return o;
}

}  // namespace

ResponseStore::ResponseStore(ResponseStoreOptions options)
    : options_(with_clock(std::move(options))) {}

void ResponseStore::drop(Shelf& shelf, std::deque<Kept>::iterator which) {
  bytes_ -= which->bytes, shelf.bytes -= which->bytes;
  shelf.kept.erase(which);
}

void ResponseStore::expire() {
  const double oldest = options_.clock() - options_.seconds;
  for (auto& [owner, shelf] : shelves_)
    while (!shelf.kept.empty() && shelf.kept.front().since < oldest)
      drop(shelf, shelf.kept.begin());
  std::erase_if(shelves_, [](const auto& s) { return s.second.kept.empty(); });
}

void ResponseStore::keep_bounds(Shelf& shelf) {
  const auto beyond = [&] {
    return static_cast<int64_t>(shelf.kept.size()) > options_.owner_responses ||
           shelf.bytes > options_.owner_bytes;
  };
  while (beyond()) drop(shelf, shelf.kept.begin());
  while (bytes_ > options_.bytes) {
    const auto largest = std::max_element(
        shelves_.begin(), shelves_.end(),
        [](const auto& a, const auto& b) { return a.second.bytes < b.second.bytes; });
    drop(largest->second, largest->second.kept.begin());
  }
}

void ResponseStore::put(const std::string& owner, StoredResponse response) {
  constexpr int64_t kAround = 256;  // the objects themselves
  const size_t texts = response.id.size() + response.response.size() + response.input.size();
  Kept kept{std::make_shared<const StoredResponse>(std::move(response)),
            static_cast<int64_t>(texts) + kAround, options_.clock()};
  std::lock_guard lock(mutex_);
  expire();
  Shelf& shelf = shelves_[owner];
  shelf.bytes += kept.bytes, bytes_ += kept.bytes;
  shelf.kept.push_back(std::move(kept));
  keep_bounds(shelf);
}

std::shared_ptr<const StoredResponse> ResponseStore::find(const std::string& owner,
                                                          const std::string& id) {
  std::lock_guard lock(mutex_);
  expire();
  const auto shelf = shelves_.find(owner);
  if (shelf == shelves_.end()) return nullptr;
  for (const Kept& k : shelf->second.kept)
    if (k.response->id == id) return k.response;
  return nullptr;
}

bool ResponseStore::erase(const std::string& owner, const std::string& id) {
  std::lock_guard lock(mutex_);
  expire();
  const auto shelf = shelves_.find(owner);
  if (shelf == shelves_.end()) return false;
  auto& kept = shelf->second.kept;
  const auto it =
      std::find_if(kept.begin(), kept.end(), [&](const Kept& k) { return k.response->id == id; });
  if (it == kept.end()) return false;
  drop(shelf->second, it);
  return true;
}

int64_t ResponseStore::bytes() const {
  std::lock_guard lock(mutex_);
  return bytes_;
}

}  // namespace wellspring
