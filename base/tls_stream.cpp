// TLS by OpenSSL: contexts, and a connection's bytes.
#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/text.h"
#include "base/time.h"
#include "base/tls_parts.h"

namespace wellspring {
namespace {

int fd_of(BIO* bio) { return static_cast<int>(reinterpret_cast<intptr_t>(BIO_get_data(bio))); }

// OpenSSL's own socket BIO writes so that a broken connection raises SIGPIPE.
BIO_METHOD* quiet_socket_method() {
  static BIO_METHOD* method = [] {
    BIO_METHOD* m = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "wellspring socket");
    ssl_check(m != nullptr, "a TLS connection");
    BIO_meth_set_read(m, [](BIO* bio, char* to, int size) {
      auto n = ::recv(fd_of(bio), to, static_cast<size_t>(size), MSG_DONTWAIT);
      BIO_clear_retry_flags(bio);
      if (n < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_read(bio);
      if (n == 0) BIO_set_flags(bio, BIO_FLAGS_IN_EOF);
      return static_cast<int>(n);
    });
    BIO_meth_set_write(m, [](BIO* bio, const char* from, int size) {
      auto n = ::send(fd_of(bio), from, static_cast<size_t>(size), MSG_DONTWAIT | MSG_NOSIGNAL);
      BIO_clear_retry_flags(bio);
      if (n < 0 && (errno == EAGAIN || errno == EINTR)) BIO_set_retry_write(bio);
      return static_cast<int>(n);
    });
    BIO_meth_set_ctrl(m, [](BIO* bio, int what, long, void*) -> long {
      if (what == BIO_CTRL_EOF) return BIO_test_flags(bio, BIO_FLAGS_IN_EOF) != 0;
      return what == BIO_CTRL_FLUSH;
    });
    return m;
  }();
  return method;
}

bool set_socket(SSL* ssl, int fd) {
  BIO* bio = BIO_new(quiet_socket_method());
  if (!bio) return false;
  BIO_set_data(bio, reinterpret_cast<void*>(static_cast<intptr_t>(fd)));
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl, bio, bio);
  return true;
}

// An SSL object is for one thread at a time, and a connection has a reader and a writer. The mutex
// is held during one call, which never waits, and not while the socket is waited for.
class TlsStream : public ByteStream {
 public:
  TlsStream(SslPointer<SSL> ssl, int fd) : ssl_(std::move(ssl)), fd_(fd) {}

  long read(char* to, size_t size, double deadline) override {
    while (true) {
      size_t n = 0;
      Outcome outcome = attempt([&] { return SSL_read_ex(ssl_.get(), to, size, &n); });
      if (outcome == Outcome::done) {
        received += static_cast<int64_t>(n);
        return static_cast<long>(n);
      }
      if (outcome == Outcome::end)
        // An end that the other side did not announce may be somebody else's cut.
        return reading_ended_ || !BIO_eof(SSL_get_rbio(ssl_.get())) ? kEnd : kBroken;
      if (outcome == Outcome::broken) return kBroken;
      if (!wait(outcome, deadline)) return kTimeout;
    }
  }

  bool write(std::string_view bytes, double timeout) override {
    double start = -1;
    size_t moved = 0;
    while (moved < bytes.size()) {
      size_t n = 0;
      // Partial writes are on: one call brings one record away, then the reader may have its turn.
      Outcome outcome = attempt([&] {
        int ok = SSL_write_ex(ssl_.get(), bytes.data() + moved, bytes.size() - moved, &n);
        half_written_ = ok != 1;
        return ok;
      });
      moved += n;
      if (outcome == Outcome::done) continue;
      if (outcome == Outcome::end || outcome == Outcome::broken) return false;
      if (start < 0) start = monotonic_seconds();
      if (outcome == Outcome::wants_write) {
        if (!wait_to_write(*this, start, moved, timeout, POLLOUT)) return false;
      } else {
        // What a write wants to read may be taken by the reader, so that wait is short.
        if (monotonic_seconds() > start + timeout) return false;
        wait(outcome, monotonic_seconds() + 0.05);
      }
    }
    return true;
  }

  bool gone() const override { return SocketStream(fd_).gone(); }
  void shutdown() override {
    say_goodbye();
    ::shutdown(fd_, SHUT_RDWR);
  }
  void finish() override {
    say_goodbye();
    ::shutdown(fd_, SHUT_WR);
  }
  void end_reading() override {
    reading_ended_ = true;
    ::shutdown(fd_, SHUT_RD);
  }
  int descriptor() const override { return fd_; }
  bool buffered() const override {
    std::lock_guard lock(mutex_);
    return SSL_pending(ssl_.get()) > 0;
  }

 private:
  enum class Outcome { done, wants_read, wants_write, end, broken };

  template <class Call>
  Outcome attempt(const Call& call) {
    std::lock_guard lock(mutex_);
    if (failed_) return Outcome::broken;
    ERR_clear_error();
    errno = 0;
    int result = call();
    if (result == 1) return Outcome::done;
    switch (SSL_get_error(ssl_.get(), result)) {
      case SSL_ERROR_WANT_READ:
        return Outcome::wants_read;
      case SSL_ERROR_WANT_WRITE:
        return Outcome::wants_write;
      case SSL_ERROR_ZERO_RETURN:
        return Outcome::end;
      default:
        failed_ = true;
        ERR_clear_error();
        return Outcome::broken;
    }
  }

  bool wait(Outcome outcome, double deadline) {
    return wait_for_socket(fd_, outcome == Outcome::wants_write ? POLLOUT : POLLIN, deadline);
  }

  // Tells the other side that this end is meant. Not into the middle of a record.
  void say_goodbye() {
    std::lock_guard lock(mutex_);
    if (failed_ || half_written_ || said_goodbye_) return;
    said_goodbye_ = true;
    ERR_clear_error();
    SSL_shutdown(ssl_.get());
    ERR_clear_error();
  }

  mutable std::mutex mutex_;
  SslPointer<SSL> ssl_;
  int fd_;
  std::atomic<bool> reading_ended_{false};
  bool failed_ = false, half_written_ = false, said_goodbye_ = false;
};

// The one certificate that a fingerprint trusts has to be in the chain that the server sent; then
// the chain is verified against that one alone.
int verify_pinned(X509_STORE_CTX* store, void* argument) {
  const std::string& fingerprint = *static_cast<const std::string*>(argument);
  STACK_OF(X509)* sent = X509_STORE_CTX_get0_untrusted(store);
  X509* pinned = nullptr;
  for (int i = 0; i < sk_X509_num(sent); ++i)
    if (certificate_digest(sk_X509_value(sent, i)) == fingerprint) pinned = sk_X509_value(sent, i);
  if (!pinned) {
    X509_STORE_CTX_set_error(store, X509_V_ERR_APPLICATION_VERIFICATION);
    return 0;
  }
  STACK_OF(X509)* trusted = sk_X509_new_null();
  if (!trusted || !sk_X509_push(trusted, pinned)) {
    sk_X509_free(trusted);
    X509_STORE_CTX_set_error(store, X509_V_ERR_OUT_OF_MEM);
    return 0;
  }
  X509_STORE_CTX_set0_trusted_stack(store, trusted);
  int ok = X509_verify_cert(store);
  X509_STORE_CTX_set0_trusted_stack(store, nullptr);
  sk_X509_free(trusted);
  return ok;
}

class OpensslContext : public TlsContext {
 public:
  explicit OpensslContext(bool server) : server_(server) {
    context_.reset(SSL_CTX_new(server ? TLS_server_method() : TLS_client_method()));
    ssl_check(context_ != nullptr, "a TLS context");
    SSL_CTX_set_min_proto_version(context_.get(), TLS1_2_VERSION);
    SSL_CTX_set_options(context_.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION |
                                            SSL_OP_CIPHER_SERVER_PREFERENCE);
    // It shall not break the other direction; read() tells such an end from an announced one.
    SSL_CTX_set_options(context_.get(), SSL_OP_IGNORE_UNEXPECTED_EOF);
    SSL_CTX_set_mode(context_.get(), SSL_MODE_ENABLE_PARTIAL_WRITE |
                                         SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                         SSL_MODE_RELEASE_BUFFERS);
    // Connections last; sessions that could be resumed would be for nothing.
    SSL_CTX_set_session_cache_mode(context_.get(), SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(context_.get(), 0);
    SSL_CTX_set_options(context_.get(), SSL_OP_NO_TICKET);
  }

  void own(const std::string& certificate_pem, const std::string& key_pem) {
    auto chain = read_certificates(certificate_pem);
    if (SSL_CTX_use_certificate(context_.get(), chain[0].get()) != 1)
      throw Error(Fault::config, str("the server's certificate cannot be used: ", ssl_reason()));
    for (size_t i = 1; i < chain.size(); ++i)
      ssl_check(SSL_CTX_add1_chain_cert(context_.get(), chain[i].get()) == 1, "the chain");
    auto key = read_key(key_pem);
    if (SSL_CTX_use_PrivateKey(context_.get(), key.get()) != 1 ||
        SSL_CTX_check_private_key(context_.get()) != 1)
      throw Error(Fault::config, "the server's key does not belong to its certificate");
    ERR_clear_error();
  }

  void trust(const std::string& ca_pem, const std::string& fingerprint) {
    SSL_CTX_set_verify(context_.get(), SSL_VERIFY_PEER, nullptr);
    if (!ca_pem.empty()) {
      X509_STORE* store = SSL_CTX_get_cert_store(context_.get());
      for (const auto& certificate : read_certificates(ca_pem))
        ssl_check(X509_STORE_add_cert(store, certificate.get()) == 1, "the CA");
    } else if (fingerprint.empty()) {
      SSL_CTX_set_default_verify_paths(context_.get());
    }
    if (fingerprint.empty()) return;
    fingerprint_ = fingerprint;
    SSL_CTX_set_cert_verify_callback(context_.get(), verify_pinned, &fingerprint_);
  }

  std::unique_ptr<ByteStream> open(int fd, const std::string& host, double deadline) override {
    SslPointer<SSL> ssl(SSL_new(context_.get()));
    ssl_check(ssl && set_socket(ssl.get(), fd), "a TLS connection");
    if (!server_) expect(ssl.get(), host);
    while (true) {
      ERR_clear_error();
      errno = 0;
      int result = server_ ? SSL_accept(ssl.get()) : SSL_connect(ssl.get());
      if (result == 1) break;
      int error = SSL_get_error(ssl.get(), result);
      if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
        throw Error(Fault::io, reason(ssl.get(), host));
      if (!wait_for_socket(fd, error == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, deadline))
        throw Error(Fault::io, "no TLS handshake in time");
    }
    return std::make_unique<TlsStream>(std::move(ssl), fd);
  }

 private:
  // The name or address that the other side's certificate has to hold.
  void expect(SSL* ssl, const std::string& host) const {
    X509_VERIFY_PARAM* rules = SSL_get0_param(ssl);
    X509_VERIFY_PARAM_set_hostflags(
        rules, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS | X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    unsigned char address[sizeof(in6_addr)];
    bool number = ::inet_pton(AF_INET, host.c_str(), address) == 1 ||
                  ::inet_pton(AF_INET6, host.c_str(), address) == 1;
    bool ok = number ? X509_VERIFY_PARAM_set1_ip_asc(rules, host.c_str()) == 1
                     : X509_VERIFY_PARAM_set1_host(rules, host.c_str(), host.size()) == 1 &&
                           SSL_set_tlsext_host_name(ssl, host.c_str()) == 1;
    if (!ok) throw Error(Fault::io, str("'", host, "' is no host name"));
  }

  std::string reason(SSL* ssl, const std::string& host) const {
    unsigned long error = ERR_peek_error();
    long verified = SSL_get_verify_result(ssl);
    if (!server_ && verified != X509_V_OK) {
      ERR_clear_error();
      if (verified == X509_V_ERR_HOSTNAME_MISMATCH || verified == X509_V_ERR_IP_ADDRESS_MISMATCH)
        return str("the server's certificate is not for '", host, "'");
      if (verified == X509_V_ERR_CERT_HAS_EXPIRED) return "the server's certificate has expired";
      if (verified == X509_V_ERR_APPLICATION_VERIFICATION)
        return str("the server's certificate chain holds no CA with the fingerprint ", fingerprint_,
                   ": it is another server, or its CA was made anew");
      return str("the server's certificate is not to be trusted: ",
                 X509_verify_cert_error_string(verified));
    }
    if (error == 0) return "the connection broke off in the TLS handshake";
    int code = ERR_GET_REASON(error);
    if (!server_ && (code == SSL_R_WRONG_VERSION_NUMBER || code == SSL_R_PACKET_LENGTH_TOO_LONG ||
                     code == SSL_R_HTTP_REQUEST)) {
      ERR_clear_error();
      return "it does not speak TLS on this port: use http://";
    }
    if (code == SSL_R_UNEXPECTED_EOF_WHILE_READING) {
      ERR_clear_error();
      return "the connection broke off in the TLS handshake";
    }
    return str("the TLS handshake failed: ", ssl_reason());
  }

  bool server_;
  SslPointer<SSL_CTX> context_;
  std::string fingerprint_;
};

}  // namespace

std::unique_ptr<TlsContext> tls_server(const std::string& certificate_pem,
                                       const std::string& key_pem) {
  auto context = std::make_unique<OpensslContext>(true);
  context->own(certificate_pem, key_pem);
  return context;
}

std::unique_ptr<TlsContext> tls_client(const std::string& ca_pem, const std::string& fingerprint) {
  auto context = std::make_unique<OpensslContext>(false);
  context->trust(ca_pem, fingerprint);
  return context;
}

}  // namespace wellspring
