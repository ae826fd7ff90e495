#pragma once
// For tests: where the built program is.

#include <unistd.h>

#include <cstdlib>
#include <string>

#include "base/file.h"

namespace wellspring {

/// $WELLSPRING_BINARY, or else the program that was built beside this test.
inline std::string program() {
  if (const char* path = std::getenv("WELLSPRING_BINARY")) return path;
  char self[4096];
  const ssize_t n = ::readlink("/proc/self/exe", self, sizeof self);
  return join_path(parent_path(std::string(self, static_cast<size_t>(n))), "../bin/wellspring");
}

}  // namespace wellspring
