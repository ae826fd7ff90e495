// wellspring chat: talk with a model in the terminal.

#include <unistd.h>

#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <future>
#include <random>

#include "base/args.h"
#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "base/text.h"
#include "cli/engine/line_reader.h"
#include "cli/engine/threads_option.h"
#include "models/decoder/model.h"
#include "serve/engine.h"
#include "serve/model_text.h"
#include "serve/stop_filter.h"
#include "text/tokenizer.h"

namespace wellspring {
namespace {

std::atomic<bool> interrupted{false};

// Ctrl-C stops the answer; one that comes after it is the next line's (LineReader).
void on_interrupt(int) { interrupted = true; }

class Chat {
 public:
  Chat(std::shared_ptr<const Decoder> model, const ModelText& text, SamplingOptions sampling,
       int64_t max_tokens, std::vector<std::string> stops)
      : context_(model->config().context),
        text_(text),
        sampling_(sampling),
        max_tokens_(max_tokens),
        stops_(std::move(stops)),
        engine_(make_engine(std::move(model))) {
    stops_.insert(stops_.end(), text_.chat_stops().begin(), text_.chat_stops().end());
  }

  void system(const std::string& words) { add("system", words); }
  // Takes the last question and its answer back; "" when there is none.
  std::string undo() {
    size_t at = messages_.size();
    while (at > 0 && messages_[at - 1]["role"] != "user") --at;
    if (at == 0) return "";
    const std::string words = messages_[at - 1]["content"];
    while (messages_.size() >= at) messages_.erase(messages_.size() - 1);
    return words;
  }
  void save(const std::string& path) const { write_file_atomic(path, messages_.dump(2) + "\n"); }
  void clear() {
    Json kept = Json::array();
    for (const Json& m : messages_)
      if (m["role"] == "system") kept.push_back(m);
    messages_ = std::move(kept);
  }

  void ask(const std::string& words, bool again = false) {
    if (!again) tries_ = 0;
    add("user", words);
    GenerateRequest r;
    r.prompt = fitting();
    r.sampling = sampling_;
    r.sampling.seed += messages_.size() + 1000 * tries_++;
    r.max_tokens = max_tokens_;
    r.stop_tokens = text_.stop_tokens();
    r.vocab = text_.vocab();
    StopFilter filter(stops_);
    StreamDecoder stream(text_.tokenizer(), true, true);
    std::string answer;
    auto show = [&](std::string piece) {
      if (answer.empty())
        piece.erase(0, piece.find_first_not_of(" \n") == std::string::npos
                           ? piece.size()
                           : piece.find_first_not_of(" \n"));
      answer += piece;
      std::fwrite(piece.data(), 1, piece.size(), stdout);
      std::fflush(stdout);
    };
    r.on_token = [&](int32_t token) {
      show(filter.push(stream.push(token)));
      return !filter.stopped() && !interrupted;
    };
    std::promise<void> ended;
    const int64_t ticket = engine_->submit(std::move(r), [&](const GenerateResult&, std::exception_ptr error) {
      error ? ended.set_exception(error) : ended.set_value();
    });
    std::future<void> end = ended.get_future();
    while (end.wait_for(std::chrono::milliseconds(50)) != std::future_status::ready)
      if (interrupted) engine_->cancel(ticket);  // also while the prompt is computed
    end.get();
    if (!filter.stopped()) {
      show(filter.push(stream.finish()));
      show(filter.finish());
    }
    const bool stopped = interrupted.exchange(false);
    std::printf("%s\n", stopped ? " [stopped]" : "");
    add("assistant", answer);
  }

 private:
  void add(const char* role, const std::string& words) {
    messages_.push_back({{"role", role}, {"content", words}});
  }

  // Tokens of the conversation; the oldest exchanges go when it does not fit.
  std::vector<int32_t> fitting() {
    while (true) {
      std::vector<int32_t> ids = text_.chat({{"messages", messages_}});
      const auto room = context_ - static_cast<int64_t>(ids.size());
      if (room >= std::min<int64_t>(max_tokens_, context_ / 4)) return ids;
      size_t first = !messages_.empty() && messages_[0]["role"] == "system" ? 1 : 0;
      if (messages_.size() <= first + 1) {
        messages_.erase(messages_.size() - 1);
        throw Error(Fault::usage,
                    str("this message takes ", ids.size(), " tokens; the model's context of ",
                        context_, " has no room for an answer"));
      }
      messages_.erase(first);
    }
  }

  int64_t context_;
  const ModelText& text_;
  SamplingOptions sampling_;
  int64_t max_tokens_;
  std::vector<std::string> stops_;
  std::unique_ptr<Engine> engine_;
  Json messages_ = Json::array();
  uint64_t tries_ = 0;  // of one question: each draws anew
};

// `work` in a thread of its own, whose threads leave the signals to this one: libedit, which takes those that come while
// a line is edited, holds one thread alone.
template <class Work>
auto leaving_signals_here(const Work& work) {
  sigset_t signals, before;
  sigemptyset(&signals);
  for (const int signal : {SIGINT, SIGTSTP, SIGQUIT, SIGHUP, SIGTERM, SIGCONT, SIGWINCH}) sigaddset(&signals, signal);
  pthread_sigmask(SIG_BLOCK, &signals, &before);
  auto result = std::async(std::launch::async, work);
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  return result.get();
}

constexpr const char* kHelp =
    "/clear forgets all, /undo the last exchange, /again answers anew, /save FILE writes the conversation,\n"
    "/quit, Ctrl-D or Ctrl-C twice ends. A line that ends in \\ goes on in the next; \"\"\" begins and ends several lines.\n"
    "Ctrl-C stops an answer, or drops the line. In a terminal lines are edited, and those of earlier chats come with the arrow keys (up) and Ctrl-R.\n";

// What is said next: one line, or several.
LineReader::Got read_words(LineReader& lines, std::string& words) {
  using Got = LineReader::Got;
  std::string line;
  words.clear();
  Got got = lines.read("> ", line);
  if (got != Got::line) return got;
  constexpr std::string_view kQuotes = "\"\"\"";
  if (starts_with(trim(line), kQuotes)) {
    line = std::string(trim(line).substr(kQuotes.size()));
    while (true) {
      if (const size_t end = line.find(kQuotes); end != line.npos) return words += line.substr(0, end), Got::line;
      words += line + "\n";
      if (got = lines.read(". ", line); got != Got::line) return got == Got::end ? Got::line : got;
    }
  }
  while (ends_with(line, "\\")) {
    words += line.substr(0, line.size() - 1) + "\n";
    if (got = lines.read(". ", line); got != Got::line) return got == Got::end ? Got::line : got;
  }
  words += line;
  return Got::line;
}

}  // namespace
}  // namespace wellspring

extern "C" int wellspring_command_chat(int argc, char** argv) {
  using namespace wellspring;
  std::string model, dtype = "bf16", system, weights, chat_template;
  SamplingOptions sampling;
  sampling.temperature = 0.8, sampling.top_p = 0.95;
  std::vector<std::string> stops;
  int64_t max_tokens = 512, seed = 0;
  bool no_history = false;
  Args args("wellspring chat",
            "Talk with a model. Ctrl-C stops an answer, and drops the line that is typed; twice in a row there, it ends "
            "the chat, as /quit and Ctrl-D do. /help lists what else can be said. "
            "What is typed in a terminal is kept for the arrow keys (~/.local/state/wellspring/chat_history).");
  args.positional("MODEL", &model, "model folder, or run folder (its newest checkpoint)");
  args.option("--system", &system, "TEXT", "what the model is told first");
  args.option("--dtype", &dtype, "f32|bf16", "computation (bf16)");
  args.option("--weights", &weights, "q8|q4", "weights of 8 or 4 bits, made at the start (`wellspring quantize` keeps them)");
  args.option("--chat-template", &chat_template, "FILE", "Jinja template of chats (the model folder's)");
  args.option("--max-tokens", &max_tokens, "N", "most tokens of an answer (512)");
  args.option("--temperature", &sampling.temperature, "X", "below 1 more certain, 0 greedy (0.8)");
  args.option("--top-k", &sampling.top_k, "K", "only the K most likely tokens (0: all)");
  args.option("--top-p", &sampling.top_p, "P",
              "only the most likely tokens that together reach P (0.95)");
  args.option("--seed", &seed, "N", "same seed, same answers (drawn when not given)");
  args.option("--stop", &stops, "TEXT", "end an answer before this text");
  ThreadsOption threads(args);
  args.flag("--no-history", &no_history, "read and keep no earlier lines");
  args.example("wellspring chat runs/demo/run --temperature 0.7");
  if (!args.parse(argc, argv)) return 0;
  threads.apply();
  if (dtype != "f32" && dtype != "bf16")
    throw Error(Fault::usage, str("--dtype is '", dtype, "'; expected f32 or bf16"));
  if (max_tokens < 1)
    throw Error(Fault::usage, str("--max-tokens is ", max_tokens, "; expected at least 1"));
  for (const std::string& stop : stops)
    if (stop.empty()) throw Error(Fault::usage, "--stop is empty; expected the text to end before");
  sampling.check();
  sampling.seed = args.given("--seed") ? static_cast<uint64_t>(seed) : std::random_device()();
  const std::string folder = find_model_folder(model);
  if (!weights.empty()) check_plain(folder, model, "--weights " + weights, weights);
  std::unique_ptr<ModelText> made;
  Chat chat = leaving_signals_here([&] {
    std::unique_ptr<Decoder> loaded = load_decoder(folder, *parse_dtype(dtype));
    const WeightFormat hidden = parse_weight_format(weights.empty() ? "bf16" : weights);
    if (!loaded->quantized() && (!weights.empty() || loaded->dtype() == DType::bf16))
      loaded->quantize(hidden, hidden == WeightFormat::bf16 ? hidden : WeightFormat::q8);
    made = std::make_unique<ModelText>(folder, loaded->config(), chat_template);
    return Chat(std::move(loaded), *made, sampling, max_tokens, stops);
  });
  const ModelText& text = *made;
  if (!system.empty()) chat.system(system);
  const bool terminal = ::isatty(0) && ::isatty(1);
  if (terminal) {
    std::printf("%s (%s). /help lists what can be said.\n", folder.c_str(),
                text.chat_format() == "plain" ? "no chat template: plain User:/Assistant: text"
                                              : text.chat_format().c_str());
    struct sigaction action {};
    action.sa_handler = on_interrupt;
    action.sa_flags = SA_RESTART;  // writing goes on
    ::sigaction(SIGINT, &action, nullptr);
  }
  LineReader lines(terminal, no_history ? "" : chat_history_file(), interrupted);
  std::string said;
  bool leaving = false;  // Ctrl-C was the last that was typed
  while (true) {
    const LineReader::Got got = read_words(lines, said);
    if (got == LineReader::Got::end || (got == LineReader::Got::interrupt && leaving)) break;
    leaving = got == LineReader::Got::interrupt;
    if (leaving) {
      std::printf("\nCtrl-D or /exit leaves, as does Ctrl-C once more\n");
      continue;
    }
    std::string words = utf8_repair(trim(said));
    if (words.empty()) continue;
    if (words == "/quit" || words == "/exit") break;
    if (words == "/clear") {
      chat.clear();
      continue;
    }
    if (words == "/help") {
      std::printf("%s", kHelp);
      continue;
    }
    const bool again = words == "/again";
    if (again || words == "/undo") {
      words = chat.undo();
      if (words.empty()) std::printf("nothing was said yet\n");
      if (words.empty() || !again) continue;
    }
    try {
      if (starts_with(words, "/save ")) {
        chat.save(std::string(trim(words.substr(6))));
        std::fprintf(stderr, "saved\n");
      } else if (!again && starts_with(words, "/") && words.find_first_of(" \n") == words.npos) {
        std::fprintf(stderr, "%s is not known: /help lists what is\n", words.c_str());
      } else
        chat.ask(words, again);
    } catch (const Error& e) {
      if (e.fault() != Fault::usage && e.fault() != Fault::io) throw;
      std::fprintf(stderr, "%s\n", e.what());
    }
  }
  if (terminal) std::printf("\n");
  return 0;
}
