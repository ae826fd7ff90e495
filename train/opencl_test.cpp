// The demo's model trains on OpenCL as it does on the processor.
#include <gtest/gtest.h>

#include <cmath>

#include "base/config.h"
#include "base/random.h"
#include "base/text.h"
#include "tensor/hit_log.h"
#include "train/trainer.h"

namespace wellspring {
namespace {

bool has_device() {
  for (const Chip& c : chips())
    if (std::string_view(c.name) == "opencl") return c.device_count() > 0;
  return false;
}

// As in train/presets/demo.yaml, with fewer tokens in the vocabulary.
DecoderConfig demo_model() {
  Config config = Config::parse(preset("demo"), "demo.yaml");
  config.set("model.vocab=1024");
  Config model = config["model"];
  return DecoderConfig::read(model);
}

struct OpenclRows {
  Tensor ids, targets;
};
// A text that can be learnt: each token follows from the one before.
OpenclRows rows_of_step(int64_t step, int64_t rows, int64_t length) {
  Random random(7, static_cast<uint64_t>(step));
  OpenclRows r{Tensor::empty({rows, length}, DType::i32),
               Tensor::empty({rows, length}, DType::i32)};
  for (int64_t i = 0; i < rows; ++i) {
    auto token = static_cast<int32_t>(random.below(1024));
    for (int64_t t = 0; t < length; ++t) {
      r.ids.data_as<int32_t>()[i * length + t] = token;
      token = (token * 5 + 17) % 1024;
      r.targets.data_as<int32_t>()[i * length + t] = token;
    }
  }
  return r;
}

std::vector<double> losses_on(Device device, DType dtype, int64_t steps) {
  Decoder model(demo_model(), dtype, 1);
  model.move_to(device);
  AdamW optimizer(model.parameters(), {});
  std::vector<double> losses;
  for (int64_t step = 0; step < steps; ++step) {
    const OpenclRows r = rows_of_step(step, 4, 64);
    losses.push_back(gradients(model, r.ids, r.targets, 2));
    clipped_step(optimizer, 3e-3, 1, optimizer.gradient_norm());
  }
  return losses;
}

std::string stood_in() {
  std::string names;
  for (const KernelHits& h : kernel_hits())
    if (h.chip == "opencl" && h.ran == "on the cpu") names += " " + h.kernel;
  return names;
}

TEST(TrainOnOpencl, HasTheProcessorsLosses) {
  if (!has_device()) GTEST_SKIP() << "no OpenCL device; install pocl-opencl-icd";
  const Device device = parse_device("opencl:0");
  const std::vector<double> here = losses_on({}, DType::f32, 5),
                            there = losses_on(device, DType::f32, 5);
  for (size_t i = 0; i < here.size(); ++i) EXPECT_NEAR(there[i], here[i], 1e-3) << "step " << i;
  EXPECT_LT(here.back(), here.front()) << "nothing was learnt";
  EXPECT_EQ(stood_in(), "") << "kernels that the CPU stood in for";
  // The same bits once more.
  EXPECT_EQ(losses_on(device, DType::f32, 5), there);
}

TEST(TrainOnOpencl, ComputesInBf16) {
  if (!has_device()) GTEST_SKIP() << "no OpenCL device; install pocl-opencl-icd";
  const std::vector<double> here = losses_on({}, DType::bf16, 2),
                            there = losses_on(parse_device("opencl:0"), DType::bf16, 2);
  for (size_t i = 0; i < here.size(); ++i) EXPECT_NEAR(there[i], here[i], 2e-2) << "step " << i;
}

}  // namespace
}  // namespace wellspring
