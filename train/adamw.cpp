#include "train/adamw.h"

#include "base/text.h"
#include "ops/optimizer.h"
#include "tensor/autograd.h"

namespace wellspring {

AdamW::AdamW(const std::vector<Parameter*>& parameters, const AdamwSettings& settings)
    : parameters_(parameters), settings_(settings) {
  for (const Parameter* p : parameters_) {
    first_.push_back(Tensor::zeros(p->shape(), DType::f32, p->compute.device()));
    second_.push_back(Tensor::zeros(p->shape(), DType::f32, p->compute.device()));
  }
}

double AdamW::gradient_norm() const {
  std::vector<Tensor> gradients;
  for (const Parameter* p : parameters_)
    if (Tensor g = p->grad(); g.defined()) gradients.push_back(g);
  return global_norm(gradients);
}

void AdamW::step(double rate, double gradient_scale) {
  NoGrad no_grad;
  ++steps_;
  AdamwOptions o;
  o.beta1 = settings_.beta1, o.beta2 = settings_.beta2, o.eps = settings_.eps;
  o.step = steps_;
  o.grad_scale = gradient_scale;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Parameter& p = *parameters_[i];
    Tensor gradient = p.grad();
    if (!gradient.defined()) continue;
    o.lr = rate * p.lr_multiplier;
    o.weight_decay = p.decay ? settings_.weight_decay : 0;
    const bool two = !p.compute.same(p.master);
    adamw_(p.master, gradient, first_[i], second_[i], two ? p.compute : Tensor(), o);
    // The memory of the gradients serves the next forward pass.
    p.compute.set_grad({});
  }
}

TensorList AdamW::state() const {
  TensorList list;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    for (auto& [name, piece] : split_parts(*parameters_[i], first_[i]))
      list.emplace_back("exp_avg." + name, piece);
    for (auto& [name, piece] : split_parts(*parameters_[i], second_[i]))
      list.emplace_back("exp_avg_sq." + name, piece);
  }
  return list;
}

void AdamW::restore(const Safetensors& file, int64_t steps) {
  for (size_t i = 0; i < parameters_.size(); ++i)
    for (const ParameterPart& part : parameters_[i]->parts) {
      merge_part(*parameters_[i], part, file.tensor("exp_avg." + part.name), first_[i],
                 file.where());
      merge_part(*parameters_[i], part, file.tensor("exp_avg_sq." + part.name), second_[i],
                 file.where());
    }
  steps_ = steps;
}

}  // namespace wellspring
