#include "eval/bits_per_byte.h"

#include <algorithm>
#include <numbers>
#include <vector>

#include "base/error.h"
#include "base/text.h"
#include "tensor/autograd.h"

namespace wellspring {
namespace {

constexpr int32_t kIgnore = -100;

// Fills one window that scores tokens [scored, end) and returns end. `ids` holds the separator,
// then the text.
int64_t fill_window(const std::vector<int32_t>& ids, int64_t scored, int64_t window,
                    int64_t overlap, int32_t* input, int32_t* target) {
  const auto tokens = static_cast<int64_t>(ids.size()) - 1;
  const int64_t begin = std::max<int64_t>(0, scored - overlap);
  const int64_t n = std::min(window, tokens - begin);
  std::copy_n(ids.data() + begin, n, input);
  std::copy_n(ids.data() + begin + 1, n, target);
  std::fill_n(target, scored - begin, kIgnore);
  std::fill(input + n, input + window, ids[0]);
  std::fill(target + n, target + window, kIgnore);
  return begin + n;
}

void check_options(const Decoder& model, int64_t window, int64_t overlap, int64_t batch) {
  if (window < 1 || window > model.config().context)
    throw Error(Fault::usage,
                str("a window of ", window, " tokens: expected 1 to the model's context of ",
                    model.config().context));
  if (overlap < 0 || overlap >= window)
    throw Error(Fault::usage,
                str("an overlap of ", overlap, " tokens: expected 0 to ", window - 1));
  if (batch < 1)
    throw Error(Fault::usage, str("a batch of ", batch, " windows: expected at least 1"));
}

}  // namespace

double BitsPerByte::bits_per_byte() const {
  return nats / std::numbers::ln2 / static_cast<double>(bytes);
}

BitsPerByte& BitsPerByte::operator+=(const BitsPerByte& o) {
  bytes += o.bytes, tokens += o.tokens, nats += o.nats;
  exact = exact && o.exact;
  return *this;
}

BitsPerByte bits_per_byte(const Decoder& model, const Tokenizer& tokenizer, std::string_view text,
                          const BitsPerByteOptions& options,
                          const std::function<void(int64_t)>& done) {
  NoGrad no_grad;
  const int64_t T = options.window > 0 ? options.window : model.config().context;
  const int64_t overlap = options.overlap >= 0 ? options.overlap : T / 4;
  const int64_t B = options.batch > 0 ? options.batch : std::max<int64_t>(1, 4096 / T);
  check_options(model, T, overlap, B);
  std::vector<int32_t> ids = {model.config().end_of_text()};
  tokenizer.encode_to(text, ids, {.add_special = false, .parse_special = false});
  BitsPerByte result;
  result.bytes = static_cast<int64_t>(text.size());
  result.tokens = static_cast<int64_t>(ids.size()) - 1;
  if (result.tokens == 0) throw Error(Fault::data, "no text to measure");
  if (int32_t most = *std::max_element(ids.begin(), ids.end()); most >= model.config().vocab)
    throw Error(Fault::data, str("the tokenizer gives token ", most, ", but the model has only ",
                                 model.config().vocab));
  result.exact = tokenizer.decode(std::span(ids).subspan(1)) == text;
  int64_t scored = 0;
  while (scored < result.tokens) {
    Tensor input = Tensor::empty({B, T}, DType::i32), target = Tensor::empty({B, T}, DType::i32);
    const int64_t before = scored;
    int64_t rows = 0;
    for (; rows < B && scored < result.tokens; ++rows)
      scored = fill_window(ids, scored, T, overlap, input.data_as<int32_t>() + rows * T,
                           target.data_as<int32_t>() + rows * T);
    Shape shape{rows, T};
    Tensor x = input.as_strided(shape, contiguous_strides(shape), 0);
    Tensor y = target.as_strided(shape, contiguous_strides(shape), 0);
    result.nats += model.loss(x, y).item() * static_cast<double>(scored - before);
    if (done) done(scored);
  }
  return result;
}

}  // namespace wellspring
