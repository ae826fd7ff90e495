// Upgraded connections: the two-way bytes themselves.
#include <algorithm>
#include <cstring>

#include "base/http_stream.h"
#include "base/time.h"

namespace wellspring {

HttpDuplex::Impl::~Impl() { detach(); }

void HttpDuplex::Impl::close() {
  std::lock_guard lock(life);
  if (!closed.exchange(true) && stream) stream->shutdown();
}

void HttpDuplex::Impl::detach() {
  {
    // When nobody waits in it, the connection may still end politely.
    std::unique_lock read(reading, std::try_to_lock), write(writing, std::try_to_lock);
    if (read.owns_lock() && write.owns_lock()) closed = true;
  }
  close();
  std::scoped_lock all(reading, writing, life);
  stream = nullptr;
}

HttpDuplex::HttpDuplex(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
HttpDuplex::~HttpDuplex() {
  if (impl_->owned && !impl_->closed) impl_->owned->finish();
}

long HttpDuplex::read(char* to, size_t size, double timeout) {
  std::lock_guard lock(impl_->reading);
  if (!impl_->stream || impl_->closed) return kEnd;
  if (impl_->taken < impl_->rest.size()) {
    size_t n = std::min(size, impl_->rest.size() - impl_->taken);
    std::memcpy(to, impl_->rest.data() + impl_->taken, n);
    impl_->taken += n;
    return static_cast<long>(n);
  }
  long n = impl_->stream->read(to, size, monotonic_seconds() + timeout);
  return n < 0 && n != kTimeout && impl_->closed ? kEnd : n;
}

bool HttpDuplex::write(std::string_view bytes) {
  std::lock_guard lock(impl_->writing);
  if (!impl_->stream || impl_->closed || impl_->write_failed) return false;
  impl_->write_failed = !impl_->stream->write(bytes, impl_->write_timeout);
  if (impl_->write_failed) impl_->stream->end_reading();  // what came before is still worth reading
  return !impl_->write_failed;
}

void HttpDuplex::close() { impl_->close(); }

int HttpDuplex::descriptor() const {
  std::lock_guard lock(impl_->life);
  return impl_->stream ? impl_->stream->descriptor() : -1;
}

bool HttpDuplex::buffered() const {
  std::lock_guard lock(impl_->reading);
  return impl_->taken < impl_->rest.size() || (impl_->stream && impl_->stream->buffered());
}

const std::string& HttpDuplex::peer() const { return impl_->peer; }

}  // namespace wellspring
