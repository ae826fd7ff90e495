#pragma once
// Command lines: a small face over CLI11, whose header is compiled once in args.cpp.

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace wellspring {

/// One command's arguments. `--help` prints summary, arguments and one real example, and ends with
/// status 0; a wrong line is Error(Fault::usage) that suggests the nearest option.
///   Args args("wellspring train", "Train a model as RUN.yaml says.");
///   args.positional("RUN.yaml", &path, "what to train");
///   args.option("--out", &out, "DIR", "run folder");
///   args.example("wellspring train run.yaml --set train.steps=100");
///   if (!args.parse(argc, argv)) return 0;   // help was printed
class Args {
 public:
  Args(const std::string& name, const std::string& summary);
  ~Args();
  void positional(const std::string& name, std::string* value, const std::string& help,
                  bool required = true);
  void positionals(const std::string& name, std::vector<std::string>* values,
                   const std::string& help, bool required = true);
  void option(const std::string& flag, std::string* value, const std::string& metavar,
              const std::string& help);
  void option(const std::string& flag, std::vector<std::string>* values, const std::string& metavar,
              const std::string& help);
  void option(const std::string& flag, int64_t* value, const std::string& metavar,
              const std::string& help);
  void option(const std::string& flag, double* value, const std::string& metavar,
              const std::string& help);
  void flag(const std::string& flag, bool* value, const std::string& help);
  void example(const std::string& line);
  /// False when help was asked for and printed. argv[0] is skipped.
  bool parse(int argc, char** argv);
  /// Whether the flag or option stood on the command line.
  bool given(const std::string& flag) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

/// A command with verbs ("text train|encode|decode"): picks argv[1], prints the verbs on --help or
/// a missing or unknown one (with the nearest), and calls it with the rest.
struct Verb {
  std::string name, summary;
  std::function<int(int, char**)> run;
};
int run_verbs(const std::string& command, const std::string& summary,
              const std::vector<Verb>& verbs, int argc, char** argv);

}  // namespace wellspring
