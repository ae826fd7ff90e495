#pragma once
#include <string>
#include <string_view>

namespace wellspring {

/// Text of Perl's "plain old documentation": headings as "# ", items as "- ", formatting codes
/// resolved, verbatim paragraphs kept, program text between "=cut" and the next command left out.
std::string pod_text(std::string_view pod);

}  // namespace wellspring
