#pragma once
#include <nlohmann/json_fwd.hpp>

namespace wellspring {
using Json = nlohmann::ordered_json;
}
