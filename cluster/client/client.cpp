#include "cluster/client/client.h"

#include <sys/stat.h>

#include <cstdlib>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "base/time.h"

namespace wellspring::cluster {
namespace {

std::string message_of(const HttpResult& r) {
  const Json json = Json::parse(r.body, nullptr, false);
  if (json.is_object() && json.contains("error") && json["error"].is_object())
    return json["error"].value("message", "");
  return str("the controller answered with status ", r.status);
}

[[noreturn]] void refuse(const HttpResult& r) {
  throw Error(r.status == 503   ? Fault::try_again
              : r.status >= 500 ? Fault::io
              : r.status == 400 ? Fault::data
                                : Fault::usage,
              message_of(r));
}

HttpClientOptions options_of(const Login& login) {
  HttpClientOptions o;
  o.ca_pem = login.ca;
  o.read_timeout = 900;
  return o;
}

}  // namespace

std::string login_path() {
  if (const char* set = std::getenv("WELLSPRING_LOGIN")) return set;
  const char* config = std::getenv("XDG_CONFIG_HOME");
  const char* home = std::getenv("HOME");
  return config ? str(config, "/wellspring/cluster.json") : str(home ? home : ".", "/.config/wellspring/cluster.json");
}

Login find_login() {
  Login login;
  const std::string path = login_path();
  if (exists(path)) {
    const Json json = read_json(path);
    login = {json.value("url", ""), json.value("token", ""), json.value("ca", "")};
  }
  if (const char* url = std::getenv("WELLSPRING_URL")) login.url = url;
  if (const char* token = std::getenv("WELLSPRING_API_TOKEN")) login.token = token;
  if (login.url.empty() || login.token.empty())
    throw Error(Fault::config, str("not logged in to a cluster: `wellspring cluster up` starts one here; for another "
                                   "one ask its administrator for a token, then `wellspring cluster login URL`"));
  while (ends_with(login.url, "/")) login.url.pop_back();
  return login;
}

void check_url(const std::string& url) {
  if (!starts_with(url, "http://")) return;
  std::string host = url.substr(7, url.find_first_of("/?#", 7) - 7);
  host = starts_with(host, "[") ? host.substr(1, host.find(']') - 1) : host.substr(0, host.find(':'));
  if (!is_loopback(host))
    throw Error(Fault::config, str(url, ": what is said there could be read by others on the way: use https:// (the "
                                        "controller speaks TLS on every address but the loopback)"));
}

void keep_login(const Login& login) {
  const std::string path = login_path();
  make_directories(parent_path(path));
  const mode_t before = ::umask(0077);
  write_file_atomic(path, to_text({{"url", login.url}, {"token", login.token}, {"ca", login.ca}}, 1) + "\n");
  ::umask(before);
}

Client::Client(Login login)
    : login_((check_url(login.url), std::move(login))),
      http_(std::make_unique<HttpClient>(login_.url, HttpHeaders{{"Authorization", "Bearer " + login_.token}},
                                         options_of(login_))) {}
Client::~Client() = default;

HttpResult Client::ask(const std::string& method, const std::string& path, std::string_view body, const char* type) {
  const double until = monotonic_seconds() + patience;
  HttpHeaders headers;
  if (!body.empty()) headers.emplace_back("Content-Type", type);
  HttpResult r;
  while (true) {
    try {
      r = http_->request(method, "/api/v1" + path, body, headers);
      break;
    } catch (const Error& e) {
      // A question may be asked again; a change only when it cannot have arrived.
      if (e.fault() != Fault::io || method != "GET" || monotonic_seconds() > until) throw;
      sleep_seconds(0.1);
    }
  }
  if (r.status >= 300) refuse(r);
  return r;
}

Json Client::request(const std::string& method, const std::string& path, std::string_view body, const char* type) {
  return parse_json(ask(method, path, body, type).body, "the controller's answer");
}

HttpResult Client::text(const std::string& path) { return ask("GET", path, "", ""); }
Json Client::get(const std::string& path) { return request("GET", path, "", ""); }
Json Client::post(const std::string& path, const Json& body) {
  return request("POST", path, to_text(body), "application/json");
}
Json Client::put(const std::string& path, const Json& body) {
  return request("PUT", path, to_text(body), "application/json");
}
Json Client::put_bytes(const std::string& path, std::string_view bytes) {
  return request("PUT", path, bytes, "application/octet-stream");
}
Json Client::remove(const std::string& path) { return request("DELETE", path, "", ""); }

std::unique_ptr<HttpDuplex> Client::upgrade(const std::string& path) {
  try {
    return http_upgrade(login_.url + "/api/v1" + path, "wellspring-tunnel",
                        {{"Authorization", "Bearer " + login_.token}}, options_of(login_));
  } catch (const Error& e) {  // "HOST refuses PATH as ... with 409: job 3 is not running"
    constexpr std::string_view kWith = " as wellspring-tunnel with ";
    const std::string what = e.what();
    const size_t at = what.find(kWith), said = at == what.npos ? at : what.find(": ", at);
    if (said == what.npos) throw;
    throw Error(e.fault(), what.substr(said + 2));
  }
}

}  // namespace wellspring::cluster
