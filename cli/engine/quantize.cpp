// wellspring quantize: a model with weights of 8 or 4 bits.

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <optional>
#include <set>

#include "base/args.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/progress.h"
#include "base/text.h"
#include "base/time.h"
#include "cli/engine/threads_option.h"
#include "models/decoder/model.h"
#include "nn/calibration.h"
#include "nn/kv_cache.h"
#include "ops/pointwise.h"
#include "ops/shape.h"
#include "text/tokenizer.h"

namespace wellspring {
namespace {

struct QuantizeOptions {
  std::string model, out, to = "q4", tables;
  std::vector<std::string> calibrate, quality;
  int64_t window = 512, tokens = 16384;
  bool json = false;
};

// Windows of the texts' tokens, all of one length; at most so many tokens together.
std::vector<Tensor> windows(const Tokenizer& tokenizer, const std::vector<std::string>& files, int64_t length, int64_t most,
                            int64_t vocab) {
  std::vector<int32_t> ids;
  for (const std::string& file : files)
    for (const int32_t id : tokenizer.encode(read_file(file)))
      if (id < vocab) ids.push_back(id);
  std::vector<Tensor> out;
  const int64_t n = static_cast<int64_t>(ids.size());
  for (int64_t at = 0; at + length <= n && at + length <= most; at += length)
    out.push_back(Tensor::from(std::span<const int32_t>(ids).subspan(static_cast<size_t>(at), static_cast<size_t>(length)), {1, length}));
  if (out.empty()) throw Error(Fault::data, str(files[0], ": a text of ", n, " tokens does not fill a window of ", length));
  return out;
}

// The feedback of one matrix after the other, from the model's own activations. Sums for as many matrices as fit are
// made in one run over the texts, in which the matrices before them are quantised already.
class Calibration {
 public:
  Calibration(Decoder& model, std::vector<Tensor> texts) : model_(model), texts_(std::move(texts)) {
    for (const Parameter* p : model.parameters())
      if (p->shape().size() == 2) names_.push_back(p->name), widths_.push_back(p->shape()[1]);
  }
  Tensor feedback(const std::string& name) {
    if (!moments_.count(name)) collect(name);
    const auto it = moments_.find(name);
    if (it == moments_.end()) return {};  // a matrix that is not multiplied with
    const Tensor out = error_feedback(it->second);
    moments_.erase(it);
    return out;
  }

 private:
  static constexpr int64_t kBytes = int64_t{2} << 30;

  void collect(const std::string& first) {
    moments_.clear();
    std::set<std::string> wanted;
    int64_t bytes = 0;
    const auto begin = static_cast<size_t>(std::find(names_.begin(), names_.end(), first) - names_.begin());
    for (size_t i = begin; i < names_.size(); ++i) {
      bytes += widths_[i] * widths_[i] * 4;
      if (i > begin && bytes > kBytes) break;
      wanted.insert(names_[i]);
    }
    model_.set_hook([&](const std::string& at, const Tensor& value) {
      if (!ends_with(at, ".input")) return;
      const std::string name = at.substr(0, at.size() - 6) + ".weight";
      if (!wanted.count(name)) return;
      const int64_t K = value.size(-1);
      const Tensor x = contiguous(transpose(view(value, {value.numel() / K, K}), 0, 1)), sum = linear_f32(x, x);
      const auto [it, fresh] = moments_.emplace(name, sum);
      if (!fresh) add_(it->second, sum);
    });
    Progress progress("calibrating", static_cast<int64_t>(texts_.size()), "windows");
    for (size_t i = 0; i < texts_.size(); ++i) {
      model_.step(texts_[i], *model_.make_cache());  // the logits of one position alone
      progress.update(static_cast<int64_t>(i + 1));
    }
    progress.finish();
    model_.set_hook(nullptr);
  }

  Decoder& model_;
  const std::vector<Tensor> texts_;
  std::vector<std::string> names_;
  std::vector<int64_t> widths_;
  std::map<std::string, Tensor> moments_;
};

struct Quality {
  int64_t tokens = 0;
  double nats_before = 0, nats_after = 0, kl = 0;
  int64_t same_top = 0;
  void add(const float* p, const float* q, int64_t vocab, int32_t target) {
    const auto log_sum = [&](const float* x, int64_t& best) {
      best = 0;
      for (int64_t i = 1; i < vocab; ++i)
        if (x[i] > x[best]) best = i;
      double sum = 0;
      for (int64_t i = 0; i < vocab; ++i) sum += std::exp(static_cast<double>(x[i]) - x[best]);
      return x[best] + std::log(sum);
    };
    int64_t top_p, top_q;
    const double zp = log_sum(p, top_p), zq = log_sum(q, top_q);
    for (int64_t i = 0; i < vocab; ++i) {
      const double lp = p[i] - zp;
      kl += std::exp(lp) * (lp - (q[i] - zq));
    }
    nats_before += zp - p[target], nats_after += zq - q[target];
    same_top += top_p == top_q, ++tokens;
  }
};

Quality compare(const Decoder& before, const Decoder& after, const std::vector<Tensor>& texts) {
  Quality quality;
  Progress progress("comparing", static_cast<int64_t>(texts.size()), "windows");
  for (size_t i = 0; i < texts.size(); ++i) {
    const Tensor p = before.logits(texts[i]), q = after.logits(texts[i]);
    const int32_t* ids = texts[i].data_as<int32_t>();
    const int64_t length = texts[i].size(1), vocab = p.size(2);
    for (int64_t t = 0; t + 1 < length; ++t)
      quality.add(p.data_as<float>() + t * vocab, q.data_as<float>() + t * vocab, vocab, ids[t + 1]);
    progress.update(static_cast<int64_t>(i + 1));
  }
  progress.finish();
  return quality;
}

int quantize(const QuantizeOptions& o) {
  const WeightFormat format = parse_weight_format(o.to);
  const WeightFormat tables = parse_weight_format(!o.tables.empty() ? o.tables : o.to == "bf16" ? "bf16" : "q8");
  if (exists(join_path(o.out, "config.json")))
    throw Error(Fault::usage, str(o.out, " already holds a model; give another --out"));
  const std::string folder = find_model_folder(o.model);
  check_plain(folder, o.model, "quantize");
  const double begin = monotonic_seconds();
  auto model = load_decoder(folder, DType::bf16);
  const int64_t length = std::min(o.window, model->config().context);
  std::optional<Calibration> calibration;
  if (!o.calibrate.empty() && format == WeightFormat::q4)
    calibration.emplace(*model, windows(Tokenizer::load(folder), o.calibrate, length, o.tokens, model->config().vocab));
  model->quantize(format, tables, [&](const std::string& name) { return calibration ? calibration->feedback(name) : Tensor(); });
  save_quantized(*model, o.out, folder);
  int64_t bytes = 0, values = 0;
  for (const auto& [name, w] : model->packed()) bytes += w->bytes(), values += w->rows * w->columns;
  Json out = {{"out", o.out}, {"format", o.to}, {"tables", name_of(tables)}, {"bytes", bytes},
              {"bits_per_weight", 8.0 * static_cast<double>(bytes) / static_cast<double>(values)},
              {"seconds", monotonic_seconds() - begin}};
  if (!o.quality.empty()) {
    const Tokenizer tokenizer = Tokenizer::load(folder);
    const auto before = load_decoder(folder, DType::bf16);
    const Quality q = compare(*before, *model, windows(tokenizer, o.quality, length, o.tokens, model->config().vocab));
    const auto n = static_cast<double>(q.tokens);
    out["quality"] = {{"tokens", q.tokens}, {"perplexity_bf16", std::exp(q.nats_before / n)},
                      {"perplexity", std::exp(q.nats_after / n)}, {"kl", q.kl / n},
                      {"same_top", static_cast<double>(q.same_top) / n}};
  }
  if (o.json) return std::printf("%s\n", to_text(out, 2).c_str()), 0;
  std::printf("%s: %s of weights, %.2f bits each, in %.1f s\n", o.out.c_str(), human_bytes(static_cast<double>(bytes)).c_str(),
              out["bits_per_weight"].get<double>(), out["seconds"].get<double>());
  if (out.contains("quality")) {
    const Json& q = out["quality"];
    Table table({"weights", "perplexity", "KL from bf16", "same first choice"});
    char a[32], b[32], c[32], d[32];
    std::snprintf(a, sizeof a, "%.4f", q["perplexity_bf16"].get<double>());
    std::snprintf(b, sizeof b, "%.4f", q["perplexity"].get<double>());
    std::snprintf(c, sizeof c, "%.2e", q["kl"].get<double>());
    std::snprintf(d, sizeof d, "%.2f %%", 100 * q["same_top"].get<double>());
    table.row({"bf16", a, "", ""});
    table.row({o.to, b, c, d});
    std::printf("%s", table.text().c_str());
  }
  return 0;
}

}  // namespace
}  // namespace wellspring

extern "C" int wellspring_command_quantize(int argc, char** argv) {
  using namespace wellspring;
  QuantizeOptions o;
  Args args("wellspring quantize",
            "Write a model with weights of 8 or 4 bits, which `serve`, `chat`, `generate` and `eval` read, mapped as they lie.");
  args.positional("MODEL", &o.model, "model folder, or run folder (its newest checkpoint)");
  args.option("--to", &o.to, "q4|q8|q8_groups|bf16", "the hidden matrices (q4: 4.5 bits a weight)");
  args.option("--tables", &o.tables, "q4|q8|q8_groups|bf16", "the embedding and the head (q8; bf16 beside bf16)");
  args.option("--out", &o.out, "DIR", "folder to write (it must not hold a model yet)");
  args.option("--calibrate", &o.calibrate, "FILE", "text whose activations errors are made least for (q4); may be repeated");
  args.option("--quality", &o.quality, "FILE", "text by which the result is compared with bf16: perplexity, KL; may be repeated");
  args.option("--window", &o.window, "N", "tokens seen at once in these texts (512)");
  args.option("--tokens", &o.tokens, "N", "at most so many of them (16384)");
  ThreadsOption threads(args);
  args.flag("--json", &o.json, "print JSON");
  args.example("wellspring quantize runs/demo/run --to q4 --out q4 --quality runs/demo/text/eval-en.txt --window 64");
  if (!args.parse(argc, argv)) return 0;
  threads.apply();
  if (o.out.empty()) throw Error(Fault::usage, "--out DIR is missing");
  if (o.window < 2 || o.tokens < o.window)
    throw Error(Fault::usage, str("--window ", o.window, ", --tokens ", o.tokens, ": a window has 2 tokens at least, and fits"));
  return quantize(o);
}
