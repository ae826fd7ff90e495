#pragma once
#include <string>
#include <vector>

namespace wellspring {

struct Series {
  std::string name;
  std::vector<double> x, y;
  bool points = false;  // marks instead of a line
};

/// A line chart as inline SVG: axes with round ticks, grid, legend, colours by CSS class (s0, s1,
/// ...), a title per curve for screen readers. Values that are not finite are left out. `log_y`
/// needs y > 0.
std::string svg_chart(const std::string& title, const std::string& x_label,
                      const std::string& y_label, const std::vector<Series>& series,
                      bool log_y = false);

}  // namespace wellspring
