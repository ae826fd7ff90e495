#pragma once
// Who may ask, from where, and how much at once.

#include <condition_variable>
#include <cstdint>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "base/http.h"

namespace wellspring {

/// A key as it is kept: never its text.
struct ApiKey {
  std::string name;  // whose
  std::string hash;  // SHA-256, 32 bytes
};

/// Lines "NAME KEY" or "NAME sha256:HEX", empty ones and comments (#). Several keys may have one
/// name, which is up to 64 letters, digits and -_.@; a key has 16 to 512 characters without spaces.
/// Error(Fault::data) naming `where` and the line (never the key); at most 1000 keys.
std::vector<ApiKey> parse_api_keys(std::string_view text, const std::string& where);
/// One key named "default". Error(Fault::usage) when it is too short.
ApiKey single_api_key(std::string_view key);

struct AccessOptions {
  std::string address = "127.0.0.1";  // where the server listens
  std::vector<ApiKey> keys;           // none: whoever reaches the server may ask
  std::vector<std::string> hosts;     // more names under which it may be addressed
  std::vector<std::string>
      origins;                // whose pages may ask: "https://chat.example.org", or "*" for all
  bool open_metrics = false;  // /metrics without a key
  int64_t key_requests = 0;   // at once of one name (without keys: of all); 0: any number
};

/// Thread-safe.
class Access {
 public:
  /// Error(Fault::usage) for an address that others reach when there are no keys, and for an origin
  /// that is none.
  explicit Access(AccessOptions options);

  /// Before start(): a path that needs no key (a page's files).
  void open(const std::string& path) { open_.insert(path); }
  /// For HttpServer::filter. Answers what may not ask: 421 for another Host (DNS rebinding), 403
  /// for pages of other origins, 401 without a known key. Answers preflights. Else names the user.
  void check(HttpRequest& request, HttpResponse& response);

  /// A request that counts, until it dies.
  class Slot {
   public:
    Slot(Slot&& other) noexcept : access_(other.access_), user_(std::move(other.user_)) {
      other.access_ = nullptr;
    }
    Slot& operator=(Slot&&) = delete;
    ~Slot();

   private:
    friend class Access;
    Slot(Access* access, std::string user) : access_(access), user_(std::move(user)) {}
    Access* access_;
    std::string user_;
  };
  /// ApiError 429 when `user` has as many as it may, 503 while draining.
  Slot enter(const std::string& user);

  /// From here on enter() refuses. True when all that runs has ended within so many seconds.
  bool drain(double seconds);
  bool draining() const;
  /// Requests without a known key, Host or origin so far, and those beyond a key's limit.
  int64_t strangers() const;
  int64_t limited() const;

 private:
  void leave(const std::string& user);
  void check_host(const HttpRequest& request) const;
  // True when the request was a preflight, which has been answered.
  bool cross_origin(const HttpRequest& request, HttpResponse& response) const;
  std::string user_of(const HttpRequest& request) const;

  const AccessOptions options_;
  std::set<std::string> open_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, int64_t> running_;  // by user; none is 0
  bool draining_ = false;
  int64_t strangers_ = 0, limited_ = 0;
};

}  // namespace wellspring
