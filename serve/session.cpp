#include "serve/session.h"

#include "base/error.h"
#include "base/text.h"

namespace wellspring {
namespace {
constexpr size_t kPiece = 512;  // tokens a forward pass: bounds the memory of long prompts
}

Session::Session(std::shared_ptr<const Decoder> model)
    : model_(std::move(model)), cache_(model_->make_cache()) {}

Tensor Session::prefill(std::span<const int32_t> tokens) {
  const DecoderConfig& c = model_->config();
  if (tokens.empty()) throw Error(Fault::usage, "no tokens to go on from");
  if (length() + static_cast<int64_t>(tokens.size()) > c.context)
    throw Error(Fault::usage, str("a sequence of ", length() + static_cast<int64_t>(tokens.size()),
                                  " tokens exceeds the model's context of ", c.context));
  for (int32_t t : tokens)
    if (t < 0 || t >= c.vocab)
      throw Error(Fault::usage, str("token ", t, " is not in the vocabulary of ", c.vocab));
  Tensor logits;
  for (size_t at = 0; at < tokens.size(); at += kPiece) {
    std::span<const int32_t> piece = tokens.subspan(at, std::min(kPiece, tokens.size() - at));
    logits = model_->step(Tensor::from(piece, {1, static_cast<int64_t>(piece.size())}), *cache_);
  }
  return logits.as_strided({c.vocab}, {1}, logits.offset());
}

}  // namespace wellspring
