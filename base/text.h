#pragma once
// Small text helpers used everywhere. All functions are pure and thread-safe.

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace wellspring {

inline void append(std::string& out, std::string_view s) { out += s; }
inline void append(std::string& out, const char* s) { out += s; }  // else bool would take it
inline void append(std::string& out, char c) { out += c; }
inline void append(std::string& out, bool b) { out += b ? "true" : "false"; }
void append(std::string& out, double v);  // shortest form that reads back the same
inline void append(std::string& out, float v) { append(out, static_cast<double>(v)); }
inline void append(std::string& out, int v) { out += std::to_string(v); }
inline void append(std::string& out, unsigned v) { out += std::to_string(v); }
inline void append(std::string& out, long v) { out += std::to_string(v); }
inline void append(std::string& out, unsigned long v) { out += std::to_string(v); }
inline void append(std::string& out, long long v) { out += std::to_string(v); }
inline void append(std::string& out, unsigned long long v) { out += std::to_string(v); }

/// Concatenation: str("row ", 3, " of ", name).
template <class... Args>
std::string str(const Args&... args) {
  std::string out;
  (append(out, args), ...);
  return out;
}

std::vector<std::string> split(std::string_view s, char separator);
std::string_view trim(std::string_view s);
std::string join(const std::vector<std::string>& parts, std::string_view separator);
bool starts_with(std::string_view s, std::string_view prefix);
bool ends_with(std::string_view s, std::string_view suffix);
std::string to_lower(std::string_view ascii);

/// Whole-string parses; nullopt when anything is left over or out of range.
std::optional<int64_t> parse_int(std::string_view s);
std::optional<double> parse_double(std::string_view s);

/// Bytes as people write them: "16GB" and "16 G" are 16 * 10^9, "16GiB" and "16Gi" 16 * 2^30; k, M,
/// G, T, with or without B, in any case; a number alone is bytes. Nullopt for anything else, below
/// zero or above 2^62.
std::optional<int64_t> parse_bytes(std::string_view s);
/// Seconds as people write them: "90", "2h", "1d12h", "1h 30m", "250ms" (units w d h m s ms, the
/// greater first) and Slurm's "HH:MM:SS" and "D-HH:MM:SS". Nullopt for anything else.
std::optional<double> parse_duration(std::string_view s);

/// "12.3 MB", "4.5k", "3m 20s": for people. Bytes are decimal (1 MB = 10^6).
std::string human_bytes(double bytes);
std::string human_count(double n);
std::string human_duration(double seconds);

/// The candidate nearest to `word` (Damerau-Levenshtein, at most a third of its length away),
/// for "unknown key 'lerning_rate': did you mean 'learning_rate'?".
std::optional<std::string> nearest(std::string_view word,
                                   const std::vector<std::string>& candidates);

/// Length of the valid UTF-8 sequence at the start of `s` (1-4), or 0 when it is invalid or cut.
int utf8_length(std::string_view s);
/// Code point of the valid sequence at the start of `s`.
char32_t utf8_decode(std::string_view s);
void utf8_append(std::string& out, char32_t code_point);
bool utf8_valid(std::string_view s);
/// Copies `s` with every maximal invalid part replaced by U+FFFD; `replaced` counts them.
std::string utf8_repair(std::string_view s, int64_t* replaced = nullptr);
/// Columns that the UTF-8 text `s` takes on a terminal: wide (CJK, emoji) characters count two,
/// combining ones none.
int display_width(std::string_view s);
/// The longest prefix of `s` that fits `columns`, with "…" in its last column where it was cut.
std::string cut_to_width(std::string_view s, int columns);

/// Escapes for HTML text and attribute values.
std::string html_escape(std::string_view s);

}  // namespace wellspring
