#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/test_error.h"
#include "base/text.h"
#include "models/decoder/gguf_config.h"
#include "models/decoder/gguf_export.h"
#include "models/decoder/gguf_model.h"
#include "models/decoder/gguf_tokenizer.h"
#include "models/decoder/model.h"
#include "tensor/safetensors.h"
#include "text/tokenizer.h"

namespace wellspring {
namespace {

const std::string kGgufModels = "models/decoder/testdata/";

GgufRows constant_rows(int64_t width, float value) {
  return [=](int64_t, int64_t count, float* to) { std::fill(to, to + count * width, value); };
}

TEST(GgufNames, BothWays) {
  const GgufFamily &llama = *gguf_family("llama"), &gpt2 = *gguf_family("gpt2");
  const auto q = hugging_face_name(llama, "blk.31.attn_q.weight");
  ASSERT_TRUE(q);
  EXPECT_EQ(q->name, "model.layers.31.self_attn.q_proj.weight");
  EXPECT_EQ(q->layout, GgufLayout::rotary);
  EXPECT_EQ(q->block, 31);
  EXPECT_EQ(hugging_face_name(*gguf_family("qwen2"), "blk.0.attn_q.bias")->layout,
            GgufLayout::plain);
  EXPECT_EQ(hugging_face_name(gpt2, "blk.2.attn_qkv.weight")->layout, GgufLayout::transposed);
  EXPECT_EQ(hugging_face_name(gpt2, "blk.2.attn_qkv.bias")->layout, GgufLayout::plain);
  EXPECT_EQ(gguf_name(gpt2, "transformer.h.7.mlp.c_fc.bias")->name, "blk.7.ffn_up.bias");
  for (const char* family : {"llama", "qwen2", "gpt2"})
    for (const GgufNameRow& row : gguf_family(family)->names) {
      std::string name = str(row.gguf, ".weight");
      if (const size_t hole = name.find("{}"); hole != name.npos) name.replace(hole, 2, "5");
      const auto there = hugging_face_name(*gguf_family(family), name);
      EXPECT_EQ(gguf_name(*gguf_family(family), there->name)->name, name);
    }
  for (const char* name :
       {"blk.01.attn_q.weight", "blk.-1.attn_q.weight", "blk..attn_q.weight", "blk.attn_q.weight",
        "attn_q.weight", "token_embd", "blk.0.attn_qkv.weight", ".weight",
        "blk.99999999999999999999.attn_q.weight"})
    EXPECT_FALSE(hugging_face_name(llama, name)) << name;
  EXPECT_EQ(gguf_family("mamba"), nullptr);
}

TEST(GgufNames, RotaryRowsAreAPermutation) {
  // One head of width 6: pairs (0, 3), (1, 4), (2, 5) become neighbours.
  std::vector<int64_t> rows;
  for (int64_t r = 0; r < 12; ++r) rows.push_back(rotary_row(r, 12, 2));
  EXPECT_EQ(rows, (std::vector<int64_t>{0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11}));
}

class GgufFolders : public testing::TestWithParam<const char*> {};

TEST_P(GgufFolders, RoundTripKeepsAllBits) {
  TemporaryFolder temporary;
  const std::string folder = kGgufModels + GetParam(), path = temporary.path() + "/m.gguf";
  export_gguf(folder, path, {.type = GgufType::f32});
  const GgufModel model = read_gguf_model(path);
  const DecoderConfig ours = DecoderConfig::from_json(model.config(), path);
  DecoderConfig wanted = read_decoder_config(folder);
  Json a = ours.to_json(), b = wanted.to_json();
  a.erase("wellspring"), b.erase("wellspring");
  for (Json* j : {&a, &b})  // training alone knows these
    for (const char* key : {"embd_pdrop", "resid_pdrop"}) j->erase(key);
  EXPECT_EQ(to_text(a), to_text(b));
  const SafetensorsFolder files(folder);
  size_t seen = 0;
  for (const std::string& name : files.names()) {
    if (ours.tied && name == "lm_head.weight") continue;
    ASSERT_TRUE(model.contains(name)) << name;
    ++seen;
    const Tensor t = files.tensor(name);
    EXPECT_EQ(model.shape(name), t.shape()) << name;
    EXPECT_EQ(model.tensor(name).to_vector<float>(), t.to_vector<float>()) << name;
    const Tensor narrow = model.tensor(name, DType::bf16);
    EXPECT_EQ(narrow.dtype(), DType::bf16);
    const auto v = t.to_vector<float>(), n = narrow.to_vector<float>();
    for (size_t i = 0; i < v.size(); ++i) ASSERT_EQ(n[i], to_float(to_bf16(v[i]))) << name;
  }
  EXPECT_EQ(seen, model.names().size());
  EXPECT_EQ(model.tokenizer_json(), "");
  EXPECT_EQ(model.chat_template(), "");
}

TEST_P(GgufFolders, QuantisedFilesAreNear) {
  TemporaryFolder temporary;
  const std::string folder = kGgufModels + GetParam(), path = temporary.path() + "/m.gguf";
  const SafetensorsFolder files(folder);
  for (const char* type : {"F16", "BF16", "Q8_0", "Q4_0", "Q4_K"}) {
    export_gguf(folder, path, {.type = gguf_type_named(type)->type});
    const GgufModel model = read_gguf_model(path);
    const double most = std::string(type) == "Q4_0" ? 0.2 : 0.02;
    for (const std::string& name : model.names()) {
      const auto got = model.tensor(name).to_vector<float>();
      const auto wanted = files.tensor(name).to_vector<float>();
      double error = 0, whole = 0;
      for (size_t i = 0; i < got.size(); ++i) {
        error += (got[i] - wanted[i]) * (got[i] - wanted[i]);
        whole += wanted[i] * wanted[i];
      }
      EXPECT_LE(std::sqrt(error), most * std::sqrt(whole)) << type << " " << name;
    }
  }
}

TEST_P(GgufFolders, TheConvertedModelComputesTheSame) {
  TemporaryFolder temporary;
  const std::string folder = kGgufModels + GetParam(), path = temporary.path() + "/m.gguf";
  ::setenv("WELLSPRING_CACHE", (temporary.path() + "/cache").c_str(), 1);
  export_gguf(folder, path, {.type = GgufType::bf16});
  const std::string converted = find_model_folder(path);
  EXPECT_EQ(find_model_folder(path), converted);  // the second time it is there
  ::unsetenv("WELLSPRING_CACHE");
  const auto wanted = load_decoder(folder, DType::f32), got = load_decoder(converted, DType::bf16);
  EXPECT_TRUE(got->quantized());
  const Tensor ids = Safetensors(folder + "/golden.safetensors").tensor("ids");
  const auto a = wanted->logits(ids).to_vector<float>(), b = got->logits(ids).to_vector<float>();
  double error = 0, whole = 0;
  for (size_t i = 0; i < a.size(); ++i) error += (a[i] - b[i]) * (a[i] - b[i]), whole += a[i] * a[i];
  EXPECT_LE(std::sqrt(error), 0.03 * std::sqrt(whole));
}

INSTANTIATE_TEST_SUITE_P(All, GgufFolders, testing::Values("llama", "qwen2", "gpt2"),
                         [](const auto& p) { return std::string(p.param); });

TEST(GgufConfig, RopeFactorsGiveTheScalingBack) {
  for (const auto& [s, theta, width] : {std::tuple{RopeScaling{8, 1, 4, 8192}, 5e5, 128},
                                        {RopeScaling{32, 1, 4, 8192}, 5e5, 64},
                                        {RopeScaling{8, 1, 4, 32}, 5e5, 16},
                                        {RopeScaling{4, 1, 3, 5000}, 1e4, 128}}) {
    const auto factors = llama3_rope_factors(s, theta, width);
    const auto back = llama3_rope_scaling(factors, theta);
    ASSERT_TRUE(back);
    EXPECT_NEAR(back->factor, s.factor, 1e-4);
    EXPECT_NEAR(back->high_frequency, s.high_frequency, 1e-3);
    EXPECT_NEAR(static_cast<double>(back->original_context),
                static_cast<double>(s.original_context), 1);
  }
  // The same range said otherwise.
  const auto same = llama3_rope_scaling(llama3_rope_factors({8, 2, 8, 16384}, 5e5, 128), 5e5);
  ASSERT_TRUE(same);
  EXPECT_EQ(same->original_context, 8192);
  EXPECT_EQ(llama3_rope_scaling(std::vector<float>(64, 1), 1e4)->factor, 1) << "no scaling";
  EXPECT_FALSE(llama3_rope_scaling({1, 1.5f, 3, 2, 8}, 1e4));
  EXPECT_FALSE(llama3_rope_scaling({1, NAN}, 1e4));
  EXPECT_FALSE(llama3_rope_scaling({}, 1e4));
}

// A folder with the weights of a golden model and another configuration or tokenizer.
struct CopiedFolder {
  TemporaryFolder place;
  explicit CopiedFolder(const std::string& kind) {
    for (const char* name : {"config.json", "model.safetensors"})
      write_file_atomic(path(name), read_file(join_path(kGgufModels + kind, name)));
  }
  std::string path(const std::string& name) const { return join_path(place.path(), name); }
  Json config() const { return read_json(path("config.json")); }
  void set_config(const Json& j) const { write_file_atomic(path("config.json"), to_text(j)); }
};

// Where answers end is said in generation_config.json, too; GGUF files keep it.
TEST(GenerationConfig, TellsMoreEndTokens) {
  CopiedFolder f("llama");
  Json config = f.config();
  config["eos_token_id"] = 2;
  f.set_config(config);
  const auto ends = [&] { return read_decoder_config(f.place.path()).eos; };
  const auto said = [&](const char* json) { write_file_atomic(f.path("generation_config.json"), json); };
  EXPECT_EQ(ends(), std::vector<int32_t>{2});
  for (const char* none : {"{}", R"({"eos_token_id": null, "top_p": 0.9})", R"({"eos_token_id": 2})"}) {
    said(none);
    EXPECT_EQ(ends(), std::vector<int32_t>{2}) << none;
  }
  said(R"({"eos_token_id": 7})");
  EXPECT_EQ(ends(), (std::vector<int32_t>{2, 7}));
  said(R"({"eos_token_id": [7, 2, 9]})");
  EXPECT_EQ(ends(), (std::vector<int32_t>{2, 7, 9}));
  export_gguf(f.place.path(), f.path("m.gguf"));
  EXPECT_EQ(DecoderConfig::from_json(read_gguf_model(f.path("m.gguf")).config(), "m").eos, ends());
  const auto model = load_decoder(f.place.path(), DType::bf16);
  model->quantize(WeightFormat::q4, WeightFormat::q8);
  save_quantized(*model, f.path("q4"), f.place.path());
  EXPECT_EQ(read_decoder_config(f.path("q4")).eos, ends());
  for (const char* bad : {R"({"eos_token_id": "2"})", R"({"eos_token_id": [2, -1]})", R"({"eos_token_id": 2.5})", "[]", "{"}) {
    said(bad);
    const std::string error = error_of(ends, Fault::data);
    EXPECT_NE(error.find("generation_config.json"), error.npos) << bad << ": " << error;
  }
}

TEST(GgufConfig, RopeScalingIsATensor) {
  CopiedFolder f("llama");
  Json config = f.config();
  config["rope_parameters"] = config["rope_scaling"] = {
      {"rope_type", "llama3"},   {"rope_theta", 500000.0},
      {"factor", 8.0},           {"low_freq_factor", 1.0},
      {"high_freq_factor", 4.0}, {"original_max_position_embeddings", 32}};
  f.set_config(config);
  export_gguf(f.place.path(), f.path("m.gguf"));
  const GgufModel model = read_gguf_model(f.path("m.gguf"));
  const DecoderConfig c = DecoderConfig::from_json(model.config(), "m");
  ASSERT_TRUE(c.rope_scaling);
  EXPECT_EQ(llama3_rope_factors(*c.rope_scaling, c.rope_theta, c.head_width),
            llama3_rope_factors({8, 1, 4, 32}, 500000, c.head_width));
  EXPECT_NE(model.file().find("rope_freqs.weight"), nullptr);
  EXPECT_EQ(model.file().number("llama.rope.freq_base"), 500000.0);
}

const char* const kGgufTexts[] = {"", "the theme of them", "It's 12345 o'clock,\n\n  isn't IT?  ",
                                  "泉水 naïve café \xf0\x9f\x98\x80", "a<|endoftext|>b<|im_end|>"};

TEST(GgufTokenizer, ByteLevelRoundTrip) {
  for (const char* kind : {"llama3", "qwen2", "gpt2", "o200k"}) {
    const std::string where = str("text/testdata/", kind, ".json");
    std::string json = read_file(where);
    if (std::string(kind) == "gpt2") {  // added tokens that strip or stand alone: not in GGUF
      Json j = read_json(where);
      Json& added = j["added_tokens"];
      added.erase(added.begin() + 1, added.end());
      json = to_text(j);
    }
    const Tokenizer wanted = Tokenizer::parse(json, where);
    CopiedFolder f("llama");
    DecoderConfig config = read_decoder_config(f.place.path());
    config.vocab = wanted.vocab_size() + 7;
    config.bos = wanted.bos_id().value_or(0);
    config.eos = {wanted.eos_id().value_or(0)};
    GgufWriter w;
    w.set_text("general.architecture", "llama");
    set_gguf_config(w, config, *gguf_family("llama"));
    set_gguf_tokenizer(w, json, where, config);
    w.write(f.path("t.gguf"));
    const Gguf file(f.path("t.gguf"));
    const Tokenizer got =
        Tokenizer::parse(gguf_tokenizer_json(file, *gguf_family("llama")), "t.gguf");
    EXPECT_EQ(got.vocab_size(), wanted.vocab_size()) << kind;
    EXPECT_EQ(file.texts("tokenizer.ggml.tokens").back(), str("[PAD", config.vocab - 1, "]"));
    for (const char* text : kGgufTexts) {
      EXPECT_EQ(got.encode(text), wanted.encode(text)) << kind << ": " << text;
      EXPECT_EQ(got.decode(got.encode(text)), wanted.decode(wanted.encode(text))) << kind;
    }
    for (int32_t id = 0; id < wanted.vocab_size(); ++id)
      ASSERT_EQ(got.is_special(id), wanted.is_special(id)) << kind << " " << id;
    EXPECT_EQ(gguf_tokenizer_config(file).value("bos_token", ""), wanted.id_to_token(config.bos));
  }
}

// As the converters of llama.cpp write a SentencePiece model: scores fall with the ids.
void write_sentencepiece(const std::string& path, const Json& json) {
  std::vector<std::string> tokens(json["model"]["vocab"].size());
  for (const auto& [token, id] : json["model"]["vocab"].items()) tokens[id.get<size_t>()] = token;
  std::vector<float> scores(tokens.size());
  std::vector<int32_t> kinds(tokens.size(), 1);
  for (size_t i = 0; i < tokens.size(); ++i) {
    scores[i] = -static_cast<float>(i);
    if (starts_with(tokens[i], "<0x")) kinds[i] = 6;
  }
  kinds[0] = 2, kinds[1] = kinds[2] = 3;
  GgufWriter w;
  w.set_text("tokenizer.ggml.model", "llama");
  w.set_texts("tokenizer.ggml.tokens", tokens);
  w.set_f32s("tokenizer.ggml.scores", scores);
  w.set_i32s("tokenizer.ggml.token_type", kinds);
  w.set_u32("tokenizer.ggml.bos_token_id", 1);
  w.write(path);
}

TEST(GgufTokenizer, SentencePieceScoresBecomeMerges) {
  TemporaryFolder folder;
  const std::string path = folder.path() + "/t.gguf";
  const Json json = read_json("text/testdata/llama2.json");
  write_sentencepiece(path, json);
  const std::string made = gguf_tokenizer_json(Gguf(path), *gguf_family("llama"));
  const Json back = parse_json(made, "made");
  EXPECT_EQ(back["normalizer"], json["normalizer"]);
  EXPECT_EQ(back["decoder"], json["decoder"]);
  const Tokenizer got = Tokenizer::parse(made, "made");
  const Tokenizer wanted = Tokenizer::load("text/testdata/llama2.json");
  for (const char* text : kGgufTexts) {
    EXPECT_EQ(got.encode(text), wanted.encode(text)) << text;
    EXPECT_EQ(got.decode(got.encode(text)), wanted.decode(wanted.encode(text)));
  }
}

TEST(GgufTokenizer, RefusesWhatItDoesNotKnow) {
  TemporaryFolder folder;
  const std::string path = folder.path() + "/t.gguf";
  auto refusal = [&](auto fill) {
    GgufWriter w;
    fill(w);
    w.write(path);
    return error_of([&] { gguf_tokenizer_json(Gguf(path), *gguf_family("llama")); }, Fault::data);
  };
  auto base = [](GgufWriter& w, const char* pre) {
    w.set_text("tokenizer.ggml.model", "gpt2");
    w.set_text("tokenizer.ggml.pre", pre);
  };
  auto has = [](const std::string& e, const char* part) {
    EXPECT_NE(e.find(part), std::string::npos) << e;
  };
  has(refusal([](GgufWriter& w) { w.set_text("tokenizer.ggml.model", "bert"); }),
      "the tokenizer 'bert' is not supported");
  has(refusal([&](GgufWriter& w) { base(w, "viking"); }), "'viking' is not supported (only gpt-2");
  has(refusal([&](GgufWriter& w) { base(w, "gpt-2"); }), "list of tokens is missing");
  has(refusal([&](GgufWriter& w) {
        base(w, "gpt-2");
        w.set_texts("tokenizer.ggml.tokens", {"a"});
      }),
      "list of merges is missing");
  has(refusal([&](GgufWriter& w) {
        base(w, "gpt-2");
        w.set_texts("tokenizer.ggml.tokens", {"a", "b"});
        w.set_i32s("tokenizer.ggml.token_type", {1});
      }),
      "1 types for 2 tokens");
  has(refusal([&](GgufWriter& w) {
        base(w, "gpt-2");
        w.set_texts("tokenizer.ggml.tokens", {"a", "\xff"});
      }),
      "token 1 is not valid UTF-8");
  has(refusal([&](GgufWriter& w) {
        base(w, "llama-bpe");
        w.set_texts("tokenizer.ggml.tokens", {"a"});
        w.set_texts("tokenizer.ggml.merges", {});
      }),
      "not the id of a token");
  has(refusal([&](GgufWriter& w) {
        base(w, "gpt-2");
        w.set_texts("tokenizer.ggml.tokens", {"a"});
        w.set_texts("tokenizer.ggml.merges", {"ab"});
      }),
      "is not two texts");
  has(refusal([&](GgufWriter& w) {
        w.set_text("tokenizer.ggml.model", "llama");
        w.set_texts("tokenizer.ggml.tokens", {"a"});
        w.set_boolean("tokenizer.ggml.add_bos_token", false);
      }),
      "0 scores for 1 tokens");
}

// A llama of one block without its tensors but the embedding.
void set_tiny(GgufWriter& w) {
  w.set_text("general.architecture", "llama");
  for (const char* key :
       {"context_length", "embedding_length", "feed_forward_length", "attention.head_count"})
    w.set_u32(str("llama.", key), 2);
  w.set_f32("llama.attention.layer_norm_rms_epsilon", 1e-5f);
}

TEST(GgufModel, BadModelsAreRefused) {
  TemporaryFolder folder;
  const std::string path = folder.path() + "/m.gguf";
  auto refusal = [&](auto fill) {
    GgufWriter w;
    fill(w);
    w.write(path);
    return error_of([&] { read_gguf_model(path); }, Fault::data);
  };
  auto blocks = [](GgufWriter& w, uint32_t n) {
    set_tiny(w);
    w.set_u32("llama.block_count", n);
  };
  auto tensor = [](GgufWriter& w, const char* name, std::vector<int64_t> shape) {
    w.add(name, shape, GgufType::f32, constant_rows(shape.back(), 1));
  };
  auto has = [](const std::string& e, const char* part) {
    EXPECT_NE(e.find(part), std::string::npos) << e;
  };
  has(refusal([](GgufWriter&) {}), "'general.architecture': it is missing");
  has(refusal([](GgufWriter& w) { w.set_text("general.architecture", "mamba"); }),
      "'mamba' is not supported (only llama, qwen2, gpt2)");
  has(refusal([](GgufWriter& w) { set_tiny(w); }), "key 'llama.block_count' is missing");
  has(refusal([&](GgufWriter& w) { blocks(w, 0); }), "0 is out of range");
  has(refusal([&](GgufWriter& w) { blocks(w, 2'000'000'000); }), "no tensors of block 0");
  has(refusal([&](GgufWriter& w) {
        blocks(w, 1);
        tensor(w, "blk.1.attn_norm.weight", {2});
      }),
      "the model has 1 blocks");
  has(refusal([&](GgufWriter& w) {
        blocks(w, 1);
        tensor(w, "blk.0.attn_norm.weight", {2});
      }),
      "tensor 'token_embd.weight': it is missing");
  has(refusal([&](GgufWriter& w) {
        blocks(w, 1);
        tensor(w, "blk.0.ssm_a", {2});
      }),
      "not part of a llama model");
  has(refusal([&](GgufWriter& w) {
        blocks(w, 1);
        tensor(w, "blk.0.attn_q.weight", {3, 2});
      }),
      "does not hold 2 heads of 1");
  has(refusal([&](GgufWriter& w) {
        blocks(w, 1);
        w.set_u32("llama.expert_count", 8);
      }),
      "key 'llama.expert_count': this setting is not supported");
  has(refusal([&](GgufWriter& w) {
        blocks(w, 1);
        w.set_u32("llama.vocab_size", 9);
        tensor(w, "blk.0.attn_norm.weight", {2});
        tensor(w, "token_embd.weight", {3, 2});
      }),
      "9, but token_embd.weight has 3 rows");
  has(refusal([&](GgufWriter& w) {
        blocks(w, 1);
        w.set_u32("llama.rope.dimension_count", 8);
      }),
      "differs from the width of heads");
  has(refusal([&](GgufWriter& w) {
        blocks(w, 1);
        w.set_u32("split.count", 3);
      }),
      "open the first, NAME-00001-of-00003.gguf");
}

TEST(GgufModel, SplitModelsAndCopiedHeads) {
  TemporaryFolder folder;
  auto part = [&](int i) { return str(folder.path(), "/m-0000", i, "-of-00002.gguf"); };
  {
    GgufWriter w;
    set_tiny(w);
    w.set_u32("llama.block_count", 1);
    w.set_u32("split.count", 2);
    w.set_text("tokenizer.chat_template", "{{ messages }}");
    w.add("token_embd.weight", {3, 2}, GgufType::f32, constant_rows(2, 1));
    w.write(part(1));
    GgufWriter v;
    v.add("blk.0.attn_norm.weight", {2}, GgufType::f32, constant_rows(2, 3));
    v.add("output.weight", {3, 2}, GgufType::f32, constant_rows(2, 1));
    v.write(part(2));
  }
  const GgufModel model = read_gguf_model(part(1));
  EXPECT_EQ(model.chat_template(), "{{ messages }}");
  EXPECT_EQ(model.tokenizer_config()["chat_template"], "{{ messages }}");
  EXPECT_EQ(model.config()["tie_word_embeddings"], true) << "the head repeats the embedding";
  EXPECT_EQ(model.names().size(), 2u);
  const std::string norm = "model.layers.0.input_layernorm.weight";
  EXPECT_EQ(model.tensor(norm).to_vector<float>(), (std::vector<float>{3, 3}));
  EXPECT_EQ(model.file_of(norm), part(2));
  EXPECT_NE(error_of([&] { model.tensor("lm_head.weight"); }, Fault::data).find("no tensor for"),
            std::string::npos);
  error_of([&] { model.tensor(norm, DType::i64); });
  remove_all(part(2));
  error_of([&] { read_gguf_model(part(1)); }, Fault::io);
}

TEST(GgufExport, RefusesWhatFilesCannotSay) {
  TemporaryFolder folder;
  const std::string path = folder.path() + "/m.gguf";
  EXPECT_NE(error_of([&] { export_gguf(kGgufModels + "teleflm", path); }).find("as Llama first"),
            std::string::npos);
  error_of([&] { export_gguf(kGgufModels + "llama", path, {.type = GgufType::q6_k}); });
  EXPECT_FALSE(exists(path));
  error_of([&] { export_gguf(folder.path(), path); }, Fault::io);
}

// For gguf_peer_test.py: "FOLDER|FILE|TYPE" exports, "FILE|FOLDER" imports.
TEST(GgufModel, FileOfTheEnvironment) {
  const char* task = std::getenv("WELLSPRING_GGUF_MODEL");
  if (!task) GTEST_SKIP() << "WELLSPRING_GGUF_MODEL names no model";
  const std::vector<std::string> parts = split(task, '|');
  if (parts.size() == 3)
    return export_gguf(parts[0], parts[1], {.type = gguf_type_named(parts[2])->type});
  const GgufModel model = read_gguf_model(parts[0]);
  make_directories(parts[1]);
  TensorList list;
  for (const std::string& name : model.names()) list.emplace_back(name, model.tensor(name));
  write_safetensors(join_path(parts[1], "model.safetensors"), list, {{"format", "pt"}});
  write_file_atomic(join_path(parts[1], "config.json"), to_text(model.config(), 2));
  if (const std::string json = model.tokenizer_json(); !json.empty()) {
    write_file_atomic(join_path(parts[1], "tokenizer.json"), json);
    write_file_atomic(join_path(parts[1], "tokenizer_config.json"),
                      to_text(model.tokenizer_config(), 2));
  }
}

}  // namespace
}  // namespace wellspring
