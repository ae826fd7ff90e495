// Indices, masks, sorting, sequences: what is refused, and how it is said; what a case cannot show.
#include "ops/index.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/error.h"
#include "base/test_error.h"
#include "ops/arrange.h"
#include "ops/check.h"
#include "ops/creation.h"
#include "ops/matmul.h"
#include "ops/pointwise.h"
#include "ops/scan.h"
#include "ops/scatter.h"
#include "ops/shape.h"
#include "ops/sort.h"
#include "tensor/autograd.h"

namespace wellspring {
namespace {

Tensor whole(std::vector<int64_t> values) {
  const auto n = static_cast<int64_t>(values.size());
  return Tensor::from(values, {n});
}
Tensor real(std::vector<float> values) {
  const auto n = static_cast<int64_t>(values.size());
  return Tensor::from(values, {n});
}

// Whether every one of the words is in the error.
template <class F>
void expect_refused(F f, std::initializer_list<const char*> words) {
  const std::string error = error_of(f);
  EXPECT_NE(error, "");
  for (const char* word : words)
    EXPECT_NE(error.find(word), std::string::npos) << "'" << word << "' is not in: " << error;
}

TEST(Indices, OutOfRangeNamesIndexAndExtent) {
  const Tensor x = Tensor::zeros({3, 4}), bad = whole({0, 7}), low = whole({-1, 0});
  const Tensor at = view(bad, {1, 2}), one = Tensor::full({1, 2}, 1);
  expect_refused([&] { index_select(x, 1, bad); },
                 {"index 7", "dimension 1", "extent 4", "f32[3, 4]", "i64[2]"});
  expect_refused([&] { index_select(x, 0, low); }, {"index -1", "extent 3"});
  expect_refused([&] { gather(x, 1, at); }, {"index 7", "extent 4"});
  expect_refused([&] { scatter(x, 1, at, one); }, {"index 7", "extent 4"});
  expect_refused([&] { scatter_add(x, 0, at, one); }, {"index 7", "extent 3"});
  expect_refused([&] { scatter_reduce(x, 1, at, one, "amax"); }, {"index 7"});
  expect_refused([&] { index_add(x, 0, bad, Tensor::zeros({2, 4})); }, {"index 7", "extent 3"});
  expect_refused([&] { index_copy(x, 0, bad, Tensor::zeros({2, 4})); }, {"index 7", "extent 3"});
  expect_refused([&] { index_fill(x, 0, bad, 1); }, {"index 7", "extent 3"});
  const Tensor pair[] = {low, bad};
  expect_refused([&] { index(x, pair); }, {"index 7", "dimension 1", "extent 4", "f32[3, 4]"});
  expect_refused([&] { index_put(x, pair, Tensor::full({}, 1)); }, {"index 7"});
  expect_refused([&] { take(x, whole({12})); }, {"index 12", "extent 12"});
  expect_refused([&] { take(x, whole({-13})); }, {"index -13"});
  expect_refused([&] { one_hot(bad, 5); }, {"index 7", "extent 5"});
  // The last element of a large index, on another thread.
  const Tensor many = Tensor::zeros({1 << 20}, DType::i64), end = narrow(many, 0, (1 << 20) - 1, 1);
  fill_(end, 3);
  expect_refused([&] { index_select(x, 0, many); }, {"index 3"});
  expect_refused([&] { gather(reshape(x, {-1}), 0, add(many, 10)); }, {"index 13"});
}

TEST(Indices, ShapesAndDtypesThatDoNotFit) {
  const Tensor x = Tensor::zeros({3, 4}), i = whole({0, 1});
  const Tensor wide[] = {i, i, i}, apart[] = {i, whole({0, 1, 2})},
               real_index[] = {Tensor::zeros({2})};
  expect_refused([&] { index(x, wide); }, {"more indices", "i64[2], i64[2], i64[2]"});
  expect_refused([&] { index(x, apart); }, {"broadcast"});
  expect_refused([&] { index(x, real_index); }, {"i32, i64 or bool"});
  const Tensor mask[] = {Tensor::full({5}, 1, DType::boolean)};
  expect_refused([&] { index(x, mask); }, {"mask", "[5]"});
  expect_refused([&] { index(x, {}); }, {"no index"});
  expect_refused([&] { index_put(x, std::span(&i, 1), Tensor::zeros({5})); }, {"f32[5]", "[2, 4]"});
  expect_refused([&] { index_put(x, std::span(&i, 1), Tensor::zeros({4}, DType::i32)); },
                 {"one dtype"});
  expect_refused([&] { scatter(x, 0, i, x); }, {"dimensions"});
  expect_refused([&] { scatter(x, 0, view(i, {1, 2}), Tensor::zeros({1, 1})); }, {"smaller"});
  expect_refused([&] { scatter(x, 0, view(i, {1, 2}), x, "mean"); }, {"'add' or 'multiply'"});
  expect_refused([&] { scatter_reduce(x, 0, view(i, {1, 2}), x, "add"); }, {"'amin', not 'add'"});
  expect_refused([&] { index_copy(x, 0, i, Tensor::zeros({3, 4})); }, {"[2, 4]"});
  expect_refused([&] { select_scatter(x, x, 0, 0); }, {"[4]", "f32[3, 4]"});
  expect_refused(
      [&] {
        masked_scatter(x, Tensor::full({3, 4}, 1, DType::boolean), i);
      },
      {"one dtype"});
  expect_refused(
      [&] {
        masked_scatter(x, Tensor::full({3, 4}, 1, DType::boolean), Tensor::zeros({5}));
      },
      {"12 places", "f32[5]"});
  expect_refused([&] { masked_select(x, i); }, {"bool"});
  expect_refused([&] { masked_fill(x, gt(x, 0), x); }, {"0-d"});
}

TEST(Indices, WritesIntoOverlappingOrOwnMemory) {
  const Tensor x = Tensor::from(std::vector<int64_t>{1, 2, 3, 4, 5}, {5});
  scatter_(x, 0, whole({4, 3, 2, 1, 0}), x);  // its own source
  EXPECT_EQ(x.to_vector<int64_t>(), (std::vector<int64_t>{5, 4, 3, 2, 1}));
  const Tensor at[] = {whole({0, 1})};
  expect_refused([&] { index_put_(expand(real({1}), {3}), at, Tensor::zeros({})); },
                 {"share memory"});
  const Tensor leaf = Tensor::zeros({3}).set_requires_grad(true);
  expect_refused([&] { scatter_(leaf, 0, whole({1}), Tensor::zeros({1})); }, {"leaf"});
}

TEST(Sorting, IsStableBothWays) {
  const Tensor x = whole({3, 1, 3, 1, 2, 3});
  EXPECT_EQ(argsort(x).to_vector<int64_t>(), (std::vector<int64_t>{1, 3, 4, 0, 2, 5}));
  EXPECT_EQ(argsort(x, 0, true).to_vector<int64_t>(), (std::vector<int64_t>{0, 2, 5, 4, 1, 3}));
  const float nan = NAN, inf = INFINITY;
  const Tensor odd = real({nan, 0.f, -0.f, inf, -nan, -inf, 1});
  EXPECT_EQ(argsort(odd).to_vector<int64_t>(), (std::vector<int64_t>{5, 1, 2, 6, 3, 0, 4}));
  EXPECT_EQ(argsort(odd, 0, true).to_vector<int64_t>(),
            (std::vector<int64_t>{0, 4, 3, 6, 1, 2, 5}));
  EXPECT_EQ(std::get<1>(topk(odd, 3)).to_vector<int64_t>(), (std::vector<int64_t>{0, 4, 3}));
  EXPECT_EQ(std::get<1>(topk(odd, 3, 0, false)).to_vector<int64_t>(),
            (std::vector<int64_t>{5, 1, 2}));
  // The sign of zero and of NaN stay with their elements.
  const auto sorted = std::get<0>(sort(odd)).to_vector<float>();
  EXPECT_FALSE(std::signbit(sorted[1]));
  EXPECT_TRUE(std::signbit(sorted[2]));
  const int64_t least = std::numeric_limits<int64_t>::min(),
                most = std::numeric_limits<int64_t>::max();
  EXPECT_EQ(std::get<0>(sort(whole({0, most, least, -1}))).to_vector<int64_t>(),
            (std::vector<int64_t>{least, -1, 0, most}));
  EXPECT_EQ(std::get<1>(median(real({2, nan, 1, nan}), 0)).item(), 1);
  expect_refused([&] { topk(x, 7); }, {"7", "extent 6"});
  expect_refused([&] { kthvalue(x, 0); }, {"k is 0"});
  expect_refused([&] { median(Tensor::zeros({0})); }, {"nothing"});
  expect_refused([&] { sort(x, 1); }, {"dimension 1"});
}

TEST(Sequences, HaveTheRightLength) {
  EXPECT_EQ(arange(0, 10, 3).to_vector<int64_t>(), (std::vector<int64_t>{0, 3, 6, 9}));
  EXPECT_EQ(arange(0, 9, 3).numel(), 3);
  EXPECT_EQ(arange(0.0, 1.0, 0.1).numel(), 10);
  EXPECT_EQ(arange(3, 3).numel(), 0);
  const int64_t big = (int64_t{1} << 60) + 1;
  EXPECT_EQ(arange(big, big + 2).to_vector<int64_t>(), (std::vector<int64_t>{big, big + 1}));
  EXPECT_EQ(full({2}, big).to_vector<int64_t>(), (std::vector<int64_t>{big, big}));
  expect_refused([] { arange(0, 5, 0); }, {"0"});
  expect_refused([] { arange(0, 5, -1); }, {"away"});
  expect_refused([] { arange(0.0, INFINITY); }, {"finite"});
  expect_refused([] { arange(0.0, 1e30); }, {"too many"});
  expect_refused([] { linspace(0, 1, -1); }, {"-1"});
  expect_refused([] { eye(-1); }, {"-1"});
  expect_refused([] { triu(Tensor::zeros({3})); }, {"two dimensions"});
  expect_refused([] { full({3}, 1, DType::c64); }, {"complex"});
}

TEST(Arranging, RefusesWhatDoesNotFit) {
  const Tensor x = Tensor::zeros({3, 4});
  expect_refused([&] { flip(x, {0, -2}); }, {"twice"});
  expect_refused([&] { flip(x, {2}); }, {"dimension 2"});
  expect_refused([&] { roll(x, {1, 2}, {0}); }, {"2 shifts for 1"});
  expect_refused([&] { repeat(x, {2}); }, {"f32[3, 4]"});
  expect_refused([&] { repeat(x, {2, -1}); }, {"-1"});
  expect_refused([&] { repeat(x, {int64_t{1} << 62, 4}); }, {"large"});
  expect_refused([&] { repeat_interleave(x, whole({1, 2}), 0); }, {"i64[2]"});
  expect_refused([&] { repeat_interleave(x, whole({1, -2, 3}), 0); }, {"-2"});
  expect_refused([&] { constant_pad_nd(x, {1}); }, {"pairs"});
  expect_refused([&] { constant_pad_nd(x, {1, 1, 1, 1, 1, 1}); }, {"fewer dimensions"});
  expect_refused([&] { constant_pad_nd(x, {-3, -3}); }, {"negative", "[-3, -3]"});
  expect_refused([&] { pad(x, {4, 0}, "reflect"); }, {"dimension 1", "'reflect'"});
  expect_refused([&] { pad(x, {1, 1}, "mirror"); }, {"'mirror'"});
  expect_refused([&] { unfold(x, 1, 5, 1); }, {"windows of 5", "extent 4"});
  expect_refused([&] { unfold(x, 1, 2, 0); }, {"step 0"});
  expect_refused([&] { diagonal(x, 0, 1, -1); }, {"twice"});
  expect_refused([&] { unflatten(x, 1, {3, -1}); }, {"extent 4"});
  expect_refused([&] { tensor_split(x, 0); }, {"0 sections"});
  expect_refused([&] { mv(x, Tensor::zeros({3})); }, {"3", "4"});
  expect_refused([&] { outer(x, x); }, {"1 and 1 dimensions"});
  expect_refused([&] { dot(Tensor::zeros({3}), Tensor::zeros({4})); }, {"3", "4"});
  expect_refused([&] { cumsum(x, 2); }, {"dimension 2"});
  expect_refused([&] { searchsorted(x, Tensor::zeros({2, 4})); }, {"agree"});
  expect_refused([&] { bincount(whole({1, -1})); }, {"-1"});
}

TEST(Arranging, ResizeKeepsWhatWasThere) {
  const Tensor x = whole({1, 2, 3, 4}), view_of_it = narrow(x, 0, 0, 2);
  resize_(x, {2, 500000});
  EXPECT_EQ(x.shape(), (Shape{2, 500000}));
  EXPECT_EQ(narrow(view(x, {-1}), 0, 0, 4).to_vector<int64_t>(),
            (std::vector<int64_t>{1, 2, 3, 4}));
  EXPECT_EQ(view_of_it.to_vector<int64_t>(), (std::vector<int64_t>{1, 2}));
  int64_t foreign[2] = {1, 2};
  const Tensor theirs = Tensor::wrap(foreign, {2}, DType::i64, std::make_shared<int>());
  expect_refused([&] { resize_(theirs, {3}); }, {"foreign"});
  resize_(theirs, {1});
  expect_refused([&] { resize_(Tensor::zeros({2}).set_requires_grad(true), {1}); }, {"graph"});
  EXPECT_EQ(resize(whole({1, 2}), {1}).item(), 1);
}

TEST(Scans, OfLongLinesAreExactInF64) {
  const Tensor ones = Tensor::full({300001}, 1);
  const auto sums = cumsum(ones, 0).to_vector<double>();
  for (int64_t i : {0, 65535, 65536, 299999, 300000})
    EXPECT_EQ(sums[i], static_cast<double>(i + 1));
}

}  // namespace
}  // namespace wellspring
