// wellspring text train | encode | decode
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <deque>
#include <functional>
#include <memory>

#include "base/args.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/progress.h"
#include "base/text.h"
#include "base/threads.h"
#include "base/time.h"
#include "data/documents.h"
#include "data/source.h"
#include "text/bpe_trainer.h"
#include "text/tokenizer.h"

namespace wellspring {
namespace {

std::string read_stdin() {
  std::string out;
  char buffer[1 << 16];
  for (ssize_t n; (n = ::read(0, buffer, sizeof buffer)) != 0;) {
    if (n > 0)
      out.append(buffer, static_cast<size_t>(n));
    else if (errno != EINTR)
      throw Error(Fault::io, str("cannot read standard input: ", std::strerror(errno)));
  }
  return out;
}

// Every input named on the command line, or standard input.
void each_input(const std::vector<std::string>& files,
                const std::function<void(const std::string& name, std::string_view)>& fn) {
  if (files.empty()) return fn("standard input", read_stdin());
  for (const std::string& path : files) {
    if (path == "-")
      fn("standard input", read_stdin());
    else
      fn(path, MappedFile(path).view());
  }
}

void write_out(std::string_view s) {
  if (std::fwrite(s.data(), 1, s.size(), stdout) != s.size())
    throw Error(Fault::io, str("cannot write standard output: ", std::strerror(errno)));
}

void flush_out() {
  if (std::fflush(stdout) != 0)
    throw Error(Fault::io, str("cannot write standard output: ", std::strerror(errno)));
}

std::vector<std::string_view> lines_of(std::string_view text) {
  std::vector<std::string_view> lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

InvalidUtf8 keep_or_replace(const std::string& option) {
  const InvalidUtf8 how = parse_invalid_utf8(option);
  if (how == InvalidUtf8::drop)
    throw Error(Fault::usage, "--invalid-utf8 is 'drop', expected keep or replace");
  return how;
}

SplitPattern pattern_named(const std::string& name) {
  if (auto p = split_pattern_named(name)) return *p;
  throw Error(Fault::usage,
              str("unknown --pattern '", name, "': one of gpt2, llama3, qwen2, cl100k, o200k"));
}

Tokenizer load(const std::string& path, const std::string& pattern) {
  if (path.empty())
    throw Error(Fault::usage,
                "--tokenizer PATH is missing: a folder, a tokenizer.json or a "
                ".tiktoken file");
  return pattern.empty() ? Tokenizer::load(path)
                         : Tokenizer::load_ranks(path, pattern_named(pattern));
}

// Gives the trainer the text of these files: plain text as it is, other formats as 'data clean'
// makes them.
void add_files(BpeTrainer& trainer, const std::vector<InputFile>& files, InvalidUtf8 how,
               int64_t* invalid) {
  constexpr int64_t kBatch = 64 << 20;
  int64_t total = 0, done = 0;
  for (const InputFile& f : files) total += f.size;
  Progress progress("counting words", total, "B");
  std::deque<std::string> cleaned;
  std::vector<MappedFile> mapped;
  std::vector<std::string_view> texts;
  int64_t waiting = 0;
  auto give = [&] {
    trainer.add(texts);
    texts.clear(), cleaned.clear(), mapped.clear();
    waiting = 0;
    progress.update(done);
    if (stop_requested())
      throw Error(Fault::try_again, "stopped on request: no tokenizer was written");
  };
  for (const InputFile& file : files) {
    auto add = [&](std::string_view text) {
      texts.push_back(text);
      waiting += static_cast<int64_t>(text.size());
    };
    if (file.format == Format::text && ByteSource(file.path).compression().empty()) {
      const std::string_view text = mapped.emplace_back(file.path).view();
      if (utf8_valid(text)) {
        add(text);
      } else {
        std::string repaired = utf8_repair(text, invalid);
        add(how == InvalidUtf8::keep ? text : cleaned.emplace_back(std::move(repaired)));
      }
    } else {
      DocumentReader reader(file, {.invalid = how});
      for (Document d; reader.next(&d);) {
        *invalid += d.invalid;
        add(cleaned.emplace_back(std::move(d.text)));
        if (waiting > kBatch) give();
      }
    }
    done += file.size;
    if (waiting > kBatch || mapped.size() >= 256) give();
  }
  give();
  progress.finish();
}

int train(int argc, char** argv) {
  std::vector<std::string> sources, special;
  std::string out, pattern = "gpt2", invalid_option = "keep";
  int64_t vocab_size = 16384, min_frequency = 0, wanted_threads = 0;
  bool json = false;
  Args args("wellspring text train", "Learn a byte-level tokenizer from text files and folders.");
  args.positionals("SOURCES", &sources,
                   "files and folders: text, Markdown, HTML, JSONL, ...; also .gz .xz .zst .bz2");
  args.option("--vocab-size", &vocab_size, "N", "number of ids, special tokens included (16384)");
  args.option("--out", &out, "DIR", "folder (or file.json) to write");
  args.option("--pattern", &pattern, "NAME",
              "how text is cut: gpt2, llama3, qwen2, cl100k, o200k (gpt2)");
  args.option("--special", &special, "TOKEN",
              "a special token; they get the ids 0, 1, ... (<|endoftext|>, which ends documents; "
              "'' for none)");
  args.option("--min-frequency", &min_frequency, "N", "pairs seen less often are not merged (0)");
  args.option("--threads", &wanted_threads, "N", "threads (all)");
  args.option("--invalid-utf8", &invalid_option, "keep|replace",
              "bytes that are not UTF-8: learn them as they are, or as U+FFFD (keep)");
  args.flag("--json", &json, "print the figures as JSON");
  args.example(
      "wellspring text train corpus --vocab-size 16384 --pattern llama3 "
      "--special '<|endoftext|>' --out tokenizer");
  if (!args.parse(argc, argv)) return 0;
  if (out.empty()) throw Error(Fault::usage, "--out DIR is missing");
  const InvalidUtf8 invalid_utf8 = keep_or_replace(invalid_option);
  if (wanted_threads > 0) set_threads(static_cast<int>(wanted_threads));
  BpeTrainerOptions options;
  options.vocab_size = vocab_size;
  options.pattern = pattern_named(pattern);
  if (!args.given("--special")) special = {"<|endoftext|>"};
  if (special != std::vector<std::string>{""}) options.special = special;
  options.min_frequency = min_frequency;
  BpeTrainer trainer(options);
  install_stop_signals();
  std::vector<InputFile> files;
  int64_t skipped = 0;
  for (const std::string& s : sources)
    for (InputFile& f : list_inputs(s, &skipped)) files.push_back(std::move(f));
  const double began = monotonic_seconds();
  int64_t invalid = 0;
  add_files(trainer, files, invalid_utf8, &invalid);
  if (trainer.bytes() == 0) throw Error(Fault::data, "the sources hold no text");
  const double counted = monotonic_seconds();
  const int64_t words = trainer.words();
  std::unique_ptr<Progress> progress;
  trainer.on_progress = [&](int64_t done, int64_t wanted) {
    if (!progress) progress = std::make_unique<Progress>("merging", wanted, "merges");
    progress->update(done);
    if (stop_requested())
      throw Error(Fault::try_again, "stopped on request: no tokenizer was written");
  };
  Tokenizer tokenizer = trainer.train();
  const double learned = monotonic_seconds();
  if (progress) {
    progress->update(tokenizer.vocab_size() - 256 - static_cast<int64_t>(options.special.size()));
    progress->finish();
  }
  tokenizer.save(out);
  if (json) {
    write_out(to_text(Json{{"out", out},
                           {"files", files.size()},
                           {"skipped", skipped},
                           {"bytes", trainer.bytes()},
                           {"words", words},
                           {"invalid_utf8", invalid},
                           {"vocab_size", tokenizer.vocab_size()},
                           {"count_seconds", counted - began},
                           {"merge_seconds", learned - counted}},
                      2) +
              "\n");
  } else {
    write_out(str(out, ": ", tokenizer.vocab_size(), " tokens from ", files.size(), " files, ",
                  human_bytes(static_cast<double>(trainer.bytes())), ", ", words,
                  " different words, in ", human_duration(learned - began), "\n"));
  }
  flush_out();
  if (skipped)
    std::fprintf(stderr, "note: files of no known format, left out: %ld\n",
                 static_cast<long>(skipped));
  if (invalid)
    std::fprintf(stderr, "warning: %ld invalid UTF-8 sequences %s\n", static_cast<long>(invalid),
                 invalid_utf8 == InvalidUtf8::keep ? "were learned as they are" : "became U+FFFD");
  if (tokenizer.vocab_size() < vocab_size)
    std::fprintf(stderr, "warning: the text gave only %d tokens of the %ld wanted\n",
                 tokenizer.vocab_size(), static_cast<long>(vocab_size));
  return 0;
}

std::string ids_text(const std::vector<int32_t>& ids) {
  std::string out = "[";
  for (size_t i = 0; i < ids.size(); ++i) append(out, i ? "," : ""), append(out, ids[i]);
  return out += "]\n";
}

// Each line is a JSON string.
std::vector<std::string_view> strings_of(std::string_view text, const std::string& name,
                                         std::deque<std::string>& strings) {
  std::vector<std::string_view> lines = lines_of(text);
  for (size_t i = 0; i < lines.size(); ++i) {
    const std::string where = str(name, ": line ", i + 1);
    const Json value = parse_json(lines[i], where);
    if (!value.is_string()) throw Error(Fault::data, str(where, ": a JSON string was expected"));
    lines[i] = strings.emplace_back(value.get<std::string>());
  }
  return lines;
}

int encode(int argc, char** argv) {
  std::vector<std::string> files;
  std::string tokenizer, pattern;
  std::string invalid_option = "keep";
  bool whole = false, add_special = false, no_parse = false, json_lines = false;
  Args args("wellspring text encode", "Text to token ids: one JSON array per line of the input.");
  args.positionals("FILE", &files, "what to encode (standard input)", false);
  args.option("--tokenizer", &tokenizer, "PATH", "folder, tokenizer.json or .tiktoken file");
  args.option("--pattern", &pattern, "NAME", "of a .tiktoken file: gpt2, cl100k, o200k, ...");
  args.flag("--whole", &whole, "one array per file instead of per line");
  args.flag("--json-lines", &json_lines,
            "each input line is a JSON string (for text with newlines)");
  args.option("--invalid-utf8", &invalid_option, "keep|replace",
              "bytes that are not UTF-8: encode them as they are, or as U+FFFD (keep)");
  args.flag("--add-special", &add_special, "add what the tokenizer puts around a text (bos, eos)");
  args.flag("--no-special", &no_parse, "special tokens written in the text are ordinary text");
  args.example("echo 'Hello world' | wellspring text encode --tokenizer tokenizer");
  if (!args.parse(argc, argv)) return 0;
  const InvalidUtf8 invalid_utf8 = keep_or_replace(invalid_option);
  const Tokenizer t = load(tokenizer, pattern);
  EncodeOptions options;
  options.add_special = add_special;
  options.parse_special = !no_parse;
  each_input(files, [&](const std::string& name, std::string_view text) {
    int64_t invalid = 0;
    std::string repaired;
    if (invalid_utf8 == InvalidUtf8::replace && !utf8_valid(text))
      text = repaired = utf8_repair(text, &invalid);
    if (invalid_utf8 == InvalidUtf8::keep) options.invalid_bytes = &invalid;
    if (whole) {
      write_out(ids_text(t.encode(text, options)));
    } else {
      std::deque<std::string> strings;
      const auto lines = json_lines ? strings_of(text, name, strings) : lines_of(text);
      const std::span<const std::string_view> all(lines);
      constexpr size_t kBatch = 65536;  // bounds the memory of ids
      for (size_t i = 0; i < lines.size(); i += kBatch)
        for (const auto& ids :
             t.encode_all(all.subspan(i, std::min(kBatch, lines.size() - i)), options))
          write_out(ids_text(ids));
    }
    if (invalid)
      std::fprintf(stderr, "warning: %s: %ld %s\n", name.c_str(), static_cast<long>(invalid),
                   invalid_utf8 == InvalidUtf8::keep
                       ? "bytes are not valid UTF-8 (encoded as they are)"
                       : "invalid UTF-8 sequences became U+FFFD");
  });
  flush_out();
  return 0;
}

int decode(int argc, char** argv) {
  std::vector<std::string> files;
  std::string tokenizer, pattern;
  bool skip = false;
  Args args("wellspring text decode", "Token ids to text: a JSON array per line of the input.");
  args.positionals("FILE", &files, "what to decode (standard input)", false);
  args.option("--tokenizer", &tokenizer, "PATH", "folder, tokenizer.json or .tiktoken file");
  args.option("--pattern", &pattern, "NAME", "of a .tiktoken file: gpt2, cl100k, o200k, ...");
  args.flag("--skip-special", &skip, "leave special tokens out");
  args.example("echo '[40, 70, 77]' | wellspring text decode --tokenizer tokenizer");
  if (!args.parse(argc, argv)) return 0;
  const Tokenizer t = load(tokenizer, pattern);
  each_input(files, [&](const std::string& name, std::string_view text) {
    int64_t number = 0;
    for (std::string_view line : lines_of(text)) {
      const std::string where = str(name, ": line ", ++number);
      if (trim(line).empty()) continue;
      const Json json = parse_json(line, where);
      if (!json.is_array()) throw Error(Fault::data, str(where, ": an array of ids was expected"));
      std::vector<int32_t> ids;
      ids.reserve(json.size());
      for (const Json& id : json) {
        const bool fits =
            id.is_number_integer() && id.get<int64_t>() >= 0 && id.get<int64_t>() < t.vocab_size();
        if (!fits)
          throw Error(Fault::data, str(where, ": ", to_text(id), " is not a token id of ",
                                       t.source(), " (0 to ", t.vocab_size() - 1, ")"));
        ids.push_back(id.get<int32_t>());
      }
      write_out(str(t.decode(ids, skip), "\n"));
    }
  });
  flush_out();
  return 0;
}

}  // namespace

int command_text(int argc, char** argv) {
  return run_verbs("wellspring text", "Tokenizers: byte pair encoding.",
                   {{"train", "learn a tokenizer from text", train},
                    {"encode", "text to token ids", encode},
                    {"decode", "token ids to text", decode}},
                   argc, argv);
}

}  // namespace wellspring
