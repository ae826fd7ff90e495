#include "base/text.h"
#include "text/tokenizer.h"
#include "text/tokenizer_data.h"

namespace wellspring {
namespace {

// Bytes at the end of `s` that begin a character but do not finish it.
size_t unfinished(std::string_view s) {
  for (size_t n = 1; n <= 3 && n <= s.size(); ++n) {
    const auto c = static_cast<unsigned char>(s[s.size() - n]);
    if ((c & 0xC0) == 0x80) continue;
    const size_t wanted = c >= 0xF0 && c < 0xF5   ? 4
                          : c >= 0xE0 && c < 0xF0 ? 3
                          : c >= 0xC2 && c < 0xE0 ? 2
                                                  : 1;
    if (wanted <= n) return 0;
    if (n >= 2) {  // the second byte decides about surrogates, overlong forms and the upper end
      const auto d = static_cast<unsigned char>(s[s.size() - n + 1]);
      if ((c == 0xE0 && d < 0xA0) || (c == 0xED && d >= 0xA0) || (c == 0xF0 && d < 0x90) ||
          (c == 0xF4 && d >= 0x90))
        return 0;
    }
    return n;
  }
  return 0;
}

}  // namespace

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special, bool repair)
    : tokenizer_(tokenizer), skip_special_(skip_special), repair_(repair) {
  strip_left_ = tokenizer_.data_->decode.strip_left;
}

std::string StreamDecoder::take(size_t n) {
  std::string out = pending_.substr(0, n);
  pending_.erase(0, n);
  return repair_ ? utf8_repair(out) : out;
}

std::string StreamDecoder::push(int32_t id) {
  const TokenizerData& d = *tokenizer_.data_;
  d.check_id(id);
  if (skip_special_ && d.is_special(id)) return {};
  std::string piece = first_ ? d.first_piece(id) : std::string(d.piece(id));
  if (!first_ && d.decode.join_by_space) piece.insert(piece.begin(), ' ');
  first_ = false;
  size_t strip = 0;
  while (strip_left_ > 0 && strip < piece.size() && piece[strip] == d.decode.strip_char)
    ++strip, --strip_left_;
  if (strip < piece.size()) strip_left_ = 0;  // something else has begun the text
  pending_.append(piece, strip);
  return take(pending_.size() - unfinished(pending_));
}

std::string StreamDecoder::finish() {
  std::string out = take(pending_.size());
  first_ = true;
  strip_left_ = tokenizer_.data_->decode.strip_left;
  return out;
}

}  // namespace wellspring
