#pragma once
// Messages and tools of a chat request, checked, in the form that chat templates read. Inside of api_request.

#include "base/json_fwd.h"
#include "serve/api_request.h"

namespace wellspring {

/// Fills context, tools, tool_choice. Error(Fault::data) naming the field.
void read_messages(const Json& body, ApiRequest& request);
void read_tools(const Json& body, ApiRequest& request);

/// A field of an object that is there and not null; else null.
const Json* find_field(const Json& body, const char* key);
/// For both files: "'FIELD' must be EXPECTED".
[[noreturn]] void wrong_field(const std::string& field, const std::string& expected);

}  // namespace wellspring
