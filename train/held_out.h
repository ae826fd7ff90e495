#pragma once
// Bits per byte on held-out documents while training.

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "data/loader.h"
#include "models/decoder/model.h"

namespace wellspring {

/// The score of one language (or of all: name "all").
struct HeldOutScore {
  std::string name;
  int64_t documents = 0, tokens = 0, bytes = 0;
  double nats = 0;
  double loss() const { return nats / static_cast<double>(tokens); }
  double bits_per_byte() const;
};

/// Held-out documents of datasets, grouped by language. One thread.
class HeldOut {
 public:
  /// About `most_tokens` of them (0: all), spread evenly, in windows of `length` tokens, `batch` at
  /// a time.
  HeldOut(const std::vector<MixPart>& parts, int64_t length, int64_t batch, int64_t most_tokens);
  ~HeldOut();
  bool empty() const { return groups_.empty(); }
  int64_t tokens() const;
  /// One score per language by name, then "all"; empty when `stop` became true on the way.
  std::vector<HeldOutScore> score(const Decoder& model, const std::function<bool()>& stop = {});

 private:
  struct Group {
    std::string name;
    std::vector<EvalWindows> windows;
  };
  int64_t length_, batch_;
  std::vector<Group> groups_;
};

}  // namespace wellspring
