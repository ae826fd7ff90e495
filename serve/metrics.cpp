#include "serve/metrics.h"

#include <functional>

#include "base/text.h"
#include "serve/access.h"
#include "serve/models.h"
#include "serve/request_figures.h"

namespace wellspring {
namespace {

struct Row {
  const char *name, *type, *help;
  std::function<int64_t(const ModelState&)> value;
};

const std::vector<Row>& rows() {
  const auto of = [](int64_t EngineFigures::*field) {
    return [field](const ModelState& m) { return m.figures.*field; };
  };
  static const std::vector<Row> list = {
      {"requests_running", "gauge", "requests in the engine", of(&EngineFigures::running)},
      {"requests_waiting", "gauge", "requests that wait for it", of(&EngineFigures::waiting)},
      {"requests_total", "counter", "requests taken", of(&EngineFigures::requests)},
      {"refused_total", "counter", "requests refused because too many waited (--waiting)",
       of(&EngineFigures::refused)},
      {"prompt_tokens_total", "counter", "tokens of prompts", of(&EngineFigures::prompt_tokens)},
      {"cached_tokens_total", "counter", "of them, found computed",
       of(&EngineFigures::cached_tokens)},
      {"generated_tokens_total", "counter", "tokens made", of(&EngineFigures::tokens)},
      {"passes_total", "counter", "passes through the model", of(&EngineFigures::passes)},
      {"preemptions_total", "counter", "requests that had to wait again for pages",
       of(&EngineFigures::preemptions)},
      {"guessed_tokens_total", "counter", "tokens guessed ahead (--speculate)", of(&EngineFigures::guessed)},
      {"guessed_right_total", "counter", "of them, those that came", of(&EngineFigures::guessed_right)},
      {"cache_pages", "gauge", "pages of keys and values", of(&EngineFigures::pages)},
      {"cache_pages_free", "gauge", "of them free", of(&EngineFigures::free_pages)},
      {"cache_pages_kept", "gauge", "of them kept for prompts that begin alike",
       of(&EngineFigures::kept_pages)},
      {"model_loaded", "gauge", "whether the model is in memory",
       [](const ModelState& m) { return int64_t{m.loaded}; }},
      {"model_bytes", "gauge", "memory that it takes when it is loaded",
       [](const ModelState& m) { return m.bytes; }},
      {"model_loads_total", "counter", "times that it was loaded",
       [](const ModelState& m) { return m.loads; }},
  };
  return list;
}

// A label's value: backslash, quote and line end are written so.
std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    if (c == '\\' || c == '"') out += '\\';
    if (c == '\n') {
      out += "\\n";
      continue;
    }
    out += c;
  }
  return out;
}

}  // namespace

std::string metric_head(const std::string& name, const char* type, const char* help) {
  return str("# HELP wellspring_", name, " ", help, "\n# TYPE wellspring_", name, " ", type, "\n");
}

std::string metric_label(const char* name, const std::string& value) { return str(name, "=\"", escaped(value), "\""); }

std::string metrics_text(const Models& models, const Access& access, const RequestFigures& requests) {
  const std::vector<ModelState> states = models.list();
  std::string out;
  for (const Row& row : rows()) {
    out += metric_head(row.name, row.type, row.help);
    for (const ModelState& m : states)
      out += str("wellspring_", row.name, "{", metric_label("model", m.name), "} ", row.value(m), "\n");
  }
  out += str(metric_head("strangers_total", "counter", "requests without a known key, host or origin"),
             "wellspring_strangers_total ", access.strangers(), "\n");
  out += str(metric_head("limited_total", "counter", "requests beyond a key's limit"),
             "wellspring_limited_total ", access.limited(), "\n");
  return out + requests.text();
}

}  // namespace wellspring
