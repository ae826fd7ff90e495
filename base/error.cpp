#include "base/error.h"

#include "base/text.h"

namespace wellspring {

void check_failed(const char* file, int line, const char* condition, std::string_view message) {
  std::string_view name = file;
  if (size_t slash = name.rfind('/'); slash != name.npos) {
    size_t before = name.rfind('/', slash - 1);
    name = name.substr(before == name.npos ? 0 : before + 1);
  }
  throw Error(Fault::internal, str("internal error at ", name, ":", line, ": ", message, " (",
                                   condition, " is false)"));
}

}  // namespace wellspring
