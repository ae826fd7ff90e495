#pragma once
#include <string>
#include <string_view>

namespace wellspring {

/// Converts from the named character set (as HTML names them) with iconv; false, and nothing in
/// `out`, when the set is unknown. Bytes that are wrong in that set become U+FFFD. Thread-safe.
bool to_utf8(std::string_view bytes, const std::string& charset, std::string* out);

}  // namespace wellspring
