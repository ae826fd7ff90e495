#pragma once

namespace wellspring {

/// "0.1.0"
const char* version();

}  // namespace wellspring
