// The one file that compiles Boost.Beast.
#include <boost/asio/error.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/buffer_body.hpp>
#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/read.hpp>
#include <boost/beast/http/string_body.hpp>

#include <algorithm>
#include <optional>

#include "base/http_stream.h"
#include "base/text.h"
#include "base/time.h"

namespace wellspring {

namespace http = boost::beast::http;
using boost::system::error_code;

namespace {

// A ByteStream in the form that Beast reads from.
struct Source {
  ByteStream& stream;
  double deadline = 0;
  int64_t left = INT64_MAX;  // bytes that may still come

  template <class Buffers>
  size_t read_some(const Buffers& buffers, error_code& error) {
    for (auto it = boost::asio::buffer_sequence_begin(buffers);
         it != boost::asio::buffer_sequence_end(buffers); ++it) {
      boost::asio::mutable_buffer part = *it;
      if (part.size() == 0) continue;
      if (left <= 0) {
        error = http::error::body_limit;
        return 0;
      }
      long n = stream.read(static_cast<char*>(part.data()), part.size(), deadline);
      if (n > 0) {
        error = {};
        left -= n;
        return static_cast<size_t>(n);
      }
      error = n == ByteStream::kEnd       ? error_code(boost::asio::error::eof)
              : n == ByteStream::kTimeout ? error_code(boost::asio::error::timed_out)
                                          : error_code(boost::asio::error::connection_reset);
      return 0;
    }
    error = {};
    return 0;
  }
  template <class Buffers>
  size_t read_some(const Buffers& buffers) {
    error_code error;
    size_t n = read_some(buffers, error);
    if (error) throw boost::system::system_error(error);
    return n;
  }
};

HttpRead judge(const error_code& error) {
  if (!error) return HttpRead::ok;
  if (error == http::error::end_of_stream) return HttpRead::end;
  if (error == http::error::header_limit || error == http::error::buffer_overflow)
    return HttpRead::header_too_large;
  if (error == http::error::body_limit) return HttpRead::body_too_large;
  if (error == boost::asio::error::timed_out) return HttpRead::timeout;
  if (error == boost::asio::error::connection_reset || error == http::error::partial_message)
    return HttpRead::broken;
  return HttpRead::malformed;
}

template <class Fields>
HttpHeaders copy_headers(const Fields& fields) {
  HttpHeaders out;
  for (const auto& field : fields)
    out.emplace_back(to_lower({field.name_string().data(), field.name_string().size()}),
                     std::string(field.value().data(), field.value().size()));
  return out;
}

HttpHeaders parse_query(std::string_view query) {
  HttpHeaders out;
  if (query.empty()) return out;
  for (const std::string& pair : split(query, '&')) {
    if (pair.empty()) continue;
    size_t equals = pair.find('=');
    out.emplace_back(
        url_decode(std::string_view(pair).substr(0, equals), true),
        equals == pair.npos ? "" : url_decode(std::string_view(pair).substr(equals + 1), true));
  }
  return out;
}

// Request line and headers.
template <class Message>
void take_head(const Message& message, HttpRequest& request) {
  request.method = std::string(message.method_string());
  request.target = std::string(message.target());
  request.headers = copy_headers(message);
  std::string_view target = request.target;
  // "http://host/path" is a legal target, too.
  if (target.starts_with("http://")) {
    size_t slash = target.find('/', 7);
    target = slash == target.npos ? "/" : target.substr(slash);
  }
  target = target.substr(0, target.find('#'));
  size_t mark = target.find('?');
  request.path = url_decode(target.substr(0, mark));
  if (mark != target.npos) request.query = parse_query(target.substr(mark + 1));
}

}  // namespace

struct HttpReader::Impl {
  Source source;
  boost::beast::flat_buffer buffer;
  std::string chunk;  // of an answer's body
};

HttpReader::HttpReader(ByteStream& stream) : impl_(new Impl{{stream}, {}, {}}) {}
HttpReader::~HttpReader() = default;

HttpRead HttpReader::wait(double deadline) {
  if (impl_->buffer.size() > 0) return HttpRead::ok;
  auto room = impl_->buffer.prepare(4096);
  long n = impl_->source.stream.read(static_cast<char*>(room.data()), room.size(), deadline);
  if (n <= 0)
    return n == ByteStream::kEnd       ? HttpRead::end
           : n == ByteStream::kTimeout ? HttpRead::timeout
                                       : HttpRead::broken;
  impl_->buffer.commit(static_cast<size_t>(n));
  return HttpRead::ok;
}

HttpRead HttpReader::request(Request* out, const HttpServerOptions& limits,
                             const std::function<void()>& before_body,
                             const std::function<bool(int64_t)>& may_hold) {
  http::request_parser<http::string_body> parser;
  parser.header_limit(static_cast<uint32_t>(limits.max_header));
  parser.body_limit(static_cast<uint64_t>(limits.max_body));
  error_code error;
  impl_->source.deadline = monotonic_seconds() + limits.header_timeout;
  http::read_header(impl_->source, impl_->buffer, parser, error);
  int64_t most_body = limits.max_body;
  HttpRequest& request = out->request;
  if (!error || error == http::error::body_limit) take_head(parser.get(), request);
  if (!error && limits.body_limit) {
    most_body = std::clamp<int64_t>(limits.body_limit(request), 0, limits.max_body);
    parser.body_limit(static_cast<uint64_t>(most_body));
    // A length that was announced has been judged by the limit before.
    if (parser.content_length_remaining().value_or(0) > static_cast<uint64_t>(most_body))
      error = http::error::body_limit;
  }
  if (!error && !parser.is_done() &&
      !may_hold(static_cast<int64_t>(
          parser.content_length_remaining().value_or(static_cast<uint64_t>(most_body)))))
    return HttpRead::no_room;
  if (!error) {
    auto expect = parser.get()[http::field::expect];
    if (!parser.is_done() && boost::beast::iequals(expect, "100-continue")) before_body();
    impl_->source.deadline = monotonic_seconds() + limits.body_timeout;
    // Bounds what is no body: chunk headers, their extensions, trailers.
    impl_->source.left = limits.max_header + 2 * most_body + (1 << 16);
    http::read(impl_->source, impl_->buffer, parser, error);
  }
  impl_->source.left = INT64_MAX;
  if (error) {
    const HttpRead judged = judge(error);
    out->reason = judged == HttpRead::body_too_large ? std::to_string(most_body) : error.message();
    return judged;
  }
  auto& message = parser.get();
  request.body = std::move(message.body());
  out->keep_alive = message.keep_alive();
  out->http10 = message.version() < 11;
  if (!out->http10 && request.header("host").empty() &&
      message.find(http::field::host) == message.end()) {
    out->reason = "no Host header";
    return HttpRead::malformed;
  }
  return HttpRead::ok;
}

HttpRead HttpReader::response(Response* out, bool head, const HttpClientOptions& limits,
                              const std::function<bool(std::string_view)>& on_chunk) {
  error_code error;
  auto fail = [&] {
    out->reason = error.message();
    return judge(error);
  };
  auto deadline = [&] { return monotonic_seconds() + limits.read_timeout; };
  HttpRead first = wait(deadline());
  if (first != HttpRead::ok) return first;
  out->begun = true;
  std::optional<http::response_parser<http::buffer_body>> parser;
  do {  // answers like "100 Continue" are none
    parser.emplace();
    parser->header_limit(1 << 16);
    parser->body_limit(static_cast<uint64_t>(limits.max_body));
    parser->skip(head);
    impl_->source.deadline = deadline();
    http::read_header(impl_->source, impl_->buffer, *parser, error);
    if (error) return fail();
    out->result.status = static_cast<int>(parser->get().result_int());
  } while (out->result.status < 200 && out->result.status != 101);
  out->result.headers = copy_headers(parser->get());
  std::string& chunk = impl_->chunk;
  if (!parser->is_done() && chunk.empty()) chunk.resize(1 << 16);
  while (!parser->is_done()) {
    parser->get().body().data = chunk.data();
    parser->get().body().size = chunk.size();
    impl_->source.deadline = deadline();
    http::read_some(impl_->source, impl_->buffer, *parser, error);
    if (error && error != http::error::need_buffer) return fail();
    size_t n = chunk.size() - parser->get().body().size;
    if (n > 0 && !on_chunk(std::string_view(chunk).substr(0, n))) return HttpRead::ok;
  }
  out->keep_alive = parser->get().keep_alive();
  return HttpRead::ok;
}

std::string HttpReader::take_rest() {
  auto& buffer = impl_->buffer;
  std::string rest(static_cast<const char*>(buffer.data().data()), buffer.size());
  buffer.consume(buffer.size());
  return rest;
}

const char* http_reason(int status) {
  return http::obsolete_reason(static_cast<http::status>(status)).data();
}

}  // namespace wellspring
