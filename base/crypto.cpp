#include "base/crypto.h"

#include <dlfcn.h>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "base/tls_library.h"

namespace wellspring {
namespace {

const TlsLibrary* open_tls_library() {
  constexpr const char* kName = "libwellspring_tls.so";
  // By the path of this library, where one is known: sanitizers call dlopen() for us, and then our
  // run path does not count. Never closed: OpenSSL cleans up at exit.
  Dl_info here{};
  std::string path = kName;
  if (::dladdr(reinterpret_cast<const void*>(&tls_library), &here) && here.dli_fname)
    if (std::string beside = join_path(parent_path(here.dli_fname), kName); exists(beside))
      path = beside;
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  const char* why = library ? nullptr : ::dlerror();
  void* get = library ? ::dlsym(library, "wellspring_tls_library") : nullptr;
  if (!get)
    throw Error(Fault::missing,
                str("TLS and secrets need ", kName, ", which does not load: ",
                    why ? why : "it is of another version", ". Build it with ./dev build, or ",
                    "install it (and libssl3) beside libwellspring_base"));
  return reinterpret_cast<const TlsLibrary* (*)()>(get)();
}

int digit_value(char c) {
  return c >= '0' && c <= '9'   ? c - '0'
         : c >= 'a' && c <= 'f' ? c - 'a' + 10
         : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                : -1;
}

}  // namespace

const TlsLibrary& tls_library() {
  static const TlsLibrary* library = open_tls_library();
  return *library;
}

std::string pem_text(const std::string& file_or_text) {
  constexpr const char* kBegin = "-----BEGIN ";
  if (file_or_text.find(kBegin) != std::string::npos) return file_or_text;
  std::string text = read_file(file_or_text);
  if (text.find(kBegin) == std::string::npos)
    throw Error(Fault::config, str(file_or_text, " is not a PEM file: no line '", kBegin, "...'"));
  return text;
}

std::string hex(std::string_view bytes) {
  std::string out;
  out.reserve(2 * bytes.size());
  for (char c : bytes) {
    auto byte = static_cast<unsigned char>(c);
    out += "0123456789abcdef"[byte >> 4];
    out += "0123456789abcdef"[byte & 15];
  }
  return out;
}

std::optional<std::string> unhex(std::string_view digits) {
  if (digits.size() % 2) return {};
  std::string out;
  for (size_t i = 0; i < digits.size(); i += 2) {
    int high = digit_value(digits[i]), low = digit_value(digits[i + 1]);
    if (high < 0 || low < 0) return {};
    out += static_cast<char>(16 * high + low);
  }
  return out;
}

std::string sha256_file(const std::string& path) {
  Sha256 hash;
  MappedFile file(path);
  hash.add(file.view());
  return hash.finish();
}

bool equal_secret(std::string_view a, std::string_view b) {
  if (a.size() != b.size()) return false;
  volatile unsigned char different = 0;  // volatile: the loop may not end early
  for (size_t i = 0; i < a.size(); ++i)
    different = static_cast<unsigned char>(different | (a[i] ^ b[i]));
  return different == 0;
}

std::string random_bytes(size_t n) { return tls_library().random_bytes(n); }
std::string sha256(std::string_view bytes) { return tls_library().sha256(bytes); }
Sha256::Sha256() : impl_(tls_library().begin_sha256()) {}
std::string hmac_sha256(std::string_view key, std::string_view bytes) {
  return tls_library().hmac_sha256(key, bytes);
}
std::string seal(std::string_view key, std::string_view text, std::string_view context) {
  return tls_library().seal(key, text, context);
}
std::optional<std::string> unseal(std::string_view key, std::string_view sealed,
                                  std::string_view context) {
  return tls_library().unseal(key, sealed, context);
}
Certificate make_ca(const std::string& common_name, int days) {
  return tls_library().make_ca(common_name, days);
}
Certificate issue_certificate(const Certificate& ca, const std::vector<std::string>& names,
                              int days, std::optional<int64_t> starts) {
  return tls_library().issue_certificate(ca, names, days, starts);
}
std::string fingerprint(const std::string& cert_pem) { return tls_library().fingerprint(cert_pem); }
int64_t certificate_end(const std::string& cert_pem) {
  return tls_library().certificate_end(cert_pem);
}

}  // namespace wellspring
