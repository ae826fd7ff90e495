#pragma once
// What the sources of libwellspring_tls share: owned OpenSSL objects, errors, reading PEM.

#include <openssl/evp.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>

#include <memory>
#include <string>
#include <vector>

#include "base/tls_library.h"

namespace wellspring {

struct SslFree {
  void operator()(SSL* p) const { SSL_free(p); }
  void operator()(SSL_CTX* p) const { SSL_CTX_free(p); }
  void operator()(X509* p) const { X509_free(p); }
  void operator()(EVP_PKEY* p) const { EVP_PKEY_free(p); }
  void operator()(BIO* p) const { BIO_free_all(p); }
  void operator()(EVP_MD_CTX* p) const { EVP_MD_CTX_free(p); }
  void operator()(EVP_CIPHER_CTX* p) const { EVP_CIPHER_CTX_free(p); }
};
template <class T>
using SslPointer = std::unique_ptr<T, SslFree>;

/// What OpenSSL's error queue says first; empties it.
std::string ssl_reason();
/// Error(Fault::internal) naming `what`: for calls that fail by lack of memory alone.
void ssl_check(bool ok, const char* what);

/// All certificates of a PEM text, at least one, or the first private key. Error(Fault::data).
std::vector<SslPointer<X509>> read_certificates(const std::string& pem);
SslPointer<EVP_PKEY> read_key(const std::string& pem);
/// SHA-256 of its DER form, hex.
std::string certificate_digest(const X509* certificate);

std::unique_ptr<TlsContext> tls_server(const std::string& certificate_pem,
                                       const std::string& key_pem);
std::unique_ptr<TlsContext> tls_client(const std::string& ca_pem, const std::string& fingerprint);
Certificate tls_make_ca(const std::string& common_name, int days);
Certificate tls_issue(const Certificate& ca, const std::vector<std::string>& names, int days,
                      std::optional<int64_t> starts);
int64_t tls_certificate_end(const std::string& cert_pem);

}  // namespace wellspring
