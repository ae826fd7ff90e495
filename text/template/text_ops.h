#pragma once
// What Python's strings do, with marks. Inside of text/template.

#include <optional>
#include <string>
#include <vector>

#include "text/template/case_tables.h"
#include "text/template/value.h"

namespace wellspring::jinja {

/// Without the characters of `chars` (white space when null) at its ends. `chars` needs `meter`.
MarkedText strip(const MarkedText& t, const MarkedText* chars, bool left, bool right, Meter* meter);
/// Character by character; a final sigma becomes an ordinary one.
MarkedText in_case(const MarkedText& t, Case to);
MarkedText capitalize(const MarkedText& t);
/// str.title(): words are runs of letters with a case.
MarkedText title(const MarkedText& t);
/// |title: words begin behind white space and - ( { [ <.
MarkedText title_words(const MarkedText& t);
MarkedText swap_case(const MarkedText& t);
/// The first `count` places (all when negative).
MarkedText replace(const MarkedText& t, const MarkedText& from, const MarkedText& to, int64_t count,
                   Meter& meter);
/// At `separator`, or at white space when null; at most `most` cuts (any when negative).
std::vector<Value> split(const MarkedText& t, const MarkedText* separator, int64_t most,
                         bool from_right, Meter& meter);
std::vector<Value> split_lines(const MarkedText& t, bool keep_ends, Meter& meter);
MarkedText join(const MarkedText& separator, const std::vector<Value>& all, bool only_text,
                Meter& meter);
MarkedText repeat(const MarkedText& t, Int times, Meter& meter);
/// Filled to `width` characters; the text stands at the left (-1), in the middle (0) or right (1).
MarkedText justify(const MarkedText& t, int64_t width, int side, const MarkedText& fill,
                   Meter& meter);
/// t % value: %s %r %d %i %x %o %f %e %g %c %%, with flags, width and precision.
MarkedText percent(const MarkedText& t, const Value& value, Meter& meter);
/// t.format(...): {} {0} {name}, without attributes and formats.
MarkedText format(const MarkedText& t, const Args& args, Meter& meter);
/// Bytes of characters [begin, end) as Python counts them: negative from the end, cut to the text.
std::pair<size_t, size_t> byte_range(const MarkedText& t, std::optional<Int> begin,
                                     std::optional<Int> end);
/// int(text, base) and float(text); nothing where Python raises.
std::optional<Int> parse_integer(std::string_view s, int base);
std::optional<double> parse_real(std::string_view s);
/// Whether there is a character and all are so.
bool all_characters(const MarkedText& t, bool (*is)(char32_t));

}  // namespace wellspring::jinja
