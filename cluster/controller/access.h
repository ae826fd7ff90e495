#pragma once
// Who may do what: tokens, cookies of the console, keys of nodes.

#include <string>
#include <vector>

#include "base/http.h"
#include "cluster/controller/core.h"

namespace wellspring::cluster {

/// An answer with a status of its own.
class ApiError : public std::runtime_error {
 public:
  ApiError(int status, const std::string& message) : std::runtime_error(message), status(status) {}
  const int status;
};

/// Who asks. Roles: viewer (sees its team), member (also submits and ends its jobs), admin
/// (everything), node.
struct Caller {
  std::string token = {};  // public id
  std::string role = {}, team = {}, user = {};
  bool cookie = false;
  bool admin() const { return role == "admin"; }
  /// "ada (vision)" for the audit log.
  std::string name() const;
};

/// A token as it is given away ("wst_ID_SECRET"), and its row.
struct NewToken {
  std::string text;
  Token row;
};
NewToken make_token(const std::string& role, const std::string& team, const std::string& user,
                    double now, double seconds);

/// How the note of an invitation begins that a node has joined with.
inline constexpr std::string_view kUsed = "used by ";

class Access {
 public:
  /// `hosts`: names under which the controller may be addressed, beside those of this machine's
  /// loopback; `secure`: served by TLS.
  Access(Core& core, std::vector<std::string> hosts, bool secure);

  /// Who asks, by "Authorization: Bearer ..." or the console's cookie. ApiError 401 without or with
  /// a wrong, expired or revoked one, 403 when a page of another origin asks with our cookie.
  Caller check(const HttpRequest& request);
  /// Whether somebody who may ask at all sends this; never throws.
  bool known(const HttpRequest& request);
  /// ApiError 401 when the caller's token was revoked or has expired since: for answers that last.
  void check_still(const Caller& caller) const;
  /// ApiError 421 when the request is addressed to another host (DNS rebinding).
  void check_host(const HttpRequest& request) const;
  /// ApiError 403 when the page that asks is of another origin. Without an Origin it is no page.
  void check_origin(const HttpRequest& request) const;
  /// The node whose key the request carries. ApiError 401 or 403.
  std::string node(const HttpRequest& request);
  /// Trades a token for a cookie ("name=value; HttpOnly; ..."), good for 12 hours, over restarts of
  /// the controller too, and as long as the token is. ApiError 401. Its name has the port that the
  /// browser sees: one host's consoles keep a session each.
  std::string open_session(const HttpRequest& request, const std::string& token);
  std::string close_session(const HttpRequest& request);
  /// Checks a token's text. ApiError 401.
  Token token(const std::string& text) const;

 private:
  std::string origin_of(const HttpRequest& request) const;

  Core& core_;
  std::vector<std::string> hosts_;
  const bool secure_;
};

/// 0 none, 1 viewer, 2 member, 3 admin.
int rank_of_role(const std::string& role);

}  // namespace wellspring::cluster
