#include "data/encoder.h"

#include "base/error.h"
#include "base/text.h"

namespace wellspring {

Encoder byte_encoder() {
  return {[](std::string_view s, std::vector<int32_t>& out) {
            out.reserve(out.size() + s.size());
            for (char c : s) out.push_back(static_cast<unsigned char>(c));
          },
          257, 256, hash128("bytes"), "bytes"};
}

Encoder load_encoder(const std::string& name) {
  if (name == "bytes") return byte_encoder();
  throw Error(Fault::missing, str("cannot load tokenizer ", name,
                                  ": this build holds no text/. Use ", "--tokenizer bytes"));
}

}  // namespace wellspring
