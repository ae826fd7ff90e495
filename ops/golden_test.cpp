// The operators against what PyTorch gives (testdata/golden.json, by testdata/make_golden.py), in
// f64: results and gradients of the named forms, whose cases compare them with compositions of
// references only.
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>

#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "ops/activation.h"
#include "ops/arithmetic.h"
#include "ops/attention.h"
#include "ops/complex.h"
#include "ops/conv.h"
#include "ops/fft.h"
#include "ops/loss.h"
#include "ops/matmul.h"
#include "ops/norm.h"
#include "ops/pointwise.h"
#include "ops/pool.h"
#include "ops/reduce.h"
#include "ops/resize.h"
#include "ops/shape.h"
#include "tensor/autograd.h"

namespace wellspring {
namespace {

using Run = std::function<Tensors(const Tensors&)>;

template <class... T>
Tensors list(const std::tuple<T...>& t) {
  return std::apply([](const auto&... each) { return Tensors{each...}; }, t);
}

// The words of a name after the operator's.
struct Words {
  std::vector<std::string> all;
  double number(size_t i) const { return std::stod(all.at(i)); }
  const std::string& text(size_t i) const { return all.at(i); }
  std::vector<int> dims(size_t from) const {
    std::vector<int> d;
    for (size_t i = from; i < all.size() && all[i] != "all"; ++i)
      if (all[i].find_first_not_of("0123456789") == std::string::npos)
        d.push_back(std::stoi(all[i]));
    return d;
  }
  bool has(std::string_view word) const {
    for (const std::string& w : all)
      if (w == word) return true;
    return false;
  }
};

Tensors conv_case(const Tensors& x, const Words& w) {
  if (w.has("groups")) return {conv2d(x[0], x[1], x[2], {1}, {1}, {1}, 2)};
  if (w.has("depthwise")) return {conv2d(x[0], x[1], x[2], {2}, {1}, {1}, 3)};
  if (w.has("same")) return {conv2d_padded(x[0], x[1], x[2], {1}, "same", {1, 2})};
  return {conv2d(x[0], x[1], x[2], {2, 1}, {1, 2}, {1, 2})};
}

Tensors sdpa_case(const Tensors& x, const Words& w) {
  if (w.has("causal")) return {scaled_dot_product_attention(x[0], x[1], x[2], {}, 0, true)};
  if (w.has("mask")) return {scaled_dot_product_attention(x[0], x[1], x[2], x[3], 0, false, 0.3)};
  return {scaled_dot_product_attention(x[0], x[1], x[2], {}, 0, false, {}, w.has("gqa"))};
}

Tensor spectrum(const Tensor& x) { return view_as_complex(x); }
Tensor pairs(const Tensor& x) { return is_complex(x.dtype()) ? view_as_real(x) : x; }

using Case = Tensors (*)(const Tensors& x, const Words& w);
#define ONE(name, call)                                                                       \
  {                                                                                           \
    name, [](const Tensors& x, [[maybe_unused]] const Words& w) -> Tensors { return {call}; } \
  }
#define MANY(name, call)                                                                          \
  {                                                                                               \
    name, [](const Tensors& x, [[maybe_unused]] const Words& w) -> Tensors { return list(call); } \
  }

const std::map<std::string, Case>& cases() {
  static const std::map<std::string, Case> all = {
      ONE("mish", mish(x[0])), ONE("selu", selu(x[0])), ONE("celu", celu(x[0], 1.3)),
      ONE("softsign", softsign(x[0])), ONE("softshrink", softshrink(x[0])),
      ONE("hardshrink", hardshrink(x[0])), ONE("tanhshrink", tanhshrink(x[0])),
      ONE("hardsigmoid", hardsigmoid(x[0])), ONE("hardswish", hardswish(x[0])),
      ONE("hardtanh", hardtanh(x[0], -0.4, 0.9)), ONE("relu6", relu6(x[0])),
      ONE("log_sigmoid", log_sigmoid(x[0])), ONE("threshold", threshold(x[0], 0.1, 20)),
      ONE("softplus", softplus(x[0], 2, 3)), ONE("elu", elu(x[0], 1.5, 2, 0.5)),
      ONE("frac", frac(x[0])), ONE("sinc", sinc(x[0])), ONE("erfc", erfc(x[0])),
      ONE("sgn", sgn(x[0])), ONE("asinh", asinh(x[0])), ONE("atan", atan(x[0])),
      ONE("sinh", sinh(x[0])), ONE("cosh", cosh(x[0])), ONE("tan", tan(x[0])),
      ONE("nan_to_num", nan_to_num(x[0])), ONE("gelu", gelu(x[0], w.text(0))),
      ONE("deg2rad", deg2rad(x[0])), ONE("asin", asin(x[0])), ONE("acos", acos(x[0])),
      ONE("atanh", atanh(x[0])), ONE("erfinv", erfinv(x[0])), ONE("acosh", acosh(x[0])),
      ONE("lgamma", lgamma(x[0])), ONE("digamma", digamma(x[0])),
      ONE("logit", logit(x[0], w.has("eps") ? 0.2 : -1)), ONE("entr", entr(x[0])),
      ONE("fmod", fmod(x[0], x[1])), ONE("remainder", remainder(x[0], x[1])),
      ONE("floor_divide", floor_divide(x[0], x[1])), ONE("copysign", copysign(x[0], x[1])),
      ONE("fmax", fmax(x[0], x[1])), ONE("fmin", fmin(x[0], x[1])),
      ONE("heaviside", heaviside(x[0], x[1])), ONE("hypot", hypot(x[0], x[1])),
      ONE("atan2", atan2(x[0], x[1])), ONE("logaddexp", logaddexp(x[0], x[1])),
      ONE("logaddexp2", logaddexp2(x[0], x[1])), ONE("xlogy", xlogy(x[0], x[1])),
      ONE("ldexp", ldexp(x[0], x[1])), ONE("rsub", rsub(x[0], x[1], 2)),
      ONE("isclose", isclose(x[0], x[1], 0.1, 0.2, true)), ONE("gcd", gcd(x[0], x[1])),
      ONE("lcm", lcm(x[0], x[1])), ONE("bitwise_and", bitwise_and(x[0], x[1])),
      ONE("bitwise_or", bitwise_or(x[0], x[1])), ONE("bitwise_xor", bitwise_xor(x[0], x[1])),
      ONE("div", div_rounded(x[0], x[1], w.text(0))),
      ONE("bitwise_left_shift", bitwise_left_shift(x[0], x[1])),
      ONE("bitwise_right_shift", bitwise_right_shift(x[0], x[1])),
      ONE("bitwise_not", bitwise_not(x[0])),
      ONE("vector_norm", w.has("of") ? vector_norm(x[0], 2, {1})
                                     : vector_norm(x[0], w.number(0), w.dims(1),
                                                   w.dims(1).size() == 2)),
      MANY("var_mean", var_mean(x[0], w.dims(0))), MANY("std_mean", std_mean(x[0], w.dims(0), 0)),
      ONE("logsumexp", logsumexp(x[0], w.dims(0))), ONE("max", max(x[0])),
      ONE("addmm", w.has("bias") ? addmm(x[0], x[1], x[2]) : addmm(x[0], x[1], x[2], 0.5, -2)),
      ONE("baddbmm", baddbmm(x[0], x[1], x[2], 0.5, -2)),
      ONE("addmv", addmv(x[0], x[1], x[2], 0.5, -2)),
      ONE("layer_norm", layer_norm(x[0], {3, 4}, x[1], x[2], 1e-3)),
      MANY("native_layer_norm", native_layer_norm(x[0], {4}, x[1], x[2], 1e-3)),
      ONE("rms_norm", rms_norm(x[0], {3, 4}, x[1])),
      ONE("group_norm", group_norm(x[0], 3, x[1], x[2], 1e-3)),
      MANY("native_group_norm", native_group_norm(x[0], x[1], x[2], 2, 6, 3, 2, 1e-3)),
      ONE("instance_norm", instance_norm(x[0], x[1], x[2], 1e-3)),
      {"batch_norm",
       [](const Tensors& x, const Words& w) -> Tensors {
         const Tensor m = clone(x[3]), v = clone(x[4]);
         const Tensor y = batch_norm(x[0], x[1], x[2], m, v, w.has("training"), 0.3, 1e-3);
         return {y, m, v};
       }},
      ONE("nll_loss_nd", nll_loss_nd(x[0], x[1], x[2], w.text(0), -1)),
      ONE("cross_entropy_loss",
          cross_entropy_loss(x[0], x[1], x[2], w.text(0), -1, w.number(1))),
      ONE("mse_loss", mse_loss(x[0], x[1], w.text(0))),
      ONE("l1_loss", l1_loss(x[0], x[1], w.text(0))),
      ONE("huber_loss", huber_loss(x[0], x[1], w.text(0), 0.7)),
      ONE("smooth_l1_loss", w.has("0") ? smooth_l1_loss(x[0], x[1], w.text(1), 0)
                                       : smooth_l1_loss(x[0], x[1], w.text(0), 0.7)),
      ONE("soft_margin_loss", soft_margin_loss(x[0], x[1], w.text(0))),
      ONE("binary_cross_entropy", binary_cross_entropy(x[0], x[1], x[2], w.text(0))),
      ONE("binary_cross_entropy_with_logits",
          binary_cross_entropy_with_logits(x[0], x[1], x[2], x[3], w.text(0))),
      ONE("kl_div", kl_div(x[0], x[1], w.text(0), w.number(1) != 0)),
      ONE("margin_ranking_loss", margin_ranking_loss(x[0], x[1], x[2], 0.3, w.text(0))),
      ONE("prelu", prelu(x[0], x[1])), ONE("glu", glu(x[0], 1)),
      ONE("gelu_and_mul", gelu_and_mul(x[0], x[1])), ONE("silu_and_mul", silu_and_mul(x[0], x[1])),
      ONE("upsample_nearest1d", upsample_nearest1d(x[0], {std::stoi(w.text(0))})),
      ONE("upsample_nearest_exact1d", _upsample_nearest_exact1d(x[0], {std::stoi(w.text(0))})),
      ONE("upsample_nearest2d", w.has("scales") ? upsample_nearest2d(x[0], {}, {1.7, 2.3})
                                                : upsample_nearest2d(x[0], {7, 3})),
      MANY("max_pool2d", max_pool2d_with_indices(x[0], {3, 2}, {2}, {1}, {1, 2}, true)),
      ONE("avg_pool2d", w.has("divisor")
                            ? avg_pool2d(x[0], {3}, {}, {0}, false, true, 5)
                            : avg_pool2d(x[0], {3, 2}, {2}, {1}, true, w.number(0) != 0)),
      ONE("avg_pool1d", avg_pool1d(x[0], {3}, {2}, {1})),
      ONE("max_pool1d", max_pool1d(x[0], {3}, {2}, {1})),
      ONE("adaptive_avg_pool2d", adaptive_avg_pool2d(x[0], {4, 3})),
      MANY("adaptive_max_pool2d", adaptive_max_pool2d(x[0], {4, 3})),
      {"conv2d", conv_case}, {"sdpa", sdpa_case},
      ONE("conv1d", conv1d(x[0], x[1], x[2], {2}, {1})),
      ONE("conv_transpose2d",
          conv_transpose2d(x[0], x[1], x[2], {2, 3}, {1, 0}, {1, 2}, 2, {2, 1})),
      ONE("conv_transpose1d", conv_transpose1d(x[0], x[1], x[2], {3}, {1}, {2})),
      ONE("fft_rfft", pairs(fft_rfft(x[0], {}, -1, w.text(0)))),
      ONE("fft_irfft", fft_irfft(spectrum(x[0]), 11, -1, w.text(0))),
      ONE("fft_fft", pairs(fft_fft(spectrum(x[0]), 7, 0, w.text(0)))),
      ONE("fft_ifft", pairs(fft_ifft(spectrum(x[0]), {}, -1, w.text(0)))),
      ONE("fft_r2c", pairs(_fft_r2c(x[0], {0, 2, 1}, 1, w.text(0) == "1"))),
      ONE("fft_c2r", _fft_c2r(spectrum(x[0]), {0, 2}, 2, 7)),
      ONE("conj_physical", pairs(conj_physical(spectrum(x[0])))),
  };
  return all;
}

double value(const Json& v) {
  if (!v.is_string()) return v.get<double>();
  const std::string s = v.get<std::string>();
  return s == "nan" ? NAN : s == "inf" ? INFINITY : -INFINITY;
}

Tensor tensor_of(const Json& t, DType real) {
  if (t.is_null()) return {};
  Shape shape;
  for (const Json& n : t.at("shape")) shape.push_back(n.get<int64_t>());
  const std::string kind = t.at("dtype").get<std::string>();
  if (kind == "f64") {
    const Tensor x = Tensor::empty(shape, DType::f64);
    int64_t i = 0;
    for (const Json& v : t.at("data")) x.data_as<double>()[i++] = value(v);
    return to(x, real);
  }
  std::vector<int64_t> values;
  for (const Json& v : t.at("data")) values.push_back(v.get<int64_t>());
  const Tensor x = Tensor::from(std::span<const int64_t>(values), shape);
  return kind == "bool" ? to(x, DType::boolean) : x;
}

// The place and values of the first difference; empty when there is none.
std::string difference_of(const Tensor& ours, const Tensor& theirs, double tolerance) {
  if (!ours.defined() || !(ours.shape() == theirs.shape()))
    return str(ours.defined() ? ours.text() : "undefined", " instead of ", theirs.text());
  const std::vector<double> a = ours.to_vector<double>(), b = theirs.to_vector<double>();
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i]) && std::isnan(b[i])) continue;
    if (a[i] == b[i] || std::abs(a[i] - b[i]) <= tolerance * (1 + std::abs(b[i]))) continue;
    return str("element ", i, ": ", a[i], " instead of ", b[i]);
  }
  return "";
}

void check(const Json& golden) {
  const std::string name = golden.at("name").get<std::string>();
  SCOPED_TRACE(name);
  Words w{split(name, ' ')};
  const auto found = cases().find(w.all[0]);
  ASSERT_NE(found, cases().end());
  w.all.erase(w.all.begin());
  // There is no complex f64.
  const bool single = found->first.starts_with("fft") || found->first == "conj_physical";
  const DType real = single ? DType::f32 : DType::f64;
  const double tolerance = single ? 2e-5 : 1e-7;  // PyTorch has constants in f32
  Tensors in;
  for (const Json& t : golden.at("in")) in.push_back(tensor_of(t, real));
  const Json& grads = golden.at("grad");
  for (size_t i = 0; i < in.size(); ++i)
    if (!grads[i].is_null()) in[i].set_requires_grad(true);
  const Tensors outs = found->second(in, w);
  ASSERT_EQ(outs.size(), golden.at("out").size());
  for (size_t i = 0; i < outs.size(); ++i) {
    const Tensor theirs = tensor_of(golden.at("out")[i], real);
    EXPECT_EQ(difference_of(outs[i], theirs, tolerance), "") << "result " << i;
    if (!outs[i].requires_grad()) continue;
    const Tensor weights = Tensor::empty(outs[i].shape(), real);
    for (int64_t k = 0; k < weights.numel(); ++k) {
      if (real == DType::f64)
        weights.data_as<double>()[k] = static_cast<double>(k + 1);
      else
        weights.data_as<float>()[k] = static_cast<float>(k + 1);
    }
    backward(outs[i], weights, true);
  }
  for (size_t i = 0; i < in.size(); ++i)
    if (!grads[i].is_null()) {
      EXPECT_EQ(difference_of(in[i].grad(), tensor_of(grads[i], real), tolerance), "")
          << "gradient of input " << i;
    }
}

TEST(Golden, ResultsAndGradientsArePyTorchs) {
  const Json all = Json::parse(read_file("ops/testdata/golden.json"));
  EXPECT_GT(all.size(), 300u);
  std::map<std::string, int> seen;
  for (const Json& golden : all) {
    check(golden);
    ++seen[split(golden.at("name").get<std::string>(), ' ')[0]];
  }
  for (const auto& [name, run] : cases()) EXPECT_GT(seen[name], 0) << name << " is not compared";
}

}  // namespace
}  // namespace wellspring
