#include <gtest/gtest.h>

#include <cmath>

#include "base/error.h"
#include "base/file.h"
#include "base/json.h"
#include "train/chart.h"
#include "train/guard.h"
#include "train/report.h"
#include "train/run_folder.h"
#include "train/schedule.h"

namespace wellspring {
namespace {

TEST(Schedule, CosineEndsAtFinalShare) {
  Schedule s{"cosine", 1.0, 0.1, 10, 110, 0};
  EXPECT_DOUBLE_EQ(s.at(0), 0.1);
  EXPECT_DOUBLE_EQ(s.at(9), 1.0);
  EXPECT_DOUBLE_EQ(s.at(10), 1.0);
  EXPECT_NEAR(s.at(60), 0.55, 1e-9);
  EXPECT_NEAR(s.at(110), 0.1, 1e-9);
}

TEST(Schedule, WsdIsFlatThenLinear) {
  Schedule s{"wsd", 2.0, 0.0, 0, 100, 20};
  EXPECT_DOUBLE_EQ(s.at(0), 2.0);
  EXPECT_DOUBLE_EQ(s.at(79), 2.0);
  EXPECT_DOUBLE_EQ(s.at(90), 1.0);
  EXPECT_NEAR(s.at(99), 0.1, 1e-9);
}

TEST(Guard, FindsNanAndSpikesButNotNoise) {
  TrainingGuard guard({});
  EXPECT_TRUE(guard.check(1, NAN, 1).has_value());
  EXPECT_TRUE(guard.check(2, 1, INFINITY).has_value());
  for (int i = 0; i < 100; ++i)
    EXPECT_FALSE(guard.check(i, 5 + 0.1 * ((i * 7) % 5), 1).has_value());
  EXPECT_FALSE(guard.rise());
  EXPECT_FALSE(guard.check(101, 50, 1).has_value());  // one bad batch passes
  EXPECT_EQ(guard.rise(), 101);
  EXPECT_FALSE(guard.check(102, 5, 1).has_value());
  EXPECT_FALSE(guard.rise());
  EXPECT_FALSE(guard.check(103, 50, 1).has_value());
  EXPECT_FALSE(guard.check(104, 50, 1).has_value());
  EXPECT_TRUE(guard.check(105, 50, 1).has_value());
  EXPECT_EQ(guard.rise(), 103);  // the batch to look at
}

TEST(RunFolder, AttemptsOwnerAndCurve) {
  TemporaryFolder folder;
  std::string path = join_path(folder.path(), "run");
  {
    RunFolder run(path);
    EXPECT_EQ(run.attempt(), 1);
    for (int i = 1; i <= 5; ++i) run.metric({{"step", i}, {"loss", 10.0 - i}});
    EXPECT_THROW(RunFolder second(path), Error);
    std::string temporary = run.temporary_checkpoint();
    make_directories(temporary);
    run.publish_checkpoint(temporary, 3);
  }
  EXPECT_EQ(checkpoint_steps(path), std::vector<int64_t>{3});
  {
    RunFolder run(path);
    EXPECT_EQ(run.attempt(), 2);
    run.metric({{"step", 4}, {"loss", 1.0}});
    run.metric({{"step", 4}, {"eval_bpb", 2.0}});
    append_line(join_path(path, "metrics.jsonl"), "{\"step\": 9, \"lo");
    write_file_atomic(join_path(path, "owner"), "somebody else\n");
    std::string temporary = run.temporary_checkpoint();
    make_directories(temporary);
    EXPECT_THROW(run.publish_checkpoint(temporary, 4), Error);
    run.prune_checkpoints(1);
    EXPECT_FALSE(exists(temporary));
  }
  std::vector<Json> curve = live_curve(path);
  ASSERT_EQ(curve.size(), 4u);  // 1, 2, 3 of attempt 1, then 4 of attempt 2: 5 was rolled back
  EXPECT_EQ(curve[3]["loss"], 1.0);
  EXPECT_EQ(curve[3]["eval_bpb"], 2.0);
  write_report(path, {{"<prompt>", "text & more"}});
  std::string html = read_file(join_path(path, "report.html"));
  EXPECT_NE(html.find("&lt;prompt&gt;"), std::string::npos);
  EXPECT_NE(html.find("<svg"), std::string::npos);
}

TEST(Chart, LeavesOutWhatIsNotFiniteAndHandlesNothing) {
  std::string svg = svg_chart("t", "x", "y", {{"a", {0, 1, 2}, {1, NAN, 3}}});
  EXPECT_EQ(svg.find("nan"), std::string::npos);
  EXPECT_NE(svg_chart("t", "x", "y", {}).find("<svg"), std::string::npos);
}

}  // namespace
}  // namespace wellspring
