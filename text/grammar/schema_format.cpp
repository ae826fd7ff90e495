// Formats of texts, each a regular language inside what the standard allows.

#include "text/grammar/schema_shape.h"

namespace wellspring::grammar {

namespace {

#define WS_FULL_DATE                                                    \
  "(?:[1-9][0-9]{3}-(?:(?:0[13578]|1[02])-(?:0[1-9]|[12][0-9]|3[01])|"  \
  "(?:0[469]|11)-(?:0[1-9]|[12][0-9]|30)|02-(?:0[1-9]|1[0-9]|2[0-8]))|" \
  "(?:[1-9][0-9](?:0[48]|[2468][048]|[13579][26])|(?:[2468][048]|[13579][26])00)-02-29)"
#define WS_FULL_TIME                                             \
  "(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\\.[0-9]{1,9})?" \
  "(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
#define WS_LABEL "[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
#define WS_HOST WS_LABEL "(?:\\." WS_LABEL "){0,3}"
#define WS_BYTE "(?:25[0-5]|2[0-4][0-9]|1[0-9][0-9]|[1-9]?[0-9])"
#define WS_IPV4 WS_BYTE "(?:\\." WS_BYTE "){3}"
#define WS_PATH "(?:[A-Za-z0-9._~!$&'()*+,;=:@/-]|%[0-9A-Fa-f]{2})*"

struct Format {
  std::string_view name;
  const char* pattern;
};

constexpr Format kFormats[] = {
    {"date", WS_FULL_DATE},
    {"time", WS_FULL_TIME},
    {"date-time", WS_FULL_DATE "T" WS_FULL_TIME},
    {"duration",
     "P(?:[0-9]{1,4}W|(?:[0-9]{1,4}Y(?:[0-9]{1,4}M(?:[0-9]{1,4}D)?)?|[0-9]{1,4}M(?:[0-9]{1,4}D)?|"
     "[0-9]{1,4}D)(?:T(?:[0-9]{1,4}H(?:[0-9]{1,4}M(?:[0-9]{1,4}S)?)?|[0-9]{1,4}M(?:[0-9]{1,4}S)?|"
     "[0-9]{1,4}S))?|T(?:[0-9]{1,4}H(?:[0-9]{1,4}M(?:[0-9]{1,4}S)?)?|[0-9]{1,4}M(?:[0-9]{1,4}S)?|"
     "[0-9]{1,4}S))"},
    {"uuid", "[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}"},
    {"email",
     "[A-Za-z0-9_+-]{1,24}(?:\\.[A-Za-z0-9_+-]{1,12}){0,3}@(?:" WS_LABEL "\\.){1,3}[A-Za-z]{2,18}"},
    {"hostname", WS_HOST},
    {"ipv4", WS_IPV4},
    {"ipv6",
     "(?:[0-9a-fA-F]{1,4}:){7}[0-9a-fA-F]{1,4}|(?:[0-9a-fA-F]{1,4}:){1,6}:[0-9a-fA-F]{1,4}|"
     "::(?:[0-9a-fA-F]{1,4})?"},
    {"uri", "(?:https?|ftp)://" WS_HOST "(?::[1-9][0-9]{0,3})?(?:/" WS_PATH ")?(?:\\?" WS_PATH
            ")?(?:#" WS_PATH ")?"},
};

#undef WS_FULL_DATE
#undef WS_FULL_TIME
#undef WS_LABEL
#undef WS_HOST
#undef WS_BYTE
#undef WS_IPV4
#undef WS_PATH

}  // namespace

const char* format_pattern(std::string_view format) {
  for (const Format& f : kFormats)
    if (f.name == format) return f.pattern;
  return nullptr;
}

}  // namespace wellspring::grammar
