#pragma once
// For tests: what an error says.

#include <gtest/gtest.h>

#include <string>

#include "base/error.h"

namespace wellspring {

/// The message of the Error that f() throws; the test fails when it throws none, or one of another
/// fault.
template <class F>
std::string error_of(F&& f, Fault fault = Fault::usage) {
  try {
    f();
  } catch (const Error& e) {
    EXPECT_EQ(static_cast<int>(e.fault()), static_cast<int>(fault)) << e.what();
    return e.what();
  }
  ADD_FAILURE() << "no error";
  return "no error";
}

}  // namespace wellspring
