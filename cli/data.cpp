// wellspring data prepare | clean | show | verify
#include <algorithm>
#include <cstdio>
#include <functional>
#include <memory>

#include "base/args.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/progress.h"
#include "base/text.h"
#include "base/threads.h"
#include "data/encoder.h"
#include "data/prepare.h"

namespace wellspring {
namespace {

struct Common {
  std::vector<std::string> sources, names;
  std::string out, invalid = "replace", field = "text";
  double eval_share = 0.01;
  int64_t seed = 0, longest = 16 << 20, threads = 0;
  bool raw = false, force = false, json = false;

  void declare(Args& args) {
    args.positionals("SOURCES", &sources,
                     "files and folders: text, Markdown, HTML, JSONL, manual "
                     "pages, POD; also .gz .xz .zst .bz2");
    args.option("--out", &out, "DIR", "folder to write");
    args.option("--name", &names, "NAME",
                "name of a source, in the order of SOURCES (its base name)");
    args.option("--eval-share", &eval_share, "SHARE", "share of the documents held out (0.01)");
    args.option("--seed", &seed, "N", "which documents are held out (0)");
    args.option("--invalid-utf8", &invalid, "keep|replace|drop",
                "invalid bytes: leave, make U+FFFD, or leave out the document (replace)");
    args.option("--field", &field, "NAME", "field of JSONL that holds the text (text)");
    args.option("--longest", &longest, "BYTES",
                "longer plain text is cut, at a paragraph (16 MiB)");
    args.option("--threads", &threads, "N", "threads (all processors)");
    args.flag("--raw", &raw, "leave white space and control characters of text and JSONL alone");
    args.flag("--force", &force, "replace a complete result of other inputs");
    args.flag("--json", &json, "print the report as JSON");
  }

  PrepareOptions options() const {
    if (out.empty()) throw Error(Fault::usage, "--out DIR is missing: the folder to write");
    if (seed < 0) throw Error(Fault::usage, str("--seed is ", seed, ", expected 0 or more"));
    if (threads > 0) set_threads(static_cast<int>(threads));
    PrepareOptions o;
    o.pipeline.read = {parse_invalid_utf8(invalid), field, longest, raw};
    o.pipeline.eval_share = eval_share;
    o.pipeline.seed = static_cast<uint64_t>(seed);
    o.force = force;
    return o;
  }
};

// Runs `work` with a progress line and prints its report.
int report(const Common& c, const std::string& what,
           const std::function<PrepareResult(const PrepareProgress&)>& work) {
  install_stop_signals();
  std::unique_ptr<Progress> line;
  int64_t read = 0;
  PrepareResult result = work([&](int64_t done, int64_t total) {
    if (!line) line = std::make_unique<Progress>(what, total, "B");
    line->update(done);
    read = done;
  });
  if (line) line->finish();
  if (c.json) {
    Json json = to_json(result.info);
    json["up_to_date"] = result.up_to_date;
    json["seconds"] = result.seconds;
    std::puts(to_text(json, 2).c_str());
    return 0;
  }
  std::fputs(report_table(result.info).c_str(), stdout);
  if (result.up_to_date) {
    std::printf("%s is up to date: made of the same sources, options and tokenizer\n",
                c.out.c_str());
    return 0;
  }
  double text = 0, documents = 0;
  for (const SourceInfo& s : result.info.sources) {
    text += static_cast<double>(s.train.bytes + s.eval.bytes);
    documents += static_cast<double>(s.train.documents + s.eval.documents);
  }
  std::printf("%s documents, %s of text (%s read) in %s: %s/s\n", human_count(documents).c_str(),
              human_bytes(text).c_str(), human_bytes(static_cast<double>(read)).c_str(),
              human_duration(result.seconds).c_str(),
              human_bytes(text / std::max(result.seconds, 1e-9)).c_str());
  std::printf("wrote %s\n", c.out.c_str());
  return 0;
}

int prepare(int argc, char** argv) {
  Common c;
  std::string tokenizer;
  int64_t shard_tokens = 16 << 20;
  Args args("wellspring data prepare", "Turn text into shards of tokens for training.");
  c.declare(args);
  args.option("--tokenizer", &tokenizer, "PATH",
              "tokenizer.json, a folder that holds one, or 'bytes' for one token per byte");
  args.option("--shard-tokens", &shard_tokens, "N", "tokens per shard (16 Mi)");
  args.example("wellspring data prepare corpus/en corpus/zh --out data --tokenizer tokenizer");
  if (!args.parse(argc, argv)) return 0;
  PrepareOptions options = c.options();
  options.shard_tokens = shard_tokens;
  if (tokenizer.empty())
    throw Error(Fault::usage, "--tokenizer PATH is missing: make one with 'wellspring text train'");
  const Encoder encoder = load_encoder(tokenizer);
  if (encoder.eos < 0)
    std::fprintf(stderr,
                 "warning: %s has no token that ends documents, such as <|endoftext|>: nothing can "
                 "be trained on the result\n",
                 tokenizer.c_str());
  return report(c, "prepare", [&](const PrepareProgress& progress) {
    return prepare_dataset(name_sources(c.sources, c.names), c.out, encoder, options, progress);
  });
}

int clean(int argc, char** argv) {
  Common c;
  Args args("wellspring data clean",
            "Turn sources into plain text: train.txt, eval-en.txt, eval-zh.txt.");
  c.declare(args);
  args.example("wellspring data clean corpus/en corpus/zh --out text");
  if (!args.parse(argc, argv)) return 0;
  const PrepareOptions options = c.options();
  return report(c, "clean", [&](const PrepareProgress& progress) {
    return clean_sources(name_sources(c.sources, c.names), c.out, options, progress);
  });
}

// The first characters of a document on one line.
std::string glimpse(const std::string& text) {
  std::string flat = text.substr(0, 400);
  for (char& ch : flat)
    if (ch == '\n' || ch == '\t') ch = ' ';
  return cut_to_width(utf8_repair(flat), 96);
}

int show(int argc, char** argv) {
  std::string folder;
  int64_t samples = 4;
  bool json = false;
  Args args("wellspring data show", "Show what a dataset holds.");
  args.positional("DIR", &folder, "folder made by 'wellspring data prepare'");
  args.option("--samples", &samples, "N", "held-out documents to show the beginning of (4)");
  args.flag("--json", &json, "print dataset.json");
  args.example("wellspring data show data");
  if (!args.parse(argc, argv)) return 0;
  const Dataset dataset(folder);
  const DatasetInfo& info = dataset.info();
  if (json) {
    std::puts(to_text(to_json(info), 2).c_str());
    return 0;
  }
  std::fputs(report_table(info).c_str(), stdout);
  double bytes = 0, tokens = 0;
  for (const ShardFile& s : info.shards) {
    bytes += static_cast<double>(s.counts.bytes);
    tokens += static_cast<double>(s.counts.tokens);
  }
  std::printf("%zu shards, vocabulary of %lld, end of document %d, %.2f bytes per token\n",
              info.shards.size(), static_cast<long long>(info.vocab_size), info.eos,
              tokens > 0 ? bytes / tokens : 0.0);
  std::vector<EvalDocument> found;
  int64_t held_out = 0;
  for (const SourceInfo& s : info.sources) held_out += s.eval.documents;
  const int64_t every = std::max<int64_t>(1, held_out / std::max<int64_t>(1, samples));
  int64_t number = 0;
  read_eval_documents(folder, [&](const EvalDocument& d) {
    if (number++ % every == every / 2 && static_cast<int64_t>(found.size()) < samples)
      found.push_back(d);
  });
  for (const EvalDocument& d : found)
    std::printf("\n[%s, %s, %s, %lld tokens]\n%s\n", d.source.c_str(),
                language_name(d.language).c_str(),
                human_bytes(static_cast<double>(d.text.size())).c_str(),
                static_cast<long long>(d.tokens), glimpse(d.text).c_str());
  return 0;
}

int verify(int argc, char** argv) {
  std::string folder;
  Args args("wellspring data verify", "Check every checksum, token and count of a dataset.");
  args.positional("DIR", &folder, "folder made by 'wellspring data prepare'");
  args.example("wellspring data verify data");
  if (!args.parse(argc, argv)) return 0;
  const Dataset dataset(folder);
  int64_t total = 0;
  for (const ShardFile& s : dataset.info().shards) total += file_size(join_path(folder, s.file));
  Progress line("verify", total, "B");
  dataset.verify([&](int64_t done) { line.update(done); });
  line.finish();
  std::printf("%s: %zu shards, %s: all checksums, tokens and counts are right\n", folder.c_str(),
              dataset.info().shards.size(), human_bytes(static_cast<double>(total)).c_str());
  return 0;
}

}  // namespace

int command_data(int argc, char** argv) {
  return run_verbs("wellspring data", "Turn text into shards for training.",
                   {{"prepare", "text, HTML, JSONL, folders to shards of tokens", prepare},
                    {"clean", "the same sources to plain text, split the same way", clean},
                    {"show", "what a dataset holds, with samples", show},
                    {"verify", "check a dataset's checksums and counts", verify}},
                   argc, argv);
}

}  // namespace wellspring
