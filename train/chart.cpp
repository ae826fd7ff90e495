#include "train/chart.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/text.h"

namespace wellspring {
namespace {

constexpr double kWidth = 720, kHeight = 300, kLeft = 64, kRight = 16, kTop = 34, kBottom = 44;
constexpr size_t kMostPoints = 800;

std::string number(double v) {
  char buffer[32];
  double size = std::abs(v);
  std::snprintf(buffer, sizeof buffer, size != 0 && (size < 1e-3 || size >= 1e6) ? "%.2g" : "%.4g",
                v);
  if (size >= 1e4 && size < 1e6) std::snprintf(buffer, sizeof buffer, "%.0f", v);
  return buffer;
}

// Ticks at 1, 2 or 5 times a power of ten, about `wanted` of them.
std::vector<double> ticks(double low, double high, int wanted) {
  double raw = (high - low) / wanted;
  double power = std::pow(10, std::floor(std::log10(raw)));
  double step = power * (raw / power < 1.5   ? 1
                         : raw / power < 3.5 ? 2
                         : raw / power < 7.5 ? 5
                                             : 10);
  std::vector<double> out;
  for (double v = std::ceil(low / step - 1e-9) * step; v <= high + step * 1e-9; v += step)
    out.push_back(std::abs(v) < step * 1e-9 ? 0 : v);
  return out;
}

struct Range {
  double low = INFINITY, high = -INFINITY;
  void add(double v) { low = std::min(low, v), high = std::max(high, v); }
  void widen() {
    if (!(low <= high)) low = 0, high = 1;
    if (low == high) low -= 0.5, high += 0.5;
  }
};

// Long curves keep the lowest and highest value of each bucket, so spikes stay visible.
Series thinned(const Series& s) {
  if (s.x.size() <= kMostPoints) return s;
  Series out{s.name, {}, {}, s.points};
  size_t buckets = kMostPoints / 2;
  for (size_t b = 0; b < buckets; ++b) {
    size_t begin = b * s.x.size() / buckets, end = (b + 1) * s.x.size() / buckets;
    auto [low, high] = std::minmax_element(s.y.begin() + begin, s.y.begin() + end);
    size_t i = low - s.y.begin(), j = high - s.y.begin();
    for (size_t k : {std::min(i, j), std::max(i, j)})
      out.x.push_back(s.x[k]), out.y.push_back(s.y[k]);
  }
  return out;
}

}  // namespace

std::string svg_chart(const std::string& title, const std::string& x_label,
                      const std::string& y_label, const std::vector<Series>& series, bool log_y) {
  auto height_of = [log_y](double y) { return log_y ? std::log10(y) : y; };
  auto usable = [log_y](double x, double y) {
    return std::isfinite(x) && std::isfinite(y) && (!log_y || y > 0);
  };
  Range xs, ys;
  for (const Series& s : series)
    for (size_t i = 0; i < s.x.size(); ++i)
      if (usable(s.x[i], s.y[i])) xs.add(s.x[i]), ys.add(height_of(s.y[i]));
  xs.widen(), ys.widen();
  auto px = [&](double x) {
    return kLeft + (x - xs.low) / (xs.high - xs.low) * (kWidth - kLeft - kRight);
  };
  auto py = [&](double y) {
    return kHeight - kBottom - (y - ys.low) / (ys.high - ys.low) * (kHeight - kTop - kBottom);
  };
  auto at = [](double v) {
    char b[24];
    std::snprintf(b, sizeof b, "%.1f", v);
    return std::string(b);
  };

  std::string out =
      str("<svg class=\"chart\" viewBox=\"0 0 ", kWidth, " ", kHeight,
          "\" role=\"img\" aria-label=\"", html_escape(title), "\">\n<text class=\"title\" x=\"",
          kLeft, "\" y=\"18\">", html_escape(title), "</text>\n");
  for (double v : ticks(ys.low, ys.high, 5)) {
    std::string y = at(py(v));
    out += str("<line class=\"grid\" x1=\"", kLeft, "\" x2=\"", kWidth - kRight, "\" y1=\"", y,
               "\" y2=\"", y, "\"/><text class=\"tick\" text-anchor=\"end\" x=\"", kLeft - 6,
               "\" y=\"", at(py(v) + 4), "\">", number(log_y ? std::pow(10, v) : v), "</text>\n");
  }
  for (double v : ticks(xs.low, xs.high, 8))
    out += str("<text class=\"tick\" text-anchor=\"middle\" x=\"", at(px(v)), "\" y=\"",
               kHeight - kBottom + 18, "\">", number(v), "</text>\n");
  out += str("<line class=\"axis\" x1=\"", kLeft, "\" x2=\"", kWidth - kRight, "\" y1=\"",
             kHeight - kBottom, "\" y2=\"", kHeight - kBottom,
             "\"/>\n<text class=\"label\" text-anchor=\"end\" x=\"", kWidth - kRight, "\" y=\"",
             kHeight - 8, "\">", html_escape(x_label), "</text><text class=\"label\" x=\"", kLeft,
             "\" y=\"", kHeight - 8, "\">", html_escape(y_label), "</text>\n");
  double legend = kWidth - kRight;
  for (size_t k = series.size(); k-- > 0;) {
    Series s = thinned(series[k]);
    std::string shape;
    for (size_t i = 0; i < s.x.size(); ++i) {
      if (!usable(s.x[i], s.y[i])) continue;
      std::string x = at(px(s.x[i])), y = at(py(height_of(s.y[i])));
      shape +=
          s.points ? str("<circle cx=\"", x, "\" cy=\"", y, "\" r=\"3\"/>") : str(x, ",", y, " ");
    }
    out += str("<g class=\"s", k, "\"><title>", html_escape(s.name), "</title>",
               s.points ? shape : str("<polyline points=\"", shape, "\"/>"));
    out += str("<text text-anchor=\"end\" x=\"", at(legend), "\" y=\"18\">", html_escape(s.name),
               "</text></g>\n");
    legend -= 9 + 7.0 * static_cast<double>(s.name.size());
  }
  return out + "</svg>\n";
}

}  // namespace wellspring
