// Any bytes as a configuration: an Error or a tree whose written form reads back as the same tree.
#include <cstdint>
#include <cstdlib>
#include <string>

#include "base/config.h"
#include "base/error.h"
#include "base/json.h"

using namespace wellspring;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string text(reinterpret_cast<const char*>(data), size);
  std::string json;
  Config config;
  try {
    config = Config::parse(text, "fuzz");
    json = to_text(config.to_json());
    for (const std::string& key : config.keys()) config.place(key);
    config.set("a.b.0=[1, {x: y}]");
  } catch (const Error& e) {
    if (e.fault() == Fault::internal) std::abort();
    if (json.empty()) return 0;
  }
  Config again = Config::parse(Config::parse(text, "fuzz").to_yaml(), "written");
  if (to_text(again.to_json()) != json) std::abort();
  return 0;
}
