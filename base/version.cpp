#include "base/version.h"

namespace wellspring {

const char* version() { return WELLSPRING_VERSION; }

}  // namespace wellspring
