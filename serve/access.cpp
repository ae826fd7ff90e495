#include "serve/access.h"

#include <arpa/inet.h>

#include <algorithm>

#include "base/crypto.h"
#include "base/error.h"
#include "base/log.h"
#include "base/text.h"
#include "serve/api_error.h"

namespace wellspring {
namespace {

constexpr size_t kLeastKey = 16, kMostKey = 512, kMostKeys = 1000, kMostName = 64;

bool is_name(std::string_view s) {
  return !s.empty() && s.size() <= kMostName && std::all_of(s.begin(), s.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || c == '-' ||
           c == '_' || c == '.' || c == '@';
  });
}

// Why it is none; empty: it is one.
std::string fault_of_key(std::string_view key) {
  if (key.size() < kLeastKey || key.size() > kMostKey)
    return str("a key has ", kLeastKey, " to ", kMostKey,
               " characters: `openssl rand -hex 24` makes one");
  if (!std::all_of(key.begin(), key.end(), [](char c) { return c > ' ' && c < 127; }))
    return "a key is printable ASCII without spaces";
  return "";
}

ApiKey read_key(std::string_view line, const std::string& place) {
  const size_t gap = line.find_first_of(" \t");
  const std::string_view name = line.substr(0, gap),
                         key = gap == line.npos ? "" : trim(line.substr(gap));
  if (!is_name(name) || key.empty())
    throw Error(
        Fault::data,
        str(place,
            ": expected 'NAME KEY' or 'NAME sha256:HEX', the name of letters, digits and -_.@"));
  if (starts_with(key, "sha256:")) {
    const auto hash = unhex(key.substr(7));
    if (!hash || hash->size() != 32)
      throw Error(Fault::data, str(place, ": sha256: is followed by 64 hexadecimal digits"));
    return {std::string(name), *hash};
  }
  if (const std::string fault = fault_of_key(key); !fault.empty())
    throw Error(Fault::data, str(place, ": ", fault));
  return {std::string(name), sha256(key)};
}

// "localhost" of "LOCALHOST:8080", "::1" of "[::1]:8080".
std::string host_of(std::string_view authority) {
  if (authority.starts_with('['))
    return to_lower(authority.substr(1, std::min(authority.find(']'), authority.size()) - 1));
  return to_lower(authority.substr(0, authority.find(':')));
}

// Of an address in numbers no name server can tell lies.
bool is_number(const std::string& host) {
  unsigned char bytes[16];
  return ::inet_pton(AF_INET, host.c_str(), bytes) == 1 ||
         ::inet_pton(AF_INET6, host.c_str(), bytes) == 1;
}

// "chat.example.org:8443" of "https://chat.example.org:8443"; empty for what is no origin.
std::string_view authority_of(std::string_view origin) {
  const size_t at = origin.find("://");
  const std::string_view rest = at == origin.npos || at == 0 ? "" : origin.substr(at + 3);
  return rest.find_first_of("/?# ") == rest.npos ? rest : "";
}

std::string_view bearer_of(const HttpRequest& request) {
  const std::string_view value = request.header("authorization");
  if (value.size() < 7 || to_lower(value.substr(0, 7)) != "bearer ") return "";
  return trim(value.substr(7));
}

}  // namespace

std::vector<ApiKey> parse_api_keys(std::string_view text, const std::string& where) {
  std::vector<ApiKey> keys;
  int64_t number = 0;
  for (const std::string& whole : split(text, '\n')) {
    ++number;
    const std::string_view line = trim(whole);
    if (line.empty() || line.starts_with('#')) continue;
    const std::string place = str(where, ":", number);
    if (keys.size() == kMostKeys)
      throw Error(Fault::data, str(place, ": more than ", kMostKeys, " keys"));
    keys.push_back(read_key(line, place));
    for (size_t i = 0; i + 1 < keys.size(); ++i)
      if (keys[i].hash == keys.back().hash)
        throw Error(Fault::data,
                    str(place, ": this key stands above, too, for '", keys[i].name, "'"));
  }
  if (keys.empty()) throw Error(Fault::data, str(where, ": no key: write lines 'NAME KEY'"));
  return keys;
}

ApiKey single_api_key(std::string_view key) {
  if (const std::string fault = fault_of_key(key); !fault.empty())
    throw Error(Fault::usage, str("WELLSPRING_API_KEY: ", fault));
  return {"default", sha256(key)};
}

Access::Access(AccessOptions options)
    : options_([&] {
        for (std::string& host : options.hosts) host = host_of(host);
        for (std::string& origin : options.origins) origin = to_lower(origin);
        return std::move(options);
      }()) {
  if (!is_loopback(options_.address) && options_.keys.empty())
    throw Error(Fault::usage,
                str("others reach ", options_.address,
                    ", so requests need keys: give --api-key-file FILE (lines 'NAME KEY') or "
                    "set WELLSPRING_API_KEY, or listen on 127.0.0.1"));
  for (const std::string& origin : options_.origins)
    if (origin != "*" && origin != "null" && authority_of(origin).empty())
      throw Error(Fault::usage, str("--allow-origin ", origin,
                                    ": expected an origin like https://chat.example.org, or *"));
}

void Access::check_host(const HttpRequest& request) const {
  const std::string host = host_of(request.header("host"));
  if (is_loopback(host) || is_number(host) || host == to_lower(options_.address)) return;
  if (std::find(options_.hosts.begin(), options_.hosts.end(), host) != options_.hosts.end()) return;
  throw ApiError(421, "unknown_host",
                 str("this server is not known as '", utf8_repair(host.substr(0, 80)),
                     "': --allow-host NAME lets requests name it so"));
}

bool Access::cross_origin(const HttpRequest& request, HttpResponse& response) const {
  const std::string origin = to_lower(request.header("origin"));
  if (origin.empty() || authority_of(origin) == to_lower(request.header("host"))) return false;
  const auto& list = options_.origins;
  if (std::find(list.begin(), list.end(), origin) == list.end() &&
      std::find(list.begin(), list.end(), "*") == list.end())
    throw ApiError(403, "unknown_origin",
                   str("pages of '", utf8_repair(origin.substr(0, 80)),
                       "' may not ask here: --allow-origin ORIGIN lets them"));
  response.header("Access-Control-Allow-Origin", std::string(request.header("origin")));
  response.header("Vary", "Origin");
  if (request.method != "OPTIONS" || request.header("access-control-request-method").empty()) {
    response.header("Access-Control-Expose-Headers", "X-Request-Id, Retry-After");
    return false;
  }
  response.header("Access-Control-Allow-Methods", "GET, POST, DELETE");
  response.header("Access-Control-Allow-Headers",
                  std::string(request.header("access-control-request-headers")));
  response.header("Access-Control-Max-Age", "600");
  response.send(204, "", "");
  return true;
}

// All keys are compared, so that the time does not tell how far one was right.
std::string Access::user_of(const HttpRequest& request) const {
  const std::string_view key = bearer_of(request);
  if (key.empty())
    throw ApiError(401, "invalid_api_key",
                   "this server needs a key: send 'Authorization: Bearer KEY'");
  const std::string hash = sha256(key);
  const ApiKey* found = nullptr;
  for (const ApiKey& one : options_.keys)
    if (equal_secret(one.hash, hash)) found = &one;
  if (!found) throw ApiError(401, "invalid_api_key", "the key is not known here");
  return found->name;
}

void Access::check(HttpRequest& request, HttpResponse& response) {
  try {
    const bool health = starts_with(request.path, "/health");
    if (!health) check_host(request);
    if (cross_origin(request, response)) return;
    const bool open = health || open_.count(request.path) ||
                      (options_.open_metrics && request.path == "/metrics");
    if (!options_.keys.empty() && !open) request.user = user_of(request);
  } catch (const ApiError& e) {
    {
      std::lock_guard lock(mutex_);
      ++strangers_;
    }
    if (e.status == 401) response.header("WWW-Authenticate", "Bearer");
    log_debug("serve", request.peer, " ", request.id, " refused: ", e.what());
    send_api_error(e, response);
  }
}

Access::Slot Access::enter(const std::string& user) {
  std::lock_guard lock(mutex_);
  if (draining_)
    throw ApiError(503, "stopping", "the server is stopping: ask another one, or again later", 5);
  int64_t& n = running_[user];
  if (options_.key_requests > 0 && n >= options_.key_requests) {
    ++limited_;
    throw ApiError(
        429, "rate_limit_exceeded",
        str(n,
            " requests of this key are running, which is its limit: try again when one has ended"),
        1);
  }
  ++n;
  return {this, user};
}

Access::Slot::~Slot() {
  if (access_) access_->leave(user_);
}

void Access::leave(const std::string& user) {
  std::lock_guard lock(mutex_);
  const auto it = running_.find(user);
  if (--it->second == 0) running_.erase(it);
  if (running_.empty()) changed_.notify_all();
}

bool Access::drain(double seconds) {
  std::unique_lock lock(mutex_);
  draining_ = true;
  return changed_.wait_for(lock, std::chrono::duration<double>(seconds),
                           [&] { return running_.empty(); });
}

bool Access::draining() const {
  std::lock_guard lock(mutex_);
  return draining_;
}

int64_t Access::strangers() const {
  std::lock_guard lock(mutex_);
  return strangers_;
}

int64_t Access::limited() const {
  std::lock_guard lock(mutex_);
  return limited_;
}

}  // namespace wellspring
