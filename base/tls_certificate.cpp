// Certificates: reading, making, issuing.
#include <arpa/inet.h>
#include <openssl/ec.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include "base/error.h"
#include "base/text.h"
#include "base/time.h"
#include "base/tls_parts.h"

namespace wellspring {
namespace {

SslPointer<BIO> memory(const std::string& text) {
  SslPointer<BIO> out(BIO_new_mem_buf(text.data(), static_cast<int>(text.size())));
  ssl_check(out != nullptr, "a buffer");
  return out;
}

std::string content(BIO* bio) {
  char* data = nullptr;
  long size = BIO_get_mem_data(bio, &data);
  return std::string(data, static_cast<size_t>(size));
}

std::string to_pem(X509* certificate) {
  SslPointer<BIO> out(BIO_new(BIO_s_mem()));
  ssl_check(out && PEM_write_bio_X509(out.get(), certificate) == 1, "a certificate's text");
  return content(out.get());
}

std::string to_pem(EVP_PKEY* key) {
  SslPointer<BIO> out(BIO_new(BIO_s_mem()));
  ssl_check(
      out && PEM_write_bio_PrivateKey(out.get(), key, nullptr, nullptr, 0, nullptr, nullptr) == 1,
      "a key's text");
  return content(out.get());
}

void extend(X509* certificate, X509* issuer, int what, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, what, value);
  bool ok = extension && X509_add_ext(certificate, extension, -1) == 1;
  X509_EXTENSION_free(extension);
  ssl_check(ok, "an extension");
}

void name_it(X509_NAME* name, const std::string& common_name) {
  if (X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                 reinterpret_cast<const unsigned char*>(common_name.data()),
                                 static_cast<int>(common_name.size()), -1, 0) != 1) {
    ERR_clear_error();
    throw Error(Fault::usage, str("'", common_name, "' is no name for a certificate: use 1 to 64 ",
                                  "characters"));
  }
}

// Key, serial number, dates and public key of a new certificate.
SslPointer<X509> begin_certificate(EVP_PKEY* key, int64_t starts, int days) {
  if (days < 1 || days > 36500)
    throw Error(Fault::usage, str("a certificate for ", days, " days: use 1 to 36500"));
  SslPointer<X509> out(X509_new());
  unsigned char serial[16];
  ssl_check(out && RAND_bytes(serial, sizeof serial) == 1, "a certificate");
  serial[0] = static_cast<unsigned char>((serial[0] & 0x7f) | 0x40);  // positive, of full length
  BIGNUM* number = BN_bin2bn(serial, sizeof serial, nullptr);
  bool ok = number && BN_to_ASN1_INTEGER(number, X509_get_serialNumber(out.get()));
  BN_free(number);
  ssl_check(ok && X509_set_version(out.get(), 2) == 1 &&
                ASN1_TIME_set(X509_getm_notBefore(out.get()), static_cast<time_t>(starts)) &&
                ASN1_TIME_set(X509_getm_notAfter(out.get()),
                              static_cast<time_t>(starts + int64_t{86400} * days)) &&
                X509_set_pubkey(out.get(), key) == 1,
            "a certificate");
  return out;
}

int64_t an_hour_ago() { return static_cast<int64_t>(unix_seconds()) - 3600; }

SslPointer<EVP_PKEY> new_key() {
  SslPointer<EVP_PKEY> key(EVP_EC_gen("P-256"));
  ssl_check(key != nullptr, "a P-256 key");
  return key;
}

void add_alternative(GENERAL_NAMES* to, const std::string& name) {
  unsigned char address[sizeof(in6_addr)];
  GENERAL_NAME* one = GENERAL_NAME_new();
  ssl_check(one && sk_GENERAL_NAME_push(to, one), "a name");
  if (::inet_pton(AF_INET, name.c_str(), address) == 1 ||
      ::inet_pton(AF_INET6, name.c_str(), address) == 1) {
    ASN1_OCTET_STRING* bytes = a2i_IPADDRESS(name.c_str());
    ssl_check(bytes != nullptr, "an address");
    GENERAL_NAME_set0_value(one, GEN_IPADD, bytes);
    return;
  }
  constexpr std::string_view kAllowed =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_*";
  if (name.empty() || name.size() > 253 || name.find_first_not_of(kAllowed) != name.npos ||
      name.find('*', 1) != name.npos || (name[0] == '*' && !starts_with(name, "*.")))
    throw Error(Fault::usage, str("'", name, "' is neither a host name nor an IP address"));
  ASN1_IA5STRING* text = ASN1_IA5STRING_new();
  ssl_check(text && ASN1_STRING_set(text, name.data(), static_cast<int>(name.size())) == 1,
            "a name");
  GENERAL_NAME_set0_value(one, GEN_DNS, text);
}

}  // namespace

std::vector<SslPointer<X509>> read_certificates(const std::string& pem) {
  auto bio = memory(pem);
  std::vector<SslPointer<X509>> out;
  while (X509* one = PEM_read_bio_X509(bio.get(), nullptr, nullptr, nullptr)) out.emplace_back(one);
  unsigned long end = ERR_peek_last_error();
  if (ERR_GET_REASON(end) != PEM_R_NO_START_LINE || out.empty())
    throw Error(Fault::data, str("not a PEM text of certificates: ",
                                 out.empty() && ERR_GET_REASON(end) == PEM_R_NO_START_LINE
                                     ? "no line '-----BEGIN CERTIFICATE-----'"
                                     : ssl_reason()));
  ERR_clear_error();
  return out;
}

SslPointer<EVP_PKEY> read_key(const std::string& pem) {
  auto bio = memory(pem);
  // Without a callback OpenSSL would ask on the terminal for the password of an encrypted key.
  auto none = [](char*, int, int, void*) { return -1; };
  SslPointer<EVP_PKEY> key(PEM_read_bio_PrivateKey(bio.get(), nullptr, none, nullptr));
  if (!key)
    throw Error(Fault::data,
                str("not a PEM text of a private key without a password: ", ssl_reason()));
  return key;
}

std::string certificate_digest(const X509* certificate) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  ssl_check(X509_digest(certificate, EVP_sha256(), digest, &size) == 1, "a fingerprint");
  return hex({reinterpret_cast<const char*>(digest), size});
}

Certificate tls_make_ca(const std::string& common_name, int days) {
  auto key = new_key();
  auto certificate = begin_certificate(key.get(), an_hour_ago(), days);
  X509* x = certificate.get();
  name_it(X509_get_subject_name(x), common_name);
  ssl_check(X509_set_issuer_name(x, X509_get_subject_name(x)) == 1, "a CA");
  extend(x, x, NID_basic_constraints, "critical,CA:TRUE,pathlen:0");
  extend(x, x, NID_key_usage, "critical,keyCertSign,cRLSign");
  extend(x, x, NID_subject_key_identifier, "hash");
  ssl_check(X509_sign(x, key.get(), EVP_sha256()) > 0, "a CA");
  return {to_pem(x), to_pem(key.get())};
}

Certificate tls_issue(const Certificate& ca, const std::vector<std::string>& names, int days,
                      std::optional<int64_t> starts) {
  if (names.empty()) throw Error(Fault::usage, "a certificate needs a name or address");
  auto ca_certificate = std::move(read_certificates(ca.cert_pem)[0]);
  auto ca_key = read_key(ca.key_pem);
  if (X509_check_ca(ca_certificate.get()) != 1)
    throw Error(Fault::data, "the certificate that shall sign is not a CA's");
  if (X509_check_private_key(ca_certificate.get(), ca_key.get()) != 1) {
    ERR_clear_error();
    throw Error(Fault::data, "the CA's key does not belong to its certificate");
  }
  auto key = new_key();
  auto certificate = begin_certificate(key.get(), starts.value_or(an_hour_ago()), days);
  X509* x = certificate.get();
  name_it(X509_get_subject_name(x), names[0].substr(0, 64));
  ssl_check(X509_set_issuer_name(x, X509_get_subject_name(ca_certificate.get())) == 1,
            "a certificate");
  extend(x, ca_certificate.get(), NID_basic_constraints, "critical,CA:FALSE");
  extend(x, ca_certificate.get(), NID_key_usage, "critical,digitalSignature");
  extend(x, ca_certificate.get(), NID_ext_key_usage, "serverAuth");
  extend(x, ca_certificate.get(), NID_subject_key_identifier, "hash");
  extend(x, ca_certificate.get(), NID_authority_key_identifier, "keyid");
  auto drop = [](GENERAL_NAMES* p) { GENERAL_NAMES_free(p); };
  std::unique_ptr<GENERAL_NAMES, decltype(drop)> all(sk_GENERAL_NAME_new_null(), drop);
  ssl_check(all != nullptr, "names");
  for (const std::string& name : names) add_alternative(all.get(), name);
  ssl_check(X509_add1_ext_i2d(x, NID_subject_alt_name, all.get(), 0, X509V3_ADD_DEFAULT) == 1,
            "names");
  ssl_check(X509_sign(x, ca_key.get(), EVP_sha256()) > 0, "a certificate");
  return {to_pem(x) + to_pem(ca_certificate.get()), to_pem(key.get())};
}

int64_t tls_certificate_end(const std::string& cert_pem) {
  auto certificate = std::move(read_certificates(cert_pem)[0]);
  tm when{};
  ssl_check(ASN1_TIME_to_tm(X509_get0_notAfter(certificate.get()), &when) == 1, "a date");
  return static_cast<int64_t>(::timegm(&when));
}

}  // namespace wellspring
