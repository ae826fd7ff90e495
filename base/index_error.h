#pragma once

#include "base/error.h"

namespace wellspring {

/// A usage error about an index or a dimension that does not exist (IndexError in Python).
class IndexError : public Error {
 public:
  explicit IndexError(const std::string& message) : Error(Fault::usage, message) {}
};

}  // namespace wellspring
