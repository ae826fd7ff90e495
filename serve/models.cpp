#include "serve/models.h"

#include <algorithm>
#include <set>

#include "base/log.h"
#include "base/text.h"
#include "base/threads.h"
#include "base/time.h"
#include "serve/api_error.h"

namespace wellspring {
namespace {

constexpr int64_t EngineFigures::*kCounters[] = {
    &EngineFigures::requests, &EngineFigures::prompt_tokens, &EngineFigures::cached_tokens,
    &EngineFigures::tokens,   &EngineFigures::passes,        &EngineFigures::preemptions,
    &EngineFigures::refused,  &EngineFigures::guessed,  &EngineFigures::guessed_right};

void add_counters(EngineFigures& sum, const EngineFigures& f) {
  for (const auto counter : kCounters) sum.*counter += f.*counter;
}

}  // namespace

ServedModel LoadedModel::as(const std::string& name) const {
  ServedModel out = served;
  if (const auto it = adapters.find(name); it != adapters.end()) out.name = name, out.adapter = it->second;
  return out;
}

Models::Models(std::vector<ModelSource> sources, int64_t memory) : memory_(memory) {
  std::set<std::string> names;
  for (ModelSource& source : sources) {
    std::vector<std::string> all = source.aliases;
    all.push_back(source.name);
    all.insert(all.end(), source.adapters.begin(), source.adapters.end());
    for (const std::string& name : all)
      if (name.empty() || !names.insert(name).second)
        throw Error(Fault::usage, name.empty() ? "a model has no name: give it one"
                                               : str("two models are named '", name,
                                                     "': give one of them another name"));
    if (memory > 0 && source.bytes > memory) {
      const std::string why =
          str("model '", source.name, "' takes ", human_bytes(static_cast<double>(source.bytes)),
              ", more than all may (--memory-gb)");
      if (entries_.empty())
        throw Error(Fault::config,
                    str(why, ": raise it, or give a smaller --cache-gb or --weights q4"));
      log_warning("serve", why);
    }
    auto entry = std::make_unique<Entry>();
    entry->source = std::move(source);
    entry->bytes = entry->source.bytes;
    entries_.push_back(std::move(entry));
  }
  if (entries_.empty()) throw Error(Fault::usage, "there is no model to serve");
}

Models::~Models() {
  for (const auto& e : entries_)
    if (e->loader.joinable()) e->loader.join();
}

Models::Entry& Models::find(const std::string& name) const {
  if (name.empty()) return *entries_[0];
  std::string there;
  for (const auto& e : entries_) {
    const auto is_in = [&](const std::vector<std::string>& all) {
      return std::find(all.begin(), all.end(), name) != all.end();
    };
    if (e->source.name == name || is_in(e->source.aliases) || is_in(e->source.adapters)) return *e;
    std::vector<std::string> names = e->source.adapters;
    names.insert(names.begin(), e->source.name);
    for (const std::string& n : names)
      if (there.size() < 400) there += str(there.empty() ? "" : ", ", "'", n, "'");
  }
  throw ApiError(
      404, "model_not_found",
      str("there is no model '", utf8_repair(name.substr(0, 80)), "' here, only ", there), 0, "model");
}

std::string Models::name_of(const std::string& name) const { return find(name).source.name; }

std::shared_ptr<const LoadedModel> Models::get(const std::string& name,
                                               const std::function<bool()>& give_up) {
  Entry& e = find(name);
  std::unique_lock lock(mutex_);
  int64_t mine = 0;  // the try that this call waits for
  while (true) {
    if (e.phase == Phase::loaded && usable(e)) {
      e.used = ++clock_;
      return e.model;
    }
    if (mine > 0 && e.failed >= mine) std::rethrow_exception(e.error);
    if (e.phase == Phase::empty) begin_load(e);
    if (e.phase == Phase::loading) mine = e.tries;
    changed_.wait_for(lock, std::chrono::milliseconds(100));
    if (give_up) {
      lock.unlock();  // it may look at a connection
      if (give_up()) return nullptr;
      lock.lock();
    }
  }
}

// False, and the model is on its way out, when its file was changed on disk. Who answers with it
// still holds it, and finds out by itself.
bool Models::usable(Entry& e) {
  try {
    if (e.model->served.check) e.model->served.check();
    return true;
  } catch (const ApiError& error) {
    log_error("serve", error.what());
  }
  add_counters(e.past, e.model->served.engine->figures());
  e.broken = std::move(e.model);
  e.phase = Phase::empty;
  return false;
}

// What has to go for it, longest unused first.
Models::Leaving Models::make_room(const Entry& entry) {
  if (memory_ <= 0) return {};
  const auto size = [](int64_t bytes) { return human_bytes(static_cast<double>(bytes)); };
  if (entry.bytes > memory_)
    throw ApiError(503, "model_too_large",
                   str("model '", entry.source.name, "' takes ", size(entry.bytes),
                       ", more than the ", size(memory_), " that all may take (--memory-gb)"));
  int64_t taken = entry.bytes;
  Leaving idle, go;
  for (const auto& e : entries_) {  // the memory of those that leave has been promised to others
    if (e->phase != Phase::loading && e->phase != Phase::loaded) continue;
    taken += e->bytes;
    if (e->phase == Phase::loaded && e->model.use_count() == 1) idle.push_back(e.get());
  }
  std::sort(idle.begin(), idle.end(),
            [](const Entry* a, const Entry* b) { return a->used < b->used; });
  for (Entry* e : idle) {
    if (taken <= memory_) break;
    taken -= e->bytes;
    go.push_back(e);
  }
  if (taken > memory_)
    throw ApiError(
        429, "no_memory_for_model",
        str("model '", entry.source.name, "' takes ", size(entry.bytes),
            ", which those that answer now do not leave: try again when they have ended"),
        5);
  return go;
}

void Models::begin_load(Entry& entry) {
  Leaving leaving = make_room(entry);
  if (entry.loader.joinable()) entry.loader.join();  // it has nothing left to do
  entry.loader = std::thread(
      [this, &entry, leaving] { load_entry(entry, leaving); });  // it begins with the mutex
  for (Entry* e : leaving) {
    e->phase = Phase::leaving;
    add_counters(e->past, e->model->served.engine->figures());
  }
  entry.phase = Phase::loading;
  ++entry.tries;
}

void Models::load_entry(Entry& entry, const Leaving& leaving) {
  claim_team();
  for (Entry* e : leaving) {
    std::shared_ptr<const LoadedModel> gone;
    {
      std::lock_guard lock(mutex_);
      gone = std::move(e->model);
    }
    gone.reset();
    log_info("serve", "model '", e->source.name, "' unloaded");
    std::lock_guard lock(mutex_);
    e->phase = Phase::empty;
    changed_.notify_all();
  }
  std::shared_ptr<const LoadedModel> model, broken;
  {
    std::lock_guard lock(mutex_);
    broken = std::move(entry.broken);
  }
  broken.reset();
  std::exception_ptr error;
  const Stopwatch clock;
  try {
    model = entry.source.load();
    log_info("serve", "model '", entry.source.name, "' loaded in ",
             human_duration(clock.seconds()));
  } catch (...) {
    error = std::current_exception();  // for those who wait
  }
  std::lock_guard lock(mutex_);
  if (model) {
    entry.phase = Phase::loaded;
    entry.bytes = model->bytes;
    entry.used = ++clock_;
    ++entry.loads;
    entry.model = std::move(model);
  } else {
    entry.phase = Phase::empty;
    entry.failed = entry.tries;
    entry.error = error;
  }
  changed_.notify_all();
}

std::vector<ModelState> Models::list() const {
  std::lock_guard lock(mutex_);
  std::vector<ModelState> out;
  for (const auto& e : entries_) {
    ModelState s{e->source.name, e->source.aliases, e->source.adapters, e->source.context,
                 e->bytes,       e->loads,          e->phase == Phase::loaded,
                 e->past};
    if (s.loaded) {
      s.figures = e->model->served.engine->figures();
      add_counters(s.figures, e->past);
    }
    out.push_back(std::move(s));
  }
  return out;
}

int64_t Models::load() const {
  std::lock_guard lock(mutex_);
  int64_t sum = 0;
  for (const auto& e : entries_)
    if (e->phase == Phase::loaded) sum += e->model->served.engine->load();
  return sum;
}

ModelSource loaded_source(const ServedModel& served) {
  auto model = std::make_shared<LoadedModel>();
  model->served = served;
  return {served.name, {}, 0, served.context, [model] { return model; }};
}

}  // namespace wellspring
