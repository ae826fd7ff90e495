#pragma once
// The models of a server: loaded on first use, unloaded when others need their memory.

#include <condition_variable>
#include <cstdint>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "serve/api.h"
#include "serve/engine.h"

namespace wellspring {

/// A model that can answer. Whoever lets it answer holds it meanwhile.
struct LoadedModel {
  virtual ~LoadedModel() = default;
  ServedModel served;
  std::map<std::string, std::shared_ptr<const Adapter>> adapters;  // by the names that requests use
  std::string chat_format;
  /// As a request means it by `name`: the model, or one of its adapters.
  ServedModel as(const std::string& name) const;
  int64_t bytes = 0;  // of weights and cache
};

/// Where a model comes from.
struct ModelSource {
  std::string name;
  std::vector<std::string> aliases;
  int64_t bytes = 0;    // that it will take, as far as is known before
  int64_t context = 0;  // as in ServedModel
  std::function<std::shared_ptr<const LoadedModel>()> load;
  std::vector<std::string> adapters = {};  // their names, which mean the model too
};

/// A model folder and how to compute with it.
struct ModelSpec {
  std::string name, path;
  std::vector<std::string> aliases;
  std::string dtype = "bf16";  // f32 or bf16
  std::string weights;         // q8, q4, ...; empty: as they are
  std::string cache;           // f32, bf16, i8; empty: as dtype
  std::string chat_template;   // file; empty: the folder's
  std::vector<std::pair<std::string, std::string>> adapters;  // names and PEFT folders
  std::string speculate;       // look-up, or the folder of a small model with the same tokens
  double cache_gb = 0;         // 0: a quarter of the memory, at most 64 full contexts
};

/// The file of --models: `models:`, a list of maps with the fields of ModelSpec; what a model
/// leaves out is as in `otherwise`. Error(Fault::config) with file and line.
std::vector<ModelSpec> read_models_file(const std::string& path, const ModelSpec& otherwise);
/// Error(Fault::usage) for a dtype, weights or cache that there are not; Fault::io when the folder
/// is no model. `memory`: bytes that models may take, of which the cache is a part; 0: those of the
/// machine.
ModelSource model_source(const ModelSpec& spec, const EngineOptions& engine, int64_t memory);

/// What is known of one model now.
struct ModelState {
  std::string name;
  std::vector<std::string> aliases, adapters;
  int64_t context = 0, bytes = 0, loads = 0;
  bool loaded = false;
  EngineFigures figures;  // counters over all its loads
};

/// Thread-safe; all calls return at once but get(). Must outlive what it gave away.
class Models {
 public:
  /// At least one; the first is the one that requests mean which name none. `memory`: bytes that
  /// all loaded models may take; 0: any number. Error(Fault::usage) when two have one name,
  /// Fault::config when the first takes more.
  Models(std::vector<ModelSource> sources, int64_t memory);
  ~Models();
  Models(const Models&) = delete;
  Models& operator=(const Models&) = delete;

  /// The model by its name, an alias or an adapter's name ("": the first), loaded if need be: on a thread of its own, once
  /// for all who ask meanwhile, while other models go on. Null when `give_up` said so first.
  /// ApiError 404 (model_not_found), 503 when it can never fit, 429 when those that answer now
  /// leave no room; else what its loading threw. One whose file was changed on disk is loaded anew.
  std::shared_ptr<const LoadedModel> get(const std::string& name,
                                         const std::function<bool()>& give_up = {});
  /// Name of the model by any of these. ApiError 404.
  std::string name_of(const std::string& name) const;
  std::vector<ModelState> list() const;
  /// Requests in all engines.
  int64_t load() const;

 private:
  enum class Phase { empty, loading, loaded, leaving };
  struct Entry {
    ModelSource source;
    Phase phase = Phase::empty;
    std::shared_ptr<const LoadedModel> model;
    std::shared_ptr<const LoadedModel> broken;  // its file was changed; goes before it is loaded anew
    int64_t bytes = 0, used = 0, loads = 0;
    int64_t tries = 0, failed = 0;  // loads begun; the last one that failed
    std::exception_ptr error;
    EngineFigures past;  // of engines that are gone
    std::thread loader;
  };
  using Leaving = std::vector<Entry*>;

  // All with the mutex held, but load_entry.
  Entry& find(const std::string& name) const;
  bool usable(Entry& entry);
  void begin_load(Entry& entry);
  Leaving make_room(const Entry& entry);
  void load_entry(Entry& entry, const Leaving& leaving);

  std::vector<std::unique_ptr<Entry>> entries_;  // fixed
  const int64_t memory_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  int64_t clock_ = 0;
};

/// Names what decides the bits of answers, the model's values and the request aside: the program's version, the CPU's
/// instruction set, the type of arithmetic, the formats of the weights and of the cache: "ws-0.1.0-avx2-bf16-q4+q8-bf16".
std::string fingerprint_of(const Decoder& model, DType cache);

/// One model that is there already; the parts of `served` must outlive it.
ModelSource loaded_source(const ServedModel& served);

}  // namespace wellspring
