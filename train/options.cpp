#include "train/options.h"

#include <algorithm>

#include "base/config.h"
#include "base/error.h"
#include "base/file.h"
#include "base/text.h"
#include "data/dataset.h"
#include "data/encoder.h"
#include "tensor/chip.h"

namespace wellspring {
namespace {

int64_t at_least(const Config& c, const std::string& key, int64_t otherwise, int64_t least) {
  int64_t v = c.integer(key, otherwise);
  if (v < least)
    throw Error(Fault::config, str(c.place(key), ": is ", v, ", expected at least ", least));
  return v;
}

double between(const Config& c, const std::string& key, double otherwise, double low, double high) {
  double v = c.number(key, otherwise);
  if (!(v >= low && v <= high))
    throw Error(Fault::config, str(c.place(key), ": is ", v, ", expected ", low, " to ", high));
  return v;
}

std::vector<MixPart> read_parts(const Config& data, const std::string& key) {
  std::vector<MixPart> parts;
  for (const Config& item : data.items(key)) {
    MixPart part;
    part.dataset = item.text("path");
    part.source = item.text("source", "");
    if (key == "train") part.weight = between(item, "weight", 0, 0, 1e9);
    if (!exists(join_path(part.dataset, "dataset.json")))
      throw Error(Fault::config, str(item.place("path"), ": ", part.dataset,
                                     " is no dataset; make it with 'wellspring data prepare'"));
    parts.push_back(std::move(part));
  }
  return parts;
}

Device read_device(const Config& train) {
  try {
    return parse_device(train.text("device", "cpu"));
  } catch (const Error& e) {
    throw Error(e.fault() == Fault::usage ? Fault::config : e.fault(),
                str(train.place("device"), ": ", e.what()));
  }
}

DType read_dtype(const Config& train, Device device) {
  std::string name = train.choice("dtype", {"auto", "f32", "bf16"}, "auto");
  if (name != "auto") return *parse_dtype(name);
  const uint32_t native = chips()[device.chip].capabilities(device.index).native;
  return native >> static_cast<int>(DType::bf16) & 1 ? DType::bf16 : DType::f32;
}

// The folder whose tokenizer files go into checkpoints.
std::string read_tokenizer(const Config& config, const DatasetInfo& data) {
  std::string path = config.text("tokenizer", data.tokenizer_path);
  const Encoder encoder = load_encoder(path);
  if (to_hex(encoder.hash) != data.tokenizer_hash)
    throw Error(Fault::config, str(config.place("tokenizer"), ": ", path,
                                   " is not the tokenizer that the data was prepared with (",
                                   data.tokenizer_path, ")"));
  if (path == "bytes") return "";
  return is_directory(path) ? path : parent_path(path);
}

void read_schedule(const Config& c, TrainOptions& o) {
  o.schedule.kind = c.choice("kind", {"cosine", "wsd", "constant"}, "cosine");
  o.schedule.peak = between(c, "learning_rate", 1e-3, 0, 1e30);
  o.schedule.warmup = at_least(c, "warmup", 0, 0);
  o.schedule.final_share = between(c, "final_share", 0.1, 0, 1);
  o.decay_share = between(c, "decay", 0.2, 0, 1);
}

void read_steps(const Config& c, TrainOptions& o) {
  o.device = read_device(c);
  o.dtype = read_dtype(c, o.device);
  o.sequence = at_least(c, "sequence", std::min<int64_t>(o.model.context, 512), 1);
  if (o.sequence > o.model.context)
    throw Error(Fault::config, str(c.place("sequence"), ": is ", o.sequence,
                                   ", more than the model's context of ", o.model.context));
  o.batch = at_least(c, "batch", 8, 1);
  o.micro_batch = at_least(c, "micro_batch", o.batch, 1);
  if (o.batch % o.micro_batch)
    throw Error(Fault::config, str(c.place("batch"), ": ", o.batch,
                                   " rows are no multiple of micro_batch ", o.micro_batch));
  o.steps = at_least(c, "steps", 0, 0);
  o.max_seconds = between(c, "max_seconds", 0, 0, 1e9);
  read_schedule(c["schedule"], o);
  Config optimizer = c["optimizer"];
  o.optimizer.weight_decay = between(optimizer, "weight_decay", 0.1, 0, 1e3);
  o.optimizer.beta1 = between(optimizer, "beta1", 0.9, 0, 1);
  o.optimizer.beta2 = between(optimizer, "beta2", 0.95, 0, 1);
  o.optimizer.eps = between(optimizer, "eps", 1e-8, 0, 1);
  o.clip = between(c, "clip", 1, 0, 1e9);
  Config guard = c["guard"];
  o.guard.spike_factor = between(guard, "spike_factor", o.guard.spike_factor, 0, 1e9);
  o.guard.least_rise = between(guard, "least_rise", o.guard.least_rise, 0, 1e9);
  o.guard.patience = static_cast<int>(at_least(guard, "patience", o.guard.patience, 1));
  o.guard.window = static_cast<int>(at_least(guard, "window", o.guard.window, 2));
  o.eval_every = at_least(c, "eval_every", 0, 0);
  o.eval_tokens = at_least(c, "eval_tokens", 0, 0);
  o.checkpoint_every = at_least(c, "checkpoint_every", 0, 0);
  o.keep = at_least(c, "keep", 2, 1);
}

}  // namespace

TrainOptions TrainOptions::read(Config& config) {
  TrainOptions o;
  o.seed = static_cast<uint64_t>(at_least(config, "seed", 1, 0));
  Config data = config["data"];
  o.train = read_parts(data, "train");
  o.eval = read_parts(data, "eval");
  if (o.train.empty())
    throw Error(Fault::config,
                str(data.place("train"), ": name at least one dataset: [{path: DIR}]"));
  const DatasetInfo info = Dataset(o.train[0].dataset).info();
  o.eos = info.eos;
  o.tokenizer = read_tokenizer(config, info);
  if (!config["model"].has("vocab")) config.set(str("model.vocab=", info.vocab_size));
  if (!config["model"].has("eos") && info.eos >= 0) config.set(str("model.eos=", info.eos));
  Config model = config["model"];
  o.start = config.text("start", "");
  o.model = DecoderConfig::read(model);
  if (o.model.vocab < info.vocab_size)
    throw Error(Fault::config, str(model.place("vocab"), ": is ", o.model.vocab,
                                   ", but the data has ", info.vocab_size, " tokens"));
  read_steps(config["train"], o);
  o.samples = config.texts("samples");
  o.sample_tokens = at_least(config, "sample_tokens", 60, 1);
  if (!o.samples.empty() && o.tokenizer.empty())
    throw Error(Fault::config,
                str(config.place("samples"), ": there is no tokenizer to write them with"));
  config.check_all_used();
  if (o.steps == 0 && o.max_seconds == 0)
    throw Error(Fault::config,
                str(config["train"].place("steps"), ": give steps, or max_seconds, or both"));
  o.resolved = config.to_yaml();
  return o;
}

std::string preset(const std::string& name) {
  std::vector<std::string> names;
  for (auto& [known, text] : presets()) {
    if (name == known) return text;
    names.push_back(known);
  }
  auto near = nearest(name, names);
  throw Error(Fault::usage, str("--preset ", name, ": known are ", join(names, ", "),
                                near ? str("; did you mean '", *near, "'?") : ""));
}

}  // namespace wellspring
