#pragma once
#include <string>
#include <string_view>
#include <vector>

namespace wellspring {

/// The running text of one line of mdoc macros ("Op Fl a Ar file" -> "[-a file]"); `name` is what a
/// bare "Nm" stands for. Arguments come with escapes resolved.
std::string mdoc_line(const std::vector<std::string>& words, const std::string& name);
/// Whether `macro` is one of mdoc's that stand in running text.
bool is_mdoc_inline(std::string_view macro);

}  // namespace wellspring
