#pragma once
// Finds the kernels that break a command, by running it with others switched off.

#include <functional>
#include <string>
#include <vector>

namespace wellspring {

/// The names of `all`, in order, that have to be off for passes(off) to be true: none of those that
/// are found could be left on. passes(all) must be true. About log2(all) calls for each that is
/// found.
std::vector<std::string> find_culprits(
    const std::vector<std::string>& all,
    const std::function<bool(const std::vector<std::string>& off)>& passes);

/// wellspring ops bisect.
int bisect_operators(int argc, char** argv);

}  // namespace wellspring
