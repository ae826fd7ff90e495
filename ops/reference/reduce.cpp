// Reductions: the output has x's dimensions, extent 1 where they are reduced.
#include <algorithm>
#include <cmath>
#include <limits>

#include "ops/reference/reference.h"

namespace wellspring::reference {
namespace {

// The elements of x that each element of the output is made of, in row-major order.
std::vector<std::vector<double>> groups(const Values& x, const Shape& out) {
  std::vector<std::vector<double>> g(out.numel());
  const Shape steps = contiguous_strides(out);
  for (int64_t k = 0; k < x.size(); ++k) {
    int64_t place = 0, rest = k;
    for (int d = x.shape.size() - 1; d >= 0; --d) {
      const int64_t at = rest % x.shape[d];
      rest /= x.shape[d];
      if (out[d] != 1) place += at * steps[d];
    }
    g[place].push_back(x[k]);
  }
  return g;
}

template <class F>
void reduce(const Call& call, F f) {
  const View& view = call.out[0];
  const Shape shape(std::span<const int64_t>(view.shape, static_cast<size_t>(view.dims)));
  Values out(shape);
  const auto g = groups(Values(call.in[0]), shape);
  for (int64_t k = 0; k < out.size(); ++k) out[k] = f(g[k]);
  out.write(view);
}

double total(const std::vector<double>& v) {
  double s = 0;
  for (double x : v) s += x;
  return s;
}

// The place of the best element: NaN first, then the first one that none beats.
template <class Better>
double place_of_best(const std::vector<double>& v, Better better) {
  size_t best = 0;
  for (size_t k = 1; k < v.size(); ++k)
    if (!std::isnan(v[best]) && (std::isnan(v[k]) || better(v[k], v[best]))) best = k;
  return static_cast<double>(best);
}
double place_of_greatest(const std::vector<double>& v) {
  return place_of_best(v, [](double a, double b) { return a > b; });
}
double place_of_least(const std::vector<double>& v) {
  return place_of_best(v, [](double a, double b) { return a < b; });
}

void sum(const Call& call) { reduce(call, total); }
WS_REFERENCE("reduce_sum", sum);

void mean(const Call& call) {
  reduce(call, [](const auto& v) { return total(v) / static_cast<double>(v.size()); });
}
WS_REFERENCE("reduce_mean", mean);

void prod(const Call& call) {
  reduce(call, [](const auto& v) {
    double p = 1;
    for (double x : v) p *= x;
    return p;
  });
}
WS_REFERENCE("reduce_prod", prod);

void var(const Call& call) {
  reduce(call, [&](const auto& v) {
    const double n = static_cast<double>(v.size()), mean = total(v) / n;
    double s = 0;
    for (double x : v) s += (x - mean) * (x - mean);
    return s / std::max(0.0, n - static_cast<double>(call.attr[0].i));
  });
  if (call.outs > 1) {
    Call second = call;
    second.out = call.out + 1;
    mean(second);
  }
}
WS_REFERENCE("reduce_var", var);

// The norms: one rule for each order.
void norm1(const Call& call) {
  reduce(call, [](auto v) {
    for (double& x : v) x = std::abs(x);
    return total(v);
  });
}
WS_REFERENCE("reduce_norm1", norm1);
void norm2(const Call& call) {
  reduce(call, [](auto v) {
    for (double& x : v) x *= x;
    return std::sqrt(total(v));
  });
}
WS_REFERENCE("reduce_norm2", norm2);
void norm0(const Call& call) {
  reduce(call, [](const auto& v) {
    return static_cast<double>(std::count_if(v.begin(), v.end(), [](double x) { return x != 0; }));
  });
}
WS_REFERENCE("reduce_norm0", norm0);
void norm_power(const Call& call) {
  reduce(call, [&](auto v) {
    for (double& x : v) x = std::pow(std::abs(x), call.attr[0].f);
    return std::pow(total(v), 1 / call.attr[0].f);
  });
}
WS_REFERENCE("reduce_norm_power", norm_power);
void norm_greatest(const Call& call) {
  reduce(call, [](auto v) {
    for (double& x : v) x = std::abs(x);
    return v.empty() ? 0 : v[static_cast<size_t>(place_of_greatest(v))];
  });
}
WS_REFERENCE("reduce_norm_greatest", norm_greatest);
void norm_least(const Call& call) {
  reduce(call, [](auto v) {
    for (double& x : v) x = std::abs(x);
    return v.empty() ? INFINITY : v[static_cast<size_t>(place_of_least(v))];
  });
}
WS_REFERENCE("reduce_norm_least", norm_least);

void logsumexp(const Call& call) {
  reduce(call, [](const auto& v) {
    double top = -INFINITY, sum = 0;
    for (double x : v) top = std::max(top, x);
    if (std::isinf(top)) top = 0;
    for (double x : v) sum += std::exp(x - top);
    return std::log(sum) + top;
  });
}
WS_REFERENCE("reduce_logsumexp", logsumexp);

void amax(const Call& call) {
  reduce(call, [](const auto& v) { return v[static_cast<size_t>(place_of_greatest(v))]; });
}
WS_REFERENCE("reduce_amax", amax);

void amin(const Call& call) {
  reduce(call, [](const auto& v) { return v[static_cast<size_t>(place_of_least(v))]; });
}
WS_REFERENCE("reduce_amin", amin);

void any(const Call& call) {
  reduce(call, [](const auto& v) {
    return std::any_of(v.begin(), v.end(), [](double x) { return x != 0; }) ? 1.0 : 0.0;
  });
}
WS_REFERENCE("reduce_any", any);

void all(const Call& call) {
  reduce(call, [](const auto& v) {
    return std::all_of(v.begin(), v.end(), [](double x) { return x != 0; }) ? 1.0 : 0.0;
  });
}
WS_REFERENCE("reduce_all", all);

void argmax(const Call& call) { reduce(call, place_of_greatest); }
WS_REFERENCE("reduce_argmax", argmax);

void argmin(const Call& call) { reduce(call, place_of_least); }
WS_REFERENCE("reduce_argmin", argmin);

// The product of the others, factor by factor.
void prod_backward(const Call& call) {
  const Values x(call.in[0]), g(call.in[1]);
  Values dx(x.shape);
  const Shape steps = contiguous_strides(g.shape);
  const auto group_of = [&](int64_t k) {
    int64_t place = 0;
    for (int d = x.shape.size() - 1; d >= 0; --d) {
      if (g.shape[d] != 1) place += k % x.shape[d] * steps[d];
      k /= x.shape[d];
    }
    return place;
  };
  for (int64_t k = 0; k < x.size(); ++k) {
    dx[k] = g[group_of(k)];
    for (int64_t j = 0; j < x.size(); ++j)
      if (j != k && group_of(j) == group_of(k)) dx[k] *= x[j];
  }
  dx.write(call.out[0]);
}
WS_REFERENCE("reduce_prod_backward", prod_backward);

}  // namespace
}  // namespace wellspring::reference
