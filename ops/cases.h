#pragma once
// The case lists. One list per operator drives four things: correctness against the slow reference
// on every instruction set, gradients against finite differences, odd inputs, and speed. A list
// stands in ops/cases/FAMILY.cpp:
//
//   WS_CASES(softmax) {
//     for (DType t : {DType::f32, DType::bf16})
//       cases.add("rows", {random_input({3, 50}, t)},
//                 [](const Tensors& in) -> Tensors { return {softmax(in[0], -1)}; })
//           .sums(50);
//     cases.time("f32 [1024, 1024]", {random_input({1024, 1024})}, run).moves(8.0 * 1024 * 1024);
//   }

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "tensor/autograd.h"
#include "tensor/tensor.h"

namespace wellspring {

/// How an input lies in memory.
enum class Layout {
  packed,      // row-major
  transposed,  // row-major with the last two dimensions exchanged
  gaps,        // every second element of each row of a larger tensor
  offset,      // starts 3 elements after an aligned address
  expanded,    // the first dimension repeats one slice (stride 0)
  reversed     // negative strides in the last dimension
};

/// What an input holds. Integers are rounded draws; ids are whole numbers in [low, high).
enum class Fill {
  normal,     // standard normal (integers: -9 ... 9, bool: coin)
  positive,   // in [0.1, 2.1)
  unit,       // in (-0.95, 0.95)
  fraction,   // in [0.05, 0.95)
  above_one,  // in [1.1, 3.1)
  odd,        // normal with NaN, infinities, zeros of both signs, greatest and subnormal values
  ids         // whole numbers in [low, high)
};

struct CaseInput {
  Shape shape;
  DType dtype = DType::f32;
  Fill fill = Fill::normal;
  Layout layout = Layout::packed;
  int64_t low = 0, high = 0;
  bool gradient = true;  // whether a floating input's gradient is checked
  double scale = 1;      // multiplies normal draws

  CaseInput with(Fill f) const {
    auto c = *this;
    return c.fill = f, c;
  }
  CaseInput with(Layout l) const {
    auto c = *this;
    return c.layout = l, c;
  }
  CaseInput scaled(double s) const {
    auto c = *this;
    return c.scale = s, c;
  }
  CaseInput constant() const {
    auto c = *this;
    return c.gradient = false, c;
  }
};

/// A random input.
CaseInput random_input(const Shape& shape, DType dtype = DType::f32, Fill fill = Fill::normal);
/// Whole numbers in [low, high), without gradient.
CaseInput ids_input(const Shape& shape, int64_t low, int64_t high, DType dtype = DType::i32);
/// An undefined tensor, for an optional operand.
CaseInput no_input();

/// One case. `run` calls the operator on the inputs (never changing them: clone() for forms in
/// place) and returns every result.
struct OperatorCase {
  std::string name;
  std::vector<CaseInput> inputs;
  std::function<Tensors(const Tensors&)> run;
  int64_t length = 1;           // of the sums inside: the absolute tolerance grows with it
  double atol = -1, rtol = -1;  // by the rule when negative
  bool gradient = true;         // check gradients (when an input wants one)
  bool takes_f64 = false;       // finite differences in f64
  bool timed = false;           // for speed only, too big to check
  bool published = false;       // held to the published rule (check.h): values alone
  bool full = false;            // large: checked on demand
  double bytes = 0, flops = 0;  // of one forward run
  bool time_backward = false;

  /// Length of the sums inside.
  OperatorCase& sums(int64_t n) { return length = n, *this; }
  /// Other tolerances than the rule's (check.h).
  OperatorCase& within(double a, double r) { return atol = a, rtol = r, *this; }
  OperatorCase& no_gradient() { return gradient = false, *this; }
  /// The operator takes f64 too.
  OperatorCase& f64() { return takes_f64 = true, *this; }
  /// Bytes that one run has to move (for GB/s), or floating-point operations (for GF/s).
  OperatorCase& moves(double b) { return bytes = b, *this; }
  OperatorCase& computes(double f) { return flops = f, *this; }
  /// Time the backward pass as well.
  OperatorCase& backward_too() { return time_backward = true, *this; }
};

/// The cases of one operator.
class CaseList {
 public:
  explicit CaseList(std::string_view op) : op_(op) {}
  /// A case to check. References stay valid until the next add.
  OperatorCase& add(std::string name, std::vector<CaseInput> inputs,
                    std::function<Tensors(const Tensors&)> run);
  /// A case to time.
  OperatorCase& time(std::string name, std::vector<CaseInput> inputs,
                     std::function<Tensors(const Tensors&)> run);
  /// A case of the published sets: packed, dilated or transposed inputs, held to the published rule
  /// with the length of the sums inside. `full`: only when all of them are wanted.
  void publish(std::string name, std::vector<CaseInput> inputs,
               std::function<Tensors(const Tensors&)> run, int64_t length, bool full);
  std::string_view op() const { return op_; }
  const std::vector<OperatorCase>& all() const { return cases_; }

 private:
  std::string_view op_;
  std::vector<OperatorCase> cases_;
};

/// The list of one operator; empty when it has none.
CaseList cases_of(std::string_view op);
/// The operators that have a list, in alphabetical order.
std::vector<std::string_view> operators_with_cases();
/// The inputs of a case: the same values each time, drawn from the operator, the case and the
/// place.
Tensors make_inputs(std::string_view op, const OperatorCase& c);

struct CaseRegistrar {
  CaseRegistrar(const char* op, void (*fill)(CaseList&));
};

}  // namespace wellspring

/// Opens the function that fills `cases` of an operator.
#define WS_CASES(op)                                                              \
  static void cases_of_##op(::wellspring::CaseList& cases);                       \
  static const ::wellspring::CaseRegistrar registrar_of_##op(#op, cases_of_##op); \
  static void cases_of_##op(::wellspring::CaseList& cases)
