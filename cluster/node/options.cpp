#include "cluster/node/options.h"

#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "cluster/job/chips.h"

namespace wellspring::cluster {
namespace {

std::string host_name() {
  char name[256] = "node";
  ::gethostname(name, sizeof name - 1);
  std::string out;
  for (const char c : std::string(name))
    out += std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '.' ? c : '-';
  return out;
}

std::vector<Device> machine_devices() {
  std::vector<Device> out;
  const int cores = static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN));
  for (int i = 0; i < cores; ++i) out.push_back({chip_of_this_machine(), {i}, ""});
  return out;
}

}  // namespace

NodeOptions read_node_options(const Config& c, const std::string& default_folder,
                              const ChipTable& chips) {
  NodeOptions o;
  o.name = c.text("name", host_name());
  o.controller = c.text("controller", "");
  o.folder = c.text("folder", default_folder);
  o.runs = c.text("runs", "");
  o.address = c.text("address", host_name());
  for (const Config& d : c.items("devices")) {
    Device device;
    try {
      device.chip = chips.get(d.text("chip")).name;
    } catch (const Error& e) {
      throw Error(Fault::config, str(d.place("chip"), ": ", e.what()));
    }
    const int64_t count = d.integer("count", 1);
    if (count < 1 || count > 1024)
      throw Error(Fault::config, str(d.place("count"), ": a node has 1 to 1024 devices of a kind, not ", count));
    const auto cores = d.numbers("cores");
    const auto paths = d.texts("paths");
    if (!paths.empty() && static_cast<int64_t>(paths.size()) != count)
      throw Error(Fault::config, str(d.place("paths"), ": ", paths.size(), " paths for ", count, " devices"));
    if (static_cast<int64_t>(cores.size()) % count)
      throw Error(Fault::config, str(d.place("cores"), ": ", cores.size(), " cores cannot be shared evenly by ",
                                     count, " devices"));
    const size_t each = cores.size() / static_cast<size_t>(count);
    for (size_t i = 0; i < static_cast<size_t>(count); ++i) {
      Device one = device;
      for (size_t k = 0; k < each; ++k) one.cores.push_back(static_cast<int>(cores[i * each + k]));
      if (!paths.empty()) one.path = paths[i];
      o.devices.push_back(std::move(one));
    }
  }
  if (o.devices.empty()) o.devices = machine_devices();
  o.memory_mb = c.integer("memory_mb", 0);
  if (!o.memory_mb)
    o.memory_mb = static_cast<int64_t>(0.9 * static_cast<double>(::sysconf(_SC_PHYS_PAGES)) *
                                       static_cast<double>(::sysconf(_SC_PAGE_SIZE)) / 1e6);
  o.mounts = c.texts("mounts");
  for (const std::string& m : o.mounts)
    if (m.empty() || m[0] != '/')
      throw Error(Fault::config, str(c.place("mounts"), ": '", m, "' is not an absolute path"));
  o.team = c.text("team", "");
  o.single_trust = c.boolean("single_trust", false);
  o.cache_age = c.number("cache_days", o.cache_age / 86400) * 86400;
  o.containment = parse_means(c.text("containment", "best"));
  o.ca = c.text("ca", "");
  return o;
}

}  // namespace wellspring::cluster
