#pragma once
// Where random operators begin to draw: the process's generator, or a seed of the caller's own.

#include <cstdint>
#include <optional>

namespace wellspring {

/// A point in the words of one seed.
struct RandomPlace {
  uint64_t seed, offset;
};

/// Starts the process's generator anew. It begins with seed 0. Thread-safe.
void manual_seed(uint64_t seed);
/// Where it stands; take_random(0) without moving.
RandomPlace random_state();
/// Puts it there.
void set_random_state(RandomPlace place);
/// Where `words` words may be taken from; the generator moves past them, to a multiple of 64.
/// Thread-safe.
RandomPlace take_random(uint64_t words);
/// The caller's own place when there is a seed, else take_random(words).
RandomPlace random_place(std::optional<uint64_t> seed, uint64_t offset, uint64_t words);

}  // namespace wellspring
