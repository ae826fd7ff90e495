#include "tensor/autograd.h"

#include <algorithm>
#include <atomic>
#include <queue>
#include <unordered_map>

#include "base/error.h"
#include "base/text.h"
#include "tensor/dispatch.h"

namespace wellspring {

// One operator on the tape, or the accumulator of a leaf (op == null). The sequence number rises
// with time, so that walking in falling order is a topological order.
struct GradNode {
  const char* op = nullptr;
  uint64_t sequence = 0;
  struct Edge {
    std::shared_ptr<GradNode> node;
    int slot = 0;
  };
  std::vector<Edge> inputs;  // node is null where no gradient is wanted
  struct Output {
    Shape shape;
    DType dtype;
    Device device;
  };
  std::vector<Output> outputs;
  Backward backward;
  bool freed = false;
  std::weak_ptr<TensorData> leaf;

  // A long chain would recurse deeply if each node destroyed the next: unlink in a loop.
  ~GradNode() {
    std::vector<std::shared_ptr<GradNode>> dying;
    auto take = [&dying](std::vector<Edge>& edges) {
      for (Edge& e : edges)
        if (e.node && e.node.use_count() == 1) dying.push_back(std::move(e.node));
    };
    take(inputs);
    while (!dying.empty()) {
      std::shared_ptr<GradNode> node = std::move(dying.back());
      dying.pop_back();
      take(node->inputs);
    }
  }
};

namespace {

thread_local bool recording = true;
std::atomic<uint64_t> next_sequence{1};

AutogradMeta& meta_of(const Tensor& t) {
  auto& meta = t.impl()->autograd;
  if (!meta) meta = std::make_unique<AutogradMeta>();
  return *meta;
}

GradNode::Edge edge_to(const Tensor& t) {
  if (!t.defined() || !t.requires_grad()) return {};
  AutogradMeta& meta = meta_of(t);
  if (meta.node) return {meta.node, meta.slot};
  if (!meta.accumulator) {
    meta.accumulator = std::make_shared<GradNode>();
    meta.accumulator->leaf = t.handle();
    meta.accumulator->outputs = {{t.shape(), t.dtype(), t.device()}};
  }
  return {meta.accumulator, 0};
}

KernelRef kCopy("copy"), kAccumulate("accumulate");

// Whether elements share memory (an expanded view, as the gradient of a sum is).
bool repeats_elements(const Tensor& t) {
  for (int d = 0; d < t.dims(); ++d)
    if (t.strides()[d] == 0 && t.shape()[d] > 1) return true;
  return false;
}

// sum += g, in place when nobody else sees `sum`.
void add_into(Tensor& sum, const Tensor& g) {
  if (!sum.defined()) {
    sum = g;
    return;
  }
  bool alone = sum.handle().use_count() == 1 && sum.storage().use_count() == 1 &&
               !sum.storage()->owner && !repeats_elements(sum);
  bool narrower = size_of(sum.dtype()) < size_of(g.dtype());
  if (!alone || narrower) {
    Tensor wide = Tensor::empty(sum.shape(), narrower ? g.dtype() : sum.dtype(), sum.device());
    launch(kCopy, {wide}, {sum});
    sum = wide;
  }
  launch(kAccumulate, {sum}, {g});
  sum.changed();
}

void accumulate_leaf(const GradNode& node, Tensor grad) {
  std::shared_ptr<TensorData> leaf = node.leaf.lock();
  if (!leaf) return;
  Tensor target(leaf);
  AutogradMeta& meta = meta_of(target);
  if (!meta.grad) {
    // A gradient that is a view, repeats elements or is somebody else's too could not be changed in
    // place.
    if (!grad.is_contiguous() || grad.handle().use_count() > 1 || grad.storage().use_count() > 1) {
      Tensor own = Tensor::empty(grad.shape(), grad.dtype(), grad.device());
      launch(kCopy, {own}, {grad});
      grad = std::move(own);
    }
    meta.grad = std::make_unique<Tensor>(std::move(grad));
    return;
  }
  Tensor old = std::move(*meta.grad);
  add_into(old, grad);
  *meta.grad = std::move(old);
}

}  // namespace

bool Tensor::requires_grad() const {
  return data_->autograd && (data_->autograd->requires_grad || data_->autograd->node);
}
bool Tensor::is_leaf() const { return !data_->autograd || !data_->autograd->node; }

const Tensor& Tensor::set_requires_grad(bool on) const {
  if (on && !is_float(dtype()))
    throw Error(Fault::usage, str("only floating tensors have gradients, not ", text()));
  if (!is_leaf())
    throw Error(Fault::usage, str("requires_grad of ", text(),
                                  " is set by the operator that made it; use detach() for a leaf"));
  meta_of(*this).requires_grad = on;
  return *this;
}

Tensor Tensor::grad() const {
  return data_->autograd && data_->autograd->grad ? *data_->autograd->grad : Tensor();
}

void Tensor::set_grad(const Tensor& grad) const {
  if (!grad.defined()) {
    if (data_->autograd) data_->autograd->grad.reset();
    return;
  }
  if (grad.shape() != shape())
    throw Error(Fault::usage, str("gradient ", grad.text(), " does not fit ", text()));
  meta_of(*this).grad = std::make_unique<Tensor>(grad);
}

Saved::Saved(const Tensor& tensor) {
  if (!tensor.defined()) return;
  tensor_ = tensor.detach();
  version_ = tensor.version();
}

Tensor Saved::unpack(const char* op) const {
  if (tensor_.defined() && tensor_.version() != version_)
    throw Error(Fault::usage, str("backward of ", op, ": ", tensor_.text(),
                                  " was saved for it and then changed in place (version ", version_,
                                  ", now ", tensor_.version(), "); change a clone() instead"));
  return tensor_;
}

bool BackwardContext::needs(int input) const { return node->inputs[input].node != nullptr; }

Tensor BackwardContext::held_grad(int input) const {
  const GradNode* leaf = node->inputs[input].node.get();
  if (!leaf || leaf->op) return {};
  std::shared_ptr<TensorData> data = leaf->leaf.lock();
  if (!data || !data->autograd || !data->autograd->grad) return {};
  const Tensor& grad = *data->autograd->grad;
  const bool alone = grad.handle().use_count() == 1 && grad.storage().use_count() == 1;
  return alone && !grad.storage()->owner && grad.is_contiguous() ? grad : Tensor();
}

bool should_record(std::initializer_list<const Tensor*> inputs) {
  if (!recording) return false;
  return std::any_of(inputs.begin(), inputs.end(),
                     [](const Tensor* t) { return t->defined() && t->requires_grad(); });
}
bool should_record(std::span<const Tensor> inputs) {
  if (!recording) return false;
  return std::any_of(inputs.begin(), inputs.end(),
                     [](const Tensor& t) { return t.defined() && t.requires_grad(); });
}

void record(const char* op, std::vector<Tensor> inputs, std::vector<Tensor> outputs,
            Backward backward) {
  auto node = std::make_shared<GradNode>();
  node->op = op;
  node->sequence = next_sequence.fetch_add(1, std::memory_order_relaxed);
  node->backward = std::move(backward);
  for (const Tensor& t : inputs) node->inputs.push_back(edge_to(t));
  for (size_t i = 0; i < outputs.size(); ++i) {
    const Tensor& t = outputs[i];
    if (!t.defined()) {
      node->outputs.push_back({});
      continue;
    }
    node->outputs.push_back({t.shape(), t.dtype(), t.device()});
    if (!is_float(t.dtype()) && !is_complex(t.dtype())) continue;
    AutogradMeta& meta = meta_of(t);
    meta.node = node;
    meta.slot = static_cast<int>(i);
  }
}

void mark_in_place(const char* op, const Tensor& target, bool will_record) {
  if (recording && target.requires_grad()) {
    if (target.is_leaf())
      throw Error(Fault::usage,
                  str(op, " in place on ", target.text(),
                      ", a leaf that requires a gradient; do it under NoGrad (Python: "
                      "with wellspring.no_grad())"));
  }
  if (will_record && target.is_view() && target.storage().use_count() > 1)
    throw Error(Fault::usage,
                str(op, " in place on ", target.text(),
                    ", a view: its base would not see the gradient; clone() it first"));
  target.changed();
}

void backward(const Tensor& root, const Tensor& grad, bool retain_graph) {
  if (!root.requires_grad())
    throw Error(Fault::usage, str("backward of ", root.text(), ", which has no gradient history"));
  Tensor seed = grad;
  if (!seed.defined()) {
    if (root.numel() != 1)
      throw Error(Fault::usage,
                  str("backward of ", root.text(), " needs a gradient of that shape"));
    seed = Tensor::full(root.shape(), 1, root.dtype(), root.device());
  }
  if (seed.shape() != root.shape())
    throw Error(Fault::usage, str("gradient ", seed.text(), " does not fit ", root.text()));
  NoGrad no_grad;
  GradNode::Edge start = edge_to(root);

  // A node runs when every path to it is done: nodes wait in a heap by falling sequence, and an
  // operator's inputs always have lower numbers than its own. Leaves take gradients at once.
  auto later = [](const std::shared_ptr<GradNode>& a, const std::shared_ptr<GradNode>& b) {
    return a->sequence < b->sequence;
  };
  std::priority_queue<std::shared_ptr<GradNode>, std::vector<std::shared_ptr<GradNode>>,
                      decltype(later)>
      ready(later);
  std::unordered_map<GradNode*, std::vector<Tensor>> pending;

  auto deliver = [&](const GradNode::Edge& edge, Tensor g) {
    if (!edge.node->op) return accumulate_leaf(*edge.node, std::move(g));
    auto [it, fresh] = pending.try_emplace(edge.node.get());
    if (fresh) {
      it->second.resize(edge.node->outputs.size());
      ready.push(edge.node);
    }
    add_into(it->second[edge.slot], g);
  };
  deliver(start, seed);
  seed = {};

  while (!ready.empty()) {
    std::shared_ptr<GradNode> node = ready.top();
    ready.pop();
    std::vector<Tensor> grads = std::move(pending.find(node.get())->second);
    pending.erase(node.get());
    if (node->freed)
      throw Error(Fault::usage, str("backward through ", node->op,
                                    " a second time: its graph was freed; use retain_graph"));
    BackwardContext context{grads, node.get(), node->op};
    std::vector<Tensor> results = node->backward(context);
    grads.clear();
    WS_CHECK(results.size() == node->inputs.size(),
             str("backward of ", node->op, " gave ", results.size(), " gradients for ",
                 node->inputs.size(), " inputs"));
    if (!retain_graph) {
      node->backward = nullptr;
      node->freed = true;
    }
    for (size_t i = 0; i < results.size(); ++i) {
      const GradNode::Edge& edge = node->inputs[i];
      if (!edge.node || !results[i].defined()) continue;
      const GradNode::Output& made = edge.node->outputs[edge.slot];
      WS_CHECK(results[i].shape() == made.shape,
               str("backward of ", node->op, " gave ", results[i].text(), " for input ", i,
                   " of shape ", made.shape.text()));
      deliver(edge, std::move(results[i]));
    }
    if (!retain_graph) node->inputs.clear();
  }
}

bool grad_enabled() { return recording; }
NoGrad::NoGrad() : before_(recording) { recording = false; }
NoGrad::~NoGrad() { recording = before_; }

}  // namespace wellspring
