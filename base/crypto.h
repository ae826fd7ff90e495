#pragma once
// Hashes, secrets and certificates, by OpenSSL (in libwellspring_tls, opened on first use:
// Error(Fault::missing) when it does not load). Bytes are std::string. All functions are
// thread-safe.

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace wellspring {

/// n bytes that nobody can guess.
std::string random_bytes(size_t n);
/// Lower case, two digits a byte.
std::string hex(std::string_view bytes);
/// Nullopt for an odd length or other characters. Upper case is taken, too.
std::optional<std::string> unhex(std::string_view digits);

/// 32 bytes.
std::string sha256(std::string_view bytes);
/// Of a file's content. Error(Fault::io) naming it.
std::string sha256_file(const std::string& path);
/// 32 bytes; a key of any length.
std::string hmac_sha256(std::string_view key, std::string_view bytes);

/// SHA-256 of what comes in pieces. Not for several threads at once.
class Sha256 {
 public:
  struct Impl {
    virtual ~Impl() = default;
    virtual void add(std::string_view bytes) = 0;
    virtual std::string finish() = 0;
  };
  Sha256();
  void add(std::string_view bytes) { impl_->add(bytes); }
  /// 32 bytes; once, the last call.
  std::string finish() { return impl_->finish(); }

 private:
  std::unique_ptr<Impl> impl_;
};

/// Whether two secrets are the same, in a time that depends on their lengths alone.
bool equal_secret(std::string_view a, std::string_view b);

/// Encrypts and protects against change: AES-256-GCM under a key of 32 bytes with a random nonce
/// (nonce, text, tag: 28 bytes longer). `context` is not in the result but has to be the same for
/// unseal: name there whose secret it is. At most 2^32 messages per key.
std::string seal(std::string_view key, std::string_view text, std::string_view context = {});
/// Nullopt when key or context are others or a bit has changed.
std::optional<std::string> unseal(std::string_view key, std::string_view sealed,
                                  std::string_view context = {});

/// A certificate with its private key (ECDSA P-256), both PEM. `cert_pem` of one that was issued
/// has its CA's certificate behind its own, as a server sends it.
struct Certificate {
  std::string cert_pem, key_pem;
};

/// A CA that signs itself, valid `days` from now.
Certificate make_ca(const std::string& common_name, int days = 3650);
/// A server's certificate for `names` (host names, "*.name" or IP addresses; at least one), valid
/// from an hour before now (or `starts`, unix seconds) for `days`. Error(Fault::data) for a `ca`
/// that is none.
Certificate issue_certificate(const Certificate& ca, const std::vector<std::string>& names,
                              int days, std::optional<int64_t> starts = {});
/// SHA-256 of the first certificate in a PEM text, 64 hex digits, as `openssl x509 -fingerprint`
/// without its colons. Error(Fault::data).
std::string fingerprint(const std::string& cert_pem);
/// When the first certificate ends, unix seconds. Error(Fault::data).
int64_t certificate_end(const std::string& cert_pem);

}  // namespace wellspring
