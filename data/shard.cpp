#include "data/shard.h"

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "base/error.h"
#include "base/text.h"

namespace wellspring {
namespace {

constexpr char kMagic[8] = {'W', 'S', 'T', 'O', 'K', 'E', 'N', 'S'};
constexpr uint32_t kVersion = 1;
constexpr uint64_t kMost = uint64_t{1} << 56;  // far above any real count, far below overflow

uint64_t header_hash(const ShardHeader& h) {
  return hash128({reinterpret_cast<const char*>(&h), offsetof(ShardHeader, header)}).low;
}

uint64_t padded(uint64_t n) { return (n + 7) / 8 * 8; }

}  // namespace

Shard::Shard(const std::string& path) : file_(path) {
  auto fail = [&](const std::string& what) {
    throw Error(Fault::data,
                str("shard ", path, ": ", what, ". Make it again with 'wellspring data prepare'"));
  };
  if (file_.size() < sizeof(ShardHeader))
    fail(str("is cut: ", file_.size(), " bytes, the header alone takes ", sizeof(ShardHeader)));
  std::memcpy(&header_, file_.data(), sizeof(header_));
  const ShardHeader& h = header_;
  auto expect = [&](const char* field, uint64_t found, uint64_t wanted) {
    if (found != wanted) fail(str("field ", field, " is ", found, ", expected ", wanted));
  };
  if (std::memcmp(h.magic, kMagic, sizeof(kMagic)) != 0) fail("field magic: not a shard of tokens");
  if (h.version != kVersion)
    fail(str("field version is ", h.version, ", this program reads version ", kVersion));
  if (h.token_bytes != 2 && h.token_bytes != 4)
    fail(str("field token_bytes is ", h.token_bytes, ", expected 2 or 4"));
  if (h.vocab_size == 0 || h.vocab_size > (1u << 30) ||
      (h.token_bytes == 2 && h.vocab_size > 65536))
    fail(str("field vocab_size is ", h.vocab_size, ", which ", h.token_bytes,
             "-byte tokens cannot have"));
  if (h.eos < -1 || (h.eos >= 0 && static_cast<uint32_t>(h.eos) >= h.vocab_size))
    fail(str("field eos is ", h.eos, ", outside the vocabulary of ", h.vocab_size));
  if (h.documents > kMost) fail(str("field documents is ", h.documents, ": too large"));
  if (h.tokens > kMost) fail(str("field tokens is ", h.tokens, ": too large"));
  expect("tokens_at", h.tokens_at, sizeof(ShardHeader));
  expect("offsets_at", h.offsets_at, h.tokens_at + padded(h.tokens * h.token_bytes));
  expect("documents_at", h.documents_at, h.offsets_at + (h.documents + 1) * sizeof(uint64_t));
  expect("file_size", h.file_size, h.documents_at + h.documents * sizeof(DocumentInfo));
  if (file_.size() != h.file_size)
    fail(str("is cut or grown: ", file_.size(), " bytes, field file_size says ", h.file_size));
  if (h.reserved != 0) fail(str("field reserved is ", h.reserved, ", expected 0"));
  if (h.header != header_hash(h)) fail("field header: the header's checksum does not match");

  tokens_ = file_.data() + h.tokens_at;
  offsets_ = reinterpret_cast<const uint64_t*>(file_.data() + h.offsets_at);
  infos_ = reinterpret_cast<const DocumentInfo*>(file_.data() + h.documents_at);
  if (offsets_[0] != 0) fail(str("offsets[0] is ", offsets_[0], ", expected 0"));
  uint64_t bytes = 0;
  for (uint64_t i = 0; i < h.documents; ++i) {
    if (offsets_[i + 1] < offsets_[i])
      fail(str("offsets[", i + 1, "] is ", offsets_[i + 1], ", below the one before (", offsets_[i],
               ")"));
    if (infos_[i].language > Language::zh)
      fail(str("documents[", i, "].language is ", static_cast<int>(infos_[i].language)));
    bytes += infos_[i].bytes;
  }
  if (offsets_[h.documents] != h.tokens)
    fail(str("offsets[", h.documents, "] is ", offsets_[h.documents], ", field tokens says ",
             h.tokens));
  if (bytes != h.bytes) fail(str("field bytes is ", h.bytes, ", the documents sum to ", bytes));
}

void Shard::copy(int64_t document, int64_t begin, int64_t count, int32_t* out) const {
  WS_CHECK(document >= 0 && document < documents() && begin >= 0 && count >= 0 &&
               begin + count <= length(document),
           str("tokens ", begin, "+", count, " of document ", document, " of ", path()));
  if (count == 0) return;
  const uint64_t at = offsets_[document] + static_cast<uint64_t>(begin);
  if (header_.token_bytes == 2) {
    const auto* p = reinterpret_cast<const uint16_t*>(tokens_) + at;
    for (int64_t i = 0; i < count; ++i) out[i] = p[i];
  } else {
    std::memcpy(out, tokens_ + at * 4, static_cast<size_t>(count) * 4);
  }
}

void Shard::verify() const {
  auto fail = [&](const std::string& what) {
    throw Error(Fault::data, str("shard ", path(), ": ", what,
                                 ". Make it again with 'wellspring data prepare'"));
  };
  Hash128 found = hash128(file_.view().substr(sizeof(ShardHeader)));
  if (found.low != header_.payload[0] || found.high != header_.payload[1])
    fail(str("field payload: the checksum of the content is ", to_hex(found), ", the header says ",
             to_hex({header_.payload[0], header_.payload[1]})));
  for (uint64_t i = 0; i < header_.tokens; ++i) {
    uint32_t token = header_.token_bytes == 2 ? reinterpret_cast<const uint16_t*>(tokens_)[i]
                                              : reinterpret_cast<const uint32_t*>(tokens_)[i];
    if (token >= header_.vocab_size)
      fail(str("tokens[", i, "] is ", token, ", outside the vocabulary of ", header_.vocab_size));
  }
}

ShardWriter::ShardWriter(std::string_view source, int64_t vocab_size, int32_t eos,
                         const Hash128& tokenizer)
    : vocab_size_(vocab_size),
      eos_(eos),
      tokenizer_(tokenizer),
      source_(hash128(source)),
      token_bytes_(vocab_size <= 65536 ? 2 : 4) {
  if (vocab_size < 1 || vocab_size > (1 << 30))
    throw Error(Fault::data, str("a vocabulary of ", vocab_size, " tokens cannot be stored"));
  WS_CHECK(eos >= -1 && eos < vocab_size, "eos lies in the vocabulary");
}

void ShardWriter::add(std::span<const int32_t> tokens, const DocumentInfo& info) {
  const size_t at = tokens_.size();
  tokens_.resize(at + tokens.size() * static_cast<size_t>(token_bytes_));
  char* out = tokens_.data() + at;
  for (int32_t token : tokens) {
    WS_CHECK(token >= 0 && token < vocab_size_,
             str("token ", token, " lies in the vocabulary of ", vocab_size_));
    std::memcpy(out, &token, static_cast<size_t>(token_bytes_));  // little-endian: low bytes first
    out += token_bytes_;
  }
  offsets_.push_back(offsets_.back() + tokens.size());
  infos_.push_back(info);
  bytes_ += info.bytes;
}

void ShardWriter::write(const std::string& path) {
  ShardHeader h{};
  std::memcpy(h.magic, kMagic, sizeof(kMagic));
  h.version = kVersion;
  h.token_bytes = static_cast<uint32_t>(token_bytes_);
  h.vocab_size = static_cast<uint32_t>(vocab_size_);
  h.eos = eos_;
  h.documents = infos_.size();
  h.tokens = offsets_.back();
  h.bytes = static_cast<uint64_t>(bytes_);
  tokens_.resize(padded(tokens_.size()), '\0');
  h.tokens_at = sizeof(ShardHeader);
  h.offsets_at = h.tokens_at + tokens_.size();
  h.documents_at = h.offsets_at + offsets_.size() * sizeof(uint64_t);
  h.file_size = h.documents_at + infos_.size() * sizeof(DocumentInfo);
  h.tokenizer[0] = tokenizer_.low, h.tokenizer[1] = tokenizer_.high;
  h.source[0] = source_.low, h.source[1] = source_.high;
  Hasher hasher;
  hasher.update(tokens_);
  hasher.update(offsets_.data(), offsets_.size() * sizeof(uint64_t));
  hasher.update(infos_.data(), infos_.size() * sizeof(DocumentInfo));
  Hash128 payload = hasher.finish();
  h.payload[0] = payload.low, h.payload[1] = payload.high;
  h.header = header_hash(h);

  AtomicWriter file(path);
  file.write(&h, sizeof(h));
  file.write(tokens_.data(), tokens_.size());
  file.write(offsets_.data(), offsets_.size() * sizeof(uint64_t));
  file.write(infos_.data(), infos_.size() * sizeof(DocumentInfo));
  file.commit();
  tokens_.clear();
  offsets_.assign(1, 0);
  infos_.clear();
  bytes_ = 0;
}

}  // namespace wellspring
