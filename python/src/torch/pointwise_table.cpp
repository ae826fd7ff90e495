// PyTorch's elementwise operators, and which one of ours (ops/schema/pointwise.yaml) has the same
// values, at odd places too.

#include <algorithm>
#include <cctype>
#include <string>

#include "base/error.h"
#include "python/src/torch/pointwise.h"

namespace wellspring::python {
namespace {

// Names of overloads that differ in where the result goes: in place when the name ends in "_", into
// a last argument when the overload has "out" in it.
//
// Arguments, one letter each: x y z operands; p q r parameters; t a text that chooses; 0 has to be
// false or 0; i ignored.
struct Row {
  const char *names, *arguments, *ours;
  Integers integers = Integers::none;
};
constexpr auto kNone = Integers::none, kNumbers = Integers::numbers, kAll = Integers::all;

// The plain form, in place and out= of operators of one operand, under names of ours.
constexpr const char* kUnary[] = {
    "exp",       "exp2",        "expm1",      "log",        "log1p", "log2",  "log10",
    "sin",       "cos",         "tan",        "asin",       "acos",  "atan",  "sinh",
    "cosh",      "tanh",        "asinh",      "acosh",      "atanh", "erf",   "erfc",
    "erfinv",    "lgamma",      "digamma",    "sqrt",       "rsqrt", "relu",  "silu",
    "neg",       "abs",         "reciprocal", "floor",      "ceil",  "trunc", "round",
    "frac",      "sign",        "sigmoid",    "mish",       "isnan", "isinf", "isfinite",
    "hardswish", "hardsigmoid", "signbit",    "logical_not"};

constexpr Row kRows[] = {
    {"mul.Tensor mul_.Tensor mul.out", "xy", "mul", kNumbers},
    {"div.Tensor div_.Tensor div.out", "xy", "div"},
    {"div.Tensor_mode div_.Tensor_mode div.out_mode", "xyt", "div"},
    {"add.Tensor add_.Tensor add.out", "xyp", "add", kNumbers},
    {"sub.Tensor sub_.Tensor sub.out", "xyp", "sub", kNumbers},
    {"rsub.Tensor", "xyp", "rsub", kNumbers},
    {"maximum maximum.out", "xy", "maximum", kNumbers},
    {"minimum minimum.out", "xy", "minimum", kNumbers},
    {"fmax fmax.out", "xy", "fmax", kNumbers},
    {"fmin fmin.out", "xy", "fmin", kNumbers},
    {"fmod.Tensor fmod_.Tensor fmod.Tensor_out", "xy", "fmod", kNumbers},
    {"remainder.Tensor remainder_.Tensor remainder.Tensor_out", "xy", "remainder", kNumbers},
    {"floor_divide floor_divide_.Tensor floor_divide.out", "xy", "floor_divide", kNumbers},
    {"copysign.Tensor copysign_.Tensor copysign.out", "xy", "copysign"},
    {"atan2 atan2_ atan2.out", "xy", "atan2"},
    {"hypot hypot_ hypot.out", "xy", "hypot"},
    {"heaviside heaviside_ heaviside.out", "xy", "heaviside", kNumbers},
    {"logaddexp logaddexp.out", "xy", "logaddexp"},
    {"logaddexp2 logaddexp2.out", "xy", "logaddexp2"},
    {"xlogy.Tensor xlogy_.Tensor xlogy.OutTensor", "xy", "xlogy"},
    {"special_xlog1py special_xlog1py.out", "xy", "xlog1py"},
    {"special_entr special_entr.out", "x", "entr"},
    {"isposinf isposinf.out", "x", "isposinf"},
    {"isneginf isneginf.out", "x", "isneginf"},
    {"pow.Tensor_Tensor pow_.Tensor pow.Tensor_Tensor_out", "xy", "pow"},
    {"pow.Tensor_Scalar pow_.Scalar pow.Tensor_Scalar_out", "xy", "pow"},
    {"pow.Scalar pow.Scalar_out", "xy", "pow"},
    {"gcd gcd_ gcd.out", "xy", "gcd", kNumbers},
    {"lcm lcm_ lcm.out", "xy", "lcm", kNumbers},
    {"bitwise_and.Tensor bitwise_and_.Tensor bitwise_and.Tensor_out", "xy", "bitwise_and", kAll},
    {"bitwise_or.Tensor bitwise_or_.Tensor bitwise_or.Tensor_out", "xy", "bitwise_or", kAll},
    {"bitwise_xor.Tensor bitwise_xor_.Tensor bitwise_xor.Tensor_out", "xy", "bitwise_xor", kAll},
    {"logical_and.out", "xy", "logical_and", kAll},
    {"logical_or.out", "xy", "logical_or", kAll},
    {"logical_xor.out", "xy", "logical_xor", kAll},
    {"clamp clamp_ clamp.out clamp.Tensor clamp_.Tensor clamp.Tensor_out", "xyz", "clamp",
     kNumbers},
    {"clamp_min clamp_min_ clamp_min.out clamp_min.Tensor clamp_min_.Tensor clamp_min.Tensor_out",
     "xy", "clamp_min", kNumbers},
    {"clamp_max clamp_max_ clamp_max.out clamp_max.Tensor clamp_max_.Tensor clamp_max.Tensor_out",
     "xy", "clamp_max", kNumbers},
    {"lerp.Scalar lerp_.Scalar lerp.Scalar_out lerp.Tensor lerp_.Tensor lerp.Tensor_out", "xyz",
     "lerp"},
    {"addcmul addcmul_ addcmul.out", "xyzp", "addcmul"},
    {"addcdiv addcdiv_ addcdiv.out", "xyzp", "addcdiv"},
    {"where.self where.self_out", "xyz", "where", kAll},
    {"masked_fill_.Scalar masked_fill_.Tensor masked_fill.Scalar", "zxy", "where", kAll},
    {"gelu gelu_ gelu.out", "xt", "gelu_erf"},
    {"leaky_relu leaky_relu_ leaky_relu.out", "xp", "leaky_relu"},
    {"elu elu_ elu.out", "xpqr", "elu"},
    {"softplus softplus.out", "xpq", "softplus"},
    {"hardtanh hardtanh_ hardtanh.out", "xpq", "hardtanh"},
    {"threshold threshold_ threshold.out", "xpq", "threshold"},
    {"hardshrink hardshrink.out", "xp", "hardshrink"},
    {"softshrink softshrink.out", "xp", "softshrink"},
    {"logit logit_ logit.out", "xp", "logit"},
    {"_prelu_kernel", "xy", "prelu_each"},
    {"mse_loss", "xy0", "mse_terms"},
    {"smooth_l1_loss", "xy0p", "smooth_l1_terms"},
    {"huber_loss", "xy0p", "huber_terms"},
};
constexpr const char* kCompared[] = {"eq", "ne", "lt", "le", "gt", "ge"};

// Derivatives: g the gradient, x the operand, o the result.
constexpr Row kBackward[] = {
    {"gelu_backward", "gxt", "gelu_erf"},
    {"silu_backward", "gx", "silu"},
    {"sigmoid_backward", "go", "sigmoid"},
    {"tanh_backward", "go", "tanh"},
    {"threshold_backward", "go0", "relu"},
    {"leaky_relu_backward", "gxp0", "leaky_relu"},
    {"elu_backward", "gpqr0x", "elu"},
    {"hardtanh_backward", "gxpq", "hardtanh"},
    {"hardswish_backward", "gx", "hardswish"},
    {"hardsigmoid_backward", "gx", "hardsigmoid"},
    {"mish_backward", "gx", "mish"},
    {"softplus_backward", "gxpq", "softplus"},
    {"softshrink_backward", "gxp", "softshrink"},
    {"hardshrink_backward", "gxp", "hardshrink"},
    {"log_sigmoid_backward", "gxi", "log_sigmoid"},
};

const PointwiseOp* find(std::string_view name) {
  for (const PointwiseOp* op : pointwise_operators())
    if (op->name == name) return op;
  throw Error(Fault::internal, "no operator " + std::string(name));
}

std::vector<std::string> words(const char* text) {
  std::vector<std::string> all(1);
  for (; *text; ++text) *text == ' ' ? (void)all.emplace_back() : all.back().push_back(*text);
  return all;
}

PointwiseUse use_of(const Row& row, const std::string& name) {
  PointwiseUse use;
  use.op = find(row.ours), use.integers = row.integers;
  int8_t at = 0;
  for (const char* c = row.arguments; *c; ++c, ++at) {
    if (*c >= 'x' && *c <= 'z') use.operands[*c - 'x'] = at;
    if (*c >= 'p' && *c <= 'r') use.parameters[*c - 'p'] = at;
    if (*c == 't') use.text = at;
    if (*c == '0') use.zero = at;
  }
  std::string overload = name.substr(std::min(name.find('.'), name.size()));
  for (char& c : overload) c = static_cast<char>(std::tolower(c));
  use.in_place =
      name[name.find('.') == std::string::npos ? name.size() - 1 : name.find('.') - 1] == '_' &&
      name != "_prelu_kernel";
  if (use.in_place) use.out = 0;
  use.row_major = name == "masked_fill.Scalar";
  if (overload.find("out") != std::string::npos) use.out = at;
  const std::string_view ours = row.ours;
  if (ours == "gelu_erf") use.alternative = find("gelu_tanh"), use.alternative_text = "tanh";
  if (ours == "div") use.alternative = find("floor_divide"), use.alternative_text = "floor";
  if (ours == "clamp") use.without[0] = find("clamp_max"), use.without[1] = find("clamp_min");
  if (ours == "pow" && (name.find("_Scalar") != std::string::npos || name == "pow_.Scalar")) {
    use.exponent = 1;
    use.powers = {{{2, find("square")},
                   {3, find("cube")},
                   {0.5, find("sqrt")},
                   {-0.5, find("rsqrt")},
                   {-1, find("reciprocal")}}};
  }
  return use;
}

PointwiseBackward backward_of(const Row& row) {
  PointwiseBackward use;
  use.op = find(row.ours);
  if (use.op == find("gelu_erf")) use.tanh_form = find("gelu_tanh");
  int8_t at = 0;
  for (const char* c = row.arguments; *c; ++c, ++at) {
    if (*c == 'x' || *c == 'o') use.value = at, use.from_result = *c == 'o';
    if (*c >= 'p' && *c <= 'r') use.parameters[*c - 'p'] = at;
    if (*c == 't') use.text = at;
    if (*c == '0') use.zero = at;
  }
  return use;
}

}  // namespace

void add_pointwise(std::vector<Entry>* all) {
  // Uses are never freed: registrations point at them.
  const auto add = [&](const Row& row) {
    for (const std::string& name : words(row.names)) {
      auto* use = new PointwiseUse(use_of(row, name));
      const int arguments = static_cast<int>(std::string_view(row.arguments).size());
      all->push_back({"aten::" + name, arguments + (use->out == arguments), pointwise, use});
    }
  };
  for (const std::string name : kUnary) {
    const PointwiseOp* op = find(name);
    Integers integers = op->result == PointwiseResult::truth  ? kAll
                        : op->result == PointwiseResult::same ? kNumbers
                                                              : kNone;
    if (name == "frac") integers = kNone;
    add({(name + " " + name + "_ " + name + ".out").c_str(), "x", name.c_str(), integers});
  }
  for (const std::string name : kCompared)
    add({(name + ".Tensor " + name + ".Scalar " + name + "_.Tensor " + name + "_.Scalar " + name +
          ".Tensor_out " + name + ".Scalar_out")
             .c_str(),
         "xy", name.c_str(), kAll});
  for (const Row& row : kRows) add(row);
  for (const Row& row : kBackward)
    all->push_back({std::string("aten::") + row.names,
                    static_cast<int>(std::string_view(row.arguments).size()), pointwise_backward,
                    new PointwiseBackward(backward_of(row))});
}

}  // namespace wellspring::python
