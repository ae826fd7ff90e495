#include "serve/embeddings.h"

#include <cmath>
#include <condition_variable>
#include <cstring>
#include <mutex>

#include "base/error.h"
#include "base/http.h"
#include "base/json.h"
#include "base/text.h"
#include "serve/api.h"
#include "serve/api_messages.h"
#include "serve/engine.h"
#include "serve/model_text.h"

namespace wellspring {
namespace {

constexpr size_t kMostInputs = 2048;
constexpr size_t kAtOnce = 32;  // of one client, so that others come between

struct Wish {
  std::vector<std::vector<int32_t>> inputs;
  Pooling pooling = Pooling::last;
  bool normalize = true, base64 = false;
};

std::vector<int32_t> input_of(const ModelText& text, const Json& one) {
  if (one.is_string()) return text.whole(one.get<std::string>());
  if (!one.is_array() || one.empty()) wrong_field("input", "a text, a list of token ids, or a list of such");
  std::vector<int32_t> ids;
  for (const Json& id : one) {
    if (!id.is_number_integer() || id.get<int64_t>() < 0 || id.get<int64_t>() > INT32_MAX)
      wrong_field("input", "a text, a list of token ids, or a list of such");
    ids.push_back(id.get<int32_t>());
  }
  return ids;
}

Wish read_wish(const ServedModel& model, const Json& body) {
  Wish w;
  const Json* input = find_field(body, "input");
  if (!input) missing_field("input");
  const bool several = input->is_array() && !input->empty() && !(*input)[0].is_number();
  if (several && input->size() > kMostInputs) wrong_field("input", str("at most ", kMostInputs, " inputs"));
  if (several)
    for (const Json& one : *input) w.inputs.push_back(input_of(*model.text, one));
  else
    w.inputs.push_back(input_of(*model.text, *input));
  w.pooling = model.text->pooling();
  if (const Json* p = find_field(body, "pooling")) {
    if (*p != "last" && *p != "mean") wrong_field("pooling", "last or mean");
    w.pooling = *p == "mean" ? Pooling::mean : Pooling::last;
  }
  if (const Json* n = find_field(body, "normalize")) {
    if (!n->is_boolean()) wrong_type("normalize", "true or false");
    w.normalize = n->get<bool>();
  }
  if (const Json* f = find_field(body, "encoding_format")) {
    if (*f != "float" && *f != "base64") wrong_field("encoding_format", "float or base64");
    w.base64 = *f == "base64";
  }
  if (const Json* d = find_field(body, "dimensions"); d && *d != model.width)
    wrong_field("dimensions", str(model.width, " or left out: vectors have the model's width"));
  return w;
}

// The vectors of all inputs, a few at a time.
class Batch {
 public:
  Batch(const ServedModel& model, Wish& wish, const std::string& owner) : model_(model), wish_(wish), owner_(owner), vectors_(wish.inputs.size()) {}
  ~Batch() {
    for (const int64_t t : tickets_) model_.engine->cancel(t);
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return running_ == 0; });
  }

  // False: the client has gone.
  bool run(HttpResponse& response) {
    size_t next = 0;
    while (true) {
      {
        std::unique_lock lock(mutex_);
        changed_.wait_for(lock, std::chrono::milliseconds(100), [&] { return running_ == 0 || error_ || (running_ < kAtOnce && next < vectors_.size()); });
        if (error_) std::rethrow_exception(error_);
        if (running_ == 0 && next == vectors_.size()) return true;
        if (running_ >= kAtOnce || next == vectors_.size()) {
          lock.unlock();
          if (response.client_gone()) return false;
          continue;
        }
        ++running_;
      }
      submit(next++);
    }
  }
  const std::vector<std::vector<float>>& vectors() const { return vectors_; }
  int64_t tokens() const { return tokens_; }

 private:
  void submit(size_t i) {
    GenerateRequest g;
    g.prompt = wish_.inputs[i];
    if (!tickets_.empty()) g.part_of = tickets_[0];
    g.pooling = wish_.pooling, g.owner = owner_, g.adapter = model_.adapter;
    g.on_embedding = [this, i](const std::vector<float>& v) { vectors_[i] = v; };
    try {
      tickets_.push_back(model_.engine->submit(std::move(g), [this](const GenerateResult& r, std::exception_ptr e) {
        std::lock_guard lock(mutex_);
        tokens_ += r.prompt_tokens;
        if (e && !error_) error_ = e;
        --running_;
        changed_.notify_all();
      }));
    } catch (...) {
      std::lock_guard lock(mutex_);
      --running_;
      throw;
    }
  }

  const ServedModel& model_;
  Wish& wish_;
  const std::string& owner_;
  std::vector<std::vector<float>> vectors_;
  std::vector<int64_t> tickets_;
  std::mutex mutex_;
  std::condition_variable changed_;
  size_t running_ = 0;
  int64_t tokens_ = 0;
  std::exception_ptr error_;
};

// Of the values' bytes, the lowest first, as OpenAI's clients read them.
std::string base64_of(const std::vector<float>& v) {
  constexpr char kLetters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const auto* bytes = reinterpret_cast<const uint8_t*>(v.data());
  const size_t n = v.size() * sizeof(float);
  std::string out;
  for (size_t i = 0; i < n; i += 3) {
    uint32_t three = 0;
    for (size_t k = 0; k < 3; ++k) three = three << 8 | (i + k < n ? bytes[i + k] : 0);
    for (size_t k = 0; k < 4; ++k) out += i + k <= n ? kLetters[three >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

Json vector_json(std::vector<float> v, const Wish& w) {
  if (w.normalize) {
    double sum = 0;
    for (const float x : v) sum += static_cast<double>(x) * x;
    const double scale = sum > 0 ? 1 / std::sqrt(sum) : 0;
    for (float& x : v) x = static_cast<float>(x * scale);
  }
  return w.base64 ? Json(base64_of(v)) : Json(v);
}

}  // namespace

void answer_embeddings(const ServedModel& model, const Json& body, const std::string& owner, HttpResponse& response) {
  Wish wish = read_wish(model, body);
  Batch batch(model, wish, owner);
  if (!batch.run(response)) return;
  if (model.check) model.check();
  Json data = Json::array();
  for (const std::vector<float>& v : batch.vectors())
    data.push_back({{"object", "embedding"}, {"index", data.size()}, {"embedding", vector_json(v, wish)}});
  response.send(200, "application/json",
                to_text({{"object", "list"},
                         {"data", std::move(data)},
                         {"model", model.name},
                         {"usage", {{"prompt_tokens", batch.tokens()}, {"total_tokens", batch.tokens()}}}}));
}

}  // namespace wellspring
