#pragma once
// Ending every process of an attempt, whoever asks: the launcher at the end of its attempt, the
// node daemon when a launcher was killed. Built into both. Nothing here waits.

#include <string>

#include "cluster/launch/spec.h"

namespace wellspring::cluster::launch {

/// One round of killing all processes in the container. `root` is the launcher when it lives (it
/// asks; its descendants are meant), 0 otherwise (then the token in their environment is searched).
/// Repeat until container_empty.
void container_kill(const Container& container, int root);
/// True when no process of the container is left. Zombies of the caller do not count.
bool container_empty(const Container& container, int root);
/// Removes the cgroup folders of an empty container. False when one is still in use.
bool container_remove(const Container& container);

/// Start time of a process in clock ticks since boot; -1 when it does not exist.
int64_t process_start(int64_t pid);
/// The whole of a small file; "" when it cannot be read.
std::string read_small(const char* path);
/// One write(2); false with errno set.
bool write_small(const char* path, std::string_view value);

}  // namespace wellspring::cluster::launch
