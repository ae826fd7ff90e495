#pragma once
// The one thread pool. OpenMP (whose team oneDNN shares) appears in threads.cpp alone.

#include <cstdint>
#include <type_traits>
#include <utility>

namespace wellspring {

/// A non-owning reference to a callable void(int64_t): two words, no allocation.
class TileFunction {
 public:
  template <class F, class = std::enable_if_t<!std::is_same_v<std::decay_t<F>, TileFunction>>>
  TileFunction(F&& f)  // NOLINT: implicit on purpose
      : object_(const_cast<void*>(static_cast<const void*>(&f))),
        call_([](void* o, int64_t i) { (*static_cast<std::remove_reference_t<F>*>(o))(i); }) {}
  void operator()(int64_t i) const { call_(object_, i); }

 private:
  void* object_;
  void (*call_)(void*, int64_t);
};

/// Who takes which tile. apart: each thread goes through a part of its own from one tile to the next, as memory gives most
/// to whoever reads on in one place; then it helps with the others' parts. in_turn: whoever is free takes the next one, for
/// tiles of unlike weights, the heaviest first.
enum class Deal { apart, in_turn };

/// Calls fn(0) ... fn(tiles - 1), each once, on the team; returns when all are done. Which thread
/// runs a tile is unspecified (dynamic), so a tile writes only what is its own. Cut work by shape
/// alone, never by threads(), and add partial sums in tile order: then the bits do not depend on
/// the number of threads. Nested calls run in place, on the calling thread alone; so do calls from
/// any thread while another one has the team, calls from a thread that has not claimed the team
/// when one has, and all calls after a fork(). After an exception of a tile no further tile is
/// begun, and the exception (of the lowest tile that threw) is rethrown here.
void parallel_for(int64_t tiles, TileFunction fn, Deal deal = Deal::apart);

/// Number of threads of the team (default: the processors this process may run on, or
/// WELLSPRING_THREADS, or OMP_NUM_THREADS).
int threads();
/// Sets it (>= 1; may exceed the processors). Call from the engine thread, outside parallel_for.
void set_threads(int n);
/// Makes the calling thread an engine thread: from now on parallel_for runs in place on all that have
/// not claimed. A server calls it once at the start of each engine thread; among them whoever comes
/// first has the team. The end of the thread gives the claim back.
void claim_team();
/// Index of the running thread inside parallel_for, 0 .. threads() - 1: for scratch memory that
/// belongs to that call (two threads outside the team both have index 0).
int thread_index();

}  // namespace wellspring
