#include "base/crypto.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/file.h"
#include "base/process.h"
#include "base/test_error.h"
#include "base/text.h"
#include "base/time.h"

namespace wellspring {
namespace {

TEST(Crypto, HexAndRandom) {
  EXPECT_EQ(hex(std::string_view("\x00\x7f\xff", 3)), "007fff");
  EXPECT_EQ(unhex("007FfF"), std::string("\x00\x7f\xff", 3));
  EXPECT_FALSE(unhex("0"));
  EXPECT_FALSE(unhex("0g"));
  EXPECT_EQ(random_bytes(0), "");
  EXPECT_EQ(random_bytes(33).size(), 33u);
  EXPECT_NE(random_bytes(16), random_bytes(16));
}

TEST(Crypto, Sha256) {
  // FIPS 180-4's examples, RFC 4231's second case.
  EXPECT_EQ(hex(sha256("abc")), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(hex(sha256("")), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  Sha256 hash;
  hash.add("a");
  hash.add("");
  hash.add("bc");
  EXPECT_EQ(hash.finish(), sha256("abc"));
  TemporaryFolder folder;
  std::string path = join_path(folder.path(), "f");
  write_file_atomic(path, std::string(100000, 'q'));
  EXPECT_EQ(sha256_file(path), sha256(std::string(100000, 'q')));
  write_file_atomic(path, "");
  EXPECT_EQ(sha256_file(path), sha256(""));
  EXPECT_NE(error_of([&] { sha256_file(path + "no"); }, Fault::io).find(path + "no"),
            std::string::npos);
  EXPECT_EQ(hex(hmac_sha256("Jefe", "what do ya want for nothing?")),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
  EXPECT_EQ(hex(hmac_sha256("", "")),
            "b613679a0814d9ec772f95d778c35fc5ff1697c493715653c6c712144292c5ad");
}

TEST(Crypto, EqualSecret) {
  EXPECT_TRUE(equal_secret("", ""));
  EXPECT_TRUE(equal_secret("abc", "abc"));
  EXPECT_FALSE(equal_secret("abc", "abd"));
  EXPECT_FALSE(equal_secret("abc", "ab"));
}

TEST(Crypto, SealNoticesEveryChange) {
  std::string key = random_bytes(32);
  for (const std::string& text : {std::string(), std::string("secret"), std::string(10000, 's')}) {
    std::string sealed = seal(key, text, "team a");
    EXPECT_EQ(sealed.size(), text.size() + 28);
    EXPECT_EQ(unseal(key, sealed, "team a"), text);
    EXPECT_FALSE(unseal(key, sealed, "team b"));
    EXPECT_FALSE(unseal(random_bytes(32), sealed, "team a"));
    EXPECT_NE(seal(key, text, "team a"), sealed);
  }
  std::string sealed = seal(key, "secret");
  for (size_t i = 0; i < sealed.size(); ++i) {
    std::string changed = sealed;
    changed[i] ^= 1;
    EXPECT_FALSE(unseal(key, changed)) << i;
    EXPECT_FALSE(unseal(key, sealed.substr(0, i))) << i;
  }
  EXPECT_THROW(seal("short", "x"), Error);
}

TEST(Crypto, Certificates) {
  Certificate ca = make_ca("Wellspring of tests");
  Certificate own = issue_certificate(ca, {"node.example", "*.in.example", "127.0.0.1", "::1"}, 30);
  EXPECT_EQ(fingerprint(ca.cert_pem).size(), 64u);
  EXPECT_NE(fingerprint(own.cert_pem), fingerprint(ca.cert_pem));
  EXPECT_NEAR(static_cast<double>(certificate_end(own.cert_pem)),
              unix_seconds() - 3600 + 30 * 86400, 10);
  // The system's own program agrees.
  TemporaryFolder folder;
  std::string ca_path = join_path(folder.path(), "ca.pem"),
              path = join_path(folder.path(), "c.pem");
  write_file_atomic(ca_path, ca.cert_pem);
  write_file_atomic(path, own.cert_pem);
  auto openssl = [](std::vector<std::string> words) {
    words.insert(words.begin(), "openssl");
    ProcessResult r = run_process(words);
    EXPECT_EQ(r.status, 0) << r.error;
    return r.output;
  };
  if (run_process({"sh", "-c", "command -v openssl"}).status != 0)
    GTEST_SKIP() << "no openssl program";
  openssl({"verify", "-CAfile", ca_path, "-x509_strict", path});
  openssl({"verify", "-CAfile", ca_path, "-purpose", "sslserver", "-verify_ip", "::1", path});
  openssl({"verify", "-CAfile", ca_path, "-verify_hostname", "a.in.example", path});
  std::string print = openssl({"x509", "-in", path, "-noout", "-fingerprint", "-sha256"});
  std::string digits;
  for (char c : print.substr(print.find('=') + 1))
    if (c != ':' && c != '\n') digits += c;
  EXPECT_EQ(to_lower(digits), fingerprint(own.cert_pem));
}

TEST(Crypto, CertificateErrors) {
  Certificate ca = make_ca("CA"), other = make_ca("CA");
  Certificate own = issue_certificate(ca, {"a"}, 1);
  auto issue = [](const Certificate& by, const std::string& name, int days = 1) {
    return [=] { issue_certificate(by, {name}, days); };
  };
  EXPECT_EQ(error_of(issue(ca, "a b")), "'a b' is neither a host name nor an IP address");
  EXPECT_EQ(error_of(issue(ca, "a*")), "'a*' is neither a host name nor an IP address");
  EXPECT_EQ(error_of(issue(ca, "a,DNS:b")), "'a,DNS:b' is neither a host name nor an IP address");
  EXPECT_EQ(error_of(issue(ca, "a", 0)), "a certificate for 0 days: use 1 to 36500");
  EXPECT_EQ(error_of([&] { issue_certificate(ca, {}, 1); }),
            "a certificate needs a name or address");
  EXPECT_EQ(error_of(issue(own, "a"), Fault::data),
            "the certificate that shall sign is not a CA's");
  EXPECT_EQ(error_of(issue({ca.cert_pem, other.key_pem}, "a"), Fault::data),
            "the CA's key does not belong to its certificate");
  EXPECT_EQ(error_of([] { fingerprint("nothing"); }, Fault::data),
            "not a PEM text of certificates: no line '-----BEGIN CERTIFICATE-----'");
  error_of([&] { fingerprint(ca.cert_pem.substr(0, 200)); }, Fault::data);
  error_of([] { make_ca(std::string(65, 'x')); });
  error_of([] { make_ca(""); });
}

}  // namespace
}  // namespace wellspring
