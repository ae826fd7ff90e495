#include "tensor/switches.h"

#include <cstdlib>
#include <optional>
#include <set>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "tensor/kernel_tables.h"

namespace wellspring {
namespace {

struct Item {
  int chip = -1;  // -1: all
  std::set<std::string> kernels;
  std::string shapes;  // empty: all
};

struct Choice {
  enum class Mode { all, only, exclude } mode = Mode::all;
  std::vector<Item> items;
  std::string text;
};

// What holds: the process's choices, then the scopes'. Guarded by the tables' lock.
struct Chosen {
  std::vector<std::vector<Choice>> levels{{}};
  bool read_environment = false;
};
Chosen& chosen() {
  static auto& c = *new Chosen;
  return c;
}

int chip_called(std::string_view name) {
  for (size_t i = 0; i < chips().size(); ++i)
    if (chips()[i].name == name) return static_cast<int>(i);
  return parse_device(name).chip;  // throws, and says which are known
}

[[noreturn]] void unknown(std::string_view name, int chip) {
  std::vector<std::string> known;
  if (kernel_tables().names.all) known = kernel_tables().names.all();
  for (int c = 0; c < static_cast<int>(chips().size()); ++c)
    if (chip < 0 || c == chip)
      for (const NamedKernel& k : chips()[c].kernels()) known.emplace_back(k.name);
  const auto near = nearest(name, known);
  if (chip < 0 && near == name)
    throw Error(Fault::usage, str("'", name, "' runs no kernel that could be switched"));
  throw Error(Fault::usage, str(chip < 0 ? "no kernel, operator or family is called '"
                                         : str("chip ", chips()[chip].name, " has no kernel '"),
                                name, "'", near ? str("; did you mean '", *near, "'?") : ""));
}

Item item_of(std::string_view text) {
  Item item;
  if (const size_t at = text.find('@'); at != std::string_view::npos) {
    item.shapes = text.substr(at + 1);
    text = text.substr(0, at);
  }
  if (const size_t colon = text.find(':'); colon != std::string_view::npos) {
    item.chip = chip_called(text.substr(0, colon));
    text = text.substr(colon + 1);
  }
  const std::string name(text);
  std::vector<std::string> wanted{name};
  if (kernel_tables().names.kernels_of)
    for (std::string& k : kernel_tables().names.kernels_of(name)) wanted.push_back(std::move(k));
  for (const std::string& k : wanted)
    for (int c = 0; c < static_cast<int>(chips().size()); ++c)
      if ((item.chip < 0 || c == item.chip) && has_kernel(c, k)) item.kernels.insert(k);
  if (item.kernels.empty()) unknown(name, item.chip);
  return item;
}

std::vector<Choice> parse(std::string_view text) {
  std::vector<Choice> all;
  for (const std::string& part : split(text, ';')) {
    std::vector<std::string> words;
    for (std::string& word : split(part, ' '))
      if (!word.empty()) words.push_back(std::move(word));
    if (words.empty()) continue;
    Choice c;
    if (words[0] == "only" || words[0] == "exclude")
      c.mode = words[0] == "only" ? Choice::Mode::only : Choice::Mode::exclude;
    else if (words[0] != "all")
      throw Error(Fault::usage, str("'", part, "': expected all, only NAME... or exclude NAME..."));
    if ((words.size() == 1) != (c.mode == Choice::Mode::all))
      throw Error(Fault::usage, str("'", part, "': ", words[0],
                                    words.size() == 1 ? " wants names" : " takes no names"));
    c.text = words[0];
    for (size_t i = 1; i < words.size(); ++i) {
      c.items.push_back(item_of(words[i]));
      c.text += " " + words[i];
    }
    all.push_back(std::move(c));
  }
  return all;
}

// The process's own choices: what stands before an `all` says nothing, nor does that itself.
std::vector<Choice> parse_first(std::string_view text) {
  std::vector<Choice> all = parse(text);
  size_t from = 0;
  for (size_t i = 0; i < all.size(); ++i)
    if (all[i].mode == Choice::Mode::all) from = i + 1;
  all.erase(all.begin(), all.begin() + static_cast<std::ptrdiff_t>(from));
  return all;
}

// What the choices make of one entry.
struct Verdict {
  bool on = true;
  std::set<std::string> off_for;
};

Verdict verdict_of(const KernelTable& table, const std::string& name) {
  Verdict v;
  for (const std::vector<Choice>& level : chosen().levels)
    for (const Choice& c : level) {
      if (c.mode == Choice::Mode::all) {
        v = {};
        continue;
      }
      bool named = false, about_chip = false;
      for (const Item& i : c.items) {
        if (i.chip >= 0 && i.chip != table.chip) continue;
        about_chip = true;
        if (!i.kernels.contains(name)) continue;
        if (i.shapes.empty())
          named = true;
        else if (c.mode == Choice::Mode::exclude)
          v.off_for.insert(i.shapes);
      }
      if (c.mode == Choice::Mode::exclude)
        v.on = v.on && !named;
      else if (about_chip)
        v.on = v.on && (named || (table.chip == 0 && !reference_entry(name)));
    }
  return v;
}

// Environment and tables as the choices are now. The lock is held.
void publish() {
  std::string text;
  for (const std::vector<Choice>& level : chosen().levels)
    for (const Choice& c : level) text += (text.empty() ? "" : "; ") + c.text;
  if (text.empty())
    unsetenv("WELLSPRING_KERNELS");
  else
    setenv("WELLSPRING_KERNELS", text.c_str(), 1);
  for (auto& [key, table] : kernel_tables().all) apply_switches(*table);
}

void read_environment() {
  if (chosen().read_environment) return;
  const char* text = std::getenv("WELLSPRING_KERNELS");
  try {
    chosen().levels[0] = parse_first(text ? text : "");
  } catch (const Error& e) {
    throw Error(e.fault(), str("WELLSPRING_KERNELS: ", e.what()));
  }
  chosen().read_environment = true;
}

}  // namespace

void apply_switches(KernelTable& table) {
  read_environment();
  if (table.is_reference()) return;
  for (auto& [name, entry] : table.entries) {
    Verdict v = verdict_of(table, name);
    entry.kernel.store(v.on ? entry.own : nullptr, std::memory_order_relaxed);
    // An old list is kept: a launch may be reading it.
    const ShapeList* before = entry.off_for.load(std::memory_order_relaxed);
    if (v.off_for.empty())
      entry.off_for.store(nullptr, std::memory_order_release);
    else if (!before || *before != v.off_for)
      entry.off_for.store(new ShapeList(std::move(v.off_for)), std::memory_order_release);
  }
}

void set_kernels(std::string_view choice) {
  std::lock_guard lock(kernel_tables().mutex);
  read_environment();
  chosen().levels[0] = parse_first(choice);
  publish();
}

std::string kernels_chosen() {
  std::lock_guard lock(kernel_tables().mutex);
  read_environment();
  std::string text;
  for (const std::vector<Choice>& level : chosen().levels)
    for (const Choice& c : level) text += (text.empty() ? "" : "; ") + c.text;
  return text.empty() ? "all" : text;
}

KernelScope::KernelScope(std::string_view choice) {
  std::lock_guard lock(kernel_tables().mutex);
  read_environment();
  chosen().levels.push_back(parse(choice));
  publish();
}
KernelScope::~KernelScope() {
  std::lock_guard lock(kernel_tables().mutex);
  chosen().levels.pop_back();
  publish();
}

}  // namespace wellspring
