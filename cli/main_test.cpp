// The built program as a user meets it: outputs and exit statuses.
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>

#include "base/file.h"
#include "base/process.h"
#include "base/text.h"
#include "cli/test_program.h"

namespace wellspring {
namespace {

ProcessResult run(std::vector<std::string> arguments) {
  arguments.insert(arguments.begin(), program());
  return run_process(arguments);
}

TEST(Program, VersionAndHelp) {
  ProcessResult r = run({"--version"});
  EXPECT_EQ(r.status, 0);
  EXPECT_EQ(r.output.rfind("wellspring ", 0), 0u);
  r = run({"--help"});
  EXPECT_EQ(r.status, 0);
  for (const char* name : {"text", "data", "train", "generate", "chat", "eval", "serve", "ops"})
    EXPECT_NE(r.output.find(str("\n  ", name, " ")), std::string::npos) << name;
  r = run({});
  EXPECT_EQ(r.status, 64);
  EXPECT_NE(r.error.find("Usage: "), std::string::npos);
}

TEST(Program, WrongEnvironmentIsOneUsageError) {
  const std::pair<const char*, const char*> wrong[] = {
      {"WELLSPRING_SHADOW", "x"}, {"WELLSPRING_ISA", "avx9"}, {"WELLSPRING_KERNELS", "without mm"}};
  for (const auto& [name, value] : wrong) {
    setenv(name, value, 1);
    const ProcessResult r = run({"ops", "check", "softmax", "--first"});
    unsetenv(name);
    EXPECT_EQ(r.status, 64) << name;
    EXPECT_EQ(r.output, "") << name;
    EXPECT_EQ(r.error.rfind(str("error: ", name), 0), 0u) << r.error;
    EXPECT_EQ(r.error.find('\n'), r.error.size() - 1) << r.error;
  }
}

TEST(Program, ListsOperatorsByTheirNames) {
  const std::string list = run({"ops", "list"}).output;
  for (const char* column : {"operator", "dtypes", "chips", "tested", "speed", "overloads"})
    EXPECT_LT(list.find(column), list.find('\n')) << column;
  const auto row = [&](const std::string& name) {
    const size_t at = list.find("\n" + name + " ");
    return at == std::string::npos ? "" : list.substr(at + 1, list.find('\n', at + 1) - at - 1);
  };
  const std::pair<const char*, const char*> ends[] = {
      {"mm", " mm mm.out"},
      {"add", " add.Tensor add_.Tensor add.out add.Scalar add_.Scalar add.Scalar_out"},
      {"or", " = bitwise_or"},
      {"resize", " = resize_"}};
  for (const auto& [name, end] : ends) EXPECT_TRUE(ends_with(row(name), end)) << row(name);
  for (const char* name :
       {"mm", "conv1d", "fft_rfft", "uniform_", "scaled_dot_product_attention"}) {
    const std::string speed(trim(row(name).substr(row(name).find(" cases ") + 7)));
    EXPECT_GT(std::atof(speed.c_str()), 0) << row(name);
  }
}

TEST(Program, UnknownCommandSuggests) {
  ProcessResult r = run({"trian", "x"});
  EXPECT_EQ(r.status, 64);
  EXPECT_EQ(
      r.error,
      "error: unknown command 'trian': did you mean 'train'? ('wellspring --help' lists all)\n");
  EXPECT_NE(run({"--verison"}).error.find("did you mean '--version'?"), std::string::npos);
}

TEST(Program, FullOutputIsAnError) {
  ProcessResult r = run_process({"sh", "-c", program() + " --help >/dev/full"});
  EXPECT_EQ(r.status, 74);
  EXPECT_EQ(r.error, "error: cannot write standard output: No space left on device\n");
}

// A copy of the program and the base library without the engine beside them.
TEST(Program, MissingEngineIsSaid) {
  TemporaryFolder folder;
  std::string bin = parent_path(program());
  run_process({"cp", "-r", bin, folder.path() + "/bin"});
  make_directories(folder.path() + "/lib");
  run_process({"cp", bin + "/../lib/libwellspring_base.so", folder.path() + "/lib/"});
  ProcessResult r = run_process({folder.path() + "/bin/wellspring", "train", "run.yaml"});
  EXPECT_EQ(r.status, 69) << r.error;
  EXPECT_NE(r.error.find("libwellspring_engine.so"), std::string::npos) << r.error;
}

// The front links no kernel library: it starts in milliseconds.
TEST(Program, NeedsFewLibraries) {
  ProcessResult r = run_process({"ldd", program()});
  ASSERT_EQ(r.status, 0);
  for (const char* heavy : {"libdnnl", "openblas", "libmpi", "libcuda", "OpenCL", "libpq", "mujoco",
                            "libwellspring_engine"})
    EXPECT_EQ(r.output.find(heavy), std::string::npos) << heavy;
}

}  // namespace
}  // namespace wellspring
