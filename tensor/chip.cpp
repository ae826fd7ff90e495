#include "tensor/chip.h"

#include "base/error.h"
#include "base/text.h"
#include "chips/cpu/cpu.h"
#include "chips/opencl/opencl.h"

namespace wellspring {
namespace {

// The CPU is entry 0 from the first look on, whatever the order in which libraries load. Other
// chips load their driver when somebody asks for a device of theirs.
std::vector<Chip>& registry() {
  static std::vector<Chip> all = [] {
    std::vector<Chip> v;
    v.reserve(kMaxChips);  // references stay valid while chips register
    v.push_back(cpu::chip());
    v.push_back(opencl::chip());
    return v;
  }();
  return all;
}

}  // namespace

int register_chip(const Chip& chip) {
  WS_CHECK(registry().size() < kMaxChips, str("more than ", kMaxChips, " chips"));
  registry().push_back(chip);
  return static_cast<int>(registry().size()) - 1;
}

const std::vector<Chip>& chips() { return registry(); }

Device parse_device(std::string_view text) {
  std::string_view name = text.substr(0, text.find(':'));
  int64_t index = 0;
  if (name.size() < text.size()) {
    auto n = parse_int(text.substr(name.size() + 1));
    if (!n || *n < 0 || *n > 255)
      throw Error(Fault::usage, str("device '", text, "': expected NAME or NAME:INDEX"));
    index = *n;
  }
  std::vector<std::string> names;
  for (size_t i = 0; i < chips().size(); ++i) {
    const Chip& chip = chips()[i];
    names.push_back(chip.name);
    if (name != chip.name) continue;
    int count = chip.device_count();
    if (index >= count)
      throw Error(Fault::missing, count ? str("device '", text, "': there are ", count,
                                              " such devices (0 to ", count - 1, ")")
                                        : str("device '", text, "': ", chip.why_absent()));
    return {static_cast<uint8_t>(i), static_cast<uint8_t>(index)};
  }
  auto near = nearest(name, names);
  throw Error(Fault::usage,
              str("unknown chip '", name, "'", near ? str(": did you mean '", *near, "'?") : ".",
                  " Known: ", join(names, ", ")));
}

std::string device_name(Device device) {
  return str(chips()[device.chip].name, device.is_cpu() ? "" : str(":", device.index + 0));
}

}  // namespace wellspring
