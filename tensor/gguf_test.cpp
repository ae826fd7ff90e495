#include "tensor/gguf.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>

#include "base/error.h"
#include "base/file.h"
#include "base/test_error.h"
#include "base/text.h"
#include "tensor/dtype.h"
#include "tensor/safetensors.h"

namespace wellspring {
namespace {

const char* kGoldenGguf = "tensor/testdata/golden.gguf";

Gguf open_bytes(const std::string& bytes) {
  auto owner = std::make_shared<std::string>(bytes);
  return Gguf(owner->data(), owner->size(), owner, "w.gguf");
}

std::string gguf_refusal(const std::string& bytes) {
  return error_of([&] { open_bytes(bytes); }, Fault::data);
}

std::vector<float> decoded(const GgufTensor& t) {
  std::vector<float> out(static_cast<size_t>(t.numel()));
  t.read_rows(0, t.rows(), out.data());
  return out;
}

// GgufBytes of a file, piece by piece.
struct GgufBytes {
  std::string text;
  GgufBytes& u32(uint64_t v) { return number(v, 4); }
  GgufBytes& u64(uint64_t v) { return number(v, 8); }
  GgufBytes& number(uint64_t v, int bytes) {
    for (int i = 0; i < bytes; ++i) text += static_cast<char>(v >> (8 * i));
    return *this;
  }
  GgufBytes& name(std::string_view s) {
    u64(s.size());
    text += s;
    return *this;
  }
  GgufBytes& head(uint64_t tensors, uint64_t values) {
    text += "GGUF";
    return u32(3).u64(tensors).u64(values);
  }
  GgufBytes& tensor(std::string_view s, std::vector<uint64_t> dims, uint32_t type,
                    uint64_t offset) {
    name(s).u32(dims.size());
    for (uint64_t d : dims) u64(d);
    return u32(type).u64(offset);
  }
  GgufBytes& data(size_t n) {
    text.resize((text.size() + 31) / 32 * 32 + n, 'x');
    return *this;
  }
};

void expect_metadata_of_each_type(const Gguf& file) {
  EXPECT_EQ(file.integer("test.uint8"), 200);
  EXPECT_EQ(file.integer("test.int8"), -100);
  EXPECT_EQ(file.integer("test.uint16"), 60000);
  EXPECT_EQ(file.integer("test.int16"), -30000);
  EXPECT_EQ(file.integer("test.uint32"), 4000000000);
  EXPECT_EQ(file.integer("test.int32"), -2000000000);
  EXPECT_EQ(file.integer("test.uint64"), std::numeric_limits<int64_t>::max());
  EXPECT_EQ(file.integer("test.int64"), std::numeric_limits<int64_t>::min());
  EXPECT_EQ(file.number("test.float32"), 1e-5) << "the shortest decimal, not the f32's digits";
  EXPECT_EQ(file.number("test.float64"), 0.1);
  EXPECT_EQ(file.number("test.int8"), -100.0);
  EXPECT_EQ(file.boolean("test.bool"), true);
  EXPECT_EQ(file.text("test.string"), "naïve 泉");
  EXPECT_EQ(file.texts("test.texts"), (std::vector<std::string_view>{"a", "泉水", "", "b c"}));
  EXPECT_EQ(file.integers("test.integers"), (std::vector<int64_t>{1, -2, 3}));
  EXPECT_EQ(file.numbers("test.numbers"), (std::vector<double>{0.5, -1e-5}));
  EXPECT_EQ(file.integer("test.none"), std::nullopt);
  EXPECT_TRUE(file.texts("test.none").empty());
}

TEST(Gguf, GoldenFile) {
  const Gguf file(kGoldenGguf);
  EXPECT_EQ(file.version(), 3u);
  EXPECT_EQ(file.alignment(), 32u);
  EXPECT_EQ(file.text("general.architecture"), "llama");
  expect_metadata_of_each_type(file);
  EXPECT_EQ(file.tensor("cube").shape, (std::vector<int64_t>{2, 3, 4}));
  EXPECT_EQ(file.tensor("cube").rows(), 6);
  EXPECT_EQ(decoded(file.tensor("cube"))[23], 23);
  EXPECT_EQ(decoded(file.tensor("vector")), (std::vector<float>{0, 1, 2, 3, 4}));
  const Safetensors golden("tensor/testdata/golden_gguf.safetensors");
  int types = 0;
  for (const GgufTensor& t : file.tensors()) {
    if (!golden.contains(t.name)) continue;
    ++types;
    EXPECT_EQ(t.shape, (std::vector<int64_t>{2, 256}));
    EXPECT_EQ(t.name, t.type->name);
    const auto wanted = golden.tensor(t.name).to_vector<float>();
    const auto got = decoded(t);
    float most = 0;
    for (float v : wanted) most = std::max(most, std::fabs(v));
    for (size_t i = 0; i < wanted.size(); ++i)
      ASSERT_NEAR(got[i], wanted[i], most * 1e-6) << t.name << " value " << i;
    std::vector<float> second(256);
    t.read_rows(1, 1, second.data());
    EXPECT_TRUE(std::equal(second.begin(), second.end(), got.begin() + 256)) << t.name;
  }
  EXPECT_EQ(types, 13);
}

TEST(Gguf, TypedAccessRefusesOtherTypes) {
  const Gguf file(kGoldenGguf);
  EXPECT_NE(error_of([&] { file.integer("test.string"); }, Fault::data)
                .find("key 'test.string': expected an integer, not text"),
            std::string::npos);
  EXPECT_NE(error_of([&] { file.text("test.uint8"); }, Fault::data).find("not u8"),
            std::string::npos);
  EXPECT_NE(error_of([&] { file.texts("test.integers"); }, Fault::data).find("an array of i32"),
            std::string::npos);
  EXPECT_NE(error_of([&] { file.numbers("test.booleans"); }, Fault::data).find("golden.gguf: byte"),
            std::string::npos);
  EXPECT_NE(error_of([&] { file.boolean("test.texts"); }, Fault::data).find("an array of text"),
            std::string::npos);
  EXPECT_NE(error_of([&] { file.tensor("absent"); }, Fault::data).find("no tensor 'absent'"),
            std::string::npos);
  float v;
  error_of([&] { file.tensor("vector").read_rows(1, 1, &v); }, Fault::usage);
}

TEST(GgufTypes, EveryHalfIsConverted) {
  const GgufTypeInfo& half = gguf_type_info(GgufType::f16);
  for (uint32_t h = 0; h < 0x10000; ++h) {
    const auto bits = static_cast<uint16_t>(h);
    float got;
    gguf_decode(half, &bits, 1, &got);
    const float wanted = to_float(f16_t{bits});
    if (std::isnan(wanted))
      ASSERT_TRUE(std::isnan(got)) << h;
    else
      ASSERT_EQ(std::bit_cast<uint32_t>(got), std::bit_cast<uint32_t>(wanted)) << h;
  }
}

TEST(GgufTypes, EncodesAsThePythonPackage) {
  const Safetensors golden("tensor/testdata/golden_gguf.safetensors");
  const auto input = golden.tensor("input").to_vector<float>();
  for (const char* name : {"Q8_0", "Q4_0"}) {
    const GgufTypeInfo& type = *gguf_type_named(name);
    const Tensor wanted = golden.tensor(str("encoded ", name));
    std::vector<uint8_t> got(static_cast<size_t>(wanted.numel()));
    gguf_encode(type, input.data(), static_cast<int64_t>(input.size()), got.data());
    EXPECT_EQ(std::memcmp(got.data(), wanted.data(), got.size()), 0) << name;
  }
}

double error_after_encoding(const char* name, const std::vector<float>& x) {
  const GgufTypeInfo& type = *gguf_type_named(name);
  const auto n = static_cast<int64_t>(x.size());
  std::vector<uint8_t> bytes(static_cast<size_t>(n / type.block * type.bytes));
  std::vector<float> back(x.size());
  gguf_encode(type, x.data(), n, bytes.data());
  gguf_decode(type, bytes.data(), n, back.data());
  double squares = 0, errors = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    squares += x[i] * x[i];
    errors += (x[i] - back[i]) * (x[i] - back[i]);
  }
  return std::sqrt(errors / std::max(squares, 1e-30));
}

std::vector<float> normal_values(size_t n, float shift) {
  std::vector<float> x(n);
  uint32_t seed = 1;
  for (float& v : x) {
    float sum = 0;
    for (int i = 0; i < 12; ++i)
      sum += static_cast<float>((seed = seed * 1664525 + 1013904223) >> 8);
    v = (sum * 0x1p-24f - 6 + shift) * 0.02f;
  }
  return x;
}

TEST(GgufTypes, EncodingKeepsWhatItCan) {
  const auto x = normal_values(256 * 64, 0), shifted = normal_values(256 * 64, 3);
  EXPECT_EQ(error_after_encoding("F32", x), 0);
  EXPECT_LT(error_after_encoding("BF16", x), 0.003);
  EXPECT_LT(error_after_encoding("F16", x), 0.0004);
  EXPECT_LT(error_after_encoding("Q8_0", x), 0.008);
  EXPECT_LT(error_after_encoding("Q4_0", x), 0.11);
  EXPECT_LT(error_after_encoding("Q4_K", x), 0.075) << "as many bits as Q4_0, and less error";
  EXPECT_LT(error_after_encoding("Q4_K", shifted), 0.5 * error_after_encoding("Q4_0", shifted));
  for (const char* name : {"Q8_0", "Q4_0", "Q4_K"}) {
    EXPECT_EQ(error_after_encoding(name, std::vector<float>(256, 0)), 0) << name;
    EXPECT_LT(error_after_encoding(name, std::vector<float>(256, 0.5f)), 0.01) << name;
    EXPECT_LT(error_after_encoding(name, std::vector<float>(256, -0.5f)), 0.01) << name;
    error_after_encoding(name, std::vector<float>(256, 1e-40f));
  }
}

TEST(GgufTypes, RefusesWhatDoesNotFit) {
  std::vector<uint8_t> out(2048);
  for (const char* name : {"Q8_0", "Q4_0", "Q4_K"}) {
    for (float bad : {NAN, INFINITY, 1e30f}) {
      std::vector<float> x(256, 1);
      x[77] = bad;
      const std::string e = error_of(
          [&] { gguf_encode(*gguf_type_named(name), x.data(), 256, out.data()); }, Fault::data);
      EXPECT_NE(e.find(name), std::string::npos) << e;
    }
  }
  const float large = 1e5f;
  error_of([&] { gguf_encode(gguf_type_info(GgufType::f16), &large, 1, out.data()); }, Fault::data);
  error_of([&] { gguf_encode(gguf_type_info(GgufType::q8_0), &large, 1, out.data()); });
  error_of([&] { gguf_encode(gguf_type_info(GgufType::q6_k), &large, 256, out.data()); });
  float to[256];
  EXPECT_NE(
      error_of([&] { gguf_decode(*gguf_type_named("iq2_xs"), out.data(), 256, to); }, Fault::data)
          .find("IQ2_XS is not supported"),
      std::string::npos);
  EXPECT_EQ(gguf_type_named("Q9"), nullptr);
}

GgufRows rows_from_values(const std::vector<float>& values, int64_t width) {
  return [values, width](int64_t first, int64_t count, float* to) {
    std::memcpy(to, values.data() + first * width, static_cast<size_t>(count * width) * 4);
  };
}

// A small file with values of several types.
void write_small_gguf(const std::string& path) {
  GgufWriter w;
  w.set_text("general.architecture", "llama");
  w.set_u32("a.u32", 7);
  w.set_u64("a.u64", 1ull << 40);
  w.set_f32("a.f32", 1e-6f);
  w.set_boolean("a.boolean", true);
  w.set_texts("a.texts", {"x", "", "泉"});
  w.set_i32s("a.i32s", {-1, 2});
  w.set_f32s("a.f32s", {0.5f});
  const auto x = normal_values(512, 0);
  w.add("m.f32", {2, 2, 128}, GgufType::f32, rows_from_values(x, 128));
  w.add("m.q8_0", {16, 32}, GgufType::q8_0, rows_from_values(x, 32));
  w.add("m.q4_k", {2, 256}, GgufType::q4_k, rows_from_values(x, 256));
  w.add("v.f32", {3}, GgufType::f32, rows_from_values(x, 3));
  w.add("v.none", {0, 4}, GgufType::f16, rows_from_values(x, 4));
  w.add("v.bf16", {5, 1}, GgufType::bf16, rows_from_values(x, 1));
  w.write(path);
}

TEST(GgufWriter, RoundTrip) {
  TemporaryFolder folder;
  const std::string path = folder.path() + "/a.gguf";
  write_small_gguf(path);
  const Gguf file(path);
  EXPECT_EQ(file.integer("a.u32"), 7);
  EXPECT_EQ(file.integer("a.u64"), int64_t{1} << 40);
  EXPECT_EQ(file.number("a.f32"), 1e-6);
  EXPECT_EQ(file.texts("a.texts"), (std::vector<std::string_view>{"x", "", "泉"}));
  EXPECT_EQ(file.integers("a.i32s"), (std::vector<int64_t>{-1, 2}));
  EXPECT_EQ(file.numbers("a.f32s"), (std::vector<double>{0.5}));
  ASSERT_EQ(file.tensors().size(), 6u);
  const auto x = normal_values(512, 0);
  EXPECT_EQ(decoded(file.tensor("m.f32")), x);
  EXPECT_EQ(file.tensor("m.f32").shape, (std::vector<int64_t>{2, 2, 128}));
  EXPECT_EQ(file.tensor("v.none").numel(), 0);
  const auto q = decoded(file.tensor("m.q8_0"));
  for (size_t i = 0; i < q.size(); ++i) ASSERT_NEAR(q[i], x[i], 0.0005);
  for (const GgufTensor& t : file.tensors())
    EXPECT_EQ(reinterpret_cast<uintptr_t>(t.data) % 32, 0u) << t.name;
  EXPECT_EQ(file_size(path) % 32, 0);
  std::unique_ptr<Gguf> kept;
  { kept = std::make_unique<Gguf>(Gguf(path)); }
  remove_all(path);
  EXPECT_EQ(kept->text("general.architecture"), "llama") << "a handle keeps the mapping";
}

TEST(GgufWriter, RefusesMisuseAndLeavesNoFile) {
  TemporaryFolder folder;
  const std::string path = folder.path() + "/a.gguf";
  GgufWriter w;
  w.set_u32("k", 1);
  error_of([&] { w.set_u32("k", 2); });
  error_of([&] { w.set_u32("", 2); });
  const GgufRows rows = rows_from_values({1, NAN}, 2);
  error_of([&] { w.add("", {2}, GgufType::f32, rows); });
  error_of([&] { w.add(std::string(64, 'n'), {2}, GgufType::f32, rows); });
  error_of([&] { w.add("n", {1, 1, 1, 1, 2}, GgufType::f32, rows); });
  error_of([&] { w.add("n", {2}, GgufType::q8_0, rows); });
  error_of([&] { w.add("n", {256}, GgufType::q6_k, rows); });
  error_of([&] { w.add("n", {int64_t{1} << 40, int64_t{1} << 40}, GgufType::f32, rows); });
  error_of([&] { w.add("n", {-1, 2}, GgufType::f32, rows); });
  std::vector<float> bad(64, 1);
  bad[40] = NAN;
  w.add("n", {2, 32}, GgufType::q8_0, rows_from_values(bad, 32));
  error_of([&] { w.add("n", {2}, GgufType::f32, rows); });
  const std::string e = error_of([&] { w.write(path); }, Fault::data);
  EXPECT_NE(e.find("tensor 'n'"), std::string::npos) << e;
  EXPECT_TRUE(list_directory(folder.path()).empty());
}

TEST(Gguf, MalformedFilesAreRefused) {
  const uint64_t huge = ~uint64_t{0};
  struct Case {
    std::string bytes, why;
  } cases[] = {
      {"", "byte 0: not a GGUF file"},
      {"GGML....", "not a GGUF file"},
      {"GGUF", "the version takes 4 bytes"},
      {(GgufBytes{"GGUF"}.u32(1)).text, "version 1 is not supported"},
      {(GgufBytes{"GGUF"}.u32(4)).text, "version 4 is not supported"},
      {(GgufBytes{"GGUF"}.u32(0x03000000)).text, "big-endian"},
      {GgufBytes{}.head(huge, 0).text, "tensors do not fit"},
      {GgufBytes{}.head(0, huge).text, "metadata entries do not fit"},
      {GgufBytes{}.head(0, 1).name("").u32(4).u32(1).text, "the key is empty"},
      {GgufBytes{}.head(0, 1).u64(huge).data(64).text, "at most 65535"},
      {GgufBytes{}.head(0, 1).u64(40000).data(64).text, "truncated"},
      {GgufBytes{}.head(0, 1).name("k").u32(13).u64(1).text,
       "the type of the value 13 does not exist"},
      {GgufBytes{}.head(0, 1).name("k").u32(7).number(2, 1).text, "neither 0 nor 1"},
      {GgufBytes{}.head(0, 1).name("k").u32(8).u64(huge).text, "truncated"},
      {GgufBytes{}.head(0, 1).name("k").u32(10).u32(1).text, "key 'k': 1 value of type u64"},
      {GgufBytes{}.head(0, 1).name("k").u32(9).u32(0).u64(huge).text, "truncated"},
      {GgufBytes{}.head(0, 1).name("k").u32(9).u32(8).u64(huge / 8).text, "truncated"},
      {GgufBytes{}.head(0, 1).name("k").u32(9).u32(99).u64(1).text, "99 does not exist"},
      {GgufBytes{}.head(0, 1).name("k").u32(9).u32(8).u64(1).u64(100).text, "truncated"},
      {GgufBytes{}.head(0, 2).name("k").u32(0).number(1, 1).name("k").u32(0).number(1, 1).text,
       "key 'k': it stands twice"},
      {GgufBytes{}.head(0, 1).name("general.alignment").u32(4).u32(48).text, "not a power of two"},
      {GgufBytes{}.head(0, 1).name("general.alignment").u32(4).u32(0).text, "not a power of two"},
      {GgufBytes{}.head(0, 1).name("general.alignment").u32(10).u64(32).text, "it must be u32"},
      {GgufBytes{}.head(1, 0).tensor("t", {4}, 99, 0).data(16).text, "type 99 is not known"},
      {GgufBytes{}.head(1, 0).tensor("t", {4}, 4, 0).data(16).text, "type 4 is not known"},
      {GgufBytes{}.head(1, 0).tensor("", {4}, 0, 0).data(16).text, "the name is empty"},
      {GgufBytes{}.head(1, 0).tensor(std::string(256, 'n'), {4}, 0, 0).data(16).text,
       "at most 255"},
      {GgufBytes{}.head(1, 0).tensor("t", {1, 1, 1, 1, 4}, 0, 0).data(16).text, "5 dimensions"},
      {GgufBytes{}.head(1, 0).tensor("t", {1ull << 32, 1ull << 32}, 0, 0).data(16).text,
       "overflows"},
      {GgufBytes{}.head(1, 0).tensor("t", {huge}, 0, 0).data(16).text, "overflows"},
      {GgufBytes{}.head(1, 0).tensor("t", {1ull << 61, 1ull << 61, 0}, 0, 0).data(16).text,
       "overflows"},
      {GgufBytes{}.head(1, 0).tensor("t", {1ull << 61}, 28, 0).data(16).text, "overflows"},
      {GgufBytes{}.head(1, 0).tensor("t", {48}, 8, 0).data(64).text, "not whole blocks of 32"},
      {GgufBytes{}.head(1, 0).tensor("t", {4}, 0, 4).data(64).text, "not aligned to 32"},
      {GgufBytes{}.head(1, 0).tensor("t", {4}, 0, 0).data(15).text, "outside the 15 bytes"},
      {GgufBytes{}.head(1, 0).tensor("t", {4}, 0, huge - 31).data(16).text, "outside"},
      {GgufBytes{}.head(1, 0).tensor("t", {4}, 0, 0).text, "the padding before the data"},
      {GgufBytes{}.head(2, 0).tensor("t", {4}, 0, 0).tensor("t", {4}, 0, 32).data(64).text,
       "tensor 't': it stands twice"},
      {GgufBytes{}.head(2, 0).tensor("t", {16}, 0, 0).tensor("u", {4}, 0, 32).data(64).text,
       "tensor 'u': its data overlap those of 't'"},
  };
  for (const Case& c : cases) {
    const std::string e = gguf_refusal(c.bytes);
    EXPECT_NE(e.find(c.why), std::string::npos) << e << "\nexpected: " << c.why;
    EXPECT_EQ(e.find("w.gguf: byte "), 0u) << e;
  }
  GgufBytes deep;
  deep.head(0, 1).name("k").u32(9);
  for (int i = 0; i < 100'000; ++i) deep.u32(9).u64(1);
  EXPECT_NE(gguf_refusal(deep.text).find("nested deeper"), std::string::npos);
}

TEST(Gguf, UnusualFilesAreRead) {
  EXPECT_TRUE(open_bytes(GgufBytes{}.head(0, 0).text).tensors().empty());
  // Nested arrays, a tensor without dimensions, data in another order and a hole between.
  GgufBytes b;
  b.head(2, 1).name("k").u32(9).u32(9).u64(2);
  b.u32(0).u64(2).number(0x0201, 2).u32(8).u64(1).name("x");
  b.tensor("t", {4}, 0, 96).tensor("scalar", {}, 0, 0).data(112);
  const Gguf file = open_bytes(b.text);
  EXPECT_EQ(file.value("k")->count, 2u);
  EXPECT_EQ(file.tensor("scalar").numel(), 1);
  EXPECT_EQ(decoded(file.tensor("t")).size(), 4u);
  error_of([&] { file.integers("k"); }, Fault::data);
  GgufBytes two{"GGUF"};
  two.u32(2).u64(0).u64(1).name("k").u32(4).u32(9);
  EXPECT_EQ(open_bytes(two.text).integer("k"), 9);
}

std::string small_gguf() {
  TemporaryFolder folder;
  write_small_gguf(folder.path() + "/a.gguf");
  return read_file(folder.path() + "/a.gguf");
}

// Where the data of a small file begin: its tensors follow each other.
size_t data_begin(const std::string& bytes) {
  size_t data = 0;
  const Gguf file = open_bytes(bytes);
  for (const GgufTensor& t : file.tensors()) data += (t.bytes + 31) / 32 * 32;
  return bytes.size() - data;
}

TEST(Gguf, EveryCutIsRefused) {
  const std::string whole = small_gguf();
  const Gguf file = open_bytes(whole);
  const size_t begin = data_begin(whole);
  size_t end = 0;  // of the last tensor: padding follows
  for (const GgufTensor& t : file.tensors())
    end = std::max(end, static_cast<size_t>(t.data - file.tensors()[0].data) + t.bytes);
  for (size_t n = 0; n < begin + end; ++n) {
    auto owner = std::make_shared<std::string>(whole, 0, n);
    EXPECT_THROW(Gguf(owner->data(), n, owner, "w"), Error) << n;
  }
  EXPECT_EQ(open_bytes(whole.substr(0, begin + end)).tensors().size(), 6u);
}

// Reads all there is.
void read_all(const Gguf& file) {
  for (const auto& [key, value] : file.metadata()) {
    try {
      if (value.kind == GgufKind::array && value.element == GgufKind::text)
        file.texts(key);
      else if (value.kind == GgufKind::array)
        file.numbers(key);
      else if (value.kind == GgufKind::text)
        file.text(key);
      else if (value.kind != GgufKind::boolean)
        file.number(key), file.integer(key);
    } catch (const Error& e) {
      ASSERT_EQ(e.fault(), Fault::data);
    }
  }
  for (const GgufTensor& t : file.tensors())
    if (t.type->decode) decoded(t);
}

TEST(Gguf, FlippedBytesAreRefusedOrRead) {
  std::string bytes = small_gguf();
  const size_t head = data_begin(bytes);
  int read = 0, refused = 0;
  for (size_t i = 0; i < head; ++i) {
    for (int change : {0x01, 0x80, 0xff}) {
      bytes[i] = static_cast<char>(bytes[i] ^ change);
      try {
        read_all(open_bytes(bytes));
        ++read;
      } catch (const Error& e) {
        ASSERT_EQ(e.fault(), Fault::data) << e.what();
        ++refused;
      }
      bytes[i] = static_cast<char>(bytes[i] ^ change);
    }
  }
  EXPECT_GT(refused, 500);
  EXPECT_GT(read, 100);
}

TEST(Gguf, ManyEntriesAreReadInTime) {
  constexpr uint64_t n = 300'000;
  GgufBytes b;
  b.head(n, n);
  for (uint64_t i = 0; i < n; ++i) b.name(str("k", i)).u32(0).number(1, 1);
  for (uint64_t i = 0; i < n; ++i) b.tensor(str("t", i), {0}, 0, 0);
  const Gguf file = open_bytes(b.data(0).text);
  EXPECT_EQ(file.tensors().size(), n);
  EXPECT_EQ(file.integer("k299999"), 1);
}

// For gguf_peer_test.py: decodes a file of another writer, or writes one for another reader.
TEST(Gguf, FileOfTheEnvironment) {
  const char* path = std::getenv("WELLSPRING_GGUF");
  if (!path) GTEST_SKIP() << "WELLSPRING_GGUF names no file";
  if (!exists(path)) return write_small_gguf(path);
  const Gguf file(path);
  expect_metadata_of_each_type(file);
  TensorList list;
  for (const GgufTensor& t : file.tensors())
    list.emplace_back(std::string(t.name), Tensor::from(decoded(t), Shape(t.shape)));
  write_safetensors(str(path, ".safetensors"), list);
}

}  // namespace
}  // namespace wellspring
