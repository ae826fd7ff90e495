#include "base/args.h"

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>

#include "base/error.h"
#include "base/text.h"

namespace wellspring {

struct Args::Impl {
  explicit Impl(const std::string& name, const std::string& summary)
      : name(name), summary(summary), app(summary, name) {
    app.set_help_flag();  // help is ours
    app.allow_extras();   // so are unknown options, to suggest the near one
  }

  std::string name, summary;
  CLI::App app;
  std::vector<std::pair<std::string, std::string>> positionals, options;  // shown form, help
  std::vector<std::string> usage, examples;

  void add_positional(const std::string& shown, const std::string& help, bool required, bool many) {
    std::string form = many ? shown + "..." : shown;
    usage.push_back(required ? form : str("[", form, "]"));
    positionals.emplace_back(form, help);
  }
  void add_option(const std::string& flag, const std::string& metavar, const std::string& help) {
    std::string form = join(split(flag, ','), ", ");
    options.emplace_back(metavar.empty() ? form : str(form, " ", metavar), help);
  }
  std::string help() const;
  [[noreturn]] void fail(const std::string& what) const {
    throw Error(Fault::usage, str(name, ": ", what, " ('", name, " --help' shows all)"));
  }
  void refuse_extras() const;
};

namespace {

constexpr size_t kHelpColumn = 26, kHelpWidth = 100;

// "  name   help", the help broken at words and indented.
std::string help_row(const std::string& name, const std::string& help) {
  std::string line = "  " + name;
  if (line.size() + 2 > kHelpColumn) {
    line += "\n";
    line.append(kHelpColumn, ' ');
  } else {
    line.append(kHelpColumn - line.size(), ' ');
  }
  size_t width = kHelpColumn;
  for (const std::string& word : split(help, ' ')) {
    if (width > kHelpColumn && width + word.size() + 1 > kHelpWidth) {
      line += "\n";
      line.append(kHelpColumn, ' ');
      width = kHelpColumn;
    } else if (width > kHelpColumn) {
      line += ' ';
      ++width;
    }
    line += word;
    width += word.size();
  }
  return line + "\n";
}

bool is_help(const char* argument) {
  std::string_view s = argument;
  return s == "--help" || s == "-h";
}

}  // namespace

std::string Args::Impl::help() const {
  std::string out = str(summary, "\n\nUsage: ", name);
  if (!options.empty()) out += " [options]";
  if (!usage.empty()) out += " " + join(usage, " ");
  out += "\n";
  if (!positionals.empty()) out += "\nArguments:\n";
  for (const auto& [form, help] : positionals) out += help_row(form, help);
  out += "\nOptions:\n";
  for (const auto& [form, help] : options) out += help_row(form, help);
  out += help_row("-h, --help", "show this");
  if (!examples.empty()) out += examples.size() > 1 ? "\nExamples:\n" : "\nExample:\n";
  for (const std::string& line : examples) out += str("  ", line, "\n");
  return out;
}

void Args::Impl::refuse_extras() const {
  std::vector<std::string> extras = app.remaining();
  if (extras.empty()) return;
  for (const std::string& extra : extras) {
    if (extra.size() < 2 || extra[0] != '-') continue;
    std::vector<std::string> known = {"--help"};
    for (const CLI::Option* option : app.get_options())
      for (const std::string& long_name : option->get_lnames()) known.push_back("--" + long_name);
    std::string flag = extra.substr(0, extra.find('='));
    auto near = nearest(flag, known);
    fail(str("unknown option '", flag, "'",
             near ? str(": did you mean '", *near, "'?") : std::string()));
  }
  fail(str("unexpected argument '", extras[0], "'"));
}

Args::Args(const std::string& name, const std::string& summary)
    : impl_(std::make_unique<Impl>(name, summary)) {}
Args::~Args() = default;

void Args::positional(const std::string& name, std::string* value, const std::string& help,
                      bool required) {
  // CLI11 knows a positional by a plain word; the shown form may hold dots and spaces.
  std::string key = str("argument", impl_->positionals.size());
  auto* option = impl_->app.add_option(key, *value);
  impl_->add_positional(name, help, required, false);
  if (required) option->required();
}

void Args::positionals(const std::string& name, std::vector<std::string>* values,
                       const std::string& help, bool required) {
  std::string key = str("argument", impl_->positionals.size());
  auto* option = impl_->app.add_option(key, *values);
  impl_->add_positional(name, help, required, true);
  if (required) option->required();
}

void Args::option(const std::string& flag, std::string* value, const std::string& metavar,
                  const std::string& help) {
  impl_->app.add_option(flag, *value);
  impl_->add_option(flag, metavar, help);
}

void Args::option(const std::string& flag, std::vector<std::string>* values,
                  const std::string& metavar, const std::string& help) {
  impl_->app.add_option(flag, *values)->allow_extra_args(false);  // one value per flag
  impl_->add_option(flag, metavar, help + " (may be repeated)");
}

void Args::option(const std::string& flag, int64_t* value, const std::string& metavar,
                  const std::string& help) {
  impl_->app.add_option_function<std::string>(flag, [=, this](const std::string& s) {
    auto parsed = parse_int(s);
    if (!parsed) impl_->fail(str(split(flag, ',').back(), " '", s, "': want a whole number"));
    *value = *parsed;
  });
  impl_->add_option(flag, metavar, help);
}

void Args::option(const std::string& flag, double* value, const std::string& metavar,
                  const std::string& help) {
  impl_->app.add_option_function<std::string>(flag, [=, this](const std::string& s) {
    auto parsed = parse_double(s);
    if (!parsed) impl_->fail(str(split(flag, ',').back(), " '", s, "': want a number"));
    *value = *parsed;
  });
  impl_->add_option(flag, metavar, help);
}

void Args::flag(const std::string& flag, bool* value, const std::string& help) {
  impl_->app.add_flag(flag, *value);
  impl_->add_option(flag, "", help);
}

void Args::example(const std::string& line) { impl_->examples.push_back(line); }

bool Args::parse(int argc, char** argv) {
  for (int i = 1; i < argc && std::string_view(argv[i]) != "--"; ++i) {
    if (!is_help(argv[i])) continue;
    std::string help = impl_->help();
    std::fwrite(help.data(), 1, help.size(), stdout);
    return false;
  }
  std::vector<std::string> reversed;  // what CLI11 wants
  for (int i = argc - 1; i >= 1; --i) reversed.emplace_back(argv[i]);
  try {
    impl_->app.parse(reversed);
  } catch (const CLI::RequiredError& e) {
    impl_->refuse_extras();
    std::string what = e.what();
    for (size_t i = 0; i < impl_->positionals.size(); ++i)
      if (starts_with(what, str("argument", i)))
        impl_->fail(
            str(impl_->positionals[i].first, " is missing: ", impl_->positionals[i].second));
    impl_->fail(what);
  } catch (const CLI::Error& e) {
    impl_->fail(e.what());
  }
  impl_->refuse_extras();
  return true;
}

bool Args::given(const std::string& flag) const { return impl_->app.get_option(flag)->count() > 0; }

int run_verbs(const std::string& command, const std::string& summary,
              const std::vector<Verb>& verbs, int argc, char** argv) {
  std::string help = str(summary, "\n\nUsage: ", command, " VERB [arguments]\n\nVerbs:\n");
  for (const Verb& verb : verbs) help += help_row(verb.name, verb.summary);
  help += str("\n'", command, " VERB --help' shows the arguments of one and an example.\n");
  if (argc >= 2 && is_help(argv[1])) {
    std::fwrite(help.data(), 1, help.size(), stdout);
    return 0;
  }
  std::vector<std::string> names;
  for (const Verb& verb : verbs) names.push_back(verb.name);
  if (argc < 2) throw Error(Fault::usage, str(command, ": want a verb: ", join(names, ", ")));
  for (const Verb& verb : verbs)
    if (verb.name == argv[1]) return verb.run(argc - 1, argv + 1);
  auto near = nearest(argv[1], names);
  throw Error(Fault::usage, str(command, ": unknown verb '", argv[1], "'",
                                near ? str(": did you mean '", *near, "'?") : std::string("."),
                                " Known: ", join(names, ", ")));
}

}  // namespace wellspring
