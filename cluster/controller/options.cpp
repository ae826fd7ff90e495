#include "cluster/controller/options.h"

#include <unistd.h>

#include <cstdlib>

#include "base/config.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

namespace wellspring::cluster {

std::string default_folder() {
  if (const char* set = std::getenv("WELLSPRING_CLUSTER")) return set;
  if (::geteuid() == 0) return "/var/lib/wellspring";
  const char* home = std::getenv("HOME");
  return str(home ? home : ".", "/.local/share/wellspring");
}

ControllerOptions read_controller_options(const std::string& path,
                                          const std::vector<std::string>& overrides) {
  Config c = path.empty() ? Config() : Config::read(path);
  for (const std::string& set : overrides) c.set(set);
  ControllerOptions o;
  o.folder = c.text("folder", default_folder());
  o.state = c.text("state", join_path(o.folder, "state.db"));
  o.runs = c.text("runs", join_path(o.folder, "runs"));
  o.address = c.text("address", o.address);
  o.port = static_cast<int>(c.integer("port", o.port));
  o.names = c.texts("names");
  o.web = c.text("web", "");
  const Config leases = c["leases"];
  o.leases.fence_after = leases.number("fence_after", o.leases.fence_after);
  o.leases.lost_after = leases.number("lost_after", o.leases.lost_after);
  if (o.leases.fence_after < 0.5 || o.leases.lost_after < 1.2 * o.leases.fence_after)
    throw Error(Fault::config,
                str(leases.place(), ": a node ends its attempts after fence_after (",
                    o.leases.fence_after, " s, at least 0.5) and is given up after lost_after (",
                    o.leases.lost_after, " s), which has to be 1.2 times as long at least"));
  o.keep = c.number("keep_days", o.keep / 86400) * 86400;
  o.keep_runs = c.number("keep_runs_days", 0) * 86400;
  const Config backup = c["backup"];
  o.backup_every = backup.number("every_hours", o.backup_every / 3600) * 3600;
  o.backups = static_cast<int>(backup.integer("keep", o.backups));
  const Config archives = c["archives"];
  constexpr double kGiga = 1 << 30;
  o.archives.each = static_cast<int64_t>(archives.number("most_gb", static_cast<double>(o.archives.each) / kGiga) * kGiga);
  o.archives.team = static_cast<int64_t>(archives.number("team_gb", static_cast<double>(o.archives.team) / kGiga) * kGiga);
  o.notify_allowed = c["notify"].texts("allow");
  o.most_jobs = c.integer("most_jobs", o.most_jobs);
  o.secrets_key = c.text("secrets_key", join_path(o.folder, "keys/secrets.key"));
  o.chips.add_from(c);
  o.local = c.boolean("local_node", o.local);
  o.single_trust = c.boolean("single_trust", o.single_trust);
  o.node = read_node_options(c["node"], join_path(o.folder, "node"), o.chips);
  if (o.node.runs.empty()) o.node.runs = o.runs;
  o.node.single_trust = o.node.single_trust || o.single_trust;
  o.slurm = read_slurm_options(c, o.runs, o.chips, o.single_trust);
  c.check_all_used();
  return o;
}

}  // namespace wellspring::cluster
