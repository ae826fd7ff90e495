#include "ops/check.h"

#include <cmath>
#include <cstring>
#include <optional>

#include "base/error.h"
#include "base/random.h"
#include "base/text.h"
#include "base/threads.h"
#include "ops/reference/reference.h"
#include "tensor/dispatch.h"
#include "tensor/hit_log.h"
#include "tensor/host_copy.h"

namespace wellspring {
namespace {

struct Tolerance {
  double atol, rtol;
};

// atol = 1e-4 times the length of the sums.
Tolerance published_tolerance(DType dtype, int64_t length) {
  const double atol = 1e-4 * static_cast<double>(std::max<int64_t>(length, 1));
  switch (dtype) {
    case DType::f64:
      return {atol, 1e-7};
    case DType::f32:
      return {atol, 1.3e-6};
    case DType::bf16:
      return {atol, 0.016};
    case DType::f16:
      return {atol, 1e-3};
    default:
      return {0, 0};
  }
}

Tolerance tolerance_of(DType dtype, const OperatorCase& c) {
  if (c.published) return published_tolerance(dtype, c.length);
  Tolerance t{0, 0};
  switch (dtype) {
    case DType::f64:
      t = {1e-12, 1e-11};
      break;
    case DType::f32:
      t = {2e-6, 4e-6};
      break;
    case DType::bf16:
      t = {1e-4, 0.016};
      break;
    case DType::f16:
      t = {1e-4, 0.002};
      break;
    default:
      return t;
  }
  t.atol *= static_cast<double>(std::max<int64_t>(c.length, 1));
  if (c.atol >= 0 && dtype != DType::f64) t.atol = c.atol;
  if (c.rtol >= 0 && dtype != DType::f64) t.rtol = c.rtol;
  return t;
}

std::string place_of(int64_t index, const Shape& shape) {
  Shape place = shape;
  for (int d = shape.size() - 1; d >= 0; --d) place[d] = index % shape[d], index /= shape[d];
  return place.text();
}

Tensor packed_copy(const Tensor& t, DType dtype) {
  Tensor copy = Tensor::empty(t.shape(), dtype, t.device());
  copy.copy_from(t);
  return copy;
}

// A packed copy of complex values as pairs of real ones.
Tensor as_pairs(const Tensor& t) {
  const Tensor copy = packed_copy(t, t.dtype());
  Shape shape = t.shape();
  shape.push_back(2);
  return Tensor::wrap(copy.data(), shape, DType::f32, copy.handle());
}

bool wants_gradient(const CaseInput& input, const Tensor& t) {
  return input.gradient && t.defined() && is_float(t.dtype()) && t.numel() > 0;
}

// Fixed random weights of the outputs: the function whose gradient is checked is their product's
// sum.
Tensors weights_for(const Tensors& outs) {
  Tensors weights;
  for (size_t i = 0; i < outs.size(); ++i) {
    if (!outs[i].defined() || !is_float(outs[i].dtype())) {
      weights.emplace_back();
      continue;
    }
    Random random(77, i);
    std::vector<float> values(outs[i].numel());
    for (float& v : values) v = static_cast<float>(random.normal());
    weights.push_back(Tensor::from(values, outs[i].shape(), outs[i].dtype(), outs[i].device()));
  }
  return weights;
}

// Gradients of the wanted inputs (undefined elsewhere).
Tensors gradients(const OperatorCase& c, const Tensors& inputs) {
  for (size_t i = 0; i < inputs.size(); ++i)
    if (wants_gradient(c.inputs[i], inputs[i])) inputs[i].set_requires_grad(true);
  Tensors outs = c.run(inputs);
  Tensors weights = weights_for(outs);
  for (size_t i = 0; i < outs.size(); ++i)
    if (weights[i].defined() && outs[i].requires_grad()) backward(outs[i], weights[i], true);
  Tensors result;
  for (const Tensor& t : inputs) result.push_back(t.defined() ? t.grad() : Tensor());
  return result;
}

double weighted_sum(const OperatorCase& c, const Tensors& inputs) {
  Tensors outs = c.run(inputs), weights = weights_for(outs);
  double sum = 0;
  for (size_t i = 0; i < outs.size(); ++i) {
    if (!weights[i].defined()) continue;
    std::vector<double> a = outs[i].to_vector<double>(), b = weights[i].to_vector<double>();
    for (size_t k = 0; k < a.size(); ++k) sum += a[k] * b[k];
  }
  return sum;
}

// Derivatives along some directions of every input, analytic against central differences. Nothing
// when the case is too coarse for them: its f32 sister stands for it.
std::optional<std::string> check_differences(std::string_view op, const OperatorCase& c) {
  Tensors inputs = make_inputs(op, c);
  DType dtype = c.takes_f64 ? DType::f64 : DType::f32;
  for (Tensor& t : inputs) {
    if (!t.defined() || !is_float(t.dtype())) continue;
    if (!c.takes_f64 && t.dtype() != DType::f32) return {};
    t = packed_copy(t, dtype);
  }
  for (const Tensor& t : c.run(inputs))
    if (t.defined() && is_float(t.dtype()) && size_of(t.dtype()) < 4) return {};
  Tensors grads = gradients(c, inputs);
  NoGrad no_grad;
  UseKernels slow("reference", reference::kernels());
  const double step = c.takes_f64 ? 1e-5 : 1e-2, slack = c.takes_f64 ? 1e-6 : 1e-2;
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (!wants_gradient(c.inputs[i], inputs[i])) continue;
    if (!grads[i].defined()) return str("input ", i, " got no gradient");
    std::vector<double> x = inputs[i].to_vector<double>(), g = grads[i].to_vector<double>();
    for (int direction = 0; direction < 6; ++direction) {
      Random random(direction, i);
      std::vector<double> v(x.size());
      bool one = direction >= 3 && x.size() > 1;  // the last directions are single elements
      if (one)
        v[random.below(x.size())] = 1;
      else
        for (double& e : v) e = random.normal();
      double norm = 0, analytic = 0, size = 0;
      for (double e : v) norm += e * e;
      for (size_t k = 0; k < x.size(); ++k)
        v[k] /= std::sqrt(norm), analytic += g[k] * v[k], size += g[k] * g[k];
      auto shifted = [&](double h) {
        std::vector<double> y = x;
        for (size_t k = 0; k < x.size(); ++k) y[k] += h * v[k];
        Shape shape = inputs[i].shape(), strides = contiguous_strides(shape);
        Tensors moved = inputs;
        moved[i] = Tensor::empty(shape, dtype);
        host_copy(moved[i].view(),
                  {y.data(), DType::f64, shape.size(), shape.data(), strides.data()});
        return weighted_sum(c, moved);
      };
      double numeric = (shifted(step) - shifted(-step)) / (2 * step);
      double allowed = slack * (std::abs(analytic) + std::sqrt(size) + (c.takes_f64 ? 1e-3 : 1e-2));
      if (!(std::abs(numeric - analytic) <= allowed))
        return str("input ", i, ", direction ", direction, ": derivative ", analytic,
                   ", by differences ", numeric);
    }
  }
  return "";
}

// Runs a step; an exception is a difference as well.
template <class F>
auto guarded(F&& f) -> decltype(f()) {
  try {
    return f();
  } catch (const Error& e) {
    return str("throws: ", e.what());
  }
}

// A case's inputs on a device, lying there as they lie on the host.
Tensors inputs_on(Device device, std::string_view op, const OperatorCase& c) {
  Tensors inputs = make_inputs(op, c);
  if (device.is_cpu()) return inputs;
  for (Tensor& t : inputs)
    if (t.defined()) t = t.on(copy_storage(*t.storage(), device));
  return inputs;
}

std::string check_values(std::string_view op, const OperatorCase& c, const Tensors& expected,
                         Device device) {
  NoGrad no_grad;
  Tensors inputs = inputs_on(device, op, c), before = make_inputs(op, c);
  Tensors outs = c.run(inputs);
  if (outs.size() != expected.size())
    return str(outs.size(), " results instead of ", expected.size());
  for (size_t i = 0; i < outs.size(); ++i) {
    if (outs[i].defined() && inputs.size() && inputs[0].defined() && outs[i].device() != device)
      return str("result ", i, " is on ", device_name(outs[i].device()));
    if (std::string d = difference(outs[i], expected[i], c); !d.empty())
      return str("result ", i, ": ", d);
  }
  for (size_t i = 0; i < inputs.size(); ++i)
    if (inputs[i].defined() && !same_bits(inputs[i].to_device({}), before[i]))
      return str("input ", i, " was changed");
  return "";
}

std::string check_gradients(std::string_view op, const OperatorCase& c, const Tensors& expected,
                            Device device) {
  Tensors grads = gradients(c, inputs_on(device, op, c));
  for (size_t i = 0; i < grads.size(); ++i) {
    if (!expected[i].defined() && !grads[i].defined()) continue;
    if (!expected[i].defined() || !grads[i].defined())
      return str("input ", i, grads[i].defined() ? " got a gradient" : " got no gradient");
    if (std::string d = difference(grads[i], expected[i], c, 4); !d.empty())
      return str("gradient of input ", i, ": ", d);
  }
  return "";
}

// The kernels of a chip that ran, or that the CPU's stood in for, since `before`.
std::string stood_in_since(const std::vector<KernelHits>& before, Device device) {
  std::string names;
  for (const KernelHits& now : kernel_hits()) {
    if (now.chip != chips()[device.chip].name || now.ran != "on the cpu") continue;
    uint64_t calls = now.calls;
    for (const KernelHits& h : before)
      if (h.kernel == now.kernel && h.chip == now.chip && h.ran == now.ran) calls -= h.calls;
    if (calls) names += (names.empty() ? "" : " ") + now.kernel;
  }
  return names;
}

std::string check_threads(std::string_view op, const OperatorCase& c, bool with_gradient) {
  int before = threads();
  struct Restore {
    int n;
    ~Restore() { set_threads(n); }
  } restore{before};
  Tensors first, first_grads;
  for (int n : {1, 2, 3, 16, 64}) {
    set_threads(n);
    Tensors outs, grads;
    {
      NoGrad no_grad;
      outs = c.run(make_inputs(op, c));
    }
    if (with_gradient) grads = gradients(c, make_inputs(op, c));
    if (n == 1) {
      first = outs, first_grads = grads;
      continue;
    }
    for (size_t i = 0; i < outs.size(); ++i)
      if (!same_bits(outs[i], first[i]))
        return str("result ", i, " has other bits with ", n, " threads");
    for (size_t i = 0; i < grads.size(); ++i)
      if (!same_bits(grads[i], first_grads[i]))
        return str("gradient of input ", i, " has other bits with ", n, " threads");
  }
  return "";
}

}  // namespace

std::string difference(const Tensor& ours, const Tensor& expected, const OperatorCase& c,
                       double slack) {
  if (!ours.defined() || !expected.defined())
    return ours.defined() == expected.defined() ? "" : "defined on one side only";
  if (!(ours.shape() == expected.shape()) || ours.dtype() != expected.dtype())
    return str(ours.text(), " instead of ", expected.text());
  if (is_complex(ours.dtype())) return difference(as_pairs(ours), as_pairs(expected), c, slack);
  if (is_integer(ours.dtype())) {
    std::vector<int64_t> a = ours.to_vector<int64_t>(), b = expected.to_vector<int64_t>();
    for (size_t i = 0; i < a.size(); ++i)
      if (a[i] != b[i])
        return str(a[i], " instead of ", b[i], " at ",
                   place_of(static_cast<int64_t>(i), ours.shape()));
    return "";
  }
  std::vector<double> a = ours.to_vector<double>(), b = expected.to_vector<double>();
  Tolerance t = tolerance_of(ours.dtype(), c);
  for (size_t i = 0; i < a.size(); ++i) {
    if (std::isnan(a[i]) && std::isnan(b[i])) continue;
    if (a[i] == b[i]) continue;
    if (std::isfinite(b[i]) && std::abs(a[i] - b[i]) <= slack * (t.atol + t.rtol * std::abs(b[i])))
      continue;
    return str(a[i], " instead of ", b[i], " at ", place_of(static_cast<int64_t>(i), ours.shape()));
  }
  return "";
}

bool same_bits(const Tensor& a, const Tensor& b) {
  if (!a.defined() || !b.defined()) return a.defined() == b.defined();
  if (!(a.shape() == b.shape()) || a.dtype() != b.dtype()) return false;
  Tensor x = packed_copy(a, a.dtype()), y = packed_copy(b, b.dtype());
  return x.numel() == 0 || std::memcmp(x.data(), y.data(), x.numel() * size_of(x.dtype())) == 0;
}

std::vector<CheckResult> check_operator(std::string_view op, const CheckOptions& options) {
  // What the environment says wrong is an error of its own, not one of every check.
  static KernelRef first_wanted("fill");
  first_wanted.on(0);
  std::vector<cpu::Isa> isas = options.isas;
  if (isas.empty())
    for (int i = 0; i < cpu::kIsaCount; ++i)
      if (cpu::has(static_cast<cpu::Isa>(i))) isas.push_back(static_cast<cpu::Isa>(i));
  std::vector<CheckResult> results;
  const CaseList list = cases_of(op);
  bool is_first = true;
  for (const OperatorCase& c : list.all()) {
    if (c.timed || (c.full && !options.full)) continue;
    auto report = [&](const std::string& what, std::string detail) {
      results.push_back({std::string(op), c.name, what, detail.empty(), std::move(detail), ""});
    };
    Tensors inputs = make_inputs(op, c), expected, expected_grads;
    bool with_gradient = false;
    if (options.gradients && c.gradient)
      for (size_t i = 0; i < inputs.size(); ++i)
        with_gradient |= wants_gradient(c.inputs[i], inputs[i]);
    std::string failed = guarded([&] {
      NoGrad no_grad;
      UseKernels slow("reference", reference::kernels());
      expected = c.run(make_inputs(op, c));
      return std::string();
    });
    if (!failed.empty()) {
      report("reference", failed);
      continue;
    }
    if (with_gradient) {
      // A reference of the backward kernels is welcome; without it differences alone decide.
      try {
        UseKernels slow("reference", reference::kernels());
        expected_grads = gradients(c, make_inputs(op, c));
      } catch (const Error& e) {
        if (e.fault() != Fault::internal) report("reference gradient", e.what());
      }
    }
    const auto check_both = [&](std::string_view where) {
      const auto one = [&](const char* what, auto check, const Tensors& wanted) {
        const std::vector<KernelHits> before = kernel_hits();
        report(str(what, ' ', where),
               guarded([&] { return check(op, c, wanted, options.device); }));
        if (!options.device.is_cpu())
          results.back().on_cpu = stood_in_since(before, options.device);
      };
      one("values", check_values, expected);
      if (!expected_grads.empty()) one("gradient", check_gradients, expected_grads);
    };
    if (!options.device.is_cpu()) {
      check_both(device_name(options.device));
      if (options.first) break;
      continue;
    }
    for (cpu::Isa isa : isas) {
      UseKernels fast(name_of(isa), cpu::kernels_of(isa));
      check_both(name_of(isa));
      if (options.first || c.published) continue;
      if (isa == isas.back() && with_gradient)
        if (auto differ = guarded([&] { return check_differences(op, c); }))
          report("differences", *differ);
      // The strongest set shows it for every case, the others for one.
      if (options.threads && (isa == isas.back() || is_first))
        report(str("threads ", name_of(isa)),
               guarded([&] { return check_threads(op, c, with_gradient); }));
    }
    is_first = false;
    if (options.first) break;
  }
  return results;
}

}  // namespace wellspring
