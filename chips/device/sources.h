#pragma once
// The device source, as embedded by chips/device/embed.py.

#include <span>
#include <string_view>

namespace wellspring::device {

struct Source {
  std::string_view name, text;
};
std::span<const Source> sources();

}  // namespace wellspring::device
