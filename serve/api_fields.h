#pragma once
// Which fields may stand in a completion request. Inside of api_request.

#include <string>
#include <vector>

#include "base/json_fwd.h"

namespace wellspring {

/// ApiError 400 for a field that changes the answer and is not offered, one of the other API, and one that looks like a
/// slip of the pen. Other unknown fields (a user's name, hints) are passed over.
void check_fields(const Json& body, bool chat);

/// ApiError 400 for a field that is none of a completion request's nor of `names` but looks like one of those.
void check_spelling(const Json& body, const std::vector<std::string>& names);

}  // namespace wellspring
