#include "text/grammar/vocabulary.h"

#include <algorithm>

#include "base/error.h"
#include "text/grammar/grammar.h"
#include "text/tokenizer.h"

namespace wellspring {

namespace grammar {

namespace {

/// `ids` sorted by their bytes.
Trie make_trie(const Vocabulary& v, const std::vector<int32_t>& ids) {
  Trie t;
  std::vector<uint32_t> path{0};
  t.byte.push_back(0);
  t.depth.push_back(0);
  t.end.push_back(0);
  t.first.push_back(0);
  std::string_view last;
  for (int32_t id : ids) {
    const std::string_view text = v.bytes(id);
    t.longest = std::max<uint32_t>(t.longest, text.size());
    size_t same = 0;
    while (same < last.size() && same < text.size() && last[same] == text[same]) ++same;
    while (path.size() > same + 1) {
      t.end[path.back()] = t.size();
      path.pop_back();
    }
    for (size_t i = same; i < text.size(); ++i) {
      path.push_back(t.size());
      t.byte.push_back(static_cast<uint8_t>(text[i]));
      t.depth.push_back(static_cast<uint16_t>(i + 1));
      t.end.push_back(0);
      t.first.push_back(t.tokens.size());
    }
    t.tokens.push_back(id);
    last = text;
  }
  for (uint32_t n : path) t.end[n] = t.size();
  t.first.push_back(t.tokens.size());
  t.groups.assign(t.size(), 0);
  for (size_t i = t.size(); i-- > 0;)  // children stand after their parent
    for (uint32_t child = i + 1; child < t.end[i]; child = t.end[child])
      t.groups[i] |= t.groups[child] | 1 << byte_group(t.byte[child]);
  return t;
}

}  // namespace

bool Vocabulary::is_end(int32_t token) const {
  return std::binary_search(end_tokens.begin(), end_tokens.end(), token);
}

}  // namespace grammar

GrammarVocabulary::GrammarVocabulary(std::span<const std::string> tokens,
                                     std::span<const int32_t> end_tokens) {
  auto v = std::make_shared<grammar::Vocabulary>();
  v->size = static_cast<int32_t>(tokens.size());
  v->offset.push_back(0);
  for (const std::string& t : tokens) {
    if (t.size() > UINT16_MAX)
      throw Error(Fault::usage, "token " + std::to_string(v->offset.size() - 1) + " has " +
                                    std::to_string(t.size()) + " bytes; at most 65535");
    v->text += t;
    v->offset.push_back(static_cast<uint32_t>(v->text.size()));
  }
  for (int32_t id : end_tokens) {
    if (id < 0 || id >= v->size)
      throw Error(Fault::usage, "end token " + std::to_string(id) +
                                    " is outside the vocabulary of " + std::to_string(v->size) +
                                    " tokens");
    v->end_tokens.push_back(id);
  }
  std::sort(v->end_tokens.begin(), v->end_tokens.end());
  std::vector<int32_t> ids;
  for (int32_t i = 0; i < v->size; ++i)
    if (!v->bytes(i).empty() && !v->is_end(i)) ids.push_back(i);
  std::sort(ids.begin(), ids.end(),
            [&](int32_t a, int32_t b) { return v->bytes(a) < v->bytes(b); });
  std::vector<int32_t> part[2];
  for (int32_t id : ids) part[v->bytes(id).size() > grammar::Vocabulary::kShort].push_back(id);
  for (int i = 0; i < 2; ++i) v->tries[i] = grammar::make_trie(*v, part[i]);
  data_ = std::move(v);
}

GrammarVocabulary GrammarVocabulary::of(const Tokenizer& tokenizer,
                                        std::span<const int32_t> end_tokens) {
  const int32_t n = tokenizer.vocab_size();
  std::vector<std::string> tokens(n);
  // Some tokenizers write a word differently at the start of a text, so each stands after another.
  int32_t before = -1;
  std::string start;
  for (int32_t id = 0; id < n && before < 0; ++id) {
    if (tokenizer.id_to_token(id).empty() || tokenizer.is_special(id)) continue;
    start = tokenizer.decode({{id}});
    if (!start.empty() && static_cast<unsigned char>(start[0]) < 0x80) before = id;
  }
  for (int32_t id = 0; id < n; ++id) {
    if (tokenizer.id_to_token(id).empty() || tokenizer.is_special(id)) continue;
    if (before < 0) {
      tokens[id] = tokenizer.decode({{id}});
      continue;
    }
    std::string both = tokenizer.decode({{before, id}});
    if (both.starts_with(start)) tokens[id] = both.substr(start.size());
  }
  return GrammarVocabulary(tokens, end_tokens);
}

int32_t GrammarVocabulary::size() const { return data_->size; }

}  // namespace wellspring
