#pragma once
// The text of a manual page (troff source with the man or mdoc macros).

#include <string>
#include <string_view>

namespace wellspring {

/// Headings as "# ", items and tagged paragraphs, tables (tbl) with cells joined by " | ", examples
/// kept; fonts, spacing, comments, macro definitions and formulas left out. Lines are refilled.
std::string man_text(std::string_view troff);

/// Whether `s`, the beginning of a file, reads as troff: it has a line with a macro for a title or
/// section, or control lines alone.
bool looks_like_man(std::string_view s);

/// One line's escape sequences ("\fB", "\-", "\(em", "\[u00E9]") resolved. `strings` looks up what
/// "\*(xx" stands for.
class ManStrings;
std::string man_escapes(std::string_view line, const ManStrings& strings);

}  // namespace wellspring
