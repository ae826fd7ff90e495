#include <gtest/gtest.h>

#include <cmath>
#include <cstdio>
#include <functional>
#include <random>

#include "base/json.h"
#include "base/test_error.h"
#include "base/text.h"
#include "base/time.h"
#include "cluster/job/spec.h"

namespace wellspring::cluster {
namespace {

JobSpec small_spec() {
  JobSpec spec;
  spec.name = "hello";
  spec.team = "vision";
  spec.accepted = {{.chip = "a100-80", .count = 8, .nodes = 2}};
  spec.command = "python train.py --lr 3e-4";
  return spec;
}

std::string refusal(const std::string& json) {
  return error_of([&] { spec_from_json(parse_json(json, "x"), "request body"); }, Fault::data);
}

TEST(Spec, LeavesOutWhatIsDefault) {
  EXPECT_EQ(
      to_text(to_json(small_spec())),
      R"({"name":"hello","team":"vision","accepted":[{"chip":"a100-80","count":8,"nodes":2}],)"
      R"("command":"python train.py --lr 3e-4"})");
}

TEST(Spec, AsksForOneDeviceWhenNothingIsSaid) {
  const JobSpec spec = spec_from_json(parse_json(R"({"name":"x","command":"y"})", "x"), "x");
  EXPECT_EQ(spec.accepted, std::vector<Resources>(1));
  EXPECT_NE(refusal(R"({"name":"x","command":"y","accepted":[]})").find("'accepted' is empty"),
            std::string::npos);
}

// Any value of each field that the rules allow.
class RandomSpec {
 public:
  explicit RandomSpec(unsigned seed) : random_(seed) {}
  JobSpec make() {
    JobSpec s;
    s.name = name();
    if (coin()) s.team = name();
    if (coin()) s.project = name();
    if (coin()) s.queue = name();
    s.priority = number(-1000, 1000);
    for (int i = number(1, 4); i > 0; --i)
      s.accepted.push_back({coin() ? name() : "", number(0, 1024), number(1, 64), number(1, 1024),
                            number(0, 1 << 29)});
    const int kind = number(0, 3);
    if (kind == 1) {
      s.kind = "service";
      s.service = {number(1, 65535), coin() ? "/health?x=1" : "", number(1, 9) * 1.37,
                   number(1, 9)};
    } else if (kind == 2) {
      s.kind = "interactive";
    } else if (coin()) {
      int at = number(0, 9);
      for (int i = number(1, 40); i > 0; --i) s.array.push_back(at += number(1, 3));
      s.array_at_once = number(0, 9);
    }
    if (kind == 0 && coin())
      s.train = "model: {x: 1}\n";
    else if (kind != 2 || coin())
      s.command = text();
    if (coin()) s.setup = text();
    if (coin()) s.image = "docker://ubuntu:22.04";
    if (coin()) s.workdir = "/home/x/ä b";
    if (coin()) s.snapshot = std::string(64, 'a');
    for (int i = number(0, 3); i > 0; --i)
      s.mounts.push_back({"/data/" + name(), str("/m/", i), coin()});
    for (int i = number(0, 3); i > 0; --i) s.env.emplace_back(str("E", i), text());
    for (int i = number(0, 3); i > 0; --i)
      s.secrets.push_back({str(i, name().substr(0, 50)), coin() ? str("S", i) : ""});
    s.restart.most = number(0, 100);
    for (int i = number(0, 3); i > 0; --i) s.restart.on_exit.push_back(number(1, 255));
    s.restart.backoff = number(0, 100) * 0.1;
    s.restart.most_backoff = 100.5;
    if (coin()) s.checkpoint = {"out/" + name(), number(0, 100) / 3.0};
    for (int i = number(0, 3); i > 0; --i)
      s.after.push_back({i * int64_t{1} << number(0, 40), coin() ? "afterany" : "afternotok"});
    for (size_t i = 0; i < s.after.size(); ++i) s.after[i].job = s.after[i].job * 4 + int(i);
    s.time_limit = number(0, 1 << 20) / 7.0;
    if (coin()) s.not_before = 1.7e9 + 0.25;
    if (coin()) s.deadline = 1.8e9;
    if (coin()) s.on_lost_contact = "continue";
    if (coin()) s.notify = "https://example.org/hook?job=1";
    return s;
  }

 private:
  bool coin() { return random_() % 2; }
  int number(int low, int high) {
    return low + static_cast<int>(random_() % static_cast<unsigned>(high - low + 1));
  }
  std::string name() {
    constexpr std::string_view kRest = "abcXYZ019._-";
    std::string out = "n";
    for (int i = number(0, 63); i > 0; --i) out += kRest[random_() % kRest.size()];
    return out;
  }
  std::string text() {
    static const std::vector<std::string> kParts = {"a",  "\n", "\t",   "\"", "\\", "ä",
                                                    "水", "🚀",  "$(x)", "'",  "  ", "</script>"};
    std::string out = "x";
    for (int i = number(0, 30); i > 0; --i) out += kParts[random_() % kParts.size()];
    return out;
  }
  std::mt19937 random_;
};

TEST(Spec, ComesBackAsItWent) {
  RandomSpec random(7);
  for (int i = 0; i < 2000; ++i) {
    const JobSpec spec = random.make();
    const std::string text = to_text(to_json(spec));
    const JobSpec again = spec_from_json(parse_json(text, "x"), "x");
    ASSERT_TRUE(again == spec) << text << "\n" << to_text(to_json(again));
    ASSERT_EQ(to_text(to_json(again)), text);
  }
}

// Of any byte changed in a valid text: an error of data, or a spec that comes back as it went.
TEST(Spec, BrokenTextsAreRefusedOrRead) {
  RandomSpec random(11);
  std::mt19937 bytes(3);
  int read = 0;
  for (int i = 0; i < 3000; ++i) {
    std::string text = to_text(to_json(random.make()));
    for (unsigned n = bytes() % 3 + 1; n > 0; --n)
      text[bytes() % text.size()] = static_cast<char>(bytes() % 128);
    try {
      const JobSpec spec = spec_from_json(parse_json(text, "x"), "x");
      ASSERT_TRUE(spec_from_json(to_json(spec), "x") == spec) << text;
      ++read;
    } catch (const Error& e) {
      ASSERT_EQ(e.fault(), Fault::data) << text << "\n" << e.what();
    }
  }
  EXPECT_GT(read, 100);
}

TEST(Spec, NamesTheFieldAndWhatIsWrong) {
  const struct {
    const char *json, *says;
  } kCases[] = {
      {"[]", "request body: the job is a list: want a map"},
      {R"({"nmae":"x"})", "request body: unknown field 'nmae': did you mean 'name'?"},
      {R"({"accepted":[{"chip":"a","cuont":1}]})",
       "unknown field 'cuont' in 'accepted[0]': did you mean 'count'?"},
      {R"({"zzzzzz":1})", "unknown field 'zzzzzz'. Known: name, team, "},
      {R"({"name":5})", "'name' is 5: want a text"},
      {R"({"name":null})", "'name' is null: want a text"},
      {R"({"accepted":{}})", "'accepted' is a map: want a list"},
      {R"({"accepted":[{"count":1.5}]})", "'accepted[0].count' is 1.5: want a whole number"},
      {R"({"accepted":[{"count":-1}]})", "'accepted[0].count' is -1: want 0 to 1024"},
      {R"({"accepted":[{"count":18446744073709551615}]})",
       "'accepted[0].count' is 18446744073709551615: want 0 to 1024"},
      {R"({"accepted":[{"nodes":0}]})", "'accepted[0].nodes' is 0: want 1 to 4096"},
      {R"({"after":[{"job":1e3}]})", "'after[0].job' is 1000.0: want a whole number"},
      {R"({"array":[1]})", "'array' is a list: want a text like"},
      {R"({"array":"5-1"})", "'array' is '5-1': the range 5-1 runs backwards"},
      {R"({"array":"1-2000000"})", "more than 1000000 indices"},
      {R"({"array":"0-999999999:1"})", "more than 1000000 indices"},
      {R"({"array":"1,2,2"})", "index 2 stands twice"},
      {R"({"array":"1,,2"})", "'' is no index"},
      {R"({"array":"0-9:0"})", "a step of 0"},
      {R"({"env":{"A":1}})", "'env.A' is 1: want a text"},
      {R"({"migrate":1})", "'migrate' is 1: want true or false"},
  };
  for (const auto& c : kCases)
    EXPECT_NE(refusal(c.json).find(c.says), std::string::npos) << c.json << "\n" << refusal(c.json);
}

TEST(Spec, Rules) {
  const struct {
    std::function<void(JobSpec&)> change;
    const char* says;
  } kCases[] = {
      {[](JobSpec& s) { s.name = ""; }, "'name' is missing"},
      {[](JobSpec& s) { s.name = "../x"; }, "'name' is '../x': want letters"},
      {[](JobSpec& s) { s.name = "-rf"; }, "'name' is '-rf': want letters"},
      {[](JobSpec& s) { s.name = "a b"; }, "'name'"},
      {[](JobSpec& s) { s.name = "a;rm"; }, "'name'"},
      {[](JobSpec& s) { s.name = "a$(x)"; }, "'name'"},
      {[](JobSpec& s) { s.name = "a\nb"; }, "'name' is 'a?b'"},
      {[](JobSpec& s) { s.name = std::string("a\0b", 3); }, "'name' is 'a?b'"},
      {[](JobSpec& s) { s.name = "ä"; }, "'name'"},
      {[](JobSpec& s) { s.name = std::string(65, 'a'); }, "'name' has 65 bytes: at most 64"},
      {[](JobSpec& s) { s.team = "a/b"; }, "'team'"},
      {[](JobSpec& s) { s.project = "."; }, "'project'"},
      {[](JobSpec& s) { s.queue = ""; }, "'queue' is missing"},
      {[](JobSpec& s) { s.kind = "bach"; },
       "'kind' is 'bach': want one of batch, service, "
       "interactive. Did you mean 'batch'?"},
      {[](JobSpec& s) { s.priority = 1001; }, "'priority' is 1001: want -1000 to 1000"},
      {[](JobSpec& s) { s.accepted = {}; }, "'accepted' is empty"},
      {[](JobSpec& s) { s.accepted[0].chip = "a`b`"; }, "'accepted[0].chip'"},
      {[](JobSpec& s) { s.accepted[0].count = 1025; }, "'accepted[0].count' is 1025"},
      {[](JobSpec& s) { s.accepted[0].memory_mb = -1; }, "'accepted[0].memory_mb' is -1"},
      {[](JobSpec& s) {
         s.accepted[0] = {"a", 1, 4096, 1024};
       },
       "'accepted[0].tasks_per_node' makes 4194304 tasks"},
      {[](JobSpec& s) { s.command = ""; }, "'command' is missing"},
      {[](JobSpec& s) { s.train = "a: 1"; }, "'train' stands beside a command"},
      {[](JobSpec& s) { s.command = std::string("a\0b", 3); }, "'command' is 'a?b'"},
      {[](JobSpec& s) { s.command = "a\x1b[2J"; }, "'command'"},
      {[](JobSpec& s) { s.command = "a\xff"; }, "'command'"},
      {[](JobSpec& s) { s.command = std::string(200000, 'x'); }, "Put it into a script"},
      {[](JobSpec& s) { s.setup = "a\x7f"; }, "'setup'"},
      {[](JobSpec& s) { s.image = "a\nb"; }, "'image'"},
      {[](JobSpec& s) { s.snapshot = "ABC"; }, "'snapshot'"},
      {[](JobSpec& s) {
         s.mounts = {{"data", "/x"}};
       },
       "'mounts[0].source' is 'data'"},
      {[](JobSpec& s) {
         s.mounts = {{"/a/../etc", "/x"}};
       },
       "'mounts[0].source'"},
      {[](JobSpec& s) {
         s.mounts = {{"/a", "/x/./y"}};
       },
       "'mounts[0].target'"},
      {[](JobSpec& s) {
         s.mounts = {{"/a", "/x:ro"}};
       },
       "'mounts[0].target'"},
      {[](JobSpec& s) {
         s.mounts = {{"/a", "/x"}, {"/b", "/x"}};
       },
       "where another mount lies"},
      {[](JobSpec& s) {
         s.env = {{"1A", ""}};
       },
       "'env' has the name '1A'"},
      {[](JobSpec& s) {
         s.env = {{"A=B", ""}};
       },
       "'env' has the name 'A=B'"},
      {[](JobSpec& s) {
         s.env = {{"A", "1"}, {"A", "2"}};
       },
       "'env.A' stands twice"},
      {[](JobSpec& s) {
         s.env = {{"RANK", "1"}};
       },
       "'env.RANK' is set by the node"},
      {[](JobSpec& s) {
         s.env = {{"WELLSPRING_TOKEN", "1"}};
       },
       "is set by the node"},
      {[](JobSpec& s) {
         s.env = {{"A", std::string("\0", 1)}};
       },
       "'env.A' has a control"},
      {[](JobSpec& s) {
         s.env = {{"A", "\xc2\x85"}};
       },
       "'env.A' has a control"},
      {[](JobSpec& s) {
         s.secrets = {{"../key", ""}};
       },
       "'secrets[0].name'"},
      {[](JobSpec& s) {
         s.secrets = {{"k", "MASTER_PORT"}};
       },
       "'secrets[0].variable' is set by"},
      {[](JobSpec& s) {
         s.secrets = {{"k", "A"}}, s.env = {{"A", ""}};
       },
       "which another secret or env sets"},
      {[](JobSpec& s) {
         s.secrets = {{"k", ""}, {"k", "A"}};
       },
       "'secrets[1].name' is 'k' a second"},
      {[](JobSpec& s) { s.restart.on_exit = {0}; }, "'restart.on_exit[0]' is 0: want 1 to 255"},
      {[](JobSpec& s) { s.restart.backoff = 400; }, "'restart.most_backoff' is 300: less than"},
      {[](JobSpec& s) { s.restart.backoff = NAN; }, "'restart.backoff' is nan"},
      {[](JobSpec& s) { s.checkpoint.folder = "../x"; }, "'checkpoint.folder'"},
      {[](JobSpec& s) { s.checkpoint.folder = "/x"; }, "'checkpoint.folder'"},
      {[](JobSpec& s) { s.service.port = 80; }, "'service' belongs to kind: service"},
      {[](JobSpec& s) { s.kind = "service"; }, "'service.port' is missing"},
      {[](JobSpec& s) { s.kind = "service", s.service.port = 70000; }, "'service.port' is 70000"},
      {[](JobSpec& s) { s.kind = "service", s.service.port = 80, s.service.ready_path = "x"; },
       "'service.ready_path'"},
      {[](JobSpec& s) { s.kind = "service", s.service.port = 80, s.array = {1}; },
       "service.replicas"},
      {[](JobSpec& s) {
         s.array = {2, 1};
       },
       "'array' has indices that do not rise"},
      {[](JobSpec& s) { s.array = {-1}; }, "'array[0]' is -1"},
      {[](JobSpec& s) { s.array_at_once = 1; }, "'array_at_once' needs an array"},
      {[](JobSpec& s) { s.after = {{0}}; }, "'after[0].job' is 0"},
      {[](JobSpec& s) {
         s.after = {{5}, {5}};
       },
       "'after[1].job' is 5 a second time"},
      {[](JobSpec& s) {
         s.after = {{5, "afterwards"}};
       },
       "'after[0].kind'"},
      {[](JobSpec& s) { s.not_before = 9, s.deadline = 8; }, "'deadline' does not come after"},
      {[](JobSpec& s) { s.time_limit = -1; }, "'time_limit' is -1"},
      {[](JobSpec& s) { s.on_lost_contact = "stop"; }, "'on_lost_contact' is 'stop'"},
      {[](JobSpec& s) { s.notify = "file:///etc/passwd"; }, "'notify'"},
      {[](JobSpec& s) { s.notify = "http://u:p@host/"; }, "'notify'"},
      {[](JobSpec& s) { s.migrate = true; }, "'migrate' is not built yet"},
  };
  for (const auto& c : kCases) {
    JobSpec spec = small_spec();
    c.change(spec);
    const std::string says = error_of(
        [&] {
          check_spec(spec, Fault::config, [](const std::string& f) { return str("'", f, "'"); });
        },
        Fault::config);
    EXPECT_NE(says.find(c.says), std::string::npos) << "want " << c.says << "\nsays " << says;
    EXPECT_TRUE(utf8_valid(says));
  }
}

TEST(Spec, Indices) {
  EXPECT_EQ(parse_indices("1,3,5-9"), (std::vector<int>{1, 3, 5, 6, 7, 8, 9}));
  EXPECT_EQ(parse_indices("0-30:10, 4"), (std::vector<int>{0, 4, 10, 20, 30}));
  EXPECT_EQ(parse_indices("0-999999").size(), 1'000'000u);
  EXPECT_EQ(format_indices(parse_indices("0-999999")), "0-999999");
  EXPECT_EQ(format_indices({0, 10, 20, 30, 31, 32, 40}), "0-30:10,31-32,40");
  EXPECT_EQ(format_indices({}), "");
  error_of([] { parse_indices(""); }, Fault::data);
  error_of([] { parse_indices("1-"); }, Fault::data);
  error_of([] { parse_indices("-1"); }, Fault::data);
  error_of([] { parse_indices("0-1000000"); }, Fault::data);
  error_of([] { parse_indices("99999999999999999999"); }, Fault::data);
}

// A submit is one of thousands a second: reading a spec may cost few microseconds.
TEST(Spec, IsReadQuickly) {
  const std::string text = to_text(to_json(small_spec()));
  double best = 1;
  for (int round = 0; round < 20; ++round) {
    Stopwatch watch;
    for (int i = 0; i < 100; ++i) spec_from_json(parse_json(text, "x"), "request body");
    best = std::min(best, watch.seconds() / 100);
  }
  RecordProperty("specs_per_second", static_cast<int>(1 / best));
  std::printf("spec_from_json with parse_json: %.0f per second\n", 1 / best);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
  EXPECT_LT(best, 1 / 20'000.0);
#endif
}

}  // namespace
}  // namespace wellspring::cluster
