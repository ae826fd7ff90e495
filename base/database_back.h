#pragma once
// The two back ends of base/database.h, for database.cpp alone.

#include <memory>
#include <string>

#include "base/database.h"

namespace wellspring {

std::unique_ptr<Database> open_sqlite(const std::string& path);
std::unique_ptr<Database> open_postgres(const std::string& url);

}  // namespace wellspring
