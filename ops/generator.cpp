#include "ops/generator.h"

#include <mutex>

namespace wellspring {
namespace {

std::mutex mutex;
RandomPlace place{0, 0};

}  // namespace

void manual_seed(uint64_t seed) { set_random_state({seed, 0}); }

RandomPlace random_state() {
  std::lock_guard lock(mutex);
  return place;
}

void set_random_state(RandomPlace to) {
  std::lock_guard lock(mutex);
  place = to;
}

RandomPlace take_random(uint64_t words) {
  std::lock_guard lock(mutex);
  const RandomPlace now = place;
  place.offset += (words + 63) / 64 * 64;
  return now;
}

RandomPlace random_place(std::optional<uint64_t> seed, uint64_t offset, uint64_t words) {
  return seed ? RandomPlace{*seed, offset} : take_random(words);
}

}  // namespace wellspring
