#pragma once
// What libwellspring_tls gives: OpenSSL takes 2 ms to load, so the library is opened on first use.
// Included by crypto.cpp, http*.cpp and tls*.cpp alone.

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/crypto.h"
#include "base/http_stream.h"

namespace wellspring {

/// One side's certificates and rules. Thread-safe.
class TlsContext {
 public:
  virtual ~TlsContext() = default;
  /// Shakes hands over a non-blocking socket, which the caller closes after the stream. `host` is
  /// what the server's certificate has to name (client only). Error(Fault::io) with the reason
  /// alone.
  virtual std::unique_ptr<ByteStream> open(int fd, const std::string& host, double deadline) = 0;
};

/// The functions of crypto.h, and contexts.
class TlsLibrary {
 public:
  virtual std::unique_ptr<TlsContext> server(const std::string& certificate_pem,
                                             const std::string& key_pem) const = 0;
  /// `fingerprint`: hex in lower case. Both empty: the system's CAs.
  virtual std::unique_ptr<TlsContext> client(const std::string& ca_pem,
                                             const std::string& fingerprint) const = 0;
  virtual std::string random_bytes(size_t n) const = 0;
  virtual std::string sha256(std::string_view bytes) const = 0;
  virtual std::unique_ptr<Sha256::Impl> begin_sha256() const = 0;
  virtual std::string hmac_sha256(std::string_view key, std::string_view bytes) const = 0;
  virtual std::string seal(std::string_view key, std::string_view text,
                           std::string_view context) const = 0;
  virtual std::optional<std::string> unseal(std::string_view key, std::string_view sealed,
                                            std::string_view context) const = 0;
  virtual Certificate make_ca(const std::string& common_name, int days) const = 0;
  virtual Certificate issue_certificate(const Certificate& ca,
                                        const std::vector<std::string>& names, int days,
                                        std::optional<int64_t> starts) const = 0;
  virtual std::string fingerprint(const std::string& cert_pem) const = 0;
  virtual int64_t certificate_end(const std::string& cert_pem) const = 0;

 protected:
  ~TlsLibrary() = default;
};

/// Opens the library when it is not open yet. Error(Fault::missing).
const TlsLibrary& tls_library();

/// The text of a PEM file, or `file_or_text` itself when it is such a text. Error(Fault::io), or
/// Fault::config when it is no PEM.
std::string pem_text(const std::string& file_or_text);

}  // namespace wellspring
