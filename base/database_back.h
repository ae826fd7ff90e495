#pragma once
// The two back ends of base/database.h and what they share, for the sources beside it alone.

#include <memory>
#include <string>

#include "base/database.h"

namespace wellspring {

/// A library that is loaded when first needed and stays loaded.
class DatabaseLibrary {
 public:
  /// Error(Fault::missing) naming the Debian package.
  DatabaseLibrary(const char* file, const char* package);
  template <class F>
  F find(const char* name) const {
    return reinterpret_cast<F>(find_address(name));
  }

 private:
  void* find_address(const char* name) const;
  const char* file_;
  const char* package_;
  void* handle_;
};

std::unique_ptr<Database> open_sqlite(const std::string& path);
std::unique_ptr<Database> open_postgres(const std::string& url);

}  // namespace wellspring
