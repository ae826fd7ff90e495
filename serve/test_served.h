#pragma once
// A server over a small model of random weights, whose tokenizer has the bytes and ChatML's two special tokens.

#include <gtest/gtest.h>

#include <memory>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/http.h"
#include "base/json.h"
#include "base/text.h"
#include "models/decoder/model.h"
#include "serve/api.h"
#include "serve/engine.h"
#include "serve/model_text.h"
#include "serve/models.h"
#include "text/tokenizer.h"

namespace wellspring {

constexpr int32_t kTurnBegin = 256, kTurnEnd = 257;

/// Writes tokenizer.json and, when there is one, the chat template into `folder`.
inline void write_byte_tokenizer(const std::string& folder, const std::string& chat_template = "") {
  Json vocab = Json::object();
  int next = 256;
  for (int b = 0; b < 256; ++b) {  // GPT-2's printable form of a byte
    const bool plain = (b >= '!' && b <= '~') || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
    std::string spelled;
    utf8_append(spelled, static_cast<char32_t>(plain ? b : next++));
    vocab[spelled] = b;
  }
  Json added = Json::array();
  for (const auto& [id, text] : {std::pair(kTurnBegin, "<|im_start|>"), std::pair(kTurnEnd, "<|im_end|>")})
    added.push_back({{"id", id}, {"content", text}, {"special", true}, {"single_word", false}, {"lstrip", false}, {"rstrip", false}, {"normalized", false}});
  const Json bytes = {{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", true}};
  write_file_atomic(folder + "/tokenizer.json",
                    to_text({{"version", "1.0"},
                             {"added_tokens", added},
                             {"normalizer", nullptr},
                             {"pre_tokenizer", bytes},
                             {"post_processor", nullptr},
                             {"decoder", bytes},
                             {"model", {{"type", "BPE"}, {"vocab", vocab}, {"merges", Json::array()}}}}));
  if (!chat_template.empty()) write_file_atomic(folder + "/chat_template.jinja", chat_template);
}

class Served : public testing::Test {
 protected:
  explicit Served(const std::string& chat_template = "", int64_t context = 64, const EngineOptions& options = {}) {
    DecoderConfig c;
    c.vocab = 300, c.width = 32, c.layers = 2, c.heads = c.kv_heads = 2, c.head_width = 16;
    c.ffn = 48, c.context = context;
    c.init.vector_std = c.init.matrix_std = 0.5;
    write_byte_tokenizer(folder_.path(), chat_template);
    model_ = std::make_shared<const Decoder>(c, DType::f32, 1);
    text_ = std::make_unique<ModelText>(folder_.path(), c);
    engine_ = make_engine(model_, options);
    served_ = {"tiny", engine_.get(), text_.get(), c.context};
    served_.width = c.width, served_.fingerprint = fingerprint_of(*model_, DType::f32);
    add_api_routes(server_, served_);
    server_.start();
  }
  ~Served() override { server_.stop(); }

  HttpResult post(const std::string& path, const std::string& body) {
    return http_request("POST", str("http://127.0.0.1:", server_.port(), path),
                        {{"Content-Type", "application/json"}}, body);
  }
  /// The answer to what has to be right.
  Json ask(const std::string& path, const Json& body) {
    const HttpResult r = post(path, to_text(body));
    EXPECT_EQ(r.status, 200) << r.body;
    return parse_json(r.body, "answer");
  }
  /// The error in the answer to what is refused with 400.
  Json refusal(const std::string& path, const Json& body) {
    const HttpResult r = post(path, to_text(body));
    EXPECT_EQ(r.status, 400) << to_text(body) << r.body;
    const Json error = parse_json(r.body, "answer").value("error", Json::object());
    EXPECT_EQ(error.size(), 4u) << r.body;
    EXPECT_EQ(error["type"], "invalid_request_error");
    return error;
  }
  /// The events of a stream; the last is "[DONE]".
  std::vector<Json> events(const std::string& path, Json body) {
    body["stream"] = true;
    const HttpResult r = post(path, to_text(body));
    EXPECT_EQ(r.status, 200) << r.body;
    std::vector<Json> out;
    bool done = false;
    for (const std::string& line : split(r.body, '\n')) {
      if (!starts_with(line, "data: ")) continue;
      EXPECT_FALSE(done);
      if (line == "data: [DONE]")
        done = true;
      else
        out.push_back(parse_json(line.substr(6), "event"));
    }
    EXPECT_TRUE(done);
    return out;
  }

  TemporaryFolder folder_;
  std::shared_ptr<const Decoder> model_;
  std::unique_ptr<ModelText> text_;
  std::unique_ptr<Engine> engine_;
  ServedModel served_;
  HttpServer server_;
};

}  // namespace wellspring
