#include "base/json.h"

#include <gtest/gtest.h>

#include "base/error.h"
#include "base/file.h"

namespace wellspring {
namespace {

std::string json_error(const std::string& text) {
  try {
    parse_json(text, "body");
  } catch (const Error& e) {
    EXPECT_EQ(e.fault(), Fault::data);
    return e.what();
  }
  return "no error";
}

TEST(JsonText, KeepsOrderAndRoundTrips) {
  std::string text = R"({"z":1,"a":[true,null,-2.5,"x\u4e2d"]})";
  EXPECT_EQ(to_text(parse_json(text, "t")), R"({"z":1,"a":[true,null,-2.5,"x中"]})");
  EXPECT_EQ(to_text(parse_json("\xEF\xBB\xBF[]", "t")), "[]");
  EXPECT_EQ(to_text(Json{{"a", 1}}, 2), "{\n  \"a\": 1\n}");
}

TEST(JsonText, ErrorsNameThePlace) {
  EXPECT_EQ(json_error("{\"a\": 1,\n \"b\": }").rfind("body:2:7: not valid JSON: ", 0), 0u)
      << json_error("{\"a\": 1,\n \"b\": }");
  EXPECT_EQ(json_error("").rfind("body:1:1: ", 0), 0u) << json_error("");
  EXPECT_NE(json_error("[1] x"), "no error");
  EXPECT_NE(json_error("[1e999]"), "no error");
  EXPECT_NE(json_error("\"\xFF\""), "no error");
  EXPECT_NE(json_error("[NaN]"), "no error");
}

TEST(JsonText, LongObjects) {
  std::string text = "{";
  for (int i = 0; i < 300000; ++i)  // looking for each among all before it would take minutes
    text += "\"key " + std::to_string(i) + "\":[{\"i\":" + std::to_string(i) + "}],";
  text += "\"key 7\":{\"again\":true},\"last\":0}";
  const Json all = parse_json(text, "t");
  EXPECT_EQ(all.size(), 300001u);
  EXPECT_EQ(to_text(all["key 7"]), R"({"again":true})");  // the last one, at the first one's place
  EXPECT_EQ(std::next(all.begin(), 7).key(), "key 7");
  EXPECT_EQ(std::prev(all.end(), 2)->at(0)["i"], 299999);
  EXPECT_EQ(to_text(parse_json(R"({"a":1,"b":[],"a":{"c":{}}})", "t")), R"({"a":{"c":{}},"b":[]})");
  EXPECT_EQ(to_text(parse_json("-0.5", "t")), "-0.5");
  EXPECT_TRUE(parse_json("18446744073709551615", "t").is_number_unsigned());
}

TEST(JsonText, DepthLimit) {
  EXPECT_EQ(json_error(std::string(512, '[') + std::string(512, ']')), "no error");
  EXPECT_EQ(json_error(std::string(100000, '[')), "body:1:513: nested deeper than 512 levels");
  EXPECT_EQ(json_error("\"" + std::string(1000, '[') + "\\\"[\""), "no error");
}

TEST(JsonText, InvalidUtf8IsReplacedOnOutput) {
  EXPECT_EQ(to_text(Json("a\xFF")), "\"a\xEF\xBF\xBD\"");
}

TEST(JsonText, ReadNamesTheFile) {
  TemporaryFolder folder;
  std::string path = folder.path() + "/a.json";
  write_file_atomic(path, "{");
  try {
    read_json(path);
    FAIL();
  } catch (const Error& e) {
    EXPECT_NE(std::string(e.what()).find(path + ":1:2"), std::string::npos) << e.what();
  }
}

}  // namespace
}  // namespace wellspring
