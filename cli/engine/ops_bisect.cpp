#include "cli/engine/ops_bisect.h"

#include <algorithm>
#include <cstdio>
#include <map>

#include "base/args.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/process.h"
#include "base/progress.h"
#include "base/text.h"
#include "tensor/dispatch.h"

namespace wellspring {

std::vector<std::string> find_culprits(
    const std::vector<std::string>& all,
    const std::function<bool(const std::vector<std::string>& off)>& passes) {
  std::vector<std::string> found;
  // Off: what was found, and the first n of the others. The least n that passes ends with a
  // culprit.
  const auto off = [&](size_t n) {
    std::vector<std::string> names = found;
    for (size_t i = 0; i < n; ++i)
      if (std::find(found.begin(), found.end(), all[i]) == found.end()) names.push_back(all[i]);
    return names;
  };
  size_t end = all.size();
  while (!passes(found)) {
    if (end == 0) return {};  // it passes or fails by chance
    size_t fails = 0, good = end;
    while (good - fails > 1) {
      const size_t middle = fails + (good - fails) / 2;
      (passes(off(middle)) ? good : fails) = middle;
    }
    found.push_back(all[good - 1]);
    end = good - 1;
  }
  std::sort(found.begin(), found.end());
  return found;
}

namespace {

struct KernelRun {
  std::string chip, kernel, shapes;
  uint64_t calls;
};

// How the command is run and judged.
class Trial {
 public:
  Trial(std::vector<std::string> command, std::string test, double timeout)
      : command_(std::move(command)), test_(std::move(test)), timeout_(timeout) {}

  bool passes(const std::vector<std::string>& off) {
    std::string choice;
    for (const std::string& name : off) choice += " " + name;
    ProcessOptions options;
    options.argv = command_;
    options.timeout = timeout_;
    options.environment = {
        {"WELLSPRING_KERNELS", choice.empty() ? std::string("all") : "exclude" + choice},
        {"WELLSPRING_HITS", join_path(folder_.path(), "%p.json")}};
    for (const std::string& name : list_directory(folder_.path()))
      remove_all(join_path(folder_.path(), name));
    ProcessResult result = run_process(options);
    if (result.status == static_cast<int>(Fault::usage) &&
        result.error.find("WELLSPRING_KERNELS") != std::string::npos)
      throw Error(Fault::internal, str("the command refuses the choice: ", result.error));
    hits_ = read_hits();
    if (!test_.empty()) {
      options.argv = {"/bin/sh", "-c", test_};
      options.environment = {{"WELLSPRING_KERNELS", std::nullopt},
                             {"WELLSPRING_HITS", std::nullopt}};
      result = run_process(options);
    }
    ++runs_;
    return result.ok();
  }
  /// What ran last time, of all processes.
  const std::vector<KernelRun>& hits() const { return hits_; }
  int runs() const { return runs_; }

 private:
  std::vector<KernelRun> read_hits() const {
    std::vector<KernelRun> all;
    for (const std::string& name : list_directory(folder_.path())) {
      if (!name.ends_with(".json")) continue;
      const Json log = parse_json(read_file(join_path(folder_.path(), name)), name);
      for (const Json& row : log["hits"])
        if (row["ran"] != "on the cpu" && row["ran"] != "reference")
          all.push_back({row["chip"], row["kernel"], row["shapes"], row["calls"]});
    }
    return all;
  }

  std::vector<std::string> command_;
  std::string test_;
  double timeout_;
  TemporaryFolder folder_;
  std::vector<KernelRun> hits_;
  int runs_ = 0;
};

bool has_reference(const std::string& kernel) {
  for (const NamedKernel& k : stand_ins())
    if (kernel == k.name) return true;
  return false;
}

// The kernels that ran, as names of a choice, each once; in the order in which they were logged.
std::vector<std::string> switchable(const std::vector<KernelRun>& hits,
                                    std::vector<std::string>* fixed) {
  std::vector<std::string> names;
  for (const KernelRun& h : hits) {
    const std::string name = str(h.chip, ':', h.kernel);
    auto& list = h.chip != chips()[0].name || has_reference(h.kernel) ? names : *fixed;
    if (std::find(list.begin(), list.end(), name) == list.end()) list.push_back(name);
  }
  return names;
}

// Of one culprit's shapes those that break the command, with the other culprits off; empty: it has
// but one, or no part of them decides.
std::vector<std::string> guilty_shapes(Trial& trial, const std::vector<KernelRun>& hits,
                                       const std::vector<std::string>& culprits,
                                       const std::string& culprit) {
  std::vector<std::string> others, shapes;
  for (const std::string& c : culprits)
    if (c != culprit) others.push_back(c);
  for (const KernelRun& h : hits)
    if (const std::string name = str(culprit, '@', h.shapes);
        str(h.chip, ':', h.kernel) == culprit &&
        std::find(shapes.begin(), shapes.end(), name) == shapes.end())
      shapes.push_back(name);
  if (shapes.size() < 2) return shapes;
  const auto with_others = [&](std::vector<std::string> off) {
    off.insert(off.end(), others.begin(), others.end());
    return trial.passes(off);
  };
  return with_others(shapes) ? find_culprits(shapes, with_others) : std::vector<std::string>{};
}

}  // namespace

int bisect_operators(int argc, char** argv) {
  Args args("wellspring ops bisect",
            "Find the operators that break a command: it is run again and again with some of the "
            "kernels that it uses switched to the slow reference (those of a device: to the CPU). "
            "A run is good when the command ends with status 0, or when --test does.");
  std::string test;
  double timeout = 0;
  bool json = false, no_shapes = false;
  args.option("--test", &test, "COMMAND", "a shell command that judges what the run left behind");
  args.option("--timeout", &timeout, "SECONDS", "a longer run is a bad one");
  args.flag("--no-shapes", &no_shapes, "do not look for the shapes that break it");
  args.flag("--json", &json, "print JSON");
  args.example("wellspring ops bisect -- wellspring ops check softmax --first");
  int head = 1;
  while (head < argc && std::string_view(argv[head]) != "--") ++head;
  if (!args.parse(head, argv)) return 0;
  std::vector<std::string> command(argv + std::min(head + 1, argc), argv + argc);
  if (command.empty())
    throw Error(Fault::usage, "a command is wanted after --: wellspring ops bisect -- COMMAND");

  Trial trial(std::move(command), test, timeout);
  Progress progress("bisecting", -1, "runs");
  const auto passes = [&](const std::vector<std::string>& off) {
    const bool good = trial.passes(off);
    progress.update(trial.runs(), str(off.size(), " kernels off: ", good ? "good" : "bad"));
    return good;
  };
  if (passes({})) {
    progress.finish("good");
    std::puts(json ? "[]" : "the command passes with all kernels on: there is nothing to find");
    return 0;
  }
  const std::vector<KernelRun> hits = trial.hits();
  if (hits.empty())
    throw Error(Fault::usage,
                "the command ran no kernel of ours (or was killed before it could say so)");
  std::vector<std::string> fixed;
  const std::vector<std::string> names = switchable(hits, &fixed);
  if (!passes(names)) {
    progress.finish("bad");
    throw Error(
        Fault::missing,
        str("the command fails with the reference of all ", names.size(),
            " kernels, too: no kernel's fault",
            fixed.empty() ? "" : str(", or of one without a reference: ", join(fixed, " "))));
  }
  const std::vector<std::string> culprits = find_culprits(names, passes);
  if (culprits.empty())
    throw Error(Fault::missing, "the same command passes at one time and fails at another");
  Json rows = Json::array();
  Table table({"kernel", "operators", "shapes"});
  for (const std::string& culprit : culprits) {
    std::vector<std::string> shapes;
    if (!no_shapes)
      for (const std::string& name : guilty_shapes(trial, hits, culprits, culprit))
        shapes.push_back(name.substr(name.find('@') + 1));
    const std::string operators = operators_of_kernel(culprit.substr(culprit.find(':') + 1));
    rows.push_back({{"kernel", culprit}, {"operators", split(operators, ' ')}, {"shapes", shapes}});
    table.row({culprit, operators, shapes.empty() ? "any" : join(shapes, "  ")});
  }
  progress.finish(str(trial.runs(), " runs"));
  if (json)
    std::fputs((to_text(rows, 2) + "\n").c_str(), stdout);
  else
    std::fputs(table.text().c_str(), stdout);
  return 0;
}

}  // namespace wellspring
