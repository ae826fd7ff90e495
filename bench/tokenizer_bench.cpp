// Times the tokenizers for bench/tokenizer.py. Reads one case per line from standard input:
//   encode TOKENIZER DOCUMENTS SECONDS OUTPUT     encode DOCUMENTS, one call each (one thread) or
//   all at once decode TOKENIZER DOCUMENTS SECONDS -          decode their ids, one call each train
//   PATTERN VOCABULARY DOCUMENTS OUTPUT     learn a tokenizer, once, and save it (a folder or
//   .json)
// and answers with the median seconds of a pass. DOCUMENTS: u64 count, u64 sizes, then the bytes.
// OUTPUT gets u64 count, u64 lengths, then the ids as i32 ("-" for none).
#include <chrono>
#include <cstring>
#include <fstream>
#include <iostream>
#include <sstream>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "base/threads.h"
#include "bench/timing.h"
#include "text/bpe_trainer.h"
#include "text/tokenizer.h"

namespace wellspring {
namespace {

using Ids = std::vector<std::vector<int32_t>>;

std::vector<std::string_view> unpack(const MappedFile& file) {
  auto number = [&](size_t i) {
    uint64_t n = 0;
    if (8 * i + 8 > file.size()) throw Error(Fault::data, str(file.path(), " is cut"));
    std::memcpy(&n, file.data() + 8 * i, 8);
    return static_cast<size_t>(n);
  };
  std::vector<std::string_view> out(number(0));
  size_t at = 8 * (out.size() + 1);
  for (size_t i = 0; i < out.size(); ++i) {
    out[i] = file.view().substr(at, number(i + 1));
    at += out[i].size();
  }
  return out;
}

void write_ids(const std::string& path, const Ids& ids) {
  std::ofstream file(path, std::ios::binary);
  auto put = [&](uint64_t n) { file.write(reinterpret_cast<const char*>(&n), 8); };
  put(ids.size());
  for (const auto& row : ids) put(row.size());
  for (const auto& row : ids)
    file.write(reinterpret_cast<const char*>(row.data()), static_cast<long>(row.size() * 4));
}

double encode(const Tokenizer& t, std::span<const std::string_view> texts, double budget,
              const std::string& out) {
  const EncodeOptions options{.add_special = false, .parse_special = false};
  Ids ids(texts.size());
  const double seconds = median_seconds(budget, [&] {
    if (threads() > 1) {
      ids = t.encode_all(texts, options);
      return;
    }
    for (size_t i = 0; i < texts.size(); ++i) ids[i] = t.encode(texts[i], options);
  });
  if (out != "-") write_ids(out, ids);
  return seconds;
}

double decode(const Tokenizer& t, std::span<const std::string_view> texts, double budget) {
  const Ids ids = t.encode_all(texts, {.add_special = false, .parse_special = false});
  std::vector<std::string> out(texts.size());
  const double seconds = median_seconds(budget, [&] {
    for (size_t i = 0; i < texts.size(); ++i) out[i] = t.decode(ids[i]);
  });
  for (size_t i = 0; i < texts.size(); ++i)
    if (out[i] != texts[i]) throw Error(Fault::data, str("document ", i, " does not come back"));
  return seconds;
}

double train(const std::string& pattern, int64_t vocabulary,
             std::span<const std::string_view> texts, const std::string& out) {
  const double begin = now();
  BpeTrainer trainer({.vocab_size = vocabulary, .pattern = split_pattern_named(pattern).value()});
  trainer.add(texts);
  const Tokenizer t = trainer.train();
  const double seconds = now() - begin;
  if (out != "-") t.save(out);
  return seconds;
}

double answer(std::istream& line) {
  std::string what, first, second, third, out;
  line >> what >> first >> second >> third >> out;
  const MappedFile file(what == "train" ? third : second);
  const auto texts = unpack(file);
  if (what == "train") return train(first, std::stoll(second), texts, out);
  const Tokenizer t = Tokenizer::load(first);
  const double budget = std::stod(third);
  return what == "encode" ? encode(t, texts, budget, out) : decode(t, texts, budget);
}

}  // namespace
}  // namespace wellspring

int main() {
  for (std::string line; std::getline(std::cin, line);) {
    std::istringstream words(line);
    try {
      std::cout << wellspring::answer(words) << std::endl;
    } catch (const wellspring::Error& e) {
      std::cerr << "tokenizer_bench: " << e.what() << "\n";
      return 1;
    }
  }
}
