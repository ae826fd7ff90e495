#include "perf/records.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <cmath>
#include <csignal>
#include <thread>

#include "base/file.h"
#include "base/json.h"
#include "base/test_error.h"
#include "base/text.h"

namespace wellspring {
namespace {

Record attempt(const std::string& id, double at) {
  return {.at = at, .kind = "attempt", .id = id, .what = "train", .chip = "a100", .nodes = 2, .devices = 4,
          .used = {{"seconds", 12.5}}, .reached = {{"loss", 2.25}, {"step", 100}}, .source = {{"team", "red"}}};
}

std::vector<std::string> ids(const RecordStore& store, double from = 0) {
  std::vector<std::string> out;
  store.each(from, [&](const Record& r) { return out.push_back(r.id), true; });
  return out;
}

TEST(Records, WhatIsAppendedIsReadAgainByMonth) {
  TemporaryFolder folder;
  RecordStore store(folder.path());
  store.append({attempt("1", 1700000000), attempt("2", 1703000000)});
  store.append({attempt("3", 1703000001)});
  EXPECT_EQ(list_directory(folder.path()), (std::vector<std::string>{"records-2023-11.jsonl", "records-2023-12.jsonl"}));
  EXPECT_EQ(ids(store), (std::vector<std::string>{"1", "2", "3"}));
  EXPECT_EQ(ids(store, 1703000001), std::vector<std::string>{"3"});
  store.each(0, [&](const Record& r) {
    EXPECT_EQ(r.reached.at("loss"), 2.25);
    EXPECT_EQ(r.used.at("seconds"), 12.5);
    EXPECT_EQ(r.source.at("team"), "red");
    EXPECT_EQ(r.nodes, 2);
    return false;
  });
}

TEST(Records, ALineThatAKillHasCutHarmsNoOther) {
  TemporaryFolder folder;
  RecordStore store(folder.path());
  store.append({attempt("1", 1700000000)});
  const std::string path = join_path(folder.path(), "records-2023-11.jsonl");
  const std::string whole = read_file(path);
  write_file_atomic(path, whole + whole.substr(0, 30));
  EXPECT_EQ(ids(store), std::vector<std::string>{"1"});
  store.append({attempt("2", 1700000001)});
  EXPECT_EQ(ids(store), (std::vector<std::string>{"1", "2"}));
  write_file_atomic(path, whole + "{\"at\": 1}\n" + whole);
  EXPECT_NE(error_of([&] { ids(store); }, Fault::data).find(":2: "), std::string::npos);
}

TEST(Records, FiguresThatAreNoneAreRefused) {
  TemporaryFolder folder;
  RecordStore store(folder.path());
  Record r = attempt("1", 1700000000);
  r.reached["loss"] = std::nan("");
  EXPECT_NE(error_of([&] { store.append({r}); }, Fault::data).find("'loss' is no finite number"), std::string::npos);
  r = attempt("", 1);
  error_of([&] { store.append({r}); }, Fault::data);
  EXPECT_TRUE(ids(store).empty());
}

TEST(Records, AFullDiskLeavesNoneOfThemAndNoneTwice) {
  TemporaryFolder folder;
  RecordStore store(folder.path());
  store.append({attempt("1", 1700000000)});
  const std::vector<Record> more = {attempt("2", 1700000001), attempt("3", 1700000002)};
  const auto size = read_file(join_path(folder.path(), "records-2023-11.jsonl")).size();
  rlimit before{};
  ::getrlimit(RLIMIT_FSIZE, &before);
  ::signal(SIGXFSZ, SIG_IGN);
  const rlimit full{size + size + size / 2, before.rlim_max};  // room for the first of the two
  ::setrlimit(RLIMIT_FSIZE, &full);
  error_of([&] { store.append(more); }, Fault::io);
  ::setrlimit(RLIMIT_FSIZE, &before);
  ::signal(SIGXFSZ, SIG_DFL);
  EXPECT_EQ(ids(store), std::vector<std::string>{"1"});
  store.append(more);
  EXPECT_EQ(ids(store), (std::vector<std::string>{"1", "2", "3"}));
}

TEST(Records, SeveralMayAppendAtOnce) {
  TemporaryFolder folder;
  std::vector<std::thread> writers;
  for (int t = 0; t < 4; ++t)
    writers.emplace_back([&, t] {
      RecordStore store(folder.path());
      for (int i = 0; i < 50; ++i) store.append({attempt(str(t, "-", i), 1700000000 + i)});
    });
  for (auto& w : writers) w.join();
  EXPECT_EQ(ids(RecordStore(folder.path())).size(), 200u);
}

}  // namespace
}  // namespace wellspring
