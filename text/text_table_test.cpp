#include "text/text_table.h"

#include <gtest/gtest.h>

#include <random>
#include <unordered_map>

namespace wellspring {
namespace {

TEST(TextTable, HoldsTextsByNumber) {
  TextTable t;
  for (const std::string_view s : {std::string_view("a"), std::string_view(), std::string_view("b\0c", 3)}) t.push_back(s);
  ASSERT_EQ(t.size(), 3u);
  EXPECT_EQ(t[0], "a");
  EXPECT_EQ(t[1], "");
  EXPECT_EQ(t[2], std::string_view("b\0c", 3));
  EXPECT_EQ(t.bytes(), 4u);
}

TEST(TextIndex, NothingIsInAnEmptyOne) {
  EXPECT_EQ(TextIndex().find(TextTable(), ""), -1);
  TextIndex none;
  none.reserve(0);
  EXPECT_EQ(none.find(TextTable(), "a"), -1);
}

TEST(TextIndex, FindsWhatAMapFinds) {
  std::mt19937 random(5);
  TextTable table;
  std::unordered_map<std::string, int32_t> map;
  for (int i = 0; i < 5000; ++i) {
    std::string s(random() % 4, ' ');
    for (char& c : s) c = static_cast<char>(random() % 11);
    table.push_back(s);
  }
  TextIndex index;
  index.reserve(table.size());
  for (int32_t i = 0; i < 5000; ++i) {
    const std::string_view s = table[static_cast<size_t>(i)];
    EXPECT_EQ(index.insert(table, i), map.emplace(s, i).first->second);
  }
  for (const auto& [s, i] : map) EXPECT_EQ(index.find(table, s), i);
  EXPECT_EQ(index.find(table, "longer than any"), -1);
  EXPECT_EQ(index.find(table, "\x7f"), -1);
}

}  // namespace
}  // namespace wellspring
