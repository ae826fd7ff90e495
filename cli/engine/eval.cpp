// wellspring eval: how good a model is.

#include <cstdio>

#include "base/args.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/progress.h"
#include "base/text.h"
#include "cli/engine/threads_option.h"
#include "eval/bits_per_byte.h"
#include "models/decoder/model.h"

namespace wellspring {
namespace {

std::string fixed(double v, int digits) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.*f", digits, v);
  return buffer;
}

Json to_json(const BitsPerByte& r) {
  return {{"bytes", r.bytes},
          {"tokens", r.tokens},
          {"nats", r.nats},
          {"bits_per_byte", r.bits_per_byte()},
          {"exact", r.exact}};
}

int bpb(int argc, char** argv) {
  Args args("wellspring eval bpb",
            "Bits per byte of files: how well the model compresses them. Each file is one "
            "document; every "
            "byte of it counts.");
  std::string path, dtype = "f32";
  std::vector<std::string> files;
  BitsPerByteOptions options;
  bool json = false;
  args.positional("MODEL", &path, "model folder, or run folder (its newest checkpoint)");
  args.positionals("FILE", &files, "texts");
  args.option("--dtype", &dtype, "f32|bf16", "computation (f32)");
  args.option("--window", &options.window, "N", "tokens seen at once (the model's context)");
  args.option("--overlap", &options.overlap, "N",
              "of them seen before and not scored again (a quarter)");
  args.option("--batch", &options.batch, "N", "windows at once (about 4096 tokens)");
  ThreadsOption threads(args);
  args.flag("--json", &json, "print JSON");
  args.example("wellspring eval bpb runs/demo/run runs/demo/text/eval-en.txt --json");
  if (!args.parse(argc, argv)) return 0;
  threads.apply();
  if (dtype != "f32" && dtype != "bf16")
    throw Error(Fault::usage, str("--dtype is '", dtype, "'; expected f32 or bf16"));
  if (args.given("--overlap") && options.overlap < 0)
    throw Error(Fault::usage, str("--overlap is ", options.overlap, "; expected 0 or more"));
  const std::string folder = find_model_folder(path);
  std::vector<std::string> texts;
  for (const std::string& file : files) {
    texts.push_back(read_file(file));
    if (texts.back().empty()) throw Error(Fault::data, str(file, " is empty"));
  }
  const std::unique_ptr<Decoder> model = load_decoder(folder, *parse_dtype(dtype));
  const Tokenizer tokenizer = Tokenizer::load(folder);
  Json rows = Json::array();
  Table table({"file", "bytes", "tokens", "nats", "bits per byte"});
  auto row = [&](const std::string& name, const BitsPerByte& r) {
    table.row({name, std::to_string(r.bytes), std::to_string(r.tokens), fixed(r.nats, 1),
               fixed(r.bits_per_byte(), 4)});
  };
  BitsPerByte all;
  for (size_t i = 0; i < files.size(); ++i) {
    Progress progress(base_name(files[i]), 0, "tokens");
    BitsPerByte r = bits_per_byte(*model, tokenizer, texts[i], options,
                                  [&](int64_t tokens) { progress.update(tokens); });
    progress.finish();
    int64_t invalid = 0;
    if (!utf8_valid(texts[i])) utf8_repair(texts[i], &invalid);
    if (invalid)
      std::fprintf(stderr, "warning: %s: %ld invalid UTF-8 sequences (evaluated as they are)\n",
                   files[i].c_str(), static_cast<long>(invalid));
    if (!r.exact)
      std::fprintf(stderr, "note: %s: the tokenizer does not keep its bytes exactly\n",
                   files[i].c_str());
    Json entry = {{"file", files[i]}, {"invalid_utf8", invalid}};
    entry.update(to_json(r));
    rows.push_back(std::move(entry));
    row(files[i], r);
    all += r;
  }
  if (json) {
    Json out = to_json(all);
    out["model"] = folder;
    out["files"] = std::move(rows);
    std::printf("%s\n", to_text(out, 2).c_str());
  } else {
    if (files.size() > 1) row("all", all);
    std::fputs(table.text().c_str(), stdout);
  }
  return 0;
}

}  // namespace
}  // namespace wellspring

extern "C" int wellspring_command_eval(int argc, char** argv) {
  using namespace wellspring;
  return run_verbs("wellspring eval", "Measure a model.", {{"bpb", "bits per byte of texts", bpb}},
                   argc, argv);
}
