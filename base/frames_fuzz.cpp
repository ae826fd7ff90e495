// Any bytes in any pieces as frames: the same frames as in one piece, and what comes out makes the
// bytes that went in.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/error.h"
#include "base/frames.h"

using namespace wellspring;

namespace {

// The frames' bytes again; `piece` 0: all at once.
std::string through(std::string_view bytes, size_t piece, bool* refused) {
  FrameParser parser(1000);
  std::string out;
  try {
    for (size_t at = 0; at < bytes.size();) {
      size_t n = std::min(piece ? piece : bytes.size(), bytes.size() - at);
      parser.feed(bytes.substr(at, n));
      at += n;
      while (auto frame = parser.next()) {
        if (frame->payload.size() > 1000) std::abort();
        append_frame(out, frame->type, frame->channel, frame->payload);
      }
    }
    if (out.size() + parser.pending() != bytes.size()) std::abort();
  } catch (const Error& e) {
    if (e.fault() != Fault::data) std::abort();
    *refused = true;
  }
  if (out != bytes.substr(0, out.size())) std::abort();
  return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  std::string_view bytes(reinterpret_cast<const char*>(data) + 1, size - 1);
  bool refused = false, refused_too = false;
  std::string whole = through(bytes, 0, &refused);
  if (through(bytes, 1 + data[0] % 32, &refused_too) != whole || refused != refused_too)
    std::abort();
  return 0;
}
