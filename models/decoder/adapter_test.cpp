#include "models/decoder/adapter.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "base/file.h"
#include "base/json.h"
#include "base/random.h"
#include "base/test_error.h"
#include "base/text.h"
#include "base/threads.h"
#include "models/decoder/model.h"
#include "nn/paged_cache.h"
#include "tensor/safetensors.h"

namespace wellspring {
namespace {

std::string adapted_model(const std::string& name) { return "models/decoder/testdata/" + name; }

Tensor random_tensor(const Shape& shape, uint64_t seed, float size) {
  Tensor t = Tensor::empty(shape);
  Random random(seed);
  for (int64_t i = 0; i < t.numel(); ++i) t.data_as<float>()[i] = size * static_cast<float>(2 * random.uniform() - 1);
  return t;
}

// What PEFT writes, for some modules of a model: rank 4, of what `rank8` names 8.
struct AdapterOnDisk {
  Json config = {{"peft_type", "LORA"}, {"r", 4}, {"lora_alpha", 6}, {"bias", "none"}};
  std::vector<std::pair<std::string, Tensor>> tensors;

  AdapterOnDisk(const Decoder& model, const std::vector<std::string>& modules, uint64_t seed, const std::string& rank8 = "?") {
    config["target_modules"] = modules;
    for (const Parameter* p : model.parameters())
      for (const ParameterPart& part : p->parts)
        for (const std::string& m : modules) {
          if (!ends_with(part.name, str(".", m, ".weight"))) continue;
          const std::string at = str("base_model.model.", part.name.substr(0, part.name.size() - 7));
          const int64_t rank = m == rank8 ? 8 : 4;
          tensors.emplace_back(at + ".lora_A.weight", random_tensor({rank, columns(model.config(), p->name)}, ++seed, 0.5f));
          tensors.emplace_back(at + ".lora_B.weight", random_tensor({part.rows, rank}, ++seed, 0.5f));
        }
    if (rank8 != "?") config["rank_pattern"] = {{rank8, 8}}, config["alpha_pattern"] = {{str("[a-z]+.[0-9]+.*", rank8), 3}};
  }
  static int64_t columns(const DecoderConfig& c, const std::string& name) {
    return ends_with(name, ".down.weight") ? c.ffn : ends_with(name, ".out.weight") ? c.heads * c.head_width : c.width;
  }
  void write(const std::string& folder) const {
    make_directories(folder);
    write_file_atomic(folder + "/adapter_config.json", to_text(config));
    write_safetensors(folder + "/adapter_model.safetensors", tensors);
  }
  // The definition: W += scale B A, in f64.
  void merge_into(const Decoder& model, const std::function<double(const std::string&)>& scale) const {
    for (size_t i = 0; i < tensors.size(); i += 2) {
      const std::string module = tensors[i].first.substr(17, tensors[i].first.size() - 17 - 14);
      const Tensor &a = tensors[i].second, &b = tensors[i + 1].second;
      for (const Parameter* p : model.parameters())
        for (const ParameterPart& part : p->parts) {
          if (part.name != module + ".weight") continue;
          const int64_t K = a.size(1), R = a.size(0);
          for (int64_t r = 0; r < part.rows; ++r)
            for (int64_t k = 0; k < K; ++k) {
              double sum = 0;
              for (int64_t j = 0; j < R; ++j) sum += static_cast<double>(b.data_as<float>()[r * R + j]) * a.data_as<float>()[j * K + k];
              p->compute.data_as<float>()[(part.row + r) * K + k] += static_cast<float>(scale(module) * sum);
            }
        }
    }
  }
};

// A sequence on its way through passes.
struct Row {
  std::vector<int32_t> ids;
  const Adapter* adapter = nullptr;
  std::vector<int32_t> pages = {};
  int64_t computed = 0;
  std::vector<float> logits = {}, hidden = {};  // of all its rows
};

// The next n tokens of each, in one pass.
void pass(const Decoder& model, PagedCache& cache, std::vector<std::pair<Row*, int64_t>> rows, bool adapters = true) {
  DecodeBatch b;
  b.table_width = 4;
  for (auto& [s, n] : rows) {
    n = std::min(n, static_cast<int64_t>(s->ids.size()) - s->computed);
    const auto first = static_cast<int32_t>(b.ids.size());
    b.segments.insert(b.segments.end(), {first, static_cast<int32_t>(n), static_cast<int32_t>(s->computed)});
    if (adapters) b.adapters.push_back(s->adapter);
    for (int64_t i = 0; i < n; ++i) {
      const int64_t p = s->computed + i;
      if (p / 64 == static_cast<int64_t>(s->pages.size())) s->pages.push_back(cache.take());
      b.ids.push_back(s->ids[static_cast<size_t>(p)]), b.positions.push_back(static_cast<int32_t>(p));
      b.slots.push_back(static_cast<int32_t>(s->pages.back() * 64 + p % 64));
      b.wanted.push_back(first + static_cast<int32_t>(i));
    }
    std::vector<int32_t> table = s->pages;
    table.resize(4);
    b.tables.insert(b.tables.end(), table.begin(), table.end());
  }
  b.hidden = b.wanted;
  Tensor hidden;
  const Tensor logits = model.step(b, cache, &hidden);
  const int64_t V = logits.size(1), D = hidden.size(1);
  int64_t at = 0;
  for (auto& [s, n] : rows) {
    const float *l = logits.data_as<float>() + at * V, *h = hidden.data_as<float>() + at * D;
    s->logits.insert(s->logits.end(), l, l + n * V), s->hidden.insert(s->hidden.end(), h, h + n * D);
    s->computed += n, at += n;
  }
}

PagedCache cache_for(const Decoder& model, DType dtype) {
  return PagedCache(model.config().layers, model.config().kv_heads, model.config().head_width, 16, dtype);
}

std::vector<int32_t> ids_of(uint64_t seed, size_t n, int64_t vocab) {
  Random random(seed);
  std::vector<int32_t> ids;
  for (size_t i = 0; i < n; ++i) ids.push_back(static_cast<int32_t>(random.below(static_cast<uint64_t>(vocab))));
  return ids;
}

const std::vector<std::string> kAllOfLlama = {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"};

TEST(Adapter, IsWhatMergedWeightsAre) {
  struct Case {
    const char* model;
    std::vector<std::string> modules;
    std::string rank8;
    bool root;
  };
  for (const Case& c : {Case{"llama", kAllOfLlama, "v_proj", false}, Case{"qwen2", {"v_proj", "down_proj"}, "down_proj", true},
                        Case{"gpt2", {"c_attn", "c_proj", "c_fc"}, "c_fc", false}, Case{"teleflm", {"up_proj"}, "?", false}}) {
    SCOPED_TRACE(c.model);
    auto model = load_decoder(adapted_model(c.model), DType::f32), merged = load_decoder(adapted_model(c.model), DType::f32);
    AdapterOnDisk disk(*model, c.modules, 11, c.rank8);
    disk.config["use_rslora"] = c.root;
    TemporaryFolder folder;
    disk.write(folder.path());
    const auto adapter = load_adapter(folder.path(), *model);
    EXPECT_GT(adapter->bytes(), 0);
    disk.merge_into(*merged, [&](const std::string& module) {
      const bool eight = ends_with(module, c.rank8);
      return (eight ? 3.0 : 6.0) / (c.root ? std::sqrt(eight ? 8.0 : 4.0) : eight ? 8.0 : 4.0);
    });
    const int64_t vocab = model->config().vocab;
    Row row{ids_of(3, 20, vocab), adapter.get()}, plain{row.ids};
    PagedCache cache = cache_for(*model, DType::f32);
    pass(*model, cache, {{&row, 20}});
    pass(*model, cache, {{&plain, 20}});
    std::vector<float> final;
    merged->set_hook([&](const std::string& name, const Tensor& t) {
      if (name == "final") final = t.to_vector<float>();
    });
    const auto expected = merged->logits(Tensor::from(std::span<const int32_t>(row.ids), {1, 20})).to_vector<float>();
    double away = 0;
    for (size_t i = 0; i < expected.size(); ++i) {
      ASSERT_NEAR(row.logits[i], expected[i], 2e-4) << i;
      away = std::max(away, std::fabs(static_cast<double>(plain.logits[i]) - expected[i]));
    }
    EXPECT_GT(away, 0.1) << "an adapter that changes nothing tests nothing";
    ASSERT_EQ(row.hidden.size(), final.size());
    for (size_t i = 0; i < final.size(); ++i) ASSERT_NEAR(row.hidden[i], final[i], 2e-4) << i;
  }
}

TEST(Adapter, ARowsBitsAreItsOwn) {
  struct Kind {
    DType dtype, cache;
    std::optional<WeightFormat> weights;
  };
  for (const Kind& kind : {Kind{DType::f32, DType::f32, {}}, Kind{DType::bf16, DType::bf16, {}},
                           Kind{DType::bf16, DType::bf16, WeightFormat::bf16}, Kind{DType::bf16, DType::i8, WeightFormat::q4}}) {
    auto model = load_decoder(adapted_model("qwen2"), kind.dtype);
    TemporaryFolder one, two;
    AdapterOnDisk(*model, kAllOfLlama, 5).write(one.path());
    AdapterOnDisk(*model, {"q_proj", "gate_proj"}, 99).write(two.path());
    if (kind.weights) model->quantize(*kind.weights, WeightFormat::q8);
    const auto a = load_adapter(one.path(), *model), b = load_adapter(two.path(), *model);
    const std::vector<Row> rows = {{ids_of(1, 40, 96), a.get()}, {ids_of(2, 33, 96)}, {ids_of(1, 40, 96), b.get()}, {ids_of(4, 20, 96), a.get()},
                                   {ids_of(1, 40, 96)}};
    std::vector<Row> alone = rows, mixed = rows;
    for (size_t i = 0; i < rows.size(); ++i) {
      set_threads(1 + static_cast<int>(i % 2));
      PagedCache cache = cache_for(*model, kind.cache);
      pass(*model, cache, {{&alone[i], 64}}, /*adapters=*/rows[i].adapter != nullptr);
    }
    set_threads(2);
    PagedCache cache = cache_for(*model, kind.cache);
    for (int64_t turn = 0; mixed[0].computed < 40 || mixed[1].computed < 33; ++turn) {
      std::vector<std::pair<Row*, int64_t>> some;
      for (size_t i = 0; i < rows.size(); ++i)
        if (mixed[i].computed < static_cast<int64_t>(rows[i].ids.size()))
          some.emplace_back(&mixed[i], 1 + (turn * 7 + static_cast<int64_t>(i) * 3) % 11);
      pass(*model, cache, some);
    }
    for (size_t i = 0; i < rows.size(); ++i) {
      const size_t n = mixed[i].logits.size();
      ASSERT_GT(n, 0u);
      EXPECT_EQ(mixed[i].logits, std::vector<float>(alone[i].logits.begin(), alone[i].logits.begin() + static_cast<std::ptrdiff_t>(n))) << i;
      EXPECT_EQ(mixed[i].hidden, std::vector<float>(alone[i].hidden.begin(), alone[i].hidden.begin() + static_cast<std::ptrdiff_t>(mixed[i].hidden.size()))) << i;
    }
    EXPECT_NE(alone[0].logits, alone[2].logits);
    EXPECT_NE(alone[0].logits, alone[4].logits);
  }
}

TEST(Adapter, HiddenRowsAreThoseAskedFor) {
  auto model = load_decoder(adapted_model("llama"), DType::f32);
  PagedCache cache = cache_for(*model, DType::f32);
  Row all{ids_of(8, 9, 96)};
  pass(*model, cache, {{&all, 9}});
  DecodeBatch b;
  const int32_t page = cache.take();
  b.ids = all.ids, b.tables = {page}, b.table_width = 1, b.segments = {0, 9, 0}, b.hidden = {2, 8};
  for (int32_t i = 0; i < 9; ++i) b.positions.push_back(i), b.slots.push_back(64 * page + i);
  Tensor hidden;
  EXPECT_FALSE(model->step(b, cache, &hidden).defined());
  const auto D = static_cast<std::ptrdiff_t>(model->config().width);
  std::vector<float> expected(all.hidden.begin() + 2 * D, all.hidden.begin() + 3 * D);
  expected.insert(expected.end(), all.hidden.begin() + 8 * D, all.hidden.end());
  EXPECT_EQ(hidden.to_vector<float>(), expected);
  b.hidden.clear();
  model->step(b, cache, &hidden);
  EXPECT_FALSE(hidden.defined());
}

TEST(Adapter, ErrorsNameFileAndTensor) {
  auto model = load_decoder(adapted_model("llama"), DType::f32);
  const AdapterOnDisk good(*model, {"q_proj", "o_proj"}, 1);
  TemporaryFolder folder;
  const auto expect = [&](const std::function<void(AdapterOnDisk&)>& change, const std::string& part) {
    AdapterOnDisk disk = good;
    change(disk);
    disk.write(folder.path());
    const std::string e = error_of([&] { load_adapter(folder.path(), *model); }, Fault::data);
    EXPECT_NE(e.find(part), std::string::npos) << part << " not in: " << e;
  };
  const auto set = [](const char* field, const Json& value) { return [=](AdapterOnDisk& d) { d.config[field] = value; }; };
  EXPECT_NE(error_of([&] { load_adapter(folder.path() + "/none", *model); }, Fault::io).find("/none is not an adapter's folder"), std::string::npos);
  error_of([&] { load_adapter(folder.path(), *model); }, Fault::io);
  expect(set("peft_type", "IA3"), "adapter_config.json: field 'peft_type' must be \"LORA\"");
  expect(set("use_dora", true), "'use_dora' is not supported");
  expect(set("modules_to_save", {"lm_head"}), "'modules_to_save' is not supported");
  expect(set("bias", "all"), "'bias' must be \"none\"");
  expect(set("init_lora_weights", "pissa"), "'init_lora_weights' \"pissa\" changes");
  expect(set("r", 0), "field 'r' must be an integer of at least 1");
  expect(set("r", 5), "o_proj.lora_A.weight' has shape [4, 32]; expected [5, 32] (rank 5 by ");
  expect(set("lora_alpha", "6"), "field 'lora_alpha' must be a number");
  expect(set("rank_pattern", {{"(", 3}}), "'rank_pattern', key '('");
  expect(set("rank_pattern", {{"o_proj", 3}}), "o_proj.lora_A.weight' has shape [4, 32]; expected [3, 32]");
  expect(set("target_modules", {"q_proj"}), "o_proj.lora_A.weight' belongs to a module that 'target_modules'");
  expect(set("target_modules", {"q_proj", "o_proj", "v_proj"}), "no tensor 'base_model.model.model.layers.0.self_attn.v_proj.lora_A.weight'");
  expect([](AdapterOnDisk& d) { d.tensors.pop_back(); }, "adapter_model.safetensors: no tensor 'base_model.model.model.layers.1.self_attn.o_proj.lora_B.weight'");
  expect([](AdapterOnDisk& d) { d.tensors.clear(); }, "no tensors of an adapter");
  expect([](AdapterOnDisk& d) { d.tensors[1].second = Tensor::zeros({31, 4}); }, "q_proj.lora_B.weight' has shape [31, 4]; expected [32, 4]");
  expect([](AdapterOnDisk& d) { d.tensors[1].second = Tensor::zeros({32, 4}, DType::i32); }, "expected f32, bf16 or f16");
  for (const char* name : {"base_model.model.lm_head.lora_A.weight", "base_model.model.model.layers.2.self_attn.q_proj.lora_A.weight"})
    expect([&](AdapterOnDisk& d) { d.tensors[0].first = name; }, str("'", name, "' belongs to no matrix of this model's blocks"));
  for (const char* name : {"base_model.model.model.embed_tokens.lora_embedding_A", "x", ".lora_A.weight", "base_model.model.q.lora_magnitude_vector"})
    expect([&](AdapterOnDisk& d) { d.tensors[0].first = name; }, str("'", name, "' is not supported"));
  AdapterOnDisk pattern = good;  // then the file says what it matched
  pattern.config["target_modules"] = ".*self_attn.*";
  pattern.write(folder.path());
  EXPECT_TRUE(load_adapter(folder.path(), *model)->change(1, BlockMatrix::out).defined());
  EXPECT_FALSE(load_adapter(folder.path(), *model)->change(1, BlockMatrix::up).defined());
}

// adapter_peer_test.py has PEFT write WELLSPRING_ADAPTER: the model in base/, adapter/, golden.safetensors.
TEST(Adapter, FolderOfTheEnvironment) {
  const char* top = std::getenv("WELLSPRING_ADAPTER");
  if (!top) GTEST_SKIP() << "compared with merged weights; adapter_peer_test.py compares with PEFT";
  auto model = load_decoder(str(top, "/base"), DType::f32);
  const auto adapter = load_adapter(str(top, "/adapter"), *model);
  const Safetensors golden(str(top, "/golden.safetensors"));
  Row row{golden.tensor("ids").to_vector<int32_t>(), adapter.get()};
  PagedCache cache = cache_for(*model, DType::f32);
  pass(*model, cache, {{&row, 64}});
  const std::vector<float> logits = golden.tensor("logits").to_vector<float>();
  ASSERT_EQ(row.logits.size(), logits.size());
  double worst = 0;
  for (size_t i = 0; i < logits.size(); ++i) worst = std::max(worst, std::fabs(static_cast<double>(row.logits[i]) - logits[i]));
  std::printf("%s: logits differ by at most %.1e\n", top, worst);
  EXPECT_LT(worst, 1e-4);
}

}  // namespace
}  // namespace wellspring
