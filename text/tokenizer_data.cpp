#include "text/tokenizer_data.h"

#include <algorithm>
#include <atomic>

#include "base/error.h"
#include "base/text.h"
#include "text/scan.h"
#include "text/unicode.h"

namespace wellspring {

const std::array<char32_t, 256>& byte_alphabet() {
  static const std::array<char32_t, 256> kAlphabet = [] {
    std::array<char32_t, 256> t{};
    char32_t next = 256;  // bytes without a printable character of their own follow one another
    for (int b = 0; b < 256; ++b) {
      const bool own = (b >= '!' && b <= '~') || (b >= 0xA1 && b <= 0xAC) || b >= 0xAE;
      t[static_cast<size_t>(b)] = own ? static_cast<char32_t>(b) : next++;
    }
    return t;
  }();
  return kAlphabet;
}

int byte_of_character(char32_t c) {
  static const std::array<int16_t, 324> kBytes = [] {
    std::array<int16_t, 324> t;
    t.fill(-1);
    for (size_t b = 0; b < 256; ++b) t[byte_alphabet()[b]] = static_cast<int16_t>(b);
    return t;
  }();
  return c < kBytes.size() ? kBytes[c] : -1;
}

std::string to_byte_alphabet(std::string_view bytes) {
  std::string out;
  for (char c : bytes) utf8_append(out, byte_alphabet()[static_cast<unsigned char>(c)]);
  return out;
}

std::optional<std::string> from_byte_alphabet(std::string_view token) {
  std::string out;
  const char* end = token.data() + token.size();
  for (const char* p = token.data(); p < end;) {
    unicode::Char c = unicode::decode(p, end);
    const int b = c.valid ? byte_of_character(c.code) : -1;
    if (b < 0) return std::nullopt;
    out.push_back(static_cast<char>(b));
    p += c.length;
  }
  return out;
}

namespace {

void replace_every(std::string& s, std::string_view from, std::string_view to) {
  std::string out;
  size_t done = 0;
  for (size_t at; (at = s.find(from, done)) != std::string::npos; done = at + from.size())
    out.append(s, done, at - done).append(to);
  s = out.append(s, done, std::string::npos);
}

}  // namespace

std::string TokenizerData::normalize(std::string_view text) const {
  std::string s(text);
  for (const NormalizerStep& n : normalizer) {
    if (n.kind == NormalizerStep::nfc)
      s = unicode::nfc(s);
    else if (n.kind == NormalizerStep::replace)
      replace_every(s, n.from, n.to);
    else if (!s.empty())
      s.insert(0, n.to);
  }
  return s;
}

std::string TokenizerData::first_piece(int32_t id) const {
  if (!decode.first_drops_space) return std::string(piece(id));
  std::string text(tokens[static_cast<size_t>(id)]);
  replace_every(text, decode.replacement, "");
  return text;
}

void TokenizerData::check_id(int32_t id) const {
  if (id < 0 || id >= static_cast<int32_t>(tokens.size()))
    throw Error(Fault::usage, str("token id ", id, " is out of range: ", where, " has ids 0 to ",
                                  tokens.size() - 1));
  if (!used[static_cast<size_t>(id)])
    throw Error(Fault::usage, str("token id ", id, " is not in use in ", where));
}

void TokenizerData::take_tokens(std::span<const std::string_view> by_id, const std::string& place) {
  size_t bytes = 0;
  for (const std::string_view t : by_id) bytes += t.size();
  tokens.reserve(by_id.size(), bytes);
  for (const std::string_view t : by_id) tokens.push_back(t);
  ids.reserve(by_id.size());
  for (size_t i = 0; i < by_id.size(); ++i) {
    if (!used[i]) continue;
    if (const int32_t id = ids.insert(tokens, static_cast<int32_t>(i)); id != static_cast<int32_t>(i))
      throw Error(Fault::data, str(place, ": token '", by_id[i], "' has the ids ", id, " and ", i));
  }
}

void TokenizerData::finish() {
  static std::atomic<uint32_t> serials{0};
  serial = ++serials;
  for (size_t i = 0; i < added.size(); ++i) {
    const AddedToken& a = added[i];
    if (a.special) used[static_cast<size_t>(a.id)] |= special;
    const std::string text = a.normalized ? normalize(a.content) : a.content;
    if (!text.empty())
      (a.normalized ? normalized_trie : raw_trie).insert(text, static_cast<int>(i));
  }
  for (int b = 0; b < 256; ++b) {
    std::string name;
    static const char* kHex = "0123456789ABCDEF";
    if (byte_level)
      utf8_append(name, byte_alphabet()[static_cast<size_t>(b)]);
    else
      name = str("<0x", kHex[b >> 4], kHex[b & 15], ">");
    byte_ids[static_cast<size_t>(b)] = find_in_model(name);
  }
  if (!byte_level)  // all or nothing, as the reference does per character
    byte_fallback = byte_fallback && byte_ids['A'] >= 0;
  for (size_t i = 0; i < tokens.size(); ++i)  // a character of the byte alphabet may take two bytes
    if (used[i] & in_model) longest = std::max(longest, tokens[i].size());
  all_bytes = byte_level && std::find(byte_ids.begin(), byte_ids.end(), -1) == byte_ids.end();
  if (all_bytes) find_whole_characters();
  // The fast path: one pattern, and bytes.
  size_t n = pre.size();
  if (byte_level && n >= 1 && n <= 2 && pre[n - 1].kind == PreStep::byte_level) {
    const PreStep& last = pre[n - 1];
    if (n == 1 && last.flag) {
      simple = SplitPattern::gpt2;
      prefix_space = last.add_prefix_space;
    } else if (n == 2 && !last.flag && !last.add_prefix_space && pre[0].kind == PreStep::pattern) {
      simple = pre[0].split;
    }
  }
}

namespace {

// Cuts `s` at matches, as Hugging Face's SplitDelimiterBehavior says.
template <class Matches, class F>
void split_by(std::string_view s, const Matches& matches, SplitBehaviour behaviour, bool invert,
              F&& piece) {
  struct Part {
    size_t begin, end;
    bool match;
  };
  std::vector<Part> parts;
  size_t done = 0;
  for (auto [b, e] : matches) {
    if (done < b) parts.push_back({done, b, invert});
    parts.push_back({b, e, !invert});
    done = e;
  }
  if (done < s.size()) parts.push_back({done, s.size(), invert});
  auto give = [&](size_t b, size_t e) { piece(b, s.substr(b, e - b)); };
  for (size_t i = 0; i < parts.size();) {
    size_t j = i + 1;
    switch (behaviour) {
      case SplitBehaviour::isolated:
        break;
      case SplitBehaviour::removed:
        if (parts[i].match) {
          i = j;
          continue;
        }
        break;
      case SplitBehaviour::contiguous:
        while (j < parts.size() && parts[j].match == parts[i].match) ++j;
        break;
      case SplitBehaviour::merged_with_previous:
        if (!parts[i].match && j < parts.size() && parts[j].match) ++j;
        break;
      case SplitBehaviour::merged_with_next:
        if (parts[i].match && j < parts.size() && !parts[j].match) ++j;
        break;
    }
    give(parts[i].begin, parts[j - 1].end);
    i = j;
  }
}

using Ranges = std::vector<std::pair<size_t, size_t>>;

Ranges literal_matches(std::string_view s, std::string_view literal) {
  Ranges r;
  for (size_t at = 0; (at = s.find(literal, at)) != std::string_view::npos; at += literal.size())
    r.emplace_back(at, at + literal.size());
  return r;
}

struct Cutter {
  const TokenizerData& d;
  IdSink& sink;

  // `first`: the piece begins where the whole text begins.
  void cut(std::string_view s, bool first, size_t index) const {
    if (s.empty()) return;
    if (index == d.pre.size()) return d.encode_piece(s.data(), s.size(), sink);
    const PreStep& step = d.pre[index];
    auto onward = [&](size_t begin, std::string_view part) {
      cut(part, first && begin == 0, index + 1);
    };
    auto by_pattern = [&](std::string_view text, SplitPattern p, SplitBehaviour b, bool invert) {
      Ranges ranges;
      scan::each_piece(p, text.data(), text.data() + text.size(),
                       [&](const char* x, const char* y) {
                         ranges.emplace_back(x - text.data(), y - text.data());
                       });
      split_by(text, ranges, b, invert, onward);
    };
    switch (step.kind) {
      case PreStep::pattern:
        return by_pattern(s, step.split, step.behaviour, step.invert);
      case PreStep::literal:
        return split_by(s, literal_matches(s, step.text), step.behaviour, step.invert, onward);
      case PreStep::digits: {
        Ranges ranges;
        for (size_t i = 0; i < s.size();) {
          auto t = scan::step(s.data() + i, s.data() + s.size());
          const size_t next = i + static_cast<size_t>(t.length);
          if (t.flags & unicode::kNumber) ranges.emplace_back(i, next);
          i = next;
        }
        return split_by(s, ranges,
                        step.flag ? SplitBehaviour::isolated : SplitBehaviour::contiguous, false,
                        onward);
      }
      case PreStep::metaspace: {
        std::string text(s);
        replace_every(text, " ", step.text);
        const bool wanted =
            step.prepend == PreStep::always || (step.prepend == PreStep::first && first);
        if (wanted && !starts_with(text, step.text)) text.insert(0, step.text);
        if (!step.flag) return onward(0, text);
        return split_by(text, literal_matches(text, step.text), SplitBehaviour::merged_with_next,
                        false, onward);
      }
      case PreStep::byte_level: {
        std::string text;
        if (step.add_prefix_space && s[0] != ' ') s = text = str(" ", s);
        if (!step.flag) return onward(0, s);
        return by_pattern(s, SplitPattern::gpt2, SplitBehaviour::isolated, false);
      }
    }
  }
};

}  // namespace

void TokenizerData::encode_segment(std::string_view text, bool first, IdSink& sink) const {
  if (!simple) return Cutter{*this, sink}.cut(text, first, 0);
  std::string prefixed;
  if (prefix_space && text[0] != ' ') text = prefixed = str(" ", text);
  WordCache& cache = WordCache::of_thread();
  const char* end = text.data() + text.size();
  scan::each_piece(*simple, text.data(), end, [&](const char* p, const char* e) {
    const auto n = static_cast<size_t>(e - p);
    if (n > WordCache::kLongest) return encode_piece(p, n, sink);
    uint64_t key[2];
    WordCache::Entry& entry = cache.at(p, n, static_cast<size_t>(end - p), serial, key);
    if (entry.key[0] == key[0] && entry.key[1] == key[1] && entry.owner == serial) [[likely]] {
      int32_t* to = sink.room(WordCache::kIds);
      std::memcpy(to, entry.ids, sizeof entry.ids);
      return sink.advance(entry.count);
    }
    const size_t before = sink.size();
    encode_piece(p, n, sink);
    const size_t made = sink.size() - before;
    if (made > WordCache::kIds) return;
    entry.key[0] = key[0], entry.key[1] = key[1];
    entry.owner = serial;
    entry.count = static_cast<uint32_t>(made);
    std::copy_n(sink.room(0) - made, made, entry.ids);
  });
}

void TokenizerData::encode_piece(const char* p, size_t n, IdSink& sink) const {
  if (ignore_merges && n <= longest) {
    const std::string_view s(p, n);
    const int32_t id = byte_level ? find_in_model(to_byte_alphabet(s)) : find_in_model(s);
    if (id >= 0) return sink.push(id);
  }
  int32_t* to = sink.room(n);
  size_t count = 0;
  if (all_bytes) {
    if (!whole_characters.empty()) count = start_with_characters(p, n, to);
    if (count == 0)
      for (; count < n; ++count) to[count] = byte_ids[static_cast<unsigned char>(p[count])];
    return sink.advance(merge_all(merges, to, count));
  }
  bool last_unknown = false;
  auto unknown = [&](std::string_view what) {
    // Without an unknown token the reference drops the character; data must not vanish silently.
    if (unk < 0)
      throw Error(Fault::data, str(where, ": its vocabulary has no token for '", utf8_repair(what),
                                   "' and no unk_token"));
    if (!(fuse_unk && last_unknown)) to[count++] = unk;
    last_unknown = true;
  };
  if (byte_level) {
    for (size_t i = 0; i < n; ++i) {
      const int32_t id = byte_ids[static_cast<unsigned char>(p[i])];
      if (id < 0)
        unknown({p + i, 1});
      else
        to[count++] = id, last_unknown = false;
    }
  } else {
    for (size_t i = 0; i < n;) {
      const auto length = static_cast<size_t>(unicode::decode(p + i, p + n).length);
      if (const int32_t id = find_in_model({p + i, length}); id >= 0) {
        to[count++] = id, last_unknown = false;
      } else {
        bool bytes = byte_fallback;
        for (size_t k = 0; k < length && bytes; ++k)
          bytes = byte_ids[static_cast<unsigned char>(p[i + k])] >= 0;
        if (bytes) {
          for (size_t k = 0; k < length; ++k)
            to[count++] = byte_ids[static_cast<unsigned char>(p[i + k])];
          last_unknown = false;
        } else {
          unknown({p + i, length});
        }
      }
      i += length;
    }
  }
  sink.advance(merge_all(merges, to, count));
}

}  // namespace wellspring
