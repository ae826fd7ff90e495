// wellspring ops list | check | bench.

#include <algorithm>
#include <cstdio>
#include <set>

#include "base/args.h"
#include "base/error.h"
#include "base/json.h"
#include "base/progress.h"
#include "base/text.h"
#include "base/time.h"
#include "chips/cpu/cpu.h"
#include "cli/engine/ops_bisect.h"
#include "ops/check.h"
#include "ops/registry.h"
#include "tensor/chip.h"

namespace wellspring {
namespace {

std::string with_digits(double v, int digits) {
  char text[32];
  std::snprintf(text, sizeof text, "%.*f", digits, v);
  return text;
}

// The named operators (an operator's or a family's name), or all that have cases.
std::vector<std::string> chosen(const std::vector<std::string>& names) {
  std::vector<std::string_view> all = operators_with_cases();
  if (names.empty()) return {all.begin(), all.end()};
  std::vector<std::string> result, known;
  for (const OperatorInfo& op : operators())
    known.emplace_back(op.name), known.emplace_back(op.family);
  for (const std::string& name : names) {
    size_t before = result.size();
    for (std::string_view op : all) {
      const OperatorInfo* info = find_operator(op);
      if (op == name || (info && info->family == name)) result.emplace_back(op);
    }
    if (result.size() > before) continue;
    if (find_operator(name))
      throw Error(Fault::usage,
                  str("operator '", name, "' has no case list of its own; 'wellspring ",
                      "ops list' shows which have"));
    auto near = nearest(name, known);
    throw Error(Fault::usage, str("no operator or family is called '", name, "'",
                                  near ? str("; did you mean '", *near, "'?") : ""));
  }
  return result;
}

// The chips that have kernels of an operator: all of them, or a part (the CPU's stand in for
// others). `sets`: each chip's kernels.
std::string chips_of(const std::vector<std::string>& kernels,
                     const std::vector<std::set<std::string_view>>& sets) {
  std::string result;
  for (size_t i = 0; i < sets.size(); ++i) {
    const std::set<std::string_view>& has = sets[i];
    const auto there = std::count_if(kernels.begin(), kernels.end(),
                                     [&](const std::string& k) { return has.count(k); });
    if (there == 0 && !kernels.empty()) continue;
    if (!result.empty()) result += ' ';
    result += chips()[i].name;
    if (there < std::ssize(kernels)) result += "(part)";
  }
  return result;
}

// The overloads of an operator by ATen's names. A schema that has only ATen's name of it leaves the
// rest to the C++ forms, whose kinds of operands ATen's overloads are called after.
std::vector<std::string> overloads_of(const OperatorInfo& op) {
  std::vector<std::string> all;
  const auto add = [&](std::string name) {
    if (std::find(all.begin(), all.end(), name) == all.end()) all.push_back(std::move(name));
  };
  if (op.aten.find('(') != std::string_view::npos) {
    for (const std::string& schema : split(op.aten, '\n')) add(schema.substr(0, schema.find('(')));
    const bool has_out = std::any_of(
        all.begin(), all.end(), [](const std::string& name) { return ends_with(name, "out"); });
    const std::string out = str(op.name, "_out(");
    if (!has_out && op.declarations.find(out) != std::string_view::npos) add(str(op.name, ".out"));
    return all;
  }
  for (const std::string& form : split(op.declarations, '\n')) {
    const size_t open = form.find('('), start = form.rfind(' ', open) + 1;
    std::string name = form.substr(start, open - start);
    const bool out = ends_with(name, "_out");
    if (out) name.resize(name.size() - 4);
    std::vector<std::string> operands = split(form.substr(open + 1), ',');
    if (out) operands.erase(operands.begin());
    const bool two = operands.size() > 1, scalar = two && starts_with(trim(operands[1]), "Scalar ");
    const bool tensor = two && starts_with(trim(operands[1]), "const Tensor& ");
    const char* kind = out      ? (scalar ? ".Scalar_out" : ".out")
                       : scalar ? ".Scalar"
                       : tensor ? ".Tensor"
                                : "";
    add(name + kind);
  }
  return all;
}

// What else an operator is called: names of its overloads and forms that are no operator's,
// `or` for __or__.
std::vector<std::string> other_names(const OperatorInfo& op,
                                     const std::vector<std::string>& overloads) {
  std::set<std::string> all;
  for (const std::vector<std::string>& names : {overloads, split(op.aten, '\n')})
    for (const std::string& full : names) {
      std::string name = full.substr(0, full.find_first_of(".("));
      if (starts_with(name, "__")) name = name.substr(2, name.size() - 4);
      const bool in_place = ends_with(name, "_");
      if (in_place && !ends_with(op.name, "_")) name.pop_back();
      if (!name.empty() && !find_operator(name)) all.insert(name);
    }
  return {all.begin(), all.end()};
}

int list(int argc, char** argv) {
  Args args(
      "wellspring ops list",
      "The operators: family, dtypes, gradient, chips, how many cases test it ('wellspring ops "
      "check'), the measured speed as a multiple of PyTorch's, and overloads. A speed is that of "
      "the operator or of one that the same kernels answer in the same way; '-' where none was "
      "measured: of views, which do not compute, of what PyTorch lacks, and of operators that "
      "bench/operators.py has no row for.");
  bool json = false;
  args.flag("--json", &json, "print JSON");
  args.example("wellspring ops list --json");
  if (!args.parse(argc, argv)) return 0;
  Json rows = Json::array();
  Table table(
      {"operator", "family", "dtypes", "gradient", "chips", "tested", "speed", "overloads"});
  std::vector<std::set<std::string_view>> sets;
  for (const Chip& chip : chips()) {
    sets.emplace_back();
    for (const NamedKernel& k : chip.kernels()) sets.back().insert(k.name);
  }
  for (const OperatorInfo& op : operators()) {
    const auto cases = static_cast<int64_t>(cases_of(op.name).all().size());
    const std::vector<std::string> kernels =
        op.kernels.empty() ? std::vector<std::string>{} : split(op.kernels, ' ');
    const std::vector<std::string> overloads = overloads_of(op), also = other_names(op, overloads);
    const std::string where = chips_of(kernels, sets);
    const double speed = speed_ratio(op.name);
    rows.push_back(
        {{"name", op.name},
         {"also", also},
         {"family", op.family},
         {"header", str("ops/", op.family, ".h")},
         {"declarations", split(op.declarations, '\n')},
         {"overloads", overloads},
         {"aten", split(op.aten, '\n')},
         {"pytorch", split(op.pytorch, ' ')},
         {"dtypes", split(op.dtypes, ' ')},
         {"gradient", op.gradient.empty() ? Json::array() : Json(split(op.gradient, ' '))},
         {"kernels", kernels},
         {"chips", split(where, ' ')},
         {"value", op.value},
         {"doc", op.doc},
         {"source", op.source},
         {"tested", cases > 0},
         {"cases", cases},
         {"speed", speed > 0 ? Json(speed) : Json()}});
    std::vector<std::string> row{std::string(op.name),
                                 std::string(op.family),
                                 std::string(op.dtypes),
                                 op.gradient.empty() ? "-" : std::string(op.gradient),
                                 where,
                                 cases ? str(cases, " cases") : "no",
                                 speed > 0 ? with_digits(speed, 2) : "-",
                                 join(overloads, " ")};
    table.row(row);
    for (const std::string& name : also) {
      row.front() = name, row.back() = str("= ", op.name);
      table.row(row);
    }
  }
  std::fputs(json ? (to_text(rows, 2) + "\n").c_str() : table.text().c_str(), stdout);
  return 0;
}

int check(int argc, char** argv) {
  Args args(
      "wellspring ops check",
      "Check operators: values against the slow reference on every instruction set, gradients, "
      "odd inputs, and the same bits for any number of threads.");
  std::vector<std::string> names, isas;
  std::string device;
  bool all = false, full = false, first = false, json = false;
  args.positionals("NAME", &names, "operators or families (default: all)", false);
  args.option("--device", &device, "DEVICE", "values and gradients on this one: opencl:0");
  args.flag("--all", &all, "all operators, and print every case");
  args.flag("--full", &full,
            "the large shapes of the published test sets, too (half a minute an operator)");
  args.flag("--first", &first,
            "only the first case of each, without differences and thread counts");
  args.option("--isa", &isas, "ISA", "only these: portable, avx2, avx512, avx512vnni, avx512bf16");
  args.flag("--json", &json, "print JSON");
  args.example("wellspring ops check softmax --isa portable");
  if (!args.parse(argc, argv)) return 0;
  CheckOptions options;
  options.first = first, options.full = full;
  if (!device.empty()) options.device = parse_device(device);
  for (const std::string& wanted : isas) {
    const cpu::Isa isa = cpu::parse_isa(wanted, "--isa");
    if (!cpu::has(isa))
      throw Error(Fault::missing, str("this processor or this build has no ", wanted, "; the best here is ", cpu::name_of(cpu::best_isa())));
    options.isas.push_back(isa);
  }
  Json rows = Json::array();
  Table table({"operator", "case", "check", "result"});
  int64_t checks = 0, failures = 0;
  std::set<std::string> stood_in;  // kernels that the device lacks, or that did not take a call
  std::vector<std::string> ops = chosen(names);
  Progress progress("checking operators", static_cast<int64_t>(ops.size()), "operators");
  for (size_t i = 0; i < ops.size(); ++i) {
    for (const CheckResult& r : check_operator(ops[i], options)) {
      ++checks, failures += !r.ok;
      rows.push_back({{"op", r.op},
                      {"case", r.name},
                      {"check", r.what},
                      {"ok", r.ok},
                      {"detail", r.detail},
                      {"on_cpu", split(r.on_cpu, ' ')}});
      for (std::string& kernel : split(r.on_cpu, ' '))
        if (!kernel.empty()) stood_in.insert(std::move(kernel));
      if (!r.ok || all)
        table.row({r.op, r.name, r.what,
                   !r.ok              ? r.detail
                   : r.on_cpu.empty() ? "ok"
                                      : str("ok (on the CPU: ", r.on_cpu, ")")});
    }
    progress.update(static_cast<int64_t>(i) + 1, str(checks, " checks, ", failures, " failed"));
  }
  progress.finish(str(checks, " checks, ", failures, " failed"));
  if (json)
    std::fputs((to_text(rows, 2) + "\n").c_str(), stdout);
  else if (failures || all)
    std::fputs(table.text().c_str(), stdout);
  if (!json)
    std::printf("%ld operators, %ld checks, %ld failed\n", static_cast<long>(ops.size()),
                static_cast<long>(checks), static_cast<long>(failures));
  if (!json && !stood_in.empty())
    std::printf("on the CPU, in some calls at least: %s\n",
                join(std::vector<std::string>(stood_in.begin(), stood_in.end()), " ").c_str());
  return failures ? static_cast<int>(Fault::internal) : 0;
}

int bench(int argc, char** argv) {
  Args args("wellspring ops bench", "Time operators beside what the machine can do.");
  std::vector<std::string> names;
  bool json = false;
  args.positionals("NAME", &names, "operators or families (default: all)", false);
  args.flag("--json", &json, "print JSON");
  args.example("wellspring ops bench gelu_tanh");
  if (!args.parse(argc, argv)) return 0;
  Roof roof = measure_roof();
  Json rows = Json::array();
  Table table({"operator", "case", "pass", "ms", "GB/s", "of copy", "GF/s", "of GEMM"});
  for (const std::string& op : chosen(names))
    for (const SpeedResult& r : time_operator(op)) {
      bool bf16 = r.name.find("bf16") != std::string::npos;
      double gemm = bf16 ? roof.gigaflops_bf16 : roof.gigaflops_f32;
      rows.push_back({{"op", r.op},
                      {"case", r.name},
                      {"pass", r.pass},
                      {"seconds", r.seconds},
                      {"gigabytes_per_second", r.gigabytes},
                      {"gigaflops", r.gigaflops}});
      table.row({r.op, r.name, r.pass, with_digits(r.seconds * 1e3, 3),
                 r.gigabytes > 0 ? with_digits(r.gigabytes, 1) : "-",
                 r.gigabytes > 0 ? with_digits(r.gigabytes / roof.gigabytes, 2) : "-",
                 r.gigaflops > 0 ? with_digits(r.gigaflops, 1) : "-",
                 r.gigaflops > 0 ? with_digits(r.gigaflops / gemm, 2) : "-"});
    }
  if (json) {
    Json out = {{"machine", cpu::chip().capabilities(0).name},
                {"date", utc_now()},
                {"roof",
                 {{"gigabytes_per_second", roof.gigabytes},
                  {"gigaflops_f32", roof.gigaflops_f32},
                  {"gigaflops_bf16", roof.gigaflops_bf16}}},
                {"rows", rows}};
    std::fputs((to_text(out, 2) + "\n").c_str(), stdout);
    return 0;
  }
  std::printf("roof: copy %.1f GB/s, GEMM %.0f GF/s f32, %.0f GF/s bf16\n", roof.gigabytes,
              roof.gigaflops_f32, roof.gigaflops_bf16);
  std::fputs(table.text().c_str(), stdout);
  return 0;
}

}  // namespace
}  // namespace wellspring

extern "C" int wellspring_command_ops(int argc, char** argv) {
  using namespace wellspring;
  return run_verbs("wellspring ops", "The operators of the engine.",
                   {{"list", "all operators with dtypes, gradients and kernels", list},
                    {"check", "check values, gradients, odd inputs and thread counts", check},
                    {"bench", "time operators beside the machine's roof", bench},
                    {"bisect", "find the operators that break a command", bisect_operators}},
                   argc, argv);
}
