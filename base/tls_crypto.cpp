// Hashes and sealing by OpenSSL, and the way into libwellspring_tls.
#include <openssl/err.h>
#include <openssl/hmac.h>
#include <openssl/rand.h>

#include "base/error.h"
#include "base/text.h"
#include "base/tls_parts.h"

namespace wellspring {
namespace {

constexpr size_t kNonce = 12, kTag = 16, kSealKey = 32;

const unsigned char* raw(std::string_view s) {
  return reinterpret_cast<const unsigned char*>(s.data());
}
unsigned char* raw(std::string& s) { return reinterpret_cast<unsigned char*>(s.data()); }

class OpensslSha256 : public Sha256::Impl {
 public:
  OpensslSha256() : context_(EVP_MD_CTX_new()) {
    ssl_check(context_ && EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1, "SHA-256");
  }
  void add(std::string_view bytes) override {
    ssl_check(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1, "SHA-256");
  }
  std::string finish() override {
    std::string out(32, '\0');
    ssl_check(EVP_DigestFinal_ex(context_.get(), raw(out), nullptr) == 1, "SHA-256");
    return out;
  }

 private:
  SslPointer<EVP_MD_CTX> context_;
};

// A cipher call takes an int; a secret of gigabytes is a mistake anyway.
int sealed_size(size_t n) {
  if (n > (1u << 30)) throw Error(Fault::usage, "more than 1 GiB to seal: encrypt it in parts");
  return static_cast<int>(n);
}

SslPointer<EVP_CIPHER_CTX> begin_seal(std::string_view key, std::string_view nonce,
                                      std::string_view context, bool encrypt) {
  WS_CHECK(key.size() == kSealKey, "a key of 32 bytes");
  SslPointer<EVP_CIPHER_CTX> cipher(EVP_CIPHER_CTX_new());
  int n = 0;
  ssl_check(cipher && EVP_CipherInit_ex(cipher.get(), EVP_aes_256_gcm(), nullptr, raw(key),
                                        raw(nonce), encrypt) == 1,
            "AES-256-GCM");
  if (!context.empty())
    ssl_check(
        EVP_CipherUpdate(cipher.get(), nullptr, &n, raw(context), sealed_size(context.size())) == 1,
        "AES-256-GCM");
  return cipher;
}

class OpensslLibrary final : public TlsLibrary {
 public:
  std::unique_ptr<TlsContext> server(const std::string& certificate_pem,
                                     const std::string& key_pem) const override {
    return tls_server(certificate_pem, key_pem);
  }
  std::unique_ptr<TlsContext> client(const std::string& ca_pem,
                                     const std::string& fingerprint) const override {
    return tls_client(ca_pem, fingerprint);
  }
  std::string random_bytes(size_t n) const override {
    std::string out(n, '\0');
    ssl_check(RAND_bytes(raw(out), sealed_size(n)) == 1, "random bytes");
    return out;
  }
  std::string sha256(std::string_view bytes) const override {
    std::string out(32, '\0');
    ssl_check(EVP_Digest(bytes.data(), bytes.size(), raw(out), nullptr, EVP_sha256(), nullptr) == 1,
              "SHA-256");
    return out;
  }
  std::unique_ptr<Sha256::Impl> begin_sha256() const override {
    return std::make_unique<OpensslSha256>();
  }
  std::string hmac_sha256(std::string_view key, std::string_view bytes) const override {
    std::string out(32, '\0');
    unsigned size = 0;
    static const unsigned char kNone = 0;  // a null key would mean the key of the call before
    ssl_check(HMAC(EVP_sha256(), key.empty() ? &kNone : raw(key), sealed_size(key.size()),
                   raw(bytes), bytes.size(), raw(out), &size) != nullptr,
              "HMAC");
    return out;
  }
  std::string seal(std::string_view key, std::string_view text,
                   std::string_view context) const override {
    std::string out = random_bytes(kNonce);
    auto cipher = begin_seal(key, out, context, true);
    out.resize(kNonce + text.size() + kTag);
    int n = 0, more = 0;
    unsigned char* to = raw(out) + kNonce;
    if (!text.empty())
      ssl_check(EVP_CipherUpdate(cipher.get(), to, &n, raw(text), sealed_size(text.size())) == 1,
                "AES-256-GCM");
    ssl_check(EVP_CipherFinal_ex(cipher.get(), to + n, &more) == 1 &&
                  EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_GET_TAG, kTag,
                                      raw(out) + kNonce + text.size()) == 1,
              "AES-256-GCM");
    return out;
  }
  std::optional<std::string> unseal(std::string_view key, std::string_view sealed,
                                    std::string_view context) const override {
    WS_CHECK(key.size() == kSealKey, "a key of 32 bytes");
    if (sealed.size() < kNonce + kTag) return {};
    auto cipher = begin_seal(key, sealed.substr(0, kNonce), context, false);
    std::string_view text = sealed.substr(kNonce, sealed.size() - kNonce - kTag);
    std::string tag(sealed.substr(sealed.size() - kTag)), out(text.size(), '\0');
    int n = 0;
    if (!text.empty())
      ssl_check(
          EVP_CipherUpdate(cipher.get(), raw(out), &n, raw(text), sealed_size(text.size())) == 1,
          "AES-256-GCM");
    ssl_check(EVP_CIPHER_CTX_ctrl(cipher.get(), EVP_CTRL_GCM_SET_TAG, kTag, tag.data()) == 1,
              "AES-256-GCM");
    int more = 0;
    if (EVP_CipherFinal_ex(cipher.get(), raw(out) + n, &more) != 1) {
      ERR_clear_error();
      return {};
    }
    return out;
  }
  Certificate make_ca(const std::string& common_name, int days) const override {
    return tls_make_ca(common_name, days);
  }
  Certificate issue_certificate(const Certificate& ca, const std::vector<std::string>& names,
                                int days, std::optional<int64_t> starts) const override {
    return tls_issue(ca, names, days, starts);
  }
  std::string fingerprint(const std::string& cert_pem) const override {
    return certificate_digest(read_certificates(cert_pem)[0].get());
  }
  int64_t certificate_end(const std::string& cert_pem) const override {
    return tls_certificate_end(cert_pem);
  }
};

}  // namespace

std::string ssl_reason() {
  unsigned long error = ERR_get_error();
  ERR_clear_error();
  const char* text = error ? ERR_reason_error_string(error) : nullptr;
  return text ? text : "unknown reason";
}

void ssl_check(bool ok, const char* what) {
  if (!ok) throw Error(Fault::internal, str("OpenSSL fails at ", what, ": ", ssl_reason()));
}

}  // namespace wellspring

extern "C" const wellspring::TlsLibrary* wellspring_tls_library() {
  static const wellspring::OpensslLibrary library;
  return &library;
}
