#pragma once
// OpenAI's /v1/responses: answers as items, kept so that they can be carried on by their id.

#include <string>

#include "serve/response_request.h"

namespace wellspring {

class HttpResponse;
class ResponseStore;
struct HttpRequest;
struct ServedModel;

/// Answers POST /v1/responses, whole or as events; as answer_completion. What has ended is in
/// `store` before the client learns it, when the request wants it kept.
void answer_response(const ServedModel& model, ResponseRequest request, const std::string& owner,
                     ResponseStore& store, HttpResponse& response);

/// Answers POST /v1/responses/input_tokens: how many tokens the model would be asked with.
void count_input_tokens(const ServedModel& model, ResponseRequest request, HttpResponse& response);

/// For read_response_request. ApiError 404 (previous_response_not_found).
Json stored_conversation(ResponseStore& store, const std::string& owner, const std::string& id);

/// GET and DELETE /v1/responses/{id}, GET /v1/responses/{id}/input_items: those of request.user.
/// ApiError 404 (response_not_found).
void send_response(ResponseStore& store, const HttpRequest& request, HttpResponse& response);
void delete_response(ResponseStore& store, const HttpRequest& request, HttpResponse& response);
void list_input_items(ResponseStore& store, const HttpRequest& request, HttpResponse& response);

}  // namespace wellspring
