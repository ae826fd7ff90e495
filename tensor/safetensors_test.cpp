#include "tensor/safetensors.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "base/error.h"
#include "base/file.h"
#include "base/text.h"

namespace wellspring {
namespace {

std::string file_of(const std::string& header, size_t data_bytes, int64_t claimed = -1) {
  std::string out(8, '\0');
  uint64_t n = claimed < 0 ? header.size() : static_cast<uint64_t>(claimed);
  std::memcpy(out.data(), &n, 8);
  return out + header + std::string(data_bytes, 'x');
}

std::string refusal(const std::string& bytes) {
  auto owner = std::make_shared<std::string>(bytes);
  try {
    Safetensors file(owner->data(), owner->size(), owner, "w.safetensors");
  } catch (const Error& e) {
    EXPECT_EQ(e.fault(), Fault::data);
    return e.what();
  }
  return "";
}

TEST(Safetensors, RoundTrip) {
  TemporaryFolder folder;
  std::string path = folder.path() + "/a.safetensors";
  std::vector<float> v = {1, 2, 3, 4, 5, 6};
  Tensor a = Tensor::from(std::span<const float>(v), {2, 3});
  Tensor swapped = a.as_strided({3, 2}, {1, 3}, 0);
  Tensor b = Tensor::from(std::span<const float>(v), {6}, DType::bf16);
  write_safetensors(
      path, {{"a", a}, {"swapped", swapped}, {"b \"quoted\"", b}, {"none", Tensor::empty({0, 4})}},
      {{"format", "pt"}});
  Safetensors file(path);
  ASSERT_EQ(file.names().size(), 4u);
  EXPECT_EQ(file.metadata().at(0).second, "pt");
  EXPECT_EQ(file.tensor("a").to_vector<float>(), v);
  EXPECT_EQ(file.tensor("swapped").to_vector<float>(), (std::vector<float>{1, 4, 2, 5, 3, 6}));
  EXPECT_EQ(file.tensor("b \"quoted\"").dtype(), DType::bf16);
  EXPECT_EQ(file.tensor("none").shape(), (Shape{0, 4}));
  EXPECT_EQ(reinterpret_cast<uintptr_t>(file.tensor("a").data()) % 64, 0u);
  Tensor kept;
  { kept = Safetensors(path).tensor("a"); }
  remove_all(path);
  EXPECT_EQ(kept.to_vector<float>(), v) << "the view keeps the mapping";
}

TEST(Safetensors, UnalignedDataIsCopied) {
  std::string header =
      R"({"a":{"dtype":"I8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F32","shape":[1],"data_offsets":[1,5]}})";
  auto owner = std::make_shared<std::string>(file_of(header, 5));
  Safetensors file(owner->data(), owner->size(), owner, "w");
  EXPECT_EQ(file.tensor("b").numel(), 1);
}

TEST(Safetensors, MalformedFilesAreRefused) {
  auto one = [](const char* fields) { return str("{\"t\":{", fields, "}}"); };
  struct Case {
    std::string bytes, why;
  } cases[] = {
      {"", "it has 0 bytes"},
      {file_of("{}", 0, 1'000'000'000), "claims 1000000000 bytes"},
      {file_of("{}", 0, 90'000'000), "truncated"},
      {std::string(8, '\xff'), "the header claims"},
      {file_of("[1]", 0), "not a JSON object"},
      {file_of("{\"a\":", 0), "not JSON"},
      {file_of("{\"\xff\":1}", 0), "not JSON"},
      {file_of(one("\"dtype\":\"F99\",\"shape\":[1],\"data_offsets\":[0,4]"), 4),
       "unknown dtype 'F99'"},
      {file_of(one("\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,4]"), 4), "takes 8 bytes"},
      {file_of(one("\"dtype\":\"F32\",\"shape\":[-1],\"data_offsets\":[0,4]"), 4), "non-negative"},
      {file_of(one("\"dtype\":\"F32\",\"shape\":[1.5],\"data_offsets\":[0,4]"), 4), "non-negative"},
      {file_of(one("\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,4]"),
               4),
       "overflows"},
      {file_of(one("\"dtype\":\"F32\",\"shape\":[1,1,1,1,1,1,1,1,1],\"data_offsets\":[0,4]"), 4),
       "dimensions"},
      {file_of(one("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,8]"), 4), "outside"},
      {file_of(one("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,0]"), 4), "outside"},
      {file_of(one("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[4,8]"), 8), "hole"},
      {file_of(one("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]"), 8),
       "belong to no tensor"},
      {file_of(one("\"dtype\":\"F32\",\"shape\":[1]"), 4), "lacks data_offsets"},
      {file_of(one("\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4],\"x\":1"), 4),
       "unknown field 'x'"},
      {file_of(
           R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})",
           4),
       "overlaps"},
      {file_of(
           R"({"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})",
           8),
       "stands twice"},
      {file_of(R"({"__metadata__":{"a":1}})", 0), "is not text"},
  };
  for (const Case& c : cases)
    EXPECT_NE(refusal(c.bytes).find(c.why), std::string::npos) << refusal(c.bytes);
}

TEST(Safetensors, ManyTensorsAreReadInTime) {
  std::string header = "{";
  constexpr int n = 300'000;
  for (int i = 0; i < n; ++i)
    header +=
        str(i ? "," : "", "\"", i, "\":{\"dtype\":\"U8\",\"shape\":[0],\"data_offsets\":[0,0]}");
  auto owner = std::make_shared<std::string>(file_of(header + "}", 0));
  EXPECT_EQ(Safetensors(owner->data(), owner->size(), owner, "w").names().size(), size_t{n});
}

TEST(Safetensors, EveryCutIsRefused) {
  TemporaryFolder folder;
  std::string path = folder.path() + "/a.safetensors";
  write_safetensors(path, {{"a", Tensor::zeros({3, 5})}, {"b", Tensor::zeros({7}, DType::bf16)}});
  std::string whole = read_file(path);
  for (size_t cut = 0; cut < whole.size(); ++cut) EXPECT_NE(refusal(whole.substr(0, cut)), "");
  EXPECT_EQ(refusal(whole), "");
}

TEST(Safetensors, Shards) {
  TemporaryFolder folder;
  TensorList list;
  for (int i = 0; i < 5; ++i) list.emplace_back(str("t", i), Tensor::full({10}, i));
  write_safetensors_sharded(folder.path(), "model", list, 100);
  EXPECT_TRUE(exists(folder.path() + "/model-00001-of-00003.safetensors"));
  SafetensorsFolder files(folder.path());
  ASSERT_EQ(files.names().size(), 5u);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(files.tensor(str("t", i)).to_vector<float>()[9], i);
  EXPECT_THROW(files.tensor("t9"), Error);
  remove_all(folder.path() + "/model-00002-of-00003.safetensors");
  EXPECT_THROW(SafetensorsFolder{folder.path()}, Error);
  EXPECT_THROW(SafetensorsFolder{folder.path() + "/none"}, Error);
  EXPECT_THROW(
      write_safetensors(folder.path() + "/x", {{"a", list[0].second}, {"a", list[0].second}}),
      Error);
}

TEST(Safetensors, DamagedIndexesAreRefused) {
  TemporaryFolder top;
  const std::string folder = top.path() + "/model",
                    index = folder + "/model.safetensors.index.json";
  make_directories(folder);
  write_safetensors(folder + "/one.safetensors", {{"a", Tensor::zeros({3})}});
  write_safetensors(folder + "/two.safetensors", {{"b", Tensor::zeros({3})}});
  write_safetensors(top.path() + "/outside.safetensors", {{"a", Tensor::zeros({3})}});
  auto refusal = [&](const std::string& text) -> std::string {
    write_file_atomic(index, text);
    try {
      SafetensorsFolder files(folder);
    } catch (const Error& e) {
      EXPECT_EQ(e.fault(), Fault::data) << e.what();
      EXPECT_NE(std::string(e.what()).find("index.json"), std::string::npos) << e.what();
      return e.what();
    }
    return "";
  };
  EXPECT_EQ(refusal(R"({"weight_map": {"a": "one.safetensors", "b": "two.safetensors"}})"), "");
  struct Case {
    const char *index, *why;
  } cases[] = {
      {"", "not JSON"},
      {R"({"weight_map": {"a": )", "not JSON"},
      {"[]", "no 'weight_map' object"},
      {"{}", "no 'weight_map' object"},
      {R"({"weight_map": ["a"]})", "no 'weight_map' object"},
      {R"({"weight_map": {"a": 1}})", "'a' is not a file name"},
      {R"({"weight_map": {"a": ""}})", "'a' is not a file name"},
      {R"({"weight_map": {"a": ".."}})", "'a' is not a file name"},
      {R"({"weight_map": {"a": "../outside.safetensors"}})", "'a' is not a file name"},
      {R"({"weight_map": {"a": "two.safetensors"}})", "tensor 'a' is not in two.safetensors"},
      {R"({"weight_map": {"a": "one.safetensors", "a": "one.safetensors"}})", "'a' stands twice"},
  };
  for (const Case& c : cases)
    EXPECT_NE(refusal(c.index).find(c.why), std::string::npos) << refusal(c.index);
}

// A header that describes 10^9 tensors, truly as long as it claims: refused from its length,
// unread.
TEST(Safetensors, HeaderOfABillionTensorsIsRefusedUnread) {
  TemporaryFolder folder;
  const std::string path = folder.path() + "/w.safetensors";
  constexpr uint64_t kClaim = uint64_t{1'000'000'000} * 60;
  write_file_atomic(path, file_of("{", 0, kClaim));
  ASSERT_EQ(truncate(path.c_str(), 8 + kClaim), 0) << strerror(errno);  // sparse
  try {
    Safetensors file(path);
    ADD_FAILURE() << "it was read";
  } catch (const Error& e) {
    EXPECT_EQ(e.fault(), Fault::data);
    EXPECT_NE(std::string(e.what()).find("claims 60000000000 bytes; at most 100000000"),
              std::string::npos)
        << e.what();
  }
}

}  // namespace
}  // namespace wellspring
