#pragma once
// The body of a request to /v1/responses, read and checked: it becomes a chat request.

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/json_fwd.h"
#include "serve/api_request.h"

namespace wellspring {

struct ResponseRequest {
  ApiRequest api;
  /// Items with ids: those before (previous_response_id), then the request's own.
  std::shared_ptr<Json> conversation;
  /// Fields of the answer that say again what was asked for.
  std::shared_ptr<Json> settings;
  bool store = true;
  bool truncate = false;  // what does not fit the context goes, the oldest first
};

/// The items of a response's conversation, its output included; throws when it is not there.
using ConversationOf = std::function<Json(const std::string& response_id)>;

/// Error(Fault::data) naming the field, as read_api_request; what `conversation_of` throws.
ResponseRequest read_response_request(std::string_view body, const ConversationOf& conversation_of);

/// A new id that nobody guesses; `kind`: "resp_", "msg_" and the like.
std::string new_item_id(std::string_view kind);

}  // namespace wellspring
