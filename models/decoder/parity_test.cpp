// Against PyTorch: golden folders always, and whatever folder WELLSPRING_PARITY names
// (peer_check_test.py).

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "models/decoder/model.h"
#include "ops/optimizer.h"
#include "tensor/autograd.h"
#include "tensor/safetensors.h"

namespace wellspring {
namespace {

/// How far we are from PyTorch. Relative errors are root mean squares over root mean squares;
/// `gradients` is the worst parameter's.
struct ParityErrors {
  double logits = 0;  // largest absolute difference, f32
  double gradients = 0;
  std::string worst;                           // whose gradient
  double losses = 0;                           // largest absolute difference over ten AdamW steps
  double bf16_logits = 0, bf16_gradients = 0;  // our bf16 against PyTorch's f32
  double peer_bf16_logits = 0, peer_bf16_gradients = 0;  // PyTorch's autocast against its f32
};

struct Sum {
  double difference = 0, size = 0, worst = 0;
  void add(const std::vector<float>& ours, const std::vector<float>& theirs) {
    WS_CHECK(ours.size() == theirs.size(), "golden of another shape");
    for (size_t i = 0; i < ours.size(); ++i) {
      double d = static_cast<double>(ours[i]) - theirs[i];
      difference += d * d, size += static_cast<double>(theirs[i]) * theirs[i];
      worst = std::max(worst, std::fabs(d));
      if (std::isnan(d)) worst = difference = INFINITY;
    }
  }
  double relative() const {
    return size > 0 ? std::sqrt(difference / size) : std::sqrt(difference);
  }
};

// Relative error over all gradients; `worst` becomes the name of the worst parameter and `most` its
// error.
double compare_gradients(const Decoder& model, const Safetensors& golden, double* most,
                         std::string* worst) {
  Sum all;
  for (const Parameter* p : model.parameters())
    for (auto& [name, piece] : split_parts(*p, p->grad())) {
      std::string key = "grad." + name;
      Sum one;
      one.add(piece.to_vector<float>(), golden.tensor(key).to_vector<float>());
      all.difference += one.difference, all.size += one.size;
      if (most && one.relative() >= *most) *most = one.relative(), *worst = name;
    }
  return all.relative();
}

ParityErrors compare_with_golden(const std::string& folder) {
  ParityErrors e;
  Safetensors golden(join_path(folder, "golden.safetensors"));
  Tensor ids = golden.tensor("ids"), targets = golden.tensor("targets");
  const std::vector<float> logits = golden.tensor("logits").to_vector<float>();
  const std::vector<float> losses = golden.tensor("losses").to_vector<float>();
  {
    auto model = load_decoder(folder, DType::f32, /*training=*/true);
    Sum sum;
    sum.add(model->logits(ids).to_vector<float>(), logits);
    e.logits = sum.worst;
    std::vector<Tensor> first, second;
    for (const Parameter* p : model->parameters())
      first.push_back(Tensor::zeros(p->shape())), second.push_back(Tensor::zeros(p->shape()));
    for (size_t step = 0; step < losses.size(); ++step) {
      Tensor loss = model->loss(ids, targets);
      e.losses = std::max(e.losses, std::fabs(loss.item() - losses[step]));
      backward(loss);
      if (step == 0) compare_gradients(*model, golden, &e.gradients, &e.worst);
      NoGrad no_grad;
      for (size_t i = 0; i < first.size(); ++i) {
        Parameter& p = *model->parameters()[i];
        AdamwOptions o;
        o.lr = 1e-3, o.beta2 = 0.95, o.step = static_cast<int64_t>(step) + 1;
        o.weight_decay = p.shape().size() > 1 ? 0.1 : 0;
        adamw_(p.master, p.grad(), first[i], second[i], Tensor(), o);
        p.compute.set_grad({});
      }
    }
  }
  auto half = load_decoder(folder, DType::bf16, /*training=*/true);
  Sum sum;
  sum.add(half->logits(ids).to_vector<float>(), logits);
  e.bf16_logits = sum.relative();
  backward(half->loss(ids, targets));
  e.bf16_gradients = compare_gradients(*half, golden, nullptr, nullptr);
  e.peer_bf16_logits = golden.tensor("bf16_logits_error").item();
  e.peer_bf16_gradients = golden.tensor("bf16_gradient_error").item();
  return e;
}

const char* const kFolders[] = {"llama", "qwen2", "gpt2", "teleflm"};

std::string golden(const std::string& name) { return "models/decoder/testdata/" + name; }

void expect_parity(const std::string& folder) {
  SCOPED_TRACE(folder);
  ParityErrors e = compare_with_golden(folder);
  std::printf(
      "%s: logits %.1e, gradients %.1e (%s), losses %.1e; bf16 logits %.2e (PyTorch %.2e), "
      "gradients %.2e (%.2e)\n",
      folder.c_str(), e.logits, e.gradients, e.worst.c_str(), e.losses, e.bf16_logits,
      e.peer_bf16_logits, e.bf16_gradients, e.peer_bf16_gradients);
  EXPECT_LT(e.logits, 1e-4);
  EXPECT_LT(e.gradients, 1e-4) << e.worst;
  EXPECT_LT(e.losses, 1e-4);
  EXPECT_LE(e.bf16_logits, 2 * e.peer_bf16_logits);
  EXPECT_LE(e.bf16_gradients, 2 * e.peer_bf16_gradients);
}

TEST(Parity, GoldenFolders) {
  for (const char* name : kFolders) expect_parity(golden(name));
}

TEST(Parity, FolderOfTheEnvironment) {
  const char* folder = std::getenv("WELLSPRING_PARITY");
  if (!folder) GTEST_SKIP() << "only golden files are compared; peer_check_test.py compares live";
  expect_parity(folder);
  auto model = load_decoder(folder, DType::f32);
  SaveOptions plain, shards;
  shards.shard_bytes = 40'000;
  save_decoder(*model, std::string(folder) + "/ours", plain);
  save_decoder(*model, std::string(folder) + "/ours_sharded", shards);
  if (model->config().family == DecoderConfig::Family::teleflm) {
    SaveOptions llama;
    llama.as_llama = true;
    save_decoder(*model, std::string(folder) + "/ours_llama", llama);
  }
}

// The cache gives what the whole sequence gives, however the prompt is cut.
TEST(Decoder, CacheAgreesWithWholeSequence) {
  for (const char* name : kFolders) {
    for (DType dtype : {DType::f32, DType::bf16}) {
      auto model = load_decoder(golden(name), dtype);
      Tensor ids = Safetensors(golden(name) + "/golden.safetensors").tensor("ids");
      const int64_t B = ids.size(0), T = ids.size(1), V = model->config().vocab;
      std::vector<float> whole = model->logits(ids).to_vector<float>();
      auto cache = model->make_cache(B);
      for (int64_t at = 0, n; at < T; at += n) {
        n = at == 0 ? 7 : 1 + at % 3;
        n = std::min(n, T - at);
        Tensor piece = Tensor::empty({B, n}, DType::i32);
        piece.copy_from(ids.as_strided({B, n}, {T, 1}, ids.offset() + at));
        std::vector<float> last = model->step(piece, *cache).to_vector<float>();
        for (int64_t b = 0; b < B; ++b)
          for (int64_t v = 0; v < V; ++v)
            ASSERT_NEAR(last[b * V + v], whole[(b * T + at + n - 1) * V + v],
                        dtype == DType::f32 ? 2e-5 : 0.15)
                << name << " at " << at;
      }
      EXPECT_THROW(model->step(Tensor::zeros({B, model->config().context}, DType::i32), *cache),
                   Error);
    }
  }
}

TEST(Folder, WrittenFoldersReadBackEqual) {
  for (const char* name : kFolders) {
    auto model = load_decoder(golden(name), DType::f32);
    TemporaryFolder folder;
    SaveOptions options;
    options.shard_bytes = 30'000;
    options.tokenizer_from = golden(name);
    save_decoder(*model, folder.path() + "/m", options);
    auto again = load_decoder(folder.path() + "/m", DType::f32);
    Tensor ids = Tensor::zeros({1, 5}, DType::i32);
    EXPECT_EQ(model->logits(ids).to_vector<float>(), again->logits(ids).to_vector<float>()) << name;
    EXPECT_EQ(model->config().to_json(), again->config().to_json());
  }
}

TEST(Folder, TeleFlmExportedAsLlama) {
  auto model = load_decoder(golden("teleflm"), DType::f32);
  TemporaryFolder folder;
  SaveOptions options;
  options.as_llama = true;
  save_decoder(*model, folder.path(), options);
  auto llama = load_decoder(folder.path(), DType::f32);
  EXPECT_EQ(llama->config().family, DecoderConfig::Family::llama);
  Tensor ids = Safetensors(golden("teleflm") + "/golden.safetensors").tensor("ids");
  auto a = model->logits(ids).to_vector<float>(), b = llama->logits(ids).to_vector<float>();
  for (size_t i = 0; i < a.size(); ++i) ASSERT_NEAR(a[i], b[i], 1e-5);
  EXPECT_THROW(save_decoder(*llama, folder.path() + "/x", options), Error);
}

TEST(Folder, ErrorsNameFileAndTensor) {
  TemporaryFolder folder;
  auto error_of = [&](const std::string& config) {
    write_file_atomic(folder.path() + "/config.json", config);
    try {
      load_decoder(folder.path(), DType::f32);
    } catch (const Error& e) {
      return std::string(e.what());
    }
    return std::string();
  };
  std::string good = read_file(golden("llama") + "/config.json");
  auto with = [&](const std::string& from, const std::string& to) {
    std::string s = good;
    size_t at = s.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return s.replace(at, from.size(), to);
  };
  auto expect = [&](const std::string& config, const std::string& part) {
    std::string e = error_of(config);
    EXPECT_NE(e.find(part), std::string::npos) << part << " not in: " << e;
  };
  EXPECT_THROW(load_decoder(folder.path() + "/none", DType::f32), Error);
  expect("{", "config.json");
  expect("{\"model_type\": \"bert\"}", "model_type 'bert' is not supported");
  expect(with("\"hidden_size\": 32", "\"hidden_size\": \"x\""),
         "field 'hidden_size' must be an integer");
  expect(with("\"hidden_size\": 32,", ""), "field 'hidden_size' is missing");
  expect(with("\"rope_type\": \"default\"", "\"rope_type\": \"yarn\""),
         "rope_type 'yarn' is not supported");
  expect(with("\"hidden_act\": \"silu\"", "\"hidden_act\": \"relu\""), "hidden_act 'relu'");
  expect(good, "model.safetensors");
  write_file_atomic(folder.path() + "/model.safetensors",
                    read_file(golden("llama") + "/model.safetensors"));
  expect(with("\"intermediate_size\": 56", "\"intermediate_size\": 57"),
         "gate_proj.weight' has shape [56, 32]");
  expect(with("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 3"),
         "no tensor 'model.layers.2.");
  expect(with("\"num_hidden_layers\": 2", "\"num_hidden_layers\": 1"),
         "is not part of a llama model");
  EXPECT_EQ(error_of(good), "");
}

TEST(Decoder, SameInitialWeightsForAnyDType) {
  DecoderConfig c;
  c.vocab = 64, c.width = 32, c.layers = 2, c.heads = c.kv_heads = 2, c.head_width = 16, c.ffn = 48,
  c.context = 32;
  Decoder a(c, DType::f32, 3), b(c, DType::bf16, 3), other(c, DType::f32, 4);
  for (size_t i = 0; i < a.parameters().size(); ++i)
    EXPECT_EQ(a.parameters()[i]->master.to_vector<float>(),
              b.parameters()[i]->master.to_vector<float>());
  EXPECT_NE(a.parameters()[0]->master.to_vector<float>(),
            other.parameters()[0]->master.to_vector<float>());
  int64_t n = 0;
  for (const Parameter* p : a.parameters()) n += p->master.numel();
  EXPECT_EQ(n, c.parameters());
}

}  // namespace
}  // namespace wellspring
