#include "cluster/job/chips.h"

#include <gtest/gtest.h>

#include "base/file.h"
#include "base/test_error.h"
#include "base/text.h"

namespace wellspring::cluster {
namespace {

TEST(Chips, AreFoundByAnyOfTheirNames) {
  const ChipTable& chips = ChipTable::built_in();
  EXPECT_EQ(chips.get("A100").name, "a100-40");
  EXPECT_EQ(chips.get("A100-80GB").name, "a100-80");
  EXPECT_EQ(chips.get("a100_80gb").memory_gb, 80);
  EXPECT_EQ(chips.get("2080Ti").vendor, "NVIDIA");
  EXPECT_EQ(chips.get("Atlas 800T A2").name, "ascend-910b");
  EXPECT_EQ(chips.get("MLU370").vendor, "Cambricon");
  EXPECT_EQ(chips.find("no such"), nullptr);
  for (const ChipKind& kind : chips.all()) {
    EXPECT_EQ(chips.find(kind.name), &kind);
    for (const std::string& alias : kind.aliases) EXPECT_EQ(chips.find(alias), &kind) << alias;
    // A figure without a source would be a guess.
    EXPECT_TRUE(kind.memory_gb == 0 || !kind.source.empty()) << kind.name;
  }
}

TEST(Chips, ReferenceChipsAreThere) {
  for (const char* name :
       {"cpu",  "cpu-avx2", "cpu-avx512", "A100-40", "A100-80", "A800",   "H100",        "H800",
        "H200", "V100",     "T4",         "2080Ti",  "BI-V100", "BI-150", "Ascend 910B", "MLU370",
        "R300", "C500",     "C550",       "S4000",   "Z100",    "T20"})
    EXPECT_NE(ChipTable::built_in().find(name), nullptr) << name;
}

TEST(Chips, UnknownNamesNameTheNearest) {
  const ChipTable& chips = ChipTable::built_in();
  EXPECT_EQ(error_of([&] { chips.get("A10O"); }, Fault::data),
            "unknown chip 'A10O': did you mean 'a10'?");
  EXPECT_NE(error_of([&] { chips.get("zzzzzzzz"); }, Fault::data).find("Known: cpu, cpu-avx2, "),
            std::string::npos);
  EXPECT_TRUE(utf8_valid(error_of([&] { chips.get("\xff\xfe"); }, Fault::data)));
}

TEST(Chips, CpuMeansEveryKindOfIt) {
  EXPECT_EQ(ChipTable::built_in().meant("CPU"),
            (std::vector<std::string>{"cpu-avx512bf16", "cpu-avx512vnni", "cpu-avx512", "cpu-avx2", "cpu"}));
  EXPECT_EQ(ChipTable::built_in().meant("V100"), std::vector<std::string>{"v100-16"});
}

TEST(Chips, AdministratorsAddTheirOwn) {
  ChipTable chips;
  chips.add_from(
      Config::parse("chips:\n"
                    "  - {name: x1, vendor: Example, memory: 96, precisions: [bf16],\n"
                    "     aliases: [Example-X1]}\n",
                    "c.yaml"));
  EXPECT_EQ(chips.get("example_x1").memory_gb, 96);
  EXPECT_EQ(ChipTable::built_in().find("x1"), nullptr);
  const auto says = [&](const std::string& item) {
    return error_of([&] { chips.add_from(Config::parse("chips:\n - " + item, "c.yaml")); },
                    Fault::config);
  };
  EXPECT_EQ(says("{name: A100}"),
            "c.yaml:2 (chips[0]): chip 'A100': its name has to be of lower-case letters, digits, "
            "'.' and '-', at most 64");
  EXPECT_NE(says("{name: y, aliases: [H100]}").find("'H100' means the chip 'h100' already"),
            std::string::npos);
  EXPECT_NE(says("{name: y, precisions: [fp12]}").find("'fp12' is no precision"),
            std::string::npos);
  EXPECT_NE(says("{name: y, memory: -1}").find("c.yaml:2 (chips[0].memory)"), std::string::npos);
  EXPECT_NE(says("{name: y, vendr: x}").find("did you mean 'vendor'?"), std::string::npos);
  EXPECT_NE(says("{name: '../y'}").find("its name"), std::string::npos);
}

// By the flags that the kernel shows, in another way than the function.
TEST(Chips, ThisMachine) {
  const std::string chip = chip_of_this_machine();
  ASSERT_NE(ChipTable::built_in().find(chip), nullptr);
#if defined(__x86_64__)
  std::string flags;
  for (const std::string& line : split(read_file("/proc/cpuinfo"), '\n'))
    if (starts_with(line, "flags")) flags = line + " ";
  const auto has = [&](const std::string& flag) {
    return flags.find(" " + flag + " ") != flags.npos;
  };
  EXPECT_EQ(chip != "cpu", has("avx2") && has("fma") && has("bmi2"));
  EXPECT_EQ(chip.starts_with("cpu-avx512"),
            has("avx2") && has("avx512f") && has("avx512bw") && has("avx512vl"));
#endif
}

}  // namespace
}  // namespace wellspring::cluster
