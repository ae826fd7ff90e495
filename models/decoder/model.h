#pragma once
// One decoder for the Llama family (Llama, Qwen2, Tele-FLM) and GPT-2. Parameters are fused (q, k,
// v in one weight, gate and up in one), the residual stream is f32, matrix products run in f32 or
// bf16. B batch, T time, D width, V vocabulary.

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "models/decoder/config.h"
#include "nn/kv_cache.h"
#include "nn/module.h"

namespace wellspring {

/// Sees activations as they are made: ("layers.3.attention", f32 or bf16 [B, T, D]), and what matrices are multiplied
/// with: ("layers.3.qkv.input", ...). For checks and calibration.
using ActivationHook = std::function<void(const std::string& name, const Tensor& value)>;

class PagedCache;
struct Adapter;
enum class BlockMatrix;

/// The rows of one pass, of several sequences, N in all (ops/inference.h, attention_paged). Each row's keys and
/// values go to its slot.
struct DecodeBatch {
  std::vector<int32_t> ids, positions, slots;  // [N]
  std::vector<int32_t> tables, segments;       // [sequences, table_width], [sequences, 3]
  int64_t table_width = 0;
  std::vector<int32_t> wanted;  // rows whose logits are wanted, rising
  std::vector<int32_t> hidden;  // rows whose final activations are wanted, rising
  std::vector<const Adapter*> adapters;  // [sequences], null: none; or empty: none at all (models/decoder/adapter.h)
};

class Decoder {
 public:
  enum class Use { training, inference };
  /// Fresh weights from `seed` (the same for f32 and bf16). Error(Fault::config) when the shape is
  /// wrong.
  Decoder(const DecoderConfig& config, DType dtype, uint64_t seed);
  /// Weights not initialised: for loading. In inference no gradient is kept and masters are absent.
  Decoder(const DecoderConfig& config, DType dtype, Use use);
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  const DecoderConfig& config() const { return config_; }
  DType dtype() const { return dtype_; }
  /// Where it computes; ids and targets may come from the host.
  Device device() const { return final_.weight.compute.device(); }
  /// Moves all of it to a device, gradients excepted. Caches that were made before stay behind.
  void move_to(Device device);
  /// All parameters in a fixed order; the pointers live as long as the model.
  const std::vector<Parameter*>& parameters() const { return parameters_; }

  /// loss_scale times the mean cross-entropy in nats over the targets that are not -100; f32, 0-d.
  /// ids and targets i32 [B, T], T at most the context. Recorded unless under NoGrad. `dropout` may
  /// be null.
  Tensor loss(const Tensor& ids, const Tensor& targets, double loss_scale = 1,
              Dropout* dropout = nullptr) const;
  /// Logits f32 [B, T, V] without gradient: for comparison; they need much memory.
  Tensor logits(const Tensor& ids) const;
  /// Puts ids [B, T] behind what the cache holds and returns the logits f32 [B, V] of the last
  /// position. No gradient. Error(Fault::usage) when the context is exceeded.
  Tensor step(const Tensor& ids, KvCache& cache) const;
  std::unique_ptr<KvCache> make_cache(int64_t batch = 1) const;
  /// One pass over rows of several sequences: logits f32 [wanted, V] (undefined when none is wanted). A row's bits
  /// depend on its own sequence and adapter alone, whatever else is in the batch and however a prompt is cut into
  /// passes. `hidden` receives the final normed activations f32 [batch.hidden, D], for embeddings (undefined when
  /// none is wanted).
  Tensor step(const DecodeBatch& batch, PagedCache& cache, Tensor* hidden = nullptr) const;

  /// Weights in 8 or 4 bits from here on: hidden matrices in `format`, embedding and head in `tables`. Inference only;
  /// the plain values go. `feedback` gives a matrix's feedback (nn/weight.h) by its name, or an undefined tensor; it is
  /// asked for one matrix after the other, in the order of parameters(), and may run the model, whose matrices before
  /// that one are quantised already.
  void quantize(WeightFormat format, WeightFormat tables, const std::function<Tensor(const std::string& name)>& feedback = {});
  /// Weights that were quantised before, by name and shape; from here on as after quantize().
  void take_packed(const std::function<Weight(const std::string& name, int64_t rows, int64_t columns)>& get);
  /// Whether it holds such weights; their names ("layers.0.qkv.weight") in the order of parameters().
  bool quantized() const { return !packed_.empty(); }
  const std::vector<std::pair<std::string, Weight*>>& packed() const { return packed_; }

  /// The mapped files that its weights lie in, if any.
  void keep_files(std::vector<MappedFile> files) { files_ = std::move(files); }
  /// Error(Fault::io) with the file's name when one of them was changed on disk: what was computed since is not to be
  /// trusted. Quick; thread-safe.
  void check_files() const {
    for (const MappedFile& f : files_) f.check_unchanged();
  }

  void set_hook(ActivationHook hook) { hook_ = std::move(hook); }

 private:
  struct Block {
    Norm norm1, norm2;
    Linear qkv, out, up, down;
  };
  void build();
  void initialise(uint64_t seed);
  Parameter make_parameter(const std::string& name, const Shape& shape,
                           std::vector<ParameterPart> parts) const;
  void enlist(Parameter& p) { parameters_.push_back(&p); }
  const Embedding& head() const { return config_.tied ? embed_ : head_; }
  // A matrix and the place of its form for inference, by the order of parameters().
  std::vector<std::pair<Parameter*, Weight*>> matrices();
  // The rows of a batch that an adapter changes.
  struct AdaptedRows {
    const Adapter* adapter;
    Tensor rows;  // i32
  };
  std::vector<AdaptedRows> adapted_rows(const DecodeBatch& batch) const;
  // Adds the adapters' share to `y`, what a block's matrix made of `x`.
  static void adapt(const Tensor& y, const Tensor& x, int64_t layer, BlockMatrix matrix, const std::vector<AdaptedRows>& adapted);
  // The blocks from the embedded rows on: normed activations; `attend(i, normed)` is block i's attention.
  Tensor through_blocks(Tensor residual, Dropout& drop, const std::function<Tensor(int64_t, Tensor)>& attend,
                        const std::vector<AdaptedRows>& adapted = {}) const;
  Tensor embedded(const Tensor& ids, const Tensor& positions) const;
  // Final normed activations [B, T, D]; with a cache the new tokens attend to what it holds.
  Tensor forward(const Tensor& ids, KvCache* cache, Dropout* dropout) const;
  Tensor attend(const Block& block, Tensor normed, int64_t layer, KvCache* cache,
                const Tensor& positions, const Tensor& lengths) const;
  Tensor feed(const Block& block, Tensor normed, int64_t layer, const std::vector<AdaptedRows>& adapted) const;
  void see_input(int64_t layer, const char* matrix, const Tensor& value) const;
  void check_ids(const Tensor& ids, int64_t before) const;
  void see(const std::string& name, const Tensor& value) const {
    if (hook_) hook_(name, value);
  }

  DecoderConfig config_;
  DType dtype_;
  Use use_;
  Embedding embed_, positions_;
  std::vector<Block> blocks_;  // sized once: parameters_ points into it
  Norm final_;
  Embedding head_;
  RotaryTable table_;
  std::vector<Parameter*> parameters_;
  std::vector<std::pair<std::string, Weight*>> packed_;
  std::vector<MappedFile> files_;
  ActivationHook hook_;
};

/// Reads a Hugging Face folder (config.json and model.safetensors or an index with shards; f32,
/// bf16, f16). For training masters are f32 and gradients on; for inference only the `dtype` copy
/// is kept. Errors name the file and the tensor (Fault::data: missing, wrong shape, not known).
std::unique_ptr<Decoder> load_decoder(const std::string& folder, DType dtype,
                                      bool training = false);

/// Writes a quantised model: config.json with `quantization_config`, the weights in our own layouts and names, and
/// the tokenizer's files. load_decoder reads it, mapped: nothing is copied.
void save_quantized(const Decoder& model, const std::string& folder, const std::string& tokenizer_from);

/// The format of a model folder's weights when they are packed, as save_quantized writes them and GGUF files become; "": they are plain.
std::string packed_format(const std::string& folder);
/// Error(Fault::usage) naming the model and what is `asked` of it when its weights are packed, unless in the format `but`.
void check_plain(const std::string& folder, const std::string& model, const std::string& asked, const std::string& but = "");

/// The config.json of a model folder, and the end tokens of its generation_config.json behind its own. Error(Fault::data)
/// naming file and field.
DecoderConfig read_decoder_config(const std::string& folder);
/// Overwrites the weights of a model with those of a folder of the same shape; errors as
/// load_decoder.
void load_weights(const Decoder& model, const std::string& folder);

/// The model folder that a path means: itself, the newest checkpoint of a run folder, or what a GGUF file was
/// converted to.
/// Error(Fault::io) when it is neither.
std::string find_model_folder(const std::string& path);

struct SaveOptions {
  DType dtype = DType::f32;
  int64_t shard_bytes = 0;  // 0: one file; else shards of at most this, with an index
  bool as_llama = false;    // Tele-FLM: both scalars (and the attention scale) folded into weights
  std::string
      tokenizer_from;  // folder whose tokenizer and generation files are copied; empty: none
};

/// Writes config.json, weights and copied files into `folder` (made when absent), each file
/// atomically.
void save_decoder(const Decoder& model, const std::string& folder, const SaveOptions& options = {});

}  // namespace wellspring
