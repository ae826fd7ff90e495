#include "cluster/controller/access.h"

#include <algorithm>

#include "base/crypto.h"
#include "base/error.h"
#include "base/text.h"
#include "base/time.h"

namespace wellspring::cluster {
namespace {

constexpr double kSessionSeconds = 12 * 3600;
constexpr size_t kMostSessions = 10000, kMostSessionsEach = 20;  // each: of one token
std::string bearer(const HttpRequest& request) {
  const std::string_view value = request.header("authorization");
  constexpr std::string_view kBearer = "Bearer ";
  return value.substr(0, kBearer.size()) == kBearer ? std::string(trim(value.substr(kBearer.size())))
                                                    : "";
}

std::string host_without_port(std::string_view host) {
  if (!host.empty() && host[0] == '[') return std::string(host.substr(0, host.find(']') + 1));
  return std::string(host.substr(0, host.find(':')));
}

// A browser keeps cookies by host, whatever the port: theirs is in the name.
std::string cookie_name(const HttpRequest& request) {
  const std::string_view host = request.header("host"), port = host.substr(host_without_port(host).size());
  const auto n = port.empty() ? std::nullopt : parse_int(port.substr(1));
  return n && *n >= 0 ? str("wellspring_session_", *n) : "wellspring_session";
}

std::string cookie_of(const HttpRequest& request) {
  const std::string name = cookie_name(request);
  for (const std::string& part : split(request.header("cookie"), ';')) {
    const std::string_view pair = trim(part);
    const size_t eq = pair.find('=');
    if (pair.substr(0, eq) == name && eq != pair.npos) return std::string(pair.substr(eq + 1));
  }
  return "";
}

}  // namespace

int rank_of_role(const std::string& role) {
  return role == "admin" ? 3 : role == "member" ? 2 : role == "viewer" ? 1 : 0;
}

std::string Caller::name() const { return team.empty() ? user : str(user, " (", team, ")"); }

NewToken make_token(const std::string& role, const std::string& team, const std::string& user,
                    double now, double seconds) {
  const std::string id = hex(random_bytes(6)), secret = hex(random_bytes(24));
  NewToken made;
  made.text = str(role == "join" ? "wsj_" : "wst_", id, "_", secret);
  made.row = {.id = id, .hash = hex(sha256(secret)), .role = role, .team = team, .user = user,
              .created = now, .expires = seconds > 0 ? now + seconds : 0};
  return made;
}

Access::Access(Core& core, std::vector<std::string> hosts, bool secure)
    : core_(core), hosts_(std::move(hosts)), secure_(secure) {
  for (std::string& name : hosts_) {  // as a request writes them
    name = to_lower(name);
    if (name.find(':') != name.npos && name[0] != '[') name = str("[", name, "]");
  }
  for (const char* name : {"localhost", "127.0.0.1", "[::1]"}) hosts_.emplace_back(name);
}

Token Access::token(const std::string& text) const {
  const auto parts = split(text, '_');
  if (parts.size() != 3 || (parts[0] != "wst" && parts[0] != "wsj"))
    throw ApiError(401, "this is no token of Wellspring: an administrator makes one with `wellspring cluster token new`");
  const std::string hash = hex(sha256(parts[2]));
  const double now = core_.now();
  return core_.read([&](const State& s) {
    const Token* t = s.tokens.find(parts[1]);
    if (!t || !equal_secret(t->hash, hash) || t->role == "session" ||
        (parts[0] == "wsj") != (t->role == "join"))
      throw ApiError(401, "the token is not known");
    if (t->revoked && starts_with(t->note, kUsed))
      throw ApiError(401, str("the invitation has been ", t->note, " already: `wellspring cluster token join` makes another"));
    if (t->revoked) throw ApiError(401, "the token has been revoked: ask for a new one");
    if (t->expires && t->expires < now)
      throw ApiError(401, "the token has expired: ask for a new one");
    return *t;
  });
}

Caller Access::check(const HttpRequest& request) {
  Caller caller;
  std::string text = bearer(request);
  if (!text.empty()) {
    const Token t = token(text);
    return {.token = t.id, .role = t.role, .team = t.team, .user = t.user};
  }
  const std::string cookie = cookie_of(request);
  if (cookie.empty())
    throw ApiError(401, "no token: send 'Authorization: Bearer TOKEN' (wellspring cluster token new)");
  // A page of another origin may send our cookie, but not claim to be ours.
  if (request.method != "GET" && request.method != "HEAD" && request.header("origin") != origin_of(request))
    throw ApiError(403, "a page of another origin asks with the console's cookie");
  const std::string_view site = request.header("sec-fetch-site");
  if (!site.empty() && site != "same-origin" && site != "none")
    throw ApiError(403, "a page of another origin asks with the console's cookie");
  const auto parts = split(cookie, '_');
  const std::string hash = hex(sha256(parts.back()));
  const double now = core_.now();
  return core_.read([&](const State& s) {
    const Token* session = parts.size() == 2 ? s.tokens.find(parts[0]) : nullptr;
    if (!session || session->role != "session" || !equal_secret(session->hash, hash) || session->revoked ||
        session->expires < now)
      throw ApiError(401, "the session is over: log in again");
    const Token* t = s.tokens.find(session->note);
    if (!t || t->revoked || (t->expires && t->expires < now))
      throw ApiError(401, "the session's token is no longer valid: log in again");
    return Caller{.token = t->id, .role = t->role, .team = t->team, .user = t->user, .cookie = true};
  });
}

std::string Access::origin_of(const HttpRequest& request) const {
  return str(secure_ ? "https://" : "http://", request.header("host"));
}

bool Access::known(const HttpRequest& request) {
  try {
    if (!request.header("wellspring-node").empty())
      node(request);
    else
      check(request);
    return true;
  } catch (const std::exception&) {
    return false;
  }
}

void Access::check_still(const Caller& caller) const {
  const double now = core_.now();
  core_.read([&](const State& s) {
    const Token* t = s.tokens.find(caller.token);
    if (!t || t->revoked || (t->expires && t->expires < now))
      throw ApiError(401, "the token is no longer valid: ask for a new one");
  });
}

void Access::check_host(const HttpRequest& request) const {
  const std::string host = to_lower(host_without_port(request.header("host")));
  if (std::ranges::find(hosts_, host) == hosts_.end())
    throw ApiError(421, "the request is addressed to another host; names of this one are set by "
                        "'names:' in the configuration");
}

void Access::check_origin(const HttpRequest& request) const {
  const std::string_view origin = request.header("origin");
  if (!origin.empty() && origin != origin_of(request))
    throw ApiError(403, "a page of another origin asks");
}

std::string Access::node(const HttpRequest& request) {
  const std::string text = bearer(request), name(request.header("wellspring-node"));
  const auto parts = split(text, '_');
  if (parts.size() != 2 || parts[0] != "wsn") throw ApiError(401, "no key of a node");
  const std::string hash = hex(sha256(parts[1]));
  return core_.read([&](const State& s) {
    const Node* node = s.nodes.find(name);
    if (!node) throw ApiError(401, "no such node: join again");
    if (node->key_hash.empty() || !equal_secret(node->key_hash, hash))
      throw ApiError(403, "the key is not this node's");
    return name;
  });
}

std::string Access::open_session(const HttpRequest& request, const std::string& text) {
  const Token t = token(text);
  if (!rank_of_role(t.role)) throw ApiError(403, "an invitation of a node does not log in");
  const std::string secret = hex(random_bytes(24));
  Token session{.id = hex(random_bytes(6)), .hash = hex(sha256(secret)), .role = "session", .team = t.team,
                .user = t.user, .note = t.id};
  core_.call([&](Change& c) {
    std::vector<std::string> old;
    size_t open = 0, own = 0;
    const Token* oldest = nullptr;  // of this token
    for (const auto& [id, row] : c.state.tokens.rows()) {
      if (row.role != "session") continue;
      ++open;
      if (row.expires < c.now || row.revoked) {
        old.push_back(id);
      } else if (row.note == t.id) {
        ++own;
        if (!oldest || row.expires < oldest->expires) oldest = &row;
      }
    }
    if (own >= kMostSessionsEach) old.push_back(oldest->id);  // nobody takes the places of all
    if (open - old.size() > kMostSessions) throw ApiError(503, "too many sessions: try again later");
    for (const std::string& id : old) c.state.tokens.remove(id);
    session.created = c.now, session.expires = c.now + kSessionSeconds;
    c.state.tokens.put(session.id, session);
  });
  return str(cookie_name(request), "=", session.id, "_", secret, "; Path=/; HttpOnly; SameSite=Strict; Max-Age=",
             static_cast<int>(kSessionSeconds), secure_ ? "; Secure" : "");
}

std::string Access::close_session(const HttpRequest& request) {
  const std::string cookie = cookie_of(request);
  const auto parts = split(cookie, '_');
  if (parts.size() == 2)
    core_.call([&, hash = hex(sha256(parts[1]))](Change& c) {
      const Token* t = c.state.tokens.find(parts[0]);
      if (t && t->role == "session" && equal_secret(t->hash, hash)) c.state.tokens.remove(parts[0]);
    });
  return str(cookie_name(request), "=; Path=/; HttpOnly; SameSite=Strict; Max-Age=0");
}

}  // namespace wellspring::cluster
