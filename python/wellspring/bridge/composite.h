#pragma once
// Operators that PyTorch composes of others, taken whole above its autograd, with a derivative of
// ours. Included by bridge.cpp alone.

#include <torch/csrc/autograd/autograd.h>
#include <torch/csrc/autograd/forward_grad.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>
#include <torch/csrc/autograd/saved_variable.h>

#include <utility>

namespace wellspring::torch_bridge {
namespace {

using torch::autograd::Variable;
using torch::autograd::variable_list;

// What a graph needs of a registration, which it may outlive.
struct CompositeParts {
  c10::SafeKernelFunction shadowed;
  c10::OperatorHandle op;
  KernelFunction backward;
  const void* data;
  size_t arguments;
  std::vector<size_t> differentiable;  // arguments
};

// Results of a kernel, which own them.
std::vector<at::Tensor> taken_results(const Frame& f) {
  std::vector<at::Tensor> all;
  for (int i = 0; i < f.result_count; ++i)
    all.push_back(
        f.results[i]
            ? at::Tensor(c10::intrusive_ptr<c10::TensorImpl, c10::UndefinedTensorImpl>::reclaim(
                  static_cast<c10::TensorImpl*>(f.results[i])))
            : at::Tensor());
  return all;
}

class CompositeNode final : public torch::autograd::Node {
 public:
  std::shared_ptr<CompositeParts> parts;
  c10::DispatchKeySet keys;
  std::vector<c10::IValue> arguments;  // None where a tensor is saved
  std::vector<std::pair<size_t, torch::autograd::SavedVariable>> saved;
  std::vector<at::Tensor> kept;  // by the forward kernel

  std::string name() const override { return "WellspringBackward"; }
  void release_variables() override {
    for (auto& [i, s] : saved) s.reset_data();
    kept.clear();
  }

  variable_list apply(variable_list&& gradients) override {
    variable_list results(parts->differentiable.size());
    std::vector<c10::IValue> stack = arguments;
    for (auto& [i, s] : saved) stack[i] = s.unpack();
    if (!gradients[0].defined()) return results;
    if (at::GradMode::is_enabled() || !ours(gradients[0], stack, results))
      theirs(gradients[0], std::move(stack), results);
    return results;
  }

 private:
  // Arguments: the gradient, those of the operator, what the forward kernel kept; then, as a list,
  // which gradients are wanted.
  bool ours(const at::Tensor& gradient, const std::vector<c10::IValue>& stack,
            variable_list& results) {
    std::vector<c10::IValue> all{gradient};
    all.insert(all.end(), stack.begin(), stack.end());
    for (const at::Tensor& t : kept) all.emplace_back(t);
    std::vector<Arg> args(all.size() + 1);
    std::unique_ptr<Lists> lists;
    for (size_t i = 0; i < all.size(); ++i) read(all[i], &args[i], &lists);
    std::vector<int64_t> wanted;
    for (size_t i = 0; i < results.size(); ++i) wanted.push_back(task_should_compute_output(i));
    args.back().kind = Kind::ints, args.back().ints = wanted.data();
    args.back().count = static_cast<int64_t>(wanted.size());
    Frame frame;
    frame.args = args.data(), frame.count = static_cast<int>(args.size()), frame.data = parts->data;
    if (!parts->backward(frame)) return false;
    std::vector<at::Tensor> found = taken_results(frame);
    for (size_t i = 0; i < found.size() && i < results.size(); ++i)
      results[i] = std::move(found[i]);
    return true;
  }

  // By PyTorch's own derivative, which can be derived again.
  void theirs(const at::Tensor& gradient, std::vector<c10::IValue> stack, variable_list& results) {
    const bool again = at::GradMode::is_enabled();
    const at::AutoGradMode on(true);
    variable_list inputs;
    std::vector<size_t> places;
    for (size_t i = 0; i < results.size(); ++i) {
      const c10::IValue& v = stack[parts->differentiable[i]];
      if (!v.isTensor() || !v.toTensor().requires_grad() || !task_should_compute_output(i))
        continue;
      inputs.push_back(v.toTensor()), places.push_back(i);
    }
    parts->shadowed.callBoxed(parts->op, keys, &stack);
    variable_list found =
        torch::autograd::grad({stack[0].toTensor()}, inputs, {gradient}, std::nullopt, again, true);
    for (size_t i = 0; i < places.size(); ++i) results[places[i]] = std::move(found[i]);
  }
};

// Whether calls may be answered here at all: nobody traces, transforms or watches operators.
bool is_undisturbed() {
  static const c10::DispatchKeySet modes(
      {c10::DispatchKey::Python, c10::DispatchKey::PythonTLSSnapshot,
       c10::DispatchKey::FuncTorchDynamicLayerFrontMode, c10::DispatchKey::Functionalize});
  return !c10::impl::tls_local_dispatch_key_set().included_.has_any(modes) &&
         !torch::autograd::ForwardADLevel::try_get_by_idx(0);
}

class Composite final : public c10::OperatorKernel, public Counted {
 public:
  Composite(std::shared_ptr<CompositeParts> parts, KernelFunction forward, const void* data)
      : parts_(std::move(parts)), forward_(forward), data_(data) {}

  void operator()(const c10::OperatorHandle& op, c10::DispatchKeySet keys,
                  torch::jit::Stack* stack) {
    const size_t count = parts_->arguments, first = stack->size() - count;
    if (t_bypass || !is_undisturbed()) return parts_->shadowed.callBoxed(op, keys, stack);
    std::vector<Arg> args(count);
    std::unique_ptr<Lists> lists;
    for (size_t i = 0; i < count; ++i) read((*stack)[first + i], &args[i], &lists);
    Frame frame;
    frame.args = args.data(), frame.count = static_cast<int>(count), frame.data = data_;
    const Timed timed;
    bool took = false;
    {
      const at::AutoDispatchBelowADInplaceOrView below;
      took = forward_(frame);
    }
    if (!took) {
      theirs_.fetch_add(1, std::memory_order_relaxed);
      parts_->shadowed.callBoxed(op, keys, stack);
      return timed.add_to(theirs_nanoseconds_);
    }
    ours_.fetch_add(1, std::memory_order_relaxed);
    timed.add_to(nanoseconds_);
    std::vector<at::Tensor> results = taken_results(frame);
    const at::Tensor result = results[0];
    results.erase(results.begin());
    record(result, std::move(results),
           {stack->begin() + static_cast<std::ptrdiff_t>(first), stack->end()}, keys);
    stack->erase(stack->begin() + static_cast<std::ptrdiff_t>(first), stack->end());
    stack->emplace_back(result);
  }

 private:
  void record(const at::Tensor& result, std::vector<at::Tensor> kept,
              std::vector<c10::IValue> arguments, c10::DispatchKeySet keys) {
    torch::autograd::edge_list edges;
    bool any = false;
    for (const size_t i : parts_->differentiable) {
      const c10::IValue& v = arguments[i];
      const bool wanted = v.isTensor() && v.toTensor().requires_grad();
      any |= wanted;
      edges.push_back(wanted ? torch::autograd::impl::gradient_edge(v.toTensor())
                             : torch::autograd::Edge());
    }
    if (!any || !at::GradMode::is_enabled()) return;
    auto node = c10::make_intrusive<CompositeNode>();
    node->parts = parts_, node->keys = keys, node->kept = std::move(kept);
    for (size_t i = 0; i < arguments.size(); ++i) {
      if (!arguments[i].isTensor()) continue;
      node->saved.emplace_back(i, torch::autograd::SavedVariable(arguments[i].toTensor(), false));
      arguments[i] = c10::IValue();
    }
    node->arguments = std::move(arguments);
    node->set_next_edges(std::move(edges));
    torch::autograd::set_history(result, c10::intrusive_ptr<torch::autograd::Node>(node));
  }

  std::shared_ptr<CompositeParts> parts_;
  KernelFunction forward_;
  const void* data_;
};

}  // namespace
}  // namespace wellspring::torch_bridge
