#include "models/decoder/adapter.h"

#include <cmath>
#include <map>
#include <optional>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "models/decoder/model.h"
#include "tensor/host_copy.h"
#include "tensor/safetensors.h"
#include "text/grammar/grammar.h"

namespace wellspring {
namespace {

// What changes results in a way that we do not compute, when it is there and neither false nor empty.
constexpr const char* kRefused[] = {"use_dora", "lora_bias", "use_qalora", "use_bdlora", "modules_to_save", "layer_replication",
                                    "target_parameters", "trainable_token_indices", "alora_invocation_tokens", "arrow_config",
                                    "kasa_config", "monteclora_config"};
// Ways of starting that leave the model's own weights as they are.
constexpr const char* kPlainStarts[] = {"gaussian", "eva", "orthogonal"};

// Part of a fused matrix.
struct Place {
  int64_t layer = 0, row = 0, rows = 0, all_rows = 0, columns = 0;
  BlockMatrix matrix = BlockMatrix::qkv;
};

// The matrices of the blocks by their names in files: "model.layers.0.self_attn.q_proj".
std::map<std::string, Place> places_of(const Decoder& model) {
  const DecoderConfig& c = model.config();
  const std::pair<const char*, int64_t> kinds[] = {{"qkv", c.width}, {"out", c.heads * c.head_width}, {"up", c.width}, {"down", c.ffn}};
  std::map<std::string, Place> out;
  for (const Parameter* p : model.parameters()) {
    const std::vector<std::string> words = split(p->name, '.');
    if (words.size() != 4 || words[0] != "layers" || words[3] != "weight") continue;
    for (int k = 0; k < 4; ++k) {
      if (words[2] != kinds[k].first) continue;
      const int64_t all = p->parts.back().row + p->parts.back().rows;
      for (const ParameterPart& part : p->parts)
        out[part.name.substr(0, part.name.rfind('.'))] = {*parse_int(words[1]), part.row, part.rows, all, kinds[k].second,
                                                          static_cast<BlockMatrix>(k)};
    }
  }
  return out;
}

// Whether a list of target_modules names a module: by its whole name or its end.
bool ends_with_name(const std::string& module, const std::string& name) {
  return module == name || ends_with(module, "." + name);
}

class Settings {
 public:
  explicit Settings(const std::string& folder) : where_(join_path(folder, "adapter_config.json")), json_(read_json(where_)) {
    if (!json_.is_object()) fail("it must be an object");
    if (!json_.contains("peft_type") || json_["peft_type"] != "LORA") fail("field 'peft_type' must be \"LORA\"; other adapters are not supported");
    for (const char* field : kRefused)
      if (is_set(field)) fail(str("'", field, "' is not supported"));
    if (const Json* bias = find("bias"); bias && *bias != "none") fail("'bias' must be \"none\": changes of biases are not supported");
    check_start();
    read_targets();
    rank_ = integer("r", find("r"), 1);
    alpha_ = number("lora_alpha", find("lora_alpha"));
    root_ = is_set("use_rslora");
    read_patterns("rank_pattern"), read_patterns("alpha_pattern");
  }

  int64_t rank(const std::string& module) const {
    const Json* own = pattern("rank_pattern", module);
    return own ? integer("rank_pattern", own, 1) : rank_;
  }
  double scale(const std::string& module) const {
    const Json* own = pattern("alpha_pattern", module);
    const double alpha = own ? number("alpha_pattern", own) : alpha_, r = static_cast<double>(rank(module));
    return alpha / (root_ ? std::sqrt(r) : r);
  }
  /// Whether target_modules names it; unknown when that is a pattern: then the file's tensors tell.
  std::optional<bool> targets(const std::string& module) const {
    if (!listed_) return {};
    for (const std::string& t : targets_)
      if (ends_with_name(module, t)) return true;
    return false;
  }
  /// Whether some modules of a kind are left out on purpose.
  bool partial() const { return is_set("layers_to_transform") || is_set("exclude_modules"); }
  const std::string& where() const { return where_; }

 private:
  struct Pattern {
    std::string list;
    Grammar names;
    const Json* value;
  };

  [[noreturn]] void fail(const std::string& what) const { throw Error(Fault::data, str(where_, ": ", what)); }
  const Json* find(const char* field) const {
    const auto it = json_.find(field);
    return it == json_.end() || it->is_null() ? nullptr : &*it;
  }
  bool is_set(const char* field) const {
    const Json* v = find(field);
    if (!v) return false;
    return v->is_boolean() ? v->get<bool>() : !(v->is_structured() && v->empty());
  }
  int64_t integer(const char* field, const Json* v, int64_t least) const {
    if (!v || !v->is_number_integer() || v->get<int64_t>() < least || v->get<int64_t>() > (1 << 20))
      fail(str("field '", field, "' must be an integer of at least ", least));
    return v->get<int64_t>();
  }
  double number(const char* field, const Json* v) const {
    if (!v || !v->is_number() || !std::isfinite(v->get<double>())) fail(str("field '", field, "' must be a number"));
    return v->get<double>();
  }
  void check_start() const {
    const Json* start = find("init_lora_weights");
    if (!start || start->is_boolean()) return;
    for (const char* plain : kPlainStarts)
      if (*start == plain) return;
    fail(str("'init_lora_weights' ", to_text(*start), " changes the model's own weights: convert the adapter to a plain one (PEFT's "
             "path_initial_model_for_weight_conversion)"));
  }
  void read_targets() {
    const Json* t = find("target_modules");
    if (!t || t->is_string()) return;
    if (!t->is_array()) fail("field 'target_modules' must be a list or a pattern");
    listed_ = true;
    for (const Json& name : *t) {
      if (!name.is_string()) fail("field 'target_modules' must list names");
      targets_.push_back(name.get<std::string>());
    }
  }
  // A key stands for the end of a module's name, and may be a regular expression.
  void read_patterns(const char* field) {
    const Json* all = find(field);
    if (!all) return;
    if (!all->is_object() || all->size() > 10'000) fail(str("field '", field, "' must be a map of at most 10000 names"));
    for (const auto& [key, value] : all->items()) {
      const std::string regex = starts_with(key, "^") ? str("(", key.substr(1), ")") : str("(.*\\.)?(", key, ")");
      try {
        patterns_.push_back({field, grammar_from_regex(regex), &value});
      } catch (const Error& e) {
        fail(str("'", field, "', key '", key, "': ", e.what()));
      }
    }
  }
  const Json* pattern(const std::string& list, const std::string& module) const {
    static const GrammarVocabulary kNone({}, {});
    for (const Pattern& p : patterns_) {
      GrammarMatcher matcher(p.names, kNone);
      if (p.list == list && matcher.accept_bytes(module) && matcher.may_end()) return p.value;
    }
    return nullptr;
  }

  std::string where_;
  Json json_;
  bool listed_ = false, root_ = false;
  std::vector<std::string> targets_;
  std::vector<Pattern> patterns_;
  int64_t rank_ = 0;
  double alpha_ = 0;
};

// The two matrices of one module.
struct Pair {
  Tensor a, b;
};

class AdapterFile {
 public:
  AdapterFile(const std::string& folder, const Settings& settings, const Decoder& model)
      : settings_(settings), places_(places_of(model)), file_(join_path(folder, "adapter_model.safetensors")) {
    for (const std::string& name : file_.names()) read(name);
    if (pairs_.empty()) throw Error(Fault::data, str(file_.where(), ": no tensors of an adapter"));
    for (const auto& [module, pair] : pairs_) check(module, pair);
    for (const auto& [module, place] : places_)
      if (settings.targets(module).value_or(false) && !settings.partial() && !pairs_.count(module))
        throw Error(Fault::data, str(file_.where(), ": no tensor 'base_model.model.", module, ".lora_A.weight', but ", settings.where(),
                                     " has its module among 'target_modules'"));
  }

  std::shared_ptr<const Adapter> fused(int64_t layers) const {
    auto out = std::make_shared<Adapter>();
    out->layers.resize(static_cast<size_t>(layers));
    std::map<std::pair<int64_t, BlockMatrix>, int64_t> ranks;  // of all parts of a matrix
    for (const auto& [module, pair] : pairs_) {
      const Place& p = places_.at(module);
      ranks[{p.layer, p.matrix}] += pair.a.size(0);
    }
    std::map<std::pair<int64_t, BlockMatrix>, int64_t> at;
    for (const auto& [module, pair] : pairs_) {
      const Place& p = places_.at(module);
      Adapter::Change& c = out->layers[static_cast<size_t>(p.layer)].matrices[static_cast<int>(p.matrix)];
      const int64_t all = ranks[{p.layer, p.matrix}];
      if (!c.defined()) c = {Tensor::empty({all, p.columns}), Tensor::zeros({p.all_rows, all})};
      int64_t& first = at[{p.layer, p.matrix}];
      put(c, p, pair, first, settings_.scale(module));
      first += pair.a.size(0);
    }
    file_.file().check_unchanged();
    return out;
  }

 private:
  [[noreturn]] void fail(const std::string& tensor, const std::string& what) const {
    throw Error(Fault::data, str(file_.where(), ": tensor '", tensor, "' ", what));
  }

  void read(const std::string& name) {
    static const std::string kFront = "base_model.model.", kA = ".lora_A.weight", kB = ".lora_B.weight";
    const bool is_a = ends_with(name, kA), known = starts_with(name, kFront) && (is_a || ends_with(name, kB));
    if (!known) fail(name, "is not supported: only base_model.model.MODULE.lora_A.weight and lora_B.weight are");
    const std::string module = name.substr(kFront.size(), name.size() - kFront.size() - kA.size());
    if (!places_.count(module))
      fail(name, "belongs to no matrix of this model's blocks (adapters of embeddings and the head are not supported)");
    if (!settings_.targets(module).value_or(true)) fail(name, str("belongs to a module that 'target_modules' of ", settings_.where(), " does not name"));
    const Tensor t = file_.tensor(name);
    if (t.dtype() != DType::f32 && t.dtype() != DType::bf16 && t.dtype() != DType::f16)
      fail(name, str("is ", t.text(), "; expected f32, bf16 or f16"));
    Tensor wide = Tensor::empty(t.shape());
    host_copy(wide.view(), t.view());
    (is_a ? pairs_[module].a : pairs_[module].b) = wide;
  }

  void check(const std::string& module, const Pair& pair) const {
    const Place& p = places_.at(module);
    const int64_t rank = settings_.rank(module);
    const auto expect = [&](const char* end, const Tensor& t, const Shape& shape) {
      const std::string name = str("base_model.model.", module, end);
      if (!t.defined()) throw Error(Fault::data, str(file_.where(), ": no tensor '", name, "'"));
      if (!(t.shape() == shape))
        fail(name, str("has shape ", t.shape().text(), "; expected ", shape.text(), " (rank ", rank, " by ", settings_.where(), ")"));
    };
    expect(".lora_A.weight", pair.a, {rank, p.columns});
    expect(".lora_B.weight", pair.b, {p.rows, rank});
  }

  // A's rows from `first` on, and B's in its rows and the columns that go with them.
  static void put(const Adapter::Change& c, const Place& p, const Pair& pair, int64_t first, double scale) {
    const int64_t rank = pair.a.size(0), all = c.a.size(0);
    const float *a = pair.a.data_as<float>(), *b = pair.b.data_as<float>();
    std::copy(a, a + rank * p.columns, c.a.data_as<float>() + first * p.columns);
    float* to = c.b.data_as<float>() + p.row * all + first;
    for (int64_t r = 0; r < p.rows; ++r)
      for (int64_t k = 0; k < rank; ++k) to[r * all + k] = static_cast<float>(scale * b[r * rank + k]);
  }

  const Settings& settings_;
  const std::map<std::string, Place> places_;
  const Safetensors file_;
  std::map<std::string, Pair> pairs_;
};

}  // namespace

int64_t Adapter::bytes() const {
  int64_t sum = 0;
  for (const Layer& l : layers)
    for (const Change& c : l.matrices)
      if (c.defined()) sum += (c.a.numel() + c.b.numel()) * 4;
  return sum;
}

std::shared_ptr<const Adapter> load_adapter(const std::string& folder, const Decoder& model) {
  if (!is_directory(folder)) throw Error(Fault::io, str(folder, " is not an adapter's folder (it must hold adapter_config.json)"));
  const Settings settings(folder);
  return AdapterFile(folder, settings, model).fused(model.config().layers);
}

}  // namespace wellspring
