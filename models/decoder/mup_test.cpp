// Coordinate check: after five steps of Adam mean |activation| does not depend on the width under
// mu-P, and does in the standard parametrisation.

#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "base/random.h"
#include "models/decoder/model.h"
#include "ops/optimizer.h"
#include "tensor/autograd.h"

namespace wellspring {
namespace {

std::map<std::string, double> activations(int64_t width, bool mup) {
  DecoderConfig c;
  c.family = DecoderConfig::Family::teleflm;
  c.vocab = 64, c.width = width, c.layers = 2, c.head_width = 16, c.heads = c.kv_heads = width / 16;
  c.ffn = 2 * width, c.context = 32;
  c.init.mup = mup;
  c.init.base_width = 64;
  c.init.vector_std = 0.1, c.init.matrix_std = 0.125;
  c.init.scale_residual = false;
  c.mup_scale_factor = mup ? static_cast<double>(width) / 64 : 1;
  if (!mup) c.init.matrix_std = 1 / std::sqrt(static_cast<double>(width));
  Decoder model(c, DType::f32, 1);
  Random random(7);
  Tensor ids = Tensor::empty({2, 32}, DType::i32), targets = Tensor::empty({2, 32}, DType::i32);
  for (int i = 0; i < 64; ++i) {
    ids.data_as<int32_t>()[i] = static_cast<int32_t>(random.below(64));
    targets.data_as<int32_t>()[i] = static_cast<int32_t>(random.below(64));
  }
  const std::vector<float> before = model.logits(ids).to_vector<float>();
  std::vector<Tensor> first, second;
  for (Parameter* p : model.parameters())
    first.push_back(Tensor::zeros(p->shape())), second.push_back(Tensor::zeros(p->shape()));
  for (int step = 1; step <= 5; ++step) {
    backward(model.loss(ids, targets));
    NoGrad no_grad;
    for (size_t i = 0; i < first.size(); ++i) {
      Parameter& p = *model.parameters()[i];
      AdamwOptions o;
      o.lr = 0.01 * p.lr_multiplier, o.step = step;
      adamw_(p.master, p.grad(), first[i], second[i], Tensor(), o);
      p.compute.set_grad({});
    }
  }
  std::map<std::string, double> means;
  model.set_hook([&](const std::string& name, const Tensor& value) {
    double sum = 0;
    for (float v : value.to_vector<float>()) sum += std::fabs(v);
    means[name] = sum / static_cast<double>(value.numel());
  });
  // Random logits shrink with the width by design; what training adds to those it pushes must not.
  const std::vector<float> after = model.logits(ids).to_vector<float>();
  double sum = 0;
  for (int64_t i = 0; i < 64; ++i) {
    const int64_t at = i * c.vocab + targets.data_as<int32_t>()[i];
    sum += std::fabs(after[at] - before[at]);
  }
  means["target logits, change"] = sum / 64;
  return means;
}

// Slope of log2(mean |activation|) over log2(width), 64 to 512, of the steepest activation.
double steepest(bool mup) {
  std::map<std::string, std::vector<double>> logs;
  for (int64_t width : {64, 128, 256, 512})
    for (auto& [name, mean] : activations(width, mup)) logs[name].push_back(std::log2(mean));
  double worst = 0;
  for (auto& [name, y] : logs) {
    double slope = (3 * (y[3] - y[0]) + (y[2] - y[1])) / 10;  // least squares over four even places
    std::printf("%s %-22s slope %+.3f\n", mup ? "mu-P    " : "standard", name.c_str(), slope);
    if (std::fabs(slope) > std::fabs(worst)) worst = slope;
  }
  return worst;
}

TEST(MuP, ActivationsAreFlatInWidth) {
  EXPECT_LT(std::fabs(steepest(true)), 0.15);
  EXPECT_GT(steepest(false), 0.35);
}

}  // namespace
}  // namespace wellspring
