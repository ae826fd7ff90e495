#pragma once
// Which fields may stand in a completion request. Inside of api_request.

#include "base/json_fwd.h"

namespace wellspring {

/// ApiError 400 for a field that changes the answer and is not offered, one of the other API, and one that looks like a
/// slip of the pen. Other unknown fields (a user's name, hints) are passed over.
void check_fields(const Json& body, bool chat);

}  // namespace wellspring
