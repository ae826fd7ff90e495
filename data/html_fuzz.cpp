// Any bytes as HTML, manual page, POD and Markdown: no crash, and valid UTF-8 stays valid.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/error.h"
#include "base/text.h"
#include "data/documents.h"
#include "data/language.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace wellspring;
  if (size == 0) return 0;
  const std::string_view input(reinterpret_cast<const char*>(data) + 1, size - 1);
  constexpr Format kFormats[] = {Format::html, Format::man, Format::pod, Format::markdown,
                                 Format::text};
  const Format format = kFormats[data[0] % 5];
  const std::string text = clean_text(input, format);
  // A manual page may cut a character in two ("\(" takes two bytes); the reader repairs that.
  if (format == Format::html || format == Format::text)
    WS_CHECK(!utf8_valid(input) || utf8_valid(text), "cleaning keeps UTF-8 valid");
  guess_language(text);
  return 0;
}
