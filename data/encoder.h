#pragma once
// What `wellspring data prepare --tokenizer` may name.

#include <string>

#include "data/prepare.h"

namespace wellspring {

/// "bytes": token = byte, 256 ends a document, vocabulary of 257. For models without a tokenizer.
Encoder byte_encoder();
/// "bytes", or a tokenizer.json or a folder that holds one. Errors name the file.
Encoder load_encoder(const std::string& name);

}  // namespace wellspring
