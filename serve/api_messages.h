#pragma once
// Messages and tools of a chat request, checked, in the form that chat templates read. Inside of api_request.

#include "base/json_fwd.h"
#include "serve/api_error.h"
#include "serve/api_request.h"

namespace wellspring {

/// Fills context, tools, tool_choice. ApiError 400 naming the field.
void read_messages(const Json& body, ApiRequest& request);
void read_tools(const Json& body, ApiRequest& request);

/// A field of an object that is there and not null; else null.
const Json* find_field(const Json& body, const char* key);
/// ApiError 400 at `place` unless a tool may be called so.
void check_tool_name(const std::string& name, const std::string& place);

}  // namespace wellspring
