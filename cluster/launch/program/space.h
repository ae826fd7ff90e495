#pragma once
// The launcher's part in namespaces: a private view of the mounts, and a PID namespace with its
// first process. Entering them cannot be undone: such a launcher serves one attempt.

#include <cstdint>
#include <functional>
#include <string>

#include "cluster/launch/spec.h"

namespace wellspring::cluster::launch {

/// A mount namespace of our own (and a user namespace that maps us to ourselves, where asked for).
/// All return "" or the reason.
std::string enter_mount_namespace(bool user_namespace);
/// Both ends are opened with the user's rights, so a mount shows nothing that its user cannot
/// reach.
std::string bind_mount(const Bind& bind, const Spec& spec);
/// Our next children live in a new PID namespace with its own /proc; `known` is called with pid and
/// start time of its first process while /proc is still the old one.
std::string enter_pid_namespace(const std::function<void(int64_t pid, int64_t start)>& known);
/// True when the namespace whose /proc we see holds none but its first process.
bool pid_namespace_empty();

}  // namespace wellspring::cluster::launch
