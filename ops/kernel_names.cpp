// Tells dispatch how operators call their kernels, so that the switches and the hit log take the
// names that people know.

#include <algorithm>

#include "base/text.h"
#include "ops/registry.h"
#include "tensor/dispatch.h"

namespace wellspring {
namespace {

std::vector<std::string> words(std::string_view text) {
  std::vector<std::string> all;
  for (std::string& word : split(text, ' '))
    if (!word.empty()) all.push_back(std::move(word));
  return all;
}

std::vector<std::string> kernels_of(std::string_view name) {
  std::vector<std::string> all;
  for (const OperatorInfo& op : operators())
    if (op.name == name || op.family == name)
      for (std::string& kernel : words(op.kernels)) all.push_back(std::move(kernel));
  return all;
}

std::string operators_of(std::string_view kernel) {
  std::string names;
  for (const OperatorInfo& op : operators())
    for (const std::string& k : words(op.kernels))
      if (k == kernel) names += (names.empty() ? "" : " ") + std::string(op.name);
  return names;
}

std::vector<std::string> all_names() {
  std::vector<std::string> all;
  for (const OperatorInfo& op : operators()) all.emplace_back(op.name), all.emplace_back(op.family);
  return all;
}

[[maybe_unused]] const bool told = [] {
  set_kernel_names({kernels_of, operators_of, all_names});
  return true;
}();

}  // namespace
}  // namespace wellspring
