#include "cluster/job/chips.h"

#include <algorithm>

#include "base/error.h"
#include "base/text.h"
#include "cluster/job/spec.h"

namespace wellspring::cluster {
namespace {

struct ChipRow {
  const char *name, *vendor, *title;
  int memory_gb;
  const char *precisions, *aliases, *source;
};

// A figure that no source at hand gives is 0 or empty, not a guess.
constexpr ChipRow kChipRows[] = {
#include "cluster/job/chips.inc"
};

std::vector<std::string> words(std::string_view text) {
  std::vector<std::string> out;
  for (const std::string& word : split(text, ','))
    if (auto w = trim(word); !w.empty()) out.emplace_back(w);
  return out;
}

std::string folded(std::string_view name) {
  std::string out = to_lower(trim(name));
  for (char& c : out)
    if (c == '_' || c == ' ') c = '-';
  return out;
}

}  // namespace

ChipTable::ChipTable() {
  for (const ChipRow& row : kChipRows)
    add({row.name, row.vendor, row.title, row.memory_gb, words(row.precisions), words(row.aliases),
         row.source});
}

const ChipTable& ChipTable::built_in() {
  static const ChipTable table;
  return table;
}

void ChipTable::add(const ChipKind& kind) {
  const auto refuse = [&](const std::string& what) {
    throw Error(Fault::config, str("chip '", utf8_repair(kind.name.substr(0, 64)), "': ", what));
  };
  if (!is_name(kind.name) || folded(kind.name) != kind.name)
    refuse("its name has to be of lower-case letters, digits, '.' and '-', at most 64");
  if (kind.memory_gb < 0 || kind.memory_gb > 100'000) refuse("memory is given in GB, 0 to 100000");
  const auto& precisions = chip_precisions();
  for (const std::string& p : kind.precisions)
    if (std::find(precisions.begin(), precisions.end(), p) == precisions.end())
      refuse(str("'", p, "' is no precision: want of ", join(precisions, ", ")));
  std::vector<std::string> names = kind.aliases;
  names.push_back(kind.name);
  for (const std::string& name : names) {
    if (!is_name(folded(name))) refuse(str("'", utf8_repair(name.substr(0, 64)), "' is no name"));
    if (const ChipKind* other = find(name))
      refuse(str("'", name, "' means the chip '", other->name, "' already"));
  }
  kinds_.push_back(kind);
}

void ChipTable::add_from(const Config& config) {
  for (const Config& item : config.items("chips")) {
    ChipKind kind;
    kind.name = item.text("name");
    kind.vendor = item.text("vendor", "");
    kind.title = item.text("title", kind.name);
    const int64_t memory = item.integer("memory", 0);
    if (memory < 0 || memory > 100'000)
      throw Error(Fault::config,
                  str(item.place("memory"), ": ", memory, ": want GB of one device, 0 to 100000"));
    kind.memory_gb = static_cast<int>(memory);
    kind.precisions = item.texts("precisions");
    kind.aliases = item.texts("aliases");
    kind.source = item.place();
    item.check_all_used();
    try {
      add(kind);
    } catch (const Error& e) {
      throw Error(Fault::config, str(item.place(), ": ", e.what()));
    }
  }
}

const ChipKind* ChipTable::find(std::string_view name) const {
  const std::string wanted = folded(name);
  for (const ChipKind& kind : kinds_) {
    if (kind.name == wanted) return &kind;
    for (const std::string& alias : kind.aliases)
      if (folded(alias) == wanted) return &kind;
  }
  return nullptr;
}

const ChipKind& ChipTable::get(std::string_view name) const {
  if (const ChipKind* kind = find(name)) return *kind;
  std::vector<std::string> names;
  for (const ChipKind& kind : kinds_) {
    names.push_back(kind.name);
    names.insert(names.end(), kind.aliases.begin(), kind.aliases.end());
  }
  auto near = nearest(folded(name), names);
  std::vector<std::string> known;
  for (const ChipKind& kind : kinds_) known.push_back(kind.name);
  throw Error(Fault::data, str("unknown chip '", utf8_repair(name.substr(0, 64)), "'",
                               near ? str(": did you mean '", *near, "'?")
                                    : str(". Known: ", join(known, ", "))));
}

std::vector<std::string> ChipTable::meant(std::string_view name) const {
  const std::string canonical = get(name).name;
  if (canonical != "cpu") return {canonical};
  std::vector<std::string> out;
  for (const ChipKind& kind : kinds_)
    if (kind.name == "cpu" || kind.name.starts_with("cpu-")) out.push_back(kind.name);
  std::reverse(out.begin(), out.end());
  return out;
}

const std::vector<std::string>& chip_precisions() {
  static const std::vector<std::string> all = {"fp64", "fp32", "tf32", "bf16", "fp16",
                                               "fp8",  "fp4",  "int8", "int4"};
  return all;
}

std::string chip_of_this_machine() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  if (!(__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
        __builtin_cpu_supports("bmi2")))
    return "cpu";
  if (!(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512cd")))
    return "cpu-avx2";
  if (!__builtin_cpu_supports("avx512vnni")) return "cpu-avx512";
  if (!(__builtin_cpu_supports("avx512bf16") && __builtin_cpu_supports("avx512vbmi")))
    return "cpu-avx512vnni";
  return "cpu-avx512bf16";
#else
  return "cpu";
#endif
}

}  // namespace wellspring::cluster
