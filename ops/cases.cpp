#include "ops/cases.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "base/error.h"
#include "base/random.h"
#include "base/text.h"
#include "tensor/host_copy.h"

namespace wellspring {
namespace {

using Fillers = std::map<std::string_view, std::vector<void (*)(CaseList&)>>;

Fillers& fillers() {
  static Fillers all;
  return all;
}

uint64_t hash_of(std::string_view text, uint64_t seed) {
  for (char c : text) seed = (seed ^ static_cast<uint8_t>(c)) * 0x100000001b3u;
  return seed;
}

double odd_value(Random& random) {
  switch (random.below(12)) {
    case 0:
      return std::numeric_limits<double>::quiet_NaN();
    case 1:
      return INFINITY;
    case 2:
      return -INFINITY;
    case 3:
      return 0.0;
    case 4:
      return -0.0;
    case 5:
      return 3e38;
    case 6:
      return -3e38;
    case 7:
      return 1e-39;
    case 8:
      return 90;
    case 9:
      return -110;
    default:
      return random.normal();
  }
}

double draw(const CaseInput& input, Random& random) {
  if (input.fill == Fill::ids)
    return static_cast<double>(input.low + static_cast<int64_t>(random.below(
                                               static_cast<uint64_t>(input.high - input.low))));
  if (input.dtype == DType::boolean) return random.below(2) ? 1 : 0;
  if (!is_float(input.dtype) && !is_complex(input.dtype)) {
    int64_t v = static_cast<int64_t>(random.below(19)) - 9;
    return static_cast<double>(input.dtype == DType::u8 || input.fill == Fill::positive
                                   ? std::abs(v) + (input.fill == Fill::positive)
                                   : v);
  }
  switch (input.fill) {
    case Fill::positive:
      return 0.1 + 2 * random.uniform();
    case Fill::unit:
      return 1.9 * random.uniform() - 0.95;
    case Fill::fraction:
      return 0.05 + 0.9 * random.uniform();
    case Fill::above_one:
      return 1.1 + 2 * random.uniform();
    case Fill::odd:
      return odd_value(random);
    default:
      return input.scale * random.normal();
  }
}

// A tensor of the input's shape and layout on fresh storage, not filled.
Tensor lay_out(const CaseInput& input) {
  const Shape& shape = input.shape;
  int n = shape.size();
  switch (input.layout) {
    case Layout::packed:
      break;
    case Layout::transposed: {
      if (n < 2) break;
      Shape turned = shape;
      std::swap(turned[n - 1], turned[n - 2]);
      Tensor t = Tensor::empty(turned, input.dtype);
      Shape strides = t.strides();
      std::swap(strides[n - 1], strides[n - 2]);
      return t.as_strided(shape, strides, 0);
    }
    case Layout::gaps: {
      if (n < 1) break;
      Shape wide = shape;
      wide[n - 1] = 2 * shape[n - 1] + 1;
      Tensor t = Tensor::zeros(wide, input.dtype);
      Shape strides = t.strides();
      strides[n - 1] = 2;
      return t.as_strided(shape, strides, shape.numel() ? 1 : 0);
    }
    case Layout::offset: {
      Tensor t = Tensor::zeros({shape.numel() + 3}, input.dtype);
      return t.as_strided(shape, contiguous_strides(shape), 3);
    }
    case Layout::expanded: {
      if (n < 1 || shape[0] == 0) break;
      Shape one = shape;
      one[0] = 1;
      Tensor t = Tensor::empty(one, input.dtype);
      Shape strides = t.strides();
      strides[0] = 0;
      return t.as_strided(shape, strides, 0);
    }
    case Layout::reversed: {
      if (n < 1 || shape.numel() == 0) break;
      Tensor t = Tensor::empty(shape, input.dtype);
      Shape strides = t.strides();
      strides[n - 1] = -1;
      return t.as_strided(shape, strides, shape[n - 1] - 1);
    }
  }
  return Tensor::empty(shape, input.dtype);
}

}  // namespace

CaseInput random_input(const Shape& shape, DType dtype, Fill fill) {
  CaseInput input;
  input.shape = shape, input.dtype = dtype, input.fill = fill;
  return input;
}

CaseInput ids_input(const Shape& shape, int64_t low, int64_t high, DType dtype) {
  CaseInput input;
  input.shape = shape, input.dtype = dtype, input.fill = Fill::ids;
  input.low = low, input.high = high, input.gradient = false;
  return input;
}

CaseInput no_input() {
  CaseInput input;
  input.shape = {-1};
  return input;
}

OperatorCase& CaseList::add(std::string name, std::vector<CaseInput> inputs,
                            std::function<Tensors(const Tensors&)> run) {
  OperatorCase c;
  c.name = std::move(name), c.inputs = std::move(inputs), c.run = std::move(run);
  return cases_.emplace_back(std::move(c));
}

void CaseList::publish(std::string name, std::vector<CaseInput> inputs,
                       std::function<Tensors(const Tensors&)> run, int64_t length, bool full) {
  OperatorCase& c = add("published " + std::move(name), std::move(inputs), std::move(run));
  c.length = length, c.full = full, c.published = true, c.gradient = false;
}
OperatorCase& CaseList::time(std::string name, std::vector<CaseInput> inputs,
                             std::function<Tensors(const Tensors&)> run) {
  OperatorCase& c = add(std::move(name), std::move(inputs), std::move(run));
  c.timed = true;
  return c;
}

CaseList cases_of(std::string_view op) {
  auto it = fillers().find(op);
  CaseList list(it == fillers().end() ? op : it->first);
  if (it != fillers().end())
    for (auto fill : it->second) fill(list);
  return list;
}

std::vector<std::string_view> operators_with_cases() {
  std::vector<std::string_view> names;
  for (auto& [name, fill] : fillers()) names.push_back(name);
  return names;
}

Tensors make_inputs(std::string_view op, const OperatorCase& c) {
  Tensors result;
  for (size_t i = 0; i < c.inputs.size(); ++i) {
    const CaseInput& input = c.inputs[i];
    if (input.shape.size() == 1 && input.shape[0] == -1) {
      result.emplace_back();
      continue;
    }
    Tensor t = lay_out(input);
    // Expanded inputs are drawn once per stored element.
    Shape drawn = input.shape;
    if (input.layout == Layout::expanded && drawn.size() && drawn[0]) drawn[0] = 1;
    Random random(hash_of(c.name, hash_of(op, 0xcbf29ce484222325u)), i);
    const bool pairs = is_complex(t.dtype());
    std::vector<double> values((pairs ? 2 : 1) * drawn.numel());
    for (double& v : values) v = draw(input, random);
    Shape packed = contiguous_strides(drawn);
    View source{values.data(), DType::f64, drawn.size(), drawn.data(), packed.data()};
    View target = t.view();
    target.shape = drawn.data();
    Shape strides;  // complex values are drawn part by part
    if (pairs) {
      for (int64_t s : t.strides()) strides.push_back(2 * s);
      strides.push_back(1), drawn.push_back(2);
      packed = contiguous_strides(drawn);
      source = {values.data(), DType::f64, drawn.size(), drawn.data(), packed.data()};
      target = {t.data(), DType::f32, drawn.size(), drawn.data(), strides.data()};
    }
    host_copy(target, source);
    result.push_back(std::move(t));
  }
  return result;
}

CaseRegistrar::CaseRegistrar(const char* op, void (*fill)(CaseList&)) {
  fillers()[op].push_back(fill);
}

}  // namespace wellspring
