#pragma once
// For tests: small datasets without files of text.

#include <cstdint>
#include <string>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "base/test_error.h"
#include "base/text.h"
#include "data/dataset.h"

namespace wellspring {

/// Document d of a source holds tokens base + d * 100, + 1, ... ; its length is lengths[d].
inline SplitCounts write_shard(const std::string& path, const std::string& source, int32_t base,
                               const std::vector<int64_t>& lengths, int64_t vocab = 60000) {
  ShardWriter writer(source, vocab, 0, Hash128{1, 2});
  for (size_t d = 0; d < lengths.size(); ++d) {
    std::vector<int32_t> tokens;
    for (int64_t i = 0; i < lengths[d]; ++i)
      tokens.push_back(base + static_cast<int32_t>(d * 100) + static_cast<int32_t>(i));
    writer.add(tokens,
               {static_cast<uint32_t>(lengths[d] * 3), d % 2 ? Language::zh : Language::en, {}});
  }
  SplitCounts counts{writer.documents(), writer.bytes(), writer.tokens()};
  writer.write(path);
  return counts;
}

struct MadeSource {
  std::string name;
  int32_t base;
  std::vector<std::vector<int64_t>> train;  // document lengths of each shard
  std::vector<int64_t> eval;
};

inline void write_dataset(const std::string& folder, const std::vector<MadeSource>& sources) {
  make_directories(folder);
  DatasetInfo info;
  info.vocab_size = 60000;
  info.eos = 0;
  info.tokenizer_hash = to_hex(Hash128{1, 2});
  for (const MadeSource& made : sources) {
    SourceInfo s;
    s.name = made.name;
    int32_t base = made.base;
    auto shard = [&](const std::string& split, const std::vector<int64_t>& lengths,
                     SplitCounts& sum) {
      ShardFile file;
      file.file = str(split, "-", info.shards.size(), ".tokens");
      file.source = made.name;
      file.split = split;
      file.counts = write_shard(join_path(folder, file.file), made.name, base, lengths);
      base += static_cast<int32_t>(lengths.size() * 100);
      sum.documents += file.counts.documents;
      sum.bytes += file.counts.bytes;
      sum.tokens += file.counts.tokens;
      info.shards.push_back(file);
    };
    for (const auto& lengths : made.train) shard("train", lengths, s.train);
    if (!made.eval.empty()) shard("eval", made.eval, s.eval);
    info.sources.push_back(s);
  }
  write_file_atomic(join_path(folder, "dataset.json"), to_text(to_json(info), 2));
}

}  // namespace wellspring
