#include "data/charset.h"

#include <iconv.h>

#include <cerrno>

#include "base/text.h"

namespace wellspring {

bool to_utf8(std::string_view bytes, const std::string& charset, std::string* out) {
  std::string name = to_lower(charset);
  // Browsers read these labels as their supersets.
  if (name == "iso-8859-1" || name == "latin1" || name == "us-ascii") name = "windows-1252";
  if (name == "gb2312" || name == "gbk") name = "gb18030";
  if (name == "utf-8" || name == "utf8" || name.empty() || name.size() > 40) return false;
  iconv_t converter = ::iconv_open("UTF-8", name.c_str());
  if (converter == reinterpret_cast<iconv_t>(-1)) return false;
  char* in = const_cast<char*>(bytes.data());
  size_t left = bytes.size();
  char buffer[4096];
  while (left > 0) {
    char* to = buffer;
    size_t room = sizeof(buffer);
    size_t rc = ::iconv(converter, &in, &left, &to, &room);
    out->append(buffer, sizeof(buffer) - room);
    if (rc == static_cast<size_t>(-1) && errno != E2BIG && left > 0) {
      *out += "\xEF\xBF\xBD";
      ++in, --left;
    }
  }
  ::iconv_close(converter);
  return true;
}

}  // namespace wellspring
