#pragma once
// Batches for training and windows for evaluation, out of prepared datasets.

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/json_fwd.h"
#include "data/shard.h"

namespace wellspring {

/// One part of a mixture.
struct MixPart {
  std::string dataset;  ///< folder made by `wellspring data prepare`
  std::string source;   ///< one named source of it; empty = each of its sources
  double weight = 0;    ///< share of the rows; 0 = by number of tokens (then all parts' must be 0)
};

struct LoaderOptions {
  int64_t batch = 8;     ///< B: rows per batch of this rank
  int64_t length = 512;  ///< T: tokens predicted per row
  uint64_t seed = 0;
  int64_t rank = 0, world = 1;  ///< data-parallel rank: the global batch has world * B rows
  std::string split = "train";
};

/// An endless sequence of batches. Each source is a circle of tokens, its documents with EOS after
/// each, cut into rows of T tokens at another place every epoch; the rows come in an order that is
/// shuffled anew every epoch (a keyed permutation, nothing stored), so that neighbours in a
/// document are not neighbours in training. A row holds T + 1 tokens, its last one the next piece's
/// first: in an epoch every token is predicted once, fewer than T of them twice (where the circle
/// closes). Which source feeds a row follows the weights exactly (the one that lags most). The
/// sequence of rows depends on data, seed, T and weights alone: ranks share it out, threads and
/// world do not change it. No allocation after construction but once an epoch. Not thread-safe.
class Loader {
 public:
  /// Error(Fault::config) for impossible options, Error(Fault::data) for datasets of different
  /// tokenizers, without EOS, or without tokens in the split.
  Loader(const std::vector<MixPart>& parts, const LoaderOptions& options);
  ~Loader();
  Loader(Loader&&) noexcept;

  /// Fills out [B, T+1] and, when not null, document_B_T1 with the ordinal of each token's document
  /// within its row (0, 0, 1, 1, 1, ...; an EOS belongs to the document that it ends).
  void next(int32_t* out, int32_t* document = nullptr);
  /// Where each row of the last batch began: for messages about that batch.
  struct RowPlace {
    std::string source, shard;  ///< name of the source, path of the file
    int64_t document = 0;       ///< in the file
    int64_t offset = 0;         ///< in the document, tokens
  };
  std::vector<RowPlace> last_rows() const;

  /// Where the next batch begins: {"version", "rows", "length", "seed", "sources": [{"name",
  /// "documents", "tokens", "rows"}]}. The same for all ranks.
  Json position() const;
  /// Goes to a saved position: the batches that follow are those that would have followed then.
  /// Error(Fault::data) when it belongs to other data, another seed or another length. The batch
  /// size, world and weights may differ.
  void restore(const Json& position);

  int64_t vocab_size() const;
  int32_t eos() const;
  /// Tokens of one pass over all sources, EOS included.
  int64_t epoch_tokens() const;
  /// Passes done over the mixture's data, by tokens.
  double epochs() const;
  /// Rows of the global sequence given so far, on all ranks together.
  int64_t rows() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct EvalOptions {
  int64_t batch = 8;     ///< B
  int64_t length = 512;  ///< T
  int64_t overlap = 0;   ///< tokens of context repeated from the window before, not scored again
  std::string source;    ///< only this source
  std::string language;  ///< only documents of this language ("en", "zh")
  std::string split = "eval";
  int64_t most_documents = 0;  ///< 0 = all
  bool by_length = false;      ///< short documents first, so that a batch's rows are about as long
  int64_t most_tokens = 0;     ///< 0 = all; else documents spread evenly that hold about so many
};

/// Windows over documents one by one, for bits per byte: a document's first token is predicted from
/// EOS, and every token of it is a target exactly once. The order is that of the shards, or by
/// length.
class EvalWindows {
 public:
  struct Document {
    int64_t tokens, bytes;
    Language language;
  };
  EvalWindows(const std::string& dataset, const EvalOptions& options);
  ~EvalWindows();
  EvalWindows(EvalWindows&&) noexcept;

  /// Fills inputs [B, T], targets [B, T] (kIgnore where nothing is to be predicted) and document
  /// [B] (index into documents(), -1 for a row of padding). Returns the rows filled; 0 at the end.
  int64_t next(int32_t* inputs, int32_t* targets, int64_t* document);
  void rewind();
  const std::vector<Document>& documents() const;
  int64_t total_tokens() const;
  int64_t total_bytes() const;
  static constexpr int32_t kIgnore = -100;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace wellspring
