#pragma once
// What the commands of a user say to the controller.

#include <memory>
#include <string>
#include <string_view>

#include "base/http.h"
#include "base/json_fwd.h"

namespace wellspring::cluster {

/// Where the controller is and who we are.
struct Login {
  std::string url, token, ca;  // ca: PEM text; empty: none
};

/// $WELLSPRING_URL and $WELLSPRING_API_TOKEN, else what login_path() holds. Error(Fault::config) that
/// says how to log in when there is nothing.
Login find_login();
/// ~/.config/wellspring/cluster.json
std::string login_path();
/// Error(Fault::config) for http:// to another machine: tokens and keys would travel in clear.
void check_url(const std::string& url);
/// Writes login_path() (0600).
void keep_login(const Login& login);

/// One user's connection. Not thread-safe.
class Client {
 public:
  explicit Client(Login login = find_login());
  ~Client();
  /// Errors: what the controller says, as Fault::usage (its 4xx), Fault::try_again (503),
  /// Fault::io (it cannot be reached; waits and tries again for `patience` seconds first).
  Json get(const std::string& path);
  Json post(const std::string& path, const Json& body);
  Json put(const std::string& path, const Json& body);
  Json put_bytes(const std::string& path, std::string_view bytes);
  Json remove(const std::string& path);
  /// A text with its headers (log pieces).
  HttpResult text(const std::string& path);
  /// A connection to a running job; errors are what the controller says.
  std::unique_ptr<HttpDuplex> upgrade(const std::string& path);
  const Login& login() const { return login_; }

  double patience = 0;

 private:
  HttpResult ask(const std::string& method, const std::string& path, std::string_view body, const char* type);
  Json request(const std::string& method, const std::string& path, std::string_view body, const char* type);
  Login login_;
  std::unique_ptr<HttpClient> http_;
};

}  // namespace wellspring::cluster
