// The cases of every pointwise operator, made from its description: each dtype, layouts,
// broadcasting, odd values, empty and 0-d tensors, numbers as operands, forms in place and with
// out, and speed.

#include "ops/cases.h"
#include "ops/cases/published.h"
#include "ops/pointwise_call.h"

namespace wellspring {
namespace {

const PointwiseOp& op_of(std::string_view name) {
  for (const PointwiseOp* op : pointwise_operators())
    if (op->name == name) return *op;
  return *pointwise_operators()[0];  // not reached: the lists are registered from the same table
}

bool one_of(std::string_view name, std::initializer_list<std::string_view> names) {
  for (std::string_view n : names)
    if (n == name) return true;
  return false;
}

// Where the operator and its derivative are smooth and far from poles.
Fill fill_of(std::string_view op, int operand) {
  if (one_of(op, {"log", "log2", "log10", "log1p", "sqrt", "rsqrt", "reciprocal", "pow", "lgamma",
                  "digamma", "entr", "atan2", "hypot"}))
    return Fill::positive;
  if (one_of(op, {"asin", "acos", "atanh", "erfinv", "tan"})) return Fill::unit;
  if (one_of(op, {"logit", "bce_terms"})) return Fill::fraction;
  if (op == "acosh") return Fill::above_one;
  if (operand == 1 && one_of(op, {"div", "fmod", "remainder", "floor_divide", "xlogy", "xlog1py",
                                  "kl_terms", "bitwise_left_shift", "bitwise_right_shift"}))
    return Fill::positive;
  if (op == "addcdiv" && operand == 2) return Fill::positive;
  return Fill::normal;
}

class Builder {
 public:
  explicit Builder(CaseList& cases)
      : cases_(cases),
        op_(op_of(cases.op())),
        n_(op_.operands),
        whole_(op_.result == PointwiseResult::integer) {}

  void build() {
    dtypes();
    between_steps();
    layouts();
    broadcasting();
    odd_values();
    shapes();
    numbers();
    forms();
    mixed_dtypes();
    published_sets();
    speed();
  }

 private:
  CaseInput input(const Shape& shape, DType dtype, int i) const {
    if (op_.masks >> i & 1) return random_input(shape, DType::boolean);
    Fill fill = fill_of(op_.name, i);
    CaseInput in = random_input(shape, dtype, fill);
    if (!is_float(dtype) && (fill == Fill::positive || std::string_view(op_.name) == "pow")) {
      // Small enough for the results of i8.
      const bool truth = dtype == DType::boolean;
      const bool divides = one_of(op_.name, {"fmod", "remainder", "floor_divide"}) && i == 1;
      in = ids_input(shape, truth && !divides ? 0 : 1, truth ? 2 : 4, dtype);
    }
    return in;
  }
  std::vector<CaseInput> inputs(const Shape& shape, DType dtype) const {
    std::vector<CaseInput> all;
    for (int i = 0; i < n_; ++i) all.push_back(input(shape, dtype, i));
    return all;
  }
  // run(parameters): `factor` times their defaults, which are often neutral.
  template <class F>
  decltype(auto) with_params(double factor, F&& run) const {
    const double a = factor * op_.defaults[0], b = factor * op_.defaults[1],
                 c = factor * op_.defaults[2];
    using List = std::initializer_list<double>;
    return op_.params == 0   ? run(List{})
           : op_.params == 1 ? run(List{a})
           : op_.params == 2 ? run(List{a, b})
                             : run(List{a, b, c});
  }
  // run(operands)
  template <class F>
  decltype(auto) with_operands(const Tensors& in, F&& run) const {
    using List = std::initializer_list<Operand>;
    return n_ == 1   ? run(List{in[0]})
           : n_ == 2 ? run(List{in[0], in[1]})
                     : run(List{in[0], in[1], in[2]});
  }
  Tensor call(const Tensors& in, double factor = 2) const {
    return with_operands(in, [&](auto operands) {
      return with_params(factor, [&](auto params) { return pointwise(op_, operands, params); });
    });
  }
  std::function<Tensors(const Tensors&)> plain() const {
    return [self = *this](const Tensors& in) -> Tensors { return {self.call(in)}; };
  }

  OperatorCase& add(const std::string& name, std::vector<CaseInput> in,
                    std::function<Tensors(const Tensors&)> run) {
    OperatorCase& c = cases_.add(name, std::move(in), std::move(run));
    c.takes_f64 = true;
    // Differences say nothing across a step, or on an edge, where values of 16 bits often lie.
    const bool steps = has_steps();
    const bool edges =
        one_of(op_.name, {"clamp", "clamp_min", "clamp_max", "hardtanh", "relu6", "hardsigmoid",
                          "hardswish", "softshrink", "hardshrink", "threshold", "l1_terms",
                          "huber_terms", "smooth_l1_terms", "fmax", "fmin", "frac"});
    bool coarse = false;
    for (const CaseInput& i : c.inputs) coarse |= size_of(i.dtype) < 4;
    c.gradient = op_.gradients && !steps && !(edges && coarse);
    return c;
  }

  bool has_steps() const {
    return one_of(op_.name,
                  {"sign", "floor", "ceil", "trunc", "round", "fmod", "remainder", "frac"});
  }
  // Operands in (0.2, 0.4), where none of them steps.
  void between_steps() {
    if (!has_steps()) return;
    // For two: 2.3 ... 2.7 by 0.99 ... 1.01.
    if (n_ == 2)
      add("between the steps",
          {random_input({7, 33}, DType::f32, Fill::unit),
           random_input({7, 33}, DType::f32, Fill::unit)},
          [self = *this](const Tensors& in) -> Tensors {
            return {self.call({between(in[0], 0.2, 2.5), between(in[1], 0.01, 1)})};
          })
          .gradient = true;
    if (n_ == 2) return;
    add("between the steps", {random_input({7, 33}, DType::f32, Fill::unit)},
        [self = *this](const Tensors& in) -> Tensors {
          return {self.call({between(in[0], 0.1, 0.3)})};
        })
        .gradient = true;
  }
  static Tensor between(const Tensor& x, double by, double and_then) {
    return pointwise(op_of("add"), {pointwise(*multiply(), {x, Scalar(by)}, {}), Scalar(and_then)},
                     {1});
  }

  void dtypes() {
    for (DType t : {DType::f64, DType::f32, DType::bf16, DType::f16, DType::i64, DType::i32,
                    DType::i16, DType::i8, DType::u8, DType::boolean})
      if (takes(t))
        add(std::string(name_of(t)), inputs({7, 33}, t), plain()).sums(is_float(t) ? 1 : 100);
  }

  // A dtype of each width that the operator takes, in the place of f32 and bf16.
  bool takes(DType t) const { return !whole_ || !is_float(t); }
  DType wide() const { return whole_ ? DType::i32 : DType::f32; }
  DType half() const { return whole_ ? DType::i16 : DType::bf16; }

  void layouts() {
    const std::pair<const char*, Layout> all[] = {{"transposed", Layout::transposed},
                                                  {"gaps", Layout::gaps},
                                                  {"offset", Layout::offset},
                                                  {"expanded", Layout::expanded},
                                                  {"reversed", Layout::reversed}};
    for (auto [name, layout] : all)
      for (DType t : {wide(), half()}) {
        std::vector<CaseInput> in = inputs({5, 6, 150}, t);
        in[0] = in[0].with(layout);
        add(std::string(name) + " " + std::string(name_of(t)), in, plain());
        if (n_ > 1) {
          std::vector<CaseInput> other = inputs({3, 70}, t);
          for (CaseInput& i : other) i = i.with(layout);
          add("all " + std::string(name) + " " + std::string(name_of(t)), other, plain());
        }
      }
  }

  void broadcasting() {
    if (n_ < 2) return;
    const std::pair<Shape, Shape> pairs[] = {
        {{4, 5, 6}, {6}}, {{4, 5, 6}, {5, 1}}, {{200}, {3, 1}},   {{4, 1, 6}, {5, 1}}, {{2, 3}, {}},
        {{}, {2, 150}},   {{1}, {3, 2}},       {{3, 260}, {260}}, {{0, 3}, {3}}};
    for (const auto& [a, b] : pairs) {
      std::vector<CaseInput> in = {input(a, wide(), 0), input(b, wide(), 1)};
      if (n_ == 3) in.push_back(input({}, wide(), 2));
      add(a.text() + " with " + b.text(), in, plain()).sums(16);
    }
  }

  void odd_values() {
    if (whole_) return;
    for (DType t : {DType::f64, DType::f32, DType::bf16, DType::f16})
      for (int odd = 0; odd < n_; ++odd) {
        if (op_.masks >> odd & 1) continue;
        std::vector<CaseInput> in = inputs({3, 100}, t);
        if (std::string_view(op_.name) == "lerp") in[2] = in[2].with(Fill::unit);
        // Sums of products that overflow one by one in f32, and not in f64, take no greatest
        // values.
        const bool sums = one_of(op_.name, {"bce_logits_terms", "bce_terms", "kl_terms"});
        in[odd] = sums ? in[odd].scaled(30) : in[odd].with(Fill::odd);
        // With the default parameter, as products inside would overflow that do not in f64.
        add("odd values in " + std::to_string(odd) + " " + std::string(name_of(t)), in,
            [self = *this](const Tensors& x) -> Tensors { return {self.call(x, 1)}; })
            .no_gradient();
      }
  }

  void shapes() {
    for (const Shape& s :
         {Shape{}, Shape{1}, Shape{0}, Shape{3, 0, 2}, Shape{1, 1, 1}, Shape{15}, Shape{16},
          Shape{17}, Shape{1025}, Shape{8193}, Shape{2, 1, 3, 1, 2, 1, 2, 2}, Shape{3, 1000}})
      add("shape " + s.text(), inputs(s, wide()), plain());
  }

  void numbers() {
    if (n_ < 2) return;
    for (DType t : {DType::f32, DType::bf16, DType::i32, DType::f64}) {
      if (!takes(t)) continue;
      std::vector<CaseInput> in = {input({4, 33}, t, 0)};
      const std::string name = " " + std::string(name_of(t));
      if (op_.masks & 1) {
        add("numbers" + name, in, [self = *this](const Tensors& x) -> Tensors {
          return {pointwise(self.op_, {x[0], Scalar(2), Scalar(1.5)}, {})};
        });
        continue;
      }
      add("number after" + name, in, [self = *this](const Tensors& x) -> Tensors {
        return {self.call_numbers(x[0], 2, false)};
      });
      if (n_ == 2)
        add("number before" + name, {input({4, 33}, t, 1)},
            [self = *this](const Tensors& x) -> Tensors {
              return {self.call_numbers(x[0], 3, true)};
            })
            .gradient &= std::string_view(op_.name) != "bce_terms";  // 3 is no probability
    }
  }
  Tensor call_numbers(const Tensor& x, int v, bool first) const {
    const auto with = [&](std::initializer_list<Operand> operands) {
      return with_params(1, [&](auto params) { return pointwise(op_, operands, params); });
    };
    const Scalar a(v), b(v + 1);
    return n_ == 3 ? with({x, a, b}) : first ? with({a, x}) : with({x, a});
  }

  void forms() {
    if (op_.masks & 1) return;
    for (DType t : {DType::f32, DType::bf16, DType::i32}) {
      if (!takes(t)) continue;
      // The result of an integer operator that gives floats does not fit in place.
      if (!is_float(t) && op_.result == PointwiseResult::floating) continue;
      const std::string name = " " + std::string(name_of(t));
      add("in place" + name, inputs({3, 50}, t),
          [self = *this](const Tensors& in) -> Tensors { return {self.change(in)}; });
      add("out" + name, inputs({3, 50}, t), [self = *this](const Tensors& in) -> Tensors {
        return {self.into_out(in)};
      }).no_gradient();
    }
  }
  // x in place, on a copy that is on the tape; as a transposed view of a larger tensor.
  Tensor change(const Tensors& in) const {
    Tensors changed = in;
    changed[0] = pointwise(*multiply(), {in[0], Scalar(1)}, {});
    return with_operands(changed, [&](auto operands) {
      return with_params(2, [&](auto params) { return pointwise_in_place(op_, operands, params); });
    });
  }
  Tensor into_out(const Tensors& in) const {
    NoGrad no_grad;
    const DType t = op_.result == PointwiseResult::truth ? DType::boolean : in[0].dtype();
    const Tensor turned = Tensor::empty({50, 3}, t, in[0].device()).as_strided({3, 50}, {1, 3}, 0);
    return with_operands(in, [&](auto operands) {
      return with_params(2,
                         [&](auto params) { return pointwise_out(op_, turned, operands, params); });
    });
  }
  static const PointwiseOp* multiply() { return &op_of("mul"); }

  void mixed_dtypes() {
    if (n_ < 2) return;
    const std::pair<DType, DType> pairs[] = {
        {DType::f32, DType::bf16}, {DType::bf16, DType::f16},    {DType::i32, DType::f32},
        {DType::i64, DType::bf16}, {DType::boolean, DType::i16}, {DType::u8, DType::i8},
        {DType::f64, DType::f32}};
    for (auto [a, b] : pairs) {
      if (!takes(a) || !takes(b)) continue;
      std::vector<CaseInput> in = {input({4, 40}, a, 0), input({4, 40}, b, 1)};
      if (n_ == 3) in.push_back(input({40}, a, 2));
      add(std::string(name_of(a)) + " with " + std::string(name_of(b)), in, plain())
          .sums(4)
          // Whole numbers are no probabilities.
          .gradient &= is_float(a) || std::string_view(op_.name) != "bce_terms";
    }
  }

  void published_sets() {
    for (const auto& [shape, full] : published::kPointwise)
      for (DType t : published::kTypes) {
        if (!takes(t) || published::too_slow(shape, t)) continue;
        const bool largest = published::is_largest(shape);
        for (Layout layout : published::kStrides) {
          if (layout != Layout::packed && (shape.size() < 2 || largest)) continue;
          std::vector<CaseInput> in = inputs(shape, t);
          for (CaseInput& i : in) i = i.with(layout);
          cases_.publish(
              published::text(shape, t) + " layout " + std::to_string(static_cast<int>(layout)), in,
              [self = *this](const Tensors& x) -> Tensors { return {self.call(x, 1)}; }, 1, full);
        }
        if (n_ != 2 || !is_float(t) || largest) continue;
        for (double v : published::kScalars)
          for (bool before : {false, true})
            cases_.publish(
                published::text(shape, t) + (before ? " after " : " with ") + std::to_string(v),
                {input(shape, t, before)},
                [self = *this, v, before](const Tensors& x) -> Tensors {
                  return {self.call_scalar(x[0], Scalar(v), before)};
                },
                1, full);
      }
  }
  Tensor call_scalar(const Tensor& x, Scalar v, bool before) const {
    using List = std::initializer_list<Operand>;
    return with_params(1, [&](auto params) {
      return before ? pointwise(op_, List{v, x}, params) : pointwise(op_, List{x, v}, params);
    });
  }

  void speed() {
    for (int64_t size : {1024, 4096})
      for (DType t : {wide(), half()}) {
        std::vector<CaseInput> in = inputs({size, size}, t);
        double bytes = op_.result == PointwiseResult::truth ? 1 : static_cast<double>(size_of(t));
        for (const CaseInput& i : in) bytes += static_cast<double>(size_of(i.dtype));
        OperatorCase& c =
            cases_.time(std::string(name_of(t)) + " " + Shape{size, size}.text(), in, plain());
        c.moves(bytes * static_cast<double>(size * size));
        c.time_backward = op_.gradients != 0;
      }
  }

  CaseList& cases_;
  const PointwiseOp& op_;
  int n_;
  bool whole_;  // takes integers and bool only
};

void fill(CaseList& cases) { Builder(cases).build(); }

[[maybe_unused]] const bool registered = [] {
  for (const PointwiseOp* op : pointwise_operators()) CaseRegistrar(op->name, fill);
  return true;
}();

}  // namespace
}  // namespace wellspring
