#pragma once
// The main text of an HTML page.

#include <string>
#include <string_view>

namespace wellspring {

/// Paragraphs, headings ("# "), lists ("- ", "1. "), tables (cells joined by " | ") and
/// preformatted parts of an HTML or XHTML page (or another XML with such tags, as Mallard), as
/// UTF-8. Left out: head, scripts, styles, forms, and what tag, role, class or id name as
/// navigation, headers and footers of the site or tables of contents; when the page has a <main>
/// (or role "main") only that is read. Any input gives a result: unclosed and misplaced tags are
/// taken as they come. Bytes that are no UTF-8 pass through, unless the page declares another
/// character set that iconv knows.
std::string html_text(std::string_view html);

/// Character references ("&amp;", "&#x4e2d;") decoded; unknown ones stay.
std::string decode_entities(std::string_view s);
/// Code point of a named reference of HTML 4 ("eacute"), 0 when unknown.
char32_t named_entity(std::string_view name);

}  // namespace wellspring
