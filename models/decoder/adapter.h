#pragma once
// LoRA adapters (Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, 2021): small changes of a model's
// matrices that a request chooses.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "tensor/tensor.h"

namespace wellspring {

class Decoder;

/// Which matrix of a block: ours are fused (q, k and v; gate and up).
enum class BlockMatrix { qkv, out, up, down };

/// W x becomes W x + B (A x), for each matrix of each block. Immutable once loaded; threads may share it.
struct Adapter {
  struct Change {
    Tensor a, b;  // f32 [R, columns], [rows, R], the scale within B; undefined: none
    bool defined() const { return a.defined(); }
  };
  struct Layer {
    Change matrices[4];  // by BlockMatrix
  };
  std::vector<Layer> layers;
  const Change& change(int64_t layer, BlockMatrix m) const {
    return layers[static_cast<size_t>(layer)].matrices[static_cast<int>(m)];
  }
  int64_t bytes() const;
};

/// Reads a folder that PEFT wrote (adapter_config.json, adapter_model.safetensors) for this model, whatever form its
/// own weights have. Ranks and scales by `r`, `lora_alpha`, `use_rslora`, `rank_pattern` and `alpha_pattern`; the
/// modules are those that the file has tensors of, which must agree with a list `target_modules`. Error(Fault::io)
/// when a file is missing, Error(Fault::data) naming the file and the field or tensor that is wrong, or that asks for
/// what is not supported (DoRA, biases, whole modules, embeddings and the head).
std::shared_ptr<const Adapter> load_adapter(const std::string& folder, const Decoder& model);

}  // namespace wellspring
