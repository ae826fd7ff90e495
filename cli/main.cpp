// The program `wellspring`: finds the subcommand, runs it, and turns errors into messages and exit
// statuses (sysexits.h). Everything else lies in the subcommands' own files.

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <exception>
#include <new>
#include <string_view>

#include "base/error.h"
#include "base/text.h"
#include "base/version.h"
#include "cli/commands.h"

namespace wellspring {
namespace {

std::string help() {
  std::string out =
      "Wellspring: train, measure and serve language models.\n\n"
      "Usage: wellspring COMMAND [arguments]\n\nCommands:\n";
  for (const Command& command : commands()) {
    std::string name = command.name;
    name.resize(12, ' ');
    out += str("  ", name, command.summary, "\n");
  }
  out +=
      "\n'wellspring COMMAND --help' shows the arguments of one and an example.\n"
      "'wellspring --version' shows the version.\n";
  return out;
}

int dispatch(int argc, char** argv) {
  std::string_view name = argc > 1 ? argv[1] : "";
  if (name == "--version" || name == "-V") {
    std::printf("wellspring %s\n", version());
    return 0;
  }
  if (name == "--help" || name == "-h" || name == "help" || name.empty()) {
    std::fputs(help().c_str(), name.empty() ? stderr : stdout);
    return name.empty() ? EX_USAGE : 0;
  }
  std::vector<std::string> names = {"--help", "--version"};
  for (const Command& command : commands()) {
    if (name == command.name) return run_command(command, argc - 1, argv + 1);
    names.emplace_back(command.name);
  }
  auto near = nearest(name, names);
  throw Error(Fault::usage, str("unknown command '", name, "'",
                                near ? str(": did you mean '", *near, "'?") : std::string(),
                                " ('wellspring --help' lists all)"));
}

int fail(int status, std::string_view message) {
  std::fflush(stdout);
  std::string line = str("error: ", message, "\n");
  std::fwrite(line.data(), 1, line.size(), stderr);
  return status;
}

int guarded(int argc, char** argv) {
  try {
    return dispatch(argc, argv);
  } catch (const Error& e) {
    return fail(e.exit_status(), e.what());
  } catch (const std::bad_alloc&) {
    return fail(EX_SOFTWARE, "out of memory");
  } catch (const std::exception& e) {
    return fail(EX_SOFTWARE, str("unexpected (this is a bug): ", e.what()));
  } catch (...) {
    return fail(EX_SOFTWARE, "unexpected exception (this is a bug)");
  }
}

}  // namespace
}  // namespace wellspring

int main(int argc, char** argv) {
  // A client or reader that goes away is an error of that write, not the end of the program.
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // so is a file that grows over its limit
  int status = wellspring::guarded(argc, argv);
  errno = 0;
  bool lost = std::fflush(stdout) != 0 || std::ferror(stdout);
  // `wellspring ... | head` is no fault: the reader has what it wanted.
  if (lost && errno != EPIPE && status == 0)
    return wellspring::fail(EX_IOERR, wellspring::str("cannot write standard output: ",
                                                      std::strerror(errno ? errno : EIO)));
  return status;
}
