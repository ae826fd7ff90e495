#include "cluster/slurm/options.h"

#include <algorithm>
#include <cctype>
#include <set>

#include "base/error.h"
#include "base/text.h"
#include "cluster/job/spec.h"

namespace wellspring::cluster {
namespace {

[[noreturn]] void refuse_slurm(const Config& c, const std::string& key, const std::string& what) {
  throw Error(Fault::config, str(c.place(key), ": ", what));
}

const std::string& chip_named(const Config& c, const std::string& name, const ChipTable& chips) {
  const ChipKind* kind = chips.find(name);
  if (!kind) {
    std::vector<std::string> known;
    for (const ChipKind& k : chips.all()) known.push_back(k.name);
    const auto near = nearest(name, known);
    refuse_slurm(c, name,
                 str("there is no chip type '", name, "'",
                     near ? str(": did you mean '", *near, "'?") : ""));
  }
  return kind->name;
}

// One line without what would end an option, or a path: these go into commands and scripts.
std::string plain_text(const Config& c, const std::string& key, const std::string& otherwise = "") {
  const std::string text = c.text(key, otherwise);
  if (std::ranges::any_of(text, [](unsigned char ch) { return ch < 0x20 || ch == 0x7f; }))
    refuse_slurm(c, key, "holds a control character");
  return text;
}

std::string path_text(const Config& c, const std::string& key, const std::string& otherwise = "") {
  const std::string text = plain_text(c, key, otherwise);
  if (!text.empty() && text[0] != '/')
    refuse_slurm(c, key, str("'", text, "': want a path from the root"));
  return text;
}

std::string word_text(const Config& c, const std::string& key) {
  const std::string text = c.text(key, "");
  const bool fine = std::ranges::all_of(text, [](unsigned char ch) {
    return std::isalnum(ch) || std::string_view("._-:,").find(ch) < 5;
  });
  if (!fine || text.starts_with('-'))
    refuse_slurm(c, key, str("'", text, "': want letters, digits and . _ - : ,"));
  return text;
}

SlurmOptions read_one(const Config& c, const std::string& runs, const ChipTable& chips,
                      bool single_trust) {
  SlurmOptions o;
  o.name = c.text("name", o.name);
  if (!is_name(o.name) || o.name == "nodes" || o.name == "shared" || o.name.size() > 24)
    refuse_slurm(c, "name",
                 str("'", o.name,
                     "': want a name of at most 24 letters, digits and . _ - "
                     "other than nodes and shared"));
  const std::string mode = c.choice("mode", {"cli", "rest"}, c.has("url") ? "rest" : "cli");
  o.mode = mode == "rest" ? SlurmOptions::Mode::rest : SlurmOptions::Mode::command_line;
  o.conf = path_text(c, "conf"), o.bin = path_text(c, "bin");
  o.url = plain_text(c, "url");
  o.token = path_text(c, "token"), o.tokens = path_text(c, "tokens");
  o.user = word_text(c, "user"), o.account = word_text(c, "account");
  o.runs = path_text(c, "runs", runs);
  o.program = path_text(c, "program");
  o.options = c.texts("options");
  if (o.mode == SlurmOptions::Mode::rest) {
    if (!starts_with(o.url, "http://") && !starts_with(o.url, "https://"))
      refuse_slurm(c, "url", "mode rest needs the address of slurmrestd, http://HOST:PORT");
    if (o.token.empty() || o.user.empty())
      refuse_slurm(c, o.token.empty() ? "token" : "user",
                   "mode rest needs a user and the file with that user's token (scontrol token)");
    if (!o.options.empty())
      refuse_slurm(c, "options", "options of sbatch have no meaning with mode rest");
    if (!o.conf.empty() || !o.bin.empty())
      refuse_slurm(c, o.conf.empty() ? "bin" : "conf",
                   "is of mode cli: mode rest calls no program");
  } else if (!o.url.empty() || !o.token.empty() || !o.tokens.empty() || !o.user.empty()) {
    const char* key = !o.url.empty()      ? "url"
                      : !o.token.empty()  ? "token"
                      : !o.tokens.empty() ? "tokens"
                                          : "user";
    refuse_slurm(c, key, "is of mode rest");
  }
  for (const std::string& option : o.options)
    if (!starts_with(option, "-") || option.find('\n') != option.npos)
      refuse_slurm(c, "options",
                   str("'", option, "': want options of sbatch, each as --NAME=VALUE"));
  const Config partitions = c["partitions"];
  for (const std::string& chip : partitions.keys())
    o.partitions[chip == "default" ? "" : chip_named(partitions, chip, chips)] =
        word_text(partitions, chip);
  const Config gres = c["gres"];
  for (const std::string& chip : gres.keys()) {
    const std::string text = word_text(gres, chip);
    if (text.empty() || std::ranges::count(text, ':') > 1 || text.find(',') != text.npos)
      refuse_slurm(gres, chip, str("'", text, "': want NAME or NAME:TYPE, for example gpu:a100"));
    o.gres[chip_named(gres, chip, chips)] = text;
  }
  const Config cpus = c["cpus_per_device"];
  for (const std::string& chip : cpus.keys()) {
    const int64_t n = cpus.integer(chip);
    if (n < 1 || n > 4096) refuse_slurm(cpus, chip, str("is ", n, ": want 1 to 4096"));
    o.cpus_per_device[chip_named(cpus, chip, chips)] = static_cast<int>(n);
  }
  if (c.has("cpu_chip")) {
    const ChipKind* kind = chips.find(c.text("cpu_chip"));
    if (!kind) refuse_slurm(c, "cpu_chip", str("there is no chip type '", c.text("cpu_chip"), "'"));
    o.cpu_chip = kind->name;
  }
  o.mounts = c.texts("mounts");
  for (const std::string& path : o.mounts)
    if (path.empty() || path[0] != '/')
      refuse_slurm(c, "mounts", str("'", path, "': want paths from the root"));
  const auto seconds = [&](const char* key, double otherwise, double least) {
    const double s = c.number(key, otherwise);
    if (!(s >= least && s <= 3600))
      refuse_slurm(c, key, str("is ", s, ": want ", least, " to 3600 seconds"));
    return s;
  };
  o.poll = seconds("poll", o.poll, 0.05);
  o.settle = seconds("settle", o.settle, 0);
  o.nodes_every = seconds("nodes_every", o.nodes_every, 0.1);
  const int64_t most = c.integer("max_array", 0);
  if (most < 0 || most > 4'000'000)
    refuse_slurm(c, "max_array", str("is ", most, ": want 1 to 4000000"));
  o.max_array = static_cast<int>(most);
  o.team = c.text("team", "");
  if (!o.team.empty() && !is_name(o.team))
    refuse_slurm(c, "team", str("'", o.team, "' is no name"));
  o.single_trust = c.boolean("single_trust", single_trust);
  return o;
}

}  // namespace

std::vector<SlurmOptions> read_slurm_options(const Config& config, const std::string& runs,
                                             const ChipTable& chips, bool single_trust) {
  std::vector<SlurmOptions> all;
  switch (config.shape("slurm")) {
    case Config::Shape::absent:
      break;
    case Config::Shape::list: {
      std::set<std::string> names;
      for (const Config& item : config.items("slurm")) {
        all.push_back(read_one(item, runs, chips, single_trust));
        if (!names.insert(all.back().name).second)
          refuse_slurm(item, "name",
                       str("there are two Slurm clusters of the name '", all.back().name, "'"));
      }
      break;
    }
    default:
      all.push_back(read_one(config["slurm"], runs, chips, single_trust));
  }
  return all;
}

}  // namespace wellspring::cluster
