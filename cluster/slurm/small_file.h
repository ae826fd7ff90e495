#pragma once
// Small files in folders that somebody else may change, with the rights of the calling thread.

#include <string>
#include <string_view>

namespace wellspring::cluster {

/// The first 64 KiB of a plain file; "" when it is absent or anything else (a link, a pipe).
std::string read_small_file(const std::string& path);
/// A plain file of mode 0600, in place: whoever reads it comes later. Error(Fault::io).
void write_small_file(const std::string& path, std::string_view content);

}  // namespace wellspring::cluster
