#pragma once
// JSON values: nlohmann's type, which keeps the order of keys. Include this in sources, not in
// headers (a header takes `base/json_fwd.h`). Bulk reading of big files goes through simdjson.

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

#include "base/json_fwd.h"

namespace wellspring {

/// Parses one JSON text. Error(Fault::data) names `where` (a file or "request body"), the line and
/// column, and what was expected. Nesting deeper than 512 is refused.
Json parse_json(std::string_view text, const std::string& where);
/// parse_json of a file's content.
Json read_json(const std::string& path);
/// Compact (indent < 0) or indented text; invalid UTF-8 inside strings is replaced by U+FFFD.
std::string to_text(const Json& value, int indent = -1);

}  // namespace wellspring
