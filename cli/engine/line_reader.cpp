#include "cli/engine/line_reader.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <cwchar>
#include <iostream>
#include <vector>

#include "base/error.h"
#include "base/file.h"
#include "base/log.h"
#include "base/text.h"

namespace wellspring {
namespace {

constexpr size_t kKept = 1000, kMostLine = 16 << 10;  // lines, and bytes of one that is kept

// The part of libedit that is used, declared here so that building needs no header of it, and loaded at the first use.
// Names and values are those of its public interface, histedit.h.
struct Libedit {
  struct EditLine;
  struct History;
  struct Event {
    int number;
    const char* text;
  };
  enum Set {
    kPrompt = 0,
    kEditor = 2,
    kSignal = 3,
    kBind = 4,
    kTty = 8,
    kAddFunction = 9,
    kHistory = 10,
    kReadKey = 13,
    kPrepareTerminal = 16,
    kRefresh = 20
  };
  enum Keep { kSize = 1, kEnter = 10, kUnique = 20 };
  static constexpr unsigned char kEnd = 2;  // what a function of a key answers to end the input

  void* file = ::dlopen("libedit.so.2", RTLD_NOW | RTLD_LOCAL);
  template <class F>
  F* find(const char* name) const {
    return file ? reinterpret_cast<F*>(::dlsym(file, name)) : nullptr;
  }
  EditLine* (*init)(const char*, FILE*, FILE*, FILE*) = find<EditLine*(const char*, FILE*, FILE*, FILE*)>("el_init");
  void (*end)(EditLine*) = find<void(EditLine*)>("el_end");
  int (*set)(EditLine*, int, ...) = find<int(EditLine*, int, ...)>("el_set");
  const char* (*gets)(EditLine*, int*) = find<const char*(EditLine*, int*)>("el_gets");
  History* (*history_init)() = find<History*()>("history_init");
  void (*history_end)(History*) = find<void(History*)>("history_end");
  int (*history)(History*, Event*, int, ...) = find<int(History*, Event*, int, ...)>("history");

  bool there() const { return init && end && set && gets && history_init && history_end && history; }
};

const Libedit& libedit() {
  static const Libedit library;
  return library;
}

const char* prompt_now = "";
char* show_prompt(Libedit::EditLine*) { return const_cast<char*>(prompt_now); }
std::atomic<bool>* interrupted_now = nullptr;
unsigned char interrupt(Libedit::EditLine*, int) {  // the key, which sends no signal while a line is edited
  *interrupted_now = true;
  return Libedit::kEnd;
}

// Whether standard input can be read; false when an interrupt came. Asked again and again: a signal may come just before
// the waiting, or to another thread. `woken` is called when some other signal ended the waiting.
template <class Woken>
bool wait_for_input(const std::atomic<bool>& interrupted, const Woken& woken) {
  pollfd input{0, POLLIN, 0};
  while (!interrupted) {
    const int ready = ::poll(&input, 1, 50);
    if (ready > 0) return true;
    if (ready < 0 && !interrupted) woken();
  }
  return false;
}

// The next character that is typed: 1, 0 at the end, -1 for an interrupt. The library's own would sleep through a signal
// that comes before its read.
int read_key(Libedit::EditLine* editor, wchar_t* key) {
  std::mbstate_t state{};
  while (wait_for_input(*interrupted_now, [&] { libedit().set(editor, Libedit::kRefresh); })) {
    char byte = 0;
    const ssize_t got = ::read(0, &byte, 1);
    if (got < 0 && errno == EINTR) continue;
    if (got != 1) return 0;
    const size_t bytes = std::mbrtowc(key, &byte, 1, &state);
    if (bytes <= 1) return 1;
    if (bytes == static_cast<size_t>(-1)) state = {};  // no UTF-8: left out
  }
  return -1;
}

// Opened for its owner alone, also one that was more open.
int open_private(const std::string& path, int flags) {
  const int fd = ::open(path.c_str(), flags | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd >= 0) ::fchmod(fd, 0600);
  return fd;
}

bool write_line(int fd, const std::string& line) {
  const std::string all = line + "\n";
  return ::write(fd, all.data(), all.size()) == static_cast<ssize_t>(all.size());
}

}  // namespace

struct LineReader::Editor {
  explicit Editor(std::string path) : path(std::move(path)) {
    std::setlocale(LC_CTYPE, "C.UTF-8");  // all text of the program is UTF-8
    editor = lib.init("wellspring", stdin, stdout, stderr);
    history = lib.history_init();
    if (!editor || !history) throw Error(Fault::io, "the terminal cannot be set up for editing lines");
    Libedit::Event event;
    lib.history(history, &event, Libedit::kSize, static_cast<int>(kKept));
    lib.history(history, &event, Libedit::kUnique, 1);
    lib.set(editor, Libedit::kPrompt, show_prompt);
    lib.set(editor, Libedit::kEditor, "emacs");
    lib.set(editor, Libedit::kSignal, 1);  // for the window's size and for Ctrl-Z
    lib.set(editor, Libedit::kReadKey, read_key);
    lib.set(editor, Libedit::kHistory, lib.history, history);
    // Ctrl-C drops the line, as it does where lines are not edited; Ctrl-R looks back.
    lib.set(editor, Libedit::kAddFunction, "wellspring-interrupt", "Drop the line", interrupt);
    lib.set(editor, Libedit::kTty, "-d", "intr=", nullptr);
    lib.set(editor, Libedit::kBind, "^C", "wellspring-interrupt", nullptr);
    lib.set(editor, Libedit::kBind, "^R", "em-inc-search-prev", nullptr);
    for (const std::string& line : load()) lib.history(history, &event, Libedit::kEnter, line.c_str());
  }
  ~Editor() {
    lib.end(editor);
    lib.history_end(history);
  }
  Editor(const Editor&) = delete;

  // The lines that are kept; the file is cut back when it holds many more.
  std::vector<std::string> load() {
    std::vector<std::string> lines;
    try {
      if (path.empty() || !exists(path)) return lines;
      for (const std::string& line : split(read_file(path), '\n'))
        if (!line.empty() && line.size() <= kMostLine) lines.push_back(utf8_repair(line));
    } catch (const Error& e) {
      forget(e.what());
      return lines;
    }
    const bool many = lines.size() > 2 * kKept;
    if (lines.size() > kKept) lines.erase(lines.begin(), lines.end() - kKept);
    if (!many) return lines;
    const int fd = open_private(path, O_WRONLY | O_TRUNC);
    for (const std::string& line : lines)
      if (fd >= 0) write_line(fd, line);
    if (fd >= 0) ::close(fd);
    return lines;
  }

  // Appended at once, so that several chats add to one another.
  void keep(const std::string& line) {
    Libedit::Event event;
    if (trim(line).empty() || line.size() > kMostLine) return;
    lib.history(history, &event, Libedit::kEnter, line.c_str());
    if (path.empty() || line == last) return;
    last = line;
    try {
      make_directories(parent_path(path));
    } catch (const Error& e) {
      return forget(e.what());
    }
    const int fd = open_private(path, O_WRONLY | O_APPEND);
    if (fd < 0 || !write_line(fd, line)) forget(str("cannot write ", path));
    if (fd >= 0) ::close(fd);
  }
  void forget(const std::string& why) {
    log_warning("chat", why, ": what is said is not kept in a history");
    path.clear();
  }

  const Libedit& lib = libedit();
  std::string path, last;
  Libedit::EditLine* editor = nullptr;
  Libedit::History* history = nullptr;
};

LineReader::LineReader(bool terminal, std::string history, std::atomic<bool>& interrupted)
    : terminal_(terminal), interrupted_(interrupted) {
  if (!terminal) return;
  if (libedit().there())
    editor_ = std::make_unique<Editor>(std::move(history));
  else
    log_warning("chat", "lines cannot be edited: libedit.so.2 is missing (Debian: libedit2)");
}
LineReader::~LineReader() = default;

LineReader::Got LineReader::read(const std::string& sign, std::string& line) {
  if (!editor_) {
    if (terminal_) {
      std::printf("%s", sign.c_str()), std::fflush(stdout);
      if (!wait_for_input(interrupted_, [] {})) return interrupted_ = false, Got::interrupt;
    }
    return std::getline(std::cin, line) ? Got::line : Got::end;
  }
  prompt_now = sign.c_str();
  interrupted_now = &interrupted_;
  editor_->lib.set(editor_->editor, Libedit::kPrepareTerminal, 1);  // whoever sees the prompt types for the editor
  int size = 0;
  const char* got = editor_->lib.gets(editor_->editor, &size);
  if (interrupted_.exchange(false)) {
    std::clearerr(stdout);  // the library's handler breaks off a write
    return Got::interrupt;
  }
  if (!got || size <= 0) return Got::end;
  line.assign(got, static_cast<size_t>(size));
  if (line.ends_with('\n')) line.pop_back();
  editor_->keep(line);
  return Got::line;
}

std::string chat_history_file() {
  if (const char* state = std::getenv("XDG_STATE_HOME"); state && *state) return join_path(state, "wellspring/chat_history");
  const char* home = std::getenv("HOME");
  return home && *home ? join_path(home, ".local/state/wellspring/chat_history") : "";
}

}  // namespace wellspring
